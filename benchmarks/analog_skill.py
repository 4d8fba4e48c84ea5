"""What analogs are worth: how well what followed them ranks what came, beside HAR on the range.

    python -m benchmarks.analog_skill GSPC_1927_2020 MARKETS_DEV_TO_2020

Both are files of ../shared/data/prices; of ^GSPC the years 1990 to 2023 are judged, the last three of them from the
packaged sample. Once a month the ten nearest sessions of the market's own past, and the ten least alike, are
found as `similar` finds them; the median of what followed each, all of it known by then, is held against what came.
HAR is fitted each year on the 3,000 sessions before, on the horizon it is judged on. Skill is Spearman's rank
correlation; intervals are of 95 %, by a stationary bootstrap of 63-session blocks drawn for both together.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.bear_odds import JUDGED_FROM, LEFT_OUT
from benchmarks.described import DescribedMarket, describe_market, read_bars, read_markets
from prometheus.analogs.search import AnalogSearch
from prometheus.arrays import Float64Matrix, Float64Vector, Int64Vector
from prometheus.evaluation.bootstrap import MEAN_BLOCK, draw_counts, interval_of
from prometheus.evaluation.har import HAR_ON_RANGE, Har, range_variances
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.protocol import EvaluationPlan, walk_forward
from prometheus.ingest.sample import PRICES
from prometheus.market.outcomes import HORIZONS, ForwardReturns, Measure, Quantiles
from prometheus.regime.calibration import MIN_SESSIONS

INDEX = "^GSPC"
JOINT = "2020-01-01"
"""Where the packaged sample goes on with the index."""
EVERY = 21
K = 10
MEASURES: tuple[Measure, ...] = ("volatility", "drawdown")
TARGETS = [(measure, horizon) for horizon in HORIZONS for measure in MEASURES]


class Skill(NamedTuple):
    """Rank skill by target, shape (n_targets,) each, and bounds of analogs less HAR, shape (n_targets, 2)."""

    analogs: Float64Vector
    least: Float64Vector
    har: Float64Vector
    bounds: Float64Matrix


def judged(market: DescribedMarket, since: np.datetime64) -> Skill:
    """Return the skill on one market."""
    followed = ForwardReturns(market.dates, market.closes)
    first = int(np.searchsorted(market.dates, since))
    rows = np.arange(max(first, MIN_SESSIONS), len(market.dates) - max(HORIZONS), EVERY)
    came = np.array([_measured(followed.spreads(market.dates[[row]])) for row in rows.tolist()])
    nearest, least = (_implied(market, followed, rows, is_least=is_least) for is_least in (False, True))
    har = _har(market, market.dates[rows[0]].item(), rows)
    columns = [[_ranks(each[:, at]) for each in (nearest, least, har, came)] for at in range(len(TARGETS))]
    skills = np.array([[_correlation(each, ranks[-1]) for each in ranks[:-1]] for ranks in columns])
    bounds = np.array([_interval(ranks[0], ranks[2], ranks[3]) for ranks in columns])
    return Skill(skills[:, 0], skills[:, 1], skills[:, 2], bounds)


def _measured(quantiles: tuple[Quantiles, ...]) -> list[float]:
    """Return the median by target; NaN where nothing is known."""
    known = {(each.measure, each.horizon): each.median for each in quantiles}
    return [float("nan") if (median := known[target]) is None else median for target in TARGETS]


def _implied(market: DescribedMarket, followed: ForwardReturns, rows: Int64Vector, *, is_least: bool) -> Float64Matrix:
    """Return what the analogs of some sessions imply, shape (n_rows, n_targets)."""
    search = AnalogSearch(least=is_least).fit(market.dates, market.vectors)
    found = (search.predict(day, K)[0] for day in market.dates[rows].tolist())
    return np.array([_measured(followed.spreads(dates)) for dates in found])


def _har(market: DescribedMarket, start: date, rows: Int64Vector) -> Float64Matrix:
    """Return HAR's forecast on some sessions by target: the higher the volatility, the deeper the fall."""
    history = MarketHistory("market", market.dates, market.closes, market.highs, market.lows)
    forecasts, (warm_up, *_, end) = {}, market.dates.tolist()
    for horizon in HORIZONS:
        plan = EvaluationPlan(start, end, warm_up, horizon=horizon)
        walk = walk_forward(Har(HAR_ON_RANGE, range_variances, horizon=horizon), history, plan)
        forecasts[horizon] = walk.predictions.scores[rows - walk.first]
    return np.column_stack([forecasts[horizon] for _, horizon in TARGETS])


