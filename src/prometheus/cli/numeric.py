"""Numeric windows of many instruments, and the regimes of a region."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prometheus.cli.options import (
    AsOf,
    DateRange,
    DryRun,
    RayAddress,
    StandsForRegion,
    WindowDays,
    answer_of_run,
    span_of,
)
from prometheus.cli.runner import Answer, command, command_app

if TYPE_CHECKING:
    from prometheus.backfill.regime import RegimeReport
    from prometheus.backfill.work import BackfillRun

logger = logging.getLogger(__name__)


@command
def backfill_numeric_embeddings(
    as_of: AsOf = None,
    date_range: DateRange = None,
    window_days: WindowDays = None,
    market_id: Annotated[str | None, typer.Option(help="All instruments of a market, in order of id.")] = None,
    instrument_id: Annotated[list[str] | None, typer.Option(help="An instrument; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of the market's instruments.")] = None,
    offset: Annotated[int, typer.Option(min=0, help="Number of the market's instruments to skip.")] = 0,
    model_id: Annotated[str, typer.Option(help="Numeric encoder.")] = "num-regime-core-v1",
    workers: Annotated[
        int | None, typer.Option(help="Processes, or tasks at once on a cluster; one per core without it.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local: processes of this machine; ray: a Ray cluster (extra: ray).")
    ] = "local",
    ray_address: RayAddress = None,
    dry_run: DryRun = False,
) -> Answer:
    """Embed the windows of many instruments on one date or over a range, and store what is new or changed."""
    from prometheus.app.backfills import EngineChoice
    from prometheus.backfill.plan import NumericRequest
    from prometheus.encoders.catalogue import default_window_days

    span = span_of(as_of, date_range)
    choice = EngineChoice(engine, workers, ray_address, dry_run)
    with command_app("instruments") as app:
        chosen = app.embeddings.select(instrument_id or [], market_id, limit, offset)
        members = frozenset(chosen).difference(instrument_id or [])
        request = NumericRequest(chosen, span, window_days or default_window_days(model_id), model_id, members)
        done = app.embeddings.backfill(request, choice)
    facts = {"model_id": model_id, "instruments": len(chosen)}
    return answer_of_run(done, facts, f"{model_id}: {len(chosen)} instruments, {done.report.planned} windows")


@command
def run_numeric_regime(
    region: Annotated[str, typer.Option(help="Region the regime is stored for.")],
    instrument_id: StandsForRegion = None,
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
) -> Answer:
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
        return answer_of_run(done, {"region": region}, f"regimes of {region}: {report.planned} sessions")
    logger.info(
        "%d sessions: %d embeddings and %d regimes written", report.regimes.planned, report.embeddings.written,
        report.regimes.written,
    )  # fmt: skip
    for joint_model_id, n_rows in report.joined_anew.items():
        logger.info("%d rows of %s were joined anew with these regimes", n_rows, joint_model_id)
    latest = report.newest_state()
    line = (
        f"Regime as of {latest.as_of_date} for region {region}: "
        f"label={latest.regime_label.name}, confidence={latest.confidence:.3f}"
    )
    return Answer(lambda: _facts(region, done), lambda: line)


def _facts(region: str, done: BackfillRun[RegimeReport]) -> dict[str, Any]:
    report, latest = done.report, done.report.newest_state()
    return {
        "as_of_date": str(latest.as_of_date), "region": region, "regime_label": latest.regime_label.name,
        "confidence": latest.confidence, "model_id": latest.model_id, "metadata": latest.metadata,
        "embeddings": report.embeddings.to_dict(), "regimes": report.regimes.to_dict(),
        "joined_anew": dict(report.joined_anew), **done.to_dict(),
    }  # fmt: skip
