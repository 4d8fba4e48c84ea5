"""Make the packaged pooled prototypes again: centres from ^GSPC 1930-1989, variances from development markets.

    python -m benchmarks.pooled_prototypes ../shared/data/prices/gspc_1927_2020.parquet \
        ../shared/data/prices/markets_dev_to_2020.parquet --check

Prototypes are found in spans of eight lengths, and in the 1,500 sessions after each. What a span's prototypes deviate
from the pooled ones, and those after it do too, lasts; the rest is chance. Each market weighs the same; ^GSPC is read
up to 1989, so that the S&P 500 from 1990 on is judged by nothing of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.described import DescribedMarket, read_markets
from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.regime.calibration import ORDER, CalibrationSettings, DescribedSessions, find_prototypes
from prometheus.regime.pooled import PooledPrototypes, packaged_pooled

POOL, UNTIL = "^GSPC", "1989-12-31"
LEFT_OUT = frozenset({"VIX.INDX"})
LENGTHS = (252, 300, 500, 756, 1_000, 1_500, 2_000, 3_000)
LATER, STEP = 1_500, 375


class Moments(NamedTuple):
    """Of spans of one length: the markets that have any, mean squared deviation, and what of it lasts."""

    n_markets: int
    deviation: float
    lasting: float


def read_sessions(files: Sequence[Path]) -> dict[str, DescribedSessions]:
    """Return the sessions of each market that may be learned from."""
    markets = {name: market for file in files for name, market in read_markets(file).items() if name not in LEFT_OUT}
    return {name: _sessions(market, UNTIL if name == POOL else None) for name, market in markets.items()}


def _sessions(market: DescribedMarket, until: str | None) -> DescribedSessions:
    sessions = DescribedSessions.of(market.dates, market.vectors)
    return sessions if until is None else sessions.take(slice(0, int((market.dates <= np.datetime64(until)).sum())))


def pool(markets: dict[str, DescribedSessions]) -> PooledPrototypes:
    """Return the pooled prototypes of some markets."""
    centers = np.round(_centers(markets[POOL]), 6)
    moments = [_moments(markets.values(), centers, length) for length in LENGTHS]
    weights = np.array([each.n_markets for each in moments], dtype=np.float64)
    lasting = float(np.average([each.lasting for each in moments], weights=weights))
    passing, sampling = _fall(np.array([each.deviation - lasting for each in moments]), weights)
    source = {"centers": f"{POOL} until {UNTIL}", "variances": ", ".join(sorted(markets)), "lengths": list(LENGTHS)}
    by_label = dict(zip(ORDER, centers, strict=True))
    return PooledPrototypes(by_label, round(lasting, 3), round(passing, 3), round(sampling, 1), source)


def _centers(sessions: DescribedSessions) -> Float64Matrix:
    prototypes, _, _ = find_prototypes(sessions, CalibrationSettings())
    return np.stack([each.center for each in prototypes]).astype(np.float64)


def _moments(markets: Iterable[DescribedSessions], pooled: Float64Matrix, length: int) -> Moments:
    """Of what comes later the mean spacing of the four is taken out: short spans have narrower ones everywhere."""
    before, after, weights = [], [], []
    for sessions in markets:
        ends = range(length, len(sessions) - LATER + 1, STEP)
        before += [_centers(sessions.take(slice(end - length, end))) - pooled for end in ends]
        after += [_centers(sessions.take(slice(end, end + LATER))) - pooled for end in ends]
        weights += [1.0 / max(len(ends), 1)] * len(ends)
    spans, later, shares = np.array(before), np.array(after), np.array(weights) / sum(weights)
    spacing = later - later.mean(axis=1, keepdims=True)
    later -= np.tensordot(shares, spacing, axes=1)
    lasting = float(shares @ (spans * later).sum(axis=(1, 2)))
    return Moments(round(sum(weights)), float(shares @ (spans**2).sum(axis=(1, 2))), lasting)


def _fall(chance: Float64Vector, weights: Float64Vector) -> tuple[float, float]:
    """Return the line, by least squares, in one over the length: what never passes away, and what falls."""
    design = np.column_stack([np.ones(len(LENGTHS)), 1.0 / np.array(LENGTHS)]) * np.sqrt(weights)[:, np.newaxis]
    passing, sampling = np.linalg.lstsq(design, chance * np.sqrt(weights), rcond=None)[0]
    return float(passing), float(sampling)


def main() -> None:
    """Print the file's text, or whether it is the packaged one; and the share of a span's own prototypes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="Parquet files of daily bars, one of them of ^GSPC")
    parser.add_argument("--check", action="store_true", help="say whether these are the packaged prototypes")
    arguments = parser.parse_args()
    found = pool(read_sessions(arguments.files))
    if not arguments.check:
        print(found.to_json(), end="")
        return
    is_packaged = found.to_json() == packaged_pooled().to_json()
    print("equal to the packaged prototypes" if is_packaged else "other prototypes")
    print(", ".join(f"{length:,} sessions: {found.own_share(length):.2f} their own" for length in LENGTHS))


if __name__ == "__main__":
    main()
