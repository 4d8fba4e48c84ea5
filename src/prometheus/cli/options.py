"""Options shared by several commands, their dates, and the report of a backfill."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

import typer

from prometheus.cli.runner import Answer, option
from prometheus.errors import UsageError

if TYPE_CHECKING:
    from prometheus.backfill.plan import DateSpan
    from prometheus.backfill.work import BackfillRun

TextSource = Literal["macro", "news"]

EARLIEST, LATEST = "0001-01-01", "9999-12-31"
TODAY = "today"

First = Annotated[str, option("First date.", metavar="DATE")]
Last = Annotated[str, option("Last date.", metavar="DATE")]
AsOf = Annotated[str | None, option("Date; if it is not a session, the previous session.", metavar="DATE")]
DateRange = Annotated[tuple[str, str] | None, option("Every session observed in a range instead.", metavar="START END")]
CalendarDate = Annotated[str | None, option("One calendar date.", metavar="DATE")]
CalendarRange = Annotated[tuple[str, str] | None, option("A range, both ends included.", metavar="START END")]
WindowDays = Annotated[
    int | None, option("Sessions in a window; what the encoder needs without it: 63, or 513 for v2.")
]
StandsForRegion = Annotated[
    str | None, option("Instrument that stands for the region; without it the configured members do.")
]
Country = Annotated[str | None, option("Only events of this country.")]
EventType = Annotated[str | None, option("Only events of this type.")]
Language = Annotated[str | None, option("Only articles in this language.")]
HfModelName = Annotated[str, option("A model of the Hugging Face hub, or a local folder.")]
RayAddress = Annotated[
    str | None, option("Of a Ray cluster; RAY_ADDRESS without it, or a cluster of this machine alone.")
]
DryRun = Annotated[bool, option("Say what would be written: rows, bytes, time; write nothing.", "--dry-run", "--plan")]


def parse_date(text: str) -> date:
    """Return an ISO date, or the present one in UTC for ``today``; typer.BadParameter for any other text."""
    if text == TODAY:
        return datetime.now(UTC).date()
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 -- a calendar date has no zone
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date; write YYYY-MM-DD, or {TODAY}") from None


def optional_date(text: str | None) -> date | None:
    """Return an ISO date, None for None."""
    return None if text is None else parse_date(text)


def file_of(region: str, beginning: str, ending: str) -> Path:
    """Return the file here that stands for a region where none is named.

    Examples
    --------
    >>> print(file_of("US/TECH", "regimes", "png"))
    regimes_US%2FTECH.png
    """
    return Path(f"{beginning}_{quote(region, safe='')}.{ending}")


def span_of(as_of: str | None, date_range: tuple[str, str] | None) -> DateSpan:
    """Return the dates wanted; UsageError unless exactly one of the two options is given."""
    from prometheus.backfill.plan import DateSpan

    if (as_of is None) == (date_range is None):
        raise UsageError("give either --as-of DATE or --date-range START END")
    if date_range is not None:
        return DateSpan.of_range(parse_date(date_range[0]), parse_date(date_range[1]))
    return DateSpan.of_date(parse_date(as_of or ""))


def answer_of_run(run: BackfillRun[Any], facts: Mapping[str, Any], subject: str, remark: str = "") -> Answer:
    """Return the result of a backfill and its failures, after `facts` in JSON, and between `subject` and `remark`."""
    skipped = f"; skipped: {run.skipped.describe()}" if run.skipped else ""
    return Answer(
        lambda: {**facts, **run.to_dict()},
        lambda: f"{subject}, {describe(run)}{remark}{skipped}",
        run.exit_code,
        [f"failed: {failure}" for failure in run.failures],
    )


def describe(run: BackfillRun[Any]) -> str:
    """Return the result of a run in words."""
    report = run.report
    n_unchanged, n_failed = report.planned - report.written, len(run.failures)
    n_dropped = getattr(report, "dropped", 0)
    lost = f", {n_dropped} dropped, their bars are gone" if n_dropped else ""
    if run.is_dry:
        size, seconds = f"{report.n_bytes / 1e6:,.1f} MB", run.estimated_seconds
        duration = "time unknown, no earlier run" if seconds is None else f"in about {seconds:,.0f} s"
        return f"{report.written} to write ({size}, {duration}), {n_unchanged} unchanged{lost}, {n_failed} failed"
    return f"{report.written} written, {n_unchanged} unchanged{lost}, {n_failed} failed, {run.seconds:.1f} s"
