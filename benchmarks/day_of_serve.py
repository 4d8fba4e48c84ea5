"""A day of questions, pressed into minutes: errors, times and memory of ``serve`` beside a night and a restart.

Run ``python -m benchmarks.day_of_serve``. A real ``serve`` over the rows of the demo is asked what pages, programs,
searches and monitors ask in 24 hours, at random moments of fewer minutes, whether earlier questions were answered or
not; each is timed from when it was due. At half time a night labels a new region, texts included, beside it; at three
quarters the server is told to stop and started again. Questions that find no server then are counted by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from benchmarks.recording import record
from benchmarks.servers import own_server
from benchmarks.web_api import memory_mib
from prometheus.cli.runner import run_named

DAY: Mapping[str, tuple[int, str]] = {
    "page of all regions": (3_000, "/?as_of={day}"),
    "page of a region": (3_000, "/regions/US_INDEX/{day}"),
    "latest": (8_000, "/v1/regions/US_INDEX/regimes/latest"),
    "one date": (4_000, "/v1/regions/US_INDEX/regimes/{day}"),
    "a year of regimes": (2_000, "/v1/regions/US_INDEX/regimes?start={day}&limit=250"),
    "a table": (500, "/v1/regions/US_INDEX/regimes.csv?start={day}"),
    "analogs": (600, "/v1/regions/US_INDEX/analogs?as_of={day}"),
    "texts": (600, "/v1/texts/search?q={words}&as_of=2025-01-31"),
    "embeddings": (300, "/v1/regions/US_INDEX/embeddings?start={day}&limit=20"),
    "nights": (300, "/v1/nights"),
    "metrics": (5_760, "/metrics"),
    "readyz": (2_880, "/readyz"),
    "healthz": (8_640, "/healthz"),
}
"""Questions of each kind in a day, and how they are asked."""
WORDS = ("banks", "inflation", "rates", "credit", "housing", "trouble", "growth", "trade")
REGIONS = {"US_MIX": {"members": {"GSPC.INDX": 0.6, "AAPL.US": 0.4}, "country": "US"}}
NIGHT = ("nightly", "--as-of", "2023-12-28", "--since", "2010-01-04", "--json")
PATIENCE_S = 30.0


@dataclass(slots=True)
class Told:
    """What was answered: seconds by kind, statuses, and what found no server while that was started again."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[str] = field(default_factory=Counter)
    n_while_away: int = 0


class Serving:
    """A ``serve`` that can be started again on the same port."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.is_away = False
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [sys.executable, "-m", "prometheus", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("Prometheus is at ")

    def stop(self) -> int:
        """Tell it to stop, and return its exit code."""
        self.process.terminate()
        return self.process.wait(30)

    def memory(self) -> float:
        """MiB that it takes."""
        return memory_mib(self.process.pid)


def main() -> None:
    """Print the figures, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="into which the day is pressed")
    parser.add_argument("--share", type=float, default=1.0, help="of the day's questions")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    with own_server(), tempfile.TemporaryDirectory() as folder:
        if run_named("demo", ["--folder", folder]) != 0:
            raise SystemExit("the demo failed")
        os.environ |= {"PROMETHEUS_REGIONS": json.dumps(REGIONS), "PROMETHEUS_TEXT_MODEL_ID": "text-static-v1"}
        served = Serving()
        try:
            figures = asyncio.run(spend_day(served, 60 * arguments.minutes, arguments.share))
        finally:
            served.stop()
    settings = {"minutes": arguments.minutes, "share": arguments.share}
    record("day_of_serve", settings, figures, keep=not arguments.is_trial)


async def spend_day(served: Serving, seconds: float, share: float) -> dict[str, float]:
    """Ask all questions, run the night and start the server again; return the figures."""
    told, draw = Told(), random.Random(1)
    questions = [(kind, path) for kind, (number, path) in DAY.items() for _ in range(round(number * share))]
    moments = sorted((draw.uniform(0, seconds), kind, _asked(path, draw)) for kind, path in questions)
    figures = {"memory at start, MiB": served.memory()}
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=20)
    address = f"http://127.0.0.1:{served.port}"
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S, limits=limits) as client:
        began = asyncio.get_running_loop().time()
        asking = [asyncio.create_task(_ask(client, served, told, kind, path, began + at)) for at, kind, path in moments]
        await asyncio.sleep(seconds / 2)
        figures |= {"memory before the night, MiB": served.memory()} | await _run_night()
        figures["memory after the night, MiB"] = served.memory()
        await asyncio.sleep(max(0.0, began + 0.75 * seconds - asyncio.get_running_loop().time()))
        figures["memory before the restart, MiB"] = served.memory()
        figures |= await _restart(served)
        await asyncio.gather(*asking)
    figures["memory at the end, MiB"] = served.memory()
    return figures | _figures_of(told)


async def _ask(client: httpx.AsyncClient, served: Serving, told: Told, kind: str, path: str, due: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(due - loop.time())
    was_away = served.is_away
    try:
        status = (await client.get(path)).status_code
        name = "refused" if status == 503 else "error" if status >= 400 else "answered"
    except httpx.TransportError as error:
        if was_away or served.is_away:
            told.n_while_away += 1
            return
        name = f"error {type(error).__name__}"
    told.statuses["error" if name.startswith("error") else name] += 1
    if name != "answered":
        print(f"{kind}: {name}: {path}", file=sys.stderr)
    told.seconds[kind].append(loop.time() - due)


async def _run_night() -> dict[str, float]:
    began = time.perf_counter()
    night = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "prometheus", *NIGHT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await night.communicate()
    figures = {"night: exit code": float(night.returncode or 0), "night: seconds": time.perf_counter() - began}
    return figures | {"night: rows": float(json.loads(said)["written"])}


async def _restart(served: Serving) -> dict[str, float]:
    began = time.perf_counter()
    served.is_away = True
    exit_code = await asyncio.to_thread(served.stop)
    await asyncio.to_thread(served.start)
    seconds = time.perf_counter() - began
    await asyncio.sleep(0.5)  # answers to connections that were made before
    served.is_away = False
    return {"restart: exit code": float(exit_code), "restart: seconds": seconds}


def _figures_of(told: Told) -> dict[str, float]:
    everything = sorted(seconds for found in told.seconds.values() for seconds in found)
    figures = {
        "questions": float(len(everything)), "answered": float(told.statuses["answered"]),
        "errors": float(told.statuses["error"]), "refused": float(told.statuses["refused"]),
        "asked while it was started again": float(told.n_while_away),
        "p50, ms": 1e3 * statistics.median(everything), "p99, ms": 1e3 * _quantile(everything, 0.99),
        "longest, ms": 1e3 * everything[-1],
    }  # fmt: skip
    return figures | {f"{kind}: p99, ms": 1e3 * _quantile(sorted(found), 0.99) for kind, found in told.seconds.items()}


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))]


def _asked(path: str, draw: random.Random) -> str:
    day = f"{draw.randint(2009, 2022)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
    return path.format(day=day, words="%20".join(draw.sample(WORDS, 3)))


if __name__ == "__main__":
    main()
