"""Instruments and the days of their markets: what is known, and what people tell of them."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer

from prometheus.cli.data import By, named_by, reason_of
from prometheus.cli.parameters import date_option, option, parse_date
from prometheus.cli.runner import Answer, command_app, new_group, subcommand, table
from prometheus.errors import NotFoundError

COLUMNS = ("instrument", "market", "name", "first", "newest", "told")
CLOSURE_COLUMNS = ("market", "day", "why", "told by")
UNDO = "Take it back."

instruments = new_group("List instruments, and tell which were renamed or ended.")
calendar = new_group("Tell on which days a market was closed though its calendar has a session.")

Old = Annotated[str, typer.Argument(metavar="OLD", help="The id that its history has now.")]
New = Annotated[str, typer.Argument(metavar="NEW", help="The id under which its history goes on.")]
Instrument = Annotated[str, typer.Argument(metavar="INSTRUMENT", help="Which instrument.")]
Market = Annotated[str, typer.Argument(metavar="MARKET", help="Which market, such as US_EQ.")]
Reason = Annotated[str, option("The reason, which is kept.", "--reason", "--why")]
Day = Annotated[date, typer.Argument(metavar="DATE", help="A session of its calendar.", parser=parse_date)]


@subcommand(instruments, "", "--market-id US_EQ", name="list")
def list_(market_id: Annotated[str | None, option("Only instruments of this market.")] = None) -> Answer:
    """Print the instruments, how far their bars reach, and what was told of them."""
    with command_app("instruments") as application:
        found = application.instruments.listed(market_id)
    rows = [
        (each.instrument.instrument_id, each.instrument.market_id, each.instrument.name or "",
         str(each.first or "-"), str(each.newest or "-"), each.told)
        for each in found
    ]  # fmt: skip
    return Answer(
        lambda: [each.to_dict() for each in found],
        lambda: "\n".join(table([COLUMNS, *rows])) if rows else "no instruments",
    )


@subcommand(instruments, "AAPL.US")
def show(instrument: Instrument) -> Answer:
    """Print what is known of one instrument."""
    with command_app("instruments") as application:
        found = [each for each in application.instruments.listed() if each.instrument.instrument_id == instrument]
    if not found:
        raise NotFoundError(f"there is no instrument {instrument!r}; list them: python -m prometheus instruments list")
    facts = found[0].to_dict()
    return Answer(lambda: facts, lambda: "\n".join(f"{name}: {value}" for name, value in facts.items() if value))


@subcommand(instruments, "FB.US META.US --from 2022-06-09", "FB.US META.US --undo")
def rename(
    old: Old,
    new: New,
    from_date: Annotated[
        date | None, date_option("First date under the new id; without it that of its first bar.", "--from")
    ] = None,
    by: By = None,
    undo: Annotated[
        bool, option(f"{UNDO} The bars that were carried over go, with all made of them.", "--undo")
    ] = False,
) -> Answer:
    """Let the history of an instrument go on under another id; regions that name the old one follow."""
    with command_app("instruments") as application:
        if undo:
            removed = application.instruments.take_rename_back(old, new)
            line = f"{old} is not renamed any longer; {_counts(removed)} removed"
            return Answer(lambda: {"old_id": old, "new_id": new, "undone": True, "rows": removed}, lambda: line)
        made, carried = application.instruments.rename(old, new, from_date, named_by(by))
    line = f"{old} goes on as {new} from {made.from_date} on; {_counts(carried)} carried over"
    return Answer(lambda: {"old_id": old, "new_id": new, "undone": False, "rows": carried}, lambda: line)


@subcommand(instruments, "AAPL.US --reason 'bought by another'", "AAPL.US --undo")
def end(
    instrument: Instrument,
    on: Annotated[date | None, date_option("Its last date; without it that of its newest bar.", "--on")] = None,
    reason: Reason = "it ended",
    by: By = None,
    undo: Annotated[bool, option(UNDO, "--undo")] = False,
) -> Answer:
    """Tell that an instrument ended: nights owe it no bars, and its regions are counted and left out."""
    with command_app("instruments") as application:
        if undo:
            was_told = application.instruments.take_end_back(instrument)
            line = f"{instrument} {'has not ended' if was_told else 'was not told to have ended'}"
            return Answer(lambda: {"instrument_id": instrument, "ended_on": None, "changed": was_told}, lambda: line)
        day, is_new = application.instruments.end(instrument, on, reason_of(reason), named_by(by))
    facts = {"instrument_id": instrument, "ended_on": str(day), "changed": is_new}
    return Answer(lambda: facts, lambda: f"{instrument} ended on {day}{'' if is_new else ', as was told before'}")


@subcommand(calendar, "US_EQ 2018-12-06 --reason 'a storm'")
def close(market: Market, day: Day, reason: Reason, by: By = None) -> Answer:
    """Tell that a market was closed on a day: nights owe no bars of it."""
    with command_app("instruments") as application:
        is_new = application.instruments.close(market, day, reason_of(reason), named_by(by))
    facts = {"market_id": market, "day": str(day), "closed": True, "changed": is_new}
    return Answer(lambda: facts, lambda: f"{market} was closed on {day}{'' if is_new else ', as was told before'}")


@subcommand(calendar, "US_EQ 2018-12-06")
def reopen(market: Market, day: Day) -> Answer:
    """Take back that a market was closed on a day."""
    with command_app("instruments") as application:
        was_told = application.instruments.reopen(market, day)
    facts = {"market_id": market, "day": str(day), "closed": False, "changed": was_told}
    said = "was open" if was_told else "was not told to be closed"
    return Answer(lambda: facts, lambda: f"{market} {said} on {day}")


@subcommand(calendar, "")
def closed() -> Answer:
    """Print the days on which markets were told to be closed."""
    with command_app("instruments") as application:
        found = application.instruments.closures()
    rows = [(each.market_id, str(each.day), each.reason, each.told_by) for each in found]
    return Answer(
        lambda: [each._asdict() for each in found],
        lambda: "\n".join(table([CLOSURE_COLUMNS, *rows])) if rows else "no days",
    )


def _counts(rows: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in rows.items() if n) or "no rows"
