"""Many markets under one protocol: medians, the share won against each peer, paired intervals, pooled calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.errors import InputRefusedError
from prometheus.evaluation.bootstrap import interval_of, mean_difference_interval, resampled_areas
from prometheus.evaluation.figures import (
    area_under_curve,
    brier_skill,
    calibration_error,
    json_values,
    reliability_bins,
)
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import BoolVector, Labeller
from prometheus.evaluation.protocol import EvaluationPlan, WalkForward, walk_forward
from prometheus.evaluation.report import LabellerFigures, Targets, figures_of
from prometheus.evaluation.rules import HOLDING

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "auc_of_probability": True, "brier_skill": True, "calibration_error": False, "auc_of_test_event": True,
    "r2": True, "qlike": False, "eta2": True, "eta2_of_labels": True, "own_bear_balanced_accuracy": True,
    "own_bear_f1": True, "own_bear_auc": True, "own_bear_brier_skill": True, "own_bear_calibration_error": False,
    "bear_balanced_accuracy": True, "bear_f1": True, "bear_auc": True, "bear_brier_skill": True,
    "bear_calibration_error": False, "lag": False, "switches_per_year": False, "sharpe_difference": True,
    "max_drawdown": True,
    "sharpe_difference_half_out": True, "max_drawdown_half_out": True,
}  # fmt: skip
"""The figures compared across markets, and which way they are better."""


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much one labeller is better than a peer in one market, with bounds of 95 % by a paired block bootstrap.

    Of the area under the curve of the stated probability, and of the Brier score, the squared error saved.
    """

    peer: str
    auc: float
    auc_low: float
    auc_high: float
    brier: float
    brier_low: float
    brier_high: float


@dataclass(frozen=True, slots=True, eq=False)
class Stated:
    """Probabilities stated in one market and what they were about, shape (n,) each; of bear markets, both events."""

    high: Float64Vector
    is_high: BoolVector
    own_bear: Float64Vector
    is_own_bear: BoolVector
    bear: Float64Vector
    is_bear: BoolVector

    @classmethod
    def of(cls, walk: WalkForward, targets: Targets) -> Stated:
        """Return what a walk stated of the sessions whose outcome is known."""
        high = walk.predictions.probabilities[targets.is_known]
        bears = (walk.readings.own_bear, targets.is_own_bear, walk.readings.bear, targets.is_bear)
        return cls(high, targets.is_high(walk.thresholds), *bears)


