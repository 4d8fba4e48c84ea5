"""A folder of Parquet files as a store: every write is whole or not at all, and equal rows are never written twice.

``prometheus.json`` is the index: it names the one file of each series of dated rows, and holds what the model ids mean.
Files are never changed. A write puts new ones beside the old ones, and then replaces the index in one step (ADR-0017).
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prometheus.arrays import Float32Matrix, Float64Matrix
from prometheus.core.files import open_regular, read_small, reason_of, sync_folder
from prometheus.errors import FileAccessError
from prometheus.market.bars import PriceBars
from prometheus.memory.series import Meaning, Place, Row, Rows, SeriesKey, SeriesWrite
from prometheus.memory.sources import MemoryBars
from prometheus.memory.stores import KeptState, MemoryNumericStore, MemoryRegistry, MemoryStates
from prometheus.regime.explanation import EVIDENCE_LABELS
from prometheus.regime.history import LABELS, DatedVectors, RegimeHistory, RegimeTimeline, StoredVector, VectorSource
from prometheus.regime.types import RegimeLabel

INDEX, LOCK, FORMAT = "prometheus.json", ".lock", 1
_BEGINNING = ".new-"
MAX_INDEX_BYTES = 1 << 30
_LOCKING = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 20
_OURS = re.compile(r"_[0-9a-f]{16}_[0-9a-f]{16}\.parquet$")

PRICE_FIELDS = ("open", "high", "low", "close", "adjusted_close", "volume")
_SCHEMAS = {
    "bars": pa.schema([(name, pa.float64()) for name in PRICE_FIELDS]),
    "vectors": pa.schema([("vector", pa.binary()), ("input_hash", pa.int64())]),
    "states": pa.schema([
        ("regime_label", pa.string()), ("confidence", pa.float64()), ("encoder_model_id", pa.string()),
        ("regime_embedding", pa.binary()), ("metadata", pa.string()), ("input_hash", pa.int64()),
        ("written_utc", pa.timestamp("us", tz="UTC")),
    ]),
}  # fmt: skip
"""Columns of each kind of series, behind the date."""


@dataclass(frozen=True, slots=True)
class Index:
    """What a folder holds: the file of each series, and the models."""

    series: Mapping[SeriesKey, str] = field(default_factory=dict)
    models: Mapping[str, Meaning] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the file that says it."""
        series = [[*key, name] for key, name in sorted(self.series.items(), key=repr)]
        content = {"format": FORMAT, "models": dict(sorted(self.models.items())), "series": series}
        return json.dumps(content, indent=1, allow_nan=False).encode()

    @classmethod
    def of_bytes(cls, content: bytes, path: Path) -> Index:
        """Return what a file says; `FileAccessError` if it is no index, or one of a newer version."""
        try:
            found = json.loads(content)
            version, listed = int(found["format"]), found["series"]
            models = {model_id: (kind, print_, config) for model_id, (kind, print_, config) in found["models"].items()}
            index = cls({tuple(each[:-1]): str(each[-1]) for each in listed}, models)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileAccessError(str(path), "is no index of a Prometheus folder; restore it from a copy") from error
        if version > FORMAT:
            raise FileAccessError(str(path), f"has format {version}, this version reads {FORMAT}; upgrade it")
        return index


