"""One session more: its label from the costs of the sessions before it, byte for byte that of decoding them again.

A label looks back on a stated number of sessions, so as many decodings are under way at any time, each begun one
session later than the one before. A new session takes all of them one step on, and ends the oldest one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prometheus.arrays import Float32Matrix, Float32Vector, Float64Vector
from prometheus.encoders.numeric.scale_free import scores_and_units
from prometheus.errors import WindowShapeError
from prometheus.regime.bear import ENTER, LEAVE, UNDECIDED, BearChances
from prometheus.regime.calibration import RegimeCalibration
from prometheus.regime.decoding import posterior, prototype_distances
from prometheus.regime.market_index import IndexRises
from prometheus.regime.model_persistent import DecodedAssignment
from prometheus.regime.transitions import SPELL_AGES, hazards_to_dict
from prometheus.regime.types import RegimePrototype

_OLDEST = max(SPELL_AGES)


class RollingDecoder:
    """The decodings that are under way at the newest session of one market.

    It begins with the vectors of the last ``decode_sessions - 1`` sessions, oldest first, shape (n, 384), of which
    `is_held` says, shape (n,), which were held; `WindowShapeError` if there are fewer. Each `append` gives what
    `decode` gives of all sessions together, with the same bytes. Not for several threads at once.
    """

    def __init__(
        self,
        prototypes: Sequence[RegimePrototype],
        calibration: RegimeCalibration,
        vectors: Float32Matrix,
        is_held: Sequence[bool],
    ) -> None:
        n_back = calibration.decode_sessions
        if len(vectors) < n_back - 1:
            raise WindowShapeError("vectors to begin with", vectors.shape, (f"at least {n_back - 1}", "dim"))
        self._prototypes, self._calibration = tuple(prototypes), calibration
        self._labels = tuple(prototype.label for prototype in prototypes)
        self._centers = np.stack([prototype.center for prototype in prototypes]).astype(np.float64)
        n_aging = min(_OLDEST, n_back)
        self._values = np.zeros((len(prototypes), n_back))  # the first decoding ends next, the last one begins next
        self._spare = np.zeros_like(self._values)
        self._nearest = np.full(n_aging + 1, -1)
        self._ages = np.zeros(n_aging + 1, dtype=np.int64)
        self._hazards: dict[tuple[int, int], Mapping[str, Any]] = {}
        self._bear: deque[float] = deque(maxlen=n_back)
        first = len(vectors) - n_back + 1
        distances = prototype_distances(vectors[first:], prototypes)
        for row, held in zip(distances, is_held[first:], strict=True):
            self._step(row, is_held=held)
        if calibration.bear is not None and n_back > 1:
            self._bear.extend(calibration.bear.probabilities(vectors[first:]).tolist())

    def append(
        self, vector: Float32Vector, *, is_held: bool = False, seen: IndexRises | None = None
    ) -> DecodedAssignment:
        """Return what is said of one more session, by its vector, shape (384,); see `decode`."""
        wide = vector.astype(np.float64)
        distances = self._distances(wide)
        self._step(distances, is_held=is_held)
        calibration, index = self._calibration, self._calibration.market_index
        posteriors = posterior(self._values[:, 0][np.newaxis], calibration.temperature)
        nearest, age = int(self._nearest[0]), int(self._ages[0])
        seen = None if index is None else seen or IndexRises.nothing(1)
        added = 0.0 if index is None or seen is None else float(index.log_odds(vector[np.newaxis], seen)[0])
        scores, raw = scores_and_units(wide)
        return DecodedAssignment(
            labels=self._labels,
            nearest=np.array([nearest]),
            confidences=posteriors[0, nearest : nearest + 1],
            distances=distances[np.newaxis],
            posteriors=posteriors,
            high_volatility=np.array([calibration.high_volatility.probability_of(scores, raw, added)]),
            threshold=calibration.high_volatility.threshold,
            ages=np.array([age]),
            exit_hazards={(nearest, age): self._exit_hazards(nearest, age)},
            says_age=calibration.stays_by_age is not None,
            bear=self._bear_chances(raw),
            index=index,
            index_rises=seen,
        )

    def _distances(self, wide: Float64Vector) -> Float64Vector:
        differences = wide - self._centers
        differences *= differences
        distances: Float64Vector = np.sqrt(np.add.reduce(differences, axis=1))
        return distances

    def _step(self, distances: Float64Vector, *, is_held: bool) -> None:
        """Take all decodings one session on, a new one among them; the one that has ended comes first."""
        values, self._spare = self._spare, self._values
        np.minimum(self._spare[:, 1:], self._calibration.penalty, out=values[:, :-1])
        values[:, -1] = 0.0
        if not is_held:
            values += distances[:, np.newaxis]
        values -= np.minimum.reduce(values, axis=0)
        nearest = values[:, : len(self._ages) - 1].argmin(axis=0)
        self._ages[:-1] = self._ages[1:] * (nearest == self._nearest[1:]) + 1
        self._nearest[:-1] = nearest
        self._values = values

    def _exit_hazards(self, nearest: int, age: int) -> Mapping[str, Any]:
        if (nearest, age) not in self._hazards:
            found = self._calibration.exit_hazards(self._labels[nearest], age)
            self._hazards[nearest, age] = hazards_to_dict(found)
        return self._hazards[nearest, age]

    def _bear_chances(self, raw: Float64Vector) -> BearChances | None:
        bear = self._calibration.bear
        if bear is None:
            return None
        stated = bear.probability_of(raw)
        self._bear.append(stated)
        turns = (probability for probability in reversed(self._bear) if not LEAVE <= probability <= ENTER)
        decided = next(turns, None)
        is_bear = stated > UNDECIDED if decided is None else decided > ENTER
        return BearChances(np.array([stated]), np.array([is_bear]), bear.fall)
