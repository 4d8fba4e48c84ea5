"""What the judge of prices finds, how soon, and how often it is wrong: faults put into real histories at random places.

Run ``python -m benchmarks.price_quality``; it reads the shared stocks, markets and repaired vendor histories. A fault
is found when its bar is held on its day and settled by the next one. Rates per year are of the histories as they are.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import prometheus
from benchmarks.recording import record
from prometheus.arrays import Float64Vector
from prometheus.ingest.sample import PRICES as SAMPLE
from prometheus.market.bars import PriceBars
from prometheus.market.calendar import TradingCalendar
from prometheus.market.quality import (
    CONTEXT,
    FROZEN_BARS,
    JUDGED_FIELDS,
    Judgement,
    Verdict,
    judge,
    missing_sessions,
)

SHARED = Path(__file__).parents[2] / "shared" / "data" / "prices"
HISTORIES = {"stocks": "sp500_a_daily_2000_2020.parquet", "markets": "markets_dev_to_2020.parquet"}
PAIRS = "price_repair_pairs_a.parquet"
SEED = 20_261_127
SIZES = (1.1, 1.2, 1.35, 1.5, 2.0, 3.0, 10.0, 100.0)
RATIOS = (2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0)
FROZEN = (6, 10, 20, 40, 60)
HOLES = (6, 20, 34, 63, 64, 120)
PLACES_PER_FAULT, N_SPOILT = 400, 40
SESSIONS_PER_YEAR = 252
PRICES = slice(0, 4)
CLOSES = slice(0, 2)
VOLUME = 4


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to spoil bars: `spoil` changes their values, shape (n_fields, n), from a row on."""

    name: str
    expected: Verdict
    spoil: Callable[[np.ndarray, int], None]


