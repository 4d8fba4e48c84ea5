"""A night of 50 regions on 500 instruments, 20 of which have ended, 3 are young and 1 was renamed.

Run ``python -m benchmarks.living_night [PRICES]``. `PRICES` is a file of daily bars, such as those of
../shared/data/prices; its instruments, under names of their own for each copy, are the 500. Without one, seeded walks
are taken. Of the regions, 30 are single instruments, one of which has ended and one is young, and 20 have 25 members
each. Printed are the counts of the report, its exit code, and what it and the night after it took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.idle_night import children_cpu, home
from benchmarks.recording import record
from benchmarks.servers import server_cpu_s
from benchmarks.year_of_nights import read_bars

N_INSTRUMENTS, N_ENDED, N_YOUNG, N_SINGLE, N_MIXED, N_MEMBERS = 500, 20, 3, 30, 20, 25
LAST, ENDED_ON, YOUNG_FROM, RENAMED_ON = date(2020, 12, 31), date(2019, 6, 28), date(2020, 9, 1), date(2020, 11, 2)
COMMAND = (sys.executable, "-m", "prometheus")


def main() -> None:
    """Store the instruments, tell of the rename, run two nights, and keep what they told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prices", nargs="?", type=Path)
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    given = parser.parse_args()
    with home(None) as folder:
        (folder / "regions.json").write_text("{}")
        names = fill(folder, given.prices)
        (folder / "regions.json").write_text(json.dumps(regions_of(names)))
        figures = {**night("first night"), **night("the night after it")}
    settings = {"prices": given.prices.name if given.prices else "seeded walks", "instruments": len(names)}
    record("living_night", settings, figures, keep=not given.is_trial)


def fill(folder: Path, prices: Path | None) -> list[str]:
    """Load the bars of the instruments, with their fates, and return their names, those with fates first."""
    bars = read_bars(prices, 125, LAST.year)
    own = sorted(set(bars["instrument_id"].to_pylist()))
    copies, names = [], list[str]()
    for number in range(-(-N_INSTRUMENTS // len(own))):
        chosen = own[: N_INSTRUMENTS - len(names)]
        renamed = pc.binary_join_element_wise(pc.cast(bars["instrument_id"], pa.string()), str(number), ".")
        copies.append(
            bars.set_column(0, "instrument_id", renamed).filter(pc.is_in(bars["instrument_id"], pa.array(chosen)))
        )
        names += [f"{name}.{number}" for name in chosen]
    table = pa.concat_tables(copies)
    ended, young, old = names[:N_ENDED], names[N_ENDED : N_ENDED + N_YOUNG], names[N_ENDED + N_YOUNG]
    day, name = table["trade_date"], table["instrument_id"]
    is_gone = pc.and_(pc.is_in(name, pa.array(ended)), pc.greater(day, pa.scalar(ENDED_ON)))
    is_early = pc.and_(pc.is_in(name, pa.array(young)), pc.less(day, pa.scalar(YOUNG_FROM)))
    is_new = pc.and_(pc.equal(name, old), pc.greater_equal(day, pa.scalar(RENAMED_ON)))
    table = table.set_column(0, "instrument_id", pc.if_else(is_new, "NEW.ID", name))
    pq.write_table(table.filter(pc.invert(pc.or_(is_gone, is_early))), folder / "bars.parquet")
    must("ingest", "prices", str(folder / "bars.parquet"), "--currency", "USD")
    must("instruments", "rename", old, "NEW.ID")
    return names


def regions_of(names: Sequence[str]) -> dict[str, Any]:
    """Return regions of one instrument, an ended and a young one among them, and of many, all instruments in all."""
    living = names[N_ENDED + N_YOUNG :]
    singles = [names[0], names[N_ENDED], *living[: N_SINGLE - 2]]
    regions: dict[str, Any] = {f"ONE {name}": {"instrument_id": name} for name in singles}
    rest = np.array([name for name in names if name not in singles])
    order = np.random.default_rng(1).permutation(rest)  # the ended and the young are spread over the regions
    anchors = living[N_SINGLE : N_SINGLE + N_MIXED]
    for number, part in enumerate(np.array_split(order, N_MIXED)):
        members = dict.fromkeys([anchors[number], *part.tolist()], 1.0)
        regions[f"MANY {number:02}"] = {"members": members, "anchor": anchors[number]}
    return regions


def night(title: str) -> dict[str, float]:
    """Run a night up to the last date and return its exit code, counts and processor seconds."""
    own, server, begin = children_cpu(), server_cpu_s(), time.perf_counter()
    command = [*COMMAND, "nightly", "--as-of", str(LAST), "--since", "2020-12-01", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    clock = time.perf_counter() - begin
    if not done.stdout:
        raise SystemExit(done.stderr)
    counts = json.loads(done.stdout)["standings"]
    told = {
        f"{title}, {kind} {standing}": float(n)
        for kind in ("regions", "instruments") for standing, n in counts[kind].items()
    }  # fmt: skip
    cpu = children_cpu() - own + server_cpu_s() - server
    return {f"{title}, exit code": float(done.returncode), **told, f"{title}, CPU s": cpu, f"{title}, s": clock}


def must(*arguments: str) -> None:
    """Run a command that ends well, findings in prices aside."""
    done = subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode not in (0, 3):
        raise SystemExit(f"{arguments}: {done.returncode}\n{done.stderr}")


if __name__ == "__main__":
    main()
