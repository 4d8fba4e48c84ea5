"""Staged prices put on one footing: minor units into their currency, closes without the splits that a file states."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Vector
from prometheus.data.staging import CodedTexts, PriceColumns, PriceStaging, StagedInstrument
from prometheus.files.columns import ColumnMap
from prometheus.ingest.checks import PRICE_NAMES, SPLIT_RATIO, PriceRows
from prometheus.ingest.histories import MAX_NAMED, chunks
from prometheus.market.bars import PriceBars
from prometheus.market.currencies import MINOR_PER_MAJOR, MINOR_UNITS, major_currency
from prometheus.market.splits import SplitCheck, SplitFound, check_splits, split_factors

MAX_SHARE_OF_BARS = 0.05
"""A column with a ratio on more bars than this, of at least `MIN_BARS`, holds cumulative factors, not splits."""
MIN_BARS = 100


def in_major_units(rows: PriceColumns) -> tuple[PriceColumns, Counter[str]]:
    """Return the rows with prices in pence and the like in their currency, and how many rows were in each such unit."""
    units = rows.currencies.values
    is_minor = np.array([unit in MINOR_UNITS for unit in units], bool)[rows.currencies.codes]
    divisor = np.where(is_minor, MINOR_PER_MAJOR, 1)
    numbers = {name: values / divisor if name in PRICE_NAMES else values for name, values in rows.numbers.items()}
    found = Counter(units[code] for code in rows.currencies.codes[is_minor].tolist())
    currencies = CodedTexts(rows.currencies.codes, [major_currency(unit) for unit in units])
    return replace(rows, numbers=numbers, currencies=currencies), found


class StatedSplits:
    """The splits that the rows of a run state, and what is done with them once all are staged."""

    def __init__(self) -> None:
        self._ratios: dict[str, dict[np.datetime64, float]] = defaultdict(dict)
        self._adjusted: set[str] = set()
        self._column = ""

    def take(self, columns: ColumnMap, rows: PriceRows, is_good: NDArray[np.bool_]) -> None:
        """Remember the splits of good rows of a file with these columns."""
        if rows.split_ratios is None:
            return
        self._column = columns.source[SPLIT_RATIO]
        ratios = rows.split_ratios.values
        is_split = is_good & (ratios > 0) & (ratios != 1)
        names = [rows.instruments.values[code] for code in rows.instruments.codes[is_split]]
        for name, day, ratio in zip(names, rows.trade_dates[is_split], ratios[is_split].tolist(), strict=True):
            self._ratios[name][day] = ratio
        if "adjusted_close" in columns.source:
            self._adjusted.update(names)

    def settle(self, staging: PriceStaging, staged: Sequence[StagedInstrument]) -> Iterator[str]:
        """Take the splits out of staged closes that have them left in; yield what is to be said of all."""
        divided: list[tuple[str, date, date, float]] = []
        applied: list[str] = []
        n_checked = 0
        for chunk in chunks([item for item in staged if item.instrument_id in self._ratios]):
            for bars in staging.staged_bars([item.instrument_id for item in chunk], ("adjusted_close",)).each():
                (name,) = bars.instrument_ids
                if len(self._ratios[name]) > MAX_SHARE_OF_BARS * max(len(bars), MIN_BARS):
                    yield f"{name}: {self._column} has a ratio on {len(self._ratios[name]):,} bars; it is not used"
                    continue
                check = self._check(bars)
                yield from self._remarks(bars, check)
                if name not in self._adjusted:
                    n_checked += len(check.rows)
                    divided += _divided(bars, check)
                    applied += _left_in(bars, check)
        if divided:
            staging.divide_closes(divided)
            counted = "1 split" if len(applied) == 1 else f"{len(applied)} splits"
            yield f"closes are adjusted for {counted} of the column {self._column}: {_few(applied)}"
        elif n_checked:
            yield f"closes are adjusted already for the splits of the column {self._column}"

    def _check(self, bars: PriceBars) -> SplitCheck:
        days, ratios = _by_day(self._ratios[bars.instrument_ids[0]])
        is_staged = np.isin(days, bars.dates)
        rows = np.searchsorted(bars.dates, days[is_staged])
        return check_splits(bars.column("adjusted_close"), rows, ratios[is_staged])

    def _remarks(self, bars: PriceBars, check: SplitCheck) -> Iterator[str]:
        (name,) = bars.instrument_ids
        is_adjusted = name in self._adjusted
        wrong = check.of(SplitFound.LEFT_IN if is_adjusted else SplitFound.OTHER)
        said = [
            f"{bars.dates[check.rows[at]]} {_spoken(check.ratios[at])} (seen x {check.seen[at]:.4g})" for at in wrong
        ]
        if said and is_adjusted:
            yield f"{name}: the adjusted close still jumps by splits of the column {self._column}: {_few(said)}"
        elif said:
            yield f"{name}: the close moves otherwise than the column {self._column} says, left as it is: {_few(said)}"


def _divided(bars: PriceBars, check: SplitCheck) -> Iterator[tuple[str, date, date, float]]:
    """Yield the spans between splits left in, and what the closes of each are divided by."""
    left_in = check.of(SplitFound.LEFT_IN)
    rows = check.rows[left_in]
    factors = split_factors(len(bars), rows, check.ratios[left_in])
    for first, row in pairwise([0, *rows.tolist()]):
        yield bars.instrument_ids[0], bars.dates[first].item(), bars.dates[row].item(), float(factors[first])


def _left_in(bars: PriceBars, check: SplitCheck) -> Iterator[str]:
    for at in check.of(SplitFound.LEFT_IN).tolist():
        yield f"{bars.instrument_ids[0]} {bars.dates[check.rows[at]]} {_spoken(check.ratios[at])}"


def _by_day(ratios: dict[np.datetime64, float]) -> tuple[DateVector, Float64Vector]:
    days = sorted(ratios)
    return np.array(days, dtype="M8[D]"), np.array([ratios[day] for day in days])


def _spoken(ratio: float) -> str:
    return f"{ratio:.6g}:1" if ratio > 1 else f"1:{1 / ratio:.6g}"


def _few(texts: Sequence[str]) -> str:
    return ", ".join(texts[:MAX_NAMED]) + (", …" if len(texts) > MAX_NAMED else "")
