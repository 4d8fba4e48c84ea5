"""Fill numeric_window_embeddings for instruments of a market."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from prometheus.scripts.backfills import DryRun, Engine, RayAddress, Workers, show_run
from prometheus.scripts.options import AsOf, DateRange, WindowDays, span_of
from prometheus.scripts.terminal import Debug, Json, command_app, new_command, run


def backfill_numeric_embeddings(
    as_of: AsOf = None,
    date_range: DateRange = None,
    window_days: WindowDays = None,
    market_id: Annotated[str | None, typer.Option(help="All instruments of a market, in order of id.")] = None,
    instrument_id: Annotated[list[str] | None, typer.Option(help="An instrument; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many of the market's instruments.")] = None,
    offset: Annotated[int, typer.Option(min=0, help="Skip so many of the market's instruments.")] = 0,
    model_id: Annotated[str, typer.Option(help="Numeric encoder.")] = "num-regime-core-v1",
    workers: Workers = None,
    engine: Engine = "local",
    ray_address: RayAddress = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Embed the windows of many instruments on one date or over a range, and store what is new or changed."""
    from prometheus.app.backfills import EngineChoice
    from prometheus.backfill.plan import NumericRequest
    from prometheus.encoders.catalogue import default_window_days

    span = span_of(as_of, date_range)
    choice = EngineChoice(engine, workers, ray_address, dry_run)
    with command_app("instruments") as app:
        chosen = app.embeddings.select(instrument_id or [], market_id, limit, offset)
        request = NumericRequest(chosen, span, window_days or default_window_days(model_id), model_id)
        run_of = app.embeddings.backfill(request, choice)
    return show_run(
        run_of,
        {"model_id": model_id, "instruments": len(chosen)},
        f"{model_id}: {len(chosen)} instruments, {run_of.report.planned} windows",
        as_json=as_json,
    )


app = new_command(backfill_numeric_embeddings)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.backfill_numeric_embeddings"))
