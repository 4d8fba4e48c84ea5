"""Why a session got its label, in units people use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Float32Vector, Float64Matrix
from prometheus.encoders.numeric.descriptors import GROUPS, NAMES, RISK_NAMES, TREND_NAMES
from prometheus.encoders.numeric.scale_free import in_own_units, raw_descriptors
from prometheus.errors import InputRefusedError
from prometheus.regime.decoding import costs_behind, euclidean_distances
from prometheus.regime.types import RegimeLabel

_SESSIONS_PER_YEAR = 252
EXPLAINED_NAMES = (
    "volatility_32", "volatility_64", "down_range_16", "downside_32", "sortino_64", "average_128", "drawdown_128",
    "momentum_128", "drawdown_512",
)  # fmt: skip
"""Descriptors whose norm a calibration keeps."""
_RANGE_RATIO = "range_ratio"
EVIDENCE_LABELS = ("CARRY", "NEUTRAL", "RISK_OFF", "CRISIS")
"""From the calm end of the axis to the wild one."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One line of an explanation: what was seen, against its norm, in plain units.

    `share`, in [-1, 1], is its part of all that pulled: above 0 for the label, below for the runner-up. Sizes add to 1,
    and shares to what is left for the label, never below 0. NaN for a line that only informs.
    """

    text: str
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"text": self.text, "share": None if math.isnan(self.share) else round(self.share, 6)}


@dataclass(frozen=True, slots=True)
class Movement:
    """How one driver of a label moved from one session to the next, in plain units.

    `pull` is its part of all that moved, in [-1, 1]: above 0 towards the label, below away from it.
    """

    driver: str
    before: str
    now: str
    pull: float


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What decided the labels of n sessions against their runners-up.

    `distances` and `behind`, shape (n, n_labels), are those to the centres and what `costs_behind` says; `shares`,
    shape (n, n_families + 1), are those of `Reason`, the last one of the sessions before.
    """

    distances: Float64Matrix
    behind: Float64Matrix
    shares: Float64Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Explainer:
    """What a calibrated model decides by: all it takes to say why a session has its label.

    `centers`, shape (384,) each, of the scale-free encoder, are by label, `norms`, median standard scores of the
    calibration span, by descriptor; the others are those of `RegimeCalibration`.
    """

    centers: Mapping[str, Float32Vector]
    norms: Mapping[str, float]
    temperature: float
    penalty: float
    decode_sessions: int

    def explain(
        self, vector: Float32Vector, label: str, probabilities: Mapping[str, float], *, is_held: bool = False
    ) -> list[Reason]:
        """Return what moved the decision for a label against the next likely one, strongest first.

        The lines that only inform come before. A session that is held, `is_held`, pulls nowhere: its label is that of
        the sessions before.
        """
        stated = np.array([[probabilities[name] for name in self.centers]])
        decided = self.decide(np.asarray(vector)[np.newaxis], [label], stated, np.array([is_held]))
        now, norm = self._figures(vector)
        texts = [*(family.text.format(now=now, norm=norm) for family in _FAMILIES), self._persistence(decided.behind)]
        reasons = map(Reason, texts, decided.shares[0].tolist())
        informing = [text.format(now=now, norm=norm) for text in _INFORMING]
        informing += [] if is_held else self._nearer_elsewhere(label, decided.distances)
        ranked = sorted(reasons, key=lambda reason: -abs(reason.share))
        return [*(Reason(text, math.nan) for text in informing), *ranked]

    def decide(
        self, vectors: Float32Matrix, labels: Sequence[str], probabilities: Float64Matrix, is_held: NDArray[np.bool_]
    ) -> Decisions:
        """Return what decided n labels; vectors have the shape (n, 384), probabilities (n, n_labels) as `centers`."""
        names, centers, rows = list(self.centers), np.stack(list(self.centers.values())), np.arange(len(vectors))
        own = np.array([names.index(label) for label in labels])
        rivals = probabilities.copy()
        rivals[rows, own] = -1.0
        other = rivals.argmax(axis=1)
        distances = euclidean_distances(vectors, centers)
        costs = np.where(is_held[:, np.newaxis], 0.0, distances)
        behind = costs_behind(probabilities, costs, self.temperature)
        both = distances[rows, own] + distances[rows, other]
        scales = np.divide(1.0, both, out=np.zeros_like(both), where=~is_held & (both > 0))
        pulls = _pulls(vectors, centers[own], centers[other]) * scales[:, np.newaxis]
        pulls = np.column_stack([pulls, behind[rows, other] - behind[rows, own]])
        sizes = np.abs(pulls).sum(axis=1, keepdims=True)
        return Decisions(distances, behind, pulls / np.where(sizes > 0, sizes, 1.0))

    def compare(
        self, before: Float32Vector, now: Float32Vector, label: str, probabilities: Mapping[str, float]
    ) -> list[Movement]:
        """Return what moved between two sessions, seen from the later one's label against its next likely one.

        Strongest first; where nothing moved, every pull is 0.
        """
        runner_up = max((name for name in probabilities if name != label), key=lambda name: probabilities[name])
        earlier, later = _pulls(np.stack([before, now]), self.centers[label], self.centers[runner_up])
        moved = later - earlier
        size = float(np.abs(moved).sum()) or 1.0
        then, today = (_in_plain_units(raw, math.exp(raw[_RANGE_RATIO])) for raw in (_measured(before), _measured(now)))
        movements = [
            Movement(family.driver, then.get(family.unit, ""), today.get(family.unit, ""), float(pull) / size)
            for family, pull in zip(_FAMILIES, moved, strict=True)
        ]
        return sorted(movements, key=lambda movement: -abs(movement.pull))

    def _figures(self, vector: Float32Vector) -> tuple[dict[str, str], dict[str, str]]:
        """Return what was seen and its norm, in plain units."""
        raw = _measured(vector)
        range_ratio = math.exp(raw[_RANGE_RATIO])
        scores = np.array([[self.norms[name] for name in EXPLAINED_NAMES]])
        usual = dict(zip(EXPLAINED_NAMES, in_own_units(scores, EXPLAINED_NAMES)[0].tolist(), strict=True))
        return _in_plain_units(raw, range_ratio), _in_plain_units(usual, range_ratio)

    def _persistence(self, behind: Float64Matrix) -> str:
        n_before = self.decode_sessions - 1
        if not (n_before and self.penalty):
            return "the sessions before: a change has no price"
        word = self._words()[int(behind[0].argmin())]
        return (
            f"the {n_before} sessions before say {word}; a change must earn its price, a distance of {self.penalty:g}"
        )

    def _nearer_elsewhere(self, label: str, distances: Float64Matrix) -> list[str]:
        nearest, own = int(distances[0].argmin()), list(self.centers).index(label)
        if nearest == own:
            return []
        near, far = (f"{self._words()[at]} ({distances[0, at]:.3f})" for at in (nearest, own))
        return [f"the session alone is nearer to {near} than to {far}"]

    def _words(self) -> list[str]:
        return [RegimeLabel[name].word for name in self.centers]


