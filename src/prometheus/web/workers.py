"""Several processes that answer on one socket, each with connections and kept answers of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TypeAlias

from starlette.types import ASGIApp

from prometheus.app import App
from prometheus.core.config import PrometheusConfig
from prometheus.core.logs import configure_logging
from prometheus.errors import server_process_ended
from prometheus.web import server
from prometheus.web.middleware import FIGURES_FOLDER

Make: TypeAlias = Callable[[App, int], ASGIApp]
"""Makes the application over an open app, one of a number of processes; to be sent to them, a function of a module."""


def run_workers(n_workers: int, config: PrometheusConfig, make: Make, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, which each process is told; PrometheusError if one of them ends by itself.

    The figures of all are summed, out of a folder that the processes share.
    """
    context = multiprocessing.get_context("spawn")  # a fork would share threads' locks and connections
    with TemporaryDirectory(prefix="prometheus-figures-") as folder:
        os.environ[FIGURES_FOLDER] = folder  # read when a process imports the client library
        asked = (n_workers, config, make, listener)
        workers = [context.Process(target=_work, args=asked, daemon=True) for _ in range(n_workers)]
        with _told_to_end(workers) as is_told:
            for worker in workers:
                worker.start()
            if is_told.is_set():  # perhaps before the last of them was there to be told
                _end(workers)
            wait([worker.sentinel for worker in workers])
            is_early = not is_told.is_set()
            if is_early:
                _end(workers)
            for worker in workers:
                worker.join()
    if is_early:
        raise server_process_ended()


def _work(n_workers: int, config: PrometheusConfig, make: Make, listener: socket.socket) -> None:
    os.setpgid(0, 0)  # Ctrl-C of a terminal is for the parent, which passes it on
    configure_logging()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with server.open_reading_app(config, n_processes=n_workers) as app:
        server.run(make(app, n_workers), listener)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _end(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        if worker.pid is not None and worker.is_alive():
            worker.terminate()


@contextmanager
def _told_to_end(workers: Sequence[BaseProcess]) -> Iterator[threading.Event]:
    """Pass SIGINT and SIGTERM on to the workers; yield what says whether one came."""
    is_told = threading.Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        is_told.set()
        _end(workers)

    earlier = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield is_told
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
