"""`evaluate texts` on stored prices and texts: a planted effect is told, and what cannot be judged is refused."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest
from tests.unit.evaluation.test_text_volatility import DATES, DIM, N_SESSIONS, planted

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_evaluations import TextEvaluationRequest
from prometheus.arrays import encode_vector
from prometheus.data.instruments import InstrumentDefaults, InstrumentRow, upsert_instruments
from prometheus.data.models import ModelRegistry
from prometheus.evaluation.stories import Stories
from prometheus.evaluation.text_volatility import FIRST_FIT, GRID, HORIZONS

PAPER = "PAPER.US"
ASK = ("evaluate", "texts", "--instrument-id", PAPER)


@pytest.fixture
def stored(cli_environment: dict[str, str], db_manager: DatabaseManager) -> DatabaseManager:
    """Prices of an instrument whose volatility follows its news, and that news with vectors."""
    assert cli_environment
    history, stories = planted(0.35)
    high, low = np.asarray(history.high_over_close), np.asarray(history.low_over_close)
    with db_manager.get_runtime_connection() as connection:
        rows = [InstrumentRow(PAPER, "US_EQ", None, None, None, None, None)]
        upsert_instruments(connection, rows, InstrumentDefaults("US_EQ", "EQUITY", "USD"))
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        columns = "instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency"
        with cursor.copy(f"COPY prices_daily ({columns}) FROM STDIN") as copy:
            for day, close, top, bottom in zip(DATES.tolist(), history.closes, high, low, strict=True):
                bar = [float(close), float(close * top), float(close * bottom), float(close), float(close)]
                copy.write_row((PAPER, day, *bar, 1_000, "USD"))
    tell(db_manager, stories)
    return db_manager


def tell(db_manager: DatabaseManager, stories: Stories) -> None:
    ModelRegistry(db_manager).register("text-a", "text", {"family": "test"})
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        ((last,),) = cursor.execute("SELECT coalesce(max(article_id), 0) FROM news_articles").fetchall()
        days, vectors = stories.days.tolist(), stories.vectors
        ids = range(last + 1, last + 1 + len(days))
        with cursor.copy("COPY news_articles (article_id, published_at, headline) FROM STDIN") as copy:
            for key, day in zip(ids, days, strict=True):
                copy.write_row((key, f"{day} 12:00+00", f"story {key}"))
        with cursor.copy("COPY text_instruments (source_type, source_id, instrument_id) FROM STDIN") as copy:
            for key in ids:
                copy.write_row(("NEWS", key, PAPER))
        with cursor.copy("COPY text_embeddings (source_type, source_id, model_id, dim, vector) FROM STDIN") as copy:
            for key, vector in zip(ids, vectors, strict=True):
                copy.write_row(("NEWS", str(key), "text-a", DIM, encode_vector(vector)))


@pytest.mark.usefixtures("stored")
def test_what_texts_add_is_told_and_nothing_is_written(run: Run, table_digests: TableDigest) -> None:
    before = table_digests()
    told, shown = run("evaluate_texts", *ASK[2:], "--json"), run(*ASK)
    assert told.exit_code == 0, told.stderr
    document = json.loads(told.stdout)
    gains = {(each["horizon"], each["features"]): each for each in document["gains"]}
    (span,) = document["spans"]

    assert set(gains) == {(horizon, cell) for horizon in HORIZONS for cell in GRID}
    assert gains[1, "directions"]["is_found"]
    assert not gains[1, "count"]["is_found"]
    assert (span["n_sessions"], span["n_without_vector"]) == (N_SESSIONS - 21 - FIRST_FIT, 0)
    assert span["last"] == str(DATES[-1])
    assert f"{PAPER}: {span['n_sessions']:,} sessions judged from {span['first']}" in shown.stdout
    assert shown.stdout.rstrip().splitlines()[-1].startswith("texts help: directions of PAPER.US, 1 ahead")
    assert table_digests() == before


def test_later_bars_and_texts_leave_earlier_losses_alone(stored: DatabaseManager) -> None:
    """What is judged on the sessions before is the same to the bit; the app reads no later row for them."""
    tasks, request = App(stored).text_evaluations, TextEvaluationRequest((PAPER,))
    span, _ = tasks._load(PAPER, request, "text-a")
    with stored.get_historical_connection() as connection:
        day = DATES[-100].item()
        connection.execute(
            "UPDATE prices_daily SET high = high * 1.01, close = close * 1.004 WHERE trade_date > %s", (day,)
        )
    later = DATES[-50:]
    tell(stored, Stories(later, np.ones((len(later), DIM), np.float32)))
    other, _ = App(stored).text_evaluations._load(PAPER, request, "text-a")
    n_same = len(span) - 99

    assert span.regressors[:n_same].tobytes() == other.regressors[:n_same].tobytes()
    assert span.told.n_texts[:n_same].tolist() == other.told.n_texts[:n_same].tolist()
    assert span.told.means[:n_same].tobytes() == other.told.means[:n_same].tobytes()
    assert other.told.n_texts[-10:].tolist() == (span.told.n_texts[-10:] + 1).tolist()


def test_a_text_known_later_counts_from_then_on_in_the_zone_that_is_named(stored: DatabaseManager) -> None:
    with stored.get_historical_connection() as connection:
        connection.execute("DELETE FROM news_articles WHERE article_id > 3")
        connection.execute(
            "UPDATE news_articles SET published_at = '2012-01-03 12:00+00', known_at = CASE article_id"
            " WHEN 1 THEN '2012-01-05 23:30+00'::timestamptz WHEN 2 THEN '2012-01-04 03:00+00' END"
        )
    days = App(stored).wired.concerned_texts.known_days
    third = date(2012, 1, 3)
    assert days("NEWS", PAPER, "UTC") == {1: date(2012, 1, 5), 2: date(2012, 1, 4), 3: third}
    assert days("NEWS", PAPER, "America/New_York") == {1: date(2012, 1, 5), 2: third, 3: third}
    assert days("NEWS", PAPER, "Australia/Sydney") == {1: date(2012, 1, 6), 2: date(2012, 1, 4), 3: third}


@pytest.mark.usefixtures("stored")
def test_what_cannot_be_judged_is_refused_in_one_line(run: Run, db_manager: DatabaseManager) -> None:
    for arguments, exit_code, line in (
        ((*ASK[:3], "NOPE"), 5, "unknown instrument 'NOPE'"),
        ((*ASK, "--source", "macro"), 5, "there are no MACRO text embeddings"),
        ((*ASK, "--timezone", "Mars"), 2, "--timezone 'Mars': no such time zone"),
        ((*ASK, "--model-id", "none"), 5, "there are no NEWS text embeddings of none"),
        (ASK[:2], 2, "--instrument-id"),
    ):
        refused = run(*arguments)
        assert (refused.exit_code, len(refused.stderr.strip().splitlines())) == (exit_code, 1), refused.stderr
        assert line in refused.stderr
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM news_articles WHERE published_at > '2011-06-01'")
    refused = run(*ASK)
    assert refused.exit_code == 5
    assert "sessions lie between its first text and its last, 754 are needed" in refused.stderr
