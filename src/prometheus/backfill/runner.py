"""One process at work on chunks: it reads and encodes the next one while it writes this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Any

from prometheus.backfill.work import ChunkT, ChunkWork, Listener, NoClaims, OpenedWork, ReportT, WorkFactory
from prometheus.core.retry import retry_lost_connection
from prometheus.protocols import Claims


class ReadyWork:
    """Work that is open already, in this process alone; a `prometheus.backfill.work.WorkFactory`."""

    def __init__(self, work: ChunkWork[Any, Any], claims: Claims) -> None:
        self._opened = OpenedWork(work, claims)

    @contextmanager
    def open(self, _n_processes: int, /) -> Iterator[OpenedWork]:
        """Yield the work."""
        yield self._opened


class InProcess:
    """The engine without other processes.

    Parameters
    ----------
    dry_run
        Count what is missing; write nothing.
    """

    def __init__(self, *, dry_run: bool = False) -> None:
        self._dry_run = dry_run

    def run(self, factory: WorkFactory, chunks: Sequence[ChunkT], listener: Listener[ChunkT, Any]) -> None:
        """Do every chunk; see `prometheus.backfill.work.Engine`."""
        with factory.open(1) as opened:
            if self._dry_run:
                count_chunks(opened.work, chunks, listener)
            else:
                claims = opened.claims if len(chunks) > 1 else NoClaims()
                busy: list[ChunkT] = []
                run_chunks(OpenedWork(opened.work, claims), chunks, listener, busy.append)
                for chunk in busy:  # one at a time: whoever waits for a claim must hold none
                    listener.done(chunk, do_chunk(opened, chunk))


def count_chunks(
    work: ChunkWork[ChunkT, ReportT], chunks: Iterable[ChunkT], listener: Listener[ChunkT, ReportT]
) -> None:
    """Report what is missing of every chunk."""
    for chunk, wanted in _one_ahead(lambda chunk: retry_lost_connection(lambda: work.read(chunk)), chunks):
        listener.done(chunk, work.count(wanted))


def run_chunks(
    opened: OpenedWork,
    chunks: Iterable[ChunkT | None],
    listener: Listener[ChunkT, Any],
    pass_over: Callable[[ChunkT], None],
) -> None:
    """Do the chunks as they come, but those that another run is at.

    At most two chunks are in memory: the one that is written and the one that is read and encoded meanwhile.

    Parameters
    ----------
    chunks
        None among them means: there is none at hand just now, so write what is ready.
    pass_over
        Receives the chunks that another run is at.
    """
    work, claims = opened.work, opened.claims

    def free_chunks() -> Iterator[ChunkT | None]:
        for chunk in chunks:
            if chunk is None or claims.try_claim(chunk.key):
                yield chunk
            else:
                pass_over(chunk)

    for chunk, encoded in _one_ahead(lambda chunk: prepare(work, chunk), free_chunks()):
        report = work.write(encoded)
        claims.release(chunk.key)
        listener.done(chunk, report)


def do_chunk(opened: OpenedWork, chunk: ChunkT) -> Any:
    """Do one chunk, after any other run that is at it, and return its report."""
    opened.claims.wait_for(chunk.key)
    return _do_claimed(opened, chunk)


def try_chunk(opened: OpenedWork, chunk: ChunkT) -> Any | None:
    """Do one chunk and return its report; None, at once, while another run is at it."""
    return _do_claimed(opened, chunk) if opened.claims.try_claim(chunk.key) else None


def _do_claimed(opened: OpenedWork, chunk: ChunkT) -> Any:
    try:
        return opened.work.write(prepare(opened.work, chunk))
    finally:
        opened.claims.release(chunk.key)


def prepare(work: ChunkWork[ChunkT, Any], chunk: ChunkT) -> Any:
    """Read and encode a chunk."""
    return work.encode(retry_lost_connection(lambda: work.read(chunk)))


def _one_ahead(prepare_one: Callable[[ChunkT], Any], chunks: Iterable[ChunkT | None]) -> Iterator[tuple[ChunkT, Any]]:
    """Yield each chunk with what was made of it; the next one is in the making while the caller has this one."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prometheus-ahead")
    waiting: tuple[ChunkT, Future[Any]] | None = None
    try:
        for chunk in chain(chunks, [None]):
            following = None if chunk is None else (chunk, pool.submit(prepare_one, chunk))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
