"""Calibrated regimes over real rows: one file makes the model, and any way through the dates leaves the same rows."""

from __future__ import annotations

import logging
import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures.database import TableDigest
from tests.reference.windows import sample_bars

import prometheus
from prometheus.app import App
from prometheus.app.calibrations import CalibrationRequest
from prometheus.app.databases import DatabaseManager
from prometheus.app.regimes import RegimeRequest
from prometheus.backfill import plan
from prometheus.backfill.plan import DateSpan
from prometheus.backfill.regime import RegimeReport
from prometheus.data.models import ModelRegistry
from prometheus.data.postgres.binary_copy import copy_in
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder
from prometheus.encoders.catalogue import create_numeric_model
from prometheus.encoders.numeric.features import LOG_PRICES
from prometheus.errors import (
    InputRefusedError,
    InsufficientHistoryError,
    ModelFingerprintError,
    NotFoundError,
    PrototypeError,
)
from prometheus.files.prototypes import read_prototypes
from prometheus.market.calendar import TradingCalendar
from prometheus.regime import PersistentRegimeModel, PrototypeSet, RegimeEngine, RegimeStorage
from prometheus.regime.calibration import CalibrationSettings

UNTIL = date(2007, 12, 31)
CRASH = DateSpan.of_range(date(2008, 8, 1), date(2008, 12, 31))


@pytest.fixture
def prices(db_manager: DatabaseManager) -> None:
    """The packaged index from 1998 to 2009: enough to calibrate on and to be judged."""
    bars = [bar for bar in sample_bars("GSPC.INDX") if date(1998, 1, 1) <= bar[0] <= date(2009, 12, 31)]
    fields = ("close", "volume", "adjusted_close", "high", "low")
    columns = {name: np.array([bar[at + 1] for bar in bars]) for at, name in enumerate(fields)}
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE bars (trade_date date, close float8, volume float8, adjusted_close float8, high float8,"
            " low float8) ON COMMIT DROP"
        )
        copy_in(cursor, "bars", {"trade_date": np.array([bar[0] for bar in bars], dtype="M8[D]"), **columns})
        cursor.execute(
            "INSERT INTO prices_daily (instrument_id, trade_date, close, volume, adjusted_close, high, low, currency)"
            " SELECT 'GSPC.INDX', trade_date, close, volume, adjusted_close, high, low, 'USD' FROM bars"
        )


def calibrate(
    db_manager: DatabaseManager, output: Path, until: date = UNTIL, instrument_id: str = "GSPC.INDX", **settings: Any
) -> tuple[PrototypeSet, bool]:
    request = CalibrationRequest(
        region="SPX", instrument_id=instrument_id, until=until, output=output, span=2_000,
        settings=CalibrationSettings(**settings),
    )  # fmt: skip
    result = App(db_manager).calibrations.calibrate(request)
    return result.prototype_set, result.is_changed


@pytest.fixture
def path(db_manager: DatabaseManager, prices: None, tmp_path: Path) -> Path:
    """What ``calibrate`` wrote."""
    calibrate(db_manager, tmp_path / "p.json")
    return tmp_path / "p.json"


def run(
    db_manager: DatabaseManager, prototypes: Path, span: DateSpan = CRASH, regime_model_id: str | None = None
) -> RegimeReport:
    request = RegimeRequest(
        region="SPX", instrument_id="GSPC.INDX", span=span, window_days=None, model_id="num-regime-core-v2",
        prototypes=prototypes, regime_model_id=regime_model_id,
    )  # fmt: skip
    return App(db_manager).regimes.run(request).report


def everything_stored(db_manager: DatabaseManager) -> dict[date, tuple[Any, ...]]:
    """All rows of regimes and embeddings by date, but for when they were written."""
    with db_manager.get_runtime_connection() as connection:
        regimes = connection.execute(
            "SELECT as_of_date, region, model_id, regime_label, confidence::text, encoder_model_id, regime_embedding,"
            " metadata::text FROM regimes ORDER BY 1"
        ).fetchall()
    with db_manager.get_historical_connection() as connection:
        embeddings = connection.execute(
            "SELECT as_of_date, entity_id, window_days, vector, input_hash FROM numeric_window_embeddings ORDER BY 1"
        ).fetchall()
    assert [row[0] for row in regimes] == [row[0] for row in embeddings]
    return {row[0]: (*row, *embedding) for row, embedding in zip(regimes, embeddings, strict=True)}


def forget_results(db_manager: DatabaseManager) -> None:
    with db_manager.get_runtime_connection() as connection:
        connection.execute("DELETE FROM regimes")
        connection.execute("DELETE FROM regime_transitions")
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings")


