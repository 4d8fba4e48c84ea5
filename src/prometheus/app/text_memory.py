"""The words of all texts in the memory of a process that asks often, as true as the tables they come from."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.words import WordIndex
from prometheus.arrays import Int64Vector
from prometheus.data.words import WRITTEN, TextWords
from prometheus.encoders.texts.documents import TextSourceType

logger = logging.getLogger(__name__)

MOST_PARTS = 8
_ROWS = np.dtype([*WRITTEN, ("configuration", "i2")])


class _Part:
    """Texts read at one time: by number in `index` what is stored of each, and whether it still is."""

    def __init__(self, table: TextWords, source_type: TextSourceType, text_ids: Sequence[int] | None = None) -> None:
        rows = [np.empty(0, _ROWS)]

        def pages() -> Iterator[tuple[list[Any], list[Any]]]:
            for page in table.pages(source_type, text_ids):
                rows.append(np.array([row[:3] for row in page], _ROWS))
                yield [row[3] for row in page], [row[4] for row in page]

        self.index = WordIndex(pages())
        self.rows = np.concatenate(rows)
        self.is_alive = np.ones(len(self.rows), dtype=bool)

    def keep_alive(self, written: NDArray[Any]) -> Int64Vector:
        """Note which texts are still written as they were read; return their places among those written, by id."""
        at = np.searchsorted(written["text_id"], self.rows["text_id"])
        is_alive = at < len(written)
        is_alive[is_alive] = _is_same(written[at[is_alive]], self.rows[is_alive])
        self.is_alive = is_alive
        return at[is_alive]


class KeptWords:
    """The words of the texts of one source, read once; later what was written since is read, and what is gone dropped.

    `visible_state` returns a mark that changes whenever something was written anywhere: while it is equal, nothing is
    asked of the table.
    """

    def __init__(
        self, table: TextWords, source_type: TextSourceType, visible_state: Callable[[], tuple[str, ...]]
    ) -> None:
        self._table, self._source_type, self._visible_state = table, source_type, visible_state
        self._parts: list[_Part] = []
        self._seen: tuple[str, ...] | None = None
        self._lock = threading.Lock()

    def texts_with(self, configuration: int, stem: str) -> tuple[Int64Vector, Int64Vector]:
        """Return the texts of a configuration that have a stem, and how often; as of the last `refresh`."""
        found = [_alive(part, configuration, *part.index.texts_with(stem)) for part in self._parts]
        ids, counts = zip(*found, strict=True)
        return np.concatenate(ids), np.concatenate(counts)

    def refresh(self) -> None:
        """Bring the memory in step with the table."""
        with self._lock:
            state = self._visible_state()
            if state != self._seen:
                self._parts = self._parts_now()
                self._seen = state

    def _parts_now(self) -> list[_Part]:
        if self._parts:
            written = self._table.written(self._source_type)
            is_read = np.zeros(len(written), dtype=bool)
            for part in self._parts:
                is_read[part.keep_alive(written)] = True
            unread = written["text_id"][~is_read].tolist()
            if not unread:
                return self._parts
            if len(self._parts) < MOST_PARTS and 2 * len(unread) < len(written):
                return [*self._parts, _Part(self._table, self._source_type, unread)]
        whole = _Part(self._table, self._source_type)
        size = whole.index.n_bytes / 2**20
        logger.info("the words of %d %s texts are kept in memory, %.0f MiB", len(whole.rows), self._source_type, size)
        return [whole]


def _is_same(some: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether rows are of the same text, written by the same transaction."""
    same: NDArray[np.bool_] = (some["text_id"] == others["text_id"]) & (some["transaction"] == others["transaction"])
    return same


def _alive(part: _Part, configuration: int, texts: NDArray[Any], counts: NDArray[Any]) -> tuple[Any, Any]:
    wanted = part.is_alive[texts] & (part.rows["configuration"][texts] == configuration)
    return part.rows["text_id"][texts[wanted]], counts[wanted].astype(np.int64)
