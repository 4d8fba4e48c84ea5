"""Files of prices in the forms of many vendors, as one table of bars whose cells are written as ours are.

A file whose columns, numbers and dates are plain is handed on as it is. Of any other the shape comes from its names
(`prometheus.files.layouts`), and how its numbers and dates are written from a look at all of it
(`prometheus.market.written`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from prometheus.errors import DataCheckError
from prometheus.files.columns import (
    ColumnMap,
    distinct_values,
    is_number,
    is_text,
    list_names,
    plain_type,
    read_numbers,
)
from prometheus.files.headers import SAMPLE_LINES, find_header
from prometheus.files.instants import DateReader
from prometheus.files.layouts import NAME_ROWS, Block, Layout, Row, find_layout, price_fields
from prometheus.files.opening import open_table
from prometheus.files.tables import AS_FOUND, RawBatch, Reason, TableFile, Written
from prometheus.market.frames import PRICE_FIELDS, Field, normalize_name
from prometheus.market.written import DateEvidence, DateStyle, NumberEvidence, NumberForm, NumberStyle

DATE, RATIO = "trade_date", "split_ratio"
DECIMALS = {"point": ".", "comma": ","}

Translate = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class PriceQuestion:
    """What the user says of files of prices: the instrument, the column of some fields, how all of it is written."""

    instrument_id: str | None = None
    columns: Mapping[str, str] | None = None
    decimal_mark: Literal["point", "comma"] | None = None
    date_format: str | None = None
    written: Written = AS_FOUND


def open_prices(path: Path, question: PriceQuestion) -> TableFile:
    """Return a file of prices as a table of bars.

    Raises
    ------
    DataCheckError
        No column of dates or closes can be told, or two readings of its numbers or dates are left.
    FileAccessError
        The file cannot be read.
    """
    raw = _open_named(path, question)
    names, first_rows = raw.columns.ignored, raw.head(NAME_ROWS)
    _require_daily(path, names, first_rows)
    layout = find_layout(str(path), names, first_rows, question.columns or {}, question.instrument_id)
    if question.instrument_id is not None:
        _require_one_name(raw, layout.ignored)
    columns, fields = _columns_of(names, layout)
    table = raw.select(columns, fields)
    styles = find_styles(table, fields, layout, question)
    remarks = (*raw.remarks, *filter(None, (layout.remark, styles.remark)))
    if layout.blocks[0].instrument is None and styles.is_plain:
        return replace(table.settled(), remarks=remarks)
    return BlockTable(
        path, _outer_columns(names, layout), table.settled(), layout, styles, n_rows=raw.n_rows, remarks=remarks
    )


def _open_named(path: Path, question: PriceQuestion) -> TableFile:
    """Return a file whose columns have names: those of its header, wherever that stands, or those its values imply."""
    table = open_table(path, (), (), question.written)
    lines = table.first_lines(SAMPLE_LINES) if question.written.header_line is None else []
    found = find_header(lines)
    if found is None:
        return table
    table = open_table(path, (), (), replace(question.written, header_line=found.line))
    if found.line:
        said = f"line {found.line} is taken for the header; passed over above it: {list_names(lines[: found.line - 1])}"
        return replace(table, remarks=(said,))
    names = table.columns.ignored if question.columns else found.names
    said = f"has no header; its columns are taken for {', '.join(found.names)}"
    return replace(table, columns=ColumnMap({}, {}, names), remarks=() if question.columns else (said,))


def _require_one_name(raw: TableFile, unread: Sequence[str]) -> None:
    """Refuse a file that the user calls one instrument where an unread column, such as Kaggle's Name, says several."""
    column = next((name for name in unread if normalize_name(name) in PRICE_FIELDS[0].rare), None)
    if column is None:
        return
    found: dict[str, None] = {}
    at = raw.columns.ignored.index(column)
    for batch in raw.select(ColumnMap({"name": column}, {"name": at}, ()), ()).batches():
        found |= dict.fromkeys(map(str, distinct_values(batch.columns["name"])[1].to_pylist()))
        if len(found) > 1:
            said = f"column {column} holds several instruments ({list_names(list(found)[:3])}, …)"
            way_out = "load each by its name without --instrument-id, or take the column out if they are one"
            raise DataCheckError(f"{raw.path}: {said}, which --instrument-id would make one; {way_out}")


def _require_daily(path: Path, names: Sequence[str], first_rows: Sequence[Row]) -> None:
    """Refuse Stooq's files of bars within a day."""
    if "<PER>" in names and first_rows:
        period = first_rows[0][names.index("<PER>")]
        if period != "D":
            raise DataCheckError(
                f"{path}: line 2, column <PER>: {period!r} is no period of daily bars; load a file of D"
            )


