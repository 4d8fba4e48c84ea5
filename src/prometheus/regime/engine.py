"""The regime engine: classify, remember, look back."""

from __future__ import annotations

from datetime import date

from prometheus.protocols import RegimeModel, StateStore
from prometheus.regime.transitions import TransitionMatrix
from prometheus.regime.types import RegimeState


class RegimeEngine:
    """Joins a regime model with the storage of its states.

    Parameters
    ----------
    model
        Says which regime a region is in.
    storage
        Keeps the states.
    """

    def __init__(self, *, model: RegimeModel, storage: StateStore) -> None:
        self._model = model
        self._storage = storage

    def get_regime(self, as_of_date: date, region: str) -> RegimeState:
        """Classify the region on a date, store the state and its transitions, and return it."""
        state = self._model.classify(as_of_date, region)
        self._storage.save_regime(state)
        return state

    def get_history(self, region: str, start: date, end: date) -> list[RegimeState]:
        """Return this model's stored states from `start` to `end`, both included, oldest first."""
        return self._storage.get_history(region, start, end, self._model.model_id)

    def get_transition_matrix(self, region: str) -> TransitionMatrix:
        """Return ``{from: {to: probability}}`` over this model's stored states."""
        return self._storage.get_transition_matrix(region, self._model.model_id)
