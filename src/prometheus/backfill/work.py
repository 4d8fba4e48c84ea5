"""The interfaces of backfills and engines, and a run from its first chunk to its report."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from prometheus.backfill.plan import Chunk, Skipped
from prometheus.errors import PrometheusError, worker_died

DEATHS_BEFORE_HALVING = 2

Progress = Callable[[int, int | None], None]
"""Receives how many units are done, and of how many."""
Outcomes: TypeAlias = Generator[tuple[Chunk, Any], None, None]
"""Each chunk as it ends, with its report, or the error of one that can be neither done nor divided."""


class NamedProgress(Protocol):
    """A `Progress` that receives, too, which unit is at work, where units have names."""

    def __call__(self, done: int, total: int | None, name: str = "", /) -> None:
        """Tell it."""


def no_progress(_done: int, _total: int | None, _name: str = "", /) -> None:
    """Do nothing."""


class _Report(Protocol):
    """The result of some chunks; see `prometheus.backfill.plan.BackfillReport`. Reports of one kind add up."""

    @property
    def planned(self) -> int: ...
    @property
    def written(self) -> int: ...
    @property
    def n_bytes(self) -> int: ...
    @property
    def failures(self) -> tuple[PrometheusError, ...]: ...
    def __add__(self, other: Self, /) -> Self: ...


ReportT_co = TypeVar("ReportT_co", covariant=True)
SumT = TypeVar("SumT", bound=_Report)
ReportListener: TypeAlias = AbstractContextManager[Callable[[SumT], None]]
"""A context around the chunks; what it gives receives the report of each as it comes in."""


class Claims(Protocol):
    """Who does what, among runs."""

    def try_claim(self, key: str, /) -> bool:
        """Claim a piece of work; False while another run holds it."""

    def wait_for(self, key: str, /) -> None:
        """Claim a piece of work as soon as no other run holds it."""

    def release(self, key: str, /) -> None:
        """Release a claim; no effect if already lost."""


class ChunkWork(Protocol[ReportT_co]):
    """The steps of one kind of backfill; each step's result goes into the next.

    The rows of a chunk depend on its keys and the database alone: not on the cut of a range, the order or the engine.
    `read` and `encode` run in another thread than `write`, one chunk ahead of it.
    """

    def read(self, chunk: Any, /) -> Any:
        """Return the rows wanted, the number missing, and the inputs of these; nothing is written."""

    def count(self, wanted: Any, /) -> ReportT_co:
        """Return what `write` would report, for a dry run."""

    def encode(self, wanted: Any, /) -> Any:
        """Return the missing rows, without a query."""

    def write(self, encoded: Any, /) -> ReportT_co:
        """Store the rows, in one transaction per database."""


class NoClaims:
    """Grants every claim: a second run of the only chunk costs nothing but time."""

    def try_claim(self, _key: str, /) -> bool:
        """Return True."""
        return True

    def wait_for(self, _key: str, /) -> None:
        """Do nothing."""

    release = wait_for


@dataclass(frozen=True, slots=True)
class OpenedWork:
    """The steps over open connections, and the claims of the process."""

    work: ChunkWork[Any]
    claims: Claims


class WorkFactory(Protocol):
    """Opens the connections and models of a backfill; it is sent to every worker process."""

    def open(self, n_processes: int, /) -> AbstractContextManager[OpenedWork]:
        """Yield the work, for one of `n_processes` that share this machine's cores."""


class Engine(Protocol):
    """Runs chunks: in this process, in several, or on a cluster."""

    def run(self, factory: WorkFactory, chunks: Sequence[Chunk]) -> Outcomes:
        """Run every chunk, in any order; raise what stops the run, yield what concerns one item."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A chunk, and the number of workers that died with it."""

    chunk: Chunk
    n_deaths: int = 0

    @property
    def is_suspect(self) -> bool:
        """Whether a worker died with it: the next one gets nothing else, to isolate the culprit."""
        return self.n_deaths > 0

    def after_death(self) -> tuple[Ticket, ...]:
        """Return the next tickets after one more death: the same, its halves, or nothing if hopeless.

        An undividable chunk is tried once more, as its worker may have died of something else.
        """
        n_deaths = self.n_deaths + 1
        if n_deaths < DEATHS_BEFORE_HALVING:
            return (replace(self, n_deaths=n_deaths),)
        parts = self.chunk.halves()
        if parts:
            return tuple(Ticket(part, DEATHS_BEFORE_HALVING - 1) for part in parts)
        return (replace(self, n_deaths=n_deaths),) if n_deaths == DEATHS_BEFORE_HALVING else ()


class WorkerPool:
    """The shared part of engines with several workers: queued tickets, and tickets whose worker died."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._queue = deque(map(Ticket, chunks))

    def _requeue(self, ticket: Ticket, exit_code: int | None) -> Outcomes:
        """Requeue the ticket of a dead worker, or its halves; yield its error if hopeless."""
        again = ticket.after_death()
        self._queue.extend(again)
        if not again:
            yield ticket.chunk, worker_died(ticket.chunk.key, ticket.n_deaths + 1, exit_code)


@dataclass(frozen=True, slots=True)
class BackfillRun(Generic[SumT]):
    """A finished backfill; of a dry run, `report` is the expected result.

    `left_out` are chunks that no worker could do; `estimated_seconds` follow the rate of earlier runs, if any;
    `skipped` are members of a market without rows by rule, which is no failure, None if all items were named.
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
    begin, report, left_out = time.monotonic(), nothing, list[PrometheusError]()
    n_done, n_items = 0, sum(chunk.n_items for chunk in chunks)
    progress(n_done, n_items)
    with reports_to or nullcontext() as listener, closing(engine.run(factory, chunks)) as outcomes:
        for chunk, outcome in outcomes:
            if isinstance(outcome, PrometheusError):
                left_out.append(outcome)
            else:
                report += outcome
                if listener is not None:
                    listener(outcome)
            n_done += chunk.n_items
            progress(n_done, n_items)
    return BackfillRun(report, tuple(left_out), time.monotonic() - begin, uuid.uuid4().hex)


def run_of_nothing(nothing: SumT, *, is_dry: bool) -> BackfillRun[SumT]:
    """Return the run of no chunk."""
    return BackfillRun(nothing, (), 0.0, uuid.uuid4().hex, is_dry, 0.0 if is_dry else None)
