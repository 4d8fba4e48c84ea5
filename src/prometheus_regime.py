"""The command ``prometheus-regime``: it looks at what ``import prometheus`` would run before anything is imported.

Another distribution may have the same import name. It then hides our package or overwrites files of it, and nothing
within ours could say so: this module stands beside it, and imports the standard library alone.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

DISTRIBUTION, PACKAGE = "prometheus-regime", "prometheus"
_MARK = f'__distribution__ = "{DISTRIBUTION}"'.encode()
"""Stands in our ``__init__.py``, and in no other."""
_REINSTALL = f"pip install --force-reinstall --no-deps {DISTRIBUTION}"
_SHOWN = 3


def main() -> int:
    """Run the command named on the command line and return its exit code; 1 where another package has our name."""
    said = foreign_package()
    if said is not None:
        return _fail(said)
    try:
        from prometheus.cli import main as run  # noqa: PLC0415 -- it is ours only now

        return run()
    except ImportError:  # while it is imported, or the part of it that a command needs
        said = overwritten_files()
        if said is None:
            raise
        return _fail(said)


def foreign_package() -> str | None:
    """Return, in one line, why ``import prometheus`` would not give our package; None where it would.

    Nothing of what is found is run.
    """
    origin = _origin(_found())
    if origin is None:
        return f"the package {PACKAGE!r} has no __init__.py any more; run: {_REINSTALL}"
    try:
        is_ours = _MARK in origin.read_bytes()
    except OSError as error:
        return f"{origin} cannot be read ({error.strerror}); run: {_REINSTALL}"
    return None if is_ours else f"{PACKAGE!r} is {origin}, which is not of {DISTRIBUTION}; {_way_out()}"


def overwritten_files() -> str | None:
    """Return, in one line, which files of ours differ from those that were installed; None where all are the same."""
    import base64  # noqa: PLC0415 -- needed only where something is wrong already, as all that follow
    import hashlib  # noqa: PLC0415
    from importlib.metadata import PackageNotFoundError, distribution  # noqa: PLC0415

    try:
        files = distribution(DISTRIBUTION).files or []
    except PackageNotFoundError:
        return None
    changed = []
    for file in files:
        if file.hash is None or file.parts[0] != PACKAGE:
            continue
        path = Path(str(file.locate()))
        digest = hashlib.new(file.hash.mode, path.read_bytes() if path.is_file() else b"").digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            changed.append(str(file))
    if not changed:
        return None
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return f"files of {DISTRIBUTION} were changed or removed: {', '.join(changed[:_SHOWN])}{more}; {_way_out()}"


def other_owners() -> list[str]:
    """Return the other distributions with files in a package of our name, or named like it without a record, sorted."""
    from importlib.metadata import PackageNotFoundError, distribution, packages_distributions  # noqa: PLC0415 -- slow

    owners = {*packages_distributions().get(PACKAGE, [])} - {DISTRIBUTION}
    with suppress(PackageNotFoundError):
        owners.add(distribution(PACKAGE).name)
    return sorted(owners)


def _found() -> ModuleSpec | None:
    try:
        return find_spec(PACKAGE)
    except ValueError:  # a module of that name was put in place by hand
        return None


def _origin(spec: ModuleSpec | None) -> Path | None:
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _way_out() -> str:
    owners = " ".join(other_owners())
    if owners:
        return f"run: pip uninstall {owners} && {_REINSTALL}"
    return f"move it off the path (PYTHONPATH, the current folder), or run: {_REINSTALL}"


def _fail(said: str) -> int:
    sys.stderr.write(f"error: {said}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
