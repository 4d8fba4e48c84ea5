"""Opens a file of rows; its first bytes say what it is.

Nothing allocates by what a file claims about itself: it is read in blocks of fixed size or batches of fixed length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from io import BufferedReader
from pathlib import Path

from prometheus.errors import FileAccessError
from prometheus.files.encodings import open_bytes
from prometheus.files.kinds import SNIFF_BYTES, kind_of
from prometheus.files.tables import AS_FOUND, TableFile, Written, access_error
from prometheus.market.frames import Field


def open_table(
    path: Path, fields: Sequence[Field], required: Collection[str], written: Written = AS_FOUND
) -> TableFile:
    """Return a file of prices or instruments, CSV or Parquet, ready to be read, its header matched to the fields."""
    return _open(path, fields, required, None, written)


def open_text_table(
    path: Path,
    fields: Sequence[Field],
    required: Collection[str],
    by_hand: Mapping[str, str],
    encoding: str | None = None,
) -> TableFile:
    """Return a file of texts ready to be read: CSV whose quoted cells may hold line breaks, JSON lines or Parquet.

    `by_hand` says the column of some fields, named by the user, `encoding` that of a text without a mark of its own.
    """
    return _open(path, fields, required, by_hand, Written(encoding))


def _open(
    path: Path, fields: Sequence[Field], required: Collection[str], by_hand: Mapping[str, str] | None, written: Written
) -> TableFile:
    with _open_content(path, written.encoding) as content:
        kind = kind_of(path, content.peek(SNIFF_BYTES)[:SNIFF_BYTES])
        if kind == "csv":
            from prometheus.files.csv_lines import open_csv  # noqa: PLC0415 -- each reader is slow to import

            return open_csv(path, content, fields, required, by_hand, written)
    if kind == "parquet":
        from prometheus.files.parquet import open_parquet  # noqa: PLC0415 -- each reader is slow to import

        return open_parquet(path, fields, required, by_hand)
    if by_hand is None:
        way_out = "write it as CSV, in Python: pandas.read_json(FILE, lines=True).to_csv(NEW, index=False)"
        raise FileAccessError(str(path), f"is a file of JSON lines; only macro events and news are read so; {way_out}")
    from prometheus.files.json_lines import open_json_lines  # noqa: PLC0415 -- each reader is slow to import

    return open_json_lines(path, fields, required, by_hand, written.encoding)


def _open_content(path: Path, encoding: str | None) -> BufferedReader:
    try:
        return open_bytes(path, encoding)
    except FileAccessError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise access_error(path, error) from error