@dataclass(frozen=True, slots=True, eq=False)
class JudgedOne:
    """One market: the figures of each labeller, and the gains of the first of them against every other."""

    name: str
    plan: EvaluationPlan
    figures: tuple[LabellerFigures, ...]
    gains: tuple[Gain, ...]
    stated: Mapping[str, Stated]
    remark: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "market": self.name, "start": str(self.plan.start), "end": str(self.plan.end), "remark": self.remark,
            "labellers": [row.to_dict() for row in self.figures],
            "gains": [json_values(asdict(gain)) for gain in self.gains],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refused:
    """A market that could not be judged, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class MarketsReport:
    """What labellers came to over many markets, of which at least one could be judged; the first labeller is ours."""

    markets: tuple[JudgedOne, ...]
    refused: tuple[Refused, ...] = ()

    def __post_init__(self) -> None:
        if not self.markets:
            why = f": {self.refused[0].name}: {self.refused[0].reason}" if self.refused else ""
            raise InputRefusedError(f"none of {len(self.refused)} markets can be judged{why}")

    @property
    def labellers(self) -> list[str]:
        """Every labeller of any market, in the order of the first that has it."""
        return list(dict.fromkeys(row.name for market in self.markets for row in market.figures))

    def values(self, labeller: str, figure: str) -> Float64Vector:
        """Return a figure of a labeller in every market, shape (n_markets,); NaN where it is not known."""
        found = [{row.name: row for row in market.figures}.get(labeller) for market in self.markets]
        return np.array([math.nan if row is None else getattr(row, figure) for row in found])

    def median_of(self, labeller: str, figure: str) -> float:
        """Return the median over the markets in which the figure is known; NaN without any."""
        values = self.values(labeller, figure)
        known = values[~np.isnan(values)]
        return float(median(known.tolist())) if len(known) else math.nan

    def share_won(self, peer: str, figure: str) -> float:
        """Return the share of markets in which the first labeller is better than a peer, a tie being half of one."""
        ours, theirs = (self.values(name, figure) for name in (self.labellers[0], peer))
        is_known = ~(np.isnan(ours) | np.isnan(theirs))
        if not is_known.any():
            return math.nan
        sign = 1.0 if HIGHER_IS_BETTER[figure] else -1.0
        ahead, behind = (compare(sign * ours[is_known], sign * theirs[is_known]) for compare in (np.greater, np.less))
        return float(0.5 + (ahead.mean() - behind.mean()) / 2.0)

    def decided(self, peer: str) -> dict[str, int]:
        """Return in how many markets the whole interval of the gain against a peer lies above 0, and below."""
        gains = [gain for market in self.markets for gain in market.gains if gain.peer == peer]
        return {
            "n_markets": len(gains),
            "auc_above": sum(gain.auc_low > 0.0 for gain in gains),
            "auc_below": sum(gain.auc_high < 0.0 for gain in gains),
            "brier_above": sum(gain.brier_low > 0.0 for gain in gains),
            "brier_below": sum(gain.brier_high < 0.0 for gain in gains),
        }

    def pooled(self, labeller: str) -> Stated:
        """Return what a labeller stated in all markets together."""
        parts = [market.stated[labeller] for market in self.markets if labeller in market.stated]
        return Stated(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Stated)))

    def curves(self, *, of_bear: bool = False) -> dict[str, Float64Matrix]:
        """Return the pooled `reliability_bins` of all but holding, whose base rates make no curve, for an own event."""
        pooled = {name: self.pooled(name) for name in self.labellers if name != HOLDING}
        return {
            name: reliability_bins(*((each.own_bear, each.is_own_bear) if of_bear else (each.high, each.is_high)))
            for name, each in pooled.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        names = self.labellers
        return {
            "n_markets": len(self.markets),
            "medians": {
                name: json_values({each: self.median_of(name, each) for each in HIGHER_IS_BETTER}) for name in names
            },
            "won": {
                peer: json_values({each: self.share_won(peer, each) for each in HIGHER_IS_BETTER}) for peer in names[1:]
            },
            "decided": {peer: self.decided(peer) for peer in names[1:]},
            "pooled": {name: self._pooled_dict(name) for name in names},
            "markets": [market.to_dict() for market in self.markets],
            "refused": [asdict(each) for each in self.refused],
        }

    def _pooled_dict(self, labeller: str) -> dict[str, Any]:
        pooled = self.pooled(labeller)
        return {
            "n_sessions": len(pooled.high), "calibration_error": calibration_error(pooled.high, pooled.is_high),
            "own_bear_calibration_error": calibration_error(pooled.own_bear, pooled.is_own_bear),
            "bear_calibration_error": calibration_error(pooled.bear, pooled.is_bear),
            **json_values({
                "brier_skill": brier_skill(pooled.high, pooled.is_high),
                "own_bear_brier_skill": brier_skill(pooled.own_bear, pooled.is_own_bear),
                "bear_brier_skill": brier_skill(pooled.bear, pooled.is_bear),
            }),
            "reliability": reliability_bins(pooled.high, pooled.is_high).tolist(),
            "own_bear_reliability": reliability_bins(pooled.own_bear, pooled.is_own_bear).tolist(),
            "bear_reliability": reliability_bins(pooled.bear, pooled.is_bear).tolist(),
        }  # fmt: skip


def judge_market(
    name: str, history: MarketHistory, plan: EvaluationPlan, labellers: Sequence[Labeller],
    is_told: Callable[[str], None] = lambda _remark: None,
) -> JudgedOne:  # fmt: skip
    """Walk every labeller through one market.

    A peer that cannot be walked there, such as a level that begins later, has no row; `InputRefusedError` of the first
    labeller goes on to the caller.
    """
    walks: list[WalkForward] = []
    for labeller in labellers:
        try:
            walks.append(walk_forward(labeller, history, plan))
        except InputRefusedError as error:
            if labeller is labellers[0]:
                raise
            is_told(f"{name}: no {labeller.name}: {error}")
    stated = {walk.name: Stated.of(walk, Targets.of(history, plan, walk)) for walk in walks}
    ours, *others = stated
    areas = {each: resampled_areas(one.high, one.is_high) for each, one in stated.items()}
    return JudgedOne(
        name=name,
        plan=plan,
        figures=tuple(figures_of(walk, history, plan) for walk in walks),
        gains=tuple(_gain(peer, stated[ours], stated[peer], areas[ours] - areas[peer]) for peer in others),
        stated=stated,
    )


def _gain(peer: str, ours: Stated, theirs: Stated, resampled: Float64Vector) -> Gain:
    is_high = ours.is_high
    errors = [(each.high - is_high) ** 2 for each in (theirs, ours)]
    areas = [area_under_curve(each.high, is_high) for each in (ours, theirs)]
    return Gain(
        peer,
        areas[0] - areas[1],
        *interval_of(resampled),
        float((errors[0] - errors[1]).mean()),
        *mean_difference_interval(errors[0], errors[1]),
    )
