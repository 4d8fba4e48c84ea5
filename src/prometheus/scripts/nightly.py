"""Bring every configured region up to date."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.scripts.terminal import Debug, Json, command_app, new_command, parse_date, print_line, run

if TYPE_CHECKING:
    from prometheus.app.nightly_report import NightlyReport, RegionNight

logger = logging.getLogger(__name__)

REGION_COLUMNS = ("region", "as of", "label", "sure", "before", "added", "rewritten", "joint rows")
TEXT_COLUMNS = ("texts", "model", "stored", "embedded")


def nightly(
    as_of: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Up to which date; without it the last session whose close has passed."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="First date wanted; without it the first one stored, or the first one after the calibration.",
        ),
    ] = None,
    max_age_sessions: Annotated[int, typer.Option(min=0, help="Sessions that prices may lack.")] = 0,
    skip_stale: Annotated[
        bool, typer.Option("--skip-stale", help="Leave regions with older prices out instead of doing nothing.")
    ] = False,
    exit_code_if_noop: Annotated[
        int, typer.Option(min=0, max=255, metavar="N", help="Exit code when there was nothing to write.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--plan", help="Say what would be written; write nothing.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Compute and store what is missing of every configured region: embeddings, regimes, texts and joint rows."""
    from prometheus.app.nightly_plan import NightlyRequest

    request = NightlyRequest(
        now_utc=datetime.now(UTC),
        as_of_date=None if as_of is None else parse_date(as_of),
        since=None if since is None else parse_date(since),
        max_age_sessions=max_age_sessions,
        skip_stale=skip_stale,
        dry_run=dry_run,
    )
    with command_app("nightly") as application:
        report = application.nightly.run(request)
    if as_json:
        print_line(json.dumps(report.to_dict(), allow_nan=False))
    else:
        _print_summary(report)
    for name, failures in report.failures.items():
        sys.stderr.write("".join(f"failed: {name}: {failure}\n" for failure in failures))
    if report.exit_code == 0 and report.n_written == 0:
        return exit_code_if_noop
    return report.exit_code


def _print_summary(report: NightlyReport) -> None:
    if report.run_ids:
        logger.info("runs: %s", ", ".join(report.run_ids))
    for line in _table([REGION_COLUMNS, *map(_region_row, report.regions)]):
        print_line(line)
    texts = [
        (night.source_type, night.model_id, f"{night.n_texts:,}", f"{night.n_written:,}")
        for night in report.texts
        if night.n_texts
    ]
    for line in _table([TEXT_COLUMNS, *texts]) if texts else ():
        print_line(line)
    verb = "to write" if report.is_dry else "written"
    print_line(f"{report.n_written:,} rows {verb}, {len(report.failures)} failed, {report.seconds:.1f} s")


def _region_row(night: RegionNight) -> tuple[str, ...]:
    newest = night.newest
    said = ("-", "-", "-") if newest is None else (
        newest.label, f"{newest.confidence:.3f}",
        f"{newest.previous_label or '-'}{' (changed)' if newest.is_changed else ''}",
    )  # fmt: skip
    counts = (night.n_added, night.n_rewritten, night.n_joint_rows)
    day = night.as_of_date if newest is None else newest.as_of_date
    return (night.region, str(day), *said, *(f"{count:,}" for count in counts))


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines with columns aligned: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    are_numbers = [rows[-1][at].replace(",", "").isdigit() for at in range(len(widths))]
    for row in rows:
        cells = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, are_numbers, strict=True)
        ]
        yield "  ".join(cells).rstrip()


app = new_command(nightly)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.nightly"))
