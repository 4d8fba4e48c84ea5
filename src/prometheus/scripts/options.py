"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.errors import UsageError
from prometheus.scripts.terminal import parse_date

if TYPE_CHECKING:
    from prometheus.backfill.plan import DateSpan

AsOf = Annotated[str | None, typer.Option(metavar="DATE", help="The date; the last session if it is none.")]
DateRange = Annotated[
    tuple[str, str] | None, typer.Option(metavar="START END", help="Every session observed in a range instead.")
]

WindowDays = Annotated[
    int | None, typer.Option(help="Sessions in a window; what the encoder needs without it: 63, or 513 for v2.")
]


def span_of(as_of: str | None, date_range: tuple[str, str] | None) -> DateSpan:
    """Return the dates wanted.

    Raises
    ------
    UsageError
        Not exactly one of the two options is given.
    """
    from prometheus.backfill.plan import DateSpan

    if (as_of is None) == (date_range is None):
        raise UsageError("give either --as-of DATE or --date-range START END")
    if date_range is not None:
        return DateSpan.of_range(parse_date(date_range[0]), parse_date(date_range[1]))
    return DateSpan.of_date(parse_date(as_of or ""))
