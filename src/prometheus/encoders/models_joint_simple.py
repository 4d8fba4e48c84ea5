"""The joint models of the first version: a weighted average of both branches, or the numeric branch alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Float64Matrix
from prometheus.errors import UsageError, VectorError

if TYPE_CHECKING:
    from prometheus.encoders.joint.examples import JointExample


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
