"""Ways for orders to reach the processes of a Ray cluster: tasks, or actors that keep a model warm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from prometheus.backfill.ray.cluster import Cluster
from prometheus.backfill.ray.tasks import Order, WarmWorker, do_order
from prometheus.errors import ClusterError

AHEAD = 2
"""Orders under way for each one that can be done at once, so that no process waits for the driver."""


class Lanes(Protocol):
    """Take orders, never more than a bounded number."""

    def has_room(self) -> bool:
        """Return whether one more order can be taken now."""

    def submit(self, order: Order, /) -> Any:
        """Start an order and return its reference."""

    def settle(self, reference: Any, /, *, is_lost: bool) -> None:
        """Hear that an order has ended; `is_lost`: with the process that had it."""

    def calls(self) -> Sequence[Any]:
        """Return references to wait for beside those of orders."""

    def answered(self, reference: Any, /) -> None:
        """Hear that one of these has ended."""


class TaskLanes:
    """Ray tasks: whichever process has a free CPU takes an order.

    Parameters
    ----------
    n_under_way
        Orders at most, those that wait for a CPU included.
    """

    def __init__(self, cluster: Cluster, n_under_way: int) -> None:
        self._task = cluster.ray.remote(do_order).options(num_cpus=1, max_retries=0, name="prometheus chunk")
        self._n_free = n_under_way

    def has_room(self) -> bool:
        """Return whether one more order can be taken now."""
        return self._n_free > 0

    def submit(self, order: Order) -> Any:
        """Start an order and return its reference."""
        self._n_free -= 1
        return self._task.remote(order)

    def settle(self, _reference: Any, *, is_lost: bool) -> None:  # noqa: ARG002 -- Ray starts other processes
        """Hear that an order has ended."""
        self._n_free += 1

    def calls(self) -> Sequence[Any]:
        """Return nothing."""
        return ()

    def answered(self, _reference: Any) -> None:
        """Do nothing."""


class ActorLanes:
    """Ray actors, each with a model of its own; one that dies is started again by Ray.

    An actor is given an order once it has answered a call, as the cluster may have no room for it before, and never two
    at once: whoever dies tells which chunk it died of.

    Parameters
    ----------
    n_gpus
        For each actor.
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
        """Return whether one more order can be taken now."""
        return bool(self._idle)

    def submit(self, order: Order) -> Any:
        """Start an order with an actor that has none, and return its reference."""
        number = self._idle.pop()
        reference = self._actors[number].do_order.remote(order)
        self._actor_of[reference] = number
        return reference

    def settle(self, reference: Any, *, is_lost: bool) -> None:
        """Hear that an order has ended; an actor that died gets no more until it answers again."""
        number = self._actor_of.pop(reference)
        if is_lost:
            self._call(number)
        else:
            self._idle.append(number)

    def calls(self) -> Sequence[Any]:
        """Return references to the calls that no actor has answered yet."""
        return tuple(self._calls)

    def answered(self, reference: Any) -> None:
        """Give orders to an actor that answered; call one again that died meanwhile.

        Raises
        ------
        ClusterError
            It cannot be started at all.
        """
        number = self._calls.pop(reference)
        gone_for_good = self._cluster.ray.exceptions.ActorDiedError
        try:
            self._cluster.result(reference)
        except gone_for_good as error:
            raise ClusterError("an actor", " ".join(str(error).split())) from error
        except self._cluster.losses:
            self._call(number)
        else:
            self._idle.append(number)

    def _call(self, number: int) -> None:
        self._calls[self._actors[number].ready.remote()] = number
