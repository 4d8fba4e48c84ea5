"""Loaded prices and texts: what is there, what looks wrong, what is decided of it, and out again."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from prometheus.cli.options import END, START, First, Last
from prometheus.cli.parameters import date_option, option, parse_date
from prometheus.cli.runner import Answer, command_app, new_group, subcommand, table
from prometheus.errors import UsageError
from prometheus.spelling import spell_instant

if TYPE_CHECKING:
    from prometheus.data.decisions import PriceDecision
    from prometheus.data.reader import PriceRevision
    from prometheus.data.report import InstrumentReport

HEADER = (
    "instrument", "first", "last", "ended on", "rows", "missing sessions", "zero volume", "flat bars",
    "jumps above 50 %",
)  # fmt: skip
DATES_SHOWN = 2
FINDING_COLUMNS = ("instrument", "first", "last", "kind", "evidence", "labels", "way out")
DECISION_COLUMNS = ("instrument", "bar", "close", "decided", "by", "on", "why", "taken back")
REVISION_COLUMNS = ("instrument", "bar", "close", "adjusted", "known from", "until", "then close", "then adjusted")
SERIES_COLUMNS = ("series", "first", "last", "days", "values", "newest known")
DERIVED_AGAIN = "; run the regimes of these dates again"

data = new_group("Say what is loaded and what looks wrong with it, decide of it, take it out again.")

Instruments = Annotated[list[str] | None, option("Only this instrument; may be repeated.")]
MarketId = Annotated[str | None, option("Only instruments of this market.")]
InstrumentId = Annotated[str, typer.Argument(metavar="INSTRUMENT", help="Whose bars.")]
Day = Annotated[date, typer.Argument(metavar="DATE", help="The date of a bar.", parser=parse_date)]
Until = Annotated[date | None, date_option("Up to this date; without it that one date.", "--until", "--end")]
Why = Annotated[str, option("The reason, which is kept.")]
By = Annotated[str | None, option("Who decides; without it the user who runs this.", metavar="NAME")]


@subcommand(data, "", "--instrument-id AAPL.US")
def report(instrument_id: Instruments = None, market_id: MarketId = None) -> Answer:
    """Print span, rows, missing sessions, zero volume and jumps of adjusted closes of each instrument."""
    with command_app("instruments") as application:
        reports = application.prices.report(instrument_id, market_id)
    return Answer(
        lambda: [{**asdict(each), "n_jumps": each.n_jumps} for each in reports],
        lambda: "\n".join(table([HEADER, *map(_row, reports)])),
    )


@subcommand(data, "--json")
def series() -> Answer:
    """Print the stored series: first and last day, days, values with all revisions, and when the newest was known."""
    with command_app("rows") as application:
        found = application.face.series()
    rows = [
        (each.series_id, str(each.first), str(each.last), f"{each.n_days:,}", f"{each.n_values:,}",
         spell_instant(each.newest_known_at, "seconds"))
        for each in found
    ]  # fmt: skip
    return Answer(lambda: [each._asdict() for each in found], lambda: _lines(SERIES_COLUMNS, rows, "series"))


@subcommand(data, "", "--instrument-id AAPL.US --decided")
def check(
    instrument_id: Instruments = None,
    market_id: MarketId = None,
    decided: Annotated[bool, option("Print what was decided, by whom and why, instead.", "--decided")] = False,
) -> Answer:
    """Print the faults that the judge of prices finds and that are not decided yet; exit code 3 if there are any."""
    with command_app("instruments") as application:
        if decided:
            made = application.findings.decisions(instrument_id)
            lines = list(map(_decision_row, made))
            return Answer(
                lambda: [each._asdict() for each in made], lambda: _lines(DECISION_COLUMNS, lines, "decisions")
            )
        found = application.findings.check(instrument_id, market_id)
    rows = [
        (f.instrument_id, str(f.first), str(f.last), f.kind, f.evidence, f.effect, f.way_out) for f in found.findings
    ]
    return Answer(
        lambda: [each.to_dict() for each in found.findings],
        lambda: _lines(FINDING_COLUMNS, rows, "findings"),
        found.exit_code,
        [f"failed: {name}: {reason}" for name, reason in found.failures.items()],
    )


def _decision_row(made: PriceDecision) -> tuple[str, ...]:
    taken_back = "" if made.is_in_force else "the bar has changed"
    if made.reopened_at is not None:
        taken_back = f"{made.reopened_by}, {spell_instant(made.reopened_at)}, {made.reopened_for}"
    return (
        made.instrument_id, str(made.trade_date), f"{made.close:g}", made.verdict.lower(), made.decided_by,
        spell_instant(made.decided_at), made.reason, taken_back,
    )  # fmt: skip


@subcommand(data, "AAPL.US 2020-03-16 --why 'the market did fall so far'", latest="prices")
def accept(instrument: InstrumentId, day: Day, why: Why, by: By = None) -> Answer:
    """Declare a finding real: its bars are believed, and labels are given."""
    with command_app() as application:
        finding, n_bars = application.findings.accept(instrument, day, named_by(by), reason_of(why))
    return _decided(instrument, "accepted", n_bars, f"accepted: {finding} ({_counted(n_bars, 'bar')})")


@subcommand(data, "AAPL.US 2020-03-16 --until 2020-03-18 --why 'a wrong tick'", latest="prices")
def reject(instrument: InstrumentId, day: Day, why: Why, until: Until = None, by: By = None) -> Answer:
    """Leave a finding's bars, or any bar or span, out of every window; the stored prices stay."""
    with command_app() as application:
        n_bars = application.findings.reject(instrument, *_span(day, until), named_by(by), reason_of(why))
    return _decided(instrument, "rejected", n_bars, f"rejected: {_counted(n_bars, 'bar')} of {instrument}")


