"""The texts known on a date, as columns, with what searches derive from them once."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.words import Collection
from prometheus.arrays import DateVector, Int64Vector
from prometheus.encoders.texts.documents import TextSourceType


@dataclass(frozen=True, eq=False)
class KnownTexts:
    """The n texts known on a date, by kind and id, and which of them may be found; all columns of shape (n,).

    `spans` are the first place of each kind and the one after its last; `configurations` how words are stemmed, by
    number. Nobody writes to the columns. `places` hold what was looked up for parts of memory, for as long as these
    live.
    """

    spans: Mapping[TextSourceType, tuple[int, int]]
    text_ids: Int64Vector
    days: DateVector
    configurations: NDArray[np.int16]
    n_words: Int64Vector
    is_wanted: NDArray[np.bool_]
    places: WeakKeyDictionary[Any, Any] = field(default_factory=WeakKeyDictionary)

    @classmethod
    def of(cls, parts: Mapping[TextSourceType, NDArray[Any]]) -> KnownTexts:
        """Join the rows of some kinds, each by id, as `data.words.FOUND` describes them; the kinds in order."""
        ends = np.cumsum([len(rows) for rows in parts.values()]).tolist()
        spans = {kind: (end - len(rows), end) for (kind, rows), end in zip(parts.items(), ends, strict=True)}
        names = ("text_id", "day", "configuration", "n_words", "is_wanted")
        text_ids, days, configurations, n_words, is_wanted = (
            np.concatenate([rows[name] for rows in parts.values()]) for name in names
        )
        for column in (text_ids, days, configurations, n_words, is_wanted):
            column.setflags(write=False)
        return cls(spans, text_ids, days, configurations, n_words, is_wanted)

    def __len__(self) -> int:
        return len(self.text_ids)

    def is_same(self, other: KnownTexts) -> bool:
        """Return whether both say the same."""
        return self.spans == other.spans and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("text_ids", "days", "configurations", "n_words", "is_wanted")
        )

    @property
    def kinds(self) -> list[TextSourceType]:
        """The kinds of text that there are, in order."""
        return [kind for kind, (first, last) in self.spans.items() if first < last]

    def kind_at(self, position: int) -> TextSourceType:
        """Return the kind of the text at a position."""
        return next(kind for kind, (first, last) in self.spans.items() if first <= position < last)

    def of_kind(self, kind: TextSourceType, among: Int64Vector | None = None) -> NDArray[np.bool_]:
        """Return whether each text is of a kind, shape (n,), or each of those at the positions given."""
        first, last = self.spans.get(kind, (0, 0))
        at = np.arange(len(self)) if among is None else among
        is_of: NDArray[np.bool_] = (at >= first) & (at < last)
        return is_of

    def positions_of(self, kind: TextSourceType, text_ids: Int64Vector) -> Int64Vector:
        """Return where some texts stand, shape of `text_ids`; -1 for one that is not known."""
        first, last = self.spans.get(kind, (0, 0))
        ids = self.text_ids[first:last]
        at = np.searchsorted(ids, text_ids)
        found = np.full(len(text_ids), -1)
        inside = np.flatnonzero(at < len(ids))
        inside = inside[ids[at[inside]] == text_ids[inside]]
        found[inside] = first + at[inside]
        return found

    def position_of(self, kind: TextSourceType, text_id: int) -> int | None:
        """Return where a text stands; None if it is not known."""
        first, last = self.spans.get(kind, (0, 0))
        at = bisect_left(self.text_ids, text_id, first, last)
        return at if at < last and self.text_ids[at] == text_id else None

    @cached_property
    def numbers(self) -> list[int]:
        """The numbers of the configurations that there are."""
        found: list[int] = np.unique(self.configurations).tolist()
        return found

    @cached_property
    def collections(self) -> dict[int, Collection]:
        """The texts of each configuration as a collection."""
        found = {}
        for number in self.numbers:
            lengths = self.n_words[self.configurations == number]
            found[number] = Collection(len(lengths), int(lengths.sum()))
        return found

    @cached_property
    def commonest(self) -> int:
        """The configuration of most texts, of equal ones the first."""
        return int(np.bincount(self.configurations).argmax())

    @cached_property
    def digest(self) -> bytes:
        """Stands for the texts and how they are stemmed, whichever of them may be found."""
        found = hashlib.blake2b(repr(sorted(self.spans.items())).encode())
        for column in (self.text_ids, self.configurations, self.n_words):
            found.update(column.data)
        return found.digest()


def kinds_of(known: KnownTexts, positions: Sequence[int] | Int64Vector) -> list[TextSourceType]:
    """Return the kinds that some of the texts are of, in order."""
    return [kind for kind in known.kinds if known.of_kind(kind, np.asarray(positions)).any()]
