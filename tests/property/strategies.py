"""What the properties draw from, and how many examples they take."""

from __future__ import annotations

import math
from datetime import date, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of
from tests.reference.windows import Bar, Row, bar_walk

FIRST_DATE = date(2024, 1, 1)
LABELS = ("NEUTRAL", "CRISIS", "RISK_OFF", "CARRY")


def bounded(max_examples: int) -> settings:
    """The same examples on every run, as many as a few seconds allow, and `share_of` them on every day."""
    return settings(
        max_examples=share_of(max_examples),
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


closes = st.floats(min_value=1e-3, max_value=1e6)
volumes = st.one_of(st.just(0.0), st.integers(0, 10**12).map(float))
legal_closes = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
"""Anything the check of ``prices_daily`` lets pass, down to 5e-324 and up to 1.8e308."""
legal_volumes = st.floats(min_value=0, allow_infinity=False)
finite_float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def histories(draw: st.DrawFn, min_size: int = 0, max_size: int = 24) -> list[Row]:
    """Rows in date order with gaps of one to four days."""
    n_rows = draw(st.integers(min_size, max_size))
    gaps = draw(st.lists(st.integers(1, 4), min_size=n_rows, max_size=n_rows))
    rows: list[Row] = []
    day = FIRST_DATE
    for gap in gaps:
        day += timedelta(days=gap)
        rows.append((day, draw(closes), draw(volumes)))
    return rows


missing = st.just(math.nan)
distances = st.one_of(st.just(1.0), st.floats(1.0, 2.9), st.floats(3.1, 50.0), missing)
"""A high over its close or a close over its low, clear of the limit of 3 on either side, or not known."""


@st.composite
def ordinary_bars(draw: st.DrawFn, day: date) -> Bar:
    """A bar of any price and range that a source might print, errors of it included."""
    close = draw(closes)
    return day, close, draw(volumes), draw(closes), close * draw(distances), close / draw(distances)


@st.composite
def legal_bars(draw: st.DrawFn, day: date) -> Bar:
    """A bar that the checks of ``prices_daily`` let pass, however absurd."""
    high, low = (draw(st.one_of(missing, legal_closes)) for _ in range(2))
    if low > high:
        high, low = low, high
    return day, draw(legal_closes), draw(legal_volumes), draw(legal_closes), high, low


@st.composite
def long_histories(draw: st.DrawFn, max_tail: int = 6, *, is_legal_only: bool = False) -> list[Bar]:
    """A walk of about two years before `FIRST_DATE`, and drawn bars after it: some 513 in all."""
    n_tail = draw(st.integers(0, max_tail))
    n_walk = draw(st.integers(513 - max_tail, 514))
    bars = bar_walk(n_walk, FIRST_DATE - timedelta(days=3), seed=draw(st.integers(0, 3)))
    drawn = legal_bars if is_legal_only else ordinary_bars
    return bars + [draw(drawn(FIRST_DATE + timedelta(days=at))) for at in range(n_tail)]
