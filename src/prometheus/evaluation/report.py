"""What an evaluation shows: all figures of a labeller, the table of several, and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector
from prometheus.errors import WindowShapeError
from prometheus.evaluation import figures
from prometheus.evaluation.bears import (
    BearMarket,
    days_in,
    days_in_own_bear_markets,
    find_bear_markets,
    lags_after_peaks,
)
from prometheus.evaluation.bootstrap import sharpe_difference_interval
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import BoolVector, Predictions
from prometheus.evaluation.protocol import EvaluationPlan, WalkForward, forward_threshold
from prometheus.evaluation.repaint import RepaintReport
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.exposure import SHARE_OUT
from prometheus.regime.picture import BAND_COLOURS, PRICE_AXIS, add_legend, new_figure, open_frame, paint_bands
from prometheus.regime.types import RegimeLabel

if TYPE_CHECKING:
    from datetime import date

    from matplotlib.figure import Figure

RISK_OFF_ONLY = {"risk-off": BAND_COLOURS[RegimeLabel.CRISIS], "risk-on": BAND_COLOURS[RegimeLabel.NEUTRAL]}
"""Colours of a labeller that knows two labels."""
BEAR_NOTE = (
    "bear: closes fall, then rise, by the share that a labeller states, or by 1.1 annual standard deviations of its "
    "fit span; 20%: by 20 %"
)
_DOTS = ("#1d2b3a", "#c8553d", "#4c9f70", "#f0b35b", "#7a5195", "#2f7ebc", "#8c6d46", "#d77fa1", "#6b7785", "#9ab83d")


def _column(title: str, form: str, table: str = "use") -> dict[str, str]:
    return {"title": title, "format": form, "table": table}


@dataclass(frozen=True, slots=True)
class LabellerFigures:
    """The figures a labeller is judged by; NaN where one cannot be had.

    AUC is of the score and of the stated probability, for high forward volatility as the plan's event defines it, and
    of the score for that of the test span. The interval of 95 % is of the Sharpe ratio less that of holding, of being
    all out of the market on risk-off labels; half out is the rule of `prometheus.regime.exposure`, no advice. `repaint`
    is the share of the dates run again whose label had changed, beside that of a stated probability. R squared is of
    log forward volatility, QLIKE of its square, eta squared between the two sides and between all labels.

    ``own_bear`` is of bear markets of the fall that the labeller states, or that its fit span suggests: at the median
    of the years `own_bear_fall`. ``bear``, and `lag`, are of a fall of 20 %. `lag` is the median of `lags`, infinite
    where half of the bear markets saw no risk-off label.
    """

    name: str
    n_sessions: int
    auc: float = field(metadata=_column("AUC", ".3f"))
    auc_of_probability: float = field(metadata=_column("AUC p", ".3f"))
    eta2: float = field(metadata=_column("eta2", ".3f"))
    brier_skill: float = field(metadata=_column("Brier", "+.3f"))
    calibration_error: float = field(metadata=_column("ECE", ".3f"))
    recession_balanced_accuracy: float = field(metadata=_column("NBER bAcc", ".3f"))
    switches_per_year: float = field(metadata=_column("switches/y", ".2f"))
    mean_duration: float = field(metadata=_column("sessions", ".0f"))
    sharpe: float = field(metadata=_column("Sharpe", ".3f"))
    sharpe_difference_low: float = field(metadata=_column("less holding, low", "+.2f"))
    sharpe_difference_high: float = field(metadata=_column("high", "+.2f"))
    max_drawdown: float = field(metadata=_column("drawdown", ".3f"))
    turnover: float = field(metadata=_column("turnover", ".2f"))
    repaint: float = field(metadata=_column("repaint", ".4f"))
    repaint_of_probabilities: float = field(metadata=_column("repaint P", ".4f"))
    n_repaint_checked: int
    fit_seconds: float = field(metadata=_column("fit s", ".4f"))
    day_seconds: float = field(metadata=_column("day s", ".6f"))
    auc_of_test_event: float = field(metadata=_column("AUC test", ".3f", "more"))
    r2: float = field(metadata=_column("R2", ".3f", "more"))
    qlike: float = field(metadata=_column("QLIKE", ".3f", "more"))
    eta2_of_labels: float = field(metadata=_column("eta2 labels", ".3f", "more"))
    sharpe_difference: float = field(metadata=_column("less holding", "+.3f", "more"))
    sharpe_difference_half_out: float = field(metadata=_column("half out", "+.3f", "more"))
    max_drawdown_half_out: float = field(metadata=_column("its drawdown", ".3f", "more"))
    own_bear_fall: float
    own_bear_balanced_accuracy: float = field(metadata=_column("bear bAcc", ".3f", "bear"))
    own_bear_f1: float = field(metadata=_column("bear F1", ".3f", "bear"))
    own_bear_auc: float = field(metadata=_column("bear AUC", ".3f", "bear"))
    own_bear_brier_skill: float = field(metadata=_column("bear Brier", "+.3f", "bear"))
    own_bear_calibration_error: float = field(metadata=_column("bear ECE", ".3f", "bear"))
    bear_balanced_accuracy: float = field(metadata=_column("20% bAcc", ".3f", "bear"))
    bear_f1: float = field(metadata=_column("20% F1", ".3f", "bear"))
    bear_auc: float = field(metadata=_column("20% AUC", ".3f", "bear"))
    bear_brier_skill: float = field(metadata=_column("20% Brier", "+.3f", "bear"))
    bear_calibration_error: float = field(metadata=_column("20% ECE", ".3f", "bear"))
    lag: float = field(metadata=_column("20% lag", ".0f", "bear"))
    lags: tuple[PeakLag, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, None for NaN."""
        return {**figures.json_values(asdict(self)), "lags": [figures.json_values(asdict(each)) for each in self.lags]}


