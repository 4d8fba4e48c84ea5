"""How long each route of the API takes at 50 requests a second, and what 10,000 requests do to memory.

Run ``python -m benchmarks.web_api``. A real ``serve`` over the rows of the demo; requests leave by the clock, whether
earlier ones were answered or not, and are timed from when they were due, so a stall is not hidden by waiting for it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import httpx

from benchmarks.recording import record
from benchmarks.servers import own_server
from prometheus.cli.runner import run_named

ROUTES = {
    "healthz": "/healthz",
    "readyz": "/readyz",
    "metrics": "/metrics",
    "regions": "/v1/regions",
    "regimes, 250 of them": "/v1/regions/US_INDEX/regimes?start=2020-01-01&limit=250",
    "latest, explained": "/v1/regions/US_INDEX/regimes/latest",
    "one date, explained": "/v1/regions/US_INDEX/regimes/2020-03-16",
    "transitions": "/v1/regions/US_INDEX/transitions",
    "analogs, numeric": "/v1/regions/US_INDEX/analogs?as_of=2020-03-16",
    "texts, 35 searched": "/v1/texts/search?q=banks%20in%20trouble&as_of=2025-01-31",
    "embeddings, 20 as JSON": "/v1/regions/US_INDEX/embeddings?limit=20",
    "embeddings, 250 as Arrow": "/v1/regions/US_INDEX/embeddings?start=2020-01-01&end=2020-12-31",
    "runs": "/v1/runs",
    "openapi": "/v1/openapi.json",
}
REFUSED = "share refused"
ARROW = {"Accept": "application/vnd.apache.arrow.stream"}


def main() -> None:
    """Print the figures, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each route")
    parser.add_argument("--requests", type=int, default=10_000, help="between the two looks at memory")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    with own_server(), tempfile.TemporaryDirectory() as folder:
        if run_named("demo", ["--folder", folder]) != 0:
            raise SystemExit("the demo failed")
        with serving() as (process, address):
            figures = asyncio.run(measure(process, address, arguments.rate, arguments.seconds, arguments.requests))
    settings = {"rate": arguments.rate, "seconds": arguments.seconds, "requests": arguments.requests}
    record("web_api", settings, figures, keep=not arguments.is_trial)


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a running ``serve`` and its address."""
    command = [sys.executable, "-m", "prometheus", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().split()[3].rstrip(";")
    finally:
        process.terminate()
        process.wait(30)


async def measure(
    process: subprocess.Popen[str], address: str, rate: float, seconds: float, n_requests: int
) -> dict[str, float]:
    """Return the latencies of each route, then the memory before and after many requests to all of them."""
    figures: dict[str, float] = {"memory at start, MiB": memory_mib(process.pid)}
    unbounded = httpx.Limits(max_connections=400, max_keepalive_connections=400)
    async with httpx.AsyncClient(base_url=address, timeout=30, limits=unbounded) as client:
        await ask(client, "texts", ROUTES["texts, 35 searched"])
        figures["memory with the text model, MiB"] = memory_mib(process.pid)
        for name, path in ROUTES.items():
            await ask(client, name, path)
            found = await latencies(client, name, path, rate, int(rate * seconds))
            if any(label.endswith(REFUSED) for label in found):
                found |= await latencies(client, f"{name}, a tenth as often", path, rate / 10, int(rate * seconds / 5))
            figures |= found
        await ask_many(client, n_requests // 10)
        figures["memory before, MiB"] = memory_mib(process.pid)
        began = time.perf_counter()
        await ask_many(client, n_requests)
        figures["requests a second, 4 at once"] = n_requests / (time.perf_counter() - began)
        figures["memory after, MiB"] = memory_mib(process.pid)
    return figures


async def latencies(client: httpx.AsyncClient, name: str, path: str, rate: float, n_requests: int) -> dict[str, float]:
    """Return the quantiles of the answers, and the share that was refused (503: too many under way) if any was."""
    took = await open_loop(client, name, path, rate, n_requests)
    answered = sorted(seconds for seconds, is_answered in took if is_answered)
    figures = {
        f"{name}: p50, ms": 1e3 * statistics.median(answered),
        f"{name}: p99, ms": 1e3 * answered[int(0.99 * (len(answered) - 1))],
    }
    if len(answered) < len(took):
        figures[f"{name}: {REFUSED}"] = 1 - len(answered) / len(took)
    return figures


async def open_loop(
    client: httpx.AsyncClient, name: str, path: str, rate: float, n_requests: int
) -> list[tuple[float, bool]]:
    """Return of each request how long after it was due it ended, in seconds, and whether it was answered."""
    loop = asyncio.get_running_loop()
    began = loop.time() + 0.05

    async def one(number: int) -> tuple[float, bool]:
        due = began + number / rate
        await asyncio.sleep(due - loop.time())
        is_answered = await ask(client, name, path)
        return loop.time() - due, is_answered

    return list(await asyncio.gather(*(one(number) for number in range(n_requests))))


async def ask_many(client: httpx.AsyncClient, n_requests: int) -> None:
    """Ask all routes in turn, four at a time."""
    turns = islice(cycle(ROUTES.items()), n_requests)

    async def work(turns: Iterator[tuple[str, str]]) -> None:
        for name, path in turns:
            await ask(client, name, path)

    await asyncio.gather(*(work(turns) for _ in range(4)))


async def ask(client: httpx.AsyncClient, name: str, path: str) -> bool:
    """Ask once; return whether there was an answer, not a refusal of too many. Anything else ends the benchmark."""
    headers = ARROW if "Arrow" in name else {}
    try:
        response = await client.get(path, headers=headers)
    except httpx.RemoteProtocolError:  # the server closed an idle connection just as it was used; browsers ask again
        response = await client.get(path, headers=headers)
    if response.status_code != 503:
        response.raise_for_status()
    return response.status_code == 200


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    lines: Sequence[str] = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


if __name__ == "__main__":
    main()
