"""Chunks run on this machine: in this process, or in several that receive chunks and send reports by pipe.

A process reads and encodes the next chunk while it writes this one. The driver of several touches no data. Each worker
has its own connections and models; if one dies, ready or not, its chunks go to another. A chunk that kills worker after
worker is halved until the item at fault is alone; that item is a failure of the run.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from prometheus.backfill.deaths import Starts, how_killed
from prometheus.backfill.plan import Chunk
from prometheus.backfill.work import ChunkWork, NoClaims, OpenedWork, Outcomes, Ticket, WorkerPool, WorkFactory
from prometheus.core.logs import configure_logging
from prometheus.core.runs import retry_lost_connection
from prometheus.core.scarcity import is_short_of_connections

AHEAD = 3
"""Chunks a worker has at once: the one it writes, the one it reads and encodes meanwhile, and one more."""
AT_HAND_S = 0.02
"""How long a worker waits for its next chunk before it goes on to write what is ready."""
BUSY_PAUSE_S = 0.1
BUSY = "another run is at it"
READY = "ready"
STOP_PATIENCE_S = 30.0

logger = logging.getLogger(__name__)


class ReadyWork(OpenedWork):
    """Work already open, in this process alone; a `prometheus.backfill.work.WorkFactory`."""

    @contextmanager
    def open(self, _n_processes: int, /) -> Iterator[OpenedWork]:
        """Yield the work."""
        yield self


@dataclass(frozen=True, slots=True)
class InProcess:
    """The engine without other processes; a dry run counts what is missing and writes nothing."""

    dry_run: bool = False

    def run(self, factory: WorkFactory, chunks: Sequence[Chunk]) -> Outcomes:
        """Run every chunk; see `prometheus.backfill.work.Engine`."""
        with factory.open(1) as opened:
            if self.dry_run:
                read = partial(_read, opened.work)
                yield from ((chunk, opened.work.count(wanted)) for chunk, wanted in _one_ahead(read, chunks))
                return
            claims = opened.claims if len(chunks) > 1 else NoClaims()
            busy: list[Chunk] = []
            yield from _run_chunks(OpenedWork(opened.work, claims), chunks, busy.append)
            for chunk in busy:  # one at a time: a run that waits for a claim must hold none
                yield chunk, do_chunk(opened, chunk)


def _run_chunks(
    opened: OpenedWork, chunks: Iterable[Chunk | None], pass_over: Callable[[Chunk], None]
) -> Iterator[tuple[Chunk, Any]]:
    """Yield the chunks in order, with their reports; `pass_over` receives those claimed by another run.

    At most two chunks are in memory: one being written, one being read and encoded. None among them says that no chunk
    is available yet, so what is ready is written.
    """
    work, claims = opened.work, opened.claims

    def free_chunks() -> Iterator[Chunk | None]:
        for chunk in chunks:
            if chunk is None or claims.try_claim(chunk.key):
                yield chunk
            else:
                pass_over(chunk)

    for chunk, encoded in _one_ahead(partial(_prepare, work), free_chunks()):
        report = work.write(encoded)
        claims.release(chunk.key)
        yield chunk, report


def do_chunk(opened: OpenedWork, chunk: Chunk, *, may_wait: bool = True) -> Any | None:
    """Run one chunk and return its report.

    A claim of another run is waited for; without `may_wait` the answer to it is None, at once.
    """
    if may_wait:
        opened.claims.wait_for(chunk.key)
    elif not opened.claims.try_claim(chunk.key):
        return None
    try:
        return opened.work.write(_prepare(opened.work, chunk))
    finally:
        opened.claims.release(chunk.key)


def _read(work: ChunkWork[Any], chunk: Chunk) -> Any:
    return retry_lost_connection(lambda: work.read(chunk))


def _prepare(work: ChunkWork[Any], chunk: Chunk) -> Any:
    return work.encode(_read(work, chunk))


def _one_ahead(prepare: Callable[[Chunk], Any], chunks: Iterable[Chunk | None]) -> Iterator[tuple[Chunk, Any]]:
    """Yield each chunk with its result; the next result is computed while the caller has this one."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prometheus-ahead")
    waiting: tuple[Chunk, Future[Any]] | None = None
    try:
        for chunk in chain(chunks, [None]):
            following = None if chunk is None else (chunk, pool.submit(prepare, chunk))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class _Worker:
    """A process, our end of its pipe, and its unreported tickets."""

    process: BaseProcess
    pipe: Connection
    tickets: dict[str, Ticket] = field(default_factory=dict)
    is_ready: bool = False
    is_silent: bool = False

    def takes(self, ticket: Ticket, n_at_most: int) -> bool:
        """Return whether it can take a ticket; a suspect one only alone."""
        if len(self.tickets) >= n_at_most:
            return False
        return not self.tickets or not any(each.is_suspect for each in (ticket, *self.tickets.values()))

    def give(self, ticket: Ticket) -> None:
        self.tickets[ticket.chunk.key] = ticket
        with suppress(OSError):  # it died a moment ago: its sentinel says so
            self.pipe.send(ticket.chunk)

    def words(self) -> Iterator[tuple[str, Any]]:
        """Yield the messages that have arrived."""
        try:
            while not self.is_silent and self.pipe.poll():
                yield self.pipe.recv()
        except (EOFError, OSError):
            self.is_silent = True


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """The engine of several processes on this machine, at most one per chunk; one chunk needs none."""

    n_workers: int

    def run(self, factory: WorkFactory, chunks: Sequence[Chunk]) -> Outcomes:
        """Run every chunk; on a worker's error the others finish the chunk they are writing."""
        n_workers = min(self.n_workers, len(chunks))
        engine = InProcess().run(factory, chunks) if n_workers <= 1 else _ProcessPool(factory, n_workers, chunks).run()
        yield from engine


