"""Pooled prototypes, frozen, and how much of those that one span gives is believed beside them.

Empirical Bayes (Efron and Morris, Stein's estimation rule and its competitors, 1973): a span's own prototypes are drawn
to the pooled ones as strongly as spans of their length were wrong about the sessions after them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from prometheus.arrays import Float64Vector
from prometheus.encoders.numeric import descriptors
from prometheus.errors import WindowShapeError
from prometheus.regime.types import RegimeLabel, RegimePrototype

POOLED_FILE = "pooled_prototypes.json"
RECOMPUTE_COMMAND = "python -m benchmarks.pooled_prototypes FILES"
WHOLE_SESSIONS = 3_000
"""A span of this number of sessions is a whole one; those of a shorter one may differ from what it would say."""
_OUTER_POINTS = ((-math.sqrt(3.0), 1 / 6), (math.sqrt(3.0), 1 / 6))
"""Places and weights that stand, with 0, for a normal distribution of unit deviation (Gauss and Hermite)."""


@dataclass(frozen=True, slots=True, eq=False)
class PooledPrototypes:
    """Centres of shape (384,) by label, and mean squared distances of markets' own prototypes from them.

    Those of all labels are added. `lasting` is found again in the sessions after a span; of the rest, `passing` is in
    spans of any length, `sampling` over n in one of n sessions.
    """

    centers: Mapping[RegimeLabel, Float64Vector]
    lasting: float
    passing: float
    sampling: float
    source: Mapping[str, Any]

    def __post_init__(self) -> None:
        for label, center in self.centers.items():
            if center.shape != (descriptors.DIM,):
                raise WindowShapeError(f"pooled prototype of {label.name}", center.shape, (descriptors.DIM,))

    def own_share(self, n_sessions: int) -> float:
        """Return the weight, between 0 and 1, of the prototypes of a span of this number of sessions."""
        return round(self.lasting / (self.lasting + self.passing + self.sampling / n_sessions), 6)

    def blend(self, prototypes: Sequence[RegimePrototype], n_sessions: int) -> tuple[RegimePrototype, ...]:
        """Return a span's prototypes, drawn towards the pooled ones."""
        share = self.own_share(n_sessions)
        return tuple(
            _prototype(each.label, share * each.center.astype(np.float64) + (1.0 - share) * self.centers[each.label])
            for each in prototypes
        )

    def deviation(self, n_sessions: int) -> float:
        """Return the standard deviation, in distance, of a whole span's blended prototypes from those of a part of it.

        It is 0 for a whole span. What the others do not explain is of the sessions that were not seen.
        """
        whole = self.own_share(WHOLE_SESSIONS)
        unexplained = whole * self.lasting * (1.0 - whole * self.own_share(n_sessions)) / len(self.centers)
        return math.sqrt(unexplained * max(0.0, 1.0 - n_sessions / WHOLE_SESSIONS))

    def alternatives(
        self, prototypes: Sequence[RegimePrototype], n_sessions: int
    ) -> list[tuple[float, Sequence[RegimePrototype]]]:
        """Return what a whole span may say instead, each with its chance: all moved to the calm, or all to the wild.

        A whole span has no alternative to its own.
        """
        deviation = self.deviation(n_sessions)
        if not deviation:
            return []
        axis = self.centers[RegimeLabel.CRISIS] - self.centers[RegimeLabel.CARRY]
        step = deviation * axis / math.sqrt((axis * axis).sum())
        return [
            (weight, [_prototype(each.label, each.center + place * step) for each in prototypes])
            for place, weight in _OUTER_POINTS
        ]

    def to_json(self) -> str:
        """Return the file's text; equal prototypes give equal text."""
        numbers = {"lasting": self.lasting, "passing": self.passing, "sampling": self.sampling}
        head = ",\n".join(f'  "{name}": {json.dumps(value)}' for name, value in numbers.items())
        centers = ",\n".join(
            f'    "{label.name}": {json.dumps(center.tolist())}' for label, center in self.centers.items()
        )
        source = json.dumps(dict(self.source), sort_keys=True)
        return f'{{\n  "source": {source},\n{head},\n  "centers": {{\n{centers}\n  }}\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> PooledPrototypes:
        """Return the prototypes of a file's text."""
        document = json.loads(text)
        centers = {RegimeLabel.parse(name): np.array(center) for name, center in document["centers"].items()}
        return cls(centers, document["lasting"], document["passing"], document["sampling"], document["source"])


def _prototype(label: RegimeLabel, center: Float64Vector) -> RegimePrototype:
    return RegimePrototype(label, center.astype(np.float32))


@cache
def packaged_pooled() -> PooledPrototypes:
    """Return the pooled prototypes this version of Prometheus ships."""
    text = resources.files("prometheus.regime").joinpath(POOLED_FILE).read_text(encoding="utf-8")
    return PooledPrototypes.from_json(text)
