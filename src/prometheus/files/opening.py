"""Opens a file of rows; its first bytes say what it is.

Nothing allocates by what a file claims about itself: it is read in blocks of fixed size or batches of fixed length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from prometheus.errors import FileAccessError
from prometheus.files.kinds import SNIFF_BYTES, FileKind, kind_of
from prometheus.files.tables import TableFile, access_error
from prometheus.files.text_lines import open_bytes
from prometheus.market.frames import Field


def open_table(path: Path, fields: Sequence[Field], required: Collection[str]) -> TableFile:
    """Return a file of prices or instruments, CSV or Parquet, ready to be read, its header matched to the fields."""
    kind = detect_kind(path)
    if kind == "jsonl":
        way_out = "write it as CSV, in Python: pandas.read_json(FILE, lines=True).to_csv(NEW, index=False)"
        raise FileAccessError(str(path), f"is a file of JSON lines; only macro events and news are read so; {way_out}")
    return _open(path, kind, fields, required, None)


def open_text_table(
    path: Path, fields: Sequence[Field], required: Collection[str], by_hand: Mapping[str, str]
) -> TableFile:
    """Return a file of texts ready to be read: CSV whose quoted cells may hold line breaks, JSON lines or Parquet.

    `by_hand` says the column of some fields, named by the user.
    """
    return _open(path, detect_kind(path), fields, required, by_hand)


def _open(
    path: Path, kind: FileKind, fields: Sequence[Field], required: Collection[str], by_hand: Mapping[str, str] | None
) -> TableFile:
    if kind == "parquet":
        from prometheus.files.parquet import open_parquet  # noqa: PLC0415 -- each reader is slow to import

        return open_parquet(path, fields, required, by_hand)
    if kind == "jsonl":
        from prometheus.files.json_lines import open_json_lines  # noqa: PLC0415 -- each reader is slow to import

        return open_json_lines(path, fields, required, by_hand or {})
    from prometheus.files.csv_lines import open_csv  # noqa: PLC0415 -- each reader is slow to import

    return open_csv(path, fields, required, by_hand)


def detect_kind(path: Path) -> FileKind:
    """Return what a file is, out of what packs it, by its first bytes, and where they leave it open, by its name."""
    try:
        with open_bytes(path) as content:
            return kind_of(path, content.read(SNIFF_BYTES))
    except FileAccessError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise access_error(path, error) from error
