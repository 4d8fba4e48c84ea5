"""Say what is loaded and what looks wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.scripts.terminal import Debug, Json, command_app, new_group, print_line, run, table

if TYPE_CHECKING:
    from prometheus.data.report import InstrumentReport

HEADER = (
    "instrument", "first", "last", "ended on", "rows", "missing sessions", "zero volume", "flat bars",
    "jumps above 50 %",
)  # fmt: skip
DATES_SHOWN = 2

app = new_group("Say what is loaded and what looks wrong with it.")


@app.callback()
def _data() -> None:
    """Keep `report` a sub-command although it is the only one."""


@app.command()
def report(
    instrument_id: Annotated[list[str] | None, typer.Option(help="Only this instrument; may be repeated.")] = None,
    market_id: Annotated[str | None, typer.Option(help="Only instruments of this market.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Print span, rows, missing sessions, zero volume and jumps above 50 % of each instrument."""
    with command_app("instruments") as application:
        reports = application.prices.report(instrument_id, market_id)
    if as_json:
        print_line(json.dumps([{**asdict(each), "n_jumps": each.n_jumps} for each in reports], default=str))
    else:
        print_line(_table(reports))
    return 0


def _table(reports: Sequence[InstrumentReport]) -> str:
    return "\n".join(table([HEADER, *(_row(each) for each in reports)]))


def _row(report: InstrumentReport) -> tuple[str, ...]:
    missing = "no calendar" if report.n_missing_sessions is None else f"{report.n_missing_sessions:,}"
    return (
        report.instrument_id,
        str(report.first_date),
        str(report.last_date),
        "-" if report.ended_on is None else str(report.ended_on),
        f"{report.n_rows:,}",
        missing + _listed(report.first_missing, report.n_missing_sessions or 0),
        f"{report.n_zero_volume:,}",
        f"{report.n_flat_bars:,}",
        f"{report.n_jumps:,}" + _listed(report.jump_dates[:DATES_SHOWN], report.n_jumps),
    )


def _listed(dates: Sequence[date], n_all: int) -> str:
    if not dates:
        return ""
    shown = ", ".join(str(day) for day in dates[:DATES_SHOWN])
    return f" ({shown}{', ...' if n_all > DATES_SHOWN else ''})"


if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus data"))
