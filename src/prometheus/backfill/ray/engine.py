"""The chunks of a backfill on a Ray cluster: chunks go out, reports come back.

Each task runs one chunk over work that its process opened once; models that are slow to open live in actors. As with
local processes, a chunk whose worker or node dies goes to another one, and a chunk that kills worker after worker is
halved until the item at fault is alone.
"""

from __future__ import annotations

import logging
import pickle
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from prometheus.backfill.local import InProcess
from prometheus.backfill.ray.cluster import (
    Answer,
    Cluster,
    Order,
    WarmWorker,
    connected,
    do_order,
    foreign_nodes,
    is_own_address,
)
from prometheus.backfill.work import ChunkT, Listener, Ticket, WorkerPool, WorkFactory
from prometheus.errors import UsageError, cluster_error

AHEAD = 2
"""Orders under way for each one that can be done at once, so that no process waits for the driver."""
SILENCE_S = 60.0

logger = logging.getLogger(__name__)


class RayEngine:
    """The engine of a Ray cluster.

    Parameters
    ----------
    address
        ``HOST:PORT``, ``auto`` or ``local``; None for ``RAY_ADDRESS``, or a cluster of this machine alone.
    n_tasks
        Chunks at once; None for the cluster's number of CPUs.
    is_local_database
        No other machine can reach the databases.
    dry_run
        Count what is missing, in this process; only the connection to the cluster is tested.
    """

    def __init__(
        self, address: str | None, n_tasks: int | None, is_local_database: bool, *, dry_run: bool = False
    ) -> None:
        self._address = address
        self._n_tasks = n_tasks
        self._is_local_database = is_local_database
        self._dry_run = dry_run

    def run(self, factory: WorkFactory, chunks: Sequence[ChunkT], listener: Listener[ChunkT, Any]) -> None:
        """Run every chunk; see `prometheus.backfill.work.Engine`.

        Raises
        ------
        UsageError
            The cluster has nodes that cannot reach the databases.
        PrometheusError
            The address does not answer, or a node has another version of this package.
        MissingExtraError
            Ray is not installed.
        """
        if not chunks:
            return
        with connected(self._address) as cluster:
            if self._is_local_database:
                require_one_machine(cluster.nodes())
            if not self._dry_run:
                _ClusterPool(cluster, factory, chunks, listener, self._n_tasks).run()
        if self._dry_run:
            InProcess(dry_run=True).run(factory, chunks, listener)


def require_one_machine(nodes: Sequence[Mapping[str, Any]]) -> None:
    """Raise UsageError for a cluster of several machines, if only this one can reach the databases."""
    elsewhere = foreign_nodes(nodes, socket.gethostname(), is_own_address)
    if elsewhere:
        raise UsageError(
            "the databases can be reached from this machine alone, and the Ray cluster has nodes elsewhere "
            f"({', '.join(elsewhere)}); set PROMETHEUS_HISTORICAL_DSN and PROMETHEUS_RUNTIME_DSN to addresses that "
            "every node can reach"
        )


def open_lanes(cluster: Cluster, factory: WorkFactory, n_chunks: int, n_tasks: int | None) -> tuple[Lanes, int]:
    """Return lanes for at most `n_tasks` orders at once, and the number of processes per node."""
    has_gpu = getattr(factory, "wants_gpu", False) and cluster.count("GPU") > 0
    scarce = "GPU" if has_gpu else "CPU"
    n_possible = max(1, cluster.count(scarce))
    n_at_once = min(n_possible, n_tasks or n_possible, n_chunks)
    per_node = max(1, min(n_at_once, cluster.largest(scarce)))
    if getattr(factory, "is_warm", False):
        return _ActorLanes(cluster, n_at_once, n_gpus=int(has_gpu)), per_node
    is_bounded = n_tasks is not None and n_tasks < n_possible  # then none may wait in the cluster, where it could start
    return _TaskLanes(cluster, n_at_once if is_bounded else AHEAD * n_at_once), per_node


