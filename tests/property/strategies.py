"""What the properties draw from, and how many examples they take."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tests.reference.windows import Row

FIRST_DATE = date(2024, 1, 1)
LABELS = ("NEUTRAL", "CRISIS", "RISK_OFF", "CARRY")


def bounded(max_examples: int) -> settings:
    """The same examples on every run, as many as a few seconds allow."""
    return settings(
        max_examples=max_examples,
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
