"""A market followed evening by evening says what all its prices together say, whatever the evenings bring."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded

import prometheus as pm
from prometheus.errors import InputRefusedError, UsageError
from prometheus.ingest.sample import PRICES
from prometheus.market.bars import PriceBars
from prometheus.market.quality import JUDGED_FIELDS, Verdict, is_plain, judge
from prometheus.results.following import FollowedMarket

FITTED = 1_500


@cache
def index() -> PriceBars:
    """The packaged S&P 500 from 1999 on."""
    prices = pd.read_parquet(PRICES).query("instrument_id == 'GSPC.INDX'")
    bars = PriceBars.from_frame(prices[["instrument_id", "trade_date", "open", "high", "low", "close", "volume"]])
    return bars.take(slice(int(np.searchsorted(bars.dates, np.datetime64("1999-01-01"))), None))


@cache
def model() -> pm.RegimeClassifier:
    return pm.RegimeClassifier().fit(index().take(slice(FITTED)))


def evening(at: int, days: int = 0, factor: float = 1.0, has_volume: bool = True) -> PriceBars:
    """One bar of the index, on a later date or at another price."""
    bar = index().take(slice(at, at + 1))
    values = bar.values.copy()
    values[:5] *= factor
    values[5] *= has_volume
    return PriceBars(bar.instrument_ids, bar.offsets, bar.dates + days, bar.fields, values)


def followed(n_more: int = 3) -> FollowedMarket:
    return model().follow(index().take(slice(FITTED, FITTED + n_more)))


def assert_up_to_date(market: FollowedMarket) -> None:
    expected = list(model().label(market.bars))[-1]
    assert repr(market.row) == repr(expected)  # floats to the last digit


def test_evenings_one_by_one_say_what_the_whole_history_says(monkeypatch: pytest.MonkeyPatch) -> None:
    market, n_begun = followed(), [0]
    begin: Callable[[PriceBars], None] = market._begin

    def counted(bars: PriceBars) -> None:
        n_begun[0] += 1
        begin(bars)

    monkeypatch.setattr(market, "_begin", counted)
    rows = [market.update(index().take(slice(at, at + 1))) for at in range(FITTED + 3, FITTED + 1_500)]
    expected = {row.as_of_date: repr(row) for row in model().label(market.bars)}
    assert [repr(row) for row in rows] == [expected[row.as_of_date] for row in rows]
    assert 0 < n_begun[0] < 60  # crashes, which the judge must see


ordinary = st.just(("next", 1.0))
events = st.one_of(
    ordinary,
    ordinary,
    st.tuples(st.just("next"), st.sampled_from([0.5, 0.25, 2.0, 10.0, 1.3])),  # a spike: the next one is back again
    st.tuples(st.just("scale"), st.sampled_from([0.25, 100.0])),  # a split: the next ones stay
    st.tuples(st.just("gap"), st.sampled_from([3.0, 9.0, 40.0])),
    st.tuples(st.just("still"), st.sampled_from([1.0, 7.0])),
    st.tuples(st.just("again"), st.sampled_from([1.0, 1.01, 3.0])),
    st.tuples(st.just("earlier"), st.sampled_from([1.0, 1.02])),
    st.tuples(st.just("weekend"), st.just(1.0)),
    st.tuples(st.just("several"), st.just(1.0)),
)


class Evenings:
    """Gives bars to a market, as events would bring them."""

    def __init__(self, market: FollowedMarket, at: int) -> None:
        self.market, self.at, self.days, self.scale = market, at, 0, 1.0

    def next(self, factor: float = 1.0) -> None:
        self.market.update(evening(self.at, self.days, self.scale * factor))
        self.at += 1

    def bring(self, event: str, size: float) -> None:
        getattr(self, f"bring_{event}")(size)

    def bring_next(self, size: float) -> None:
        self.next(size)

    def bring_scale(self, size: float) -> None:
        self.scale *= size
        self.next()

    def bring_gap(self, size: float) -> None:
        self.days += 7 * int(size)
        self.next()

    def bring_still(self, size: float) -> None:
        for _ in range(int(size)):  # the same close, and nothing traded
            last = self.market.bars.take(slice(len(self.market.bars) - 1, None))
            values = last.values.copy()
            values[5] = 0.0
            day = np.busday_offset(last.dates, 1, roll="forward")
            self.market.update(PriceBars(last.instrument_ids, last.offsets, day, last.fields, values))
            self.days = max(self.days, 7 + int((day[0] - index().dates[self.at]).astype(int)) // 7 * 7)

    def bring_again(self, size: float) -> None:
        last = self.market.bars.take(slice(len(self.market.bars) - 1, None))
        self.market.update(PriceBars(last.instrument_ids, last.offsets, last.dates, last.fields, last.values * size))

    def bring_earlier(self, size: float) -> None:
        bar = self.market.bars.take(slice(1, 2))
        self.market.update(PriceBars(bar.instrument_ids, bar.offsets, bar.dates, bar.fields, bar.values * size))

    def bring_weekend(self, _size: float) -> None:
        last = self.market.bars.take(slice(len(self.market.bars) - 1, None))
        saturday = np.busday_offset(last.dates, 0, roll="backward", weekmask="Fri") + 1
        day = saturday if saturday[0] > last.dates[0] else saturday + 7
        self.market.update(PriceBars(last.instrument_ids, last.offsets, day, last.fields, last.values * 1.001))
        self.days += 7

    def bring_several(self, _size: float) -> None:
        stop = self.at + 3
        bars = index().take(slice(self.at, stop))
        values = bars.values.copy()
        values[:5] *= self.scale
        self.market.update(PriceBars(bars.instrument_ids, bars.offsets, bars.dates + self.days, bars.fields, values))
        self.at = stop


@bounded(30)
@given(start=st.integers(1, 300), brought=st.lists(events, min_size=4, max_size=12))
def test_whatever_evenings_bring_the_row_is_that_of_all_prices(start: int, brought: list[tuple[str, float]]) -> None:
    evenings = Evenings(followed(start), FITTED + start)
    for event, size in brought:
        evenings.bring(event, size)
        assert_up_to_date(evenings.market)
    for _ in range(3):
        evenings.next()
        assert_up_to_date(evenings.market)


def test_a_bar_given_twice_changes_nothing() -> None:
    market = followed()
    first = market.update(evening(FITTED + 3))
    assert market.update(evening(FITTED + 3)) == first == market.row
    assert len(market.bars) == 4


def test_a_frame_without_a_name_is_of_the_instrument() -> None:
    market, bar = followed(), evening(FITTED + 3)
    frame = {"date": bar.dates, **{name: bar.column(name) for name in ("open", "high", "low", "close", "volume")}}
    assert market.update(frame) == list(model().label(index().take(slice(FITTED, FITTED + 4))))[-1]
    assert "GSPC.INDX" in repr(market)


def test_what_cannot_be_followed_is_refused_and_changes_nothing() -> None:
    market = followed()
    before = market.row
    with pytest.raises(UsageError, match=r"prices of OTHER given where GSPC\.INDX is followed"):
        market.update({"ticker": ["OTHER"], "date": ["2008-01-02"], "close": [10.0]})
    with pytest.raises(InputRefusedError, match="a price must be above 0"):
        market.update({"date": ["2008-01-02"], "close": [-10.0]})
    assert (market.row, len(market.bars)) == (before, 3)
    with pytest.raises(UsageError, match="prices of 2 instruments are not followed together"):
        model().follow({"ticker": ["A", "B"], "date": ["2008-01-02"] * 2, "close": [10.0, 11.0]})
    with pytest.raises(InputRefusedError, match="2 sessions from 1999-01-04 to 1999-01-05 are too few, 638 are needed"):
        model().follow(index().take(slice(0, 2)))


floats = st.floats(0.5, 1.5)


@bounded(150)
@given(
    move=st.sampled_from([0.0, 1e-6, 0.03, -0.04, 0.046, 0.06, -0.3]), apart=st.tuples(floats, floats),
    volume=st.sampled_from([0.0, np.nan, 1e6]), days=st.integers(1, 12), has_range=st.booleans(),
)  # fmt: skip
def test_a_plain_bar_is_one_that_the_judge_finds_sound(
    move: float, apart: tuple[float, float], volume: float, days: int, has_range: bool
) -> None:
    bars = index().take(slice(0, 120))
    before = [float(bars.column(field)[-1]) for field in JUDGED_FIELDS]
    adjusted, close = before[0] * float(np.exp(move)), before[1] * float(np.exp(move))
    high, low = (close * max(apart), close * min(apart)) if has_range else (np.nan, np.nan)
    bar = [adjusted, close, high, low, volume]
    if not is_plain(before, bar, days):
        return
    column = {"adjusted_close": adjusted, "close": close, "high": high, "low": low, "volume": volume, "open": close}
    values = np.column_stack([bars.values, [column[field] for field in bars.fields]])
    longer = PriceBars(
        bars.instrument_ids, np.array([0, 121]), np.append(bars.dates, bars.dates[-1] + days), bars.fields, values
    )
    n_missing = np.zeros(121, dtype=np.int64)
    n_missing[-1] = days - 1  # as in a market without weekends
    judgement = judge(longer, n_missing)
    assert judgement.on_day[-1] == judgement.settled[-1] == Verdict.SOUND
