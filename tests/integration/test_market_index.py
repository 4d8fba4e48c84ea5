"""A member of a market and its index over real rows: whatever way through the dates, only what was known counts."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest
from tests.reference.windows import sample_bars

from prometheus.app import App
from prometheus.app.calibrations import CalibrationRequest
from prometheus.app.databases import DatabaseManager
from prometheus.app.regimes import RegimeRequest
from prometheus.backfill import plan
from prometheus.backfill.plan import DateSpan
from prometheus.backfill.regime import RegimeReport
from prometheus.data.postgres.binary_copy import copy_in
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder
from prometheus.encoders.catalogue import create_numeric_model
from prometheus.encoders.numeric.features import LOG_PRICES
from prometheus.errors import InputRefusedError, PrometheusError, UsageError
from prometheus.files.prototypes import read_prototypes
from prometheus.market.calendar import TradingCalendar
from prometheus.mcp import tools
from prometheus.regime import PersistentRegimeModel, RegimeEngine, RegimeStorage
from prometheus.regime.calibration import CalibrationSettings
from prometheus.regime.market_index import MarketIndex
from prometheus.web import schemas

UNTIL = date(2007, 12, 31)
CRASH = DateSpan.of_range(date(2008, 8, 1), date(2008, 11, 28))
MEMBER, INDEX = "AAPL.US", "GSPC.INDX"
FIELDS = ("close", "volume", "adjusted_close", "high", "low")


@pytest.fixture
def prices(db_manager: DatabaseManager) -> None:
    """A stock and the index of its market, from 2000 to 2008."""
    bars = [
        (name, *bar) for name in (MEMBER, INDEX)
        for bar in sample_bars(name) if date(2000, 1, 1) <= bar[0] <= date(2008, 12, 31)
    ]  # fmt: skip
    columns = {name: np.array([bar[at + 2] for bar in bars]) for at, name in enumerate(FIELDS)}
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE bars (is_index bool, trade_date date, close float8, volume float8,"
            " adjusted_close float8, high float8, low float8) ON COMMIT DROP"
        )
        is_index = np.array([bar[0] == INDEX for bar in bars])
        dates = np.array([bar[1] for bar in bars], dtype="M8[D]")
        copy_in(cursor, "bars", {"is_index": is_index, "trade_date": dates, **columns})
        cursor.execute(
            "INSERT INTO prices_daily (instrument_id, trade_date, close, volume, adjusted_close, high, low, currency)"
            " SELECT CASE WHEN is_index THEN %s ELSE %s END, trade_date, close, volume, adjusted_close, high, low,"
            " 'USD' FROM bars",
            (INDEX, MEMBER),
        )


def calibrate(
    db_manager: DatabaseManager, output: Path, index: str | None = INDEX, instrument_id: str = MEMBER
) -> None:
    settings = CalibrationSettings(market_index=None if index is None else MarketIndex(index))
    request = CalibrationRequest("AAPL", instrument_id, UNTIL, output, 1_400, settings)
    App(db_manager).calibrations.calibrate(request)


def label(db_manager: DatabaseManager, prototypes: Path, span: DateSpan = CRASH) -> RegimeReport:
    request = RegimeRequest("AAPL", MEMBER, span, None, "num-regime-core-v2", prototypes)
    return App(db_manager).regimes.run(request).report


def stored(db_manager: DatabaseManager) -> dict[date, tuple[Any, ...]]:
    with db_manager.get_runtime_connection() as connection:
        rows = connection.execute(
            "SELECT as_of_date, regime_label, confidence, metadata FROM regimes ORDER BY 1"
        ).fetchall()
    return {row[0]: row[1:] for row in rows}


def forget(db_manager: DatabaseManager) -> None:
    with db_manager.get_runtime_connection() as connection:
        connection.execute("DELETE FROM regimes")
        connection.execute("DELETE FROM regime_transitions")
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings")


def change_index(db_manager: DatabaseManager, statement: str, after: date) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute(f"{statement} WHERE instrument_id = %s AND trade_date > %s", (INDEX, after))


def test_the_chance_alone_moves_and_any_way_through_the_dates_leaves_equal_rows(
    db_manager: DatabaseManager, prices: None, tmp_path: Path, table_digests: TableDigest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path, plain = tmp_path / "with.json", tmp_path / "without.json"
    calibrate(db_manager, path)
    calibrate(db_manager, plain, index=None)
    label(db_manager, plain)
    before = stored(db_manager)
    forget(db_manager)
    assert label(db_manager, path).regimes.written == len(before)
    whole = stored(db_manager)
    assert [row[:2] for row in whole.values()] == [row[:2] for row in before.values()]
    gaps = [abs(_chance(whole[day]) - _chance(before[day])) for day in whole]
    assert max(gaps) > 0.02
    assert {str(day): said[2]["market_index"] for day, said in whole.items()} == {
        str(day): {"instrument_id": INDEX, "session": str(day)} for day in whole
    }
    digests = table_digests()
    assert label(db_manager, path).regimes.written == 0
    assert table_digests() == digests

    forget(db_manager)
    days = list(whole)[::40]
    for day in days:
        label(db_manager, path, DateSpan.of_date(day))
    assert stored(db_manager) == {day: whole[day] for day in days}
    monkeypatch.setattr(plan, "CHUNK_DAYS", 17)
    assert label(db_manager, path).regimes.written == len(whole) - len(days)
    assert stored(db_manager) == whole
    forget(db_manager)
    assert _engine(db_manager, path).get_regime(days[0], "AAPL").metadata == whole[days[0]][2]


def test_later_bars_of_the_index_change_nothing_and_missing_ones_are_told_and_mended(
    db_manager: DatabaseManager, prices: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, run: Run
) -> None:
    path, plain = tmp_path / "with.json", tmp_path / "without.json"
    calibrate(db_manager, path)
    calibrate(db_manager, plain, index=None)
    label(db_manager, plain)
    without = stored(db_manager)
    forget(db_manager)
    label(db_manager, path)
    whole = stored(db_manager)

    cut = date(2008, 10, 10)
    change_index(db_manager, "UPDATE prices_daily SET close = close * 1.5, high = high * 3", cut)
    forget(db_manager)
    label(db_manager, path)
    poisoned = stored(db_manager)
    assert {day: row for day, row in poisoned.items() if day <= cut} == {
        day: row for day, row in whole.items() if day <= cut
    }
    assert poisoned != whole

    change_index(db_manager, "DELETE FROM prices_daily", cut)
    report = label(db_manager, path)
    lacking = [day for day in whole if (day - cut).days > 7]
    assert report.without_index == tuple(lacking)
    told = f"{INDEX} was not known in the week before {len(lacking)} of the dates, the first {lacking[0]}"
    assert sum(told in line for line in caplog.messages) == 1
    now = stored(db_manager)
    assert {day: _chance(now[day]) for day in lacking} == {day: _chance(without[day]) for day in lacking}
    assert {now[day][2]["market_index"]["session"] for day in lacking} == {None}
    assert label(db_manager, path, DateSpan.of_date(CRASH.end)).regimes.written == 0
    (told_newest,) = json.loads(run("show_regimes", "--region", "AAPL", "--start", "2008-11-28", "--json").stdout)
    assert told_newest["market_index"] == {"instrument_id": INDEX, "session": None}
    app, asked = App(db_manager), {"region": "AAPL", "as_of": "2008-11-28"}
    detail = schemas.RegimeDetail.model_validate(app.briefings.detail(app.regimes.history("AAPL")))
    assert detail.model_dump(mode="json")["market_index"] == told_newest["market_index"]
    for tool in ("get_regime", "explain_regime"):
        assert tools.call(app, tool, asked)[0]["market_index"] == told_newest["market_index"]
    assert f"%, without {INDEX}, which was not known\n" in run("show_regimes", "--region", "AAPL", "--explain").stdout
    assert now[date(2008, 10, 15)][2]["market_index"]["session"] == str(cut)
    assert {day: row for day, row in now.items() if day <= cut} == {
        day: row for day, row in whole.items() if day <= cut
    }


def test_what_is_no_index_of_an_instrument_is_refused_and_writes_nothing(
    db_manager: DatabaseManager, prices: None, tmp_path: Path
) -> None:
    change_index(db_manager, "DELETE FROM prices_daily", date(2007, 6, 29))
    for name, kind, said in (
        ("NONE.INDX", PrometheusError, "unknown instrument 'NONE.INDX'"),
        (MEMBER, UsageError, "AAPL.US is itself the --market-index"),
        (INDEX, InputRefusedError, "no bar from 2007-12-24 to 2007-12-31"),
    ):
        with pytest.raises(kind, match=said):
            calibrate(db_manager, tmp_path / "p.json", name)
    assert not (tmp_path / "p.json").exists()


def _chance(row: tuple[Any, ...]) -> float:
    return float(row[2]["high_volatility"]["probability"])


def _engine(db_manager: DatabaseManager, path: Path) -> RegimeEngine:
    encoder = NumericWindowEncoder(
        builder=NumericWindowBuilder(DataReader(db_manager=db_manager), TradingCalendar(), LOG_PRICES),
        model=create_numeric_model("num-regime-core-v2"),
        store=NumericEmbeddingStore(db_manager=db_manager),
        model_id="num-regime-core-v2",
    )
    model = PersistentRegimeModel(
        encoder=encoder, region_instruments={"AAPL": MEMBER}, prototype_set=read_prototypes(path)
    )
    return RegimeEngine(model=model, storage=RegimeStorage(db_manager=db_manager))
