"""Bars, numeric vectors, regime states and the model registry in a folder; what `prometheus.open` of a path reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Vector, Int64Vector, decode_vector, encode_vector
from prometheus.encoders.identity import fingerprint, repeated_key, require_same_meaning
from prometheus.encoders.numeric.encoder import EmbeddingBatch
from prometheus.encoders.numeric.windows import NumericWindowSpec
from prometheus.files.folder import Folder, Row, SeriesKey, SeriesWrite
from prometheus.market.bars import PriceBars
from prometheus.memory.states import MemoryStates, StateRow, stored_state
from prometheus.memory.vectors import MemoryRegistry
from prometheus.regime.types import RegimeLabel, RegimeState

PRICE_FIELDS = ("open", "high", "low", "close", "adjusted_close", "volume")
_BARS = pa.schema([(name, pa.float64()) for name in PRICE_FIELDS])
_VECTORS = pa.schema([("vector", pa.binary()), ("input_hash", pa.int64())])
_STATES = pa.schema([
    ("regime_label", pa.string()), ("confidence", pa.float64()), ("encoder_model_id", pa.string()),
    ("regime_embedding", pa.binary()), ("metadata", pa.string()), ("input_hash", pa.int64()),
    ("written_utc", pa.timestamp("us", tz="UTC")),
])  # fmt: skip


class FolderRegistry(MemoryRegistry):
    """What each model id means; a `prometheus.protocols.ModelRegistry`."""

    def __init__(self, folder: Folder) -> None:
        super().__init__()
        self._folder = folder

    def register(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Record what a model id means, or raise `ModelFingerprintError` where it means something else."""
        stored = self._folder.add_model(model_id, (kind, fingerprint(config), dict(config)))
        require_same_meaning(model_id, stored, kind, config)

    def require_same(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Raise `ModelFingerprintError` where a model id means something else; record nothing."""
        stored = self._folder.index().models.get(model_id)
        if stored is not None:
            require_same_meaning(model_id, stored, kind, config)

    def load_config(self, model_id: str) -> dict[str, Any] | None:
        """Return what is recorded under an id, None where nothing is."""
        stored = self._folder.index().models.get(model_id)
        return None if stored is None else dict(stored[2])


class FolderBars:
    """Daily bars; a `prometheus.protocols.BarSource` and `InstrumentSource`."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def save_bars(self, bars: PriceBars) -> int:
        """Store bars whole or not at all; return how many were new or changed.

        A field that they lack is NaN; without ``adjusted_close`` the close stands for it.
        """
        columns = dict(zip(bars.fields, bars.values, strict=True))
        missing = np.full(len(bars.dates), np.nan)
        columns.setdefault("adjusted_close", columns.get("close", missing))
        rows = list(zip(*(columns.get(name, missing).tolist() for name in PRICE_FIELDS), strict=True))
        days: list[date] = bars.dates.tolist()
        spans = [slice(int(a), int(b)) for a, b in pairwise(bars.offsets)]
        return self._folder.write(
            *(
                SeriesWrite(("bars", name), _BARS, dict(zip(days[span], rows[span], strict=True)), _is_equal)
                for name, span in zip(bars.instrument_ids, spans, strict=True)
            )
        )

    def load_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        """Return bars from `first` to `last` and the ones that windows ending there reach back to."""
        ids = tuple(dict.fromkeys(instrument_ids))
        chosen = [PRICE_FIELDS.index(field) for field in fields]
        days: list[date] = []
        rows: list[Row] = []
        offsets = [0]
        for name in ids:
            series = self._folder.rows("bars", name)
            known = [day for day in series if day <= last]
            begin = max(sum(day <= first for day in known) - n_before, 0)
            days += known[begin:]
            rows += [series[day] for day in known[begin:]]
            offsets.append(len(days))
        values = np.array([[row[at] for row in rows] for at in chosen], dtype=np.float64).reshape(
            len(fields), len(rows)
        )
        return PriceBars(ids, np.array(offsets, dtype=np.int64), np.array(days, dtype="M8[D]"), tuple(fields), values)

    def known_instruments(self, instrument_ids: Sequence[str]) -> set[str]:
        """Return those that have at least one bar."""
        return set(instrument_ids) & set(self.instruments())

    def instruments(self) -> list[str]:
        """Return the instruments that have bars, sorted."""
        return sorted(str(key[1]) for key in self._folder.index().series if key[0] == "bars")


class FolderNumericStore:
    """Numeric vectors; a `prometheus.protocols.NumericVectorStore`."""

    def __init__(self, folder: Folder, registry: FolderRegistry) -> None:
        self._folder = folder
        self.registry = registry

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
        return self._folder.write(
            *(
                SeriesWrite(_vector_key(batch.entity_type, name, batch.model_id, batch.window_days), _VECTORS, rows,
                            _is_known_vector)
                for name, rows in series.items()
            )
        )  # fmt: skip

    def load_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str) -> Float32Vector | None:
        """Return one stored vector, or None."""
        rows = self._folder.rows(*_vector_key(spec.entity_type, spec.entity_id, model_id, spec.window_days))
        return decode_vector(rows[as_of_date][0]) if as_of_date in rows else None

    def load_input_hashes(
        self, entity_type: str, entity_ids: Sequence[str], model_id: str, window_days: int, dates: DateVector
    ) -> NDArray[Any]:
        """Return ``entity_index``, ``as_of_date``, ``input_hash`` of the rows between the first and last of `dates`."""
        first, last = dates.min().item(), dates.max().item()
        found = [
            (index, day, made_of)
            for index, entity_id in enumerate(entity_ids)
            for day, (_, made_of) in self._folder.rows(
                *_vector_key(entity_type, entity_id, model_id, window_days)
            ).items()
            if first <= day <= last and made_of is not None
        ]
        return np.array(found, dtype=[("entity_index", "i4"), ("as_of_date", "M8[D]"), ("input_hash", "i8")])


