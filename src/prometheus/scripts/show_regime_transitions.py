"""Print how regimes follow each other."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prometheus.scripts.terminal import Debug, Json, command_app, new_command, print_line, run

if TYPE_CHECKING:
    from prometheus.app.regimes import TransitionReport


def show_regime_transitions(
    region: Annotated[str, typer.Option(help="Region to show.")],
    model_id: Annotated[str | None, typer.Option(help="Only this regime model; each of them without it.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Print the transition matrix of a region and the mean duration of each regime, per regime model."""
    with command_app() as app:
        reports = app.regimes.transitions(region, model_id)
    if as_json:
        print_line(json.dumps([_to_json(report) for report in reports]))
    else:
        print_line("\n\n".join(_to_table(report) for report in reports))
    return 0


def _to_table(report: TransitionReport) -> str:
    from prometheus.regime.transitions import HORIZONS

    labels = list(report.counts)
    lines = [
        f"{report.region}, {report.model_id}: {report.n_dates} dates",
        "".join(
            [
                "from \\ to ".ljust(12),
                *(label.name.rjust(10) for label in labels),
                "mean duration".rjust(16),
                *(f"left in {horizon}".rjust(20) for horizon in HORIZONS),
            ]
        ),
    ]
    for before in labels:
        shares = report.matrix.get(before)
        cells = [f"{shares[after]:.4f}" if shares else "-" for after in labels]
        duration = f"{report.mean_durations[before]:.1f} dates"
        risks = [f"{risk.probability:.0%} ({risk.low:.0%}-{risk.high:.0%})" for risk in report.change_risks[before]]
        lines.append("".join([
            before.name.ljust(12), *(cell.rjust(10) for cell in cells), duration.rjust(16),
            *(risk.rjust(20) for risk in risks),
        ]))  # fmt: skip
    return "\n".join(lines)


def _to_json(report: TransitionReport) -> dict[str, Any]:
    from prometheus.regime.transitions import risks_to_dict

    return {
        "region": report.region,
        "model_id": report.model_id,
        "n_dates": report.n_dates,
        "counts": report.counts,
        "matrix": report.matrix,
        "mean_duration": report.mean_durations,
        "change_risk": {label: risks_to_dict(risks) for label, risks in report.change_risks.items()},
    }


app = new_command(show_regime_transitions)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.show_regime_transitions"))
