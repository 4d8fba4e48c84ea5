"""A user's own encoders, text models and labellers: found by entry point, or named as ``module:name``."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from prometheus.collaborators import offers
from prometheus.errors import PrometheusError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PluginKind:
    """One kind of plug-in.

    `noun` is what messages call it, `thing` what a module offers it as, `group` that of its entry points; without
    `methods` it is refused, and the names in `ours` never mean a plug-in.
    """

    noun: str
    thing: str
    group: str
    methods: tuple[str, ...]
    ours: frozenset[str] = frozenset()


def is_reference(name: str) -> bool:
    """Return whether a name has the form ``module:name``.

    Examples
    --------
    >>> is_reference("my_package.models:MyEncoder"), is_reference("num-regime-core-v1"), is_reference("./a:b")
    (True, False, False)
    """
    module, _, attribute = name.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))


def find_plugin(kind: PluginKind, name: str) -> Any:
    """Return the class, function or object that a name stands for; None where no package offers one of that name.

    Nothing is called. `UsageError` where the module cannot be imported or has no such thing, two packages offer the
    name, or a class lacks a method.
    """
    reference = name if is_reference(name) else _offered(kind, name)
    if reference is None:
        return None
    module_name, _, attribute = reference.partition(":")
    found: Any = _imported(kind, name, module_name)
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise UsageError(f"{module_name} has no {kind.thing} {attribute!r}")
    if isinstance(found, type):
        _require_methods(kind, name, found)
    return found


@cache
def open_plugin(kind: PluginKind, name: str) -> Any:
    """Return the plug-in of a name, made once in each process; `UsageError` as in `find_plugin` and `made`."""
    found = find_plugin(kind, name)
    if found is None:
        raise UsageError(f"no installed package offers the {kind.noun} {name!r}; write MODULE:CLASS, or install one")
    return made(kind, name, found)


def made(kind: PluginKind, name: str, found: Any) -> Any:
    """Return the plug-in that was found: an object as it is, a class or factory called without arguments."""
    if isinstance(found, type) or (callable(found) and not offers(found, *kind.methods)):
        try:
            found = found()
        except PrometheusError:
            raise
        except Exception as error:  # whatever a user's constructor does
            raise UsageError(
                f"{kind.noun} {name}: it cannot be made without arguments ({reason_of(error)}); offer a function that "
                "makes it"
            ) from error
    _require_methods(kind, name, found)
    return found


def offered_names(kind: PluginKind) -> list[str]:
    """Return the names that installed packages offer, sorted."""
    return sorted({each.name for each in _entry_points(kind)} - kind.ours)


def reason_of(error: BaseException) -> str:
    """Return the class and the message of an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _require_methods(kind: PluginKind, name: str, found: Any) -> None:
    missing = [method for method in kind.methods if not callable(getattr(found, method, None))]
    if missing:
        owner = found if isinstance(found, type) else type(found)
        listed = " and ".join(f"{method}()" for method in missing)
        raise UsageError(f"{kind.noun} {name}: {owner.__module__}.{owner.__qualname__} has no method {listed}")


def _imported(kind: PluginKind, name: str, module_name: str) -> Any:
    try:
        return import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        failed = (error.name if isinstance(error, ImportError) else None) or module_name
        within = "" if f"{module_name}.".startswith(f"{failed}.") else f", which {module_name} needs,"
        raise UsageError(
            f"{kind.noun} {name}: module {failed}{within} cannot be imported ({reason_of(error)}); run "
            "python -m prometheus in its folder, or put that on PYTHONPATH"
        ) from error


def _offered(kind: PluginKind, name: str) -> str | None:
    found = {each.value: each for each in _entry_points(kind) if each.name == name and name not in kind.ours}
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} packages offer the {kind.noun} {name!r}: {_listed(found.values())}; remove one of them, or "
            "write MODULE:CLASS"
        )
    return next(iter(found), None)


@cache
def _entry_points(kind: PluginKind) -> tuple[EntryPoint, ...]:
    """Return what installed packages offer; they are all looked through, once, when a name is not one of ours."""
    from importlib.metadata import entry_points  # noqa: PLC0415 -- most commands need none

    found = tuple(entry_points(group=kind.group))
    hidden = [each for each in found if each.name in kind.ours]
    if hidden:
        logger.warning(
            "%s: the %s of that name in Prometheus is used instead; rename the entry point", _listed(hidden), kind.noun
        )
    return found


def _listed(points: Collection[EntryPoint]) -> str:
    named = (f"{each.name} = {each.value} ({each.dist.name if each.dist else 'unknown package'})" for each in points)
    return " and ".join(sorted(named))