def test_one_date_alone_and_any_chunks_leave_the_rows_of_the_whole_range(
    db_manager: DatabaseManager, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(db_manager, path)
    whole = everything_stored(db_manager)
    assert done.regimes.planned == done.regimes.written == done.embeddings.written == len(whole) == 106
    assert {"RISK_OFF", "CRISIS"} <= {row[3] for row in whole.values()}
    assert whole[date(2008, 10, 10)][3] == "CRISIS"

    forget_results(db_manager)
    days = [day for day in whole if day.month == 10][::5]
    for day in reversed(days):
        alone = run(db_manager, path, DateSpan.of_date(day))
        assert (alone.regimes.written, alone.embeddings.written) == (1, 1)
    assert everything_stored(db_manager) == {day: whole[day] for day in days}

    monkeypatch.setattr(plan, "CHUNK_DAYS", 17)
    assert run(db_manager, path).regimes.written == 106 - len(days)
    assert everything_stored(db_manager) == whole


def test_the_engine_stores_the_row_of_the_command(db_manager: DatabaseManager, path: Path) -> None:
    day = date(2008, 10, 10)
    run(db_manager, path, DateSpan.of_date(day))
    expected = everything_stored(db_manager)
    forget_results(db_manager)
    encoder = NumericWindowEncoder(
        builder=NumericWindowBuilder(DataReader(db_manager=db_manager), TradingCalendar(), LOG_PRICES),
        model=create_numeric_model("num-regime-core-v2"),
        store=NumericEmbeddingStore(db_manager=db_manager),
        model_id="num-regime-core-v2",
    )
    model = PersistentRegimeModel(
        encoder=encoder, region_instruments={"SPX": "GSPC.INDX"}, prototype_set=read_prototypes(path)
    )
    state = RegimeEngine(model=model, storage=RegimeStorage(db_manager=db_manager)).get_regime(day, "SPX")
    assert state.regime_label.name == "CRISIS"
    assert everything_stored(db_manager) == expected


def test_a_second_run_writes_nothing(db_manager: DatabaseManager, path: Path, table_digests: TableDigest) -> None:
    run(db_manager, path)
    before, text = table_digests(), path.read_bytes()
    again = run(db_manager, path)
    assert (again.regimes.written, again.embeddings.written, again.regimes.unchanged) == (0, 0, 106)
    _, is_changed = calibrate(db_manager, path)
    assert (is_changed, path.read_bytes()) == (False, text)
    assert table_digests() == before


def test_bars_after_the_date_change_neither_the_file_nor_the_rows(db_manager: DatabaseManager, path: Path) -> None:
    cut = date(2008, 10, 10)
    run(db_manager, path)
    before = {day: row for day, row in everything_stored(db_manager).items() if day <= cut}
    for change, last in (
        ("UPDATE prices_daily SET adjusted_close = 1e30, low = 1e-30", cut),
        ("DELETE FROM prices_daily", cut),
        ("DELETE FROM prices_daily", UNTIL),
    ):
        with db_manager.get_historical_connection() as connection:
            connection.execute(f"{change} WHERE trade_date > %s", (last,))
        assert calibrate(db_manager, path)[1] is False
        if last == cut:
            forget_results(db_manager)
            run(db_manager, path)
            assert {day: row for day, row in everything_stored(db_manager).items() if day <= cut} == before


def test_the_file_and_the_row_of_models_hold_the_same_and_both_hold_all(
    db_manager: DatabaseManager, path: Path
) -> None:
    run(db_manager, path, DateSpan.of_date(date(2008, 10, 10)))
    read = read_prototypes(path)
    assert read.to_json() == path.read_text(encoding="utf-8")
    assert read.calibration is not None
    assert read.calibration.end == UNTIL
    config = ModelRegistry(db_manager).load_config(read.regime_model_id("num-regime-core-v2"))
    assert config is not None
    assert config["calibration"] == read.calibration.to_dict()
    for prototype in read.prototypes:
        stored = np.array(config["centers"][prototype.label.name], dtype=np.float32)
        assert stored.tobytes() == prototype.center.tobytes()


def test_a_registered_name_with_another_calibration_is_refused_in_one_line(
    db_manager: DatabaseManager, path: Path, table_digests: TableDigest
) -> None:
    span = DateSpan.of_date(date(2008, 10, 10))
    run(db_manager, path, span, "desk-view")
    other = path.with_name("other.json")
    calibrate(db_manager, other, penalty=2.0)
    before = table_digests()
    with pytest.raises(ModelFingerprintError, match=r"'desk-view' is taken by another model \(calibration: ") as caught:
        run(db_manager, other, span, "desk-view")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500
    assert table_digests() == before
    assert run(db_manager, other, span).newest_state().model_id != run(db_manager, path, span).newest_state().model_id


def test_an_explanation_needs_no_file(db_manager: DatabaseManager, path: Path) -> None:
    latest = run(db_manager, path, DateSpan.of_date(date(2008, 10, 10))).newest_state()
    path.unlink()
    tasks = App(db_manager).regimes
    states = tasks.states("SPX", date.min, date.max, None)
    (reasons,) = App(db_manager).calibrations.explain(states)
    assert [state.metadata for state in states] == [latest.metadata]
    assert any("below the two-year high" in reason.text for reason in reasons)
    shares = [reason.share for reason in reasons if not math.isnan(reason.share)]
    assert sum(map(abs, shares)) == pytest.approx(1)
    assert sum(shares) > 0


def test_labels_of_the_calibration_span_are_warned_of(
    db_manager: DatabaseManager, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run(db_manager, path)
        assert "in-sample" not in caplog.text
        run(db_manager, path, DateSpan.of_date(UNTIL))
    assert "calibrated on sessions up to 2007-12-31; labels of dates up to then are in-sample" in caplog.text


@pytest.mark.parametrize(
    ("until", "instrument_id", "error", "reason"),
    [
        (UNTIL, "NOPE", NotFoundError, "'NOPE'"),
        (date(1997, 12, 31), "GSPC.INDX", InsufficientHistoryError, "GSPC.INDX: .* found 0;"),
        (date(2000, 12, 29), "GSPC.INDX", InputRefusedError, "sessions with a vector are too few to calibrate on"),
    ],
)
def test_what_cannot_be_calibrated_leaves_no_file(
    db_manager: DatabaseManager, prices: None, tmp_path: Path, until: date, instrument_id: str,
    error: type[InputRefusedError], reason: str,
) -> None:  # fmt: skip
    with pytest.raises(error, match=reason) as caught:
        calibrate(db_manager, tmp_path / "p.json", until, instrument_id)
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def test_a_date_with_a_window_and_no_past_to_look_back_on_is_refused(
    db_manager: DatabaseManager, path: Path, table_digests: TableDigest
) -> None:
    before = table_digests()
    for span in (DateSpan.of_date(date(2000, 6, 30)), DateSpan.of_range(date(2000, 2, 1), date(2000, 6, 30))):
        with pytest.raises(InsufficientHistoryError, match="needs 638 sessions, found 630"):
            run(db_manager, path, span)
    assert table_digests() == before
    started = run(db_manager, path, DateSpan.of_range(date(2000, 2, 1), date(2000, 7, 31)))
    with db_manager.get_historical_connection() as connection:
        dates = connection.execute("SELECT trade_date FROM prices_daily ORDER BY 1 LIMIT 638").fetchall()
    assert min(everything_stored(db_manager)) == dates[-1][0]
    assert started.newest_state().as_of_date == date(2000, 7, 31)


def test_a_broken_file_stores_nothing(db_manager: DatabaseManager, path: Path, table_digests: TableDigest) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace('"temperature": ', '"temperature": -'), encoding="utf-8")
    before = table_digests()
    with pytest.raises(PrototypeError, match=r"p\.json: 'calibration' needs a positive temperature"):
        run(db_manager, path)
    assert table_digests() == before


def test_a_drift_is_told_as_it_was_known_and_its_limits_are_kept_once(
    db_manager: DatabaseManager, path: Path, table_digests: TableDigest
) -> None:
    day, end = date(2008, 11, 14), CRASH.end
    run(db_manager, path, DateSpan.of_range(CRASH.start, day))
    model_id = read_prototypes(path).regime_model_id("num-regime-core-v2")
    watch = App(db_manager).drift
    assert watch.on("SPX", day, model_id) is None, "no night has kept limits"
    simulated = watch.on("SPX", day, model_id, only_kept=False)
    assert watch.on("SPX", UNTIL, model_id, only_kept=False) is None, "the model was made of that date"

    watch.keep_norms("SPX", model_id, day)
    kept, before = watch.on("SPX", day, model_id), table_digests()["historical.models"]

    assert kept is not None
    assert kept == simulated
    assert kept.advice is not None
    assert kept.advice.startswith("calibrate again: ")
    known = {(each.norm.figure, each.norm.n_sessions): each.value for each in kept.figures}
    assert known["confidence", 63] is not None
    assert known["bias", 63] is None, "of 75 sessions the last 21 have no outcome yet"
    assert known["volatility_32", 252] is None

    run(db_manager, path)
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE prices_daily SET adjusted_close = 1 + random() WHERE trade_date > %s", (day,))
    later = App(db_manager).drift
    later.keep_norms("SPX", model_id, end)
    assert later.on("SPX", day, model_id) == kept
    assert table_digests()["historical.models"] == before

    days = [day, date(2008, 11, 28), date(2008, 12, 15), end]
    whole = dict(zip(days, later.over("SPX", days, model_id), strict=True))
    assert len({told.figures for told in whole.values() if told is not None}) == len(days)
    for last in reversed(days):
        with db_manager.get_historical_connection() as connection:
            connection.execute("DELETE FROM prices_daily WHERE trade_date > %s", (last,))
        with db_manager.get_runtime_connection() as connection:
            connection.execute("DELETE FROM regimes WHERE as_of_date > %s", (last,))
        assert App(db_manager).drift.on("SPX", last, model_id) == whole[last]


def test_python_is_told_of_a_drift_or_why_there_is_none(db_manager: DatabaseManager, path: Path) -> None:
    run(db_manager, path)
    with prometheus.open(db_manager.config) as opened:
        told = opened.drift("SPX")
        assert {row.n_sessions for row in told if row.is_out} == {63}
        assert "calibrate again: " in str(told)
        with pytest.raises(
            InputRefusedError, match=r"SPX: the drift of num-regime-core-v2@\w+ is not known on 2008-08"
        ):
            opened.drift("SPX", "2008-08-29")
