"""All stocks of a market calibrated, then labelled, each in one command: processor time of the client and the server.

Run ``python -m benchmarks.market_members``, for random walks, or with a file of real prices. Every label is new; a row
is a session of a stock, with its vector in both tables and its statement in the forward record.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.one_date import list_in_market
from benchmarks.recording import record
from benchmarks.servers import LAST, load_random_walks, own_server, server_cpu_s
from prometheus.app import App
from prometheus.cli.runner import run_named
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.regime.calibration import DECODE_SESSIONS

N_MEASURED = 206
"""Stocks of the file of real prices, whose seconds have a bar."""
WARM_UP = WINDOW_DAYS - 1 + DECODE_SESSIONS - 1


def main() -> None:
    """Print seconds and microseconds a row, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", help="prices of stocks, such as sp500_a_daily_2000_2020.parquet")
    parser.add_argument("--stocks", type=int, default=16, help="random walks without a file")
    parser.add_argument("--sessions", type=int, default=5_000, help="labels of each random walk")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    with own_server() as app:
        if arguments.file:
            run_named("ingest", ["prices", arguments.file, "--currency", "USD"])
        else:
            names = load_random_walks(app.db_manager, arguments.stocks, arguments.sessions + WARM_UP)
            list_in_market(app, names)
        figures = measure(app)
    settings = {"file": arguments.file and Path(arguments.file).name, "until": str(LAST)}
    record("market_members", settings, figures, keep=not arguments.is_trial)


def measure(app: App) -> dict[str, float]:
    """Return the figures of both commands."""
    folder = Path(os.environ["PROMETHEUS_HOME"]) / "members"
    market = ["--market-id", "US_EQ"]
    calibrated = spent(["calibrate", *market, "--until", str(LAST), "--output", str(folder)])
    dates = ["--start", "1990-01-01", "--end", str(LAST)]
    labelled = spent(["run_numeric_regime", *market, *dates, "--prototypes", str(folder)])
    n_stocks = len(list(folder.iterdir()))
    n_rows = sum(each.n_dates for each in app.regimes.histories())
    parts = {"calibrate": calibrated, "label": labelled}
    figures = {f"{part}, {what} s": value for part, took in parts.items() for what, value in took.items()}
    processor = {part: took["client"] + took["server"] for part, took in parts.items()}
    if len(app.wired.catalog.list_instruments("US_EQ", None, 0)) == N_MEASURED:
        figures[f"{N_MEASURED} stocks, s of clock"] = calibrated["clock"] + labelled["clock"]
    return figures | {
        "both, clock s": calibrated["clock"] + labelled["clock"],
        "both, processor s": sum(processor.values()),
        "stocks": n_stocks,
        "labels": n_rows,
        "calibrate, processor ms a stock": 1e3 * processor["calibrate"] / n_stocks,
        "label, client us a row": 1e6 * labelled["client"] / n_rows,
        "label, server us a row": 1e6 * labelled["server"] / n_rows,
    }


def spent(command: Sequence[str]) -> dict[str, float]:
    """Return the seconds that a command took: on the clock, and of processors in its process and in the server."""
    server, client, clock = server_cpu_s(), client_seconds(), time.monotonic()
    subprocess.run([sys.executable, "-m", "prometheus", *command], check=True, capture_output=True)
    took = time.monotonic() - clock
    return {"clock": took, "client": client_seconds() - client, "server": server_cpu_s() - server}


def client_seconds() -> float:
    """Return the processor time of the processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
