"""The interfaces of backfills and engines, and a run from its first chunk to its report."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from prometheus.backfill.plan import Skipped
from prometheus.errors import PrometheusError, worker_died
from prometheus.protocols import Claims

DEATHS_BEFORE_HALVING = 2

Progress = Callable[[int, int | None], None]
"""Receives how many units are done, and of how many."""


class Chunk(Protocol):
    """A piece of a backfill: keys of the rows wanted, small enough to send to another machine."""

    @property
    def key(self) -> str:
        """A name that is the same in every run that wants the same rows."""

    @property
    def n_items(self) -> int:
        """Progress units."""

    def halves(self) -> Sequence[Chunk]:
        """Return smaller chunks, or nothing if it is not divided: this finds the item that kills workers."""


class Report(Protocol):
    """The result of some chunks; reports of one kind add up."""

    @property
    def planned(self) -> int:
        """Rows wanted that could be computed."""

    @property
    def written(self) -> int:
        """Rows that were new or changed."""

    @property
    def n_bytes(self) -> int:
        """Of the vectors in the rows written."""

    @property
    def failures(self) -> tuple[PrometheusError, ...]:
        """One error per failed item."""

    def __add__(self, other: Self, /) -> Self:
        """Return the sum."""


ChunkT = TypeVar("ChunkT", bound=Chunk)
ChunkT_contra = TypeVar("ChunkT_contra", bound=Chunk, contravariant=True)
ReportT = TypeVar("ReportT")
ReportT_contra = TypeVar("ReportT_contra", contravariant=True)
ReportT_co = TypeVar("ReportT_co", covariant=True)
SumT = TypeVar("SumT", bound=Report)

ReportListener: TypeAlias = AbstractContextManager[Callable[[SumT], None]]
"""A context around the chunks; what it gives receives the report of each as it comes in."""


class Listener(Protocol[ChunkT_contra, ReportT_contra]):
    """Receives the result of each chunk, in the thread that runs the engine."""

    def done(self, chunk: ChunkT_contra, report: ReportT_contra, /) -> None:
        """Receive the report of a finished chunk."""

    def failed(self, chunk: ChunkT_contra, error: PrometheusError, /) -> None:
        """Receive the error of a chunk that can be neither done nor divided."""


class ChunkWork(Protocol[ChunkT_contra, ReportT_co]):
    """The steps of one kind of backfill; each step's result goes into the next.

    The rows of a chunk depend on its keys and the database alone: not on the cut of a range, the order or the engine.
    `read` and `encode` run in another thread than `write`, one chunk ahead of it.
    """

    def read(self, chunk: ChunkT_contra, /) -> Any:
        """Return the rows wanted, the number missing, and the inputs of these; nothing is written."""

    def count(self, wanted: Any, /) -> ReportT_co:
        """Return what `write` would report, for a dry run."""

    def encode(self, wanted: Any, /) -> Any:
        """Return the missing rows, without a query."""

    def write(self, encoded: Any, /) -> ReportT_co:
        """Store the rows, in one transaction per database."""


class NoClaims:
    """For a run of one chunk, which another run of it costs nothing but time."""

    def try_claim(self, _key: str, /) -> bool:
        """Return True."""
        return True

    def wait_for(self, _key: str, /) -> None:
        """Do nothing."""

    def release(self, _key: str, /) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class OpenedWork:
    """The steps over open connections, and the claims of the process."""

    work: ChunkWork[Any, Any]
    claims: Claims


class WorkFactory(Protocol):
    """Opens the connections and models of a backfill; it is sent to every worker process."""

    def open(self, n_processes: int, /) -> AbstractContextManager[OpenedWork]:
        """Yield the work, for one of `n_processes` that share this machine's cores."""


class Engine(Protocol):
    """Runs chunks: in this process, in several, or on a cluster."""

    def run(self, factory: WorkFactory, chunks: Sequence[ChunkT], listener: Listener[ChunkT, Any]) -> None:
        """Run every chunk, in any order; raise what stops the run, report what concerns one item."""


