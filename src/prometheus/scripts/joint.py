"""What the joint commands share: building rows for regions, and listing them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prometheus.scripts.backfills import describe
from prometheus.scripts.options import span_of
from prometheus.scripts.terminal import command_app, parse_date, print_line

if TYPE_CHECKING:
    from prometheus.app.joint import JointModelChoice
    from prometheus.backfill.joint import JointRun
    from prometheus.encoders.joint.examples import JointSpace

_OF_THE_RUN = ("run_id", "seconds", "dry_run", "estimated_seconds")
COLUMNS = ("as_of_date", "region", "model_id", "dim", "l2_norm")

Regions = Annotated[list[str], typer.Option(help="Region to join; may be repeated.")]
AsOf = Annotated[str | None, typer.Option(metavar="DATE", help="One calendar date.")]
DateRange = Annotated[tuple[str, str] | None, typer.Option(metavar="START END", help="A range, both ends included.")]
JointModelId = Annotated[str, typer.Option(help="joint-regime-core-v1, or joint-regime-core-v2 and names after it.")]
NumericModelId = Annotated[str, typer.Option(help="Encoder whose regime embeddings are joined.")]
NumericWeight = Annotated[float | None, typer.Option(help="Weight of the numeric branch.")]
TextWeight = Annotated[float | None, typer.Option(help="Weight of the text branch.")]
TextShare = Annotated[float | None, typer.Option(help="Share of the texts in squared distance, instead of weights.")]
CentreUntil = Annotated[
    str | None, typer.Option(metavar="DATE", help="v2, first run: take the frozen means of dates up to this one.")
]
Timezone = Annotated[str, typer.Option(help="In which a text's timestamp becomes a calendar date.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Name the dates that were skipped.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many rows.")]


def backfill_joint(
    space: JointSpace,
    regions: Sequence[str],
    as_of: str | None,
    date_range: tuple[str, str] | None,
    filters: dict[str, str | None],
    models: JointModelChoice,
    *,
    timezone: str,
    verbose: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Build and store the joint rows of some regions, and print a line for each."""
    from prometheus.backfill.joint import JointRequest

    span = span_of(as_of, date_range)
    requests = [
        JointRequest(space, region, span, models.numeric_model_id, models.text_model_id, filters, timezone)
        for region in dict.fromkeys(regions)
    ]
    with command_app("regions") as app:
        done = app.joint.backfill(requests, models, dry_run=dry_run)
    if as_json:
        closing = {key: value for key, value in done.to_dict().items() if key in _OF_THE_RUN}
        print_line(json.dumps([{**_facts(run, models.joint_model_id), **closing} for run in done.report.runs]))
        return 0
    if dry_run:
        print_line(f"{models.joint_model_id}: {describe(done)}")
    for run in done.report.runs:
        print_line(_summary(run, models.joint_model_id, "to write" if dry_run else "written"))
        if verbose:
            for reason, days in (("no text", run.without_text), ("no regime", run.without_regime)):
                sys.stderr.write("".join(f"skipped: {run.region} {day}: {reason}\n" for day in days))
    return 0


def show_joint(
    space: JointSpace, region: str, start: str, end: str, model_id: str, limit: int | None, *, as_json: bool
) -> int:
    """Print a region's joint rows as CSV or JSON."""
    first, last = parse_date(start), parse_date(end)
    with command_app() as app:
        rows = app.joint.rows(space, region, model_id, first, last, limit)
    if as_json:
        facts = [
            {
                "as_of_date": str(row.as_of_date), "region": region, "model_id": row.model_id,
                "dim": int(row.vector.size), "l2_norm": row.l2_norm, "entity_scope": row.entity_scope,
            }
            for row in rows
        ]  # fmt: skip
        print_line(json.dumps(facts))
        return 0
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.as_of_date, region, row.model_id, row.vector.size, f"{row.l2_norm:.6f}") for row in rows)
    return 0


def _summary(run: JointRun, model_id: str, verb: str) -> str:
    share = "" if run.text_share is None else f"; texts hold {run.text_share:.3g} of the squared distance"
    return (
        f"{model_id}: {run.region}, {run.report.planned} dates joined, {run.report.written} {verb}, "
        f"{run.report.unchanged} unchanged; skipped {len(run.without_text)} without text, "
        f"{len(run.without_regime)} without regime{share}"
    )


def _facts(run: JointRun, model_id: str) -> dict[str, Any]:
    return {
        "model_id": model_id,
        "region": run.region,
        "planned": run.report.planned,
        "written": run.report.written,
        "unchanged": run.report.unchanged,
        "failed": 0,
        "bytes": run.report.n_bytes,
        "without_text": [str(day) for day in run.without_text],
        "without_regime": [str(day) for day in run.without_regime],
        "text_share": run.text_share,
    }