def _pulls(
    vectors: Float32Matrix, centers: Float32Matrix | Float32Vector, runners_up: Float32Matrix | Float32Vector
) -> Float64Matrix:
    """Return by how much each family is nearer to one centre than to the other, squared, shape (n, n_families)."""
    wide, own, other = (np.asarray(each, dtype=np.float64) for each in (vectors, centers, runners_up))
    pulls = (wide - other) ** 2 - (wide - own) ** 2
    return np.stack([pulls[:, family.positions].sum(axis=1) for family in _FAMILIES], axis=1)


def _measured(vector: Float32Vector) -> dict[str, float]:
    names = (*EXPLAINED_NAMES, _RANGE_RATIO)
    raw = raw_descriptors(np.asarray(vector)[np.newaxis], names)[0]
    return dict(zip(names, raw.tolist(), strict=True))


def _in_plain_units(raw: Mapping[str, float], range_ratio: float) -> dict[str, str]:
    """Undo, by `range_ratio`, the encoder's division of dips by the market's ratio of ranges to absolute returns."""
    year = math.sqrt(_SESSIONS_PER_YEAR)
    unit = math.exp(raw["volatility_64"]) * math.sqrt(128)
    return {
        "volatility": f"{math.exp(raw['volatility_32']) * year * 100:.0f} %",
        "downside": f"{math.exp(raw['downside_32']) * year * 100:.0f} %",
        "fall": f"{math.exp(raw['down_range_16']) * range_ratio * 100:.2f} %",
        "sortino": f"{raw['sortino_64']:+.2f}",
        "average": f"{math.expm1(raw['average_128'] * unit) * 100:+.0f} %",
        "drawdown": f"{-math.expm1(raw['drawdown_128']) * 100:.0f} %",
        "long_drawdown": f"{-math.expm1(raw['drawdown_512']) * 100:.0f} %",
        "momentum": f"{math.expm1(raw['momentum_128'] * unit) * 100:+.0f} %",
    }


