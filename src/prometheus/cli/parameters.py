"""Parameters of commands: how they are declared, and what only the databases can put in their place."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from prometheus.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from prometheus.app import App
    from prometheus.app.stored import Asked, Rows

logger = logging.getLogger("prometheus.cli")

TODAY, LATEST = "today", "latest"
NEWEST = date(1, 1, 1)
"""Stands for `LATEST` until `settle` puts a date in its place; told from an equal date by identity."""
ONLY_REGION: Any = None
"""The default of a region that may be left away where there is a single one."""
MOST_LISTED = 20


def option(text: str, *names: str, **more: Any) -> Any:
    """Return an option of a command with its help, declared by its parameter's annotation."""
    return typer.Option(*names, help=text, **more)


def parse_date(text: str | date) -> date:
    """Return what `parse_known_date` does, or `NEWEST` for ``latest``; a date stays as it is."""
    if isinstance(text, date):
        return text
    return NEWEST if text == LATEST else parse_known_date(text)


def parse_known_date(text: str) -> date:
    """Return an ISO date, or the present one in UTC for ``today``; typer.BadParameter for any other text."""
    if text == TODAY:
        return datetime.now(UTC).date()
    try:
        text.encode("ascii")  # strptime takes digits of any script
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 -- a calendar date has no zone
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date; write YYYY-MM-DD, {TODAY} or {LATEST}") from None


def date_option(text: str, *names: str, metavar: str = "DATE") -> Any:
    """Return an option that is a date, or dates; see `parse_date`."""
    return option(text, *names, metavar=metavar, parser=parse_date)


OnlyRegion = Annotated[str, option("Region; may be left out if only one is stored.")]
OnlyRegions = Annotated[list[str], option("Region; may be repeated, or left out if only one is stored.")]
SearchedRegion = Annotated[
    str, option("Region whose past is searched; without it and --instrument-id the only one stored.")
]
LabelledRegion = Annotated[str, option("Region; may be left out, as --instrument-id, if only one is configured.")]


def expand(parameter: Parameter) -> Iterator[Parameter]:
    """Yield a parameter, or one for each field if it is a dataclass."""
    bundle = parameter.annotation
    if not is_dataclass(bundle):
        yield parameter
        return
    hints = get_type_hints(bundle, include_extras=True)
    for field in fields(bundle):
        default = field.default if parameter.default is Parameter.empty else getattr(parameter.default, field.name)
        default = Parameter.empty if default is MISSING else default
        yield Parameter(field.name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=hints[field.name])


def given_options(bundle: Any) -> list[str]:
    """Return the options of a bundle that are not as by default, as one would type them."""
    words: list[str] = []
    for field in fields(bundle):
        value, name = getattr(bundle, field.name), f"--{field.name.replace('_', '-')}"
        if value == field.default:
            continue
        words += [name] if value is True else [word for each in _several(value) for word in (name, str(each))]
    return words


def _takes_dates(parameter: Parameter) -> bool:
    """Return whether a parameter takes a date, or dates."""
    return any(
        getattr(each, "parser", None) is parse_date for each in getattr(parameter.annotation, "__metadata__", ())
    )


def settle(given: dict[str, Any], parameters: Mapping[str, Parameter], rows: Rows | None) -> None:
    """Refuse empty texts; put dates for texts, the newest of some rows for ``latest``, the only region.

    The databases are opened only where they are needed, and what they put in is logged. UsageError where a command
    cannot know the newest date, there are several regions, or an instrument comes without the region it stands for;
    NotFoundError where nothing is stored.
    """
    _require_texts(given, parameters)
    for name in filter(lambda each: _takes_dates(parameters[each]), parameters):
        value = given[name]
        given[name] = tuple(map(parse_date, value)) if isinstance(value, tuple) else value and parse_date(value)
    waiting = [name for name, value in given.items() if any(each is NEWEST for each in _several(value))]
    lacks_region = _lacks_region(given, parameters)
    if waiting and rows is None:
        raise UsageError(f"{LATEST} is the newest date of what is stored, and nothing is read yet here; name a date")
    if not waiting and not lacks_region:
        return
    from prometheus.app import open_app
    from prometheus.core.config import load_config

    with open_app(load_config(), announce=logger.info) as app:
        if lacks_region:
            kind = parameters["region"].annotation
            only = _only_configured(app) if kind is LabelledRegion else _only_region(app)
            given["region"] = [only] if kind is OnlyRegions else only
        if waiting and rows is not None:
            newest = _newest_of(app, given, rows)
    for name in waiting:
        value = given[name]
        given[name] = newest if value is NEWEST else tuple(newest if each is NEWEST else each for each in value)


