"""Vectors of texts and of their passages for searches: in memory, for as long as nothing is written."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.ranking import directions
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float32Matrix, Int64Vector
from prometheus.encoders.texts.documents import TextSelection

MOST_BYTES = 1 << 28
"""Of the vectors kept of one kind of texts by one model: 174,000 of 384 values. More are read for each search."""


@dataclass(frozen=True, slots=True, eq=False)
class VectorPage:
    """Some vectors at unit length, shape (n, dim), and whose: of texts, or of passages, those of a text in a row."""

    text_ids: Int64Vector
    vectors: Float32Matrix

    @classmethod
    def of(cls, rows: NDArray[Any]) -> VectorPage:
        """Return the rows of a reader of vectors as a page."""
        vectors = np.ascontiguousarray(rows["vector"]).view("<f4").reshape(len(rows), -1)
        return cls(np.ascontiguousarray(rows["text_id"]), directions(vectors))


@dataclass(frozen=True, slots=True, eq=False)
class KeptPages:
    """All vectors of one kind of texts by one model, and the mark of what was stored; None: too many to keep."""

    mark: tuple[str, ...]
    pages: Sequence[VectorPage] | None


class TextVectors:
    """Reads vectors once for many searches; several threads may ask."""

    def __init__(self, wired: Wiring) -> None:
        self._databases, self._reader = wired.db_manager, wired.daily_texts
        self._kept: dict[tuple[str, str], KeptPages] = {}
        self._lock = threading.Lock()

    def pages(self, wanted: TextSelection, as_of: date) -> Iterator[VectorPage]:
        """Yield the vectors of texts, then of passages; where they are kept, of texts that became known later, too."""
        kept = self._current(wanted)
        return self._read(wanted, as_of) if kept.pages is None else iter(kept.pages)

    def _current(self, wanted: TextSelection) -> KeptPages:
        mark, key = self._databases.visible_state(), (wanted.source, wanted.model_id)
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept.mark != mark:
                self._kept.pop(key, None)
                kept = self._kept[key] = KeptPages(mark, self._all(wanted))
            return kept

    def _all(self, wanted: TextSelection) -> list[VectorPage] | None:
        every = replace(wanted, known_by=date.max, every_version=True)
        pages, n_bytes = [], 0
        for page in self._read(every, date.max):
            pages.append(page)
            n_bytes += page.vectors.nbytes
            if n_bytes > MOST_BYTES:
                return None
        return pages

    def _read(self, wanted: TextSelection, until: date) -> Iterator[VectorPage]:
        readers = (self._reader.iter_rows, self._reader.iter_passages)
        return map(VectorPage.of, chain.from_iterable(read(wanted, date.min, until) for read in readers))
