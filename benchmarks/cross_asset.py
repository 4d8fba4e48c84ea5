"""Does anything beside equities tell more about an equity index's next 21 sessions than the index itself?

Answers ADR-0011: cross-asset descriptors and means over members against ``num-regime-core-v2`` of the S&P 500 alone, on
sessions up to the end of 2018 only. Bonds and credit are made of shared yields and spreads, as the shared ETFs begin in
2017. Run: ``python -m benchmarks.cross_asset``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector
from prometheus.core.config import RegionDefinition
from prometheus.encoders.numeric.regions import RegionMeanModel, RegionWindowBuilder
from prometheus.evaluation.figures import area_under_curve
from prometheus.market.bars import PriceBars
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.forecasts import fit_logistic, sigmoid, volatility_scores

SHARED = Path(__file__).parents[2] / "shared" / "data"
LAST = date(2018, 12, 31)
OTHERS_BEGIN = np.datetime64("1999-01-06")
ALL_THERE = np.datetime64("2001-03-01")
WINDOW_DAYS = 513
HORIZON = 21
TRAINING_SESSIONS = 3_000
FIRST_TEST_YEAR = 2004
EXTRA_PRECISIONS = (0.01, 0.3)
"""How strongly the weights of added descriptors are drawn to 0, per observation: weakly, and much."""
BLOCK, N_RESAMPLES, SEED = 63, 1_000, 20_181_231
EQUITY, SMALL, BOND, CREDIT = "GSPC", "RUT", "UST10", "HY"
BOND_DURATION, CREDIT_DURATION = 8.5, 4.0
MEANS = {
    "mean of equity .6, bonds .2, credit .2": {EQUITY: 0.6, BOND: 0.2, CREDIT: 0.2},
    "mean of equity .5, credit .5": {EQUITY: 0.5, CREDIT: 0.5},
    "mean of equity .5, small caps .5": {EQUITY: 0.5, SMALL: 0.5},
    "mean of equity .4, small .2, bonds .2, credit .2": {EQUITY: 0.4, SMALL: 0.2, BOND: 0.2, CREDIT: 0.2},
}


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One daily series: dates, shape (n,), and values of the same shape; highs and lows where they are known."""

    dates: DateVector
    values: Float64Vector
    high: Float64Vector | None = None
    low: Float64Vector | None = None

    def field(self, name: str, n_rows: int) -> Float64Vector:
        """Return the first values of a column of ``prices_daily``, NaN where nothing is known."""
        column = {"high": self.high, "low": self.low}.get(name, self.values)
        return np.full(n_rows, np.nan) if column is None else column[:n_rows]

    def on(self, days: DateVector) -> Float64Vector:
        """Return the latest value at or before each day, NaN before the first."""
        at = np.searchsorted(self.dates, days, side="right") - 1
        return np.where(at >= 0, self.values[np.maximum(at, 0)], np.nan)


