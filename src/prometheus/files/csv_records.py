"""Rows of a CSV of texts, where a quoted cell may hold line breaks.

A quotation mark opens a cell only where the cell begins; a line that opens one and does not close it goes on up to the
line that does. That is believed only where the joined lines are well-formed cells: otherwise the first of them is
refused alone, so a stray quote costs its own line and never the ones that follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.files.rejects import Reason
from prometheus.files.tables import MalformedLine
from prometheus.files.text_lines import Lines, split_lines

_QUOTED = rb'"[^"]*+(?:""[^"]*+)*+"'
_BARE = rb'(?:[^",\n][^,\n]*+)?+'
_ROW = re.compile(rb"(?:%b|%b)(?:,(?:%b|%b))*+" % (_QUOTED, _BARE, _QUOTED, _BARE))


def is_row(line: bytes) -> bool:
    r"""Return whether a line, or lines, are cells: quoted ones by RFC 4180, others with any quotes but a leading one.

    Examples
    --------
    >>> is_row(b'a,"b\nc ""d"" e"'), is_row(b'a,5" disk'), is_row(b'a,"b'), is_row(b'a,"b"c')
    (True, True, False, False)
    """
    return b'"' not in line or _ROW.fullmatch(line) is not None


def join_records(
    path: Path, blocks: Iterator[bytes], max_line_bytes: int
) -> Iterator[tuple[Lines, tuple[MalformedLine, ...]]]:
    """Yield whole rows, each numbered by its first line, and the lines that open a cell nobody closes.

    Parameters
    ----------
    blocks
        Bytes that end with a line feed.
    max_line_bytes
        Longest row, and with it the longest search for the end of a cell.
    """
    next_line, rest = 1, b""
    for block in chain(blocks, [b""]):
        if not rest and not block:
            return
        lines = split_lines(path, rest + block, next_line, max_line_bytes)
        spans, is_stray, n_whole = _find_cells_over_lines(lines, max_line_bytes, is_last=not block)
        n_bytes = int(lines.ends[n_whole - 1]) if n_whole else 0
        next_line, rest = next_line + n_whole, lines.text[n_bytes:]
        if n_whole:
            is_end = np.ones(n_whole, dtype=bool)
            for first, last in spans:
                is_end[first:last] = False
            is_start = np.concatenate([[True], is_end[:-1]])
            whole = Lines(lines.text[:n_bytes], lines.numbers[:n_whole][is_start], lines.ends[:n_whole][is_end])
            yield whole.take_out(is_stray[:n_whole][is_start], Reason.BROKEN_QUOTES)


def _find_cells_over_lines(
    lines: Lines, max_bytes: int, *, is_last: bool
) -> tuple[list[tuple[int, int]], NDArray[np.bool_], int]:
    """Return first and last line of each row of several lines, which lines are stray, and how many lines are whole."""
    n_quotes, starts = _count_quotes(lines), lines.starts
    odd = np.flatnonzero(n_quotes % 2)
    spans: list[tuple[int, int]] = []
    is_stray = np.zeros(len(lines.ends), dtype=bool)
    done = -1
    for first in np.flatnonzero(n_quotes).tolist():
        if first <= done or is_row(lines.line(first)):
            continue
        later = np.searchsorted(odd, first, side="right")
        if n_quotes[first] % 2 and later == len(odd) and not is_last and len(lines.text) - starts[first] <= max_bytes:
            return spans, is_stray, first
        if n_quotes[first] % 2 and later < len(odd) and _is_joined_row(lines, first, int(odd[later]), max_bytes):
            done = int(odd[later])
            spans.append((first, done))
        else:
            is_stray[first] = True
    return spans, is_stray, len(lines.ends)


def _is_joined_row(lines: Lines, first: int, last: int, max_bytes: int) -> bool:
    start, end = int(lines.starts[first]), int(lines.ends[last])
    return end - start <= max_bytes and is_row(lines.text[start:end].rstrip(b"\r\n"))


def _count_quotes(lines: Lines) -> Int64Vector:
    is_quote = np.frombuffer(lines.text, np.uint8) == ord('"')
    if not len(lines.ends):
        return np.zeros(0, np.int64)
    return np.add.reduceat(is_quote, lines.starts, dtype=np.int64)


def is_inside_cell(lines: Lines, positions: Int64Vector) -> NDArray[np.bool_]:
    """Return which bytes follow an odd number of quotes of their row, as in a quoted cell; shape like `positions`."""
    n_quotes = np.concatenate([[0], np.cumsum(np.frombuffer(lines.text, np.uint8) == ord('"'))])
    row = np.searchsorted(lines.ends, positions, side="right")
    inside: NDArray[np.bool_] = (n_quotes[positions] - n_quotes[lines.starts[row]]) % 2 == 1
    return inside
