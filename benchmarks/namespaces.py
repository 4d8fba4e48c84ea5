"""Machines made of Linux namespaces: each with a network card, a file system, processes and a host name of its own.

They need root, ``unshare``, ``nsenter`` and ``ip``. Nothing of them has a name outside: when their first process ends,
processes, mounts and network cards are gone. What a machine writes is kept in memory and seen by it alone; it reads
the programs of this one, but neither its temporary files nor the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

CHECKOUT = Path(__file__).parents[1]
NETWORK = "10.77.0"
TOOLS = ("setpriv", "unshare", "nsenter", "ip", "mount", "chroot")
NEEDED = ("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child")

_SET_UP = r"""
set -e
disk=$1 name=$2 size=$3 environment=$4 checkout=$5
mount --make-rprivate /
mount -t tmpfs -o "size=$size,mode=755" tmpfs "$disk"
mkdir "$disk/changes" "$disk/work" "$disk/root" "$disk/env-changes" "$disk/env-work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/changes,workdir=$disk/work" "$disk/root"
mkdir -p "$disk/root/opt/$name"
mount -t overlay overlay -o "lowerdir=$environment,upperdir=$disk/env-changes,workdir=$disk/env-work" \
  "$disk/root/opt/$name"
mount -t tmpfs -o mode=1777 tmpfs "$disk/root/tmp"
case $checkout/ in /tmp/*) ;; *) mount -t tmpfs -o mode=755 tmpfs "$disk/root$checkout" ;; esac
mount -t proc proc "$disk/root/proc"
mount --rbind /dev "$disk/root/dev"
mount -t tmpfs -o mode=1777,size=1g tmpfs "$disk/root/dev/shm"
mount --rbind /sys "$disk/root/sys"
mkdir -p "$disk/root/home/quant"
hostname "$name"
ip link set lo up
exec chroot "$disk/root" bash -c 'echo ready; sleep infinity & wait'
"""


def why_not() -> str | None:
    """Return what this machine lacks to make others; None if nothing."""
    if os.geteuid() != 0:
        return "only root can make namespaces"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} cannot be found"
    done = subprocess.run([*NEEDED, "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip() or "namespaces are refused" if done.returncode else None


class Network:
    """A switch that machines are plugged into; every machine ends with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scope = ExitStack()
        self.switch = 0
        self._n_machines = 0

    def __enter__(self) -> Self:
        held = _held(["unshare", "--net", "--kill-child", "--fork", "sh", "-c", "echo ready; exec sleep infinity"])
        process = self._scope.enter_context(held)
        self.switch = first_process(process)
        self.in_switch("ip", "link", "add", "br0", "type", "bridge")
        self.in_switch("ip", "link", "set", "br0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._scope.close()

    def in_switch(self, *command: str) -> None:
        """Run a command with the switch's network cards."""
        _checked(["nsenter", "--target", str(self.switch), "--net", *command])

    def machine(self, name: str, environment: Path, size: str = "2g") -> Machine:
        """Plug in a machine of a disk of some size, with a virtual environment under ``/opt/NAME``."""
        self._n_machines += 1
        disk = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        command = [*NEEDED, "bash", "-c", _SET_UP, "machine", str(disk), name, size, str(environment), str(CHECKOUT)]
        process = self._scope.enter_context(_held(command))
        machine = Machine(name, f"{NETWORK}.{self._n_machines + 1}", first_process(process), process, self)
        port = ("type", "veth", "peer", "name", "eth0", "netns", str(machine.pid))
        self.in_switch("ip", "link", "add", machine.port, *port)
        self.in_switch("ip", "link", "set", machine.port, "master", "br0", "up")
        machine.run("ip", "addr", "add", f"{machine.address}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        return machine


class Machine:
    """One machine; `pid` is its first process, as seen from here."""

    def __init__(self, name: str, address: str, pid: int, process: subprocess.Popen[str], network: Network) -> None:
        self.name, self.address, self.pid = name, address, pid
        self._process, self._network = process, network

    @property
    def python(self) -> str:
        """The interpreter of its virtual environment."""
        return f"/opt/{self.name}/bin/python"

    @property
    def port(self) -> str:
        """Its port of the switch."""
        return f"p-{self.name}"

    def words(self, command: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
        """Return the command that runs another one on this machine."""
        inside = ["--mount", "--net", "--uts", "--ipc", "--pid", "--root"]
        fixed = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/home/quant", "LANG": "C.UTF-8"}
        variables = [f"{name}={value}" for name, value in {**fixed, **environment}.items()]
        return ["nsenter", "--target", str(self.pid), *inside, "env", "-i", "-C", "/home/quant", *variables, *command]

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None, given: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; RuntimeError with its words if it fails and `check` is true."""
        words = self.words(command, environment or {})
        done = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)[:200]}: {done.stderr[-2000:]}")
        return done

    def start(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command, whose output is kept."""
        return subprocess.Popen(
            self.words(command, environment or {}), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def copy_in(self, source: Path, target: str) -> None:
        """Give it a file of this machine."""
        with source.open("rb") as file:
            subprocess.run(self.words(("sh", "-c", f"cat > {target}"), {}), stdin=file, check=True)

    def lose_power(self) -> None:
        """End it as a power failure would: its line goes dead first, so that nobody hears of its end."""
        self._network.in_switch("ip", "link", "set", self.port, "down")
        self._process.kill()
        self._process.wait()


@contextmanager
def _held(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Yield the process that holds namespaces, once they are ready; what runs in there ends with it, and it with us."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"a namespace could not be set up: {process.communicate()[1].strip()}")
        yield process
    finally:
        process.kill()
        process.communicate()


def first_process(holder: subprocess.Popen[str]) -> int:
    """Return the process that ``unshare`` forked into its namespaces."""
    return int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0])


def _checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
