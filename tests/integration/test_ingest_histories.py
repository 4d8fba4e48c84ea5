"""Files whose rows are sound and whose history is not: refused with the evidence, and nothing is stored.

The histories are cuts of the packaged S&P 500; place, size and length of each fault are drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from prometheus.app.databases import DatabaseManager
from prometheus.errors import DataCheckError
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions, IngestReport
from prometheus.ingest.sample import PRICES

OPTIONS = IngestOptions(today=date(2024, 6, 28))
PRICE_COLUMNS = ("open", "high", "low", "close", "adjusted_close")
Load = Callable[..., IngestReport]


def history(first: str = "2012-01-03", last: str = "2017-12-29") -> dict[str, Any]:
    """Return columns of daily bars, as a file has them."""
    table = pq.read_table(PRICES, filters=[("instrument_id", "=", "GSPC.INDX")]).sort_by("trade_date")
    days = table["trade_date"]
    table = table.filter(
        pc.and_(pc.greater_equal(days, date.fromisoformat(first)), pc.less_equal(days, date.fromisoformat(last)))
    )
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.schema.names}


def rows(columns: dict[str, Any], chosen: Any) -> dict[str, Any]:
    return {name: values[chosen] for name, values in columns.items()}


def scaled(columns: dict[str, Any], ratio: float) -> dict[str, Any]:
    return {name: values * ratio if name in PRICE_COLUMNS else values for name, values in columns.items()}


@pytest.fixture
def load(db_manager: DatabaseManager, tmp_path: Path) -> Load:
    """Write columns to a file and ingest it; options as keywords."""

    def ingest(columns: dict[str, Any], **options: Any) -> IngestReport:
        pq.write_table(pa.table(columns), tmp_path / "prices.parquet")
        return PriceIngest(db_manager).ingest_prices([tmp_path / "prices.parquet"], replace(OPTIONS, **options))

    return ingest


def n_stored(db_manager: DatabaseManager) -> int:
    with db_manager.get_historical_connection() as connection:
        return int(connection.execute("SELECT count(*) FROM prices_daily").fetchall()[0][0])


@pytest.mark.parametrize("seed", range(4))
def test_a_history_on_another_scale_is_not_appended(load: Load, db_manager: DatabaseManager, seed: int) -> None:
    drawn = np.random.default_rng(seed)
    whole, cut = history(), int(drawn.integers(300, 1_400))
    ratio = float(drawn.choice([1 / 2, 1 / 4, 1 / 20, 3.0, 100.0, 0.01, 1.25]))
    n_overlap = int(drawn.integers(1, 30))
    load(rows(whole, slice(None, cut)))
    with pytest.raises(DataCheckError, match=rf"{n_overlap} bars? that overlaps? .* x {ratio:.6g}, .*load the whole"):
        load(scaled(rows(whole, slice(cut - n_overlap, None)), ratio))
    assert n_stored(db_manager) == cut
    load(scaled(whole, ratio))
    assert n_stored(db_manager) == len(whole["close"])


def test_an_honest_append_and_a_correction_are_taken(load: Load, db_manager: DatabaseManager) -> None:
    whole = history()
    load(rows(whole, slice(None, 900)))
    assert load(rows(whole, slice(880, None))).rows_written == len(whole["close"]) - 900
    assert load(scaled(rows(whole, slice(700, 701)), 0.01)).rows_written == 1
    assert load(rows(whole, slice(700, 701))).rows_written == 1
    assert n_stored(db_manager) == len(whole["close"])


@pytest.mark.parametrize("first_with_other", [1, 700, 1_508])
def test_two_currencies_are_refused_within_a_file_and_against_what_is_stored(
    load: Load, db_manager: DatabaseManager, first_with_other: int
) -> None:
    whole = history()
    n_bars = len(whole["close"])
    mixed = whole | {"currency": np.where(np.arange(n_bars) < first_with_other, "GBp", "GBP")}
    day = whole["trade_date"][first_with_other]
    with pytest.raises(DataCheckError, match=f"two currencies, GBp from 2012-01-03, GBP from {day}"):
        load(mixed)
    assert n_stored(db_manager) == 0
    load(rows(mixed, slice(None, first_with_other)))
    with pytest.raises(DataCheckError, match="in GBP, and the bars stored beside them are in GBp"):
        load(rows(mixed, slice(first_with_other, None)))
    assert n_stored(db_manager) == first_with_other


@pytest.mark.parametrize("step", [2, 3, 5, 21])
def test_bars_that_are_not_daily_are_refused(load: Load, db_manager: DatabaseManager, step: int) -> None:
    with pytest.raises(DataCheckError, match=r"median step between bars is \d+ sessions; bars must be daily"):
        load(rows(history(), slice(None, None, step)))
    assert n_stored(db_manager) == 0


@pytest.mark.parametrize("weekdays_only", [False, True], ids=["every day", "every weekday"])
@pytest.mark.parametrize("n_bars", [300, 1_500])
def test_a_calendar_filled_forward_is_refused(
    load: Load, db_manager: DatabaseManager, n_bars: int, weekdays_only: bool
) -> None:
    part = rows(history(), slice(None, n_bars))
    days = part["trade_date"].astype("M8[D]")
    every = np.arange(days[0], days[-1] + 1)
    every = every[np.is_busday(every)] if weekdays_only else every
    filled = rows(part, np.searchsorted(days, every, side="right") - 1) | {"trade_date": every}
    with pytest.raises(DataCheckError, match=r"bars on no session of US_EQ, the first on .*--calendar 24/7"):
        load(filled)
    assert n_stored(db_manager) == 0
    if not weekdays_only:
        assert load(filled, calendar="24/7").rows_written == len(every)


def test_bars_on_the_sessions_of_another_market_are_no_fault(load: Load) -> None:
    part = rows(history(), slice(None, 900))
    days = part["trade_date"].astype("M8[D]")
    shifted = np.busday_offset(days, 11, roll="forward")  # falls on holidays of New York, with closes of its own
    shifted, first = np.unique(shifted, return_index=True)
    assert load(rows(part, first) | {"trade_date": shifted}).notes == ()


@pytest.mark.parametrize(
    ("market", "zone"), [("JP_EQ", "Asia/Tokyo"), ("UK_EQ", "Europe/London"), ("US_EQ", "America/New_York")]
)
@pytest.mark.parametrize("as_text", [True, False])
def test_midnights_of_the_market_in_utc_are_dated_by_its_clock(
    load: Load, db_manager: DatabaseManager, market: str, zone: str, as_text: bool
) -> None:
    part = rows(history("2016-01-04", "2016-12-30"), slice(None))
    midnights = pc.assume_timezone(pa.array(part["trade_date"].astype("M8[s]")), zone).cast(pa.timestamp("s", "UTC"))
    stamps = pc.strftime(midnights, "%Y-%m-%d %H:%M:%S+00:00") if as_text else midnights
    report = load(part | {"trade_date": stamps}, market_id=market)
    with db_manager.get_historical_connection() as connection:
        stored = [day for (day,) in connection.execute("SELECT trade_date FROM prices_daily ORDER BY 1").fetchall()]
    assert stored == part["trade_date"].astype("M8[D]").tolist()
    is_said = any(f"dated by the clock of {zone}" in note for note in report.notes)
    assert is_said == (market != "US_EQ")


def test_midnights_of_another_zone_never_pass_in_silence(load: Load, db_manager: DatabaseManager) -> None:
    part = history("2016-01-04", "2016-12-30")
    midnights = pc.assume_timezone(pa.array(part["trade_date"].astype("M8[s]")), "Asia/Tokyo")
    with pytest.raises(DataCheckError, match=r"the first on Sunday 2016-01-03; .*--market-id"):
        load(part | {"trade_date": midnights.cast(pa.timestamp("s", "UTC"))})
    assert n_stored(db_manager) == 0


@pytest.mark.parametrize("n_withdrawn", [1, 5])
def test_withdrawn_bars_are_named_and_removed_on_demand(
    load: Load, db_manager: DatabaseManager, n_withdrawn: int
) -> None:
    whole = history()
    gone = np.sort(np.random.default_rng(n_withdrawn).choice(np.arange(1, 1_500), n_withdrawn, replace=False))
    load(whole)
    corrected = rows(whole, np.delete(np.arange(len(whole["close"])), gone))
    bars = rf"{n_withdrawn} stored bars? \({whole['trade_date'][gone[0]]}"
    assert any(re.search(bars + ".*--replace", note) for note in load(corrected).notes)
    assert n_stored(db_manager) == len(whole["close"])
    load(corrected, replace=True)
    assert n_stored(db_manager) == len(corrected["close"])
    assert load(corrected, replace=True).notes == ()


def test_a_file_of_single_corrections_withdraws_nothing(load: Load) -> None:
    whole = history()
    load(whole)
    assert load(rows(whole, [10, 500, 501])).notes == ()


def test_under_quarantine_the_other_instruments_are_stored(
    load: Load, db_manager: DatabaseManager, tmp_path: Path
) -> None:
    good, bad = history(), rows(history(), slice(None, None, 5))
    both = {name: np.concatenate([good[name], bad[name]]) for name in good}
    both["instrument_id"] = np.repeat(["GOOD", "WEEKLY"], [len(good["close"]), len(bad["close"])])
    report = load(both, on_error="quarantine", quarantine_path=tmp_path / "bad.csv")
    assert (report.rows_written, report.exit_code) == (len(good["close"]), 3)
    assert report.rejected_by_reason == (("refused history", len(bad["close"])),)
    assert any("WEEKLY: left out, the median step" in note for note in report.notes)
    assert n_stored(db_manager) == len(good["close"])
