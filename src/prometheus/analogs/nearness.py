"""What makes a past date near in a space of prices and macro numbers: which part, and which of the numbers.

The squared distance of two dates is a sum over the places of their vectors. A place makes a date nearer by as much as
its squared difference is below the mean one to all dates that could have been chosen; these gains add up to the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from prometheus.arrays import DateVector, Float32Matrix, Float64Matrix, Int64Vector
from prometheus.encoders.joint.macro_model import MacroJointModel
from prometheus.errors import WindowShapeError

MOST_TOLD = 3
LEAST_TOLD = 0.02
"""A number that made a date nearer by a smaller part of the whole is not told."""


@dataclass(frozen=True, slots=True)
class SharedNumber:
    """A macro number of two dates in words of its unit, and the part of the nearness that it stands for."""

    name: str
    now: str
    then: str
    share: float

    def __str__(self) -> str:
        return f"{self.name} {self.then} (now {self.now})"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"name": self.name, "now": self.now, "then": self.then, "share": self.share}


@dataclass(frozen=True, slots=True)
class Nearness:
    """Why a date is near: the parts of prices (with texts, where they take part) and numbers, which add to 1.

    `near_in` are the numbers that made it nearest, most first; `apart_in` is the one that held it off most, if one did.
    """

    prices: float
    numbers: float
    near_in: tuple[SharedNumber, ...]
    apart_in: SharedNumber | None

    def __str__(self) -> str:
        near = f": {', '.join(map(str, self.near_in))}" if self.near_in else ""
        apart = "" if self.apart_in is None else f"; apart in {self.apart_in}"
        numbers = f"by numbers {_percent(self.numbers)}"
        if round(self.numbers, 2) < 0:
            numbers = f"less {_percent(-self.numbers)} by numbers"
        return f"near by prices {_percent(self.prices)}, {numbers}{near}{apart}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        apart = None if self.apart_in is None else self.apart_in.to_dict()
        near = [each.to_dict() for each in self.near_in]
        return {"prices": self.prices, "numbers": self.numbers, "near_in": near, "apart_in": apart}


@dataclass(frozen=True, slots=True)
class SpaceParts:
    """The parts of the squared distance that prices and macro numbers hold between the dates from `first` to `last`.

    `has_texts` tells that texts take part, too: they are in the part of prices.
    """

    prices: float
    numbers: float
    first: date
    last: date
    n_numbers: int
    has_texts: bool

    def __str__(self) -> str:
        others = "prices and texts" if self.has_texts else "prices"
        return (
            f"{others} hold {_percent(self.prices)} of the squared distances from {self.first} to {self.last}, "
            f"{self.n_numbers} macro numbers of the United States {_percent(self.numbers)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "prices": self.prices, "numbers": self.numbers, "n_numbers": self.n_numbers, "has_texts": self.has_texts,
            "first": str(self.first), "last": str(self.last),
        }  # fmt: skip


def space_parts(model: MacroJointModel, dates: DateVector, vectors: Float32Matrix) -> SpaceParts | None:
    """Return how the squared distance of some dates, shape (n,), is held; None of fewer than two, or of equal ones.

    It is that of all their pairs, twice the variance of each place of the vectors, shape (n, dim).
    """
    if len(vectors) < 2:
        return None
    _require_fit(model, vectors)
    variances = vectors.astype(np.float64).var(axis=0)
    whole = float(variances.sum())
    if whole <= 0.0:
        return None
    numbers = float(variances[-len(model.numbers) :].sum()) / whole
    first, last = dates[0].item(), dates[-1].item()
    return SpaceParts(1.0 - numbers, numbers, first, last, len(model.numbers), model.centres is not None)


def nearness(
    model: MacroJointModel, vectors: Float32Matrix, at: int, chosen: Int64Vector, n_candidates: int
) -> list[Nearness | None]:
    """Return why each chosen row is near to row `at`, measured by the first `n_candidates` rows of (n, dim).

    None for a row that is no nearer than they are on average.
    """
    _require_fit(model, vectors)
    wide, n_numbers = vectors.astype(np.float64), len(model.numbers)
    squares = (wide[:n_candidates] - wide[at]) ** 2
    typical = squares.mean(axis=0)
    gains = typical - (wide[chosen] - wide[at]) ** 2
    scores = model.scores(vectors[[at, *chosen.tolist()]])
    return [_told(model, gain[-n_numbers:], float(gain.sum()), scores[[0, row]]) for row, gain in enumerate(gains, 1)]


def _told(model: MacroJointModel, gains: Float64Matrix, whole: float, scores: Float64Matrix) -> Nearness | None:
    if whole <= 0.0:
        return None
    shares = (gains / whole).tolist()
    told = [
        SharedNumber(number.words, number.told(now), number.told(then), share)
        for number, now, then, share in zip(model.numbers, *scores.tolist(), shares, strict=True)
    ]
    near = sorted((each for each in told if each.share >= LEAST_TOLD), key=lambda each: -each.share)[:MOST_TOLD]
    apart = _farthest(told)
    numbers = float(sum(shares))
    return Nearness(1.0 - numbers, numbers, tuple(near), apart)


def _farthest(told: Sequence[SharedNumber]) -> SharedNumber | None:
    farthest = min(told, key=lambda each: each.share)
    return farthest if farthest.share <= -LEAST_TOLD else None


def _require_fit(model: MacroJointModel, vectors: Float32Matrix) -> None:
    if vectors.ndim != 2 or vectors.shape[1] <= len(model.numbers):
        raise WindowShapeError("joint vectors", vectors.shape, (len(vectors), "dim"))


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