def _ranks(values: Float64Vector) -> Float64Vector:
    """Return ranks, equal values sharing theirs."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") - 1) / 2.0


def _correlation(ours: Float64Vector, came: Float64Vector) -> float:
    return float(np.corrcoef(ours, came)[0, 1])


def _interval(ours: Float64Vector, theirs: Float64Vector, came: Float64Vector) -> tuple[float, float]:
    """Return the bounds of our skill less theirs; ranks are those of the whole sample."""
    counts = draw_counts(len(came), max(1, MEAN_BLOCK // EVERY)).astype(np.float64) / len(came)

    def skill(said: Float64Vector) -> Float64Vector:
        columns = np.column_stack([said, came, said * came, said**2, came**2])
        x, y, xy, xx, yy = (counts @ columns).T
        skills: Float64Vector = (xy - x * y) / np.sqrt((xx - x**2) * (yy - y**2))
        return skills

    return interval_of(skill(ours) - skill(theirs))


def markets_of(files: list[Path]) -> Iterator[tuple[str, DescribedMarket, np.datetime64]]:
    """Yield name, sessions and first judged date of each market."""
    for file in files:
        for name, market in read_markets(file).items():
            if name == INDEX:
                older, newer = read_bars(file, INDEX, until=JOINT), read_bars(PRICES, "GSPC.INDX", since=JOINT)
                joined = (np.concatenate(columns) for columns in zip(older, newer, strict=True))
                yield name, describe_market(*joined), JUDGED_FROM
            elif name not in LEFT_OUT:
                yield name, market, market.dates[0]


def main() -> None:
    """Print the skill on each market, the medians, and the share of markets won against HAR."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    print(f"{'':15}" + "".join(f"{f'{measure}, next {horizon}':^47}" for measure, horizon in TARGETS))
    print(f"{'':15}" + "   analogs   least     HAR  analogs less HAR   " * len(TARGETS))
    found: dict[str, Skill] = {}
    for name, market, since in markets_of(parser.parse_args().files):
        found[name] = judged(market, since)
        print(f"{name:15}" + "".join(_cells(found[name], at) for at in range(len(TARGETS))), flush=True)
    others = [each for name, each in found.items() if name != INDEX]
    if not others:
        return
    print(f"{'median':15}" + "".join(_medians(others, at) for at in range(len(TARGETS))))
    print(f"{'better than HAR':15}" + "".join(_won(others, at) for at in range(len(TARGETS))))


def _cells(skill: Skill, at: int) -> str:
    low, high = skill.bounds[at]
    own, least, har = skill.analogs[at], skill.least[at], skill.har[at]
    return f"  {own:+8.3f}{least:+8.3f}{har:+8.3f}  {own - har:+.3f} ({low:+.2f}..{high:+.2f})"


def _medians(skills: list[Skill], at: int) -> str:
    own, least, har = (np.median([getattr(each, name)[at] for each in skills]) for name in ("analogs", "least", "har"))
    return f"  {own:+8.3f}{least:+8.3f}{har:+8.3f}{'':23}"


def _won(skills: list[Skill], at: int) -> str:
    n_won, n_above, n_below = (
        sum(each.analogs[at] > each.har[at] for each in skills),
        sum(each.bounds[at, 0] > 0 for each in skills),
        sum(each.bounds[at, 1] < 0 for each in skills),
    )
    return f"  {n_won:3} of {len(skills)}, whole interval above {n_above}, below {n_below:<5}"


if __name__ == "__main__":
    main()
