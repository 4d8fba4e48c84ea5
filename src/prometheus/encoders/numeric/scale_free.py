"""``num-regime-core-v2``: descriptors without scale, standardised by constants frozen before everything they judge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np

from prometheus.arrays import (
    FeatureCube,
    FeatureTable,
    Float32Matrix,
    Float32Vector,
    Float64Matrix,
    Float64Vector,
    Int64Vector,
)
from prometheus.encoders.numeric import descriptors
from prometheus.encoders.numeric.features import LOG_PRICES, FeatureSet
from prometheus.errors import UsageError, WindowShapeError

CHUNK_WINDOWS = 4_096  # windows whose sums are taken at once, at most; the next ones take those of 512 sessions again
_LINE = 16
"""Values of float32 in a line of a processor's cache."""
CONSTANTS_FILE = "scale_free_constants.json"
RECOMPUTE_COMMAND = (
    "python -m prometheus fit_scale_free_constants --instrument-id ^GSPC --start 1964-01-02 --end 1989-12-29"
)


@dataclass(frozen=True, slots=True, eq=False)
class ScaleFreeConstants:
    """Mean and deviation of each descriptor on a span that is never judged, shape (384,), in the order of `NAMES`."""

    means: Float64Vector
    deviations: Float64Vector
    source: Mapping[str, str]

    def __post_init__(self) -> None:
        for name, values in (("means", self.means), ("deviations", self.deviations)):
            if values.shape != (descriptors.DIM,) or not np.isfinite(values).all():
                raise WindowShapeError(f"scaling {name}", values.shape, (descriptors.DIM,))
        if not (self.deviations > 0).all():
            raise UsageError("every scaling deviation must be positive")

    @classmethod
    def fit(cls, described: Float64Matrix, source: Mapping[str, str]) -> ScaleFreeConstants:
        """Return mean and standard deviation of descriptors, shape (384, n_windows), rounded to 7 digits."""
        means = [float(f"{mean:.7g}") for mean in described.mean(axis=1)]
        deviations = [float(f"{deviation:.7g}") for deviation in described.std(axis=1)]
        return cls(np.array(means), np.array(deviations), dict(source))

    def to_json(self) -> str:
        """Return the file's text; equal constants give equal text."""
        columns = zip(descriptors.NAMES, self.means.tolist(), self.deviations.tolist(), strict=True)
        rows = [f'    "{name}": [{mean!r}, {deviation!r}]' for name, mean, deviation in columns]
        source = json.dumps(dict(self.source), sort_keys=True)
        return '{\n  "source": ' + source + ',\n  "mean_and_deviation": {\n' + ",\n".join(rows) + "\n  }\n}\n"

    @classmethod
    def from_json(cls, text: str) -> ScaleFreeConstants:
        """Return the constants of a file's text."""
        document = json.loads(text)
        pairs = np.array([document["mean_and_deviation"][name] for name in descriptors.NAMES])
        return cls(pairs[:, 0].copy(), pairs[:, 1].copy(), document["source"])


@cache
def packaged_constants() -> ScaleFreeConstants:
    """Return the constants this version of Prometheus ships."""
    text = resources.files("prometheus.encoders.numeric").joinpath(CONSTANTS_FILE).read_text(encoding="utf-8")
    return ScaleFreeConstants.from_json(text)


def standard_scores(vectors: Float32Matrix, names: Sequence[str]) -> Float64Matrix:
    """Return the standard scores of some descriptors in vectors of the model below, shape (n, n_names), float64."""
    columns, roots = _columns(tuple(names))
    scores: Float64Matrix = vectors[:, columns].astype(np.float64) / roots
    return scores


@cache
def _columns(names: tuple[str, ...]) -> tuple[Int64Vector, Float64Vector]:
    """Return where descriptors stand in a vector, and the roots of their weights."""
    columns = np.array([descriptors.NAMES.index(name) for name in names], dtype=np.int64)
    return columns, np.sqrt(descriptors.WEIGHTS[columns])


@cache
def _units(names: tuple[str, ...]) -> tuple[Float64Vector, Float64Vector]:
    """Return the packaged deviation and mean of descriptors."""
    columns, _ = _columns(names)
    return packaged_constants().deviations[columns], packaged_constants().means[columns]


def raw_descriptors(vectors: Float32Matrix, names: Sequence[str]) -> Float64Matrix:
    """Return some descriptors in vectors of the model below in their own units, shape (n, n_names), float64."""
    return in_own_units(standard_scores(vectors, names), names)


