"""Vectors and what their models mean, in dicts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix, Float32Vector, decode_vector, encode_vector
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
from prometheus.encoders.texts.documents import StoredText, TextDoc, text_rows

K = TypeVar("K")
R = TypeVar("R")

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Ledger:
    """One lock and one counter: every write is whole, and later than those before it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._n_writes = 0

    def tick(self) -> datetime:
        """Return the instant of the next write, one microsecond after the last."""
        self._n_writes += 1
        return _EPOCH + timedelta(microseconds=self._n_writes)

    def write(self, rows: dict[K, R], incoming: Mapping[K, R], is_known: Callable[[R, R], bool]) -> int:
        """Put in the rows that say something new beside the one stored; return how many."""
        with self.lock:
            fresh = {key: row for key, row in incoming.items() if key not in rows or not is_known(rows[key], row)}
            rows |= fresh
        return len(fresh)


class MemoryRegistry:
    """What each model id means; a `prometheus.protocols.ModelRegistry`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[str, tuple[str, str, dict[str, Any]]] = {}

    def register(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Record what a model id means, or raise `ModelFingerprintError` where it means something else."""
        meaning = (kind, fingerprint(config), json.loads(json.dumps(dict(config))))
        with self._lock:
            stored = self._models.setdefault(model_id, meaning)
        require_same_meaning(model_id, stored, kind, config)

    def require_same(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Raise `ModelFingerprintError` where a model id means something else; record nothing."""
        stored = self._models.get(model_id)
        if stored is not None:
            require_same_meaning(model_id, stored, kind, config)

    def load_config(self, model_id: str) -> dict[str, Any] | None:
        """Return what is recorded under an id, None where nothing is."""
        stored = self._models.get(model_id)
        return None if stored is None else dict(stored[2])


@dataclass(frozen=True, slots=True)
class _NumericRow:
    vector: bytes
    input_hash: int | None

    def says_all_of(self, other: _NumericRow) -> bool:
        """Return whether another row is not news; one of unknown inputs leaves those of an equal vector alone."""
        return self.vector == other.vector and other.input_hash in (None, self.input_hash)


class MemoryNumericStore:
    """Numeric vectors; a `prometheus.protocols.NumericVectorStore`."""

    def __init__(self, registry: MemoryRegistry | None = None) -> None:
        self.registry = registry or MemoryRegistry()
        self._ledger = Ledger()
        self._series: dict[tuple[str, str, str, int], dict[date, _NumericRow]] = {}

    def save_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str, vector: Float32Vector) -> None:
        """Store one vector; an equal stored one is left alone."""
        self.save_batch(EmbeddingBatch.of_one(spec, as_of_date, model_id, vector))

    def save_batch(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:  # noqa: ARG002 -- every look-up is fast
        """Store a batch whole or not at all; return how many rows were new or changed."""
        days: list[date] = batch.as_of_dates.tolist()
        hashes = [None] * len(batch) if batch.input_hashes is None else batch.input_hashes.tolist()
        incoming: dict[str, dict[date, _NumericRow]] = {}
        for entity, day, made_of, vector in zip(batch.entity_index.tolist(), days, hashes, batch.vectors, strict=True):
            series = incoming.setdefault(batch.entity_ids[entity], {})
            series[day] = _NumericRow(encode_vector(vector), made_of)
        if sum(map(len, incoming.values())) < len(batch):
            raise repeated_key(batch.model_id)
        n_written = 0
        with self._ledger.lock:
            for entity_id, rows in incoming.items():
                key = (batch.entity_type, entity_id, batch.model_id, batch.window_days)
                n_written += self._ledger.write(self._series.setdefault(key, {}), rows, _NumericRow.says_all_of)
        return n_written

    def load_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str) -> Float32Vector | None:
        """Return one stored vector, or None."""
        series = self._series.get((spec.entity_type, spec.entity_id, model_id, spec.window_days), {})
        row = series.get(as_of_date)
        return None if row is None else decode_vector(row.vector)

    def load_input_hashes(
        self, entity_type: str, entity_ids: Sequence[str], model_id: str, window_days: int, dates: DateVector
    ) -> NDArray[Any]:
        """Return ``entity_index``, ``as_of_date``, ``input_hash`` of the rows between the first and last of `dates`."""
        first, last = dates.min().item(), dates.max().item()
        with self._ledger.lock:
            found = [
                (index, day, row.input_hash)
                for index, entity_id in enumerate(entity_ids)
                for day, row in self._series.get((entity_type, entity_id, model_id, window_days), {}).items()
                if first <= day <= last and row.input_hash is not None
            ]
        return np.array(found, dtype=[("entity_index", "i4"), ("as_of_date", "M8[D]"), ("input_hash", "i8")])


class MemoryTextStore:
    """Text vectors; a `prometheus.protocols.TextVectorStore`."""

    def __init__(self, registry: MemoryRegistry | None = None) -> None:
        self.registry = registry or MemoryRegistry()
        self._ledger = Ledger()
        self._rows: dict[str, dict[tuple[str, str], StoredText]] = {}

    def save_embeddings(
        self,
        docs: Sequence[TextDoc],
        model_id: str,
        vectors: Float32Matrix,
        *,
        n_chunks: Sequence[int | None] | None = None,
        flags: Sequence[Sequence[str]] | None = None,
    ) -> int:
        """Store one vector per text whole or not at all; return how many rows were new or changed."""
        rows = text_rows(docs, model_id, vectors, n_chunks, flags)
        kept = {key: replace(row, vector=decode_vector(encode_vector(row.vector))) for key, row in rows.items()}
        return self._ledger.write(self._rows.setdefault(model_id, {}), kept, _says_all_of_text) if kept else 0

    def load_embedding(self, source_type: str, source_id: str, model_id: str) -> Float32Vector | None:
        """Return one stored vector, or None."""
        stored = self._rows.get(model_id, {}).get((source_type, source_id))
        return None if stored is None else stored.vector

    def load_many(self, source_type: str, source_ids: Sequence[str], model_id: str) -> dict[str, StoredText]:
        """Return what is stored for these sources, by source id."""
        rows = self._rows.get(model_id, {})
        return {name: rows[source_type, name] for name in source_ids if (source_type, name) in rows}

    def load_same_texts(self, text_hashes: Sequence[str], model_id: str) -> dict[str, StoredText]:
        """Return what is stored for these texts, whatever their source, by text hash."""
        wanted, found = set(text_hashes), dict[str, StoredText]()
        with self._ledger.lock:
            for _, row in sorted(self._rows.get(model_id, {}).items(), key=lambda each: each[0]):
                if row.text_hash is not None and row.text_hash in wanted:
                    found.setdefault(row.text_hash, row)
        return found


def _says_all_of_text(stored: StoredText, row: StoredText) -> bool:
    return stored.is_same(
        row if row.n_chunks is not None else replace(row, n_chunks=stored.n_chunks, flags=stored.flags)
    )


@dataclass(frozen=True, slots=True)
class _JointRow:
    vector: bytes
    scope: Mapping[str, Any]
    branch_models: tuple[str | None, str | None]
    written: datetime

    def says_all_of(self, other: _JointRow) -> bool:
        """Return whether another row is not news; one of unknown branches leaves those of an equal vector alone."""
        branches = zip(other.branch_models, self.branch_models, strict=True)
        return self.vector == other.vector and all(new in (None, old) for new, old in branches)


class MemoryJointStore:
    """Joint vectors; a `prometheus.protocols.JointVectorStore`."""

    def __init__(self, registry: MemoryRegistry | None = None, ledger: Ledger | None = None) -> None:
        self.registry = registry or MemoryRegistry()
        self._ledger = ledger or Ledger()
        self._rows: dict[tuple[str, date, str, str], _JointRow] = {}

    def save_embeddings(
        self,
        examples: Sequence[JointExample],
        model_id: str,
        vectors: Float32Matrix,
        branch_models: tuple[str, str] | None = None,
    ) -> int:
        """Store one vector per example whole or not at all; return how many rows were new or changed."""
        if not examples:
            return 0
        values = require_joint_vectors(examples, model_id, vectors)
        with self._ledger.lock:
            written = self._ledger.tick()
            incoming = {}
            for example, vector in zip(examples, values, strict=True):
                scope = json.loads(json.dumps(example.entity_scope))
                key = (example.joint_type, example.as_of_date, model_id, scope_text(scope))
                incoming[key] = _JointRow(encode_vector(vector), scope, branch_models or (None, None), written)
            if len(incoming) < len(examples):
                raise repeated_key(model_id)
            return self._ledger.write(self._rows, incoming, _JointRow.says_all_of)

    def load(
        self, space: JointSpace, region: str, model_id: str, start: date, end: date, limit: int | None = None
    ) -> list[StoredJointEmbedding]:
        """Return a region's rows from `start` to `end`, both included, by date and scope; the first `limit` of them."""
        with self._ledger.lock:
            found = [
                (day, text, row)
                for (joint_type, day, joined_by, text), row in self._rows.items()
                if (joint_type, joined_by) == (space.joint_type, model_id)
                and start <= day <= end
                and (row.scope.get("region"), row.scope.get("source")) == (region, space.source)
            ]
        found.sort(key=lambda each: (each[0], each[1].encode()))
        return [
            StoredJointEmbedding(space.joint_type, day, model_id, dict(row.scope), decode_vector(row.vector))
            for day, _, row in found[:limit]
        ]

    def groups(self, region: str, numeric_model_id: str, start: date, end: date) -> list[JointGroup]:
        """Return what is stored of a region from `start` to `end` that was joined from a numeric model."""
        found: dict[tuple[str, str, bytes, str], JointGroup] = {}
        with self._ledger.lock:
            for (joint_type, day, model_id, text), row in sorted(self._rows.items(), key=lambda each: each[0]):
                numeric, of_text = row.branch_models
                if numeric == numeric_model_id and start <= day <= end and row.scope.get("region") == region:
                    key = (joint_type, model_id, text.encode(), str(of_text))
                    group = found.get(key) or JointGroup(joint_type, model_id, dict(row.scope), str(of_text), {})
                    found[key] = replace(group, written={**group.written, day: row.written})
        return [found[key] for key in sorted(found)]
