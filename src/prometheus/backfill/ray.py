"""The engine of a Ray cluster: chunks go out to actors, reports come back.

As with local processes, a chunk whose worker or node dies goes to another one, and a chunk that kills worker after
worker is halved until the item at fault is alone.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import signal
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO, TextIOBase
from typing import Any, TextIO

from prometheus import __version__
from prometheus.backfill.local import InProcess, do_chunk
from prometheus.backfill.plan import Chunk
from prometheus.backfill.work import OpenedWork, Outcomes, Ticket, WorkerPool, WorkFactory
from prometheus.core.config import LIBPQ_TARGET_VARIABLES
from prometheus.core.logs import configure_logging
from prometheus.errors import (
    DatabaseError,
    InputRefusedError,
    MissingExtraError,
    PrometheusError,
    RetryableError,
    UsageError,
    cluster_error,
)

ANSWER_PATIENCE_S = 10.0
SILENCE_S = 60.0
THIS_MACHINE, ANY_RUNNING = "local", "auto"
OBJECT_STORE_BYTES = 100_000_000
"""Of a cluster of this machine alone: orders and reports are small."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""No usage statistics, and no advice about a variable that is not ours."""

logger = logging.getLogger(__name__)

BRANCHES = (DatabaseError, UsageError, InputRefusedError, RetryableError, PrometheusError)

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RayEngine:
    """The engine of a Ray cluster, for `address` see `connected`; it does `n_tasks` chunks at once, or one per CPU.

    `is_local_database`: no other machine can reach the databases. A dry run counts what is missing in this process, and
    tests the connection only.
    """

    address: str | None
    n_tasks: int | None
    is_local_database: bool
    dry_run: bool = False

    def run(self, factory: WorkFactory, chunks: Sequence[Chunk]) -> Outcomes:
        """Run every chunk; see `prometheus.backfill.work.Engine`.

        MissingExtraError without Ray; UsageError if a node cannot reach the databases; PrometheusError if the address
        does not answer, or a node has another version of this package.
        """
        if not chunks:
            return
        with connected(self.address) as cluster:
            if self.is_local_database:
                _require_one_machine(cluster.nodes())
            if not self.dry_run:
                yield from _ClusterPool(cluster, factory, chunks, self.n_tasks).run()
        if self.dry_run:
            yield from InProcess(dry_run=True).run(factory, chunks)


def _require_one_machine(nodes: Sequence[Mapping[str, Any]]) -> None:
    elsewhere = foreign_nodes(nodes, socket.gethostname(), is_own_address)
    if elsewhere:
        raise UsageError(
            "the databases can be reached from this machine alone, and the Ray cluster has nodes elsewhere "
            f"({', '.join(elsewhere)}); set PROMETHEUS_HISTORICAL_DSN and PROMETHEUS_RUNTIME_DSN to addresses that "
            "every node can reach"
        )