@subcommand(data, "AAPL.US 2020-03-16 --why 'decided too early'", latest="prices")
def reopen(instrument: InstrumentId, day: Day, why: Why, until: Until = None, by: By = None) -> Answer:
    """Take decisions back; they stay on record."""
    with command_app() as application:
        n_bars = application.findings.reopen(instrument, *_span(day, until), named_by(by), reason_of(why))
    return _decided(instrument, "taken back", n_bars, f"taken back: {_counted(n_bars, 'decision')} on {instrument}")


def _decided(instrument: str, verdict: str, n_bars: int, line: str) -> Answer:
    return Answer(
        lambda: {"instrument_id": instrument, "verdict": verdict, "changed": n_bars}, lambda: f"{line}{DERIVED_AGAIN}"
    )


@subcommand(data, "--instrument-id AAPL.US --start 2020-01-01", latest="prices")
def revisions(
    instrument_id: Instruments = None,
    start: First = START,
    end: Last = END,
    limit: Annotated[int, option("Maximum number of rows.", min=1)] = 1_000,
) -> Answer:
    """Print the bars that were corrected or removed: as they were, until when, and what came after."""
    with command_app() as application:
        found = application.findings.revisions(instrument_id, start, end, limit)
    rows = list(map(_revision_row, found))
    return Answer(lambda: [each._asdict() for each in found], lambda: _lines(REVISION_COLUMNS, rows, "revisions"))


def _revision_row(was: PriceRevision) -> tuple[str, ...]:
    return (
        was.instrument_id, str(was.trade_date), f"{was.close:g}", f"{was.adjusted_close:g}",
        "" if was.known_from is None else spell_instant(was.known_from, "seconds"),
        spell_instant(was.known_until, "seconds"),
        "removed" if was.next_close is None else f"{was.next_close:g}",
        "" if was.next_adjusted_close is None else f"{was.next_adjusted_close:g}",
    )  # fmt: skip


@subcommand(data, "--instrument-id AAPL.US --start 2020-01-01 --plan", "--texts news --source reuters", latest="prices")
def remove(
    instrument_id: Instruments = None,
    texts: Annotated[Literal["macro", "news"] | None, option("Remove texts of this kind instead.")] = None,
    series: Annotated[list[str] | None, option("Remove this series instead; may be repeated.", metavar="NAME")] = None,
    source: Annotated[str | None, option("Only texts of this source.")] = None,
    start: First = START,
    end: Last = END,
    plan: Annotated[bool, option("Say what would be removed; remove nothing.", "--plan", "--dry-run")] = False,
) -> Answer:
    """Take instruments, series, spans of either, or texts out again, with all that was derived from them."""
    first, last = _span(start, end)
    if sum(given is not None for given in (texts, instrument_id, series)) != 1:
        raise UsageError("give one of --series NAME, --instrument-id ID or --texts macro or news")
    if texts is not None and (first, last, source) == (date.min, date.max, None):
        raise UsageError("say which texts: --start, --end or --source")
    if source is not None and texts is None:
        raise UsageError("--source belongs to --texts")
    removed: dict[str, dict[str, int]] = {}
    with command_app() as application:
        if instrument_id is not None:
            removed = application.findings.remove_bars(instrument_id, first, last, is_plan=plan)
        if series is not None:
            removed = application.findings.remove_series(series, first, last, is_plan=plan)
        if texts is not None:
            filters = {} if source is None else {"source": source}
            kind: Literal["MACRO", "NEWS"] = "MACRO" if texts == "macro" else "NEWS"
            removed[f"{texts} texts"] = application.findings.remove_texts(kind, first, last, filters, is_plan=plan)
    verb = "to remove" if plan else "removed"
    lines = [
        f"{name}: {', '.join(f'{n:,} {table_name}' for table_name, n in counts.items())} {verb}"
        for name, counts in removed.items()
    ]
    return Answer(lambda: {"plan": plan, "removed": removed}, lambda: "\n".join(lines))


def named_by(by: str | None) -> str:
    """Return who decides, by default the user who runs this; UsageError for an empty name."""
    with suppress(KeyError, OSError):  # an account without a name
        by = getpass.getuser() if by is None else by
    if not by or not by.strip():
        raise UsageError("--by NAME: say who decides")
    return by.strip()


def reason_of(why: str) -> str:
    """Return a reason without spaces around it; UsageError for none."""
    if not why.strip():
        raise UsageError("--why '': say why")
    return why.strip()


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _span(first: date, until: date | None) -> tuple[date, date]:
    last = first if until is None else until
    if last < first:
        raise UsageError(f"the span ends {last}, before it starts {first}")
    return first, last


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]], what: str) -> str:
    return "\n".join(table([header, *rows])) if rows else f"no {what}"


def _row(report: InstrumentReport) -> tuple[str, ...]:
    missing = "no calendar" if report.n_missing_sessions is None else f"{report.n_missing_sessions:,}"
    return (
        report.instrument_id, str(report.first_date), str(report.last_date), str(report.ended_on or "-"),
        f"{report.n_rows:,}", missing + _listed(report.first_missing, report.n_missing_sessions or 0),
        f"{report.n_zero_volume:,}", f"{report.n_flat_bars:,}",
        f"{report.n_jumps:,}" + _listed(report.jump_dates[:DATES_SHOWN], report.n_jumps),
    )  # fmt: skip


def _listed(dates: Sequence[date], n_all: int) -> str:
    if not dates:
        return ""
    shown = ", ".join(str(day) for day in dates[:DATES_SHOWN])
    return f" ({shown}{', ...' if n_all > DATES_SHOWN else ''})"
