"""Options shared by several commands, their dates, and the report of a backfill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from prometheus.cli.parameters import date_option, option
from prometheus.cli.runner import Answer
from prometheus.errors import UsageError

if TYPE_CHECKING:
    from prometheus.backfill.plan import DateSpan
    from prometheus.backfill.work import BackfillRun

TextSource = Literal["macro", "news"]

START, END = date.min, date.max
REGIMES_FOLDER = Path("regimes")
"""Where calibrations of many instruments are, and what is made of them."""

First = Annotated[date, date_option("First date.")]
Last = Annotated[date, date_option("Last date.")]
AsOf = Annotated[date | None, date_option("Date; if it is not a session, the previous session.")]
WindowDays = Annotated[
    int | None, option("Sessions in a window; what the encoder needs without it: 63, or 513 for v2.")
]
StandsForRegion = Annotated[
    str | None, option("Instrument that stands for the region; without it the configured members do.")
]
MembersOf = Annotated[
    str | None, option("Instead: every instrument of a market, each a region of its own name with its own calibration.")
]
Country = Annotated[str | None, option("Only events of this country.")]
EventType = Annotated[str | None, option("Only events of this type.")]
Language = Annotated[str | None, option("Only articles in this language.")]
HfModelName = Annotated[str, option("A model of the Hugging Face hub, or a local folder.")]
RayAddress = Annotated[
    str | None, option("Of a Ray cluster; RAY_ADDRESS without it, or a cluster of this machine alone.")
]
Force = Annotated[bool, option("Replace a file that is there, whatever it is.", "--force")]
DryRun = Annotated[bool, option("Say what would be written: rows, bytes, time; write nothing.", "--dry-run", "--plan")]


@dataclass(frozen=True, slots=True)
class Sessions:
    """One session, or all of a range."""

    as_of: AsOf = None
    date_range: Annotated[
        tuple[date, date] | None, date_option("Every session observed in a range instead.", metavar="START END")
    ] = None
    start: Annotated[date | None, date_option("First date of the range, with --end.")] = None
    end: Annotated[date | None, date_option("Last date of the range, with --start.")] = None

    def span(self) -> DateSpan:
        """Return the dates wanted; UsageError unless they are given in exactly one way."""
        from prometheus.backfill.plan import DateSpan

        ranges = [each for each in (self.date_range, (self.start, self.end)) if each is not None and any(each)]
        if self.as_of is not None and not ranges:
            return DateSpan.of_date(self.as_of)
        first, last = ranges[0] if len(ranges) == 1 else (None, None)
        if self.as_of is None and first is not None and last is not None:
            return DateSpan.of_range(first, last)
        raise UsageError("give either --as-of DATE, or --date-range START END, or --start DATE with --end DATE")


@dataclass(frozen=True, slots=True)
class CalendarDates(Sessions):
    """One calendar date, or all of a range."""

    as_of: Annotated[date | None, date_option("One calendar date.")] = None
    date_range: Annotated[
        tuple[date, date] | None, date_option("A range, both ends included.", metavar="START END")
    ] = None


@dataclass(frozen=True, slots=True)
class FoundTexts:
    """Which texts a search may find."""

    start: Annotated[date | None, date_option("First date of the texts.", "--start", "--from")] = None
    end: Annotated[date | None, date_option("Last date of the texts.", "--end", "--to")] = None
    country: Annotated[str | None, option("Only texts of this country.")] = None
    publisher: Annotated[str | None, option("Only texts of this source.")] = None
    event_type: Annotated[str | None, option("Only texts of this type.", "--event-type", "--type")] = None
    author: Annotated[
        str | None,
        option("Only texts by this author or speaker, in full or in part; kept by ingest --metadata-column author."),
    ] = None
    language: Annotated[str | None, option("Only texts in this language.")] = None
    instrument_id: Annotated[list[str] | None, option("Only texts that concern this instrument; may be repeated.")] = (
        None
    )
    stance: Annotated[
        Literal["hawkish", "dovish", "neutral"] | None,
        option("Only texts of this main stance, as the newest head of fit_stance reads them."),
    ] = None


SESSIONS, CALENDAR_DATES, FOUND_TEXTS = Sessions(), CalendarDates(), FoundTexts()


def require_order(start: date | None, end: date) -> None:
    """Raise UsageError if a span ends before it starts."""
    if start is not None and end < start:
        raise UsageError(f"--end {end} lies before --start {start}")


def require_no(chosen: str, **others: Any) -> None:
    """Raise UsageError where an option was given that does not go with the one chosen."""
    for name, value in others.items():
        if value is not None:
            raise UsageError(f"{chosen} and --{name.replace('_', '-')} do not go together; leave one away")


def file_of(region: str, beginning: str, ending: str) -> Path:
    """Return the file here that stands for a region where none is named.

    Examples
    --------
    >>> print(file_of("US/TECH", "regimes", "png"))
    regimes_US%2FTECH.png
    """
    return Path(f"{beginning}_{quote(region, safe='')}.{ending}")


def wrote(path: Path, *, is_changed: bool) -> str:
    """Return how a line about a written file begins."""
    return f"{'wrote' if is_changed else 'unchanged:'} {path}"


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
