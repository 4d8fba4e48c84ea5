"""Tools around a server: a client in this process, a real one in its own."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from tests.fixtures.database import set_environment

from prometheus.core.config import PrometheusConfig

REGION = "US_INDEX"
FIRST, LAST = "2019-01-02", "2020-06-30"
TOKEN = "a-token-of-enough-characters"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


@contextmanager
def client_of(application: ASGIApp, **settings: Any) -> Iterator[TestClient]:
    """Yield a client of an application, under a name that it goes by."""
    with TestClient(application, base_url="http://127.0.0.1:8321", raise_server_exceptions=False, **settings) as client:
        yield client


@dataclass(frozen=True)
class Served:
    """A running ``serve`` and where it is."""

    process: subprocess.Popen[str]
    address: str

    def get(self, path: str, timeout_s: float = 15.0, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.address}{path}", headers=headers, timeout=timeout_s, verify=_TRUSTED)

    def stop(self) -> tuple[int, str, str]:
        """Ask it to end, and return its exit code, what it said after its address, and its complaints."""
        self.process.send_signal(signal.SIGTERM)
        stdout, stderr = self.process.communicate(timeout=30)
        return self.process.returncode, stdout, stderr


_TRUSTED = ssl.create_default_context()
"""Made once: httpx would read all certificates for each question, which takes longer than most answers."""


@contextmanager
def serving(home: Path, *options: str, **environment: str) -> Iterator[Served]:
    """Run ``python -m prometheus serve`` on a free port until the block ends."""
    command = [sys.executable, "-m", "prometheus", "serve", "--port", "0", *options]
    clean = {name: value for name, value in ENVIRONMENT.items() if not name.startswith(("PROMETHEUS_", "PG"))}
    process = subprocess.Popen(
        command, env=clean | {"PROMETHEUS_HOME": str(home)} | environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Prometheus is at "), process.communicate(timeout=30)
        yield Served(process, line.split()[3].rstrip(";"))
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool], timeout_s: float = 30.0) -> float:
    """Wait for something that must become true; return how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - began


def config_of(home: Path) -> PrometheusConfig:
    """Return the settings that lead to a home and say nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, {"PROMETHEUS_HOME": str(home)})
        return PrometheusConfig()
