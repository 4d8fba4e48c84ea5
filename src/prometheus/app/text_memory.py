"""Rows of tables of texts in the memory of a process that asks often, as true as the tables they come from.

A part holds what was read at one time. Later only what was written since is read, as a further part, and what is gone
is dropped; small parts are read again as one before they become many.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.words import IntegerVector, WordIndex
from prometheus.app.text_known import KnownTexts
from prometheus.arrays import Int64Vector
from prometheus.data.words import WRITTEN, TextWords
from prometheus.encoders.texts.documents import TextSourceType

logger = logging.getLogger(__name__)

MOST_PARTS = 8
T = TypeVar("T")
Held_co = TypeVar("Held_co", covariant=True)


class KeptTable(Protocol[Held_co]):
    """Reads one table of texts: which rows it has, and what a part of memory is to hold of them."""

    def written(self) -> NDArray[Any]:
        """Return which rows there are, as `WRITTEN`, by text and position."""

    def form(self, n_rows: int) -> str:
        """Return in which form this number of rows is kept; all parts have the same."""

    def read(self, text_ids: Sequence[int] | None, form: str) -> tuple[NDArray[Any], Held_co]:
        """Return the rows of some texts, or of all, as `WRITTEN`, and what they hold in a form."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Part(Generic[T]):
    """Rows read at one time, as `WRITTEN`, what they hold in a form, and whether each still is as it was read."""

    rows: NDArray[Any]
    form: str
    held: T
    is_alive: NDArray[np.bool_]

    def still(self, is_alive: NDArray[np.bool_]) -> Part[T]:
        """Return the part with those rows alone; itself where all are there that were."""
        return self if np.array_equal(is_alive, self.is_alive) else Part(self.rows, self.form, self.held, is_alive)

    def places(self, kind: TextSourceType, known: KnownTexts) -> Int64Vector:
        """Return where the text of each row stands among those known, -1 for one that is gone or not known."""
        found: Int64Vector | None = known.places.get(self)
        if found is None:
            found = np.where(self.is_alive, known.positions_of(kind, self.rows["text_id"]), -1)
            known.places[self] = found
        return found


class KeptRows(Generic[T]):
    """The parts of one table; `refresh` brings them in step with it. Several threads may ask."""

    def __init__(self, table: KeptTable[T]) -> None:
        self._table = table
        self._parts: tuple[Part[T], ...] = ()
        self._seen: tuple[str, ...] | None = None
        self._lock = threading.Lock()

    def refresh(self, mark: tuple[str, ...]) -> tuple[Part[T], ...]:
        """Return the parts as of a mark that changes whenever something was written; while it is equal, none is read.

        The mark is taken before: what is written meanwhile is read now or changes the next one.
        """
        with self._lock:
            if mark != self._seen:
                self._parts = self._parts_now()
                self._seen = mark
            return self._parts

    def _parts_now(self) -> tuple[Part[T], ...]:
        written = self._table.written()
        form = self._table.form(len(written))
        if not self._parts or form != self._parts[0].form:
            return (self._read(None, form),)
        found = [_matches(part.rows, written) for part in self._parts]
        is_read = np.zeros(len(written), dtype=bool)
        for part, at in zip(self._parts, found, strict=True):
            is_read[at[part.is_alive & (at >= 0)]] = True
        unread = np.unique(written["text_id"][~is_read])
        # a text of which a row is new is read anew as a whole
        parts = [
            part.still(part.is_alive & (at >= 0) & ~np.isin(part.rows["text_id"], unread))
            for part, at in zip(self._parts, found, strict=True)
        ]
        if len(unread) and len(parts) == MOST_PARTS:
            small = [part.rows["text_id"][part.is_alive] for part in parts[1:]]
            parts, unread = parts[:1], np.unique(np.concatenate([unread, *small]))
        if 2 * len(unread) > len(written):
            return (self._read(None, form),)
        return (*parts, self._read(unread.tolist(), form)) if len(unread) else tuple(parts)

    def _read(self, text_ids: Sequence[int] | None, form: str) -> Part[T]:
        rows, held = self._table.read(text_ids, form)
        return Part(rows, form, held, np.ones(len(rows), dtype=bool))


def _matches(rows: NDArray[Any], written: NDArray[Any]) -> Int64Vector:
    """Return where each row is among those written by text and position, -1 where it is not there, or was rewritten.

    Positions count from 0; where one is missing, those after it are taken for rewritten.
    """
    at: Int64Vector = np.searchsorted(written["text_id"], rows["text_id"]) + rows["position"]
    inside = np.flatnonzero(at < len(written))
    found = np.full(len(rows), -1)
    is_same = np.ones(len(inside), dtype=bool)
    for name, _ in WRITTEN:
        is_same &= written[name][at[inside]] == rows[name][inside]
    found[inside[is_same]] = at[inside[is_same]]
    return found


class WordsTable:
    """The words of the texts of one source, as an index; a text goes by its place among the rows."""

    def __init__(self, table: TextWords, source_type: TextSourceType) -> None:
        self._table, self._source_type = table, source_type

    def written(self) -> NDArray[Any]:
        """Return which texts have words."""
        return self._table.written(self._source_type)

    def form(self, _n_rows: int) -> str:
        """Return the one form that there is."""
        return "index"

    def read(self, text_ids: Sequence[int] | None, _form: str) -> tuple[NDArray[Any], WordIndex]:
        """Return the texts, and the index of their words."""
        rows = [np.empty(0, WRITTEN)]

        def pages() -> Any:
            for page in self._table.pages(self._source_type, text_ids):
                own = np.zeros(len(page.rows), WRITTEN)
                for name in ("text_id", "transaction"):
                    own[name] = page.rows[name]
                rows.append(own)
                yield page.rows["n_stems"], page.stems, page.counts

        index = WordIndex(pages())
        logger.debug("the words of %s texts take %.0f MiB", self._source_type, index.n_bytes / 2**20)
        return np.concatenate(rows), index


class KeptWords:
    """The words of the texts of one source in memory."""

    def __init__(self, table: TextWords, source_type: TextSourceType) -> None:
        self._source_type = source_type
        self._kept = KeptRows(WordsTable(table, source_type))

    def reader(self, mark: tuple[str, ...], known: KnownTexts) -> Callable[[str], tuple[Int64Vector, Int64Vector]]:
        """Return what gives for a stem the positions of known texts that have it, and how often; both shape (n,)."""
        refreshed = self._kept.refresh(mark)
        parts = [(part.held, part.places(self._source_type, known)) for part in refreshed]

        def texts_with(stem: str) -> tuple[Int64Vector, Int64Vector]:
            found = [_known(places, *index.texts_with(stem)) for index, places in parts]
            at, counts = zip(*found, strict=True)
            return np.concatenate(at), np.concatenate(counts)

        return texts_with

    def digest(self, mark: tuple[str, ...], known: KnownTexts) -> bytes:
        """Stands for the words of the known texts: it changes only where one of them was written again."""
        parts = self._kept.refresh(mark)
        kept = known.places.get(self)
        if kept is None or kept[0] is not parts:
            transactions = np.zeros(len(known), np.int64)
            for part in parts:
                places = part.places(self._source_type, known)
                transactions[places[places >= 0]] = part.rows["transaction"][places >= 0]
            kept = known.places[self] = parts, hashlib.blake2b(transactions.data).digest()
        found: bytes = kept[1]
        return found


def _known(places: Int64Vector, texts: IntegerVector, counts: IntegerVector) -> tuple[Int64Vector, Int64Vector]:
    at = places[texts]
    is_known = at >= 0
    return at[is_known], counts[is_known].astype(np.int64)