class FolderStates(MemoryStates):
    """Regime states; a `prometheus.protocols.StateStore`. Their transitions are read from them.

    Parameters
    ----------
    model_id
        The regime model to read when a call names none. Without either, a region must hold rows of one model only.
    """

    def __init__(self, folder: Folder, model_id: str | None = None) -> None:
        super().__init__(model_id)
        self._folder = folder

    def save_regimes(self, states: Sequence[RegimeState], input_hashes: Int64Vector | None = None) -> int:
        """Store states whole or not at all; return how many were new or changed.

        Of two states for one region, model and date the later one in the sequence counts.
        """
        hashes = [None] * len(states) if input_hashes is None else input_hashes.tolist()
        written = datetime.now(UTC)
        series: dict[tuple[str, str], dict[date, Row]] = {}
        for state, made_of in zip(states, hashes, strict=True):
            group = series.setdefault((state.region, state.model_id), {})
            group[state.as_of_date] = _to_row(stored_state(state, made_of, written))
        return self._folder.write(
            *(SeriesWrite(("states", *key), _STATES, rows, _is_known_state) for key, rows in series.items())
        )

    def list_models(self, region: str) -> list[str]:
        """Return the ids of the regime models that have rows of a region."""
        return [model_id for name, model_id in self.groups() if name == region]

    def groups(self) -> list[tuple[str, str]]:
        """Return the regions and regime models that have rows, sorted."""
        return sorted((str(key[1]), str(key[2])) for key in self._folder.index().series if key[0] == "states")

    def rows(self, region: str, model_id: str, start: date = date.min, end: date = date.max) -> list[StateRow]:
        """Return the rows of a region and regime model from `start` to `end`, both included, oldest first."""
        rows = self._folder.rows("states", region, model_id)
        return [_of_row(region, model_id, day, row) for day, row in rows.items() if start <= day <= end]

    def _rows(self, region: str, model_id: str | None, start: date = date.min, end: date = date.max) -> list[StateRow]:
        return [] if model_id is None else self.rows(region, model_id, start, end)


class FolderStores:
    """All stores of one folder, with one registry of models.

    Parameters
    ----------
    path
        The folder; see `prometheus.files.folder.Folder`.
    """

    def __init__(self, path: str | Path) -> None:
        folder = Folder(path)
        self.path = folder.path
        self.registry = FolderRegistry(folder)
        self.bars = FolderBars(folder)
        self.numeric = FolderNumericStore(folder, self.registry)
        self.states = FolderStates(folder)


def _vector_key(entity_type: str, entity_id: str, model_id: str, window_days: int) -> SeriesKey:
    return ("vectors", entity_type, entity_id, model_id, window_days)


def _is_equal(stored: Row, new: Row) -> bool:
    return np.array(stored).tobytes() == np.array(new).tobytes()


def _is_known_vector(stored: Row, new: Row) -> bool:
    return stored[0] == new[0] and new[1] in (None, stored[1])


def _is_known_state(stored: Row, new: Row) -> bool:
    known, other = (_of_row("", "", date.min, row) for row in (stored, new))
    return known.says_all_of(other)


def _to_row(row: StateRow) -> Row:
    state = row.state
    return (
        state.regime_label.value, state.confidence, state.encoder_model_id, encode_vector(state.regime_embedding),
        row.metadata, row.input_hash, row.written,
    )  # fmt: skip


def _of_row(region: str, model_id: str, day: date, row: Row) -> StateRow:
    label, confidence, encoder_model_id, vector, metadata, made_of, written = row
    embedding = decode_vector(vector, name=f"regime of {region} on {day}")
    state = RegimeState(
        day, region, RegimeLabel(label), confidence, embedding, json.loads(metadata), model_id, encoder_model_id
    )
    return StateRow(state, metadata, made_of, written)
