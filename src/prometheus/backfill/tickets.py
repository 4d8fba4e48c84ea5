"""What becomes of a chunk whose workers die, whoever they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from prometheus.backfill.work import ChunkT

DEATHS_BEFORE_HALVING = 2


@dataclass(frozen=True, slots=True)
class Ticket(Generic[ChunkT]):
    """A chunk, and how many workers died while they had it."""

    chunk: ChunkT
    n_deaths: int = 0

    @property
    def is_suspect(self) -> bool:
        """Whether a worker died with it: the next one is given nothing else, so that only the culprit's dies again."""
        return self.n_deaths > 0

    def after_death(self) -> tuple[Ticket[ChunkT], ...]:
        """Return what to do now that one more worker died with it: again, its halves, or nothing when it is hopeless.

        A chunk that cannot be divided is tried once more, as its worker may have died of something else.
        """
        n_deaths = self.n_deaths + 1
        if n_deaths < DEATHS_BEFORE_HALVING:
            return (replace(self, n_deaths=n_deaths),)
        parts: Sequence[Any] = self.chunk.halves()
        if parts:
            return tuple(Ticket(part, DEATHS_BEFORE_HALVING - 1) for part in parts)
        return (replace(self, n_deaths=n_deaths),) if n_deaths == DEATHS_BEFORE_HALVING else ()
