"""The log of nights: listed, and one of them shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.cli.parameters import option
from prometheus.cli.runner import Answer, command, command_app, table

if TYPE_CHECKING:
    from prometheus.data.nightly_runs import NightlyRun

COLUMNS = ("run", "started", "result", "as of", "seconds", "rows", "failed", "skipped", "findings")


@command("", "--n 3 --json")
def runs(
    n: Annotated[int, option("How many.", "--n", "-n", min=1, max=1_000)] = 10,
) -> Answer:
    """Print the newest nights, newest first: how each ended, what it wrote and what it left out.

    One that was killed did not end. `runs show ID` tells all of one.
    """
    with command_app("runs") as application:
        found = application.runs.newest(n)
    lines = [*table([COLUMNS, *map(_row, found)], numbers_right=True)] if found else ["no night has run yet"]
    return Answer(lambda: [each.to_dict() for each in found], lambda: "\n".join(lines))


@command("3f2a", "3f2a --json")
def runs_show(
    run_id: Annotated[str, typer.Argument(help="Id of a run, or an unmistakable beginning of it.", metavar="ID")],
) -> Answer:
    """Print one night: its rows by table, and what failed, was skipped, and why."""
    with command_app("runs") as application:
        found = application.runs.find(run_id)
    return Answer(found.to_dict, lambda: "\n".join(_lines(found)))


def _row(run: NightlyRun) -> tuple[str, ...]:
    seconds = "-" if run.seconds is None else f"{run.seconds:.1f}"
    counts = (run.n_written, len(run.failures), len(run.skipped), run.findings.get("open", 0))
    return (
        run.run_id, _spelled(run.started_at), run.result.words, str(run.as_of_date or "-"), seconds,
        *(f"{count:,}" for count in counts),
    )  # fmt: skip


def _lines(run: NightlyRun) -> Iterator[str]:
    yield f"run: {run.run_id}, {run.command} by version {run.version}"
    ended = "" if run.ended_at is None else f" to {_spelled(run.ended_at)}, {run.seconds or 0.0:.1f} s"
    yield f"ran: {_spelled(run.started_at)}{ended}"
    code = "" if run.exit_code is None else f", exit code {run.exit_code}"
    yield f"result: {run.result.words}{code}{'' if run.message is None else f': {run.message}'}"
    yield f"as of: {', '.join(f'{day} of {market}' for market, day in run.sessions.items()) or run.as_of_date or '-'}"
    yield f"rows: {', '.join(f'{count:,} of {name}' for name, count in run.rows_written.items()) or 'none'}"
    for kind, counts in run.standings.items():
        yield f"{kind}: {', '.join(f'{count:,} {name}' for name, count in counts.items()) or 'none'}"
    yield f"findings: {run.findings.get('open', 0)} open, {run.findings.get('new', 0)} new"
    yield from (f"skipped: {each['kind']} {each['name']}: {each['why']}" for each in run.skipped)
    yield from (f"failed: {each['name']}: {each['why']}" for each in run.failures)
    yield f"backfills: {', '.join(run.backfills) or 'none'}"


def _spelled(instant: datetime) -> str:
    """Return an instant by the clock of this machine, with its offset."""
    return instant.astimezone().isoformat(" ", "seconds")