class MemoryBars:
    """Bars of series, as the reader would hand them over."""

    def __init__(self, prices: dict[str, Series]) -> None:
        self.prices = prices

    def load_bars(
        self, instrument_ids: Sequence[str], _first: date, last: date, _n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        chosen = [self.prices[name] for name in instrument_ids]
        ends = [int(np.searchsorted(each.dates, np.datetime64(last, "D"), side="right")) for each in chosen]
        columns = [
            np.concatenate([each.field(field, end) for each, end in zip(chosen, ends, strict=True)]) for field in fields
        ]
        return PriceBars(
            instrument_ids=tuple(instrument_ids),
            offsets=np.cumsum([0, *ends]).astype(np.int64),
            dates=np.concatenate([each.dates[:end] for each, end in zip(chosen, ends, strict=True)]),
            fields=tuple(fields),
            values=np.stack(columns),
        )


class NoCalendar:
    """Ranges ask no calendar."""

    def n_sessions_after(self, start: date, end: date) -> int:
        raise AssertionError((start, end))


def load_equity() -> Series:
    table = pq.read_table(SHARED / "prices" / "gspc_1927_2020.parquet")
    dates = np.array(table["trade_date"].to_pylist(), dtype="M8[D]")
    chosen = (dates >= np.datetime64("1996-01-01")) & (dates <= np.datetime64(LAST))
    close, high, low = (
        np.asarray(table[name].to_numpy(), dtype=np.float64)[chosen] for name in ("close", "high", "low")
    )
    return Series(dates[chosen], close, high, low)


def load_series(name: str) -> Series:
    table = pq.read_table(SHARED / "macro" / "macro_series_to_2020.parquet", filters=[("series_id", "==", name)])
    values = np.array([float(value or "nan") for value in table["value"].to_pylist()])
    dates = np.array(table["obs_date"].to_pylist(), dtype="M8[D]")
    is_known = np.isfinite(values) & (dates <= np.datetime64(LAST))
    order = np.argsort(dates[is_known], kind="stable")
    return Series(dates[is_known][order], values[is_known][order])


def total_return(parts: Sequence[Series], duration: float) -> Series:
    """Return an index that earns the sum of yields in percent, and loses `duration` times its change."""
    days = parts[0].dates
    yields = np.sum([part.on(days) for part in parts], axis=0) / 100
    is_known = np.isfinite(yields)
    days, yields = days[is_known], yields[is_known]
    returns = np.concatenate([[0.0], -duration * np.diff(yields) + yields[:-1] / 252])
    return Series(days, 100 * np.exp(np.cumsum(returns)))


def trailing_correlation(left: Float64Vector, right: Float64Vector, half_life: int) -> Float64Vector:
    """Return the exponentially weighted correlation of returns, the kernel cut at 512 sessions."""
    kernel = 0.5 ** (np.arange(512) / half_life)

    def mean(values: Float64Vector) -> Float64Vector:
        return np.convolve(values, kernel / kernel.sum())[: len(values)]

    return mean(left * right) / np.sqrt(mean(left**2) * mean(right**2) + 1e-16)


def cross_features(prices: dict[str, Series], vix: Series, days: DateVector) -> dict[str, Float64Matrix]:
    """Return candidate descriptors by name, shape (n_days, n)."""
    logs = {name: np.log(series.on(days)) for name, series in prices.items()}
    returns = {name: np.diff(log, prepend=log[0]) for name, log in logs.items()}
    spread = np.log(load_series("BAMLH0A0HYM2").on(days))
    correlations = [trailing_correlation(returns[EQUITY], returns[BOND], h) for h in (16, 64)]
    credit = [trailing_correlation(returns[EQUITY], returns[CREDIT], 64)]
    moved = [np.concatenate([np.zeros(n), spread[n:] - spread[:-n]]) for n in (21, 63)]
    rates = [0.5 * np.log(np.convolve(returns[BOND] ** 2, 0.5 ** (np.arange(128) / 16) / 23.5)[: len(days)] + 1e-8)]
    columns = {
        "stock-bond correlation": correlations,
        "credit-equity correlation": credit,
        "change of credit spreads": moved,
        "volatility of rates": rates,
        "all of these": [*correlations, *credit, *moved, *rates],
        "level of credit spreads": [spread],
        "level of the VIX": [np.log(vix.on(days))],
    }
    return {name: np.column_stack(parts) for name, parts in columns.items()}


def walk_forward(
    years: Float64Vector, features: Float64Matrix, target: Float64Vector, extra_precision: float
) -> tuple[Float64Vector, Float64Vector]:
    """Return stated probabilities and outcomes, NaN where none; refitted each year on what was over by then."""
    stated, outcomes = np.full(len(target), np.nan), np.full(len(target), np.nan)
    for year in range(FIRST_TEST_YEAR, LAST.year + 1):
        first = int(np.searchsorted(years, year))
        past = slice(max(0, first - TRAINING_SESSIONS), first - HORIZON)
        now = (years == year) & np.isfinite(target)
        threshold = np.quantile(target[past], 0.8)
        means, deviations = features[past].mean(axis=0), features[past].std(axis=0)
        means[0], deviations[0] = 0.0, 1.0  # the score keeps its unit, as its prior slope is 1
        n_extra = features.shape[1] - 1
        weights = fit_logistic(
            (features[past] - means) / deviations,
            (target[past] > threshold).astype(np.float64),
            prior=np.array([0.0, 1.0, *[0.0] * n_extra]),
            precision=np.array([1e-4, 1.0, *[extra_precision] * n_extra]),
        )
        scaled = (features[now] - means) / deviations
        stated[now] = sigmoid(weights[0] + scaled @ weights[1:])
        outcomes[now] = target[now] > threshold
    return stated, outcomes


def log_losses(stated: Float64Vector, outcomes: Float64Vector) -> Float64Vector:
    losses: Float64Vector = -np.log(np.clip(np.where(outcomes > 0, stated, 1.0 - stated), 1e-9, None))
    return losses


def interval(better: Float64Vector, base: Float64Vector, outcomes: Float64Vector) -> tuple[str, str]:
    """Return 90 % intervals of the gain in AUC and in log loss, by a circular block bootstrap."""
    generator, n = np.random.default_rng(SEED), len(outcomes)
    gains, losses = [], log_losses(base, outcomes) - log_losses(better, outcomes)
    for _ in range(N_RESAMPLES):
        starts = generator.integers(0, n, -(-n // BLOCK))
        rows = ((starts[:, np.newaxis] + np.arange(BLOCK)) % n).reshape(-1)[:n]
        is_high = outcomes[rows] > 0
        gain = area_under_curve(better[rows], is_high) - area_under_curve(base[rows], is_high)
        gains.append((gain, losses[rows].mean()))
    low, high = np.quantile(np.array(gains), [0.05, 0.95], axis=0)
    return f"{low[0]:+.3f}..{high[0]:+.3f}", f"{low[1]:+.4f}..{high[1]:+.4f}"


def main() -> None:
    ten, spread = load_series("DGS10"), load_series("BAMLH0A0HYM2")
    prices = {
        EQUITY: load_equity(),
        SMALL: load_series("RUT"),
        BOND: total_return([ten], BOND_DURATION),
        CREDIT: total_return([spread, ten], CREDIT_DURATION),
    }
    scores = {}
    for name, members in {"alone": {EQUITY: 1.0}, **MEANS}.items():
        region = RegionDefinition(members=members, anchor=EQUITY)
        builder = RegionWindowBuilder(MemoryBars(prices), NoCalendar(), {name: region})
        build = builder.build_range([name], date(1999, 1, 1), LAST, WINDOW_DAYS)
        scores[name] = dict(
            zip(build.windows.as_of_dates.tolist(), volatility_scores(build.windows.vectors(RegionMeanModel(region))),
                strict=True)
        )  # fmt: skip
    days = np.array(sorted(set.intersection(*[set(each) for each in scores.values()])), dtype="M8[D]")
    days = days[days >= ALL_THERE]
    all_days = prices[EQUITY].dates[prices[EQUITY].dates >= OTHERS_BEGIN]
    target = forward_log_volatility(prices[EQUITY].values)[np.searchsorted(prices[EQUITY].dates, days)]
    years = days.astype("M8[Y]").astype(np.float64) + 1970
    own = np.array([[scores["alone"][day]] for day in days.tolist()])
    extras = cross_features(prices, load_series("VIXCLS"), all_days)
    rows = np.searchsorted(all_days, days)
    variants = {name: np.column_stack([own, extra[rows]]) for name, extra in extras.items()}
    variants |= {name: np.array([[scores[name][day]] for day in days.tolist()]) for name in MEANS}
    report(years, own, variants, target)


def report(years: Float64Vector, own: Float64Matrix, variants: dict[str, Float64Matrix], target: Float64Vector) -> None:
    base, outcomes = walk_forward(years, own, target, 0.0)
    judged = np.isfinite(base)
    base, is_high = base[judged], outcomes[judged] > 0
    losses = log_losses(base, outcomes[judged])
    print(f"{judged.sum()} sessions, {is_high.mean():.1%} high; 90 % intervals of the gain over the equity alone")
    print(f"{'equity alone':56} AUC {area_under_curve(base, is_high):.3f}  log loss {losses.mean():.4f}")
    for name, features in variants.items():
        for precision in EXTRA_PRECISIONS if features.shape[1] > 1 else (0.0,):
            stated = walk_forward(years, features, target, precision)[0][judged]
            loss = log_losses(stated, outcomes[judged]).mean()
            auc_gain, loss_gain = interval(stated, base, outcomes[judged])
            title = f"{name}, {precision}" if precision else name
            auc = area_under_curve(stated, is_high)
            print(f"{title:56} AUC {auc:.3f} ({auc_gain})  log loss {loss:.4f} ({loss_gain})")


if __name__ == "__main__":
    main()