def _require_texts(given: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> None:
    for name, value in given.items():
        option_name = f"--{name.replace('_', '-')}"
        for each in _several(value):
            if not isinstance(each, str):
                continue
            if not each and name in parameters and parameters[name].default != "":
                what = "a region" if name == "region" else "one"
                raise UsageError(f"{option_name} is empty; name {what}, or leave the option out")
            if not each.isascii() and any("\ud800" <= letter <= "\udfff" for letter in each):
                raise UsageError(f"{option_name} {each!r} is no text here; use a UTF-8 locale, such as LC_ALL=C.UTF-8")


def _lacks_region(given: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> bool:
    if "region" not in parameters or given["region"]:
        return False
    kind, instrument = parameters["region"].annotation, given.get("instrument_id")
    if kind in (OnlyRegion, SearchedRegion, LabelledRegion) and given["region"] is not None:
        raise UsageError("--region is empty; name a region, or leave the option out")
    if given.get("market_id") is not None and kind is LabelledRegion:
        return False
    if kind is LabelledRegion and instrument is not None:
        raise UsageError(f"--instrument-id {instrument}: name the region that it stands for (--region)")
    return kind in (OnlyRegion, OnlyRegions) or (kind in (SearchedRegion, LabelledRegion) and instrument is None)


def _only_region(app: App) -> str:
    regions = app.stored.regions()
    if not regions:
        raise NotFoundError("no regimes are stored; make them from files of prices: python -m prometheus quick FILE")
    return _only(regions, "stored")


def _only_configured(app: App) -> str:
    regions = sorted(app.db_manager.config.regions)
    if not regions:
        raise UsageError(
            "no region is configured; name one and its instrument (--region, --instrument-id), or a --market-id"
        )
    return _only(regions, "configured")


def _only(regions: Sequence[str], state: str) -> str:
    if len(regions) > 1:
        more = f" and {len(regions) - MOST_LISTED} more" if len(regions) > MOST_LISTED else ""
        raise UsageError(f"several regions are {state}; name one (--region): {', '.join(regions[:MOST_LISTED])}{more}")
    logger.info("region %s: the only one that is %s", regions[0], state)
    return regions[0]


def note_only_model(model_id: str | None, stored: Iterable[str], until: date | None = None) -> Sequence[str]:
    """Return a line that names the only model stored, by a date if given; none where one was named or has rivals."""
    names = set(stored)
    by = f" up to {until}" if until is not None else ""
    return [f"model {names.pop()}, the only one stored{by}"] if model_id is None and len(names) == 1 else []


def _newest_of(app: App, given: Mapping[str, Any], rows: Rows) -> date:
    asked = _asked(given, rows)
    newest = app.stored.newest(asked)
    if newest is None:
        raise NotFoundError(f"{LATEST}: nothing is stored of what is asked; load it first, or name a date")
    whose = ", ".join([*asked.instruments, *asked.regions, *asked.series, *filter(None, [asked.market])])
    logger.info("%s is %s, the newest date stored%s", LATEST, newest, f" of {whose}" if whose else "")
    return newest


def _asked(given: Mapping[str, Any], rows: Rows) -> Asked:
    from prometheus.app.stored import Asked

    region, instrument = given.get("region"), given.get("instrument_id") or given.get("instrument")
    if rows == "regimes" and not region and instrument:
        rows = "prices"
    if rows == "texts":
        rows = given.get("source") or rows
    return Asked(
        given.get("texts") or rows, _several(instrument), given.get("market_id"), _several(region),
        given.get("model_id"), _several(given.get("series")),
    )  # fmt: skip


def _several(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else [value]
