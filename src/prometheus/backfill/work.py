"""What the engines and the several kinds of backfill agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from prometheus.errors import PrometheusError
from prometheus.protocols import Claims

Progress = Callable[[int, int | None], None]
"""Receives how many units are done, and of how many."""


class Chunk(Protocol):
    """A piece of a backfill: keys that say what is wanted, small enough to be sent to another machine."""

    @property
    def key(self) -> str:
        """A name that is the same in every run that wants the same."""

    @property
    def n_items(self) -> int:
        """How far the progress moves when it is done."""

    def halves(self) -> Sequence[Chunk]:
        """Return smaller chunks, or none where it cannot be divided: so the item that kills workers is found."""


ChunkT = TypeVar("ChunkT", bound=Chunk)
ChunkT_contra = TypeVar("ChunkT_contra", bound=Chunk, contravariant=True)
ReportT = TypeVar("ReportT")
ReportT_contra = TypeVar("ReportT_contra", contravariant=True)
ReportT_co = TypeVar("ReportT_co", covariant=True)


class Listener(Protocol[ChunkT_contra, ReportT_contra]):
    """Hears what becomes of each chunk, in the thread that runs the engine."""

    def done(self, chunk: ChunkT_contra, report: ReportT_contra, /) -> None:
        """Hear that a chunk is done, and what came of it."""

    def failed(self, chunk: ChunkT_contra, error: PrometheusError, /) -> None:
        """Hear that a chunk, which cannot be divided, cannot be done."""


class ChunkWork(Protocol[ChunkT_contra, ReportT_co]):
    """The steps of one kind of backfill; what one step returns goes into the next.

    The rows of a chunk depend on its keys and on the database alone: neither on how a range was cut, nor on the order,
    nor on who does it. `read` and `encode` run in another thread than `write`, one chunk ahead of it.
    """

    def read(self, chunk: ChunkT_contra, /) -> Any:
        """Return what is wanted, how much of it is missing, and the inputs of that; nothing is written."""

    def count(self, wanted: Any, /) -> ReportT_co:
        """Return what `write` would report, for a dry run."""

    def encode(self, wanted: Any, /) -> Any:
        """Return the missing rows; no database is asked."""

    def write(self, encoded: Any, /) -> ReportT_co:
        """Store the rows, in one transaction for each database that takes some."""


class NoClaims:
    """For a run of one chunk: whoever else does the same chunk loses no more than that."""

    def try_claim(self, _key: str, /) -> bool:
        """Say yes."""
        return True

    def wait_for(self, _key: str, /) -> None:
        """Do nothing."""

    def release(self, _key: str, /) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class OpenedWork:
    """The steps over open connections, and the claims of the one who does them."""

    work: ChunkWork[Any, Any]
    claims: Claims


class WorkFactory(Protocol):
    """Opens the connections and models of a backfill; it is sent to every process that works on it."""

    def open(self, n_processes: int, /) -> AbstractContextManager[OpenedWork]:
        """Yield the work, for one of so many processes that share this machine's cores."""


class Engine(Protocol):
    """Does chunks: in this process, in several, or on a cluster."""

    def run(self, factory: WorkFactory, chunks: Sequence[ChunkT], listener: Listener[ChunkT, Any]) -> None:
        """Do every chunk, in any order.

        Raises
        ------
        PrometheusError
            What stops the whole run; what concerns one item stands in the reports.
        """
