"""Prototype files: read and checked, written in one step."""

from __future__ import annotations

from pathlib import Path

from prometheus.core.files import reason_of, write_if_changed
from prometheus.errors import FileAccessError, PrototypeError
from prometheus.regime.prototypes import PrototypeSet, parse_prototypes


def write_prototypes(prototype_set: PrototypeSet, path: Path) -> bool:
    """Write the JSON file in one step; return False when it already held the same bytes."""
    return write_if_changed(path, prototype_set.to_json())


def read_prototypes(path: Path) -> PrototypeSet:
    """Read a prototype file; `PrototypeError` or `NotFoundError` where its content cannot classify anything."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileAccessError(str(path), f"cannot be read ({reason_of(error)})") from error
    except ValueError as error:
        raise PrototypeError(str(path), f"is not a JSON file ({error})") from error
    return parse_prototypes(text, str(path))