class _ClusterPool(WorkerPool):
    """The driver's side of one run, over actors, which Ray restarts if they die.

    An actor gets a chunk once it has answered a call, as the cluster may have no room for it before, and never two at
    once: its death then identifies the chunk.
    """

    def __init__(self, cluster: Cluster, factory: WorkFactory, chunks: Sequence[Chunk], n_tasks: int | None) -> None:
        super().__init__(chunks)
        self._cluster = cluster
        has_gpu = getattr(factory, "wants_gpu", False) and any(cluster.amounts("GPU"))
        available = cluster.amounts("GPU" if has_gpu else "CPU")
        n_possible = max(1, sum(available))
        n_at_once = min(n_possible, n_tasks or n_possible, len(chunks))
        per_node = max(1, min(n_at_once, max(available, default=0)))
        actor = cluster.ray.remote(ChunkWorker)
        actor = actor.options(num_cpus=1, num_gpus=int(has_gpu), max_restarts=-1, max_task_retries=0)
        packed = pickle.dumps(factory)
        self._actors = [actor.remote(packed, per_node, __version__) for _ in range(n_at_once)]
        self._idle: list[int] = []
        self._calls: dict[Any, tuple[int, Ticket | None]] = {}
        """The actor of each call, and the ticket it has, if any."""
        self._busy: deque[Ticket] = deque()
        for number in range(n_at_once):
            self._wake(number)

    def run(self) -> Outcomes:
        """Run every chunk; on an error leave at once, as the end of the connection rolls back open work.

        Chunks are not cancelled one by one: Ray 2.60 can abort this process when a task ends meanwhile.
        """
        while self._queue or self._busy or any(ticket for _, ticket in self._calls.values()):
            self._feed()
            yield from self._serve()

    def _feed(self) -> None:
        """Give the idle actors chunks; those claimed by another run come last."""
        while (self._queue or self._busy) and self._idle:
            may_wait = not self._queue
            ticket = (self._busy if may_wait else self._queue).popleft()
            number = self._idle.pop()
            self._calls[self._actors[number].do.remote(ticket.chunk, may_wait=may_wait)] = number, ticket

    def _serve(self) -> Outcomes:
        ended, _ = self._cluster.ray.wait(list(self._calls), num_returns=1, timeout=SILENCE_S)
        if not ended:
            n_under_way = sum(ticket is not None for _, ticket in self._calls.values())
            logger.info("waiting for the Ray cluster: %d chunks under way", n_under_way)
        for reference in ended:
            number, ticket = self._calls.pop(reference)
            try:
                answer: Answer = self._cluster.result(reference)
            except self._cluster.losses as loss:
                yield from self._lose(number, ticket, loss)
                continue
            if answer.error is not None:
                raise answer.error
            self._idle.append(number)
            if ticket is not None:
                yield from self._receive(ticket, answer)

    def _lose(self, number: int, ticket: Ticket | None, loss: Exception) -> Outcomes:
        """Call a dead actor again; it gets no other chunk until it answers."""
        if ticket is None and isinstance(loss, self._cluster.ray.exceptions.ActorDiedError):
            raise cluster_error("an actor", " ".join(str(loss).split())) from loss
        self._wake(number)
        if ticket is not None:
            logger.warning(
                "a worker of the Ray cluster is gone (%s); its chunk goes to another one", type(loss).__name__
            )
            yield from self._requeue(ticket, None)

    def _receive(self, ticket: Ticket, answer: Answer) -> Outcomes:
        if answer.is_busy:
            self._busy.append(ticket)
        else:
            yield ticket.chunk, answer.report

    def _wake(self, number: int) -> None:
        self._calls[self._actors[number].ready.remote()] = number, None


class Cluster:
    """A cluster this process is connected to; `ray` is the module."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        known = ray.exceptions
        self.losses: tuple[type[Exception], ...] = (
            known.WorkerCrashedError, known.NodeDiedError, known.LocalRayletDiedError, known.OutOfMemoryError,
            known.ActorUnavailableError, known.ActorDiedError, known.ObjectLostError,
        )  # fmt: skip
        """What says that a worker or its node is gone, and nothing about the order it had."""

    def nodes(self) -> list[Node]:
        """Return the live nodes, as Ray describes them."""
        return [node for node in self.ray.nodes() if node["Alive"]]

    def amounts(self, resource: str) -> list[int]:
        """Return how much of a resource, such as CPU or GPU, each node has."""
        return [int(node["Resources"].get(resource, 0)) for node in self.nodes()]

    def result(self, reference: Any) -> Any:
        """Return the result of an ended call; PrometheusError if a node lacks this package."""
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            if "No module named 'prometheus" not in str(error):
                raise
            place = re.search(r"\bip=([^,)\s]+)", str(error))
            raise cluster_error(
                f"the node at {place[1]}" if place else "a node",
                f"has no prometheus-regime of this version; install {__version__} on every node",
            ) from error


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Yield the cluster at an address; an existing connection of this program is used and kept.

    An address is ``HOST:PORT``, ``auto`` for a cluster this machine is a node of, ``local`` for one of this machine
    alone, which ends with this; None for ``RAY_ADDRESS``, or ``local``.
    """
    try:
        import ray  # noqa: PLC0415 -- optional, slow to import
    except ImportError as error:
        raise MissingExtraError("--engine ray", "ray") from error
    if ray.is_initialized():
        yield Cluster(ray)
        return
    chosen = address or os.environ.get("RAY_ADDRESS") or THIS_MACHINE
    require_listening(chosen)
    with redirect_stdout(_WithoutRay(sys.stdout)):
        try:
            _connect(ray, chosen)
            yield Cluster(ray)
        finally:
            with redirect_stdout(StringIO()):  # words of Ray's threads that were held back
                ray.shutdown()


