"""Learn a market's regimes from its past, and judge labellers: ours, and a user's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from prometheus.cli.options import END, StandsForRegion, file_of, require_order, wrote
from prometheus.cli.parameters import date_option, option
from prometheus.cli.runner import Answer, command, command_app, progress
from prometheus.errors import InputRefusedError, UsageError

if TYPE_CHECKING:
    from prometheus.app.calibrations import CalibrationResult
    from prometheus.evaluation.history import MarketHistory
    from prometheus.evaluation.repaint import RepaintReport
    from prometheus.evaluation.v2 import PanelResult

EXIT_REPAINTED = 3
N_WARM_UP = 252
N_DATES_SHOWN = 5


@command("--region US_INDEX --instrument-id GSPC.INDX --until 2007-12-31", latest="prices")
def calibrate(
    region: Annotated[str, option("Region the prototypes are for.")],
    until: Annotated[date, date_option("Last date that may be used.", "--until", "--end")],
    output: Annotated[
        Path | None,
        option("Prototype file to write, for run_numeric_regime --prototypes; without it prototypes_REGION.json."),
    ] = None,
    instrument_id: StandsForRegion = None,
    span: Annotated[int, option("Sessions up to then that are learned from.", min=1)] = 3_000,
    penalty: Annotated[float, option("Cost of a change of label, in standard deviations; 0 for none.", min=0.0)] = 1.0,
    decode_sessions: Annotated[int, option("Sessions each label looks back on.", min=1)] = 126,
    align_to: Annotated[Path | None, option("Earlier prototype file whose labels are kept.")] = None,
    model_id: Annotated[str | None, option("Numeric encoder of the instrument; num-regime-core-v2 without it.")] = None,
) -> Answer:
    """Write prototypes of CARRY, NEUTRAL, RISK_OFF and CRISIS found in the sessions up to a date."""
    from prometheus.app.calibrations import CalibrationRequest
    from prometheus.regime.calibration import CalibrationSettings

    output = output or file_of(region, "prototypes", "json")
    settings = CalibrationSettings(penalty=penalty, decode_sessions=decode_sessions)
    request = CalibrationRequest(
        region, instrument_id, until, output, span, settings, align_to=align_to, model_id=model_id
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
            "warnings": list(result.warnings),
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
        f"high volatility: above {calibration.high_volatility.threshold:.1%} a year over the next 21 sessions",
        *(f"{label:<10}{n_stays:>10}{n_exits:>8}" for label, n_stays, n_exits in [header, *stays]),
    ])  # fmt: skip


@command("--instrument-id GSPC.INDX --start 1928-01-01 --end 1989-12-31", latest="prices")
def fit_scale_free_constants(
    instrument_id: Annotated[str, option("Instrument whose past the constants describe.")],
    start: Annotated[date, date_option("First session described.")],
    end: Annotated[date, date_option("Last one; before everything the constants will judge.")],
    output: Annotated[Path, option("JSON file to write.")] = Path("scale_free_constants.json"),
) -> Answer:
    """Write mean and deviation of every descriptor, and print the weights of the volatility score.

    The packaged file is made by this command; another file is another encoder and needs another model id.
    """
    with command_app() as app:
        constants, weights, is_changed = app.calibrations.fit_constants(instrument_id, start, end, output)
    return Answer(
        lambda: {"output": str(output), "is_changed": is_changed, "weights": weights},
        lambda: (
            f"{wrote(output, is_changed=is_changed)}: {len(constants.means)} descriptors\n"
            f"weights of the volatility score: {json.dumps(weights)}"
        ),
    )


@command(
    "--region SPX --instrument-id GSPC.INDX",
    "--region US --market-id US_EQ --start 2010-01-01 --end latest",
    latest="prices",
)
def evaluate(
    region: Annotated[str, option("Name of the market in tables and pictures.")],
    instrument_id: Annotated[str | None, option("Instrument whose sessions are labelled.")] = None,
    market_id: Annotated[
        str | None, option("Instead: our volatility score against EWMA on every instrument of a market.")
    ] = None,
    warm_up_instrument_id: Annotated[
        str | None, option("Instrument with older bars of the same market, put in front.")
    ] = None,
    start: Annotated[date | None, date_option("First date judged.")] = None,
    end: Annotated[date | None, date_option("Last date judged; nothing after it is read.")] = None,
    labeller: Annotated[list[str] | None, option("Only this labeller; may be repeated.")] = None,
    repaint_every: Annotated[
        int | None, option("Run every N-th session again on data cut there; 1 for all.", min=1)
    ] = None,
    grid: Annotated[bool, option("Walk the declared variants of num-regime-core-v2 too.", "--grid")] = False,
    output_dir: Annotated[Path | None, option("Folder for PNGs of labels, reliability and spread.")] = None,
) -> Answer:
    """Refit every labeller yearly on the past, apply it day by day, and print what it was worth.

    The test span, the event to forecast, the costs and the variants are fixed before anything is run.
    """
    from prometheus.app.evaluations import EvaluationRequest

    if (instrument_id is None) == (market_id is None):
        raise UsageError("give either --instrument-id or --market-id")
    if market_id is not None:
        if start is None or end is None:
            raise UsageError("--market-id needs --start and --end")
        with command_app("instruments") as app:
            panel = app.evaluations.evaluate_panel(market_id, start, end)
        return Answer(panel.to_dict, lambda: _panel_text(region, panel))
    request = EvaluationRequest(
        region, instrument_id or "", warm_up_instrument_id, start, end, tuple(labeller or ()),
        repaint_every=repaint_every, has_grid=grid,
    )  # fmt: skip
    with command_app("evaluation") as app:
        report = app.evaluations.evaluate(request, output_dir)
    return Answer(report.to_dict, report.to_text)


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


@command("--labeller my_labeller:label --instrument-id GSPC.INDX --start 2020-01-01", latest="prices")
def check_repaint(
    labeller: Annotated[
        str, option("Called as FUNCTION(dates, closes); one label per session.", metavar="MODULE:FUNCTION")
    ],
    instrument_id: Annotated[str, option("Instrument whose stored adjusted closes are labelled.")],
    start: Annotated[date | None, date_option("First date run again; a year into the history by default.")] = None,
    end: Annotated[date, date_option("Last date run again.")] = END,
    every: Annotated[int, option("Run every N-th session again; 1 for all.", min=1)] = 21,
) -> Answer:
    """Label all stored sessions at once, and past dates again on data cut there; name the labels that differ.

    A label that could have been acted on never changes. Exit code 3 if any did.
    """
    require_order(start, end)
    from prometheus.evaluation.own_labeller import load_labeller
    from prometheus.evaluation.repaint import check_repaint as check

    function = load_labeller(labeller)
    with command_app() as application:
        history = application.evaluations.history(instrument_id)
    positions = _positions(history, start, end)[::every]
    if not positions:
        raise InputRefusedError(
            f"{instrument_id}: none of its {len(history)} sessions, {history.dates[0]} to {history.dates[-1]}, is to "
            f"be run again; give another --start or --end"
        )
    with progress("dates") as report_progress:
        report = check(function, history, positions, report_progress)
    return Answer(
        lambda: {"labeller": labeller, "instrument_id": instrument_id, **report.to_dict()},
        lambda: "\n".join(_repaint_lines(labeller, instrument_id, report)),
        EXIT_REPAINTED if report.n_changed else 0,
    )


def _positions(history: MarketHistory, first: date | None, last: date) -> list[int]:
    import numpy as np

    begin = N_WARM_UP if first is None else history.position_of(np.datetime64(first, "D"))
    end = int(np.searchsorted(history.dates, np.datetime64(last, "D"), side="right"))
    return list(range(begin, end))


def _repaint_lines(labeller: str, instrument_id: str, report: RepaintReport) -> Iterator[str]:
    verdict = "no repaint" if not report.n_changed else "repaints"
    yield (
        f"{labeller}, {instrument_id}: {report.n_checked} dates run again on data cut there, {report.n_changed} labels "
        f"changed ({report.share:.2%}): {verdict}"
    )
    if report.n_changed:
        yield f"{'date':<12}{'then':<20}now"
    for each in report.first_changed:
        yield f"{each.day!s:<12}{each.then:<20}{each.now}"
    if report.n_changed > len(report.first_changed):
        yield f"... and {report.n_changed - len(report.first_changed)} more"
