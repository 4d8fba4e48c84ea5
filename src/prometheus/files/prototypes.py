"""Prototype files: read and checked, written in one step."""

from __future__ import annotations

from pathlib import Path

from prometheus.core.files import FileKind, read_small_text, require_writable, write_if_changed
from prometheus.regime.prototypes import PrototypeSet, parse_prototypes


def is_prototype_file(content: bytes) -> bool:
    """Return whether a file begins as one of prototypes does."""
    return content.startswith(b"{") and b'"prototypes"' in content and b'"center"' in content


PROTOTYPE_FILE = FileKind("a prototype file", is_prototype_file)


def write_prototypes(prototype_set: PrototypeSet, path: Path, *, force: bool | None = None) -> bool:
    """Write the JSON file in one step; return False when it already held the same bytes.

    It replaces a prototype file, any other by `force`. `FileAccessError` if it cannot be written.
    """
    require_writable(path, PROTOTYPE_FILE, force=force)
    return write_if_changed(path, prototype_set.to_json())


def read_prototypes(path: Path) -> PrototypeSet:
    """Read a prototype file; `PrototypeError` or `NotFoundError` where its content cannot classify anything."""
    return parse_prototypes(read_small_text(path), str(path))
