"""What the labels of a calibration span decide: how long they stay, and how sure the decoding of each may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float32Matrix
from prometheus.regime.certain import certain_decoding, certain_distances, certain_place
from prometheus.regime.decoding import SpanDecoding, decode_span, posterior, prototype_distances
from prometheus.regime.transitions import SPELL_AGES
from prometheus.regime.types import RegimePrototype

_TEMPERATURES = np.geomspace(0.02, 5.0, 24)
_FLOOR = 1e-12
"""Added to every probability, so that an impossible label has a logarithm."""

WeightedPrototypes = Sequence[tuple[float, Sequence[RegimePrototype]]]
"""Sets of prototypes, each with its chance; the first one is the span's own."""


@dataclass(frozen=True, slots=True, eq=False)
class DecidedSpan:
    """The decoding of a span by its own prototypes, and the temperature that makes its costs probabilities."""

    decoding: SpanDecoding
    temperature: float


def decide_span(vectors: Float32Matrix, weighted: WeightedPrototypes, penalty: float, n_sessions: int) -> DecidedSpan:
    """Return what the vectors of a span, shape (n, 384), decide: what `decide_span_in_order` does, mostly sooner."""
    every = [each for _, some in weighted for each in some]
    distances = certain_distances(vectors, every)
    if distances is not None:
        costs = np.split(distances, len(weighted), axis=1)
        decoding = certain_decoding(costs, penalty, n_sessions, max(SPELL_AGES))
        if decoding is not None:
            weights = [weight for weight, _ in weighted]
            place = certain_place(decoding, weights, _TEMPERATURES, floor=_FLOOR)
            if place is not None:
                return DecidedSpan(decoding, round(float(_TEMPERATURES[place]), 6))
    return decide_span_in_order(vectors, weighted, penalty, n_sessions)


def decide_span_in_order(
    vectors: Float32Matrix, weighted: WeightedPrototypes, penalty: float, n_sessions: int
) -> DecidedSpan:
    """Return the decoding of a span, session after session; `PrototypeError` if vectors and prototypes differ."""
    every = prototype_distances(vectors, [each for _, some in weighted for each in some])
    decoding = decode_span(np.split(every, len(weighted), axis=1), penalty, n_sessions, max(SPELL_AGES))
    return DecidedSpan(decoding, _likeliest_temperature(decoding, [weight for weight, _ in weighted]))


def _likeliest_temperature(decoding: SpanDecoding, weights: Sequence[float]) -> float:
    """Return the temperature at which labels of hindsight, each series with its weight, are likeliest."""
    values = np.ascontiguousarray(decoding.values.T)
    rows = np.arange(len(values))
    known: dict[int, float] = {}

    def loss(place: int) -> float:
        if place not in known:
            shares = posterior(values, float(_TEMPERATURES[place]))
            losses = [
                weight * float(-np.log(shares[rows, path] + _FLOOR).mean())
                for weight, path in zip(weights, decoding.paths, strict=True)
            ]
            known[place] = sum(losses)
        return known[place]

    low, high = 0, len(_TEMPERATURES) - 1
    while low < high:  # the loss has one valley
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) <= loss(middle + 1) else (middle + 1, high)
    return round(float(_TEMPERATURES[low]), 6)
