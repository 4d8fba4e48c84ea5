"""Vectors of texts and of their passages for searches: in memory, and after a write only what is new is read."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.ranking import cosines, directions
from prometheus.analogs.sound import unsound_rows, warn_left_out
from prometheus.analogs.unit_rows import CompactRows, ExactRows, UnitRows
from prometheus.app.caches import Cache
from prometheus.app.text_known import KnownTexts
from prometheus.app.text_memory import KeptRows, Part
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float32Matrix, Float32Vector, Float64Vector, Int64Vector
from prometheus.data.postgres.binary_copy import unpack_vectors
from prometheus.data.vectors.kept import StoredVectors
from prometheus.data.vectors.texts import VectorsOfTexts
from prometheus.data.words import WRITTEN
from prometheus.encoders.texts.documents import TextSourceType

MOST_EXACT = 200_000
"""Of the vectors known on a date that are compared at full length; of more, each is compared by `CompactRows` first.

The texts known decide, not what a process has room for: an answer does not depend on what was written later.
"""
Form: TypeAlias = Literal["exact", "compact", "none"]
VectorKey: TypeAlias = tuple[TextSourceType, str, VectorsOfTexts]
_MOST_TABLES_OF_DATES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The cosines of some vectors, and where their texts stand among those known, both shape (n,).

    No two of them are of one text if each is one of its own.
    """

    places: Int64Vector
    cosines: Float64Vector
    is_one_each: bool


