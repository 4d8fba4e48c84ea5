"""Regime states of a folder column-wise: histories, timelines and vectors, as `prometheus.data.timelines` has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix
from prometheus.files.folder_stores import FolderStates
from prometheus.memory.states import StateRow
from prometheus.regime.history import LABELS, DatedVectors, RegimeHistory, RegimeTimeline, StoredVector, VectorSource
from prometheus.regime.types import RegimeLabel

PROBABILITIES = ("CARRY", "NEUTRAL", "RISK_OFF", "CRISIS")


class FolderTimelines:
    """Reads the states of a folder.

    Parameters
    ----------
    states
        Where they are.
    """

    def __init__(self, states: FolderStates) -> None:
        self._states = states

    def histories(self, until: date = date.max) -> list[RegimeHistory]:
        """Return what is stored of dates up to one, by region and regime model."""
        found = []
        for region, model_id in self._states.groups():
            states = [row.state for row in self._states.rows(region, model_id, end=until)]
            if states:
                first, last = states[0], states[-1]
                summary = (last.encoder_model_id, len(states), first.as_of_date, last.as_of_date)
                found.append(RegimeHistory(region, model_id, *summary))
        return found

    def timeline(self, region: str, model_id: str, start: date, end: date, limit: int | None = None) -> RegimeTimeline:
        """Return labels and confidences from `start` to `end`, both included; the first `limit` of them."""
        states = [row.state for row in self._states.rows(region, model_id, start, end)[:limit]]
        risks = [state.metadata.get("high_volatility", {}).get("probability", np.nan) for state in states]
        return RegimeTimeline(
            region,
            model_id,
            np.array([state.as_of_date for state in states], dtype="M8[D]"),
            np.array([LABELS.index(state.regime_label) for state in states], dtype=np.int64),
            np.array([state.confidence for state in states], dtype=np.float64),
            np.array(risks, dtype=np.float64),
        )

    def evidence(
        self, region: str, model_id: str, start: date, end: date
    ) -> tuple[RegimeTimeline, Float64Matrix, Float32Matrix]:
        """Return a timeline with the probabilities of `PROBABILITIES` and the vectors behind it, one of each a date."""
        states = [row.state for row in self._states.rows(region, model_id, start, end)]
        shares = [
            [state.metadata.get("probabilities", {}).get(name, np.nan) for name in PROBABILITIES] for state in states
        ]
        vectors = (
            np.stack([state.regime_embedding for state in states]) if states else np.empty((0, 0), dtype=np.float32)
        )
        probabilities = np.array(shares, dtype=np.float64).reshape(len(states), len(PROBABILITIES))
        return self.timeline(region, model_id, start, end), probabilities, vectors

    def labels_on(self, region: str, model_id: str, dates: Sequence[date]) -> dict[date, tuple[RegimeLabel, float]]:
        """Return label and confidence of those of the dates that have a state."""
        wanted, states = set(dates), [row.state for row in self._states.rows(region, model_id)]
        return {each.as_of_date: (each.regime_label, each.confidence) for each in states if each.as_of_date in wanted}

    def vector_source(self, region: str, encoder_model_id: str, until: date) -> VectorSource | None:
        """Return what the newest vector of a date up to `until` was made of; None where there is no vector."""
        rows = self._of_encoder(region, encoder_model_id)
        known = [day for day in rows if day <= until]
        return None if not known else _source_of(rows[max(known)])

    def written(self, region: str, encoder_model_id: str) -> tuple[int, datetime | None]:
        """Return how many dates an encoder has states of, and when the newest was written."""
        rows = self._of_encoder(region, encoder_model_id).values()
        return len(rows), max((row.written for row in rows), default=None)

    def load_vectors(self, region: str, encoder_model_id: str, source: VectorSource) -> DatedVectors:
        """Return the vectors of one source; of several regime models' for a date the one written last."""
        rows = {
            day: row.state.regime_embedding
            for day, row in self._of_encoder(region, encoder_model_id).items()
            if _source_of(row) == source
        }
        vectors = np.stack(list(rows.values())) if rows else np.empty((0, source.dim), dtype=np.float32)
        return DatedVectors(np.array(list(rows), dtype="M8[D]"), vectors)

    def members_of(self, region: str, until: date) -> dict[str, float]:
        """Return the weights of a region's members as its newest state up to a date says them; empty without any."""
        rows = [row for model_id in self._states.list_models(region) for row in self._states.rows(region, model_id)]
        known = [row for row in rows if row.state.as_of_date <= until and "members" in row.state.metadata]
        newest = max(known, key=lambda row: (row.state.as_of_date, row.written), default=None)
        return {} if newest is None else dict(newest.state.metadata["members"])

    def _of_encoder(self, region: str, encoder_model_id: str) -> dict[date, StateRow]:
        """Return the row of each date that was written last, oldest first."""
        models = reversed(self._states.list_models(region))  # of rows written together the first by model id counts
        rows = [row for model_id in models for row in self._states.rows(region, model_id)]
        rows = [row for row in rows if row.state.encoder_model_id == encoder_model_id]
        newest = {row.state.as_of_date: row for row in sorted(rows, key=lambda row: row.written)}
        return {day: newest[day] for day in sorted(newest)}


def _source_of(row: StateRow) -> VectorSource:
    found = StoredVector.of_state(row.state)
    return VectorSource(found.instrument_id, found.window_days, found.vector.size)
