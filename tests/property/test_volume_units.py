"""A feed that changes the unit of its volumes is told on its day; trading that merely swells is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.property.test_price_quality import NAMES, real_bars

from prometheus.market.bars import PriceBars
from prometheus.market.findings import VOLUME_UNIT, Finding, findings_of, known_on
from prometheus.market.quality import judge
from prometheus.market.volume_units import MIN_UNIT_DAYS, unit_changes

FACTORS = st.sampled_from([0.01, 0.001, 1e-4, 100.0, 1_000.0, 1e6])


def volumes(seed: int, spread: float) -> np.ndarray:
    noise = np.clip(np.random.default_rng(seed).normal(0, spread, 500), -2.5 * spread, 2.5 * spread)
    return np.round(1e8 * np.exp(noise))


@bounded(200)
@given(seed=st.integers(0, 10**6), spread=st.floats(0.05, 0.4), row=st.integers(21, 479), factor=FACTORS)
def test_a_change_of_unit_is_found_on_its_day(seed: int, spread: float, row: int, factor: float) -> None:
    volume = volumes(seed, spread)
    volume[row:] *= factor
    nowhere = np.zeros(len(volume), bool)
    rows, ratios = unit_changes(volume, nowhere)
    assert rows.tolist() == [row]
    assert abs(np.log10(ratios[0] / factor)) < 0.25
    assert not len(unit_changes(volume, np.arange(len(volume)) == row)[0])


@bounded(200)
@given(
    seed=st.integers(0, 10**6), spread=st.floats(0.05, 0.8), row=st.integers(0, 499), length=st.integers(1, 5),
    factor=st.floats(1e-3, 1e3), swell=st.floats(0.05, 20),
)  # fmt: skip
def test_busy_days_and_other_trading_are_none(
    seed: int, spread: float, row: int, length: int, factor: float, swell: float
) -> None:
    volume = volumes(seed, spread)
    volume[row : row + length] *= factor
    volume[250:] *= swell
    volume[::7] = 0
    assert not len(unit_changes(volume, np.zeros(len(volume), bool))[0])


@pytest.mark.parametrize("name", NAMES)
def test_of_real_volumes_none_is_found_until_one_changes(name: str) -> None:
    bars = real_bars(name)
    if not (bars.column("volume") > 0).mean() > 0.9:
        pytest.skip("a series without volumes")
    assert not [each for each in found(bars) if each.kind == VOLUME_UNIT]
    row = len(bars) - 300
    values = bars.values.copy()
    values[bars.fields.index("volume"), row:] /= 100
    changed = PriceBars(bars.instrument_ids, bars.offsets, bars.dates, bars.fields, values)
    (told,) = [each for each in found(changed) if each.kind == VOLUME_UNIT]
    assert told.first == told.last == bars.dates[row].item()
    assert known_on(told, changed) == bars.dates[row + MIN_UNIT_DAYS - 1].item()
    assert "num-regime-core-v1 reads volume" in str(told)


def found(bars: PriceBars) -> list[Finding]:
    n_missing = np.zeros(len(bars), np.int64)
    return list(findings_of(bars, judge(bars, n_missing), n_missing))