def main() -> None:
    """Print the figures, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=int, default=PLACES_PER_FAULT)
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    for kind, file in HISTORIES.items():
        histories = list(read_histories(SHARED / file, "instrument_id"))
        figures |= {f"{kind}: {name}": value for name, value in false_alarms(histories).items()}
        figures |= {f"{kind}: {name}": value for name, value in recalls(histories, arguments.places).items()}
        figures |= {f"{kind}: {name}": value for name, value in spans(histories, arguments.places).items()}
    figures |= repaired_pairs()
    figures |= labels_beside_one_bar()
    record("price_quality", {"places": arguments.places, "seed": SEED}, figures, keep=not arguments.is_trial)


def read_histories(path: Path, by: str) -> Iterator[PriceBars]:
    """Yield the bars of each instrument of a file; without an adjusted close the close is one."""
    table = pq.read_table(path)
    order = [(by, "ascending"), ("trade_date", "ascending")]
    table = table.sort_by(order)
    names = table[by].to_numpy()
    for name in np.unique(names).tolist():
        rows = table.filter(pc.equal(table[by], name))
        close, high, low, volume = (rows[field].to_numpy().astype(np.float64) for field in JUDGED_FIELDS[1:])
        adjusted = rows["adj_close"].to_numpy().astype(np.float64) if "adj_close" in rows.schema.names else close
        dates = rows["trade_date"].to_numpy().astype("M8[D]")
        values = np.stack([adjusted, close, high, low, volume])
        yield PriceBars((name,), np.array([0, len(dates)]), dates, JUDGED_FIELDS, values)


def judged(bars: PriceBars) -> Judgement:
    """Return the verdicts on bars dated by the calendar of New York."""
    return judge(bars, missing_sessions(bars.dates, TradingCalendar()))


def false_alarms(histories: list[PriceBars]) -> Mapping[str, float]:
    """Return how often bars as they are, are held or called wrong; printed one by one to be looked at by hand."""
    held: Counter[str] = Counter()
    begin = time.perf_counter()
    judgements = [judged(bars) for bars in histories]
    cost = time.perf_counter() - begin
    for bars, judgement in zip(histories, judgements, strict=True):
        for row in np.flatnonzero(judgement.on_day).tolist():
            verdict = Verdict(judgement.settled[row])
            held[verdict.name.lower()] += 1
            held["suspect"] += int(judgement.on_day[row] == Verdict.SUSPECT)
            if verdict in (Verdict.ERROR, Verdict.BREAK):
                print(f"{bars.instrument_ids[0]} {bars.dates[row]}: {verdict.name}, {judgement.log_returns[row]:+.3f}")
    n_bars = sum(map(len, histories))
    years = n_bars / SESSIONS_PER_YEAR
    rates = {
        f"{name} per year of one instrument": held[name] / years
        for name in ("suspect", "error", "break", "frozen", "hole")
    }
    return {**rates, "bars judged per second": n_bars / cost}


def recalls(histories: list[PriceBars], n_places: int) -> Mapping[str, float]:
    """Return by kind and size of a fault the share found; its places are drawn among all bars with enough before."""
    generator = np.random.default_rng(SEED)
    long_enough = [bars for bars in histories if len(bars) > 2 * CONTEXT]
    found: dict[str, float] = {}
    for fault in faults():
        hits = 0
        for _ in range(n_places):
            bars = long_enough[generator.integers(len(long_enough))]
            row = int(generator.integers(CONTEXT, len(bars) - 10))
            part = bars.take(slice(row - CONTEXT, row + 10))
            values = part.values.copy()
            fault.spoil(values, CONTEXT)
            judgement = judged(replace(part, values=values))
            hits += int(judgement.is_held[CONTEXT] and judgement.settled[CONTEXT] == fault.expected)
        found[f"{fault.name}: found"] = hits / n_places
    return found


def spans(histories: list[PriceBars], n_places: int) -> Mapping[str, float]:
    """Return by length the share of frozen feeds found on the sixth still bar, and of holes on the first bar after."""
    generator = np.random.default_rng(SEED)
    longest = max(HOLES)
    long_enough = [bars for bars in histories if len(bars) > 2 * (CONTEXT + longest)]
    hits: Counter[str] = Counter()
    for _ in range(n_places):
        bars = long_enough[generator.integers(len(long_enough))]
        row = int(generator.integers(CONTEXT, len(bars) - longest - 10))
        part = bars.take(slice(row - CONTEXT, row + longest + 10))
        for length in FROZEN:
            values = part.values.copy()
            values[PRICES, CONTEXT : CONTEXT + length] = values[PRICES, CONTEXT - 1 : CONTEXT]
            values[VOLUME, CONTEXT : CONTEXT + length] = 0.0
            on_day = judged(replace(part, values=values)).on_day
            hits[f"frozen for {length}: found"] += int(on_day[CONTEXT + FROZEN_BARS - 1] == Verdict.FROZEN)
        for length in HOLES:
            kept = np.delete(np.arange(len(part)), slice(CONTEXT, CONTEXT + length))
            offsets = np.array([0, len(kept)])
            holed = replace(part, offsets=offsets, dates=part.dates[kept], values=part.values[:, kept])
            found = (Verdict.HOLE, Verdict.NEW_START)
            hits[f"{length} sessions missing: found"] += int(judged(holed).on_day[CONTEXT] in found)
    return {name: count / n_places for name, count in hits.items()}


def labels_beside_one_bar() -> Mapping[str, float]:
    """Return how many labels of the S&P 500, calibrated until 2007, differ if one bar of 2008-2017 is times 100.

    The label of the bar's own day is held; it counts like the others.
    """
    table = pq.read_table(SAMPLE, filters=[("instrument_id", "=", "GSPC.INDX")]).to_pandas().sort_values("trade_date")
    table = table[pd.to_datetime(table["trade_date"]) < "2018-01-01"].set_index("trade_date")
    is_later = pd.to_datetime(table.index) >= "2008-01-01"
    model = prometheus.RegimeClassifier().fit(table[~is_later])
    clean = model.predict(table[is_later])
    generator = np.random.default_rng(SEED)
    places = generator.choice(np.arange(5, is_later.sum() - 5), N_SPOILT, replace=False)
    differing = []
    for place in places.tolist():
        spoilt = table[is_later].copy()
        prices = ["open", "high", "low", "close", "adjusted_close"]
        spoilt.loc[spoilt.index[place], prices] = spoilt.loc[spoilt.index[place], prices] * 100
        differing.append(int((model.predict(spoilt) != clean).sum()))
    print("labels that differ, place by place:", differing)
    return {
        "labels that differ after one bar x100: mean": float(np.mean(differing)),
        "labels that differ after one bar x100: most": float(max(differing)),
        "labels that differ after one bar x100: places with at most 1": float(np.mean(np.array(differing) <= 1)),
    }


def faults() -> Iterator[Fault]:
    """Yield every kind of fault at every size."""
    for size in SIZES:
        for factor, way in ((size, "x"), (1 / size, "/")):
            yield Fault(f"one bar {way}{size:g}", Verdict.ERROR, multiplied(PRICES, factor, n_rows=1))
            yield Fault(f"one close {way}{size:g}", Verdict.ERROR, multiplied(CLOSES, factor, n_rows=1))
    for ratio in RATIOS:
        for factor, way in ((1 / ratio, f"{ratio:g}:1"), (ratio, f"1:{ratio:g}")):
            yield Fault(f"split {way} left in", Verdict.BREAK, multiplied(PRICES, factor))
            yield Fault(f"split {way} left in, volume too", Verdict.BREAK, multiplied(PRICES, factor, 1 / factor))
    for factor, way in ((100, "x"), (0.01, "/")):
        yield Fault(f"unit {way}100 from a day on", Verdict.BREAK, multiplied(PRICES, factor))


def multiplied(
    fields: slice, factor: float, volume_factor: float = 1.0, n_rows: int | None = None
) -> Callable[[np.ndarray, int], None]:
    """Return a fault that multiplies prices, and volumes, of `n_rows` from a row on, or of all."""

    def spoil(values: np.ndarray, row: int) -> None:
        rows = slice(row, None if n_rows is None else row + n_rows)
        values[fields, rows] *= factor
        values[VOLUME, rows] *= volume_factor

    return spoil


def repaired_pairs() -> Mapping[str, float]:
    """Return by kind of defect on how many days the vendor's repair changed the adjusted return by over 15 %, and how
    many of them are not called sound here on their day."""
    table = pq.read_table(SHARED / PAIRS)
    repaired: Counter[str] = Counter()
    found: Counter[str] = Counter()
    kinds = sorted({(row["ticker"], row["defect"]) for row in table.select(["ticker", "defect"]).to_pylist()})
    for ticker, defect in kinds:
        rows = table.filter((pc.field("ticker") == ticker) & (pc.field("defect") == defect))
        raw, fixed = (vendor_bars(rows.filter(pc.field("variant") == variant)) for variant in ("raw", "fixed"))
        if len(raw) != len(fixed):
            continue
        wrong_by = np.abs(log_returns(raw) - log_returns(fixed)) > 0.15
        repaired[defect] += int(wrong_by.sum())
        found[defect] += int(((judged(raw).on_day != Verdict.SOUND) & wrong_by).sum())
    return {
        f"vendor's {kind}, {count} days: not called sound": float(found[kind])
        for kind, count in repaired.items()
        if count
    }


def vendor_bars(rows: pa.Table) -> PriceBars:
    """Return a vendor's rows as bars; an adjusted close that is not positive counts as the close."""
    rows = rows.sort_by("datetime")
    close, high, low, volume = (rows[field].to_numpy().astype(np.float64) for field in JUDGED_FIELDS[1:])
    adjusted = rows["adj_close"].to_numpy().astype(np.float64)
    dates = np.array([stamp[:10] for stamp in rows["datetime"].to_pylist()], dtype="M8[D]")
    values = np.stack([np.where(adjusted > 0, adjusted, close), close, high, low, volume])
    return PriceBars(("pair",), np.array([0, len(dates)]), dates, JUDGED_FIELDS, values)


def log_returns(bars: PriceBars) -> Float64Vector:
    """Return the log returns of the adjusted closes, 0 first, shape (n,)."""
    log_closes = np.log(bars.column("adjusted_close"))
    return np.diff(log_closes, prepend=log_closes[:1])


if __name__ == "__main__":
    main()
