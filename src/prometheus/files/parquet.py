"""Parquet files, streamed page by page."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from prometheus.errors import FileAccessError
from prometheus.files.columns import (
    ColumnMap,
    is_list,
    is_text,
    lists_as_texts,
    match_columns,
    plain_type,
    require_kinds,
)
from prometheus.files.containers import open_seekable
from prometheus.files.tables import BATCH_ROWS, RawBatch, TableFile, row_numbers
from prometheus.market.frames import Field, normalize_name

_BUFFER_BYTES = 1 << 20
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_MAX_METADATA_BYTES = 16 << 20
_MAX_METADATA_ITEMS = 1_000_000
_MAX_TEXT_ROWS, _TEXT_BATCH_BYTES = 4_096, 16 << 20


@dataclass(frozen=True, slots=True)
class ParquetTable(TableFile):
    """A Parquet file whose columns are known; `batch_rows` are read at a time.

    `folders` are the columns that the folders around it give, each the same text in all rows or none.
    """

    row_word: ClassVar[str] = "row"

    text_columns: tuple[str, ...]
    batch_rows: int
    folders: Mapping[str, str | None]
    types: Mapping[str, pa.DataType]
    delta_encoded: frozenset[str]

    def select(self, columns: ColumnMap, fields: Sequence[Field]) -> ParquetTable:
        """Return the same file with other columns as its fields; `DataCheckError` for types that cannot hold them."""
        require_kinds(self.path, fields, {name: self.types[column] for name, column in columns.source.items()})
        texts = {column for column in columns.source.values() if is_text(self.types[column])}
        text_columns = tuple(sorted(texts - self.delta_encoded - self.folders.keys()))
        return replace(self, columns=columns, text_columns=text_columns)

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
            names = list(dict.fromkeys(name for name in self.columns.source.values() if name not in self.folders))
            for batch in file.iter_batches(batch_size=self.batch_rows, columns=names, use_threads=False):
                columns = {field: self._column(batch, name) for field, name in self.columns.source.items()}
                _require_utf8(self.path, columns, n_read)
                yield RawBatch(row_numbers(n_read + 1, batch.num_rows), columns)
                n_read += batch.num_rows
        if n_read != self.n_rows:
            raise FileAccessError(str(self.path), f"is damaged (it says {self.n_rows} rows and holds {n_read})")

    def _column(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        if name not in self.folders:
            column = batch.column(name)
            return lists_as_texts(column) if is_list(column.type) else column
        codes = pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)
        return pa.DictionaryArray.from_arrays(codes, pa.array([self.folders[name]], pa.string()))


def open_parquet(
    path: Path, fields: Sequence[Field], required: Collection[str], by_hand: Mapping[str, str] | None
) -> ParquetTable:
    """Return a Parquet file ready to be read, one of texts where `by_hand` is given; see `prometheus.files.opening`."""
    with _refuse_damage(path), _open(path) as file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
        delta_encoded = _delta_encoded_columns(file.metadata)
        batch_rows = BATCH_ROWS if by_hand is None else _rows_of_texts(file.metadata)
    folders = folder_columns(path, schema.names, fields)
    columns = match_columns(str(path), [*schema.names, *folders], fields, required, by_hand)
    types = {**dict.fromkeys(folders, pa.string()), **dict(zip(schema.names, schema.types, strict=True))}
    unread = ParquetTable(path, columns, (), batch_rows, folders, types, frozenset(delta_encoded), n_rows=n_rows)
    return unread.select(columns, fields)


def folder_columns(path: Path, names: Sequence[str], fields: Sequence[Field]) -> dict[str, str | None]:
    """Return the columns that folders named ``key=value`` give, as Hive, Spark and pandas write them.

    What the file says itself goes first: a key is left out that has the name, or means the field, of a column of it.

    Examples
    --------
    >>> folder_columns(Path("prices/ticker=BRK%2FB/year=2024/part-0.parquet"), ["close"], [])
    {'ticker': 'BRK/B', 'year': '2024'}
    """
    pairs = [part.partition("=") for part in path.parts[:-1]]
    found = {unquote(key): unquote(value) for key, is_pair, value in pairs if key and is_pair}
    known = {normalize_name(name) for name in names}
    known |= {normalize_name(key) for key in found for field in fields if field.find([key]) and field.find(list(names))}
    return {
        key: None if value == _HIVE_NULL else value for key, value in found.items() if normalize_name(key) not in known
    }


def _rows_of_texts(metadata: Any) -> int:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    longest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(_MAX_TEXT_ROWS, _TEXT_BATCH_BYTES // max(longest, 1)))


def _delta_encoded_columns(metadata: Any) -> set[str]:
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    # Arrow cannot read these encodings as a dictionary
    return {chunk.path_in_schema for chunk in chunks if any(name.startswith("DELTA") for name in chunk.encodings)}


@contextmanager
def _open(path: Path, text_columns: Sequence[str] = ()) -> Iterator[Any]:
    # text stays dictionary-encoded: a long string that stands in every row is then held once per batch
    with open_seekable(path) as content, pq.ParquetFile(
        content, read_dictionary=list(text_columns), memory_map=False, buffer_size=_BUFFER_BYTES, pre_buffer=False,
        thrift_string_size_limit=_MAX_METADATA_BYTES, thrift_container_size_limit=_MAX_METADATA_ITEMS,
    ) as file:  # fmt: skip
        yield file


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
