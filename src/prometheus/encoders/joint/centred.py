"""``joint-regime-core-v2``: both branches centred on a frozen past mean and brought to unit length, then averaged.

Raw branches differ in length by many orders of magnitude, and texts without centring are all nearly parallel. Centred
and of unit length, the weights alone decide how much of a squared distance each branch holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from prometheus.arrays import Float32Vector, Float64Matrix, decode_vector, encode_vector
from prometheus.encoders.models_joint_simple import SimpleAverageJointModel, stack_branches
from prometheus.errors import InputRefusedError, UsageError

if TYPE_CHECKING:
    from prometheus.encoders.joint.examples import JointExample

FAMILY = "centred-unit-average"
DEFAULT_NUMERIC_WEIGHT = 0.75
MIN_CENTRE_DATES = 20


@dataclass(frozen=True, slots=True, eq=False)
class BranchCentres:
    """The means of both branches over `n_dates` dates up to `until`, shape (dim,), float32; `source` says of what."""

    until: date
    n_dates: int
    source: Mapping[str, str]
    numeric: Float32Vector
    text: Float32Vector

    @classmethod
    def fit(cls, examples: Sequence[JointExample], until: date, source: Mapping[str, str]) -> BranchCentres:
        """Return the means over the examples dated up to `until`; `InputRefusedError` if they are fewer than 20."""
        past = [example for example in examples if example.as_of_date <= until]
        if len(past) < MIN_CENTRE_DATES:
            raise InputRefusedError(
                f"only {len(past)} dates up to {until} have a regime and a text; "
                f"the frozen means need {MIN_CENTRE_DATES}: backfill earlier dates or move --centre-until"
            )
        numeric, text = stack_branches(past)
        means = numeric.mean(axis=0).astype(np.float32), text.mean(axis=0).astype(np.float32)
        return cls(until, len(past), dict(source), *means)

    def to_config(self) -> dict[str, Any]:
        """Return JSON values that hold everything, vectors as hex."""
        return {
            "until": str(self.until),
            "n_dates": self.n_dates,
            "source": dict(self.source),
            "numeric": encode_vector(self.numeric).hex(),
            "text": encode_vector(self.text).hex(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BranchCentres:
        """Return what `to_config` wrote."""
        numeric, text = (decode_vector(bytes.fromhex(config[name])) for name in ("numeric", "text"))
        return cls(date.fromisoformat(config["until"]), config["n_dates"], config["source"], numeric, text)


class CentredJointModel(SimpleAverageJointModel):
    """Each branch minus its frozen mean, at unit length, averaged with the weights; a zero difference stays zero."""

    def __init__(self, centres: BranchCentres, numeric_weight: float = DEFAULT_NUMERIC_WEIGHT) -> None:
        super().__init__(numeric_weight, 1.0 - numeric_weight)
        self.centres = centres

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {
            "family": FAMILY,
            "code_version": 1,
            "numeric_weight": self.numeric_weight,
            "centres": self.centres.to_config(),
        }

    @property
    def text_share(self) -> float:
        """Share of the texts in squared distance that the weights declare."""
        return text_share(self.numeric_weight)

    def branches(self, examples: Sequence[JointExample]) -> tuple[Float64Matrix, Float64Matrix]:
        """Return both branches centred and at unit length, before weighting, shape (n, dim) each."""
        for example in examples:
            if example.as_of_date <= self.centres.until:
                raise InputRefusedError(
                    f"{example.as_of_date} is not after {self.centres.until}, up to which the frozen means of this "
                    "joint model were taken; a vector of it would know its own future"
                )
        numeric, text = stack_branches(examples)
        if not len(numeric):
            return numeric, text
        return unit_rows(numeric - self.centres.numeric), unit_rows(text - self.centres.text)


def text_share(numeric_weight: float) -> float:
    """Return the share of the text branch in squared distance, ``(1-w)^2 / (w^2 + (1-w)^2)``.

    Examples
    --------
    >>> text_share(0.75), text_share(0.5)
    (0.1, 0.5)
    """
    w_text = 1.0 - numeric_weight
    return w_text**2 / (numeric_weight**2 + w_text**2)


def numeric_weight_of(share: float) -> float:
    """Return the numeric weight that gives the texts a share of the squared distance, in [0, 1].

    Examples
    --------
    >>> round(numeric_weight_of(0.1), 9)
    0.75
    """
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"--text-share must be between 0 and 1, got {share}")
    return math.sqrt(1.0 - share) / (math.sqrt(1.0 - share) + math.sqrt(share))


def measured_text_share(numeric: Float64Matrix, text: Float64Matrix, w_numeric: float, w_text: float) -> float:
    """Return the text branch's part of the mean squared distance between rows, which is twice their total variance."""
    numeric, text = numeric - numeric.mean(axis=0), text - text.mean(axis=0)
    spread_numeric = w_numeric**2 * (float(np.vdot(numeric, numeric)) / max(len(numeric), 1))
    spread_text = w_text**2 * (float(np.vdot(text, text)) / max(len(text), 1))
    total = spread_numeric + spread_text
    return spread_text / total if total > 0 else float("nan")


def unit_rows(vectors: Float64Matrix) -> Float64Matrix:
    """Return each row at unit length, shape (n, dim); a zero row stays zero."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    units: Float64Matrix = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return units
