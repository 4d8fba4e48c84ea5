"""Compute the regime of a region from the prices of one instrument, or of those it is configured with."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from prometheus.scripts.backfills import DryRun, show_run
from prometheus.scripts.options import AsOf, DateRange, WindowDays, span_of
from prometheus.scripts.terminal import Debug, Json, command_app, new_command, print_line, run

logger = logging.getLogger(__name__)


def run_numeric_regime(
    region: Annotated[str, typer.Option(help="Region the regime is stored for.")],
    instrument_id: Annotated[
        str | None, typer.Option(help="Instrument that stands for the region; without it the configured members do.")
    ] = None,
    as_of: AsOf = None,
    date_range: DateRange = None,
    window_days: WindowDays = None,
    model_id: Annotated[
        str | None,
        typer.Option(help="Numeric encoder; without it the one the prototypes were made with, or num-regime-core-v1."),
    ] = None,
    prototypes: Annotated[
        Path | None, typer.Option(help="Prototype file; without it each embedding is its own NEUTRAL prototype.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Softness of the confidence, in units of distance; by the scale of the prototypes without it."
        ),
    ] = None,
    regime_model_id: Annotated[str | None, typer.Option(help="Name to store the regimes under.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Compute, store and print the regime of a region on one date or over a range of dates."""
    from prometheus.app.regimes import RegimeRequest

    request = RegimeRequest(
        region=region,
        instrument_id=instrument_id,
        span=span_of(as_of, date_range),
        window_days=window_days,
        model_id=model_id,
        prototypes=prototypes,
        temperature=temperature,
        regime_model_id=regime_model_id,
    )
    with command_app(f"regimes of {region}") as app:
        done = app.regimes.run(request, dry_run=dry_run)
    report = done.report
    if dry_run:
        return show_run(done, {"region": region}, f"regimes of {region}: {report.planned} sessions", as_json=as_json)
    logger.info(
        "%d sessions: %d embeddings and %d regimes written", report.regimes.planned, report.embeddings.written,
        report.regimes.written,
    )  # fmt: skip
    for joint_model_id, n_rows in report.joined_anew.items():
        logger.info("%d rows of %s were joined anew with these regimes", n_rows, joint_model_id)
    latest = report.newest_state()
    if as_json:
        print_line(json.dumps({
            "as_of_date": str(latest.as_of_date), "region": region, "regime_label": latest.regime_label.name,
            "confidence": latest.confidence, "model_id": latest.model_id, "metadata": latest.metadata,
            "embeddings": report.embeddings.to_dict(), "regimes": report.regimes.to_dict(),
            "joined_anew": dict(report.joined_anew), **done.to_dict(),
        }))  # fmt: skip
    else:
        print_line(
            f"Regime as of {latest.as_of_date} for region {region}: "
            f"label={latest.regime_label.name}, confidence={latest.confidence:.3f}"
        )
    return 0


app = new_command(run_numeric_regime)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.run_numeric_regime"))
