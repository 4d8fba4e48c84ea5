"""Print stored regimes."""

from __future__ import annotations

import csv
import json
import math
import sys
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prometheus.scripts.terminal import Debug, Json, command_app, new_command, parse_date, print_line, run

if TYPE_CHECKING:
    from prometheus.regime.explanation import Reason
    from prometheus.regime.types import RegimeState

COLUMNS = ("as_of_date", "region", "regime_label", "confidence", "model_id")


def show_regimes(
    region: Annotated[str, typer.Option(help="Region to show.")],
    start: Annotated[str, typer.Option(metavar="DATE", help="First date.")] = "0001-01-01",
    end: Annotated[str, typer.Option(metavar="DATE", help="Last date.")] = "9999-12-31",
    model_id: Annotated[str | None, typer.Option(help="Only this regime model; all of them without it.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the newest so many rows; one without it with --explain.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why, in plain units; for calibrated models.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Print the stored regimes of a region as CSV, oldest first."""
    first, last = _span(start, end)
    with command_app() as app:
        states = app.regimes.states(region, first, last, model_id)
        chosen = states[-limit:] if limit else states[-1:] if explain else states
        reasons = app.calibrations.explain(chosen) if explain else [[] for _ in chosen]
    if as_json:
        print_line(json.dumps([_to_json(state, why) for state, why in zip(chosen, reasons, strict=True)]))
    elif explain:
        print_line("\n\n".join(_to_text(state, why) for state, why in zip(chosen, reasons, strict=True)))
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([*_row(state)[:3], f"{state.confidence:.6f}", state.model_id] for state in chosen)
    return 0


def _row(state: RegimeState) -> tuple[str, str, str, float, str]:
    return str(state.as_of_date), state.region, state.regime_label.name, state.confidence, state.model_id


def _to_json(state: RegimeState, reasons: list[Reason]) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(COLUMNS, _row(state), strict=True))
    if reasons:
        row["explanation"] = [reason.to_dict() for reason in reasons]
        row |= {name: state.metadata[name] for name in ("probabilities", "high_volatility", "change_risk")}
    return row


def _to_text(state: RegimeState, reasons: list[Reason]) -> str:
    high, risk = state.metadata["high_volatility"], state.metadata["change_risk"]
    others = [
        f"{name} {share:.0%}"
        for name, share in sorted(state.metadata["probabilities"].items(), key=lambda item: -item[1])
        if name != state.regime_label.name
    ]
    leaving = ", ".join(
        f"{days} sessions {each['probability']:.0%} ({each['low']:.0%} to {each['high']:.0%})"
        for days, each in risk.items()
    )
    label = state.regime_label.name
    lines = [
        f"{state.as_of_date} {state.region}: {label}, {state.confidence:.0%} sure ({', '.join(others)})",
        f"  volatility above {high['threshold']:.0%} in the next 21 sessions: {high['probability']:.0%}",
        f"  leaving {label} within {leaving}",
    ]
    informing = [reason.text for reason in reasons if math.isnan(reason.share)]
    deciding = [reason for reason in reasons if not math.isnan(reason.share)]
    lines += [f"  {text}" for text in informing]
    lines += [f"  {reason.share:+5.0%}  {reason.text}" for reason in deciding]
    return "\n".join(lines)


def _span(start: str, end: str) -> tuple[date, date]:
    from prometheus.backfill.plan import DateSpan

    span = DateSpan.of_range(parse_date(start), parse_date(end))
    return span.start, span.end


app = new_command(show_regimes)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.show_regimes"))
