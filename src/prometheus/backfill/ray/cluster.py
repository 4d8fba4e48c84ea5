"""The interface to a Ray cluster: a quiet connection, the nodes, and the code that runs on them.

A process of a node runs one order at a time, over work that it opens once.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO, TextIOBase
from typing import Any, TextIO

from prometheus import __version__
from prometheus.backfill.local import do_chunk, try_chunk
from prometheus.backfill.work import Chunk, OpenedWork, WorkFactory
from prometheus.core.config import LIBPQ_TARGET_VARIABLES
from prometheus.core.runs import configure_logging
from prometheus.errors import MissingExtraError, UsageError, cluster_error

ANSWER_PATIENCE_S = 10.0
THIS_MACHINE, ANY_RUNNING = "local", "auto"
OBJECT_STORE_BYTES = 100_000_000
"""Of a cluster of this machine alone: orders and reports are small."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""No usage statistics, and no advice about a variable that is not ours."""

logger = logging.getLogger(__name__)

Node = Mapping[str, Any]


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

    def count(self, resource: str) -> int:
        """Return the sum of a resource, such as CPU or GPU, over all nodes."""
        return sum(self._per_node(resource))

    def largest(self, resource: str) -> int:
        """Return the most of a resource that one node has."""
        return max(self._per_node(resource), default=0)

    def result(self, reference: Any) -> Any:
        """Return the result of an ended call; PrometheusError if a node lacks this package."""
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            if "No module named 'prometheus" not in str(error):
                raise
            raise cluster_error(
                "a node", "has no prometheus-regime of this version; install it on every node"
            ) from error

    def _per_node(self, resource: str) -> list[int]:
        return [int(node["Resources"].get(resource, 0)) for node in self.nodes()]


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Yield the cluster at an address; an existing connection of this program is used and kept.

    Parameters
    ----------
    address
        ``HOST:PORT``, ``auto`` for one this machine is a node of, ``local`` for one of this machine alone, which ends
        with this; None for ``RAY_ADDRESS``, or ``local``.
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
        with _environment(QUIET), _own_sigterm_handler():
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
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set, temporarily."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
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
class Order:
    """One chunk to run, by one of `n_processes` that share the cores of a node.

    `factory` is pickled and holds secrets, which no log may show. `may_wait`: wait for another run's claim, instead of
    returning the chunk. `version` is the driver's.
    """

    factory: bytes = field(repr=False)
    chunk: Chunk
    n_processes: int
    may_wait: bool
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an order: a report, an error, or neither if another run has claimed the chunk."""

    report: Any = None
    error: Exception | None = None

    @property
    def is_busy(self) -> bool:
        """Whether another run has claimed it."""
        return self.report is None and self.error is None


def do_order(order: Order) -> Answer:
    """Run a chunk; errors are returned as they are, with this process's traceback as a note."""
    try:
        _require_version(order.version)
        opened = _OPENED.get(order)
        return Answer(do_chunk(opened, order.chunk) if order.may_wait else try_chunk(opened, order.chunk))
    except Exception as error:
        return Answer(error=_portable(error))


class WarmWorker:
    """An actor: its process, and its open work, live until the end of the run."""

    def ready(self) -> None:
        """Return once the actor has started."""

    def do_order(self, order: Order) -> Answer:
        """Run a chunk."""
        return do_order(order)


class _OpenedOnce:
    """The open work of the latest factory."""

    def __init__(self) -> None:
        self._factory = b""
        self._scope = ExitStack()
        self._opened: OpenedWork | None = None

    def get(self, order: Order) -> OpenedWork:
        if self._opened is None or self._factory != order.factory:
            self._opened = None
            self._scope.close()
            self._opened, self._factory = self._open(order), order.factory
        return self._opened

    def _open(self, order: Order) -> OpenedWork:
        configure_logging()
        for name in LIBPQ_TARGET_VARIABLES:  # the driver says where the databases are, not this node
            os.environ.pop(name, None)
        factory: WorkFactory = pickle.loads(order.factory)  # noqa: S301 -- made by the driver of this very job
        return self._scope.enter_context(factory.open(order.n_processes))


_OPENED = _OpenedOnce()


def _require_version(wanted: str) -> None:
    if wanted != __version__:
        node = socket.gethostname()
        raise cluster_error(node, f"has prometheus-regime {__version__}; install {wanted}, as here, on every node")


def _portable(error: Exception) -> Exception:
    """Return the error, or an equivalent one if it cannot be pickled."""
    note = f"on {socket.gethostname()}:\n{traceback.format_exc()}"
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes
    except Exception:  # whatever an error of unknown make answers to being copied
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error
