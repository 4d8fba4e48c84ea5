"""A reader's shell: blocks of a page run by bash one after another, each where the one before left off."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT, Block

SHOWN_PORT = "8321"
"""Stands in the pages; replaced by a free one, so that two runs of the tests do not meet."""
SERVE = re.compile(r"^python -m prometheus serve\b(?P<options>.*)$", re.MULTILINE)
WAIT_S = 60.0
BLOCK_TIMEOUT_S = 900

KEEP_VARIABLES = '{ declare -p | grep -E "^declare (--|-x) "; echo cd \\"$PWD\\"; }'

STAND_IN = """#!{python} -IS
import json, os, signal, socket, struct, sys
arguments = sys.argv[1:]
if arguments[:1] == ["-m"] and arguments[1].startswith("prometheus"):
    del arguments[0]
elif arguments != ["-"]:
    os.execv({python!r}, [{python!r}, *arguments])


def end(code):
    with open(os.environ["READER_EXITS"], "a") as exits:
        exits.write(f"{{code}}\\n")
    sys.exit(code)


request = json.dumps({{"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}}).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [struct.pack("!I", len(request))], [0, 1, 2])
    server.sendall(request)
    child = struct.unpack("!I", server.recv(4))[0]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: os.kill(child, number))
    answer = server.recv(4)
end(struct.unpack("!I", answer)[0] if answer else 1)
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a block left behind: its own exit code, or those of its commands of ours where each is wanted."""

    exit_codes: tuple[int, ...]
    output: str


@dataclass(frozen=True, slots=True)
class QuickPython:
    """A ``python`` that answers at once, once it is ready.

    Attributes
    ----------
    programs
        The folder for PATH that it is in.
    """

    programs: Path
    server: subprocess.Popen[bytes]

    def wait(self) -> None:
        """Return when everything is imported."""
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == b"ready\n"


@contextmanager
def quick_python(folder: Path) -> Iterator[QuickPython]:
    """Yield a ``python`` for a reader's shell; see `tests.docs.command_server`."""
    address = folder / "commands.socket"
    programs = folder / "bin"
    programs.mkdir()
    stand_in = programs / "python"
    stand_in.write_text(STAND_IN.format(python=sys.executable, address=str(address)))
    stand_in.chmod(0o755)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tests" / "docs" / "command_server.py"), str(address)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True) as server:
        try:
            yield QuickPython(programs, server)
        finally:
            server.kill()


class Shell:
    """Runs the blocks of one page in a scratch folder.

    Parameters
    ----------
    folder
        Where the reader is.
    environment
        What the reader's shell begins with.
    own_server
        What leads libpq from ``db.example`` to a server.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], own_server: Mapping[str, str]) -> None:
        self.folder = folder
        self._state = folder.with_name(f"{folder.name}-state")
        self._state.mkdir()
        self._environment = {**environment, "READER_EXITS": str(self._state / "exits")}
        self._own_server = dict(own_server)
        self._port = _free_port()
        self.has_used_own_server = False
        self.open_terminal()

    def run(self, block: Block) -> Ended:
        """Run a block; bash stops at the first command that fails, unless several exit codes are wanted."""
        text = self._ported(block.text)
        if block.language == "python":
            (self._state / "snippet.py").write_text(text)
            text = f"python - < {self._state}/snippet.py\n"
        self.has_used_own_server |= "own server" in block.marks
        is_each = " " in block.marks.get("exit", "")
        lines = [
            f". {self._state}/variables",
            f"trap '{KEEP_VARIABLES} > {self._state}/variables' EXIT",
            *(f"export {name}={value}" for name, value in self._own_server.items() if "own server" in block.marks),
            *(f"unset {name}" for name in self._own_server if "own server" not in block.marks),
            "set +e" if is_each else "set -e -o pipefail",
            SERVE.sub(self._in_background, text),
        ]
        return self._bash("\n".join(lines), is_each=is_each)

    def write_files(self, blocks: Iterable[Block]) -> None:
        """Write the files among these blocks, as a reader saves them."""
        for block in blocks:
            if "file" in block.marks:
                (self.folder / block.marks["file"]).write_text(block.text, encoding="utf-8")

    def type(self, command: str) -> Ended:
        """Run a command that stands on no page by itself."""
        return self._bash(f". {self._state}/variables\nset -e\n{command}\n", is_each=False)

    def open_terminal(self) -> None:
        """Begin anew in the same folder: nothing that was exported is left."""
        (self._state / "variables").write_text(f"cd {self.folder}\n")

    def close(self) -> int:
        """End a server that runs in the background as Ctrl-C's cousin would; return its exit code, 0 without one."""
        pid_file, exit_file = self._state / "serve.pid", self._state / "serve.exit"
        if not pid_file.exists():
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid_file.read_text()), signal.SIGTERM)
        pid_file.unlink()
        _await(lambda: exit_file.exists() and exit_file.read_text().endswith("\n"))
        return int(exit_file.read_text())

    def _bash(self, script: str, *, is_each: bool) -> Ended:
        state = self._state
        (state / "block.sh").write_text(script)
        (state / "exits").write_text("")
        with (state / "output").open("w+") as output:
            code = subprocess.run(
                ["bash", state / "block.sh"], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=self._environment, check=False, timeout=BLOCK_TIMEOUT_S,
            ).returncode  # fmt: skip
            output.seek(0)
            codes = tuple(map(int, (state / "exits").read_text().split())) if is_each else (code,)
            return Ended(codes, output.read())

    def _ported(self, text: str) -> str:
        return text.replace(SHOWN_PORT, str(self._port))

    def _in_background(self, found: re.Match[str]) -> str:
        self.close()
        state, options = self._state, found["options"].split(" #")[0]
        port = "" if "--port" in options else f" --port {self._port}"
        (state / "serve.exit").unlink(missing_ok=True)
        return (
            f"( python -m prometheus serve{options}{port} > {state}/serve.log 2>&1 & echo $! > {state}/serve.pid\n"
            f"  wait $! && echo 0 > {state}/serve.exit || echo $? > {state}/serve.exit ) > /dev/null 2>&1 &\n"
            f"for attempt in $(seq 600); do grep -qs 'Prometheus is at' {state}/serve.log && break; sleep 0.1; done\n"
            f"cat {state}/serve.log; grep -q 'Prometheus is at' {state}/serve.log"
        )


def _await(is_done: object) -> None:
    assert callable(is_done)
    deadline = time.monotonic() + WAIT_S
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