class VectorsTable:
    """The vectors of one source by one model, of texts or of passages, at unit length, in blocks."""

    def __init__(self, stored: StoredVectors, key: VectorKey, most_bytes: int) -> None:
        self._stored, self.key, self._most_bytes = stored, key, most_bytes
        self._n_written = 0

    def written(self) -> NDArray[Any]:
        """Return which vectors are stored."""
        found = self._stored.written(*self.key)
        self._n_written = len(found)
        return found

    def form(self, n_rows: int) -> Form:
        """Return how this number of vectors is kept: at full length, at a quarter, or not, and read for each search."""
        if n_rows <= MOST_EXACT:
            return "exact"
        return "compact" if n_rows * (self._stored.dim(*self.key) or 0) <= self._most_bytes else "none"

    def read(self, text_ids: Sequence[int] | None, form: str) -> tuple[NDArray[Any], list[UnitRows]]:
        """Return whose vectors there are, and the vectors, block by block.

        All vectors fill one block that is made before any is read, so that no gaps are left in the memory between.
        """
        if form == "none":
            return self.written(), []
        rows, room = [np.empty(0, WRITTEN)], _Room(form, self._n_written if text_ids is None else 0)
        for found, vectors in self.pages(text_ids):
            rows.append(found)
            room.put(vectors)
        return np.concatenate(rows), room.closed()

    def pages(self, text_ids: Sequence[int] | None = None) -> Iterator[tuple[NDArray[Any], Float32Matrix]]:
        """Yield vectors at unit length and whose they are, block by block, read now.

        One that cannot be compared is NaN, which no search counts; one warning names them after the last block.
        """
        left_out: list[str] = []
        for page in self._stored.pages(*self.key, text_ids):
            vectors = unpack_vectors(page["vector"], page["vector"].dtype.itemsize // 4)
            rows = np.empty(len(page), WRITTEN)  # a selection of columns would keep the whole page
            for name, _ in WRITTEN:
                rows[name] = page[name]
            is_bad = unsound_rows(vectors)
            if is_bad is not None:
                vectors = np.where(is_bad[:, np.newaxis], np.float32(0.0), vectors)
            units = directions(vectors)
            if is_bad is not None:
                units[is_bad] = np.nan
                left_out += [f"{self.key[0]} {text_id}" for text_id in rows["text_id"][is_bad].tolist()]
            yield rows, units
        if text_ids is None:  # of some, a search of all has named them
            warn_left_out(f"{self.key[2]} of {self.key[1]}", sorted(left_out))


class _Room:
    """One block for the vectors that are expected; what does not fit comes in further ones."""

    def __init__(self, form: str, n_expected: int) -> None:
        self._rows_of: type[UnitRows] = ExactRows if form == "exact" else CompactRows
        self._n_expected, self._n_filled = n_expected, 0
        self.blocks: list[UnitRows] = []

    def put(self, vectors: Float32Matrix) -> None:
        """Put in some vectors."""
        n_rows, dim = vectors.shape
        if not self.blocks or self._n_filled + n_rows > len(self.blocks[-1]):
            self._close()
            self.blocks.append(self._rows_of.empty(max(n_rows, self._n_expected), dim))
            self._n_expected = self._n_filled = 0
        self.blocks[-1].put(self._n_filled, vectors)
        self._n_filled += n_rows

    def closed(self) -> list[UnitRows]:
        """Return the blocks, each as far as it is filled."""
        self._close()
        return self.blocks

    def _close(self) -> None:
        if self.blocks:
            self.blocks[-1] = self.blocks[-1][: self._n_filled]


class TextVectors:
    """Reads vectors once for many searches; several threads may ask."""

    def __init__(self, wired: Wiring) -> None:
        self._stored = StoredVectors(wired.db_manager)
        self._most_bytes = wired.config.search_memory_mib << 20
        self._kept: dict[VectorKey, tuple[VectorsTable, KeptRows[list[UnitRows]]]] = {}
        self._of_dates: Cache[list[tuple[Int64Vector, UnitRows]]] = Cache(_MOST_TABLES_OF_DATES)
        self._lock = threading.Lock()

    def compare(
        self, key: VectorKey, vector: Float32Vector, known: KnownTexts, mark: tuple[str, ...]
    ) -> tuple[list[Compared], bool]:
        """Return the cosine of each vector whose text is known, in [-1, 1], and whether they are exact.

        `mark` says what was stored when the question came, see `KeptRows.refresh`.
        """
        with self._lock:
            if key not in self._kept:
                table = VectorsTable(self._stored, key, self._most_bytes)
                self._kept[key] = table, KeptRows(table)
        table, kept = self._kept[key]
        parts = kept.refresh(mark)
        places = [part.places(key[0], known) for part in parts]
        is_exact = sum(int((each >= 0).sum()) for each in places) <= MOST_EXACT
        form = parts[0].form
        if is_exact and form != "exact":
            blocks: Iterator[tuple[Int64Vector, UnitRows]] = iter(self._known_blocks(table, known, mark))
        elif form == "none":
            blocks = ((known.positions_of(key[0], rows["text_id"]), _compact(found)) for rows, found in table.pages())
        else:
            blocks = _blocks(parts, places)
        is_one_each = key[2] == "text_embeddings"
        return [_compared(at, rows, vector, is_one_each=is_one_each) for at, rows in blocks], is_exact

    def compare_some(
        self, key: VectorKey, vector: Float32Vector, known: KnownTexts, text_ids: Sequence[int]
    ) -> list[Compared]:
        """Return the cosines of the vectors of some texts, read now."""
        pages = VectorsTable(self._stored, key, 0).pages(text_ids) if text_ids else ()
        return [
            Compared(known.positions_of(key[0], rows["text_id"]), cosines(vectors, vector), is_one_each=False)
            for rows, vectors in pages
        ]

    def _known_blocks(
        self, table: VectorsTable, known: KnownTexts, mark: tuple[str, ...]
    ) -> list[tuple[Int64Vector, UnitRows]]:
        """Return the vectors of a date that has few, of a table that has many; those of the last dates are kept."""

        def read() -> list[tuple[Int64Vector, UnitRows]]:
            found: list[tuple[Int64Vector, UnitRows]] = []
            for rows, vectors in table.pages():
                at = known.positions_of(table.key[0], rows["text_id"])
                if (at >= 0).any():
                    found.append((at[at >= 0], ExactRows(vectors[at >= 0])))
            return found

        return self._of_dates.get((mark, table.key, known.digest), read)


def _compact(vectors: Float32Matrix) -> CompactRows:
    rows = CompactRows.empty(*vectors.shape)
    rows.put(0, vectors)
    return rows


def _blocks(
    parts: Sequence[Part[list[UnitRows]]], places: Sequence[Int64Vector]
) -> Iterator[tuple[Int64Vector, UnitRows]]:
    for part, at in zip(parts, places, strict=True):
        first = 0
        for rows in part.held:
            yield at[first : first + len(rows)], rows
            first += len(rows)


def _compared(places: Int64Vector, rows: UnitRows, vector: Float32Vector, *, is_one_each: bool) -> Compared:
    is_known = places >= 0
    n_known = int(is_known.sum())
    if 8 * n_known < len(rows):  # of an early date; to copy more rows costs more than to compare all
        places, rows = places[is_known], rows[np.flatnonzero(is_known)]
        is_known = np.ones(n_known, dtype=bool)
    found = rows.cosines(vector)
    if n_known < len(places):
        places, found = places[is_known], found[is_known]
    return Compared(places, found, is_one_each)
