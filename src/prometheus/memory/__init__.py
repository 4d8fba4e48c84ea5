"""Bars, vectors, states, texts and model registry in dicts: the stores that need no database.

They answer as PostgreSQL's do: the same bytes, errors, order and counts of rows written (``tests/contract``). Nothing
is kept when the process ends. Rows are dated by a counter, not by a clock, so two equal runs leave equal stores.
"""

from __future__ import annotations

from prometheus.memory.sources import DatedText, MemoryBars, MemoryTexts
from prometheus.memory.states import MemoryStates
from prometheus.memory.vectors import Ledger, MemoryJointStore, MemoryNumericStore, MemoryRegistry, MemoryTextStore

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
    """All stores of one place, with one registry of models and one order of writes."""

    def __init__(self) -> None:
        ledger = Ledger()
        self.registry = MemoryRegistry()
        self.bars = MemoryBars()
        self.numeric = MemoryNumericStore(self.registry)
        self.texts = MemoryTextStore(self.registry)
        self.joint = MemoryJointStore(self.registry, ledger)
        self.states = MemoryStates(ledger=ledger)
