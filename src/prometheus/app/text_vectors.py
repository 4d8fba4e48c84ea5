"""Vectors of texts and of their passages for searches: in memory, and after a write only what is new is read."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.ranking import CompactRows, cosines, directions
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
Rows: TypeAlias = Float32Matrix | CompactRows
Form: TypeAlias = Literal["exact", "compact", "none"]
VectorKey: TypeAlias = tuple[TextSourceType, str, VectorsOfTexts]
_MOST_TABLES_OF_DATES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The cosines of some vectors, and where their texts stand among those known, both shape (n,)."""

    places: Int64Vector
    cosines: Float64Vector


class VectorsTable:
    """The vectors of one source by one model, of texts or of passages, at unit length, in blocks."""

    def __init__(self, stored: StoredVectors, key: VectorKey, most_bytes: int) -> None:
        self._stored, self.key, self._most_bytes = stored, key, most_bytes

    def written(self) -> NDArray[Any]:
        """Return which vectors are stored."""
        return self._stored.written(*self.key)

    def form(self, n_rows: int) -> Form:
        """Return how so many vectors are kept: at full length, at a quarter, or not, and read for each search."""
        if n_rows <= MOST_EXACT:
            return "exact"
        return "compact" if n_rows * (self._stored.dim(*self.key) or 0) <= self._most_bytes else "none"

    def read(self, text_ids: Sequence[int] | None, form: str) -> tuple[NDArray[Any], list[Rows]]:
        """Return whose vectors there are, and the vectors, block by block."""
        rows, blocks = [np.empty(0, WRITTEN)], []
        if form == "none":
            return self.written(), []
        for found, vectors in self.pages(text_ids):
            rows.append(found)
            blocks.append(CompactRows.of(vectors) if form == "compact" else vectors)
        return np.concatenate(rows), blocks

    def pages(self, text_ids: Sequence[int] | None = None) -> Iterator[tuple[NDArray[Any], Float32Matrix]]:
        """Yield vectors at unit length and whose they are, block by block, read now."""
        for page in self._stored.pages(*self.key, text_ids):
            vectors = unpack_vectors(page["vector"], page["vector"].dtype.itemsize // 4)
            yield page[[name for name, _ in WRITTEN]], directions(vectors)


class TextVectors:
    """Reads vectors once for many searches; several threads may ask."""

    def __init__(self, wired: Wiring) -> None:
        self._stored = StoredVectors(wired.db_manager)
        self._most_bytes = wired.config.search_memory_mib << 20
        self._kept: dict[VectorKey, tuple[VectorsTable, KeptRows[list[Rows]]]] = {}
        self._of_dates: Cache[list[tuple[Int64Vector, Float32Matrix]]] = Cache(_MOST_TABLES_OF_DATES)
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
            blocks: Iterator[tuple[Int64Vector, Rows]] = iter(self._known_blocks(table, known, mark))
        elif form == "none":
            blocks = (
                (known.positions_of(key[0], rows["text_id"]), CompactRows.of(vectors))
                for rows, vectors in table.pages()
            )
        else:
            blocks = _blocks(parts, places)
        return [_compared(at, rows, vector) for at, rows in blocks], is_exact

    def _known_blocks(
        self, table: VectorsTable, known: KnownTexts, mark: tuple[str, ...]
    ) -> list[tuple[Int64Vector, Float32Matrix]]:
        """Return the vectors of a date that has few, of a table that has many; those of the last dates are kept."""

        def read() -> list[tuple[Int64Vector, Float32Matrix]]:
            found = []
            for rows, vectors in table.pages():
                at = known.positions_of(table.key[0], rows["text_id"])
                if (at >= 0).any():
                    found.append((at[at >= 0], vectors[at >= 0]))
            return found

        return self._of_dates.get((mark, table.key, known.digest), read)


def _blocks(parts: Sequence[Part[list[Rows]]], places: Sequence[Int64Vector]) -> Iterator[tuple[Int64Vector, Rows]]:
    for part, at in zip(parts, places, strict=True):
        first = 0
        for rows in part.held:
            yield at[first : first + len(rows)], rows
            first += len(rows)


def _compared(places: Int64Vector, rows: Rows, vector: Float32Vector) -> Compared:
    is_known = places >= 0
    n_known = int(is_known.sum())
    if 2 * n_known < len(rows):  # of a past date, most are not known
        places, rows = places[is_known], rows[np.flatnonzero(is_known)]
        is_known = np.ones(n_known, dtype=bool)
    found = rows.cosines(vector) if isinstance(rows, CompactRows) else cosines(rows, vector)
    return Compared(places, found) if n_known == len(places) else Compared(places[is_known], found[is_known])
