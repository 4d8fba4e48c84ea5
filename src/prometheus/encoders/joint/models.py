"""The joint models: a weighted average of both branches, the numeric branch alone, and the average of centred branches.

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
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Float32Vector, Float64Matrix, decode_vector, encode_vector
from prometheus.errors import InputRefusedError, UsageError, VectorError

if TYPE_CHECKING:
    from prometheus.encoders.joint.examples import JointExample

FAMILY = "centred-unit-average"
DEFAULT_NUMERIC_WEIGHT = 0.75
MIN_CENTRE_DATES = 20


class SimpleAverageJointModel:
    """``joint-regime-core-v1``: ``(w_num * z_num + w_text * z_text) / (w_num + w_text)``."""

    def __init__(self, numeric_weight: float = 0.5, text_weight: float = 0.5) -> None:
        weights = (numeric_weight, text_weight)
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
            raise UsageError(
                f"weights must be finite, not negative and not both zero, got {weights[0]} and {weights[1]}"
            )
        self.numeric_weight = float(numeric_weight)
        self.text_weight = float(text_weight)

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {
            "family": "weighted-average",
            "code_version": 1,
            "numeric_weight": self.numeric_weight,
            "text_weight": self.text_weight,
        }

    def embed_batch(self, examples: Sequence[JointExample]) -> Float32Matrix:
        """Return one vector per example, shape (n, dim); `VectorError` as in `stack_branches`."""
        return self.combine(*self.branches(examples))

    def branches(self, examples: Sequence[JointExample]) -> tuple[Float64Matrix, Float64Matrix]:
        """Return both branches as they are, shape (n, dim) each."""
        return stack_branches(examples)

    def combine(self, numeric: Float64Matrix, text: Float64Matrix) -> Float32Matrix:
        """Return the weighted mean of both branches, shape (n, dim)."""
        total = self.numeric_weight + self.text_weight
        return ((self.numeric_weight * numeric + self.text_weight * text) / total).astype(np.float32)


class IdentityNumericJointModel:
    """The numeric branch as it is; a baseline that ignores the texts."""

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {"family": "identity-numeric", "code_version": 1}

    def embed_batch(self, examples: Sequence[JointExample]) -> Float32Matrix:
        """Return one vector per example, shape (n, dim); `VectorError` as in `stack_branch`."""
        return stack_branch(examples, "numeric").astype(np.float32)


def stack_branches(examples: Sequence[JointExample]) -> tuple[Float64Matrix, Float64Matrix]:
    """Return both branches of all examples in float64, shape (n, dim); `VectorError` if they differ in dimension."""
    numeric, text = (stack_branch(examples, branch) for branch in ("numeric", "text"))
    if numeric.shape != text.shape:
        raise VectorError(
            _name_of(examples[0]),
            f"the numeric embedding has {numeric.shape[1]} values, the text embedding {text.shape[1]}",
        )
    return numeric, text


def stack_branch(examples: Sequence[JointExample], branch: str) -> Float64Matrix:
    """Return one branch of all examples in float64, shape (n, dim); `VectorError` if one is missing or does not fit."""
    if not examples:
        return np.empty((0, 0))
    vectors: list[NDArray[Any]] = []
    for example in examples:
        embedding = getattr(example, f"{branch}_embedding")
        if embedding is None:
            raise VectorError(_name_of(example), f"there is no {branch} embedding")
        vector = np.asarray(embedding)
        if vector.ndim != 1 or not vector.size or vector.dtype.kind not in "fiu":
            raise VectorError(
                _name_of(example), f"the {branch} embedding, {vector.dtype} of shape {vector.shape}, is not a vector"
            )
        if vectors and vector.size != vectors[0].size:
            reason = f"the {branch} embedding has {vector.size} values, that of the first example {vectors[0].size}"
            raise VectorError(_name_of(example), reason)
        vectors.append(vector)
    return np.stack(vectors).astype(np.float64)


def _name_of(example: JointExample) -> str:
    return f"{example.joint_type} {example.as_of_date}"


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
    """``joint-regime-core-v2``: each branch minus its frozen mean, at unit length, averaged with the weights."""

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
        require_after(self.centres.until, examples)
        numeric, text = stack_branches(examples)
        if not len(numeric):
            return numeric, text
        return unit_rows(numeric - self.centres.numeric), unit_rows(text - self.centres.text)


def require_after(until: date, examples: Sequence[JointExample]) -> None:
    """Raise `InputRefusedError` for a date of the span that a model's frozen means were taken of."""
    for example in examples:
        if example.as_of_date <= until:
            raise InputRefusedError(
                f"{example.as_of_date} is not after {until}, up to which the frozen means of this joint model were "
                "taken; a vector of it would know its own future"
            )


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
    """Return the numeric weight that gives the texts a share of the squared distance, in [0, 1]; see `text_share`."""
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"--text-share must be between 0 and 1, got {share}")
    return math.sqrt(1.0 - share) / (math.sqrt(1.0 - share) + math.sqrt(share))


def measured_text_share(numeric: Float64Matrix, text: Float64Matrix, w_numeric: float, w_text: float) -> float:
    """Return the text branch's share, see `measured_shares`, of branches before weighting."""
    return measured_shares([w_numeric * numeric, w_text * text])[1]


def measured_shares(parts: Sequence[Float64Matrix]) -> list[float]:
    """Return each part's share of the mean squared distance between rows, which is twice their total variance."""
    centred = [part - part.mean(axis=0) for part in parts]
    spreads = [float(np.vdot(part, part)) for part in centred]
    total = sum(spreads)
    return [spread / total if total > 0 else float("nan") for spread in spreads]


def unit_rows(vectors: Float64Matrix) -> Float64Matrix:
    """Return each row at unit length, shape (n, dim); a zero row stays zero."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    units: Float64Matrix = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return units
