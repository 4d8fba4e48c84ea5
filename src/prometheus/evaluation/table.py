"""All figures of one labeller, and the table of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prometheus.arrays import Float64Vector
from prometheus.evaluation.figures import (
    area_under_curve,
    balanced_accuracy,
    bear_market_days,
    brier_skill,
    calibration_error,
    explained_variance,
    f1_score,
    mean_duration,
    recession_days,
    switches_per_year,
)
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import BoolVector
from prometheus.evaluation.protocol import EvaluationPlan, WalkForward
from prometheus.evaluation.repaint import RepaintReport
from prometheus.evaluation.strategy import Trading, max_drawdown, sharpe_difference_interval, sharpe_ratio, trade
from prometheus.market.forward_volatility import forward_log_volatility


@dataclass(frozen=True, slots=True)
class LabellerFigures:
    """What EVALUATION asks of a labeller; NaN where a figure cannot be had.

    Attributes
    ----------
    auc, auc_of_probability
        Of the score and of the stated probability, for high forward volatility.
    sharpe_difference_low, sharpe_difference_high
        The 95 % interval of the Sharpe ratio less that of holding.
    repaint
        Share of the dates run again whose label had changed; NaN if none was.
    n_repaint_checked
        How many were.
    """

    name: str
    n_sessions: int
    auc: float
    auc_of_probability: float
    eta2: float
    brier_skill: float
    calibration_error: float
    bear_balanced_accuracy: float
    bear_f1: float
    recession_balanced_accuracy: float
    switches_per_year: float
    mean_duration: float
    sharpe: float
    sharpe_difference_low: float
    sharpe_difference_high: float
    max_drawdown: float
    turnover: float
    repaint: float
    n_repaint_checked: int
    fit_seconds: float
    day_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, None for NaN."""
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What followed each session of the test span.

    Attributes
    ----------
    log_volatility
        Shape (n,), of the horizon after each session; NaN where it is not over.
    is_bear, is_recession
        Shape (n,).
    returns
        Shape (n,), simple return of each session.
    """

    log_volatility: Float64Vector
    is_bear: BoolVector
    is_recession: BoolVector
    returns: Float64Vector

    @classmethod
    def of(cls, history: MarketHistory, plan: EvaluationPlan, walk: WalkForward) -> Targets:
        """Return the targets of the sessions of a walk."""
        visible = plan.visible(history)
        return cls(
            log_volatility=forward_log_volatility(visible.closes, plan.horizon)[walk.first :],
            is_bear=bear_market_days(visible.closes)[walk.first :],
            is_recession=recession_days(walk.dates),
            returns=np.expm1(visible.log_returns)[walk.first :],
        )

    def known_high(self, threshold: float) -> tuple[BoolVector, BoolVector]:
        """Return which sessions have a forward volatility, and which of those a high one."""
        is_known = np.isfinite(self.log_volatility)
        return is_known, self.log_volatility[is_known] > math.log(threshold)


def trade_walk(history: MarketHistory, plan: EvaluationPlan, walk: WalkForward, delay: int | None = None) -> Trading:
    """Return what trading a walk's labels would have earned, with the plan's cost and delay or another delay."""
    returns = Targets.of(history, plan, walk).returns
    return trade(walk.predictions.is_risk_off, returns, plan.cost, plan.delay if delay is None else delay)


def figures_of(
    walk: WalkForward, history: MarketHistory, plan: EvaluationPlan, repaint: RepaintReport | None = None
) -> LabellerFigures:
    """Return the figures of a walk that is done."""
    targets, predictions = Targets.of(history, plan, walk), walk.predictions
    is_known, is_high = targets.known_high(walk.threshold)
    probabilities, says = predictions.probabilities[is_known], predictions.is_risk_off
    trading = trade(says, targets.returns, plan.cost, plan.delay)
    low, high = sharpe_difference_interval(trading)
    return LabellerFigures(
        name=walk.name,
        n_sessions=len(predictions),
        auc=area_under_curve(predictions.scores[is_known], is_high),
        auc_of_probability=area_under_curve(probabilities, is_high),
        eta2=explained_variance(says[is_known], targets.log_volatility[is_known]),
        brier_skill=brier_skill(probabilities, is_high),
        calibration_error=calibration_error(probabilities, is_high),
        bear_balanced_accuracy=balanced_accuracy(says, targets.is_bear),
        bear_f1=f1_score(says, targets.is_bear),
        recession_balanced_accuracy=(
            balanced_accuracy(says, targets.is_recession) if plan.has_recession_months else float("nan")
        ),
        switches_per_year=switches_per_year(says),
        mean_duration=mean_duration(says),
        sharpe=sharpe_ratio(trading.returns),
        sharpe_difference_low=low,
        sharpe_difference_high=high,
        max_drawdown=max_drawdown(trading.returns),
        turnover=trading.turnover,
        repaint=float("nan") if repaint is None else repaint.share,
        n_repaint_checked=0 if repaint is None else repaint.n_checked,
        fit_seconds=walk.fit_seconds,
        day_seconds=walk.day_seconds,
    )


_COLUMNS = (
    ("AUC", "auc", ".3f"),
    ("AUC p", "auc_of_probability", ".3f"),
    ("eta2", "eta2", ".3f"),
    ("Brier", "brier_skill", "+.3f"),
    ("ECE", "calibration_error", ".3f"),
    ("bear bAcc", "bear_balanced_accuracy", ".3f"),
    ("bear F1", "bear_f1", ".3f"),
    ("NBER bAcc", "recession_balanced_accuracy", ".3f"),
    ("switches/y", "switches_per_year", ".2f"),
    ("sessions", "mean_duration", ".0f"),
    ("Sharpe", "sharpe", ".3f"),
    ("less holding, low", "sharpe_difference_low", "+.2f"),
    ("high", "sharpe_difference_high", "+.2f"),
    ("drawdown", "max_drawdown", ".3f"),
    ("turnover", "turnover", ".2f"),
    ("repaint", "repaint", ".4f"),
    ("fit s", "fit_seconds", ".4f"),
    ("day s", "day_seconds", ".6f"),
)


def figures_table(rows: Sequence[LabellerFigures]) -> str:
    """Return the figures as text, one line per labeller, ``-`` where there is none."""
    header = ["labeller", *(title for title, _, _ in _COLUMNS)]
    lines = [header, *([row.name, *(_cell(row, key, form) for _, key, form in _COLUMNS)] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )


def _cell(row: LabellerFigures, key: str, form: str) -> str:
    value = getattr(row, key)
    return format(value, form) if math.isfinite(value) else "-"
