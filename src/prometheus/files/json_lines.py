"""Files of JSON lines: one object per line, whose keys, collected from the whole file first, are the columns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from prometheus.errors import DataCheckError
from prometheus.files.columns import ColumnMap, match_columns
from prometheus.files.encodings import open_bytes
from prometheus.files.tables import MAX_RECORD_BYTES, MalformedLine, RawBatch, Reason, TableFile
from prometheus.files.text_lines import line_blocks, refuse_damage, split_lines
from prometheus.market.frames import Field, FieldKind

BLOCK_BYTES = 4 << 20
MAX_KEYS = 10_000
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class JsonTable(TableFile):
    """A file of JSON lines whose keys are known."""

    kinds: Mapping[str, FieldKind]
    encoding: str | None = None

    def batches(self) -> Iterator[RawBatch]:
        """Yield the rows in order, about `BLOCK_BYTES` of text at a time; every cell is text or null."""
        for numbered in _numbered_lines(self.path, self.encoding):
            batch = self._parse(numbered)
            if batch.n_rows:
                yield batch

    def _parse(self, numbered: Sequence[tuple[int, str]]) -> RawBatch:
        numbers: list[int] = []
        malformed: list[MalformedLine] = []
        cells: dict[str, list[str | None]] = {field: [] for field in self.columns.source}
        for number, line in numbered:
            row = self._read_row(parse_object(line))
            if isinstance(row, tuple):
                malformed.append(MalformedLine(number, row[0], line, row[1]))
                continue
            numbers.append(number)
            for field, cell in zip(cells, row, strict=True):
                cells[field].append(cell)
        columns = {field: pa.array(texts, pa.large_string()) for field, texts in cells.items()}
        return RawBatch(np.array(numbers, np.int64), columns, tuple(malformed))

    def _read_row(self, found: dict[str, Any] | Reason) -> list[str | None] | tuple[Reason, str]:
        """Return the cells of a row, or what is wrong with it and in which column."""
        if isinstance(found, Reason):
            return found, ""
        row: list[str | None] = []
        for field, key in self.columns.source.items():
            cell = read_cell(found.get(key), self.kinds[field])
            if isinstance(cell, Reason):
                return cell, field
            row.append(cell)
        return row


class _RepeatedKeyError(ValueError):
    """A key stands twice in one object; never leaves this module."""


def open_json_lines(
    path: Path,
    fields: Sequence[Field],
    required: Collection[str],
    by_hand: Mapping[str, str],
    encoding: str | None = None,
) -> JsonTable:
    """Return a file of JSON lines ready to be read; see `prometheus.files.opening.open_text_table`."""
    found = _collect_keys(path, encoding)
    columns = match_columns(str(path), found, fields, required, by_hand) if found else ColumnMap({}, {}, ())
    return JsonTable(path, columns, {field.name: field.kind for field in fields}, encoding)


def _collect_keys(path: Path, encoding: str | None) -> tuple[str, ...]:
    keys: dict[str, None] = {}
    n_objects, first_fault = 0, ""
    for numbered in _numbered_lines(path, encoding):
        for number, line in numbered:
            found = parse_object(line)
            if isinstance(found, Reason):
                first_fault = first_fault or f"line {number}: {found.label}"
                continue
            n_objects += 1
            keys.update(dict.fromkeys(found))
        if len(keys) > MAX_KEYS:
            raise DataCheckError(f"{path}: more than {MAX_KEYS} different keys; its lines are no rows of one table")
    if not n_objects and first_fault:
        raise DataCheckError(f"{path}: no line is a JSON object ({first_fault}); write one object per line")
    return tuple(keys)


def _numbered_lines(path: Path, encoding: str | None) -> Iterator[list[tuple[int, str]]]:
    next_line = 1
    with refuse_damage(path), open_bytes(path, encoding) as file:
        for block in line_blocks(path, file, BLOCK_BYTES, MAX_RECORD_BYTES):
            lines = split_lines(path, block, next_line, MAX_RECORD_BYTES)
            texts = map(lines.line, range(len(lines.numbers)))
            numbered = zip(lines.numbers.tolist(), texts, strict=True)
            yield [(number, text.decode()) for number, text in numbered if text and not text.isspace()]
            next_line += len(lines.numbers)


def parse_object(line: str) -> dict[str, Any] | Reason:
    """Return the object a line holds, or why it holds none.

    Examples
    --------
    >>> parse_object('{"a": 1, "a": 2}').label
    'repeated key'
    """
    try:
        found = _DECODER.decode(line)
    except _RepeatedKeyError:
        return Reason.REPEATED_KEY
    except RecursionError:
        return Reason.JSON_NESTED_TOO_DEEPLY
    except ValueError:
        return Reason.BROKEN_JSON
    return found if isinstance(found, dict) else Reason.NOT_A_JSON_OBJECT


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedKeyError
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys)


def read_cell(value: Any, kind: FieldKind) -> str | Reason | None:
    """Return a value as the text a CSV would hold, or why it cannot be one; a timestamp may be a whole number."""
    if value is None:
        return None
    if isinstance(value, str):
        return value if is_unicode(value) else Reason.LONE_SURROGATE
    is_flag = isinstance(value, bool)
    if isinstance(value, int) and (kind == "scalar" or (kind == "instant" and not is_flag)):
        return json.dumps(value)
    if isinstance(value, float) and kind == "scalar" and math.isfinite(value):
        return json.dumps(value)
    if kind == "texts":  # what is no list of names is told as names that are not known, and the text is kept
        written = json.dumps(value, ensure_ascii=False)
        return written if is_unicode(written) else Reason.LONE_SURROGATE
    return Reason.NOT_A_TEXT


def is_unicode(text: str) -> bool:
    r"""Return whether a text is free of lone surrogates.

    Examples
    --------
    >>> is_unicode("a\U0001f600"), is_unicode("a\ud83d")
    (True, False)
    """
    return text.isascii() or _SURROGATE.search(text) is None
