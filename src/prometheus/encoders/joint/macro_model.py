"""``joint-regime-core-v3``: prices, macro numbers and, where they are asked for, texts, at stated shares.

Prices and numbers are standard scores of spans before their use: the squared distance of two dates of that span is 2 in
each, so the shares alone decide how much each part holds. The numbers stand in the last places of the vector, where the
embedding of prices has the oldest days of a path, 0.036 % of its squared distance each; those are given up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix
from prometheus.encoders.joint.models import BranchCentres, require_after, stack_branch, stack_branches, unit_rows
from prometheus.encoders.joint.numbers import CONSTANTS_SOURCE, numbers_of
from prometheus.errors import UsageError, WindowShapeError

if TYPE_CHECKING:
    from prometheus.encoders.joint.examples import JointExample

MACRO_FAMILY = "standardised-parts"
MACRO_MODEL_ID = "joint-regime-core-v3"
"""Its id; the ids of other shares or series begin with it."""
FROZEN_UNTIL = date.fromisoformat(CONSTANTS_SOURCE["end"])


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of the squared distance that macro numbers and texts hold; prices hold the rest.

    `UsageError` if the numbers hold nothing, or both add to more than 1.
    """

    numbers: float = 0.25
    texts: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.numbers <= 1.0:
            raise UsageError(f"--numbers-share must be above 0 and at most 1, got {self.numbers}")
        if not 0.0 <= self.texts <= 1.0 - self.numbers:
            raise UsageError(
                f"--text-share must be from 0 to what --numbers-share {self.numbers:g} leaves, got {self.texts:g}"
            )

    @property
    def prices(self) -> float:
        """The part of prices."""
        return 1.0 - self.numbers - self.texts


class Parts(NamedTuple):
    """What each part adds to the vectors, shape (n, dim) each; `texts` None in a space without them."""

    prices: Float64Matrix
    numbers: Float64Matrix
    texts: Float64Matrix | None


class MacroJointModel:
    """Adds the parts of a date, each times the root of its share; the numbers are those that `series` are enough for.

    `centres` hold the mean of the texts where these take part; prices and numbers have theirs already.
    """

    def __init__(self, series: Sequence[str], shares: Shares, centres: BranchCentres | None = None) -> None:
        if (centres is None) != (shares.texts == 0.0):
            raise UsageError("a share of texts and their frozen mean belong together")
        self.numbers = numbers_of(series)
        if not self.numbers:
            raise UsageError(f"{', '.join(series) or 'no series'}: not enough for a macro number")
        self.series = tuple(series)
        self.shares = shares
        self.centres = centres
        self._until = FROZEN_UNTIL if centres is None else max(FROZEN_UNTIL, centres.until)

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        texts = {} if self.centres is None else {"centres": self.centres.to_config()}
        return {
            "family": MACRO_FAMILY,
            "code_version": 1,
            "series": list(self.series),
            "shares": asdict(self.shares),
            "mean_and_deviation": {number.name: [number.mean, number.deviation] for number in self.numbers},
            "source": CONSTANTS_SOURCE,
            **texts,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the model of a configuration."""
        centres = BranchCentres.from_config(config["centres"]) if "centres" in config else None
        return cls(config["series"], Shares(**config["shares"]), centres)

    def scores(self, vectors: Float32Matrix) -> Float64Matrix:
        """Return the standard scores that stand in vectors of this model, shape (n, n_numbers)."""
        n_numbers = len(self.numbers)
        return vectors[:, -n_numbers:].astype(np.float64) / math.sqrt(self.shares.numbers / n_numbers)

    def embed_batch(self, examples: Sequence[JointExample]) -> Float32Matrix:
        """Return one vector per example, shape (n, dim); errors as of `parts`."""
        return self.combine(self.parts(examples))

    def parts(self, examples: Sequence[JointExample]) -> Parts:
        """Return what each part adds.

        `InputRefusedError` for dates of the span of a frozen mean; `VectorError` or `WindowShapeError` if a part is
        missing or does not fit.
        """
        require_after(self._until, examples)
        n_numbers = len(self.numbers)
        scores = stack_branch(examples, "numbers")
        prices, texts = (stack_branch(examples, "numeric"), None) if self.centres is None else stack_branches(examples)
        if examples and (scores.shape[1] != n_numbers or prices.shape[1] <= n_numbers):
            raise WindowShapeError("macro numbers", scores.shape, (len(examples), n_numbers))
        numbers = np.zeros_like(prices)
        numbers[:, -n_numbers:] = scores * math.sqrt(self.shares.numbers / n_numbers)
        if texts is not None and self.centres is not None:
            texts = self._leave_room(unit_rows(texts - self.centres.text) * math.sqrt(self.shares.texts))
        return Parts(self._leave_room(prices * math.sqrt(self.shares.prices)), numbers, texts)

    @staticmethod
    def combine(parts: Parts) -> Float32Matrix:
        """Return the sum of the parts, shape (n, dim)."""
        total = parts.prices + parts.numbers
        return (total if parts.texts is None else total + parts.texts).astype(np.float32)

    def _leave_room(self, part: Float64Matrix) -> Float64Matrix:
        part[:, -len(self.numbers) :] = 0.0
        return part