@dataclass(frozen=True, slots=True)
class PeakLag:
    """A bear market of the test span by its dates, and the sessions from its peak to the first risk-off label."""

    peak: str
    trough: str
    sessions: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What followed each session of the test span, shape (n,) each; NaN where the horizon is not over."""

    log_volatility: Float64Vector
    is_own_bear: BoolVector
    is_bear: BoolVector
    is_recession: BoolVector
    returns: Float64Vector
    bear_markets: tuple[BearMarket, ...]

    @classmethod
    def of(cls, history: MarketHistory, plan: EvaluationPlan, walk: WalkForward) -> Targets:
        """Return the targets of the sessions of a walk."""
        visible = plan.visible(history)
        logs, returns = forward_log_volatility(visible.closes, plan.horizon), np.expm1(visible.log_returns)
        found, _ = find_bear_markets(visible.closes)
        is_bear, is_recession = days_in(found, len(visible)), figures.recession_days(walk.dates)
        is_own_bear = days_in_own_bear_markets(visible.closes, walk.falls)
        return cls(
            logs[walk.first :], is_own_bear, is_bear[walk.first :], is_recession, returns[walk.first :], tuple(found)
        )

    @property
    def is_known(self) -> BoolVector:
        """Which sessions have a forward volatility."""
        return np.isfinite(self.log_volatility)

    def is_high(self, thresholds: Float64Vector | float) -> BoolVector:
        """Return which of the sessions that have a forward volatility had one above their threshold."""
        logs = np.broadcast_to(np.log(thresholds), self.log_volatility.shape)
        return self.log_volatility[self.is_known] > logs[self.is_known]


def trade_walk(
    history: MarketHistory, plan: EvaluationPlan, walk: WalkForward, delay: int | None = None
) -> figures.Trading:
    """Return what trading a walk's labels would have earned, with the plan's cost and delay or another delay."""
    returns = Targets.of(history, plan, walk).returns
    return figures.trade(walk.predictions.is_risk_off, returns, plan.cost, plan.delay if delay is None else delay)


def figures_of(
    walk: WalkForward, history: MarketHistory, plan: EvaluationPlan, repaint: RepaintReport | None = None
) -> LabellerFigures:
    """Return the figures of a walk that is done."""
    targets, predictions, says = Targets.of(history, plan, walk), walk.predictions, walk.predictions.is_risk_off
    trading = figures.trade(says, targets.returns, plan.cost, plan.delay)
    low, high = sharpe_difference_interval(trading)
    sharpe, holding = figures.sharpe_ratio(trading.returns), figures.sharpe_ratio(trading.holding_returns)
    half_out = trading.share_out(SHARE_OUT)
    return LabellerFigures(
        name=walk.name,
        n_sessions=len(predictions),
        **_of_volatility(walk, targets, forward_threshold(history, plan)),
        **_of_bear_markets(walk, targets),
        recession_balanced_accuracy=(
            figures.balanced_accuracy(says, targets.is_recession) if plan.has_recession_months else float("nan")
        ),
        switches_per_year=figures.switches_per_year(says),
        mean_duration=figures.mean_duration(says),
        sharpe=sharpe,
        sharpe_difference=sharpe - holding,
        sharpe_difference_half_out=figures.sharpe_ratio(half_out) - holding,
        max_drawdown_half_out=figures.max_drawdown(half_out),
        sharpe_difference_low=low,
        sharpe_difference_high=high,
        max_drawdown=figures.max_drawdown(trading.returns),
        turnover=trading.turnover,
        repaint=math.nan if repaint is None else repaint.share,
        repaint_of_probabilities=math.nan if repaint is None else repaint.share_of_probabilities,
        n_repaint_checked=0 if repaint is None else repaint.n_checked,
        fit_seconds=walk.fit_seconds,
        day_seconds=walk.day_seconds,
    )


def _of_volatility(walk: WalkForward, targets: Targets, threshold_of_test: float) -> dict[str, Any]:
    is_known, predictions = targets.is_known, walk.predictions
    is_high, followed = targets.is_high(walk.thresholds), targets.log_volatility[is_known]
    scores, stated = predictions.scores[is_known], predictions.probabilities[is_known]
    says = predictions.is_risk_off[is_known]
    labels = says if predictions.labels is None else np.array(predictions.labels)[is_known]
    return {
        "auc": figures.area_under_curve(scores, is_high),
        "auc_of_probability": figures.area_under_curve(stated, is_high),
        "auc_of_test_event": figures.area_under_curve(scores, targets.is_high(threshold_of_test)),
        "eta2": figures.explained_variance(says, followed),
        "eta2_of_labels": figures.explained_variance(labels, followed),
        "brier_skill": figures.brier_skill(stated, is_high),
        "calibration_error": figures.calibration_error(stated, is_high),
        "r2": figures.explained_share(walk.readings.log_volatility[is_known], followed),
        "qlike": figures.quasi_likelihood(walk.readings.variance[is_known], np.exp(2.0 * followed)),
    }


def _of_bear_markets(walk: WalkForward, targets: Targets) -> dict[str, Any]:
    lags = lags_after_peaks(targets.bear_markets, walk.predictions.is_risk_off, walk.first)
    waited = [math.inf if each.sessions is None else each.sessions for each in lags]
    day_of = [str(day) for day in walk.dates]
    return {
        "own_bear_fall": float(np.median(walk.falls)),
        **_of_bear_days("own_bear", walk.predictions, walk.readings.own_bear, targets.is_own_bear),
        **_of_bear_days("bear", walk.predictions, walk.readings.bear, targets.is_bear),
        "lag": median(waited) if waited else math.nan,
        "lags": tuple(
            PeakLag(day_of[each.market.peak - walk.first], day_of[each.market.trough - walk.first], each.sessions)
            for each in lags
        ),
    }


def _of_bear_days(name: str, predictions: Predictions, stated: Float64Vector, is_bear: BoolVector) -> dict[str, float]:
    says = predictions.is_risk_off
    return {
        f"{name}_balanced_accuracy": figures.balanced_accuracy(says, is_bear),
        f"{name}_f1": figures.f1_score(says, is_bear),
        f"{name}_auc": figures.area_under_curve(predictions.bear_scores, is_bear),
        f"{name}_brier_skill": figures.brier_skill(stated, is_bear),
        f"{name}_calibration_error": figures.calibration_error(stated, is_bear) if is_bear.any() else math.nan,
    }


def columns_of(table: str) -> list[Field[Any]]:
    """Return the fields of one of the tables ``use``, ``more`` and ``bear``, with `title` and `format` as metadata."""
    return [each for each in fields(LabellerFigures) if each.metadata.get("table") == table]


def figures_table(rows: Sequence[LabellerFigures], table: str = "use") -> str:
    """Return the figures of one of the tables, one line per labeller, ``-`` if not known."""
    columns = columns_of(table)
    header = ["labeller", *(column.metadata["title"] for column in columns)]
    return aligned_table([header, *([row.name, *(_cell(row, column) for column in columns)] for row in rows)])


def aligned_table(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as text, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligns = [f"<{widths[0]}", *(f">{width}" for width in widths[1:])]
    return "\n".join("  ".join(map(format, line, aligns)) for line in lines)


def _cell(row: LabellerFigures, column: Field[Any]) -> str:
    return shown(getattr(row, column.name), column.metadata["format"])


def shown(value: float, form: str) -> str:
    """Return a figure in a format, ``-`` if it is not known or infinite."""
    return format(value, form) if math.isfinite(value) else "-"


def draw_labels(
    title: str,
    dates: DateVector,
    closes: Float64Vector,
    predictions: Predictions,
    zooms: Mapping[str, tuple[date, date]] | None = None,
) -> Figure:
    """Return a figure of adjusted closes (log scale) over bands of labels, and a panel for each zoom.

    `zooms` are first and last date by the title of the panel. Needs matplotlib; `WindowShapeError` if dates, closes and
    predictions differ in length.
    """
    if not len(dates) == len(closes) == len(predictions):
        raise WindowShapeError("labels over prices", (len(dates), len(closes), len(predictions)), ("n", "n", "n"))
    panels = dict(zooms or {})
    n_rows = 1 + -(-len(panels) // 2)
    figure = new_figure(12.0, 4.0 + 2.6 * (n_rows - 1))
    grid = figure.add_gridspec(n_rows, 2)
    top: Any = figure.add_subplot(grid[0, :])
    names = np.array([predictions.says(row) for row in range(len(predictions))], dtype=np.str_)
    of_regimes = {label.name: colour for label, colour in BAND_COLOURS.items()}
    colours = RISK_OFF_ONLY if predictions.labels is None else of_regimes
    paint_bands(top, dates, closes, _bands(dates, names, colours))
    top.set_title(title, loc="left", fontsize=11)
    top.set_ylabel(PRICE_AXIS)
    add_legend(top, {name: colour for name, colour in colours.items() if name in names}, fontsize=8)
    for number, (name, (first, last)) in enumerate(panels.items()):
        axes: Any = figure.add_subplot(grid[1 + number // 2, number % 2])
        rows = (dates >= np.datetime64(first)) & (dates <= np.datetime64(last))
        paint_bands(axes, dates[rows], closes[rows], _bands(dates[rows], names[rows], colours))
        axes.set_title(name, loc="left", fontsize=9)
        axes.tick_params(labelsize=7)
    return figure


def draw_reliability(title: str, curves: Mapping[str, Float64Matrix], event: str = "high volatility") -> Figure:
    """Return a figure of observed rate against stated probability; `curves` are `reliability_bins` by name."""
    figure = new_figure(6.5, 6.0)
    axes: Any = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#9aa5b1", linewidth=0.8, linestyle="--")
    for number, (name, bins) in enumerate(curves.items()):
        colour, is_first = _DOTS[number % len(_DOTS)], number == 0
        axes.plot(
            bins[:, 0], bins[:, 1], marker="o", markersize=5 if is_first else 3, linewidth=2.2 if is_first else 1.0,
            color=colour, label=name, zorder=3 if is_first else 2,
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(f"stated probability of {event}")
    axes.set_ylabel("observed rate")
    if curves:
        axes.legend(loc="upper left", framealpha=1, fontsize=8)
    open_frame(axes)
    return figure


def draw_spread(title: str, sharpes: Mapping[str, Sequence[float]], holding: float) -> Figure:
    """Return a figure of the Sharpe ratios of all cells of a grid, sorted, by labeller; that of holding is a line."""
    figure = new_figure(9.0, 4.5)
    axes: Any = figure.add_subplot()
    axes.axhline(holding, color="#9aa5b1", linewidth=0.8, linestyle="--", label="holding")
    for number, (name, values) in enumerate(sharpes.items()):
        ordered = np.sort(np.asarray(values, dtype=np.float64))
        place = (np.arange(len(ordered)) + 0.5) / len(ordered)
        described = f"{name}: median {np.median(ordered):.2f}, worst {ordered[0]:.2f}, {len(ordered)} variants"
        axes.plot(place, ordered, "o", markersize=4, color=_DOTS[number % len(_DOTS)], label=described)
    axes.set_xlim(0, 1)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("share of the declared variants that do worse")
    axes.set_ylabel("Sharpe ratio")
    axes.legend(loc="lower right", framealpha=1, fontsize=8)
    open_frame(axes)
    return figure


def _bands(
    dates: DateVector, names: NDArray[np.str_], colours: Mapping[str, str]
) -> list[tuple[np.datetime64, np.datetime64, str]]:
    begins = [0, *(1 + np.flatnonzero(names[1:] != names[:-1])).tolist()] if len(names) else []
    ends = [*begins[1:], len(names) - 1][: len(begins)]
    days = dates.astype("M8[D]")
    return [(days[begin], days[end], colours[str(names[begin])]) for begin, end in zip(begins, ends, strict=True)]
