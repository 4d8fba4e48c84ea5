"""Whether a labeller of your own changes what it said of the past."""

from __future__ import annotations

import json
import sys
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.errors import InputRefusedError, UsageError
from prometheus.scripts.terminal import (
    Debug,
    Json,
    command_app,
    new_command,
    parse_date,
    print_line,
    progress,
    run,
)

if TYPE_CHECKING:
    from prometheus.evaluation.history import MarketHistory
    from prometheus.evaluation.repaint import RepaintReport

EXIT_REPAINTED = 3
N_WARM_UP = 252


def check_repaint(
    labeller: Annotated[
        str, typer.Option(metavar="MODULE:FUNCTION", help="Called as FUNCTION(dates, closes); one label per session.")
    ],
    instrument_id: Annotated[str, typer.Option(help="Instrument whose stored adjusted closes are labelled.")],
    start: Annotated[
        str | None, typer.Option(metavar="DATE", help="First date run again; a year into the history by default.")
    ] = None,
    end: Annotated[str, typer.Option(metavar="DATE", help="Last date run again.")] = "9999-12-31",
    every: Annotated[int, typer.Option(min=1, help="Run every so many sessions again; 1 for all.")] = 21,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Label all stored sessions at once, and past dates again on data cut there; name the labels that differ.

    A label that could have been acted on never changes. Exit code 3 if any did.
    """
    first, last = None if start is None else parse_date(start), parse_date(end)
    if first is not None and last < first:
        raise UsageError(f"--end {last} lies before --start {first}")
    from prometheus.evaluation.own_labeller import load_labeller
    from prometheus.evaluation.repaint import check_repaint as check

    function = load_labeller(labeller)
    with command_app() as application:
        history = application.evaluations.history(instrument_id)
    positions = _positions(history, first, last)[::every]
    if not positions:
        raise InputRefusedError(
            f"{instrument_id}: none of its {len(history)} sessions, {history.dates[0]} to {history.dates[-1]}, is to "
            f"be run again; give another --start or --end"
        )
    with progress("dates") as report_progress:
        report = check(function, history, positions, report_progress)
    if as_json:
        print_line(json.dumps({"labeller": labeller, "instrument_id": instrument_id, **report.to_dict()}))
    else:
        _print_report(labeller, instrument_id, report)
    return EXIT_REPAINTED if report.n_changed else 0


def _positions(history: MarketHistory, first: date | None, last: date) -> list[int]:
    import numpy as np

    begin = N_WARM_UP if first is None else history.position_of(np.datetime64(first, "D"))
    end = int(np.searchsorted(history.dates, np.datetime64(last, "D"), side="right"))
    return list(range(begin, end))


def _print_report(labeller: str, instrument_id: str, report: RepaintReport) -> None:
    verdict = "no repaint" if not report.n_changed else "repaints"
    print_line(
        f"{labeller}, {instrument_id}: {report.n_checked} dates run again on data cut there, {report.n_changed} labels "
        f"changed ({report.share:.2%}): {verdict}"
    )
    if report.n_changed:
        print_line(f"{'date':<12}{'then':<20}now")
    for each in report.first_changed:
        print_line(f"{each.day!s:<12}{each.then:<20}{each.now}")
    if report.n_changed > len(report.first_changed):
        print_line(f"... and {report.n_changed - len(report.first_changed)} more")


app = new_command(check_repaint)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.check_repaint"))
