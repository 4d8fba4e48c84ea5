"""What the chance of a bear market is worth: its two pooled numbers, and each market judged by those of the others.

    python -m benchmarks.bear_odds MARKETS_DEV_TO_2020 GSPC_1927_2020

Both are files of ../shared/data/prices. ^GSPC before 1990 is learned from and judged from 1990 on. VIX.INDX is a level,
no market; AUDUSD.FX has a bar five times too high, which the judge of prices holds and this file does not. `own` is the
bear market of the stated fall; states are judged by one of 20 %; `below` is the 200-session average.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.described import DescribedMarket, read_markets, years_of
from prometheus.arrays import Float64Vector
from prometheus.evaluation import figures
from prometheus.evaluation.bears import bear_market_days
from prometheus.evaluation.labeller import BoolVector
from prometheus.regime.bear import UNDECIDED, BearForecast, bear_states, log_odds
from prometheus.regime.forecasts import fit_logistic, sigmoid

JUDGED_FROM = np.datetime64("1990-01-01")
LEFT_OUT = {"VIX.INDX", "AUDUSD.FX"}
N_BACK = 126
_AVERAGE = 200


class Odds(NamedTuple):
    """Of each session after the first years: log odds of first passage, both kinds of bear market, and the rule."""

    log_odds: Float64Vector
    is_own: BoolVector
    is_bear: BoolVector
    is_below: BoolVector
    is_judged: BoolVector


def odds_of(name: str, market: DescribedMarket) -> Odds:
    """Return what is known of one market, its fall learned anew each year."""
    found, own = [], []
    for year in years_of(market.dates):
        forecast = BearForecast.fit(market.vectors[year.span])
        found.append(log_odds(forecast.odds(market.vectors[year.sessions])))
        own.append(bear_market_days(market.closes, forecast.fall, forecast.fall)[year.sessions])
    first = next(years_of(market.dates)).sessions.start
    sums = np.cumsum(np.concatenate([[0.0], market.closes]))
    averages = np.full(len(market.closes), np.inf)
    averages[_AVERAGE - 1 :] = (sums[_AVERAGE:] - sums[:-_AVERAGE]) / _AVERAGE
    is_judged = market.dates[first:] >= JUDGED_FROM if name == "^GSPC" else np.ones(len(market.dates) - first, bool)
    is_bear = bear_market_days(market.closes)[first:]
    is_below = market.closes[first:] < averages[first:]
    return Odds(np.concatenate(found), np.concatenate(own), is_bear, is_below, is_judged)


def pooled(markets: dict[str, Odds], without: str | None = None) -> tuple[float, float]:
    """Return intercept and slope, rounded, over all markets but one; of ^GSPC the years before 1990 are taken."""
    rows = [
        (each.log_odds[~each.is_judged], each.is_own[~each.is_judged])
        if name == "^GSPC"
        else (each.log_odds, each.is_own)
        for name, each in markets.items()
        if name != without
    ]
    values, outcomes = (np.concatenate(column) for column in zip(*rows, strict=True))
    weights = fit_logistic(values[:, np.newaxis], outcomes.astype(float), np.zeros(2), np.zeros(2))
    return round(float(weights[0]), 3), round(float(weights[1]), 3)


def judged(odds: Odds, intercept: float, slope: float) -> tuple[list[float], Float64Vector]:
    """Return the figures of one market, and its probabilities."""
    stated = sigmoid(intercept + slope * odds.log_odds)
    states = np.concatenate([stated[: N_BACK - 1] > UNDECIDED, bear_states(stated, N_BACK)])[odds.is_judged]
    chances = stated[odds.is_judged]
    own, bear, below = (each[odds.is_judged] for each in (odds.is_own, odds.is_bear, odds.is_below))
    row = [figures.area_under_curve(chances, own), figures.brier_skill(chances, own)]
    row.append(figures.calibration_error(chances, own))
    for said in (states, below):
        row += [figures.balanced_accuracy(said, bear), figures.f1_score(said, bear), figures.switches_per_year(said)]
    return row, chances


def main() -> None:
    """Print a row per market, the medians, the pooled calibration error and the pooled numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    files = parser.parse_args().files
    markets = {
        name: odds_of(name, market)
        for file in files
        for name, market in read_markets(file).items()
        if name not in LEFT_OUT
    }
    head = "own: AUC  Brier    ECE | state: bAcc     F1  switches | below: bAcc     F1  switches"
    print(f"{'':14} {head}")
    rows, chances, outcomes = {}, [], []
    for name, odds in markets.items():
        rows[name], stated = judged(odds, *pooled(markets, name))
        if name != "^GSPC":
            chances.append(stated)
            outcomes.append(odds.is_own[odds.is_judged])
        print(f"{name:14} " + " ".join(f"{value:8.3f}" for value in rows[name]))
    table = np.array([row for name, row in rows.items() if name != "^GSPC" and np.isfinite(row).all()])
    print(
        f"{'median':14} " + " ".join(f"{value:8.3f}" for value in np.median(table, axis=0)), f"({len(table)} markets)"
    )
    error = figures.calibration_error(np.concatenate(chances), np.concatenate(outcomes))
    print(f"pooled calibration error {error:.4f}; intercept and slope of all: {pooled(markets)}")


if __name__ == "__main__":
    main()
