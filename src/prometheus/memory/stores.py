"""The model registry, vectors and regime states, over series of rows that are kept in dicts or elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix, Float32Vector, Int64Vector, decode_vector, encode_vector
from prometheus.encoders.identity import fingerprint, repeated_key, require_same_meaning
from prometheus.encoders.joint.examples import (
    JointExample,
    JointGroup,
    JointSpace,
    StoredJointEmbedding,
    require_joint_vectors,
    scope_text,
)
from prometheus.encoders.numeric.encoder import EmbeddingBatch
from prometheus.encoders.numeric.windows import NumericWindowSpec
from prometheus.encoders.texts.documents import Passages, StoredText, TextDoc, text_rows
from prometheus.errors import ambiguous_model
from prometheus.memory.series import Place, Row, Rows, SeriesKey, SeriesWrite
from prometheus.regime.history import StoredEmbeddings, StoredVector, join_embeddings
from prometheus.regime.transitions import TransitionMatrix, transition_counts, transition_matrix
from prometheus.regime.types import RegimeLabel, RegimeState, metadata_text


class MemoryRegistry:
    """What each model id means; a `prometheus.protocols.ModelRegistry`."""

    def __init__(self, place: Place | None = None) -> None:
        self._place = place or Place()

    def register(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Record what a model id means, or raise `ModelFingerprintError` where it means something else."""
        meaning = (kind, fingerprint(config), json.loads(json.dumps(dict(config))))
        require_same_meaning(model_id, self._place.add_model(model_id, meaning), kind, config)

    def require_same(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Raise `ModelFingerprintError` where a model id means something else; record nothing."""
        stored = self._place.meaning_of(model_id)
        if stored is not None:
            require_same_meaning(model_id, stored, kind, config)

    def load_config(self, model_id: str) -> dict[str, Any] | None:
        """Return what is recorded under an id, None where nothing is."""
        stored = self._place.meaning_of(model_id)
        return None if stored is None else dict(stored[2])


class _VectorStore:
    def __init__(self, place: Place | None = None) -> None:
        self._place = place or Place()
        self.registry = MemoryRegistry(self._place)


class MemoryNumericStore(_VectorStore):
    """Numeric vectors; a `prometheus.protocols.NumericVectorStore`. A row is (vector, input hash)."""

    def save_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str, vector: Float32Vector) -> None:
        """Store one vector; an equal stored one is left alone."""
        self.save_batch(EmbeddingBatch.of_one(spec, as_of_date, model_id, vector))

    def save_batch(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:  # noqa: ARG002 -- every look-up is fast
        """Store a batch whole or not at all; return how many rows were new or changed."""
        hashes = [None] * len(batch) if batch.input_hashes is None else batch.input_hashes.tolist()
        columns = (batch.entity_index.tolist(), batch.as_of_dates.tolist(), hashes, batch.vectors)
        series: dict[str, dict[date, Row]] = {}
        for entity, day, made_of, vector in zip(*columns, strict=True):
            series.setdefault(batch.entity_ids[entity], {})[day] = (encode_vector(vector), made_of)
        if sum(map(len, series.values())) < len(batch):
            raise repeated_key(batch.model_id)
        return self._place.write(*(
            SeriesWrite(_vectors_of(batch.entity_type, name, batch.model_id, batch.window_days), rows, _is_known_vector)
            for name, rows in series.items()
        ))  # fmt: skip

    def load_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str) -> Float32Vector | None:
        """Return one stored vector, or None."""
        rows = self._place.rows(*_vectors_of(spec.entity_type, spec.entity_id, model_id, spec.window_days))
        return decode_vector(rows[as_of_date][0]) if as_of_date in rows else None

    def load_input_hashes(
        self, entity_type: str, entity_ids: Sequence[str], model_id: str, window_days: int, dates: DateVector
    ) -> NDArray[Any]:
        """Return ``entity_index``, ``as_of_date``, ``input_hash`` of the rows between the first and last of `dates`."""
        first, last = dates.min().item(), dates.max().item()
        found = [
            (index, day, made_of)
            for index, entity_id in enumerate(entity_ids)
            for day, (_, made_of) in _between(
                self._place.rows(*_vectors_of(entity_type, entity_id, model_id, window_days)), first, last
            ).items()
            if made_of is not None
        ]
        return np.array(found, dtype=[("entity_index", "i4"), ("as_of_date", "M8[D]"), ("input_hash", "i8")])

    def drop(self, entity_type: str, entity_id: str, model_id: str, window_days: int, dates: DateVector) -> int:
        """Delete the vectors of some dates; return how many there were."""
        return _drop(self._place, _vectors_of(entity_type, entity_id, model_id, window_days), dates)


def _vectors_of(entity_type: str, entity_id: str, model_id: str, window_days: int) -> SeriesKey:
    return ("vectors", entity_type, entity_id, model_id, window_days)


def _is_known_vector(stored: Row, new: Row) -> bool:
    """Rows of unknown inputs leave those of an equal vector alone."""
    return stored[0] == new[0] and new[1] in (None, stored[1])


def _drop(place: Place, key: SeriesKey, dates: DateVector) -> int:
    return place.write(SeriesWrite(key, {}, dropped=frozenset(dates.tolist())))


def _between(rows: Rows, first: date, last: date) -> Rows:
    return {day: row for day, row in rows.items() if first <= day <= last}


class MemoryTextStore(_VectorStore):
    """Text vectors; a `prometheus.protocols.TextVectorStore`.

    A row is (vector, text hash, number of chunks, flags, passages); these as bytes of their spans and vectors, or None.
    """

    keeps_passages = True

    def save_embeddings(
        self,
        docs: Sequence[TextDoc],
        model_id: str,
        vectors: Float32Matrix,
        *,
        n_chunks: Sequence[int | None] | None = None,
        flags: Sequence[Sequence[str]] | None = None,
        passages: Sequence[Passages | None] | None = None,
    ) -> int:
        """Store one vector per text whole or not at all, and its passages; return how many texts were new or changed.

        Passages of None leave those of an equal text alone.
        """
        rows = {
            key: (encode_vector(text.vector), text.text_hash, text.n_chunks, text.flags, _kept(text.passages))
            for key, text in text_rows(docs, model_id, vectors, n_chunks, flags, passages).items()
        }
        return self._place.write(SeriesWrite(("texts", model_id), rows, _is_known_text))

    def load_embedding(self, source_type: str, source_id: str, model_id: str) -> Float32Vector | None:
        """Return one stored vector, or None."""
        stored = self.load_many(source_type, [source_id], model_id).get(source_id)
        return None if stored is None else stored.vector

    def load_many(self, source_type: str, source_ids: Sequence[str], model_id: str) -> dict[str, StoredText]:
        """Return what is stored for these sources, by source id."""
        rows = self._place.rows("texts", model_id)
        return {name: _to_text(rows[source_type, name]) for name in source_ids if (source_type, name) in rows}

    def load_same_texts(self, text_hashes: Sequence[str], model_id: str) -> dict[str, StoredText]:
        """Return what is stored for these texts, whatever their source, by text hash."""
        wanted, found = set(text_hashes), dict[str, StoredText]()
        for row in sorted(self._place.rows("texts", model_id).values(), key=lambda row: row[4] is None):
            if row[1] in wanted:
                found.setdefault(row[1], _to_text(row))
        return found


def _kept(passages: Passages | None) -> tuple[bytes, bytes] | None:
    return None if passages is None else (passages.spans.tobytes(), passages.vectors.tobytes())


def _to_text(row: Row) -> StoredText:
    vector, text_hash, n_chunks, flags, kept = row
    passages = None
    if kept is not None:
        spans = np.frombuffer(kept[0], dtype=np.int64).reshape(-1, 2)
        passages = Passages(spans, decode_vector(kept[1]).reshape(len(spans), -1))
    return StoredText(text_hash, decode_vector(vector), n_chunks, flags, passages)


def _is_known_text(stored: Row, new: Row) -> bool:
    """Rows of unknown chunks, or without passages, leave those of an equal vector alone."""
    is_known = stored[:2] == new[:2] and (new[2] is None or stored[2:4] == new[2:4])
    return is_known and new[4] in (None, stored[4])


class MemoryJointStore(_VectorStore):
    """Joint vectors; a `prometheus.protocols.JointVectorStore`. A row is (vector, both branch models, when written)."""

    def save_embeddings(
        self,
        examples: Sequence[JointExample],
        model_id: str,
        vectors: Float32Matrix,
        branch_models: tuple[str, str | None] | None = None,
    ) -> int:
        """Store one vector per example whole or not at all; return how many rows were new or changed."""
        if not examples:
            return 0
        values = require_joint_vectors(examples, model_id, vectors)
        branches, written = branch_models or (None, None), self._place.now()
        rows = {
            (each.as_of_date, scope_text(each.entity_scope), each.joint_type, model_id): (
                encode_vector(vector), *branches, written,
            )
            for each, vector in zip(examples, values, strict=True)
        }  # fmt: skip
        if len(rows) < len(examples):
            raise repeated_key(model_id)
        return self._place.write(SeriesWrite(("joint",), rows, _is_known_joint))

    def load(
        self, space: JointSpace, region: str, model_id: str, start: date, end: date, limit: int | None = None
    ) -> list[StoredJointEmbedding]:
        """Return a region's rows from `start` to `end`, both included, by date and scope; the first `limit` of them."""
        found = []
        for (day, text, joint_type, joined_by), row in self._place.rows("joint").items():
            scope = json.loads(text)
            if (
                (joint_type, joined_by) == (space.joint_type, model_id)
                and start <= day <= end
                and (scope.get("region"), scope.get("source")) == (region, space.source)
            ):
                found.append(StoredJointEmbedding(joint_type, day, model_id, scope, decode_vector(row[0])))
        return found[:limit]

    def groups(self, region: str, numeric_model_id: str, start: date, end: date) -> list[JointGroup]:
        """Return what is stored of a region from `start` to `end` that was joined from a numeric model."""
        found: dict[tuple[str, str, str, str], dict[date, datetime]] = {}
        for (day, text, joint_type, model_id), (_, numeric, of_text, written) in self._place.rows("joint").items():
            if numeric == numeric_model_id and start <= day <= end and json.loads(text).get("region") == region:
                found.setdefault((joint_type, model_id, text, of_text or ""), {})[day] = written
        return [
            JointGroup(joint_type, model_id, json.loads(text), of_text or None, dates)
            for (joint_type, model_id, text, of_text), dates in sorted(found.items(), key=lambda each: each[0])
        ]


def _is_known_joint(stored: Row, new: Row) -> bool:
    """Rows of unknown branches leave those of an equal vector alone."""
    return stored[0] == new[0] and new[1] in (None, stored[1]) and new[2] in (None, stored[2])


@dataclass(frozen=True, slots=True)
class KeptState:
    """One state, what it was made of, and when it was written."""

    state: RegimeState
    input_hash: int | None
    written: datetime


class MemoryStates:
    """Regime states by region, model and date; a `prometheus.protocols.StateStore`.

    A row is (label, confidence, encoder, vector, metadata as JSON, input hash, when written). Transitions are read from
    the states. `model_id` is the regime model to read when a call names none; without either, a region must hold rows
    of one model only.
    """

    def __init__(self, model_id: str | None = None, place: Place | None = None) -> None:
        self._model_id = model_id
        self._place = place or Place()

    def save_regime(self, state: RegimeState) -> None:
        """Store one state."""
        self.save_regimes([state])

    def save_regimes(self, states: Sequence[RegimeState], input_hashes: Int64Vector | None = None) -> int:
        """Store states whole or not at all; return how many were new or changed.

        Of two states for one region, model and date the later one in the sequence counts.
        """
        hashes: list[int | None] = [None] * len(states) if input_hashes is None else input_hashes.tolist()
        written = self._place.now()
        series: dict[tuple[str, str], dict[date, Row]] = {}
        for state, made_of in zip(states, hashes, strict=True):
            series.setdefault((state.region, state.model_id), {})[state.as_of_date] = (
                state.regime_label.value, state.confidence, state.encoder_model_id,
                encode_vector(state.regime_embedding), metadata_text(state), made_of, written,
            )  # fmt: skip
        return self._place.write(
            *(SeriesWrite(("states", *key), rows, _is_known_state) for key, rows in series.items())
        )

    def drop_regimes(self, region: str, model_id: str, dates: DateVector) -> int:
        """Delete the states of some dates; return how many there were."""
        return _drop(self._place, ("states", region, model_id), dates)

    def load_input_hashes(self, region: str, model_id: str, dates: DateVector) -> NDArray[Any]:
        """Return ``as_of_date`` and ``input_hash`` of the states between the first and the last of `dates`."""
        rows = self.kept(region, model_id, dates.min().item(), dates.max().item())
        found = [(row.state.as_of_date, row.input_hash) for row in rows if row.input_hash is not None]
        return np.array(found, dtype=[("as_of_date", "M8[D]"), ("input_hash", "i8")])

    def get_latest_regime(self, region: str, model_id: str | None = None) -> RegimeState | None:
        """Return the state of the newest date, or None where the region has none."""
        states = self.get_history(region, date.min, date.max, model_id)
        return states[-1] if states else None

    def get_history(self, region: str, start: date, end: date, model_id: str | None = None) -> list[RegimeState]:
        """Return the states from `start` to `end`, both included, oldest first."""
        chosen = self._choose_model(region, model_id)
        return [] if chosen is None else [row.state for row in self.kept(region, chosen, start, end)]

    def get_transition_matrix(self, region: str, model_id: str | None = None) -> TransitionMatrix:
        """Return ``{from: {to: probability}}`` over all consecutive pairs of stored dates, stays included."""
        return transition_matrix(transition_counts(self.load_labels(region, model_id)))

    def load_labels(self, region: str, model_id: str | None = None) -> list[RegimeLabel]:
        """Return all labels of a region in date order."""
        return [state.regime_label for state in self.get_history(region, date.min, date.max, model_id)]

    def load_embeddings(self, region: str, encoder_model_id: str, start: date, end: date) -> StoredEmbeddings:
        """Return an encoder's embeddings, the one written last of each date; raise as `join_embeddings` does."""
        found = self.newest_of_encoder(region, encoder_model_id, start, end).values()
        vectors = [StoredVector.of_state(row.state) for row in found]
        return join_embeddings(region, encoder_model_id, (start, end), vectors)

    def written(self, region: str, encoder_model_id: str, start: date, end: date) -> dict[date, datetime]:
        """Return when the newest state of each date from `start` to `end` by one encoder was written."""
        found = self.newest_of_encoder(region, encoder_model_id, start, end)
        return {day: row.written for day, row in found.items()}

    def groups(self) -> list[tuple[str, str]]:
        """Return the regions and regime models that have rows, sorted."""
        return [(str(region), str(model_id)) for _, region, model_id in self._place.keys("states")]

    def list_models(self, region: str) -> list[str]:
        """Return the ids of the regime models that have rows of a region."""
        return [model_id for name, model_id in self.groups() if name == region]

    def kept(self, region: str, model_id: str, start: date = date.min, end: date = date.max) -> list[KeptState]:
        """Return the states of a region and regime model from `start` to `end`, both included, oldest first."""
        rows = _between(self._place.rows("states", region, model_id), start, end)
        return [_to_state(region, model_id, day, row) for day, row in rows.items()]

    def newest_of_encoder(
        self, region: str, encoder_model_id: str, start: date = date.min, end: date = date.max
    ) -> dict[date, KeptState]:
        """Return the state of each date that was written last, oldest first; of equal ones that of the first model."""
        models = reversed(self.list_models(region))
        rows = [row for model_id in models for row in self.kept(region, model_id, start, end)]
        rows = [row for row in rows if row.state.encoder_model_id == encoder_model_id]
        newest = {row.state.as_of_date: row for row in sorted(rows, key=lambda row: row.written)}
        return dict(sorted(newest.items()))

    def _choose_model(self, region: str, model_id: str | None) -> str | None:
        named = model_id or self._model_id
        if named is not None:
            return named
        found = self.list_models(region)
        if len(found) > 1:
            raise ambiguous_model(region, found)
        return found[0] if found else None


def _to_state(region: str, model_id: str, day: date, row: Row) -> KeptState:
    label, confidence, encoder_model_id, vector, metadata, made_of, written = row
    embedding = decode_vector(vector, name=f"regime of {region} on {day}")
    meta = json.loads(metadata)
    state = RegimeState(day, region, RegimeLabel(label), confidence, embedding, meta, model_id, encoder_model_id)
    return KeptState(state, made_of, written)


def _is_known_state(stored: Row, new: Row) -> bool:
    """Rows of unknown inputs leave those of an equal state alone; the order of the metadata does not count."""
    known, wanted = (scope_text(json.loads(row[4])) for row in (stored, new))
    return stored[:4] == new[:4] and known == wanted and new[5] in (None, stored[5])
