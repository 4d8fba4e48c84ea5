"""A backfill from its first chunk to its closing words, whatever its kind and whoever does the chunks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from prometheus.backfill.work import Chunk, ChunkT, Engine, Progress, WorkFactory
from prometheus.errors import PrometheusError


class Report(Protocol):
    """What came of some chunks; reports of one kind add up."""

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
        """One error per item that could not be done."""

    def __add__(self, other: Self, /) -> Self:
        """Return what both say together."""


SumT = TypeVar("SumT", bound=Report)

Beside: TypeAlias = AbstractContextManager[Callable[[SumT], None]]
"""A context around the chunks; what it gives receives the report of each as it comes in."""


@dataclass(frozen=True, slots=True)
class BackfillRun(Generic[SumT]):
    """A backfill that has come to its end.

    Attributes
    ----------
    report
        The sum over all chunks.
    left_out
        Chunks that nobody could do.
    is_dry
        Nothing was written: `report` says what would be.
    estimated_seconds
        Of a dry run: how long writing would take, at the rate of earlier runs; None where there were none.
    """

    report: SumT
    left_out: tuple[PrometheusError, ...]
    seconds: float
    run_id: str
    is_dry: bool = False
    estimated_seconds: float | None = None

    @property
    def failures(self) -> tuple[PrometheusError, ...]:
        """One error per item that could not be done."""
        return (*self.report.failures, *self.left_out)

    @property
    def exit_code(self) -> int:
        """0, or 3 when some items failed."""
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
            **({"dry_run": True, "estimated_seconds": self.estimated_seconds} if self.is_dry else {}),
        }


def run_backfill(
    engine: Engine,
    factory: WorkFactory,
    chunks: Sequence[Chunk],
    nothing: SumT,
    progress: Progress,
    beside: Beside[SumT] | None = None,
) -> BackfillRun[SumT]:
    """Do every chunk and add up what came of them.

    Parameters
    ----------
    nothing
        The report of no chunk.
    beside
        Something to be done beside the chunks; its time counts.
    """
    begin = time.monotonic()
    with nullcontext() if beside is None else beside as hear:
        tally: _Tally[Any, SumT] = _Tally(nothing, sum(chunk.n_items for chunk in chunks), progress, hear)
        engine.run(factory, chunks, tally)
    return BackfillRun(tally.report, tuple(tally.left_out), time.monotonic() - begin, uuid.uuid4().hex)


class _Tally(Generic[ChunkT, SumT]):
    """Adds up the reports as they come in, and moves the progress."""

    def __init__(self, nothing: SumT, n_items: int, progress: Progress, hear: Callable[[SumT], None] | None) -> None:
        self.report = nothing
        self._hear = hear
        self.left_out: list[PrometheusError] = []
        self._n_items = n_items
        self._n_done = 0
        self._progress = progress
        progress(0, n_items)

    def done(self, chunk: ChunkT, report: SumT) -> None:
        """Add a report."""
        self.report += report
        if self._hear is not None:
            self._hear(report)
        self._advance(chunk)

    def failed(self, chunk: ChunkT, error: PrometheusError) -> None:
        """Keep an error."""
        self.left_out.append(error)
        self._advance(chunk)

    def _advance(self, chunk: ChunkT) -> None:
        self._n_done += chunk.n_items
        self._progress(self._n_done, self._n_items)