@dataclass(frozen=True, slots=True)
class Ticket(Generic[ChunkT]):
    """A chunk, and the number of workers that died with it."""

    chunk: ChunkT
    n_deaths: int = 0

    @property
    def is_suspect(self) -> bool:
        """Whether a worker died with it: the next one gets nothing else, to isolate the culprit."""
        return self.n_deaths > 0

    def after_death(self) -> tuple[Ticket[ChunkT], ...]:
        """Return the next tickets after one more death: the same, its halves, or nothing if hopeless.

        An undividable chunk is tried once more, as its worker may have died of something else.
        """
        n_deaths = self.n_deaths + 1
        if n_deaths < DEATHS_BEFORE_HALVING:
            return (replace(self, n_deaths=n_deaths),)
        parts: Sequence[Any] = self.chunk.halves()
        if parts:
            return tuple(Ticket(part, DEATHS_BEFORE_HALVING - 1) for part in parts)
        return (replace(self, n_deaths=n_deaths),) if n_deaths == DEATHS_BEFORE_HALVING else ()


class WorkerPool(Generic[ChunkT]):
    """The shared part of engines with several workers: queued tickets, and tickets whose worker died."""

    def __init__(self, chunks: Sequence[ChunkT], listener: Listener[ChunkT, Any]) -> None:
        self._queue = deque(Ticket(chunk) for chunk in chunks)
        self._listener = listener

    def _requeue(self, ticket: Ticket[ChunkT], exit_code: int | None) -> None:
        """Requeue the ticket of a dead worker, or its halves; report it if hopeless."""
        again = ticket.after_death()
        self._queue.extend(again)
        if not again:
            self._listener.failed(ticket.chunk, worker_died(ticket.chunk.key, ticket.n_deaths + 1, exit_code))


@dataclass(frozen=True, slots=True)
class BackfillRun(Generic[SumT]):
    """A finished backfill; of a dry run, `report` is the expected result.

    Attributes
    ----------
    left_out
        Chunks that no worker could do.
    estimated_seconds
        Of a dry run, at the rate of earlier runs; None without any.
    skipped
        Members of a market without rows by rule, which is no failure; None if all items were named.
    """

    report: SumT
    left_out: tuple[PrometheusError, ...]
    seconds: float
    run_id: str
    is_dry: bool = False
    estimated_seconds: float | None = None
    skipped: Skipped | None = None

    @property
    def failures(self) -> tuple[PrometheusError, ...]:
        """One error per failed item."""
        return (*self.report.failures, *self.left_out)

    @property
    def exit_code(self) -> int:
        """0, or 3 if items failed."""
        return 3 if self.failures else 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "run_id": self.run_id,
            "planned": self.report.planned,
            "written": self.report.written,
            "unchanged": self.report.planned - self.report.written,
            "failed": len(self.failures),
            "seconds": round(self.seconds, 3),
            "bytes": self.report.n_bytes,
            "failures": [str(failure) for failure in self.failures],
            **({} if self.skipped is None else {"skipped": self.skipped.to_dict()}),
            **({"dry_run": True, "estimated_seconds": self.estimated_seconds} if self.is_dry else {}),
        }


def run_backfill(
    engine: Engine,
    factory: WorkFactory,
    chunks: Sequence[Chunk],
    nothing: SumT,
    progress: Progress,
    reports_to: ReportListener[SumT] | None = None,
) -> BackfillRun[SumT]:
    """Run every chunk and add up the reports, from `nothing` on; `reports_to` receives each one meanwhile."""
    begin = time.monotonic()
    with nullcontext() if reports_to is None else reports_to as listener:
        tally: _Tally[Any, SumT] = _Tally(nothing, sum(chunk.n_items for chunk in chunks), progress, listener)
        engine.run(factory, chunks, tally)
    return BackfillRun(tally.report, tuple(tally.left_out), time.monotonic() - begin, uuid.uuid4().hex)


class _Tally(Generic[ChunkT, SumT]):
    """Adds up the reports as they come in, and moves the progress."""

    def __init__(
        self, nothing: SumT, n_items: int, progress: Progress, listener: Callable[[SumT], None] | None
    ) -> None:
        self.report = nothing
        self.left_out: list[PrometheusError] = []
        self._listener = listener
        self._n_items, self._n_done = n_items, 0
        self._progress = progress
        progress(0, n_items)

    def done(self, chunk: ChunkT, report: SumT) -> None:
        self.report += report
        if self._listener is not None:
            self._listener(report)
        self._advance(chunk)

    def failed(self, chunk: ChunkT, error: PrometheusError) -> None:
        self.left_out.append(error)
        self._advance(chunk)

    def _advance(self, chunk: ChunkT) -> None:
        self._n_done += chunk.n_items
        self._progress(self._n_done, self._n_items)
