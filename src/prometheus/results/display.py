"""How results look: aligned text for a console, a small table for a notebook; only the first and the last rows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from prometheus.results.columns import Column, shorten

N_HEAD = N_TAIL = 5
GAP = "…"


def to_text(headline: str, columns: Sequence[Column], n_rows: int, notes: Sequence[str] = ()) -> str:
    """Return a headline, the rows in aligned columns, and notes; numbers stand to the right."""
    rows = [[column.name for column in columns], *_cells(columns, n_rows)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join([shorten(headline), *(lines if n_rows else []), *map(shorten, notes)])


def to_html(headline: str, columns: Sequence[Column], n_rows: int, notes: Sequence[str] = ()) -> str:
    """Return the same as a table, every text escaped.

    No colour is set, so that it is read in a dark notebook as in a light one, and nothing is fetched. The classes keep
    MathJax from reading dollars in texts as formulas.
    """
    head = "".join(_tag("th", column.name, column) for column in columns)
    body = "".join(
        f"<tr>{''.join(_tag('td', cell, column) for cell, column in zip(row, columns, strict=True))}</tr>"
        for row in _cells(columns, n_rows)
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if n_rows else ""
    below = "".join(f"<div>{escape(shorten(note))}</div>" for note in notes)
    return f'<div class="tex2jax_ignore mathjax_ignore"><div>{escape(shorten(headline))}</div>{table}{below}</div>'


def _tag(name: str, cell: str, column: Column) -> str:
    side = "right" if column.is_number else "left"
    return f'<{name} style="text-align: {side}">{escape(cell)}</{name}>'


def _cells(columns: Sequence[Column], n_rows: int) -> list[list[str]]:
    if n_rows <= N_HEAD + N_TAIL + 2:
        return [[column.cell(at) for column in columns] for at in range(n_rows)]
    head, tail = range(N_HEAD), range(n_rows - N_TAIL, n_rows)
    return [
        *([column.cell(at) for column in columns] for at in head),
        [GAP for _ in columns],
        *([column.cell(at) for column in columns] for at in tail),
    ]