def require_listening(address: str) -> None:
    """Raise unless the address is usable and answers; Ray itself would try for minutes."""
    if address in (THIS_MACHINE, ANY_RUNNING):
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise UsageError(
            f"--ray-address {address!r}: write HOST:PORT of the cluster's head, auto or local; Ray Client (ray://) is "
            "not used, run this on a node of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise cluster_error(address, f"does not answer ({error}); check --ray-address or RAY_ADDRESS") from error


def foreign_nodes(nodes: Sequence[Node], hostname: str, is_own: Callable[[str], bool]) -> tuple[str, ...]:
    """Return names and addresses of Ray nodes off this machine, by host name and own addresses."""
    places = {(str(node["NodeManagerHostname"]), str(node["NodeManagerAddress"])) for node in nodes}
    return tuple(f"{name} at {where}" for name, where in sorted(places) if name != hostname or not is_own(where))


def is_own_address(address: str) -> bool:
    """Return whether an address belongs to this machine: only its own can be bound."""
    try:
        family = socket.getaddrinfo(address, 0, type=socket.SOCK_DGRAM)[0][0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _connect(ray: Any, address: str) -> None:
    own = {"object_store_memory": OBJECT_STORE_BYTES} if address == THIS_MACHINE else {}
    try:
        with _quiet_environment(), _own_sigterm_handler():
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        hint = "" if os.environ.get("RAY_AUTH_MODE") else " (if the cluster wants a token, set RAY_AUTH_MODE=token)"
        raise cluster_error(address, " ".join(str(error).split()) + hint) from error


@contextmanager
def _own_sigterm_handler() -> Iterator[None]:
    """Restore this program's handler, as Ray sets one that exits on the spot, and call it on such an exit."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if callable(handler):
            handler(signal.SIGTERM, None)
        raise
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def _quiet_environment() -> Iterator[None]:
    added = QUIET.keys() - os.environ.keys()
    os.environ.update({name: QUIET[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


class _WithoutRay(TextIOBase):
    """Standard output for all but Ray's threads, whose lines about dead workers go to the log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            logger.debug("%s", text.rstrip())
            return len(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a chunk: a report, an error, or neither if another run has claimed the chunk."""

    report: Any = None
    error: Exception | None = None

    @property
    def is_busy(self) -> bool:
        """Whether another run has claimed it."""
        return self.report is None and self.error is None


class ChunkWorker:
    """An actor: one of `n_processes` that share the cores of a node; its work stays open until the end of the run.

    `factory` is pickled and holds secrets, which no log may show; `version` is the driver's.
    """

    def __init__(self, factory: bytes, n_processes: int, version: str) -> None:
        self._factory, self._n_processes, self._version = factory, n_processes, version
        self._scope = ExitStack()
        self._opened: OpenedWork | None = None

    def ready(self) -> Answer:
        """Return once the actor has started; with an error if this node has another version."""
        if self._version == __version__:
            return Answer()
        other = f"has prometheus-regime {__version__}; install {self._version}, as here, on every node"
        return Answer(error=cluster_error(socket.gethostname(), other))

    def do(self, chunk: Chunk, *, may_wait: bool) -> Answer:
        """Run a chunk; errors are returned as they are, with this process's traceback as a note."""
        try:
            return Answer(do_chunk(self._open(), chunk, may_wait=may_wait))
        except Exception as error:
            return Answer(error=_portable(error))

    def _open(self) -> OpenedWork:
        if self._opened is None:
            if (refusal := self.ready().error) is not None:
                raise refusal
            configure_logging()
            for name in LIBPQ_TARGET_VARIABLES:  # the driver says where the databases are, not this node
                os.environ.pop(name, None)
            factory: WorkFactory = pickle.loads(self._factory)  # noqa: S301 -- made by the driver of this very job
            try:
                self._opened = self._scope.enter_context(factory.open(self._n_processes))
            except PrometheusError as error:
                raise refused_on(socket.gethostname(), error) from error
        return self._opened


def refused_on(node: str, error: PrometheusError) -> PrometheusError:
    """Return an error of the same branch and code that says on which node the work cannot be opened."""
    branch = next(each for each in BRANCHES if isinstance(error, each))
    way_out = "every node needs the files, models and packages of the run, and a way to the databases"
    return branch(f"on node {node}: {error}; {way_out}", code=error.code)


def _portable(error: Exception) -> Exception:
    """Return the error, or an equivalent one if it cannot be pickled."""
    note = f"on {socket.gethostname()}:\n{traceback.format_exc()}"
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes
    except Exception:  # whatever an error of unknown make answers to being copied
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error
