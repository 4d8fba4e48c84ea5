"""The no-harm check as a command, over rows stored without a text model."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest
from tests.fixtures.commands import US, Run

from prometheus.app.databases import DatabaseManager
from prometheus.arrays import encode_vector

SPAN = ["--date-range", "2021-01-01", "2023-12-28"]


@pytest.fixture
def joined(run: Run, sample: None, db_manager: DatabaseManager) -> None:
    """Three years of regimes, and one text of random meaning a day."""
    run("run_numeric_regime", *US, "--date-range", "2020-06-01", "2023-12-28")
    generator = np.random.default_rng(4)
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO macro_events (event_type, timestamp, country, description)"
            " SELECT 'X', day + interval '12 hours', 'US', 'text of ' || day"
            " FROM generate_series('2020-06-01'::timestamptz, '2023-12-28', '1 day') AS day"
        )
        ids = [row[0] for row in connection.execute("SELECT event_id FROM macro_events ORDER BY timestamp")]
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
                " VALUES ('MACRO', %s, 'text-macro-v1', 384, %s)",
                [(str(each), encode_vector(generator.normal(size=384).astype(np.float32))) for each in ids],
            )
    joint = ["backfill_joint_regime_macro_context", "--region", "US", *SPAN, "--joint-model-id"]
    for name, weight in (("numbers", "1"), ("texts", "0")):
        model = f"joint-regime-core-v2-{name}"
        done = run(*joint, model, "--centre-until", "2020-12-31", "--numeric-weight", weight)
        assert done.exit_code == 0, done.stderr


@pytest.mark.usefixtures("joined")
def test_a_joint_space_without_texts_forecasts_as_its_numbers_do_and_one_of_texts_does_not(run: Run) -> None:
    check = ["check_joint_harm", "--region", "US", "--instrument-id", "AAPL.US", "--json", "--model-id"]

    numbers = json.loads(run(*check, "joint-regime-core-v2-numbers").stdout)
    texts = json.loads(run(*check, "joint-regime-core-v2-texts").stdout)

    assert numbers["n_forecasts"] == texts["n_forecasts"] > 500
    assert numbers["r2_numeric"] == texts["r2_numeric"]
    assert abs(numbers["difference"]) < 1e-3
    assert numbers["is_harmless"]
    assert abs(texts["difference"]) > 0.01
    assert texts["low"] < texts["difference"] < texts["high"]


@pytest.mark.deep
@pytest.mark.usefixtures("joined")
def test_the_volatility_is_that_of_adjusted_closes(run: Run, db_manager: DatabaseManager) -> None:
    check = ["check_joint_harm", "--region", "US", "--instrument-id", "AAPL.US", "--model-id"]
    before = run(*check, "joint-regime-core-v2-texts", "--json").stdout
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE prices_daily SET close = close * 7 WHERE trade_date < '2022-06-01'")
    assert run(*check, "joint-regime-core-v2-texts", "--json").stdout == before


@pytest.mark.usefixtures("joined")
def test_what_cannot_be_judged_is_named(run: Run) -> None:
    check = ["check_joint_harm", "--region", "US", "--model-id", "joint-regime-core-v2-texts"]
    late = str(date(2023, 12, 1))

    assert (
        "joint-regime-core-v9" in run(*check, "--instrument-id", "AAPL.US", "--model-id", "joint-regime-core-v9").stderr
    )
    assert "'NOPE'" in run(*check, "--instrument-id", "NOPE").stderr
    few = run(*check, "--instrument-id", "AAPL.US", "--start", late)
    assert (few.exit_code, "only 0 dates can be judged" in few.stderr) == (5, True)
    assert run(*check, "--instrument-id", "AAPL.US", "--country", "DE").exit_code == 5
