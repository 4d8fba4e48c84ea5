"""Judge regime labellers on stored prices under one causal protocol."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.errors import UsageError
from prometheus.scripts.terminal import Debug, Json, command_app, new_command, parse_date, print_line, run

if TYPE_CHECKING:
    from prometheus.evaluation.v2 import PanelResult


def evaluate(
    region: Annotated[str, typer.Option(help="Name of the market in tables and pictures.")],
    instrument_id: Annotated[str | None, typer.Option(help="Instrument whose sessions are labelled.")] = None,
    market_id: Annotated[
        str | None, typer.Option(help="Instead: our volatility score against EWMA on every instrument of a market.")
    ] = None,
    warm_up_instrument_id: Annotated[
        str | None, typer.Option(help="Instrument with older bars of the same market, put in front.")
    ] = None,
    start: Annotated[str | None, typer.Option(metavar="DATE", help="First date judged.")] = None,
    end: Annotated[str | None, typer.Option(metavar="DATE", help="Last date judged; nothing after it is read.")] = None,
    labeller: Annotated[list[str] | None, typer.Option(help="Only this labeller; may be repeated.")] = None,
    repaint_every: Annotated[
        int | None, typer.Option(min=1, help="Run every so many sessions again on data cut there; 1 for all.")
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Walk the declared variants of num-regime-core-v2 too.")] = False,
    output_dir: Annotated[Path | None, typer.Option(help="Folder for PNGs of labels, reliability and spread.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Refit every labeller yearly on the past, apply it day by day, and print what it was worth.

    The test span, the event to forecast, the costs and the variants are fixed before anything is run.
    """
    from prometheus.app.evaluations import EvaluationRequest

    if (instrument_id is None) == (market_id is None):
        raise UsageError("give either --instrument-id or --market-id")
    first, last = (None if text is None else parse_date(text) for text in (start, end))
    if market_id is not None:
        if first is None or last is None:
            raise UsageError("--market-id needs --start and --end")
        with command_app("instruments") as app:
            panel = app.evaluations.evaluate_panel(app.evaluations.panel_instruments(market_id), first, last)
        print_line(json.dumps(panel.to_dict()) if as_json else _panel_text(region, panel))
        return 0
    request = EvaluationRequest(
        region=region,
        instrument_id=instrument_id or "",
        warm_up_instrument_id=warm_up_instrument_id,
        start=first,
        end=last,
        labellers=tuple(labeller or ()),
        repaint_every=repaint_every,
        has_grid=grid,
    )
    with command_app("evaluation") as app:
        report = app.evaluations.evaluate(request, output_dir)
    print_line(json.dumps(report.to_dict()) if as_json else report.to_text())
    return 0


def _panel_text(region: str, panel: PanelResult) -> str:
    values = panel.to_dict()
    worst = sorted(panel.rows, key=lambda row: row.auc - row.auc_of_ewma)[:5]
    behind = ", ".join(f"{row.instrument_id} {row.auc:.3f} {row.auc_of_ewma:.3f}" for row in worst)
    verdict = (
        f"num-regime-core-v2 not worse than EWMA volatility on {panel.share_not_worse:.1%}; "
        f"median AUC {values['median_auc']:.3f} against {values['median_auc_of_ewma']:.3f}"
    )
    judged = f"{region}: {len(panel.rows)} instruments, {len(panel.skipped)} with too little history"
    return "\n".join([judged, verdict, f"furthest behind: {behind}"])


app = new_command(evaluate)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.evaluate"))
