"""A BERT encoder as the paper writes it, in float64 and one token after the other where that is clearer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def slow_sentence_vector(
    weights: Mapping[str, NDArray[Any]], token_ids: Sequence[int], *, n_layers: int, n_heads: int, pooling: str,
    normalize: bool,
) -> Matrix:  # fmt: skip
    """The vector of one text, shape (dim,)."""
    exact = {name: values.astype(np.float64) for name, values in weights.items()}
    embedded = [
        exact["embeddings.word_embeddings.weight"][token]
        + exact["embeddings.position_embeddings.weight"][place]
        + exact["embeddings.token_type_embeddings.weight"][0]
        for place, token in enumerate(token_ids)
    ]
    hidden = slow_layer_norm(np.array(embedded), exact, "embeddings.LayerNorm")
    for number in range(n_layers):
        hidden = slow_layer(hidden, exact, f"encoder.layer.{number}", n_heads)
    vector: Matrix = hidden.mean(axis=0) if pooling == "mean" else hidden[0]
    return vector / math.sqrt(float((vector**2).sum())) if normalize else vector


def slow_layer(hidden: Matrix, weights: Mapping[str, Matrix], layer: str, n_heads: int) -> Matrix:
    attended = slow_attention(hidden, weights, f"{layer}.attention.self", n_heads)
    projected = slow_dense(attended, weights, f"{layer}.attention.output.dense")
    hidden = slow_layer_norm(projected + hidden, weights, f"{layer}.attention.output.LayerNorm")
    wide = slow_dense(hidden, weights, f"{layer}.intermediate.dense")
    active = np.array([[value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in row] for row in wide])
    return slow_layer_norm(
        slow_dense(active, weights, f"{layer}.output.dense") + hidden, weights, f"{layer}.output.LayerNorm"
    )


def slow_attention(hidden: Matrix, weights: Mapping[str, Matrix], name: str, n_heads: int) -> Matrix:
    query, key, value = (slow_dense(hidden, weights, f"{name}.{part}") for part in ("query", "key", "value"))
    size = hidden.shape[1] // n_heads
    heads = []
    for start in range(0, hidden.shape[1], size):
        part = slice(start, start + size)
        scores = query[:, part] @ key[:, part].T / math.sqrt(size)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        heads.append(shares / shares.sum(axis=1, keepdims=True) @ value[:, part])
    return np.concatenate(heads, axis=1)


def slow_dense(hidden: Matrix, weights: Mapping[str, Matrix], name: str) -> Matrix:
    product: Matrix = hidden @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return product


def slow_layer_norm(hidden: Matrix, weights: Mapping[str, Matrix], name: str, epsilon: float = 1e-12) -> Matrix:
    centred = hidden - hidden.mean(axis=1, keepdims=True)
    variance = (centred**2).mean(axis=1, keepdims=True)
    normed: Matrix = centred / np.sqrt(variance + epsilon) * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return normed
