"""Regime states in dicts; their transitions are read from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Int64Vector, decode_vector, encode_vector
from prometheus.encoders.joint.examples import (
    scope_text,
)
from prometheus.errors import ambiguous_model
from prometheus.memory.vectors import Ledger
from prometheus.regime.history import StoredEmbeddings, StoredVector, join_embeddings
from prometheus.regime.transitions import TransitionMatrix, transition_counts, transition_matrix
from prometheus.regime.types import RegimeLabel, RegimeState, metadata_text


@dataclass(frozen=True, slots=True)
class StateRow:
    """One state as it is kept: its metadata as JSON, what it was made of, and when it was written."""

    state: RegimeState
    metadata: str
    input_hash: int | None
    written: datetime

    def says_all_of(self, other: StateRow) -> bool:
        """Return whether another row is not news; one of unknown inputs leaves those of an equal state alone."""
        said, others = (
            (each.state.regime_label, each.state.confidence, each.state.encoder_model_id,
             encode_vector(each.state.regime_embedding), scope_text(json.loads(each.metadata)))
            for each in (self, other)
        )  # fmt: skip
        return said == others and other.input_hash in (None, self.input_hash)


class MemoryStates:
    """Regime states by region, model and date; a `prometheus.protocols.StateStore`.

    Parameters
    ----------
    model_id
        The regime model to read when a call names none. Without either, a region must hold rows of one model only.
    """

    def __init__(self, model_id: str | None = None, ledger: Ledger | None = None) -> None:
        self._model_id = model_id
        self._ledger = ledger or Ledger()
        self._histories: dict[tuple[str, str], dict[date, StateRow]] = {}

    def save_regime(self, state: RegimeState) -> None:
        """Store one state."""
        self.save_regimes([state])

    def save_regimes(self, states: Sequence[RegimeState], input_hashes: Int64Vector | None = None) -> int:
        """Store states whole or not at all; return how many were new or changed.

        Of two states for one region, model and date the later one in the sequence counts.
        """
        hashes: list[int | None] = [None] * len(states) if input_hashes is None else input_hashes.tolist()
        with self._ledger.lock:
            written = self._ledger.tick()
            incoming: dict[tuple[str, str], dict[date, StateRow]] = {}
            for state, made_of in zip(states, hashes, strict=True):
                history = incoming.setdefault((state.region, state.model_id), {})
                history[state.as_of_date] = stored_state(state, made_of, written)
            return sum(
                self._ledger.write(self._histories.setdefault(key, {}), rows, StateRow.says_all_of)
                for key, rows in incoming.items()
            )

    def load_input_hashes(self, region: str, model_id: str, dates: DateVector) -> NDArray[Any]:
        """Return ``as_of_date`` and ``input_hash`` of the states between the first and the last of `dates`."""
        rows = self._rows(region, model_id, dates.min().item(), dates.max().item())
        found = [(row.state.as_of_date, row.input_hash) for row in rows if row.input_hash is not None]
        return np.array(found, dtype=[("as_of_date", "M8[D]"), ("input_hash", "i8")])

    def get_latest_regime(self, region: str, model_id: str | None = None) -> RegimeState | None:
        """Return the state of the newest date, or None where the region has none."""
        states = self.get_history(region, date.min, date.max, model_id)
        return states[-1] if states else None

    def get_history(self, region: str, start: date, end: date, model_id: str | None = None) -> list[RegimeState]:
        """Return the states from `start` to `end`, both included, oldest first."""
        rows = self._rows(region, self._choose_model(region, model_id), start, end)
        return [replace(row.state, metadata=json.loads(row.metadata)) for row in rows]

    def get_transition_matrix(self, region: str, model_id: str | None = None) -> TransitionMatrix:
        """Return ``{from: {to: probability}}`` over all consecutive pairs of stored dates, stays included."""
        return transition_matrix(transition_counts(self.load_labels(region, model_id)))

    def load_labels(self, region: str, model_id: str | None = None) -> list[RegimeLabel]:
        """Return all labels of a region in date order."""
        return [row.state.regime_label for row in self._rows(region, self._choose_model(region, model_id))]

    def transitions(self, region: str, model_id: str) -> list[tuple[date, date, RegimeLabel, RegimeLabel]]:
        """Return each change of label as (date, previous date, from, to)."""
        states = [row.state for row in self._rows(region, model_id)]
        return [
            (after.as_of_date, before.as_of_date, before.regime_label, after.regime_label)
            for before, after in pairwise(states)
            if before.regime_label != after.regime_label
        ]

    def load_embeddings(self, region: str, encoder_model_id: str, start: date, end: date) -> StoredEmbeddings:
        """Return the embeddings of one encoder from `start` to `end`, one per date, oldest first.

        Where several regime models keep the same encoder's vector of a date, the one written last counts.

        Raises
        ------
        NoRegimesError, PrototypeError
            Nothing is stored, or the rows come from several instruments or window lengths.
        """
        rows = self._rows_of_encoder(region, encoder_model_id, start, end)
        rows.sort(key=lambda row: row.state.model_id, reverse=True)
        newest = {row.state.as_of_date: row for row in sorted(rows, key=lambda row: row.written)}
        found = [StoredVector.of_state(newest[day].state) for day in sorted(newest)]
        return join_embeddings(region, encoder_model_id, (start, end), found)

    def written(self, region: str, encoder_model_id: str, start: date, end: date) -> dict[date, datetime]:
        """Return when the newest state of each date from `start` to `end` by one encoder was written."""
        found: dict[date, datetime] = {}
        for row in self._rows_of_encoder(region, encoder_model_id, start, end):
            found[row.state.as_of_date] = max(row.written, found.get(row.state.as_of_date, row.written))
        return found

    def list_models(self, region: str) -> list[str]:
        """Return the ids of the regime models that have rows of a region."""
        return sorted(model_id for name, model_id in list(self._histories) if name == region)

    def _rows(self, region: str, model_id: str | None, start: date = date.min, end: date = date.max) -> list[StateRow]:
        with self._ledger.lock:
            history = self._histories.get((region, model_id or ""), {})
            return [history[day] for day in sorted(history) if start <= day <= end]

    def _rows_of_encoder(self, region: str, encoder_model_id: str, start: date, end: date) -> list[StateRow]:
        rows = (row for model_id in self.list_models(region) for row in self._rows(region, model_id, start, end))
        return [row for row in rows if row.state.encoder_model_id == encoder_model_id]

    def _choose_model(self, region: str, model_id: str | None) -> str | None:
        named = model_id or self._model_id
        if named is not None:
            return named
        found = self.list_models(region)
        if len(found) > 1:
            raise ambiguous_model(region, found)
        return found[0] if found else None


def stored_state(state: RegimeState, input_hash: int | None, written: datetime) -> StateRow:
    """Return a state as it is kept."""
    name = f"regime of {state.region} on {state.as_of_date}"
    kept = replace(state, regime_embedding=decode_vector(encode_vector(state.regime_embedding), name=name))
    return StateRow(kept, metadata_text(state), input_hash, written)
