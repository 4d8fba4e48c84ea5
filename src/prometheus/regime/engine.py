"""The regime engine: classify, remember, look back."""

from __future__ import annotations

from datetime import date
from inspect import signature
from typing import Any

from prometheus.collaborators import require_methods
from prometheus.protocols import RegimeModel, StateSink, StateStore
from prometheus.regime.transitions import TransitionMatrix
from prometheus.regime.types import RegimeState


class RegimeEngine:
    """Joins a regime model with the storage of its states.

    `model` has `classify`; `storage` has `save_regime`, and `get_history` and `get_transition_matrix` if they are asked
    for. A storage whose methods take a `model_id` is asked for the states of this model.
    """

    def __init__(self, *, model: RegimeModel, storage: StateStore | StateSink) -> None:
        self._model = model
        self._storage: Any = storage

    def get_regime(self, as_of_date: date, region: str) -> RegimeState:
        """Classify the region on a date, store the state and its transitions, and return it."""
        require_methods(self._model, "RegimeEngine", "model", "classify")
        require_methods(self._storage, "RegimeEngine", "storage", "save_regime")
        state = self._model.classify(as_of_date, region)
        self._storage.save_regime(state)
        return state

    def get_history(self, region: str, start: date, end: date) -> list[RegimeState]:
        """Return this model's stored states from `start` to `end`, both included, oldest first."""
        found: list[RegimeState] = self._ask("get_history", region, start, end)
        return found

    def get_transition_matrix(self, region: str) -> TransitionMatrix:
        """Return ``{from: {to: probability}}`` over this model's stored states."""
        found: TransitionMatrix = self._ask("get_transition_matrix", region)
        return found

    def _ask(self, name: str, *question: object) -> Any:
        require_methods(self._storage, "RegimeEngine", "storage", name)
        method = getattr(self._storage, name)
        model_id = getattr(self._model, "model_id", None)
        if model_id is None or "model_id" not in signature(method).parameters:
            return method(*question)
        return method(*question, model_id=model_id)