class _ProcessPool(WorkerPool):
    """The driver's side of one run."""

    def __init__(self, factory: WorkFactory, n_workers: int, chunks: Sequence[Chunk]) -> None:
        super().__init__(chunks)
        self._factory = factory
        self._n_workers = n_workers
        self._context = multiprocessing.get_context("spawn")  # a fork would share threads' locks and connections
        self._workers: list[_Worker] = []
        self._starts = Starts()
        self._n_lanes = n_workers

    def run(self) -> Outcomes:
        try:
            self._workers = [self._start() for _ in range(self._n_workers)]
            self._hand_out()
            while any(worker.tickets for worker in self._workers):
                yield from self._serve()
            for worker in self._workers:
                with suppress(OSError):
                    worker.pipe.send(None)
            for worker in self._workers:
                worker.process.join()
            if self._queue:  # no worker got a connection; this process waits for one
                yield from InProcess().run(self._factory, [ticket.chunk for ticket in self._queue])
        except BaseException:
            self._stop()
            raise

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work_on, args=(theirs, self._factory, self._n_workers), name="prometheus-worker", daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _hand_out(self) -> None:
        """Give each queued ticket to the worker with fewest, and no worker more than a fair share."""
        n_left = len(self._queue) + sum(len(worker.tickets) for worker in self._workers)
        n_at_most = min(AHEAD, -(-n_left // max(1, self._n_lanes)))
        while self._queue:
            takers = [worker for worker in self._workers if worker.takes(self._queue[0], n_at_most)]
            if not takers:
                return
            min(takers, key=lambda worker: len(worker.tickets)).give(self._queue.popleft())

    def _serve(self) -> Outcomes:
        by_handle: dict[Any, _Worker] = {worker.process.sentinel: worker for worker in self._workers}
        by_handle |= {worker.pipe: worker for worker in self._workers if not worker.is_silent}
        for worker in {by_handle[handle].process.pid: by_handle[handle] for handle in wait(list(by_handle))}.values():
            has_ended = not worker.process.is_alive()  # asked first: what it said before is still in the pipe
            for key, outcome in worker.words():
                if isinstance(outcome, BaseException):
                    self._do_without(worker, outcome)
                    break
                if outcome == READY:
                    worker.is_ready = True
                    self._starts.note_ready()
                elif outcome == BUSY:
                    self._queue.append(worker.tickets.pop(key))
                else:
                    yield worker.tickets.pop(key).chunk, outcome
            if has_ended and worker in self._workers:
                yield from self._bury(worker)
        self._hand_out()

    def _do_without(self, worker: _Worker, error: BaseException) -> None:
        """Leave the chunks of a worker that gets no connection to the others; raise any other error of a worker."""
        if not is_short_of_connections(error):
            raise error
        if self._n_workers == self._n_lanes:
            logger.warning("%s; going on with fewer workers", error)
        self._n_lanes -= 1
        self._workers.remove(worker)
        self._queue.extend(worker.tickets.values())
        worker.pipe.close()
        worker.process.join()

    def _bury(self, worker: _Worker) -> Outcomes:
        """Remove a dead worker and requeue its tickets."""
        self._workers.remove(worker)
        worker.process.join()
        worker.pipe.close()
        code = worker.process.exitcode
        if not worker.is_ready:
            self._starts.note_end(code)
        end = f"ended with exit code {code}" if code is None or code >= 0 else f"was {how_killed(code)}"
        logger.warning("a worker %s; %d chunks go to another one", end, len(worker.tickets))
        if not worker.is_ready:
            self._queue.extend(worker.tickets.values())  # it had not touched them
        for ticket in worker.tickets.values() if worker.is_ready else ():
            yield from self._requeue(ticket, code)
        if self._queue:
            self._workers.append(self._start())

    def _stop(self) -> None:
        """Let every worker finish or roll back its chunk; end those that take too long."""
        for worker in self._workers:
            worker.pipe.close()  # to the worker the end of its orders
        for worker in self._workers:
            worker.process.join(STOP_PATIENCE_S)
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join()


def work_on(pipe: Connection, factory: WorkFactory, n_processes: int) -> None:
    """Run the chunks from a pipe until it ends; the main function of a worker process.

    Ctrl-C reaches every process of a terminal: only the driver acts on it. When the driver is gone, so is the pipe, and
    the worker ends after its current chunk.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging()
    try:
        with factory.open(n_processes) as opened:
            _send(pipe, ("", READY))
            for chunk, report in _run_chunks(opened, _orders(pipe), partial(_hand_back, pipe)):
                _send(pipe, (chunk.key, report))
    except _DriverGoneError:
        return
    except Exception as error:
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
        with suppress(_DriverGoneError):
            _send(pipe, ("", error))


class _DriverGoneError(Exception):
    """The driver, which receives the reports, has ended."""


def _orders(pipe: Connection) -> Iterator[Chunk | None]:
    """Yield chunks as they come; None while the pipe is empty."""
    while True:
        try:
            if not pipe.poll(AT_HAND_S):
                yield None
            chunk = pipe.recv()
        except (EOFError, OSError):
            return
        if chunk is None:
            return
        yield chunk


def _hand_back(pipe: Connection, chunk: Chunk) -> None:
    """Return a chunk to the driver for later, after a pause so that the two do not spin."""
    time.sleep(BUSY_PAUSE_S)
    _send(pipe, (chunk.key, BUSY))


def _send(pipe: Connection, word: tuple[str, Any]) -> None:
    try:
        pipe.send(word)
    except OSError:
        raise _DriverGoneError from None
