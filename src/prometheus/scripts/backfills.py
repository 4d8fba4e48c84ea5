"""What the backfill commands share: who does the work, and the closing summary."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prometheus.scripts.terminal import print_line

if TYPE_CHECKING:
    from prometheus.backfill.run import BackfillRun

Engine = Annotated[str, typer.Option(help="local: processes of this machine; ray: a Ray cluster (extra: ray).")]
Workers = Annotated[int | None, typer.Option(help="Processes, or tasks at once on a cluster; one per core without it.")]
RayAddress = Annotated[
    str | None, typer.Option(help="Of a Ray cluster; RAY_ADDRESS without it, or a cluster of this machine alone.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", "--plan", help="Say what would be written: rows, bytes, time; write nothing.")
]


def show_run(run: BackfillRun[Any], facts: Mapping[str, Any], subject: str, *, as_json: bool, remark: str = "") -> int:
    """Print what a backfill did, or would do, name each failure, and return the exit code.

    Parameters
    ----------
    facts
        JSON values to stand before those of the run.
    subject
        The line of people up to what came of it.
    remark
        What stands behind that.
    """
    if as_json:
        print_line(json.dumps({**facts, **run.to_dict()}))
    else:
        print_line(f"{subject}, {describe(run)}{remark}")
    for failure in run.failures:
        sys.stderr.write(f"failed: {failure}\n")
    return run.exit_code


def describe(run: BackfillRun[Any]) -> str:
    """Return what a run did, or would do, in words."""
    report = run.report
    n_unchanged, n_failed = report.planned - report.written, len(run.failures)
    if run.is_dry:
        size, seconds = f"{report.n_bytes / 1e6:,.1f} MB", run.estimated_seconds
        duration = "in an unknown time, as none was run before" if seconds is None else f"in about {seconds:,.0f} s"
        return f"{report.written} to write ({size}, {duration}), {n_unchanged} unchanged, {n_failed} failed"
    return f"{report.written} written, {n_unchanged} unchanged, {n_failed} failed, {run.seconds:.1f} s"