def _starting(names: Sequence[str], word: str) -> list[int]:
    return [NAMES.index(name) for name in names if name.startswith(word)]


@dataclass(frozen=True, slots=True)
class _Family:
    """Descriptors that say the same at several horizons, how to put it, and the unit of its value."""

    positions: list[int]
    text: str
    driver: str
    unit: str = ""


_FAMILIES: Sequence[_Family] = (
    _Family(
        _starting(RISK_NAMES, "down_range"), "sessions dip {now[fall]} on average against a norm of {norm[fall]}",
        "average dip of a session", "fall",
    ),
    _Family(
        _starting(RISK_NAMES, "downside"),
        "downside volatility {now[downside]} a year against a norm of {norm[downside]}",
        "downside volatility a year", "downside",
    ),
    _Family(
        _starting(TREND_NAMES, "sortino"),
        "return per unit of downside {now[sortino]} a session against a norm of {norm[sortino]}",
        "return per unit of downside", "sortino",
    ),
    _Family(
        [NAMES.index("average_128")], "{now[average]} from the 128-session average against a norm of {norm[average]}",
        "distance from the 128-session average", "average",
    ),
    _Family(
        [NAMES.index("drawdown_128")], "{now[drawdown]} below the 128-session high against a norm of {norm[drawdown]}",
        "below the 128-session high", "drawdown",
    ),
    _Family(
        [NAMES.index("momentum_128")], "{now[momentum]} over 128 sessions against a norm of {norm[momentum]}",
        "change over 128 sessions", "momentum",
    ),
    _Family(
        [NAMES.index(name) for group in GROUPS[2:] for name in group.names],
        "other horizons and the path that led here",
        "other horizons and the path that led here",
    ),
)  # fmt: skip
_INFORMING = (
    "volatility {now[volatility]} a year against a norm of {norm[volatility]}",
    "{now[long_drawdown]} below the two-year high against a norm of {norm[long_drawdown]}",
)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What stands behind the labels of consecutive sessions.

    `probabilities`, shape (n, 4), are of the labels in `EVIDENCE_LABELS`; rows add to 1, NaN where the model gives
    none. `vectors`, shape (n, dim), were classified. `explainer` is None where the model was not calibrated.
    """

    probabilities: Float64Matrix
    vectors: Float32Matrix
    explainer: Explainer | None

    def take(self, rows: slice) -> Evidence:
        """Return that of some of the sessions."""
        return replace(self, probabilities=self.probabilities[rows], vectors=self.vectors[rows])

    def explain(self, row: int, label: str, *, is_held: bool = False) -> list[Reason]:
        """Return what moved one label against the next likely one; `InputRefusedError` without a calibration."""
        if self.explainer is None:
            raise InputRefusedError(
                "labels of a model without calibration cannot be explained; run calibrate, then run_numeric_regime "
                "with its file"
            )
        probabilities = dict(zip(EVIDENCE_LABELS, self.probabilities[row].tolist(), strict=True))
        return self.explainer.explain(self.vectors[row], label, probabilities, is_held=is_held)