@dataclass(frozen=True, slots=True)
class Styles:
    """How the cells of a table are written, by column; none where all is plain."""

    numbers: Mapping[str, NumberStyle]
    dates: DateStyle

    @property
    def is_plain(self) -> bool:
        """Whether every cell is written as in a table of ours."""
        return not self.numbers and self.dates == DateStyle()

    @property
    def about_numbers(self) -> list[str]:
        """How numbers are written, nothing where all are plain."""
        said = sorted({str(style.form) for style in self.numbers.values() if style.form != NumberForm()})
        signs = [name for name, style in self.numbers.items() if style.has_sign]
        letters = [name for name, style in self.numbers.items() if style.has_multiples]
        said += [f"a currency sign in {', '.join(signs)} left out"] if signs else []
        return said + ([f"K, M, B and T in {', '.join(letters)} as multiples"] if letters else [])

    @property
    def remark(self) -> str:
        """What a user should hear of it, nothing where all is plain."""
        said = [f"numbers are read with {'; '.join(self.about_numbers)}"] if self.about_numbers else []
        return "; ".join(said + ([f"dates are read as {self.dates}"] if self.dates != DateStyle() else []))

    def plain(self, name: str, kind: str, column: pa.Array) -> pa.Array:
        """Return a column with its cells as ours are written; a cell that does not fit stays as it is."""
        style = self.numbers.get(name)
        if kind == "date" and self.dates != DateStyle():
            return translate(_as_text(column), self.dates.iso)
        return column if style is None else translate(column, style.plain)


def _as_text(column: pa.Array) -> pa.Array:
    return column if is_text(plain_type(column.type)) else column.cast(pa.string())


def translate(column: pa.Array, change: Translate) -> pa.Array:
    """Return a column of texts with each distinct one changed."""
    codes, values = distinct_values(column)
    texts = [None if text is None else change(text) for text in values.to_pylist()]
    return pa.array([*texts, None], pa.large_string()).take(pa.array(np.where(codes < 0, len(texts), codes)))


@dataclass(frozen=True, slots=True)
class BlockTable(TableFile):
    """A table of another shape or writing than ours, read as bars: of each row one for every block."""

    inner: TableFile
    layout: Layout
    styles: Styles

    @property
    def date_style(self) -> str:
        """How dates are written."""
        return self.inner.date_style if self.styles.dates == DateStyle() else str(self.styles.dates)

    @property
    def number_style(self) -> str:
        """How numbers are written."""
        return "; ".join(self.styles.about_numbers) or "decimal point"

    def batches(self) -> Iterator[RawBatch]:
        """Yield the bars by row, then by block; the number of one is its row's times the blocks, plus its block's."""
        for batch in below_names(self.inner, self.layout.n_name_rows):
            yield self._melt(batch)

    def row_of(self, number: int) -> int:
        """Return the row of the file that a number of `RawBatch.rows` means."""
        return number // len(self.layout.blocks)

    def _melt(self, batch: RawBatch) -> RawBatch:
        blocks, n_rows = self.layout.blocks, len(batch.rows)
        place = np.arange(len(blocks) * n_rows).reshape(len(blocks), n_rows).T.ravel()
        columns = {}
        for field in self.columns.position:
            if field == "instrument_id" and blocks[0].instrument is not None:
                columns[field] = _repeated([block.instrument or "" for block in blocks], n_rows)
                continue
            parts = [self._part(batch, block, field) for block in blocks]
            columns[field] = parts[0] if len(parts) == 1 else _below_each_other(parts).take(pa.array(place))
        numbers = (batch.rows[:, None] * len(blocks) + np.arange(len(blocks))).ravel()
        return RawBatch(numbers, columns, batch.malformed, batch.remarks)

    def _part(self, batch: RawBatch, block: Block, field: str) -> pa.Array:
        name = inner_name(field, block)
        if name not in batch.columns:
            return pa.nulls(len(batch.rows))
        kind = "date" if field == DATE else "number"
        return self.styles.plain(name, kind, batch.columns[name])


def inner_name(field: str, block: Block) -> str:
    """Return what a field of a block is called in the table below."""
    return field if block.instrument is None or field == DATE else f"{field} of {block.instrument}"


def below_names(table: TableFile, n_name_rows: int) -> Iterator[RawBatch]:
    """Yield the rows of a table without the first ones, which hold names."""
    left = n_name_rows
    for batch in table.batches():
        n_cut = min(left, len(batch.rows))
        left -= n_cut
        yield batch if not n_cut else batch.keep(np.arange(len(batch.rows)) >= n_cut)


