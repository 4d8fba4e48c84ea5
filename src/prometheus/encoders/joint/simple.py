"""The joint models of the first version: a weighted average of both branches, or the numeric branch alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix
from prometheus.errors import UsageError, VectorError

if TYPE_CHECKING:
    from prometheus.encoders.joint.examples import JointExample


class SimpleAverageJointModel:
    """``joint-regime-core-v1``: ``(w_num * z_num + w_text * z_text) / (w_num + w_text)``.

    Raises
    ------
    UsageError
        A weight is negative or not finite, or both are zero.
    """

    def __init__(self, numeric_weight: float = 0.5, text_weight: float = 0.5) -> None:
        require_weights(numeric_weight, text_weight)
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
        """Return one vector per example, shape (n, dim).

        Raises
        ------
        VectorError
            The branches of an example differ in dimension.
        """
        return self.combine(*self.branches(examples))

    def branches(self, examples: Sequence[JointExample]) -> tuple[Float64Matrix, Float64Matrix]:
        """Return both branches as they are, shape (n, dim) each.

        Raises
        ------
        VectorError
            The branches of an example differ in dimension.
        """
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
        """Return one vector per example, shape (n, dim)."""
        if not examples:
            return np.empty((0, 0), dtype=np.float32)
        return np.stack([example.numeric_embedding for example in examples]).astype(np.float32)


def require_weights(numeric_weight: float, text_weight: float) -> None:
    """Raise `UsageError` unless both weights are finite, none is negative and one is positive."""
    weights = (numeric_weight, text_weight)
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
        raise UsageError(f"weights must be finite, not negative and not both zero, got {weights[0]} and {weights[1]}")


def stack_branches(examples: Sequence[JointExample]) -> tuple[Float64Matrix, Float64Matrix]:
    """Return both branches of all examples in float64, shape (n, dim) each; without examples (0, 0).

    Raises
    ------
    VectorError
        The branches differ in dimension.
    """
    if not examples:
        return np.empty((0, 0)), np.empty((0, 0))
    for example in examples:
        n_numeric, n_text = example.numeric_embedding.size, example.text_embedding.size
        if n_numeric != n_text:
            raise VectorError(
                f"{example.joint_type} {example.as_of_date}",
                f"the numeric embedding has {n_numeric} values, the text embedding {n_text}",
            )
    numeric = np.stack([example.numeric_embedding for example in examples]).astype(np.float64)
    return numeric, np.stack([example.text_embedding for example in examples]).astype(np.float64)
