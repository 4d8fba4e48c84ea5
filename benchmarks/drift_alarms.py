"""When the drift watch says to calibrate again: how soon after a calibration, and how often in years like its span.

    python -m benchmarks.drift_alarms GSPC_1927_2020 MARKETS_DEV_TO_2020

Both are files of ../shared/data/prices. Each market is calibrated at the end of every fifth year, ^GSPC from 1970 on,
on up to 3,000 sessions, and watched once a month for up to ten years. A year is calm where its volatility lies within
the middle 80 % of those of the 252-session stretches of the calibration span. `resampled` is the share of simulated
years that alarm, of 200 drawn from each span anew; the watch promises one in 20.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.bear_odds import LEFT_OUT
from benchmarks.described import DescribedMarket, read_markets
from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.market.outcomes import HORIZON_SESSIONS
from prometheus.market.resampling import stationary_rows
from prometheus.regime.calibration import MIN_SESSIONS, SPAN_SESSIONS, DescribedSessions, calibrate
from prometheus.regime.drift import MEAN_BLOCK, WINDOWS, DriftNorm, drift_figures, fit_norms, watch
from prometheus.regime.model_persistent import decode

EVERY = 5
YEAR = 252
MONTH = 21
N_WATCHED = 10 * YEAR
N_YEARS = 200
FIRST_YEAR = 1970
REACH = max(WINDOWS) + HORIZON_SESSIONS


class Watched(NamedTuple):
    """One calibration: the last session it saw, years to the first alarm, shares of years that alarm, and of what."""

    until: np.datetime64
    years_to_first: float
    years: Float64Vector
    calm_years: Float64Vector
    resampled: float
    causes: dict[str, int]


def watched(market: DescribedMarket) -> Iterator[Watched]:
    """Yield the calibrations of a market."""
    sessions = DescribedSessions.of(market.dates, market.vectors)
    years = market.dates.astype("M8[Y]").astype(int) + 1970
    ends = np.flatnonzero((years[1:] != years[:-1]) & (years[1:] % EVERY == 0) & (years[1:] >= FIRST_YEAR)) + 1
    for stop in ends[(ends >= MIN_SESSIONS + REACH) & (ends <= len(years) - YEAR)].tolist():
        yield _watch(market, sessions, stop)


def _watch(market: DescribedMarket, sessions: DescribedSessions, stop: int) -> Watched:
    span = slice(max(0, stop - SPAN_SESSIONS), stop)
    known = market.followed[span].copy()
    known[-HORIZON_SESSIONS:] = np.nan
    prototypes, calibration = calibrate(sessions.take(span), known)
    said = decode(market.vectors[span.start :], sessions.scores[span.start :], prototypes, calibration)
    begin = len(market.dates) - len(said.confidences)
    followed = market.followed[begin:]
    came = np.where(np.isfinite(followed), followed > np.log(said.threshold), np.nan)
    figures = drift_figures(market.vectors[begin:], said.confidences, said.high_volatility, came)
    n_span = stop - begin
    norms = fit_norms(figures[: n_span - HORIZON_SESSIONS])
    rows = np.arange(n_span + min(WINDOWS), min(len(figures), n_span + N_WATCHED), MONTH)
    causes = [_causes(norms, figures[: row + 1][-REACH:]) for row in rows.tolist()]
    is_alarm = np.array([bool(each) for each in causes])
    first = np.flatnonzero(is_alarm)
    years_after = (rows - n_span) // YEAR
    by_year = np.array([is_alarm[years_after == each].any() for each in np.unique(years_after)], dtype=float)
    is_calm = _calm_years(market.closes, begin, n_span, len(by_year))
    counted = {name: sum(name in each for each in causes) for name in {name for each in causes for name in each}}
    return Watched(
        market.dates[stop - 1], (rows[first[0]] - n_span) / YEAR if len(first) else np.nan, by_year, by_year[is_calm],
        _resampled(norms, figures[: n_span - HORIZON_SESSIONS]), counted,
    )  # fmt: skip


def _causes(norms: tuple[DriftNorm, ...], seen: Float64Matrix) -> set[str]:
    known = seen.copy()
    known[-HORIZON_SESSIONS:, -2:] = np.nan
    return {each.norm.figure for each in watch(norms, known) if each.is_out}


def _calm_years(closes: Float64Vector, begin: int, n_span: int, n_years: int) -> np.ndarray:
    squares = np.diff(np.log(closes[begin:]), prepend=np.nan) ** 2
    stretches = np.lib.stride_tricks.sliding_window_view(squares[1:n_span], YEAR).mean(axis=1)
    low, high = np.quantile(stretches, [0.1, 0.9])
    means = np.array([squares[n_span + YEAR * at : n_span + YEAR * (at + 1)].mean() for at in range(n_years)])
    is_calm: np.ndarray = (means > low) & (means < high)
    return is_calm


def _resampled(norms: tuple[DriftNorm, ...], span: Float64Matrix) -> float:
    rows = stationary_rows(np.random.default_rng(1), len(span), MEAN_BLOCK, N_YEARS * 2 * YEAR)
    paths = rows.reshape(N_YEARS, 2 * YEAR)
    ends = range(YEAR + MONTH, 2 * YEAR + 1, MONTH)
    return float(np.mean([any(_any_out(norms, span[path[end - YEAR : end]]) for end in ends) for path in paths]))


def _any_out(norms: tuple[DriftNorm, ...], rows: Float64Matrix) -> bool:
    return any(each.is_out for each in watch(norms, rows))


def main() -> None:
    """Print a row per market and calibration, and what they say together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    found: list[Watched] = []
    print(
        "market          calibrated to  first alarm, years  years with one  calm years with one  resampled  most often"
    )
    for file in parser.parse_args().files:
        for name, market in read_markets(file).items():
            for each in [] if name in LEFT_OUT else watched(market):
                found.append(each)
                most = ", ".join(sorted(each.causes, key=lambda cause: -each.causes[cause])[:2])
                print(
                    f"{name:15} {each.until!s:>13}  {each.years_to_first:18.1f}  {_of(each.years):>14}  "
                    f"{_of(each.calm_years):>19}  {each.resampled:9.1%}  {most}", flush=True,
                )  # fmt: skip
    first = np.array([each.years_to_first for each in found])
    every, calm = (
        np.concatenate(each) for each in zip(*((each.years, each.calm_years) for each in found), strict=True)
    )
    print(
        f"{len(found)} calibrations: first alarm after {np.nanmedian(first):.1f} years (median), in the first year "
        f"after {np.mean(first < 1):.0%} of them; years with one {_of(every)}, calm ones {_of(calm)}, resampled ones "
        f"{np.mean([each.resampled for each in found]):.1%}"
    )


def _of(years: Float64Vector) -> str:
    return f"{int(years.sum())} of {len(years)}"


if __name__ == "__main__":
    main()
