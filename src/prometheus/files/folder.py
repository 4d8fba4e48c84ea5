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
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from prometheus.core.files import reason_of
from prometheus.errors import FileAccessError

INDEX, LOCK, FORMAT = "prometheus.json", ".lock", 1
_BEGINNING = ".new-"
_ATTEMPTS = 20
_OURS = re.compile(r"_[0-9a-f]{16}_[0-9a-f]{16}\.parquet$")

Row: TypeAlias = tuple[Any, ...]
"""The values of a series on one date, in the order of its columns."""
Rows: TypeAlias = Mapping[date, Row]
SeriesKey: TypeAlias = tuple[str | int, ...]
"""What kind of rows, and whose."""
Meaning: TypeAlias = tuple[str, str, dict[str, Any]]
"""Kind, fingerprint and configuration of a model."""


@dataclass(frozen=True, slots=True)
class SeriesWrite:
    """Rows for one series.

    Attributes
    ----------
    columns
        Of the rows, behind their date.
    is_known
        Whether a stored row says all of a new one, which is then left out.
    """

    key: SeriesKey
    columns: pa.Schema
    rows: Rows
    is_known: Callable[[Row, Row], bool]


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
        """Return what a file says.

        Raises
        ------
        FileAccessError
            It is no index, or one of a newer version.
        """
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


class Folder:
    """A folder with dated rows.

    Parameters
    ----------
    path
        An empty folder, or one that was filled by this class.

    Raises
    ------
    FileAccessError
        There is no such folder, or it holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._rows: dict[str, Rows] = {}
        self._lock = threading.Lock()
        if not self.path.is_dir():
            raise FileAccessError(str(self.path), "no such folder; make an empty one to begin a store")
        self.index()

    def index(self) -> Index:
        """Return what the folder holds now."""
        path = self.path / INDEX
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            others = [each.name for each in self.path.iterdir() if not each.name.startswith(".")]
            if INDEX in others:  # begun a moment ago
                return self.index()
            if others:
                raise FileAccessError(
                    str(self.path), f"holds {min(others)} and no {INDEX}; name an empty folder, or one of Prometheus"
                ) from None
            return Index()
        except OSError as error:
            raise FileAccessError(str(path), f"cannot be read ({reason_of(error)})") from error
        return Index.of_bytes(content, path)

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
        """Store rows of some series together, whole or not at all; return how many were new or changed."""
        with self._writing() as index:
            files, n_changed = dict(index.series), 0
            for each in series:
                name = files.get(each.key)
                stored = {} if name is None else self._kept(name)
                fresh = {
                    day: row
                    for day, row in each.rows.items()
                    if day not in stored or not each.is_known(stored[day], row)
                }
                if fresh:
                    n_changed += len(fresh)
                    files[each.key] = self._add(each.key, each.columns, {**stored, **fresh})
            if n_changed:
                self._replace_index(replace(index, series=files))
        return n_changed

    def add_model(self, model_id: str, meaning: Meaning) -> Meaning:
        """Record what a model id means unless it is recorded already; return what it means."""
        stored = self.index().models.get(model_id)
        if stored is not None:
            return stored
        with self._writing() as index:
            if model_id not in index.models:
                self._replace_index(replace(index, models={**index.models, model_id: meaning}))
        return self.index().models[model_id]

    @contextmanager
    def _writing(self) -> Iterator[Index]:
        """Yield the index while no other process and no other thread writes."""
        try:
            with (self.path / LOCK).open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (self.path / INDEX).exists():
                    self.index()
                    self._replace_index(Index())
                yield self.index()
        except FileAccessError:
            raise
        except OSError as error:
            raise FileAccessError(str(self.path), f"cannot be written ({reason_of(error)})") from error

    def _add(self, key: SeriesKey, columns: pa.Schema, rows: Rows) -> str:
        days = sorted(rows)
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
        """Return the rows of a file, which is read once.

        Raises
        ------
        FileAccessError
            Its content is another one than was written.
        """
        with self._lock:
            known = self._rows.get(name)
        if known is not None:
            return known
        path = self.path / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FileAccessError(str(path), f"cannot be read ({reason_of(error)})") from error
        if not name.endswith(f"_{_digest(content)}.parquet"):
            raise FileAccessError(str(path), "is truncated or was changed; restore it from a copy")
        table = pq.read_table(io.BytesIO(content))
        columns = [column.to_pylist() for column in table.columns]
        rows = dict(zip(columns[0], zip(*columns[1:], strict=True), strict=True))
        with self._lock:
            self._rows[name] = rows
        return rows

    def _kept(self, name: str) -> Rows:
        """Return the rows of a file under the lock of writers, so that one that is missing was lost."""
        try:
            return self._read(name)
        except FileNotFoundError as error:
            raise FileAccessError(str(self.path / name), "is missing; restore it from a copy") from error

    def _replace_index(self, index: Index) -> None:
        """Let the folder hold something else, in one step; what no index names any more is removed."""
        self._settle()
        self._put(INDEX, index.to_bytes())
        self._settle()
        current = set(index.series.values())
        with self._lock:
            self._rows = {name: rows for name, rows in self._rows.items() if name in current}
        for path in self.path.iterdir():
            is_ours = path.name.startswith(_BEGINNING) or _OURS.search(path.name)
            if is_ours and path.name not in current:
                path.unlink(missing_ok=True)

    def _put(self, name: str, content: bytes) -> None:
        beginning = self.path / f"{_BEGINNING}{name}"
        with beginning.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beginning.replace(self.path / name)

    def _settle(self) -> None:
        """Let names given until now outlast a loss of power."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