class Folder(Place):
    """An empty folder, or one that this class filled; `FileAccessError` if it holds something else or is no folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        super().__init__()
        self._rows: dict[str, Rows] = {}
        if not self.path.is_dir():
            raise FileAccessError(str(self.path), "no such folder; make an empty one to begin a store")
        self.index()

    def index(self) -> Index:
        """Return what the folder holds now."""
        path = self.path / INDEX
        try:
            content = read_small(path, MAX_INDEX_BYTES)
        except FileAccessError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            others = [each.name for each in self.path.iterdir() if not each.name.startswith(".")]
            if INDEX in others:  # begun a moment ago
                return self.index()
            if others:
                raise FileAccessError(
                    str(self.path), f"holds {min(others)} and no {INDEX}; name an empty folder, or one of Prometheus"
                ) from None
            return Index()
        return Index.of_bytes(content, path)

    def keys(self, kind: str) -> list[SeriesKey]:
        """Return the series of a kind, sorted."""
        return sorted(key for key in self.index().series if key[0] == kind)

    def rows(self, *key: str | int) -> Rows:
        """Return a series by date, ascending; empty if not stored."""
        for _ in range(_ATTEMPTS):
            name = self.index().series.get(key)
            try:
                return {} if name is None else self._read(name)
            except FileNotFoundError:  # a writer has replaced it since the index was read
                continue
        raise FileAccessError(str(self.path / str(name)), "is missing; restore it from a copy")

    def write(self, *series: SeriesWrite) -> int:
        """Change some series together, wholly or not at all; return how many rows are new, changed or gone."""
        with self._writing() as index:
            files, n_changed = dict(index.series), 0
            for each in series:
                name = files.get(each.key)
                rows, n_different = each.on({} if name is None else self._kept(name))
                n_changed += n_different
                if n_different and rows:
                    files[each.key] = self._add(each.key, rows)
                elif not rows:
                    files.pop(each.key, None)
            if n_changed:
                self._replace_index(replace(index, series=files))
        return n_changed

    def now(self) -> datetime:
        """Return the time in UTC."""
        return datetime.now(UTC)

    def meaning_of(self, model_id: str) -> Meaning | None:
        """Return what a model id means; None if not recorded."""
        return self.index().models.get(model_id)

    def add_model(self, model_id: str, meaning: Meaning) -> Meaning:
        """Record what a model id means unless it is recorded already; return what it means."""
        stored = self.meaning_of(model_id)
        if stored is not None:
            return stored
        with self._writing() as index:
            if model_id not in index.models:
                self._replace_index(replace(index, models={**index.models, model_id: meaning}))
        return self.index().models[model_id]

    @contextmanager
    def _writing(self) -> Iterator[Index]:
        try:
            with os.fdopen(os.open(self.path / LOCK, _LOCKING, 0o666), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (self.path / INDEX).exists():
                    self.index()
                    self._replace_index(Index())
                yield self.index()
        except FileAccessError:
            raise
        except OSError as error:
            raise FileAccessError(str(self.path), f"cannot be written ({reason_of(error)})") from error

    def _add(self, key: SeriesKey, rows: Rows) -> str:
        columns, days = _SCHEMAS[str(key[0])], sorted(rows)
        values = zip(*(rows[day] for day in days), strict=True)
        arrays = [
            pa.array(days, pa.date32()),
            *(pa.array(list(each), of.type) for each, of in zip(values, columns, strict=True)),
        ]
        table = pa.Table.from_arrays(arrays, names=["day", *columns.names])
        stream = io.BytesIO()
        pq.write_table(table, stream, compression="zstd")
        content = stream.getvalue()
        label = "_".join("".join(c if c.isalnum() or c in ".-" else "-" for c in str(part))[:40] for part in key)
        name = f"{label}_{_digest(repr(key).encode())}_{_digest(content)}.parquet"
        self._put(name, content)
        return name

    def _read(self, name: str) -> Rows:
        """Return the rows of a file, which is read once; refuse one that is not as it was written."""
        with self._lock:
            known = self._rows.get(name)
        if known is not None:
            return known
        path = self.path / name
        try:
            with open_regular(path) as file:
                content = file.read()
        except FileAccessError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise error.__cause__ from None
            raise
        if not name.endswith(f"_{_digest(content)}.parquet"):
            raise FileAccessError(str(path), "is truncated or was changed; restore it from a copy")
        # without threads: one that still let go of `content` while the interpreter ends would abort the process
        table = pq.ParquetFile(io.BytesIO(content), pre_buffer=False).read(use_threads=False)
        columns = [column.to_pylist() for column in table.columns]
        rows = dict(zip(columns[0], zip(*columns[1:], strict=True), strict=True))
        with self._lock:
            self._rows[name] = rows
        return rows

    def _kept(self, name: str) -> Rows:
        """Return the rows of a file under the lock of writers: one that is missing was lost."""
        try:
            return self._read(name)
        except FileNotFoundError as error:
            raise FileAccessError(str(self.path / name), "is missing; restore it from a copy") from error

    def _replace_index(self, index: Index) -> None:
        """Let the folder hold something else, in one step; what no index names any more is removed."""
        sync_folder(self.path)
        self._put(INDEX, index.to_bytes())
        sync_folder(self.path)
        current = set(index.series.values())
        with self._lock:
            self._rows = {name: rows for name, rows in self._rows.items() if name in current}
        for path in self.path.iterdir():
            is_ours = path.name.startswith(_BEGINNING) or _OURS.search(path.name)
            if is_ours and path.name not in current:
                path.unlink(missing_ok=True)

    def _put(self, name: str, content: bytes) -> None:
        beginning = self.path / f"{_BEGINNING}{name}"
        beginning.unlink(missing_ok=True)  # left by a writer that was killed
        with beginning.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beginning.replace(self.path / name)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


class FolderStores:
    """All stores of one folder, with one registry of models: what `prometheus.open` of a path reads."""

    def __init__(self, path: str | Path) -> None:
        folder = Folder(path)
        self.path = folder.path
        self.registry = MemoryRegistry(folder)
        self.bars = FolderBars(folder)
        self.numeric = MemoryNumericStore(folder)
        self.states = MemoryStates(place=folder)
        self.timelines = FolderTimelines(self.states)


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
                SeriesWrite(("bars", name), dict(zip(days[span], rows[span], strict=True)), _is_equal)
                for name, span in zip(bars.instrument_ids, spans, strict=True)
            )
        )

    def load_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        """Return bars from `first` to `last` and the ones that windows ending there reach back to."""
        found = MemoryBars()
        for name in dict.fromkeys(instrument_ids):
            series = self._folder.rows("bars", name)
            columns = {field: [row[PRICE_FIELDS.index(field)] for row in series.values()] for field in fields}
            found.add(name, list(series), **columns)
        return found.load_bars(instrument_ids, first, last, n_before, fields)

    def known_instruments(self, instrument_ids: Sequence[str]) -> set[str]:
        """Return those that have at least one bar."""
        return set(instrument_ids) & set(self.instruments())

    def instruments(self) -> list[str]:
        """Return the instruments that have bars, sorted."""
        return [str(name) for _, name in self._folder.keys("bars")]


def _is_equal(stored: Row, new: Row) -> bool:
    return np.array(stored).tobytes() == np.array(new).tobytes()


class FolderTimelines:
    """Reads the states of a folder as `prometheus.data.timelines.RegimeTimelines` reads those of PostgreSQL."""

    def __init__(self, states: MemoryStates) -> None:
        self._states = states

    def histories(self, until: date = date.max) -> list[RegimeHistory]:
        """Return what is stored of dates up to one, by region and regime model."""
        found = []
        for region, model_id in self._states.groups():
            states = self._states.get_history(region, date.min, until, model_id)
            if states:
                first, last = states[0], states[-1]
                summary = (last.encoder_model_id, len(states), first.as_of_date, last.as_of_date)
                found.append(RegimeHistory(region, model_id, *summary))
        return found

    def timeline(self, region: str, model_id: str, start: date, end: date, limit: int | None = None) -> RegimeTimeline:
        """Return labels and confidences from `start` to `end`, both included; the first `limit` of them."""
        states = self._states.get_history(region, start, end, model_id)[:limit]
        risks = [state.metadata.get("high_volatility", {}).get("probability", np.nan) for state in states]
        return RegimeTimeline(
            region,
            model_id,
            np.array([state.as_of_date for state in states], dtype="M8[D]"),
            np.array([LABELS.index(state.regime_label) for state in states], dtype=np.int64),
            np.array([state.confidence for state in states], dtype=np.float64),
            np.array(risks, dtype=np.float64),
            np.array(["held" in state.metadata for state in states], dtype=np.bool_),
        )

    def evidence(
        self, region: str, model_id: str, start: date, end: date
    ) -> tuple[RegimeTimeline, Float64Matrix, Float32Matrix]:
        """Return a timeline, the probabilities of `EVIDENCE_LABELS`, NaN if absent, and the vectors of its dates."""
        states = self._states.get_history(region, start, end, model_id)
        shares = [[each.metadata.get("probabilities", {}).get(of, np.nan) for of in EVIDENCE_LABELS] for each in states]
        probabilities = np.array(shares, dtype=np.float64).reshape(len(states), len(EVIDENCE_LABELS))
        vectors = [state.regime_embedding for state in states] or np.empty((0, 0), dtype=np.float32)
        return self.timeline(region, model_id, start, end), probabilities, np.array(vectors)

    def labels_on(self, region: str, model_id: str, dates: Sequence[date]) -> dict[date, tuple[RegimeLabel, float]]:
        """Return label and confidence of those of the dates that have a state."""
        wanted, states = set(dates), self._states.get_history(region, date.min, date.max, model_id)
        return {each.as_of_date: (each.regime_label, each.confidence) for each in states if each.as_of_date in wanted}

    def vector_source(self, region: str, encoder_model_id: str, until: date) -> VectorSource | None:
        """Return what the newest vector of a date up to `until` was made of; None if not found."""
        rows = self._states.newest_of_encoder(region, encoder_model_id, end=until)
        return _source_of(rows[max(rows)]) if rows else None

    def written(self, region: str, encoder_model_id: str) -> tuple[int, datetime | None]:
        """Return how many dates an encoder has states of, and when the newest was written."""
        written = self._states.written(region, encoder_model_id, date.min, date.max).values()
        return len(written), max(written, default=None)

    def load_vectors(self, region: str, encoder_model_id: str, source: VectorSource) -> DatedVectors:
        """Return the vectors of one source; of several regime models' for a date the one written last."""
        rows = self._states.newest_of_encoder(region, encoder_model_id)
        found = {day: row.state.regime_embedding for day, row in rows.items() if _source_of(row) == source}
        vectors = list(found.values()) or np.empty((0, source.dim), dtype=np.float32)
        return DatedVectors(np.array(list(found), dtype="M8[D]"), np.array(vectors))

    def members_of(self, region: str, until: date) -> dict[str, float]:
        """Return the weights of a region's members as its newest state up to a date says them; empty without any."""
        models = self._states.list_models(region)
        rows = [row for model_id in models for row in self._states.kept(region, model_id, end=until)]
        known = [row for row in rows if "members" in row.state.metadata]
        newest = max(known, key=lambda row: (row.state.as_of_date, row.written), default=None)
        return {} if newest is None else dict(newest.state.metadata["members"])


def _source_of(row: KeptState) -> VectorSource:
    found = StoredVector.of_state(row.state)
    return VectorSource(found.instrument_id, found.window_days, found.vector.size)
