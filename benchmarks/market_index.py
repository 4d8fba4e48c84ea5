"""Fit how much the rise of an index's ranges, less a member's own, says of the member, and judge it on other members.

    python -m benchmarks.market_index ../shared/data/prices/sp500_a_daily_2000_2020.parquet \
        ../shared/data/prices/gspc_1927_2020.parquet --check

One weight for all members, on top of the log odds that the second forecast states of each, learned yearly from up to
3,000 sessions before. Every second member is judged by the weight of the others. Needs the extra ``evaluation``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.described import DescribedMarket, read_markets, years_of
from prometheus.arrays import Float64Vector
from prometheus.evaluation.figures import area_under_curve, brier_skill, calibration_error
from prometheus.market.outcomes import HORIZON_SESSIONS
from prometheus.regime.forecasts import BOOSTED_FORECAST, HighVolatilityForecast, logit, sigmoid, volatility_scores
from prometheus.regime.market_index import RISE_WEIGHT, IndexRises, range_rises

FEWEST_SESSIONS = 252


class Member(NamedTuple):
    """Of each judged session: log odds stated without the index, rise of the index less its own, and what came."""

    log_odds: Float64Vector
    rises: Float64Vector
    is_high: Float64Vector


def member_of(stock: DescribedMarket, index: IndexRises) -> Member:
    """Return the sessions of a stock on which the index was known and whose outcome is."""
    scores, followed = volatility_scores(stock.vectors), stock.followed
    rises = index.on(stock.dates).rises - range_rises(stock.vectors)
    parts = []
    for year in years_of(stock.dates):
        known = followed[year.span].copy()
        known[-HORIZON_SESSIONS:] = np.nan
        forecast = HighVolatilityForecast.fit(scores[year.span], known, version=BOOSTED_FORECAST)
        stated = logit(forecast.probabilities(scores[year.sessions], stock.vectors[year.sessions]))
        is_high = np.where(np.isnan(followed), np.nan, followed > np.log(forecast.threshold))[year.sessions]
        parts.append(np.stack([stated, rises[year.sessions], is_high]))
    columns = np.concatenate(parts, axis=1)
    return Member(*columns[:, np.isfinite(columns).all(axis=0)])


def fit_weight(members: list[Member]) -> float:
    """Return the likeliest weight, in tenths."""
    log_odds, rises, is_high = (np.concatenate(column) for column in zip(*members, strict=True))

    def loss(weight: float) -> float:
        logits = log_odds + weight * rises
        return float((np.logaddexp(0.0, logits) - is_high * logits).mean())

    return min((tenths / 10 for tenths in range(100)), key=loss)


def judge(members: list[Member], weight: float) -> Float64Vector:
    """Return area, Brier skill and calibration error of each member, without and with the index, shape (n, 2, 3)."""
    return np.array([
        [
            [figure(stated, each.is_high > 0) for figure in (area_under_curve, brier_skill, calibration_error)]
            for stated in (sigmoid(each.log_odds), sigmoid(each.log_odds + weight * each.rises))
        ]
        for each in members
    ])  # fmt: skip


def main() -> None:
    """Print the weight and what it is worth, or whether it is the packaged one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="prices of the members")
    parser.add_argument("index", type=Path, help="prices of the index alone")
    parser.add_argument("--check", action="store_true", help="say whether this is the packaged weight")
    arguments = parser.parse_args()
    (index,) = read_markets(arguments.index).values()
    rises = IndexRises.of(index.dates, index.vectors)
    every = [member_of(stock, rises) for stock in read_markets(arguments.file).values()]
    members = [each for each in every if len(each.is_high) >= FEWEST_SESSIONS]
    weight = fit_weight(members)
    halves = members[::2], members[1::2]
    others = [fit_weight(half) for half in halves[::-1]]
    print(f"weight {weight}, of the halves {others[1]} and {others[0]}, {len(members)} members")
    figures = np.concatenate([judge(half, each) for half, each in zip(halves, others, strict=True)])
    for name, column in zip(("AUC", "Brier skill", "calibration error"), np.moveaxis(figures, 2, 0), strict=True):
        without, beside = column.T
        print(f"{name}: median {np.median(without):.4f} without, {np.median(beside):.4f} with the index")
        print(f"  higher on {(beside > without).mean():.0%}")
    if arguments.check:
        print("equal to the packaged weight" if weight == RISE_WEIGHT else "another weight")


if __name__ == "__main__":
    main()
