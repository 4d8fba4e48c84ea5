"""A question as each model reads it: which texts are compared with which vector."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Vector, Int64Vector
from prometheus.encoders.texts.documents import TextSourceType

LanguageGroup: TypeAlias = Literal["english", "others"]
"""The texts that are stemmed as English, which those are that say no language, or all others."""
GROUPS: tuple[LanguageGroup, ...] = ("english", "others")
_ENGLISH_CONFIGURATION = 0  # the first of `prometheus.data.words.TextWords.configurations`


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A question's `vector`, shape (dim,), by one model, and which texts of a kind it is compared with.

    A `group` of None means texts of all languages.
    """

    kind: TextSourceType
    model_id: str
    group: LanguageGroup | None
    vector: Float32Vector

    def reads(self, configurations: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which texts of its kind it is compared with, by the numbers of their configurations, shape (n,)."""
        if self.group is None:
            return np.ones(len(configurations), dtype=bool)
        is_read: NDArray[np.bool_] = (configurations == _ENGLISH_CONFIGURATION) == (self.group == "english")
        return is_read


QuestionVectors: TypeAlias = Sequence[Reading]
"""No text is compared with two of them."""


def readings_of(texts: NDArray[Any], readings: QuestionVectors) -> Int64Vector:
    """Return the number of the reading that each text is compared with, shape (n,); -1 without any.

    `texts` have a ``kind``, by which they stand in order, and a ``configuration``.
    """
    numbers = np.full(len(texts), -1)
    for number, reading in enumerate(readings):
        first, last = kind_span(reading.kind, texts)
        part = slice(first, last)
        numbers[part][reading.reads(texts["configuration"][part])] = number
    return numbers


def kind_span(kind: str, texts: NDArray[Any]) -> tuple[int, int]:
    """Return where the texts of a kind begin, and where they end."""
    kinds = texts["kind"]  # not searched by numpy, which would copy the column first
    return bisect_left(kinds, kind), bisect_right(kinds, kind)
