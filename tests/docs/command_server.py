"""Runs ``python -m MODULE ARGUMENTS`` and ``python -`` in forks of a process that has imported everything.

A stand-in for ``python`` on the reader's PATH hands its arguments, environment, folder and open files over (see
`tests.docs.shell`). What is run, a module or a program on standard input, is ``__main__``, as in Python itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TypedDict

IMPORTED = (
    "pandas", "pyarrow.parquet", "psycopg_pool", "typer.main", "onnxruntime", "tokenizers", "matplotlib.figure",
    "exchange_calendars", "alembic.command", "prometheus.cli.runner", "prometheus.scripts", "prometheus.app.regimes",
    "prometheus.app.backfills", "prometheus.app.analogs", "prometheus.app.joint", "prometheus.app.texts",
    "prometheus.app.evaluations", "prometheus.app.prices", "prometheus.app.nightly", "prometheus.results",
    "uvicorn", "prometheus.web.server",
)  # fmt: skip
HEADER = struct.Struct("!I")


class Request(TypedDict):
    """What the stand-in was called with: the module first, or a dash."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


def serve(address: str) -> None:
    """Answer until killed."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork would touch, and so copy, every page of what was imported
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    os._exit(_attend(connection))
            _reap()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _attend(connection: socket.socket) -> int:
    """Fork once more for the command itself; tell its process id, then its exit code."""
    head, files, _, _ = socket.recv_fds(connection, HEADER.size, 3)
    request = json.loads(_receive(connection, HEADER.unpack(head)[0]))
    child = os.fork()
    if child == 0:
        connection.close()
        os._exit(_run(request, files))
    connection.sendall(HEADER.pack(child))
    _, status = os.waitpid(child, 0)
    connection.sendall(HEADER.pack(os.waitstatus_to_exitcode(status) % 256))
    return 0


def _receive(connection: socket.socket, n_bytes: int) -> bytes:
    data = b""
    while len(data) < n_bytes:
        data += connection.recv(n_bytes - len(data))
    return data


def _run(request: Request, files: list[int]) -> int:
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = request["arguments"]
    sys.path[0] = ""
    try:
        if sys.argv[0] == "-":
            _run_input()
        else:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        code: object = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return code if isinstance(code, int) else int(code is not None)


def _run_input() -> None:
    sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(sys.stdin.read(), "<stdin>", "exec"), vars(sys.modules["__main__"]))


if __name__ == "__main__":
    sys.path.insert(0, "")
    serve(str(Path(sys.argv[1])))
