"""A question as each model reads it: which texts are compared with which vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prometheus.app.text_known import KnownTexts
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

    def compares(self, known: KnownTexts, positions: Int64Vector) -> NDArray[np.bool_]:
        """Return which texts at some positions it is compared with, shape of these."""
        is_of_kind = known.of_kind(self.kind, positions)
        return is_of_kind if self.group is None else is_of_kind & self.reads(known.configurations[positions])


QuestionVectors: TypeAlias = Sequence[Reading]
"""No text is compared with two of them."""


def readings_of(known: KnownTexts, readings: QuestionVectors, positions: Int64Vector) -> Int64Vector:
    """Return the number of the reading that each text at some positions is compared with, their shape; -1 for none."""
    numbers = np.full(len(positions), -1)
    for number, reading in enumerate(readings):
        numbers[reading.compares(known, positions)] = number
    return numbers
