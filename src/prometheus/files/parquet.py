"""Parquet files, streamed page by page."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from prometheus.errors import FileAccessError
from prometheus.files.columns import ColumnMap, is_text, match_columns, plain_type, require_kinds
from prometheus.files.tables import BATCH_ROWS, RawBatch, TableFile, row_numbers
from prometheus.market.frames import Field

_BUFFER_BYTES = 1 << 20
_MAX_METADATA_BYTES = 16 << 20
_MAX_METADATA_ITEMS = 1_000_000
_MAX_TEXT_ROWS, _TEXT_BATCH_BYTES = 4_096, 16 << 20


@dataclass(frozen=True, slots=True)
class ParquetTable(TableFile):
    """A Parquet file whose columns are known; `batch_rows` are read at a time."""

    row_word: ClassVar[str] = "row"

    text_columns: tuple[str, ...]
    batch_rows: int
    types: Mapping[str, pa.DataType]
    delta_encoded: frozenset[str]

    def select(self, columns: ColumnMap, fields: Sequence[Field]) -> ParquetTable:
        """Return the same file with other columns as its fields; `DataCheckError` for types that cannot hold them."""
        require_kinds(self.path, fields, {name: self.types[column] for name, column in columns.source.items()})
        texts = {column for column in columns.source.values() if is_text(self.types[column])}
        return replace(self, columns=columns, text_columns=tuple(sorted(texts - self.delta_encoded)))

    def type_of(self, field: str) -> pa.DataType:
        """Return the type of a field's column."""
        return self.types[self.columns.source[field]]

    def head(self, n_rows: int) -> list[list[str | None]]:
        """Return nothing: its names stand in its schema alone."""
        del n_rows
        return []

    def batches(self) -> Iterator[RawBatch]:
        """Yield the rows in order; a file that holds another number of rows than it says is damaged."""
        n_read = 0
        with _refuse_damage(self.path), _open(self.path, self.text_columns) as file:
            names = list(dict.fromkeys(self.columns.source.values()))
            for batch in file.iter_batches(batch_size=self.batch_rows, columns=names, use_threads=False):
                columns = {field: batch.column(name) for field, name in self.columns.source.items()}
                _require_utf8(self.path, columns, n_read)
                yield RawBatch(row_numbers(n_read + 1, batch.num_rows), columns)
                n_read += batch.num_rows
        if n_read != self.n_rows:
            raise FileAccessError(str(self.path), f"is damaged (it says {self.n_rows} rows and holds {n_read})")


def open_parquet(
    path: Path, fields: Sequence[Field], required: Collection[str], by_hand: Mapping[str, str] | None
) -> ParquetTable:
    """Return a Parquet file ready to be read, one of texts where `by_hand` is given; see `prometheus.files.opening`."""
    with _refuse_damage(path), _open(path) as file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
        delta_encoded = _delta_encoded_columns(file.metadata)
        batch_rows = BATCH_ROWS if by_hand is None else _rows_of_texts(file.metadata)
    columns = match_columns(str(path), schema.names, fields, required, by_hand)
    types = dict(zip(schema.names, schema.types, strict=True))
    table = ParquetTable(path, columns, (), batch_rows, types, frozenset(delta_encoded), n_rows=n_rows)
    return table.select(columns, fields)


def _rows_of_texts(metadata: Any) -> int:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    longest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(_MAX_TEXT_ROWS, _TEXT_BATCH_BYTES // max(longest, 1)))


def _delta_encoded_columns(metadata: Any) -> set[str]:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    # Arrow cannot read these encodings as a dictionary
    return {chunk.path_in_schema for chunk in chunks if any(name.startswith("DELTA") for name in chunk.encodings)}


def _open(path: Path, text_columns: Sequence[str] = ()) -> Any:
    # text stays dictionary-encoded: a long string that stands in every row is then held once per batch
    return pq.ParquetFile(
        path, read_dictionary=list(text_columns), memory_map=False, buffer_size=_BUFFER_BYTES, pre_buffer=False,
        thrift_string_size_limit=_MAX_METADATA_BYTES, thrift_container_size_limit=_MAX_METADATA_ITEMS,
    )  # fmt: skip


def _require_utf8(path: Path, columns: Mapping[str, pa.Array], n_before: int) -> None:
    for field, column in columns.items():
        if is_text(plain_type(column.type)):
            try:
                column.validate(full=True)
            except pa.ArrowInvalid as error:
                row = _first_broken(column)
                if row is None:
                    raise
                reason = f"row {n_before + row + 1}, column {field}: is not UTF-8 text"
                raise FileAccessError(str(path), reason) from error


def _first_broken(column: pa.Array) -> int | None:
    for position in range(len(column)):
        try:
            column[position].as_py()
        except UnicodeDecodeError:
            return position
    return None


@contextmanager
def _refuse_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileAccessError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise FileAccessError(str(path), f"is damaged or no Parquet file we can read ({lines[0][:160]})") from error
