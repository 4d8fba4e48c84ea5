"""Series of rows, which the stores are made of: kept in dicts here, in files by `prometheus.files.folder_stores`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import eq
from typing import Any, TypeAlias

Row: TypeAlias = tuple[Any, ...]
Rows: TypeAlias = Mapping[Any, Row]
"""Rows by date, or by another key; ascending where they come from a place."""
SeriesKey: TypeAlias = tuple[str | int, ...]
"""What kind of rows, and whose."""
Meaning: TypeAlias = tuple[str, str, dict[str, Any]]
"""Kind, fingerprint and configuration of a model."""

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SeriesWrite:
    """A change of one series; `is_known` tells whether a stored row says all of a new one, which is then left out."""

    key: SeriesKey
    rows: Rows
    is_known: Callable[[Row, Row], bool] = eq
    dropped: frozenset[Any] = frozenset()

    def on(self, stored: Rows) -> tuple[dict[Any, Row], int]:
        """Return the series with the change made, by key, and how many rows are new, changed or gone."""
        fresh = {key: row for key, row in self.rows.items() if key not in stored or not self.is_known(stored[key], row)}
        rows = {key: row for key, row in sorted({**stored, **fresh}.items()) if key not in self.dropped}
        return rows, len(fresh) + len(self.dropped & stored.keys())


class Place:
    """Where series are kept, and what model ids mean: dicts, unless a subclass keeps them elsewhere.

    In dicts rows are dated by a counter, not by a clock, so two equal runs leave equal series.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_writes = 0
        self.series: dict[SeriesKey, Rows] = {}
        self.models: dict[str, Meaning] = {}

    def keys(self, kind: str) -> list[SeriesKey]:
        """Return the series of a kind, sorted."""
        return sorted(key for key in list(self.series) if key[0] == kind)

    def rows(self, *key: str | int) -> Rows:
        """Return a series as it is now, which a later write does not change; empty if not stored."""
        return self.series.get(key, {})

    def write(self, *series: SeriesWrite) -> int:
        """Change some series together, wholly or not at all; return how many rows are new, changed or gone."""
        n_changed = 0
        with self._lock:
            for each in series:
                rows, n_different = each.on(self.series.get(each.key, {}))
                n_changed += n_different
                if rows:
                    self.series[each.key] = rows
                else:
                    self.series.pop(each.key, None)
        return n_changed

    def now(self) -> datetime:
        """Return the instant that rows written now are dated with."""
        with self._lock:
            self._n_writes += 1
            return _EPOCH + timedelta(microseconds=self._n_writes)

    def meaning_of(self, model_id: str) -> Meaning | None:
        """Return what a model id means; None if not recorded."""
        return self.models.get(model_id)

    def add_model(self, model_id: str, meaning: Meaning) -> Meaning:
        """Record what a model id means unless it is recorded already; return what it means."""
        with self._lock:
            return self.models.setdefault(model_id, meaning)
