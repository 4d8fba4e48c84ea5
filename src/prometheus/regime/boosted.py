"""The chance of high volatility by boosted trees, frozen on ^GSPC before 1990: descriptors against the threshold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector, Int64Vector
from prometheus.encoders.numeric import descriptors
from prometheus.encoders.numeric.scale_free import raw_descriptors
from prometheus.errors import WindowShapeError

TREES_FILE = "boosted_trees.json"
RECOMPUTE_COMMAND = "python -m benchmarks.boosted_trees FILE"
_RISK = ("range_", "down_range_", "volatility_", "downside_")
_TREND = ("sortino_", "drawdown_", "average_", "momentum_", "rise_")
RISK_NAMES = tuple(n for n in descriptors.NAMES if n.startswith(_RISK) and n != "range_ratio")
"""Log volatilities of one kind or another, a session: compared with the threshold, the higher the likelier."""
NAMES = (*RISK_NAMES, *(n for n in descriptors.NAMES if n.startswith(_TREND) and "_path_" not in n))
"""What the trees read, in order."""
SPLITS = 3
"""A tree asks three questions; their answers, as bits, number its eight outcomes."""
_UNIT = 1e-6
_CHUNK_ROWS = 1_024


@dataclass(frozen=True, slots=True, eq=False)
class BoostedTrees:
    """Trees as columns: `features` and `limits` of shape (n_trees, 3), `outcomes` of shape (n_trees, 8).

    A question is whether the feature at that place in `NAMES` exceeds the limit. Outcomes and `base` are millionths of
    log odds, whole numbers: their sum does not depend on the order of adding.
    """

    features: Int64Vector
    limits: Float64Matrix
    outcomes: NDArray[np.int64]
    base: int
    source: Mapping[str, Any]

    def __post_init__(self) -> None:
        n_trees = len(self.features)
        for name, wanted in (("features", SPLITS), ("limits", SPLITS), ("outcomes", 2**SPLITS)):
            if getattr(self, name).shape != (n_trees, wanted):
                raise WindowShapeError(f"trees' {name}", getattr(self, name).shape, (n_trees, wanted))

    def log_odds(self, features: Float64Matrix) -> Float64Vector:
        """Return the log odds of rows of features, shape (n, n_names), as `relative_features` makes them."""
        columns, limits, starts = _questions(self)
        outcomes = self.outcomes.ravel()
        sums = np.full(len(features), self.base, dtype=np.int64)
        for first in range(0, len(features), _CHUNK_ROWS):
            rows = slice(first, first + _CHUNK_ROWS)
            answers = (features[rows][:, columns] > limits).view(np.uint8).reshape(-1, SPLITS, len(self.features))
            places = starts + (answers[:, 0] + 2 * answers[:, 1] + 4 * answers[:, 2])
            sums[rows] += outcomes[places].sum(axis=1)
        found: Float64Vector = sums.astype(np.float64) * _UNIT
        return found

    def log_odds_of(self, features: Float64Vector) -> float:
        """Return the log odds of one row of features, shape (n_names,)."""
        columns, limits, starts = _questions(self)
        answers = np.packbits((features[columns] > limits).reshape(SPLITS, -1), axis=0, bitorder="little")[0]
        return (self.base + int(np.add.reduce(self.outcomes.ravel()[starts + answers]))) * _UNIT

    def to_json(self) -> str:
        """Return the file's text; equal trees give equal text."""
        columns = zip(self.features.tolist(), self.limits.tolist(), self.outcomes.tolist(), strict=True)
        rows = ",\n".join(f"    {json.dumps(list(column))}" for column in columns)
        source = json.dumps(dict(self.source), sort_keys=True)
        head = f'{{\n  "source": {source},\n  "names": {json.dumps(NAMES)},\n  "base": {self.base},\n'
        return f'{head}  "trees": [\n{rows}\n  ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> BoostedTrees:
        """Return the trees of a file's text."""
        document = json.loads(text)
        if tuple(document["names"]) != NAMES:
            raise WindowShapeError("trees' names", (len(document["names"]),), (len(NAMES),))
        features, limits, outcomes = zip(*document["trees"], strict=True)
        source = document["source"]
        return cls(np.array(features), np.array(limits, float), np.array(outcomes), int(document["base"]), source)


@lru_cache(maxsize=8)
def _questions(trees: BoostedTrees) -> tuple[Int64Vector, Float64Vector, Int64Vector]:
    """Return the features and limits of all first questions, all second ones and all third ones, in one row.

    The last part is where the outcomes of each tree begin.
    """
    return trees.features.T.ravel(), trees.limits.T.ravel(), np.arange(len(trees.features)) * 2**SPLITS


@cache
def packaged_trees() -> BoostedTrees:
    """Return the trees this version of Prometheus ships."""
    text = resources.files("prometheus.regime").joinpath(TREES_FILE).read_text(encoding="utf-8")
    return BoostedTrees.from_json(text)


def relative_features(vectors: Float32Matrix, threshold: float) -> Float64Matrix:
    """Return what the trees read of vectors of the scale-free encoder, shape (n, n_names).

    Log volatilities are taken less the log of `threshold`, an annualised volatility.
    """
    features = raw_descriptors(vectors, NAMES)
    features[:, : len(RISK_NAMES)] -= np.log(threshold)
    return features


def boosted_log_odds(vectors: Float32Matrix, threshold: float) -> Float64Vector:
    """Return the frozen log odds that the next 21 sessions are more volatile than `threshold`, shape (n,)."""
    return packaged_trees().log_odds(relative_features(vectors, threshold))


_COLUMNS = np.array([descriptors.NAMES.index(name) for name in NAMES])


def boosted_log_odds_of(raw: Float64Vector, log_threshold: np.float64) -> float:
    """Return the log odds that `boosted_log_odds` gives of one vector, whose descriptors are in their own units."""
    features = raw[_COLUMNS]
    features[: len(RISK_NAMES)] -= log_threshold
    return packaged_trees().log_odds_of(features)
