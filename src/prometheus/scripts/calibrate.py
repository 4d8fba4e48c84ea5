"""Find regime prototypes in a market's own past and learn how likely their labels are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.scripts.terminal import Debug, Json, command_app, new_command, parse_date, print_line, run

if TYPE_CHECKING:
    from prometheus.regime.prototypes import PrototypeSet


def calibrate(
    region: Annotated[str, typer.Option(help="Region the prototypes are for.")],
    until: Annotated[str, typer.Option(metavar="DATE", help="Last date that may be used.")],
    output: Annotated[Path, typer.Option(help="Prototype file to write, for run_numeric_regime --prototypes.")],
    instrument_id: Annotated[
        str | None, typer.Option(help="Instrument that stands for the region; without it the configured members do.")
    ] = None,
    span: Annotated[int, typer.Option(min=1, help="Sessions up to then that are learned from.")] = 3_000,
    penalty: Annotated[
        float, typer.Option(min=0.0, help="Cost of a change of label, in standard deviations; 0 for none.")
    ] = 1.0,
    decode_sessions: Annotated[int, typer.Option(min=1, help="Sessions each label looks back on.")] = 126,
    align_to: Annotated[Path | None, typer.Option(help="Earlier prototype file whose labels are kept.")] = None,
    model_id: Annotated[
        str | None, typer.Option(help="Numeric encoder of the instrument; num-regime-core-v2 without it.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Write prototypes of CARRY, NEUTRAL, RISK_OFF and CRISIS found in the sessions up to a date."""
    from prometheus.app.calibrations import CalibrationRequest
    from prometheus.regime.calibration import CalibrationSettings

    request = CalibrationRequest(
        region=region,
        instrument_id=instrument_id,
        until=parse_date(until),
        output=output,
        span=span,
        settings=CalibrationSettings(penalty=penalty, decode_sessions=decode_sessions),
        align_to=align_to,
        model_id=model_id,
    )
    with command_app() as app:
        prototype_set, is_changed = app.calibrations.calibrate(request)
    name = prototype_set.regime_model_id(prototype_set.encoder_model_id or "")
    if as_json:
        calibration = prototype_set.calibration
        print_line(json.dumps({
            "output": str(output), "is_changed": is_changed, "region": region,
            "regime_model_id": name,
            "calibration": None if calibration is None else calibration.to_dict(),
        }))  # fmt: skip
    else:
        print_line(f"{'wrote' if is_changed else 'unchanged:'} {output}: {name}")
        print_line(_summary(prototype_set))
    return 0


def _summary(prototype_set: PrototypeSet) -> str:
    calibration = prototype_set.calibration
    if calibration is None:
        return ""
    calm, wild = (
        ", ".join(f"{stretch.start}..{stretch.end}" for stretch in stretches)
        for stretches in (calibration.calm, calibration.wild)
    )
    lines = [
        f"learned from {calibration.n_sessions} sessions, {calibration.start} to {calibration.end}",
        f"calmest: {calm}",
        f"wildest: {wild}",
        f"high volatility: above {calibration.high_volatility.threshold:.1%} a year over the next 21 sessions",
        "label".ljust(10) + "sessions".rjust(10) + "exits".rjust(8),
    ]
    lines += [
        f"{label.name.ljust(10)}{counts.n_sessions:>10}{counts.n_exits:>8}"
        for label, counts in calibration.stays.items()
    ]
    return "\n".join(lines)


app = new_command(calibrate)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.calibrate"))
