"""A corrected price reaches everything that was made of it, in the command that makes the regimes, and nothing else."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from tests.fixtures.market import LoadPrices, random_walk, weekdays
from tests.reference.windows import weekday_list

from prometheus.app import App
from prometheus.app.backfills import EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.app.joint import JointModelChoice
from prometheus.app.regimes import RegimeRequest
from prometheus.arrays import encode_vector
from prometheus.backfill.joint import JointRequest
from prometheus.backfill.plan import DateSpan, NumericRequest
from prometheus.encoders import EmbeddingBatch, NumericWindowEncoder
from prometheus.encoders.joint.examples import REGIME_MACRO
from prometheus.protocols import EncodableWindows

WINDOW_DAYS = 20
DAYS = weekday_list(80)
SPAN = DateSpan.of_range(DAYS[0], DAYS[-1])
CORRECTED = DAYS[40]
TOUCHED = DAYS[40 : 40 + WINDOW_DAYS]
V1 = JointModelChoice("num-regime-core-v1", "text-macro-v1", "joint-regime-core-v1")
WANTED = RegimeRequest("US", "SPX", SPAN, WINDOW_DAYS, None)
JOINS = JointRequest(REGIME_MACRO, "US", SPAN, "num-regime-core-v1", "text-macro-v1", {"country": "US"})


@pytest.fixture
def app(db_manager: DatabaseManager, load_prices: LoadPrices) -> App:
    """Prices, a text on every second session, the regimes of all and the joint rows of those with a text."""
    load_prices("SPX", weekdays(80), *random_walk(80))
    with db_manager.get_historical_connection() as connection:
        for number, day in enumerate(DAYS[::2]):
            vector = np.random.default_rng(number).normal(size=384).astype(np.float32)
            connection.execute(
                "INSERT INTO macro_events (event_id, event_type, timestamp, country, description)"
                " VALUES (%s, 'CPI', %s, 'US', %s)",
                (number, datetime(day.year, day.month, day.day, 14, tzinfo=UTC), f"text {number}"),
            )
            connection.execute(
                "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
                " VALUES ('MACRO', %s, 'text-macro-v1', 384, %s)",
                (str(number), encode_vector(vector)),
            )
    app = App(db_manager)
    app.regimes.run(WANTED)
    app.joint.backfill([JOINS], V1)
    return app


def correct_a_price(app: App) -> None:
    with app.db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE prices_daily SET close = close * 1.01 WHERE trade_date = %s", (CORRECTED,))


def joint_rows(app: App) -> dict[date, Any]:
    with app.db_manager.get_historical_connection() as connection:
        return dict(connection.execute("SELECT as_of_date, vector FROM joint_embeddings").fetchall())


def from_scratch(app: App) -> dict[date, Any]:
    with app.db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM joint_embeddings")
    app.joint.backfill([JOINS], V1)
    return joint_rows(app)


def test_joint_rows_follow_the_regimes_they_were_joined_from(app: App) -> None:
    before = joint_rows(app)
    correct_a_price(app)
    report = app.regimes.run(WANTED).report
    assert (report.embeddings.written, report.regimes.written) == (WINDOW_DAYS, WINDOW_DAYS)
    after = joint_rows(app)
    changed = {day for day in after if after[day] != before[day]}
    assert changed == set(TOUCHED) & set(DAYS[::2])
    assert report.joined_anew == {"joint-regime-core-v1": len(changed)}
    assert after == from_scratch(app)


def test_a_run_killed_before_the_joint_rows_is_made_good_by_the_next(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    correct_a_price(app)
    with monkeypatch.context() as patch:
        patch.setattr(type(app.joint), "join_anew", lambda *_: Counter())
        app.regimes.run(WANTED)
    again = app.regimes.run(WANTED).report
    assert again.regimes.written == 0
    assert again.joined_anew == {"joint-regime-core-v1": len(set(TOUCHED) & set(DAYS[::2]))}
    assert app.regimes.run(WANTED).report.joined_anew == {}
    assert joint_rows(app) == from_scratch(app)


def test_no_joint_row_is_added_where_none_was_asked_for(app: App) -> None:
    with app.db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM joint_embeddings WHERE as_of_date = ANY(%s)", (list(TOUCHED[2:]),))
    before = joint_rows(app)
    correct_a_price(app)
    app.regimes.run(WANTED)
    assert joint_rows(app).keys() == before.keys()


def test_only_the_states_of_changed_windows_are_computed(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = NumericWindowEncoder.encode

    def counting(encoder: NumericWindowEncoder, windows: EncodableWindows, *rest: str) -> EmbeddingBatch:
        encoded.append(len(windows))
        return encode(encoder, windows, *rest)

    assert app.regimes.run(WANTED).report.written == 0
    correct_a_price(app)
    monkeypatch.setattr(NumericWindowEncoder, "encode", counting)
    app.regimes.run(WANTED)
    assert encoded == [WINDOW_DAYS]


def test_a_dry_run_says_what_a_correction_costs_and_writes_nothing(app: App) -> None:
    correct_a_price(app)
    before = joint_rows(app)
    report = app.regimes.run(WANTED, dry_run=True).report
    assert (report.planned, report.written) == (61, WINDOW_DAYS)
    assert report.n_bytes == 2 * WINDOW_DAYS * 4 * 384  # in both tables
    assert joint_rows(app) == before
    assert app.regimes.run(WANTED).report.written == WINDOW_DAYS


def test_a_numeric_backfill_names_the_regimes_that_rest_on_what_it_rewrote(
    app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("prometheus"), "propagate", True)
    request = NumericRequest(("SPX",), SPAN, WINDOW_DAYS, "num-regime-core-v1")
    app.embeddings.backfill(request)
    assert "rest on them" not in caplog.text
    correct_a_price(app)
    assert app.embeddings.backfill(request).report.rewritten == ("SPX",)
    assert "regimes of US by num-regime-core-v1 rest on them" in caplog.text


def test_rows_of_another_text_model_keep_their_own_texts(app: App) -> None:
    with app.db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
            " SELECT source_type, source_id, 'other-texts', dim, decode(repeat('0000803f', 384), 'hex')"
            " FROM text_embeddings"
        )
        connection.execute("DELETE FROM joint_embeddings WHERE as_of_date = %s", (TOUCHED[2],))
    other = JointRequest(
        REGIME_MACRO, "US", DateSpan.of_date(TOUCHED[2]), "num-regime-core-v1", "other-texts", {"country": "US"}
    )
    app.joint.backfill([other], V1)
    before = joint_rows(app)
    correct_a_price(app)
    app.regimes.run(WANTED)
    after = joint_rows(app)
    assert after.keys() == before.keys()
    assert after[TOUCHED[2]] != before[TOUCHED[2]]
    app.joint.backfill([other], V1)
    assert joint_rows(app)[TOUCHED[2]] == after[TOUCHED[2]]


def test_a_dry_run_of_embeddings_calls_nothing_rewritten(
    app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("prometheus"), "propagate", True)
    correct_a_price(app)
    request = NumericRequest(("SPX",), SPAN, WINDOW_DAYS, "num-regime-core-v1")
    assert app.embeddings.backfill(request, EngineChoice(dry_run=True)).report.written == WINDOW_DAYS
    assert "were rewritten" not in caplog.text