def _repeated(names: list[str], n_rows: int) -> pa.Array:
    codes = np.tile(np.arange(len(names)), n_rows)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.large_string()))


def _below_each_other(parts: list[pa.Array]) -> pa.Array:
    kinds = {part.type for part in parts}
    if len(kinds) > 1 or any(pa.types.is_dictionary(kind) for kind in kinds):
        are_numbers = all(is_number(kind) or pa.types.is_null(kind) for kind in kinds)
        parts = [part.cast(pa.float64() if are_numbers else pa.large_string()) for part in parts]
    return pa.concat_arrays(parts)


def _columns_of(names: tuple[str, ...], layout: Layout) -> tuple[ColumnMap, list[Field]]:
    """Return the columns to read of the table below, and what they hold."""
    known = {field.name: field for field in price_fields(None)}
    place = {
        inner_name(field, block): (at, known[field]) for block in layout.blocks for field, at in block.position.items()
    }
    fields = [replace(field, name=name) for name, (_, field) in place.items()]
    position = {name: at for name, (at, _) in place.items()}
    return ColumnMap({name: names[at] for name, at in position.items()}, position, layout.ignored), fields


def _outer_columns(names: tuple[str, ...], layout: Layout) -> ColumnMap:
    """Return the fields of the bars, each at its column of the first block that has it."""
    position = {field: at for block in reversed(layout.blocks) for field, at in block.position.items()}
    source = {field: names[at] for field, at in position.items()}
    if layout.blocks[0].instrument is not None:
        position["instrument_id"], source["instrument_id"] = -1, "names of columns"
    return ColumnMap(source, position, layout.ignored)


def find_styles(table: TableFile, fields: Sequence[Field], layout: Layout, question: PriceQuestion) -> Styles:
    """Return how the cells of a table are written: from a sample where that is plain, else from all of it."""
    plain = Styles({}, DateStyle())
    numbers, dates = _written_columns(table, fields, question)
    sample = table.sample() if numbers or dates else None
    if sample is None:
        return plain
    sample = sample.keep(np.arange(len(sample.rows)) >= layout.n_name_rows)
    if question.decimal_mark is None and _are_plain(sample, numbers, dates, table.prefers_point):
        return plain
    about_numbers = NumberEvidence(table.prefers_point, DECIMALS.get(question.decimal_mark or ""))
    about_dates = DateEvidence()
    for batch in below_names(table, layout.n_name_rows):
        for name in numbers:
            about_numbers.add(name, distinct_texts(batch.columns[name]))
        for name in dates:
            about_dates.add(distinct_texts(_as_text(batch.columns[name])))
    for doubt, columns in ((about_dates.doubt(), dates), (about_numbers.doubt(), numbers)):
        if doubt is not None:
            raise DataCheckError(f"{place_of(table, doubt.text, columns)}: {doubt}; nothing was written")
    return Styles(about_numbers.styles(), about_dates.style())


def _written_columns(table: TableFile, fields: Sequence[Field], question: PriceQuestion) -> tuple[list[str], list[str]]:
    """Return the columns of numbers and of dates whose cells may be written in many ways; a ratio has its own."""
    numbers, dates = [], []
    for field in fields:
        kind = plain_type(table.type_of(field.name))
        if field.kind == "number" and is_text(kind) and field.name.partition(" of ")[0] != RATIO:
            numbers.append(field.name)
        if field.kind == "date" and question.date_format is None and (is_text(kind) or pa.types.is_integer(kind)):
            dates.append(field.name)
    return numbers, dates


def place_of(table: TableFile, text: str, fields: Sequence[str]) -> str:
    """Return file, row and column of the first cell that holds a text."""
    for batch in table.batches():
        for field in fields:
            cells = _as_text(batch.columns[field]).to_pylist()
            at = next((at for at, cell in enumerate(cells) if cell is not None and text in cell), None)
            if at is not None:
                return f"{table.path}: {table.row_word} {batch.rows[at]}, column {table.columns.source[field]}"
    return str(table.path)


def _are_plain(batch: RawBatch, numbers: list[str], dates: list[str], prefers_point: bool) -> bool:
    if not prefers_point and any("." in text for name in numbers for text in distinct_texts(batch.columns[name])):
        return False
    if any(read_numbers(batch.columns[name]).is_unreadable.any() for name in numbers):
        return False
    reasons = [DateReader().read(batch.columns[name]).reasons for name in dates]
    return all(np.isin(each, (Reason.NONE, Reason.MISSING_VALUE)).all() for each in reasons)


def distinct_texts(column: pa.Array) -> list[str]:
    """Return the texts that occur in a column, without empty ones."""
    return [text for text in distinct_values(column)[1].to_pylist() if text]
