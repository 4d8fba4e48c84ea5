"""Fill numeric_window_embeddings for instruments of a market."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from prometheus.scripts.options import AsOf, DateRange, WindowDays, span_of
from prometheus.scripts.terminal import Debug, Json, command_app, new_command, print_line, run


def backfill_numeric_embeddings(
    as_of: AsOf = None,
    date_range: DateRange = None,
    window_days: WindowDays = None,
    market_id: Annotated[str | None, typer.Option(help="All instruments of a market, in order of id.")] = None,
    instrument_id: Annotated[list[str] | None, typer.Option(help="An instrument; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many of the market's instruments.")] = None,
    offset: Annotated[int, typer.Option(min=0, help="Skip so many of the market's instruments.")] = 0,
    model_id: Annotated[str, typer.Option(help="Numeric encoder.")] = "num-regime-core-v1",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be written; write nothing.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Embed the windows of many instruments on one date or over a range, and store what is new or changed."""
    from prometheus.backfill import NumericRequest
    from prometheus.encoders.registry import default_window_days

    span = span_of(as_of, date_range)
    with command_app("instruments") as app:
        chosen = app.regimes.select_instruments(instrument_id or [], market_id, limit, offset)
        request = NumericRequest(chosen, span, window_days or default_window_days(model_id), model_id)
        report = app.regimes.backfill_embeddings(request, dry_run=dry_run)
    if as_json:
        print_line(json.dumps({"model_id": model_id, "instruments": len(chosen), **report.to_dict()}))
    else:
        verb = "to write" if dry_run else "written"
        print_line(
            f"{model_id}: {len(chosen)} instruments, {report.planned} windows, {report.written} {verb}, "
            f"{report.unchanged} unchanged, {len(report.failures)} failed"
        )
    for failure in report.failures:
        sys.stderr.write(f"failed: {failure}\n")
    return report.exit_code


app = new_command(backfill_numeric_embeddings)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.backfill_numeric_embeddings"))
