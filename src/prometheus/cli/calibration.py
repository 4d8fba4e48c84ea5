"""Learn a market's regimes, and the constants of its encoder, from the past."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from prometheus.cli.options import REGIMES_FOLDER, Force, MembersOf, StandsForRegion, file_of, require_no, wrote
from prometheus.cli.parameters import ONLY_REGION, LabelledRegion, date_option, option
from prometheus.cli.runner import Answer, command, command_app

if TYPE_CHECKING:
    from prometheus.app.calibrations import CalibrationResult
    from prometheus.regime.bear import BearForecast

N_DATES_SHOWN = 5
FEWEST_BEARS = 3
"""Fewer are called too few: a word for readers, no threshold of any computation."""


@command(
    "--region US_INDEX --instrument-id GSPC.INDX --until 2007-12-31",
    "--market-id US_EQ --until 2019-12-31",
    latest="prices",
)
def calibrate(
    until: Annotated[date, date_option("Last date that may be used.", "--until", "--end")],
    region: LabelledRegion = ONLY_REGION,
    output: Annotated[
        Path | None,
        option(
            "Prototype file to write, for run_numeric_regime --prototypes, without it prototypes_REGION.json; of a "
            "market the folder of such files, without it regimes."
        ),
    ] = None,
    instrument_id: StandsForRegion = None,
    market_id: MembersOf = None,
    span: Annotated[int, option("Sessions up to then that are learned from.", min=1)] = 3_000,
    penalty: Annotated[float, option("Cost of a change of label, in standard deviations; 0 for none.", min=0.0)] = 1.0,
    decode_sessions: Annotated[int, option("Sessions each label looks back on.", min=1)] = 126,
    align_to: Annotated[Path | None, option("Earlier prototype file whose labels are kept.")] = None,
    model_id: Annotated[str | None, option("Numeric encoder of the instrument; num-regime-core-v2 without it.")] = None,
    market_index: Annotated[
        str | None, option("Index of the instrument's market; its rising ranges enter the chance of high volatility.")
    ] = None,
    force: Force = False,
) -> Answer:
    """Write prototypes of CARRY, NEUTRAL, RISK_OFF and CRISIS found in the sessions up to a date."""
    from prometheus.app.calibrations import CalibrationRequest
    from prometheus.regime.calibration import CalibrationSettings
    from prometheus.regime.market_index import MarketIndex

    index = None if market_index is None else MarketIndex(market_index)
    settings = CalibrationSettings(penalty=penalty, decode_sessions=decode_sessions, market_index=index)
    if market_id is not None:
        require_no("--market-id", region=region, instrument_id=instrument_id, align_to=align_to, model_id=model_id)
        request = CalibrationRequest("members", None, until, output or REGIMES_FOLDER, span, settings, force=force)
        with command_app("members") as app:
            members = app.members.calibrate(market_id, request)
        return Answer(members.to_dict, members.to_text)
    output = output or file_of(region, "prototypes", "json")
    request = CalibrationRequest(
        region, instrument_id, until, output, span, settings, align_to=align_to, model_id=model_id, force=force
    )
    with command_app() as app:
        result = app.calibrations.calibrate(request)
    prototype_set, is_changed = result.prototype_set, result.is_changed
    name = prototype_set.regime_model_id(prototype_set.encoder_model_id or "")
    calibration = prototype_set.calibration
    return Answer(
        lambda: {
            "output": str(output), "is_changed": is_changed, "region": region, "regime_model_id": name,
            "calibration": None if calibration is None else calibration.to_dict(),
            "warnings": list(result.warnings), "n_bear_markets": result.n_bear_markets,
            "set_aside": {instrument: each.to_dict() for instrument, each in result.set_aside.items()},
        },
        lambda: f"{wrote(output, is_changed=is_changed)}: {name}\n{_calibration_text(result)}",
    )  # fmt: skip


def _calibration_text(result: CalibrationResult) -> str:
    calibration = result.prototype_set.calibration
    if calibration is None:
        return ""
    both = (calibration.calm, calibration.wild)
    calm, wild = (", ".join(f"{first}..{last}" for first, last in stretches) for stretches in both)
    header = ("label", "sessions", "exits")
    stays = [(label.name, each.n_sessions, each.n_exits) for label, each in calibration.stays.items()]
    return "\n".join([
        f"learned from {calibration.n_sessions} sessions, {calibration.start} to {calibration.end}",
        *(f"{name}, {line}" for name, each in result.set_aside.items() for line in each.lines(N_DATES_SHOWN)),
        f"calmest: {calm}",
        f"wildest: {wild}",
        *([] if calibration.own_share is None else [_share_text(calibration.own_share)]),
        f"high volatility: above {calibration.high_volatility.threshold:.1%} a year over the next 21 sessions"
        + ("" if calibration.market_index is None else f", with the index {calibration.market_index.instrument_id}"),
        *_bear_line(result.n_bear_markets, calibration.bear),
        *(f"{label:<10}{n_stays:>10}{n_exits:>8}" for label, n_stays, n_exits in [header, *stays]),
    ])  # fmt: skip


def _share_text(own_share: float) -> str:
    from prometheus.regime.pooled import packaged_pooled

    return (
        f"prototypes: {own_share:.0%} of these sessions, {1 - own_share:.0%} of {packaged_pooled().source['centers']}"
    )


def _bear_line(n_bears: int, bear: BearForecast | None) -> Iterator[str]:
    if bear is not None:
        few = ", too few to learn its chance from" if n_bears < FEWEST_BEARS else ""
        counted = f"{n_bears} in these sessions{few}"
        yield f"bear market: a fall of {bear.fall:.1%}, {counted}; its chance is by odds pooled over many markets"


@command("--instrument-id GSPC.INDX --start 1928-01-01 --end 1989-12-31", latest="prices")
def fit_scale_free_constants(
    instrument_id: Annotated[str, option("Instrument whose past the constants describe.")],
    start: Annotated[date, date_option("First session described.")],
    end: Annotated[date, date_option("Last one; before everything the constants will judge.")],
    output: Annotated[Path, option("JSON file to write.")] = Path("scale_free_constants.json"),
    force: Force = False,
) -> Answer:
    """Write mean and deviation of every descriptor, and print the weights of the volatility score.

    The packaged file is made by this command; another file is another encoder and needs another model id.
    """
    with command_app() as app:
        constants, weights, is_changed = app.calibrations.fit_constants(instrument_id, start, end, output, force=force)
    return Answer(
        lambda: {"output": str(output), "is_changed": is_changed, "weights": weights},
        lambda: (
            f"{wrote(output, is_changed=is_changed)}: {len(constants.means)} descriptors\n"
            f"weights of the volatility score: {json.dumps(weights)}"
        ),
    )
