"""The benchmark of three machines made of namespaces, small: nodes are lost, faults are told, and no row differs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.cluster_faults import FAULTS
from benchmarks.namespaces import Network, why_not

ROOT = Path(__file__).parents[2]
LACKS = why_not()
"""Namespaces want root and some tools of Linux; nothing else can stand in for a machine that loses its power."""
pytestmark = pytest.mark.skipif(LACKS is not None, reason=f"no machines of namespaces here: {LACKS}")


def test_machines_see_each_other_by_network_and_nothing_else(tmp_path: Path) -> None:
    environment = Path(sys.prefix)
    with Network(tmp_path) as network:
        one, other = (network.machine(name, environment, "50m") for name in ("one", "other"))
        one.run("sh", "-c", "echo mine > /home/quant/file; echo mine > /tmp/file; touch /opt/one/file")
        assert other.run("sh", "-c", "ls /home/quant /tmp /opt/other/file; hostname", check=False).stdout.split() == [
            "/home/quant:", "/tmp:", "other",
        ]  # fmt: skip
        assert other.run("test", "-e", str(ROOT / "pyproject.toml"), check=False).returncode == 1
        listen = (
            "import socket; s = socket.create_server(('', 7000)); print('up', flush=True); s.accept()[0].send(b'hello')"
        )
        with one.start("python3", "-c", listen) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "up\n"
            ask = f"import socket; print(socket.create_connection(('{one.address}', 7000)).recv(9))"
            assert other.run("python3", "-c", ask).stdout == "b'hello'\n"
        one.lose_power()
        ask = f"import socket; socket.create_connection(('{one.address}', 7000), 1)"
        assert other.run("python3", "-c", ask, check=False).returncode == 1
    assert not (environment / "file").exists()


@pytest.mark.deep
def test_no_row_differs_whatever_is_lost_and_each_fault_ends_with_one_line() -> None:
    pytest.importorskip("ray", reason="needs Ray; run: make test-ray")
    command = [
        sys.executable,
        "-m",
        "benchmarks.cluster_of_namespaces",
        "--try",
        "--instruments",
        "40",
        "--texts",
        "800",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    told = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert [fault.__name__.replace("_", " ") for fault in FAULTS] == [each for each in told if each.startswith("a ")]
