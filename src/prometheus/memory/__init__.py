"""Bars, vectors, states, texts and model registry in dicts: the stores that need no database.

They answer as PostgreSQL's do: the same bytes, errors, order and counts of rows written (``tests/contract``). Nothing
is kept when the process ends.
"""

from __future__ import annotations

from prometheus.memory.series import Place
from prometheus.memory.sources import DatedText, MemoryBars, MemoryTexts
from prometheus.memory.stores import (
    MemoryJointStore,
    MemoryNumericStore,
    MemoryRegistry,
    MemoryStates,
    MemoryTextStore,
)

__all__ = [
    "DatedText",
    "Memory",
    "MemoryBars",
    "MemoryJointStore",
    "MemoryNumericStore",
    "MemoryRegistry",
    "MemoryStates",
    "MemoryTextStore",
    "MemoryTexts",
]


class Memory:
    """All stores of one place, with one registry of models."""

    def __init__(self) -> None:
        self.place = Place()
        self.registry = MemoryRegistry(self.place)
        self.bars = MemoryBars()
        self.numeric = MemoryNumericStore(self.place)
        self.texts = MemoryTextStore(self.place)
        self.joint = MemoryJointStore(self.place)
        self.states = MemoryStates(place=self.place)