class _ClusterPool(WorkerPool[ChunkT]):
    """The driver's side of one run."""

    def __init__(
        self,
        cluster: Cluster,
        factory: WorkFactory,
        chunks: Sequence[ChunkT],
        listener: Listener[ChunkT, Any],
        n_tasks: int | None,
    ) -> None:
        super().__init__(chunks, listener)
        self._cluster = cluster
        self._factory = pickle.dumps(factory)
        self._busy: deque[Ticket[ChunkT]] = deque()
        self._under_way: dict[Any, Ticket[ChunkT]] = {}
        self._lanes, self._per_node = open_lanes(cluster, factory, len(chunks), n_tasks)

    def run(self) -> None:
        """Run every chunk; on an error leave at once, as the end of the connection rolls back open work.

        Chunks are not cancelled one by one: Ray 2.60 can abort this process when a task ends meanwhile.
        """
        while self._queue or self._busy or self._under_way:
            self._feed()
            self._serve()

    def _feed(self) -> None:
        """Submit while there is room; chunks claimed by another run come last."""
        while (self._queue or self._busy) and self._lanes.has_room():
            may_wait = not self._queue
            ticket = (self._busy if may_wait else self._queue).popleft()
            order = Order(self._factory, ticket.chunk, self._per_node, may_wait)
            self._under_way[self._lanes.submit(order)] = ticket

    def _serve(self) -> None:
        waited_for = [*self._under_way, *self._lanes.calls()]
        ended, _ = self._cluster.ray.wait(waited_for, num_returns=1, timeout=SILENCE_S)
        if not ended:
            logger.info("waiting for the Ray cluster: %d chunks under way", len(self._under_way))
        for reference in ended:
            ticket = self._under_way.pop(reference, None)
            if ticket is None:
                self._lanes.answered(reference)
            else:
                self._receive(reference, ticket)

    def _receive(self, reference: Any, ticket: Ticket[ChunkT]) -> None:
        try:
            answer: Answer = self._cluster.result(reference)
        except self._cluster.losses as loss:
            self._lanes.settle(reference, is_lost=True)
            logger.warning(
                "a worker of the Ray cluster is gone (%s); its chunk goes to another one", type(loss).__name__
            )
            self._requeue(ticket, None)
            return
        self._lanes.settle(reference, is_lost=False)
        if answer.error is not None:
            raise answer.error
        if answer.is_busy:
            self._busy.append(ticket)
        else:
            self._listener.done(ticket.chunk, answer.report)


class Lanes(Protocol):
    """A bounded number of open orders."""

    def has_room(self) -> bool:
        """Return whether one more order fits."""

    def submit(self, order: Order, /) -> Any:
        """Start an order and return its reference."""

    def settle(self, reference: Any, /, *, is_lost: bool) -> None:
        """Record the end of an order; `is_lost`: its process died."""

    def calls(self) -> Sequence[Any]:
        """Return further references to wait for."""

    def answered(self, reference: Any, /) -> None:
        """Record the end of one of these."""


class _TaskLanes:
    """Ray tasks, at most `n_under_way`, those that wait for a CPU included."""

    def __init__(self, cluster: Cluster, n_under_way: int) -> None:
        self._task = cluster.ray.remote(do_order).options(num_cpus=1, max_retries=0, name="prometheus chunk")
        self._n_free = n_under_way

    def has_room(self) -> bool:
        return self._n_free > 0

    def submit(self, order: Order) -> Any:
        self._n_free -= 1
        return self._task.remote(order)

    def settle(self, _reference: Any, *, is_lost: bool) -> None:  # noqa: ARG002 -- Ray starts other processes
        self._n_free += 1

    def calls(self) -> Sequence[Any]:
        return ()

    def answered(self, _reference: Any) -> None:
        return


class _ActorLanes:
    """Ray actors, each with its own model; Ray restarts one that dies.

    An actor gets an order once it has answered a call, as the cluster may have no room for it before, and never two at
    once: its death then identifies the chunk.
    """

    def __init__(self, cluster: Cluster, n_actors: int, n_gpus: int) -> None:
        self._cluster = cluster
        actor = cluster.ray.remote(WarmWorker).options(num_cpus=1, num_gpus=n_gpus, max_restarts=-1, max_task_retries=0)
        self._actors = [actor.remote() for _ in range(n_actors)]
        self._idle: list[int] = []
        self._actor_of: dict[Any, int] = {}
        self._calls: dict[Any, int] = {}
        for number in range(n_actors):
            self._call(number)

    def has_room(self) -> bool:
        return bool(self._idle)

    def submit(self, order: Order) -> Any:
        number = self._idle.pop()
        reference = self._actors[number].do_order.remote(order)
        self._actor_of[reference] = number
        return reference

    def settle(self, reference: Any, *, is_lost: bool) -> None:
        """Record the end of an order; a dead actor gets no other until it answers again."""
        number = self._actor_of.pop(reference)
        if is_lost:
            self._call(number)
        else:
            self._idle.append(number)

    def calls(self) -> Sequence[Any]:
        return tuple(self._calls)

    def answered(self, reference: Any) -> None:
        """Mark an actor that answered as idle; call again one that died meanwhile."""
        number = self._calls.pop(reference)
        gone_for_good = self._cluster.ray.exceptions.ActorDiedError
        try:
            self._cluster.result(reference)
        except gone_for_good as error:
            raise cluster_error("an actor", " ".join(str(error).split())) from error
        except self._cluster.losses:
            self._call(number)
        else:
            self._idle.append(number)

    def _call(self, number: int) -> None:
        self._calls[self._actors[number].ready.remote()] = number
