"""What runs on the nodes of a Ray cluster: one order at a time, over work that is opened once per process."""

from __future__ import annotations

import os
import pickle
import socket
import traceback
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from prometheus import __version__
from prometheus.backfill.runner import do_chunk, try_chunk
from prometheus.backfill.work import Chunk, OpenedWork, WorkFactory
from prometheus.core.config import LIBPQ_TARGET_VARIABLES
from prometheus.core.log import configure_logging
from prometheus.errors import ClusterError


@dataclass(frozen=True, slots=True)
class Order:
    """One chunk to do.

    Attributes
    ----------
    factory
        Pickled; it holds secrets, which nobody's log shall show.
    n_processes
        That share the cores of a node.
    may_wait
        Wait while another run is at the chunk, instead of handing it back.
    version
        Of the driver.
    """

    factory: bytes = field(repr=False)
    chunk: Chunk
    n_processes: int
    may_wait: bool
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an order: a report, an error, or nothing because another run is at the chunk."""

    report: Any = None
    error: Exception | None = None

    @property
    def is_busy(self) -> bool:
        """Whether another run is at it."""
        return self.report is None and self.error is None


def do_order(order: Order) -> Answer:
    """Do a chunk; errors come back as they are, with the traceback of this process as a note."""
    try:
        _require_version(order.version)
        opened = _OPENED.get(order)
        return Answer(do_chunk(opened, order.chunk) if order.may_wait else try_chunk(opened, order.chunk))
    except Exception as error:
        return Answer(error=_portable(error))


class WarmWorker:
    """An actor: its process, and with it the open work, stays from the first order to the end of the run."""

    def ready(self) -> None:
        """Answer, which shows that it is there."""

    def do_order(self, order: Order) -> Answer:
        """Do a chunk."""
        return do_order(order)


class _OpenedOnce:
    """The work of the latest factory, kept open until another one comes or the process ends."""

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
        raise ClusterError(node, f"has prometheus-regime {__version__}; install {wanted}, as here, on every node")


def _portable(error: Exception) -> Exception:
    """Return the error, or one that says the same where it cannot be sent."""
    note = f"on {socket.gethostname()}:\n{traceback.format_exc()}"
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes
    except Exception:  # whatever an error of unknown make answers to being copied
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error