def in_own_units(scores: Float64Matrix, names: Sequence[str]) -> Float64Matrix:
    """Return standard scores of some descriptors, shape (n, n_names) or (n_names,), in the units of those."""
    deviations, means = _units(tuple(names))
    raw: Float64Matrix = scores * deviations + means
    return raw


def scores_and_units(vector: Float32Vector | Float64Vector) -> tuple[Float64Vector, Float64Vector]:
    """Return all of one vector, as `standard_scores` and as `raw_descriptors` give it, shape (384,) each, float64."""
    roots, deviations, means = _all_units()
    scores: Float64Vector = np.divide(vector, roots, dtype=np.float64)
    return scores, scores * deviations + means


@cache
def _all_units() -> tuple[Float64Vector, Float64Vector, Float64Vector]:
    """Return the roots of the weights, the deviations and the means of all descriptors: no name needs looking up."""
    return _columns(descriptors.NAMES)[1], *_units(descriptors.NAMES)


class ScaleFreeNumericEmbeddingModel:
    """Risk, trend and path of the last 513 sessions as 384 float32 values.

    Each value is a descriptor less its frozen mean, over its frozen deviation, times the root of its weight; the
    weights add to 1, so distances are in standard deviations of the frozen span.
    """

    feature_set: FeatureSet = LOG_PRICES
    window_days = descriptors.WINDOW_DAYS

    def __init__(self, constants: ScaleFreeConstants | None = None) -> None:
        self.constants = packaged_constants() if constants is None else constants
        self._factors = np.sqrt(descriptors.WEIGHTS) / self.constants.deviations
        self._offsets = self.constants.means * self._factors

    @property
    def scaling(self) -> tuple[Float64Vector, Float64Vector]:
        """What descriptors are multiplied by, and what is then taken off, shape (384,) each."""
        return self._factors, self._offsets

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {
            "family": "scale-free",
            "code_version": 1,
            "window_days": self.window_days,
            "descriptors": list(descriptors.NAMES),
            "weights": descriptors.WEIGHTS.tolist(),
            "means": self.constants.means.tolist(),
            "deviations": self.constants.deviations.tolist(),
            "source": dict(self.constants.source),
        }

    def encode(self, window: FeatureTable) -> Float32Vector:
        """Return the vector of one window of `LOG_PRICES`, shape (384,); its last 513 rows count."""
        if window.ndim != 2 or window.shape[1] != len(LOG_PRICES.names):
            raise WindowShapeError("window", window.shape, ("window_days", len(LOG_PRICES.names)))
        return self.encode_table(window, np.array([len(window)]), len(window)).ravel()

    def encode_batch(self, windows: FeatureCube) -> Float32Matrix:
        """Return one vector per window, shape (n_windows, 384)."""
        if not len(windows):
            return np.empty((0, descriptors.DIM), dtype=np.float32)
        return np.stack([self.encode(window) for window in windows])

    def encode_table(self, features: FeatureTable, ends: Int64Vector, window_days: int) -> Float32Matrix:
        """Return the vectors of windows of at least 513 sessions, where they lie in a table, shape (n_windows, 384)."""
        if window_days < self.window_days:
            raise UsageError(
                f"num-regime-core-v2 reads {self.window_days} sessions; --window-days {window_days} is too few"
            )
        vectors = np.empty((len(ends), descriptors.DIM), dtype=np.float32)
        for first, stop in pairwise(_chunk_bounds(ends)):
            some = vectors[first:stop]
            for windows, described in descriptors.described_blocks(features, ends[first:stop], self._factors):
                narrow = _turnable(*described.shape)
                np.subtract(described, self._offsets[:, np.newaxis], out=narrow, casting="same_kind")
                some[windows] = narrow.T
        return vectors


def _turnable(n_rows: int, n_columns: int) -> Float32Matrix:
    """Return an empty matrix whose rows begin an odd number of cache lines apart.

    Apart by a power of two, as 2,048 windows are, the values of a column would push each other out of the cache.
    """
    n_lines = -(-n_columns // _LINE) | 1
    return np.empty((n_rows, n_lines * _LINE), dtype=np.float32)[:, :n_columns]


def _chunk_bounds(ends: Int64Vector) -> list[int]:
    """Return where to cut: every 2,048 sessions, and between windows that share no session, as two instruments do."""
    is_apart = np.abs(np.diff(ends)) >= descriptors.WINDOW_DAYS
    cuts = np.flatnonzero(is_apart | (np.diff(ends // CHUNK_WINDOWS) != 0)) + 1
    return [0, *cuts.tolist(), len(ends)] if len(ends) else []
