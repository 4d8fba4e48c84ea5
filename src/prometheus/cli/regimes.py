"""Stored regimes: their rows, their transitions, their picture, and the prototypes averaged from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from prometheus.cli.options import END, START, AsOf, First, Force, Last, file_of, require_order, wrote
from prometheus.cli.parameters import (
    ONLY_REGION,
    OnlyRegion,
    date_option,
    note_only_model,
    option,
    parse_known_date,
)
from prometheus.cli.runner import Answer, command, command_app, csv_text
from prometheus.core.files import require_writable, write_if_changed
from prometheus.errors import UsageError
from prometheus.spelling import spell_chance

if TYPE_CHECKING:
    from prometheus.app import App
    from prometheus.app.histories import TransitionReport
    from prometheus.regime.drift import Drift
    from prometheus.regime.explanation import Reason
    from prometheus.regime.prototypes import CalibrationWindow
    from prometheus.regime.types import RegimeState

COLUMNS = ("as_of_date", "region", "regime_label", "confidence", "model_id")


@command("--region US_INDEX --limit 5", "--region US_INDEX --as-of 2020-03-16 --explain", latest="regimes")
def show_regimes(
    region: OnlyRegion = ONLY_REGION,
    start: First = START,
    end: Last = END,
    as_of: AsOf = None,
    model_id: Annotated[str | None, option("Only this regime model; all of them without it.")] = None,
    limit: Annotated[
        int | None, option("Maximum number of rows, newest first; 1 by default with --explain.", min=1)
    ] = None,
    explain: Annotated[bool, option("Say why, in plain units; for calibrated models.", "--explain")] = False,
) -> Answer:
    """Print the stored regimes of a region as CSV, oldest first."""
    from prometheus.backfill.plan import DateSpan

    if as_of is not None and (start, end) != (START, END):
        raise UsageError("--as-of is one date, --start and --end a range; leave one of them away")
    span = DateSpan.of_range(start, end)
    with command_app() as app:
        if as_of is None:
            states = app.regimes.states(region, span.start, span.end, model_id)
        else:
            states = app.regimes.all_on_or_before(region, as_of, model_id)
        chosen = states[-limit:] if limit else states[-1:] if explain else states
        reasons = app.calibrations.explain(chosen) if explain else [[] for _ in chosen]
        drifts = _drifts(app, chosen) if explain else [None] * len(chosen)
    rows = list(zip(chosen, reasons, drifts, strict=True))

    def text() -> str:
        if explain:
            return "\n\n".join(_explanation(*row) for row in rows)
        return csv_text([COLUMNS, *(_row(state, f"{state.confidence:.6f}") for state in chosen)])

    shown = states[-1].as_of_date
    notes = [f"no regime on {as_of}; the last one before it is of {shown}"] if as_of not in (None, shown) else []
    return Answer(lambda: [_state_facts(*row) for row in rows], text, notes=notes)


def _drifts(app: App, states: Sequence[RegimeState]) -> list[Drift | None]:
    """Return the drift on the date of each state of a region, in their order."""
    found: dict[tuple[str, date], Drift | None] = {}
    for model_id in {state.model_id for state in states}:
        days = [state.as_of_date for state in states if state.model_id == model_id]
        drifts = app.drift.over(states[0].region, days, model_id)
        found |= {(model_id, day): drift for day, drift in zip(days, drifts, strict=True)}
    return [found[state.model_id, state.as_of_date] for state in states]


def _row(state: RegimeState, confidence: float | str) -> tuple[str | float, ...]:
    return str(state.as_of_date), state.region, state.regime_label.name, confidence, state.model_id


def _state_facts(state: RegimeState, reasons: list[Reason], drift: Drift | None) -> dict[str, Any]:
    from prometheus.regime.exposure import EXPOSURES

    row: dict[str, Any] = dict(zip(COLUMNS, _row(state, state.confidence), strict=True))
    row["exposure"] = EXPOSURES[state.regime_label]
    if "held" in state.metadata:
        row["held"] = state.metadata["held"]
    if "market_index" in state.metadata:
        row["market_index"] = state.metadata["market_index"]
    if reasons:
        row["explanation"] = [reason.to_dict() for reason in reasons]
        names = ("probabilities", "high_volatility", "bear", "spell_sessions", "change_risk")
        row |= {name: state.metadata[name] for name in names if name in state.metadata}
    if drift is not None:
        row["drift"] = drift.to_dict()
    return row


def _explanation(state: RegimeState, reasons: list[Reason], drift: Drift | None) -> str:
    from prometheus.regime.exposure import EXPOSURES, RULE

    high, risk = state.metadata["high_volatility"], state.metadata["change_risk"]
    label = state.regime_label.name
    shares = sorted(state.metadata["probabilities"].items(), key=lambda item: -item[1])
    others = [f"{name} {spell_chance(share)}" for name, share in shares if name != label]
    leaving = ", ".join(
        f"{days} sessions {spell_chance(each['probability'])} "
        f"({spell_chance(each['low'])} to {spell_chance(each['high'])})"
        for days, each in risk.items()
    )
    wild = f"volatility above {high['threshold']:.0%} in the next 21 sessions"
    lines = [
        f"{state.as_of_date} {state.region}: {label}, {spell_chance(state.confidence)} sure ({', '.join(others)})",
        f"  {wild}: {spell_chance(high['probability'])}{_lack(state)}",
        *_bear_line(state),
        f"  leaving {label}{_after(state)} within {leaving}",
        f"  exposure {EXPOSURES[state.regime_label]:g} ({RULE})",
    ]
    if "held" in state.metadata:
        lines.insert(1, f"  held: {state.metadata['held']}; this is the label of the session before")
    lines += [f"  {reason.text}" for reason in reasons if math.isnan(reason.share)]
    lines += [f"  {reason.share:+5.0%}  {reason.text}" for reason in reasons if not math.isnan(reason.share)]
    if drift is not None and drift.advice is not None:
        lines.append(f"  {drift.advice}")
    return "\n".join(lines)


def _lack(state: RegimeState) -> str:
    index = state.metadata.get("market_index")
    return "" if index is None or index["session"] else f", without {index['instrument_id']}, which was not known"


def _bear_line(state: RegimeState) -> Iterator[str]:
    bear = state.metadata.get("bear")
    if bear is not None:
        called = ", called one" if bear["is_bear"] else ""
        yield f"  in a bear market of {bear['fall']:.0%}: {spell_chance(bear['probability'])}{called}"


def _after(state: RegimeState) -> str:
    from prometheus.regime.transitions import SPELL_AGES

    n_sessions = state.metadata.get("spell_sessions")
    if n_sessions is None:
        return ""
    counted = {1: "1 session", max(SPELL_AGES): f"{n_sessions} sessions or more"}
    return f" after {counted.get(n_sessions, f'{n_sessions} sessions')} of it"


@command("--region US_INDEX")
def show_regime_transitions(
    region: OnlyRegion = ONLY_REGION,
    model_id: Annotated[str | None, option("Only this regime model; each of them without it.")] = None,
) -> Answer:
    """Print the transition matrix of a region and the mean duration of each regime, per regime model."""
    with command_app() as app:
        reports = app.regimes.transitions(region, model_id)
    return Answer(
        lambda: [report.to_dict() for report in reports],
        lambda: "\n\n".join(_transition_table(report) for report in reports),
    )


def _transition_table(report: TransitionReport) -> str:
    from prometheus.regime.transitions import HORIZONS

    def line(begin: str, cells: Iterable[str], duration: str, risks: Iterable[str]) -> str:
        columns = [*(cell.rjust(10) for cell in cells), duration.rjust(16), *(risk.rjust(20) for risk in risks)]
        return begin.ljust(12) + "".join(columns)

    labels = list(report.counts)
    lines = [
        f"{report.region}, {report.model_id}: {report.n_dates} dates",
        line("from \\ to ", [label.name for label in labels], "mean duration", [f"left in {n}" for n in HORIZONS]),
    ]
    for before in labels:
        shares = report.matrix.get(before)
        cells = [f"{shares[after]:.4f}" if shares else "-" for after in labels]
        risks = [
            f"{spell_chance(risk.probability)} ({spell_chance(risk.low)}-{spell_chance(risk.high)})"
            for risk in report.exit_hazards[before]
        ]
        lines.append(line(before.name, cells, f"{report.mean_durations[before]:.1f} dates", risks))
    return "\n".join(lines)


@command("--region US_INDEX --instrument-id GSPC.INDX --start 2000-01-01", latest="regimes")
def plot_regimes(
    instrument_id: Annotated[str, option("Instrument whose adjusted closes are the line.")],
    region: OnlyRegion = ONLY_REGION,
    output: Annotated[Path | None, option("PNG file to write; without it regimes_REGION.png.")] = None,
    start: First = START,
    end: Last = END,
    model_id: Annotated[str | None, option("Regime model; may be left out if there is one only.")] = None,
    force: Force = False,
) -> Answer:
    """Write a PNG of adjusted closes over bands that show the regime of each date."""
    require_order(start, end)
    path = output or file_of(region, "regimes", "png")
    with command_app() as app:
        n_dates = app.regimes.plot(region, instrument_id, start, end, model_id, path, force=force)
        notes = note_only_model(model_id, _models_of(app, region))
    return Answer(
        lambda: {"output": str(path), "region": region, "n_dates": n_dates}, lambda: f"wrote {path}: {n_dates} dates",
        notes=notes,
    )  # fmt: skip


def _models_of(app: App, region: str) -> list[str]:
    return [each.model_id for each in app.regimes.histories() if each.region == region]


@command("--region US_INDEX", "--region US_INDEX --as-of 2020-03-16 --output march.html", latest="regimes")
def report(
    region: OnlyRegion = ONLY_REGION,
    as_of: AsOf = None,
    output: Annotated[Path | None, option("HTML file to write; REGION_DATE.html without it.")] = None,
    model_id: Annotated[str | None, option("Regime model; that of the region without it.")] = None,
    force: Force = False,
) -> Answer:
    """Write the page of a region and date as one HTML file that loads nothing, fit to be sent."""
    from prometheus.web.report import PAGE_FILE, write_report

    with command_app() as app:
        shown, text = write_report(app, region, as_of, model_id)
        notes = note_only_model(model_id, _models_of(app, region))
    path = output or Path(f"{quote(region, safe='')}_{shown}.html")
    require_writable(path, PAGE_FILE, force=force)
    is_changed = write_if_changed(path, text)
    return Answer(
        lambda: {"output": str(path), "is_changed": is_changed, "region": region, "as_of_date": shown},
        lambda: f"{wrote(path, is_changed=is_changed)}: {region} on {shown}",
        notes=notes,
    )


@command(
    "--region US --neutral-start 2018-01-01 --neutral-end 2018-12-31 --crisis-start 2020-03-01 --crisis-end 2020-04-30 "
    "--output regime_prototypes_US.json",
    latest="regimes",
)
def compute_regime_prototypes(
    output: Annotated[Path, option("JSON file to write.")],
    region: OnlyRegion = ONLY_REGION,
    neutral_start: Annotated[date | None, date_option("First date of the NEUTRAL window.")] = None,
    neutral_end: Annotated[date | None, date_option("Last date of the NEUTRAL window.")] = None,
    crisis_start: Annotated[date | None, date_option("First date of the CRISIS window.")] = None,
    crisis_end: Annotated[date | None, date_option("Last date of the CRISIS window.")] = None,
    window: Annotated[
        list[str] | None, option("A window for any label; may be repeated.", metavar="LABEL=START:END")
    ] = None,
    model_id: Annotated[str, option("Encoder whose embeddings are averaged.")] = "num-regime-core-v1",
    force: Force = False,
) -> Answer:
    """Write the mean regime embedding of each calibration window to a JSON file."""
    windows: list[CalibrationWindow] = []
    for label, start, end in (("NEUTRAL", neutral_start, neutral_end), ("CRISIS", crisis_start, crisis_end)):
        if (start is None) != (end is None):
            raise UsageError(f"--{label.lower()}-start and --{label.lower()}-end belong together")
        if start is not None and end is not None:
            windows.append(_window(label, start, end))
    windows += map(_parse_window, window or [])
    if not windows:
        raise UsageError("name a window: --neutral-start/--neutral-end, --crisis-start/--crisis-end or --window")
    with command_app() as app:
        prototypes, n_dates, is_changed = app.regimes.compute_prototypes(region, windows, model_id, output, force=force)
    counted = ", ".join(f"{label.name} of {n} dates" for label, n in sorted(n_dates.items()))
    return Answer(
        lambda: {
            "output": str(output), "is_changed": is_changed, "region": region, "dim": prototypes.dim,
            "n_dates": {label.name: n for label, n in n_dates.items()},
        },
        lambda: f"{wrote(output, is_changed=is_changed)}: {counted}; {prototypes.dim} values each",
    )  # fmt: skip


def _parse_window(text: str) -> CalibrationWindow:
    label, equals, span = text.partition("=")
    start, colon, end = span.partition(":")
    if not (equals and colon):
        raise UsageError(f"--window {text!r} is not LABEL=START:END, such as RISK_OFF=2022-01-01:2022-10-31")
    return _window(label, parse_known_date(start), parse_known_date(end))


def _window(label: str, start: date, end: date) -> CalibrationWindow:
    from prometheus.regime.prototypes import CalibrationWindow
    from prometheus.regime.types import RegimeLabel

    return CalibrationWindow(RegimeLabel.parse(label), start, end)
