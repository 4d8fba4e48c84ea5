"""The command lines of the mission, as they are written there, and what they store."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.commands import US, Run, run_process

from prometheus.app.databases import DatabaseManager
from prometheus.regime import RegimeStorage

RUN_NUMERIC_REGIME = (
    "-m prometheus.scripts.run_numeric_regime --region US --instrument-id AAPL.US --as-of 2025-01-31 "
    "--window-days 63 --model-id "
)
COMPUTE_PROTOTYPES = (
    "-m prometheus.scripts.compute_regime_prototypes --region US --neutral-start 2018-01-01 --neutral-end 2018-12-31 "
    "--crisis-start 2020-03-01 --crisis-end 2020-04-30 --output regime_prototypes_US.json"
)
BACKFILL = "-m prometheus.scripts.backfill_numeric_embeddings --as-of 2025-01-31 --window-days 63 "
SUMMARY = "Regime as of 2025-01-31 for region US: label=NEUTRAL, confidence=1.000\n"

pytestmark = [pytest.mark.usefixtures("sample"), pytest.mark.tcp]


@pytest.mark.parametrize(("model_id", "dim"), [("num-regime-core-v1", 384), ("numeric-simple-v1", 189)])
def test_a_single_date_prints_one_line_and_stores_embedding_and_regime(
    model_id: str, dim: int, db_manager: DatabaseManager
) -> None:
    outcome = run_process(*(RUN_NUMERIC_REGIME + model_id).split())

    assert (outcome.exit_code, outcome.stdout) == (0, SUMMARY), outcome.stderr
    with db_manager.get_historical_connection() as connection:
        (vector,) = connection.execute(
            "SELECT vector FROM numeric_window_embeddings WHERE entity_type = 'INSTRUMENT' AND entity_id = 'AAPL.US'"
            " AND as_of_date = '2025-01-31' AND model_id = %s",
            (model_id,),
        ).fetchall()[0]
    with db_manager.get_runtime_connection() as connection:
        label, confidence, embedding, metadata = connection.execute(
            "SELECT regime_label, confidence, regime_embedding, metadata FROM regimes"
            " WHERE region = 'US' AND as_of_date = '2025-01-31' AND model_id = %s",
            (model_id,),
        ).fetchall()[0]
    assert np.frombuffer(vector, dtype="<f4").shape == (dim,)
    assert embedding == vector
    assert (label, confidence) == ("NEUTRAL", 1.0)
    assert metadata["instrument_id"] == "AAPL.US"


def test_the_first_features_of_the_stored_window_are_the_prices_of_63_sessions_before(
    db_manager: DatabaseManager, run: Run
) -> None:
    run("run_numeric_regime", *US, "--as-of", "2025-01-31")

    with db_manager.get_historical_connection() as connection:
        bars = connection.execute(
            "SELECT close, volume FROM prices_daily WHERE instrument_id = 'AAPL.US' AND trade_date <= '2025-01-31'"
            " ORDER BY trade_date DESC LIMIT 63"
        ).fetchall()[::-1]
        (stored,) = connection.execute("SELECT vector FROM numeric_window_embeddings").fetchall()[0]
    window = np.frombuffer(stored, dtype="<f4")[:189].reshape(63, 3)
    np.testing.assert_array_equal(window[:, :2], np.array(bars, dtype=np.float32))
    assert window[0, 2] == 0
    closes = np.array([close for close, _ in bars])
    np.testing.assert_allclose(window[1:, 2], np.log(closes[1:] / closes[:-1]), rtol=1e-6)


def test_a_market_is_embedded_up_to_a_limit_and_named_instruments_without_one(
    run: Run, db_manager: DatabaseManager
) -> None:
    with_market = run_process(
        *BACKFILL.split(), "--market-id", "US_EQ", "--limit", "500", "--model-id", "num-regime-core-v1"
    )
    named = run(
        *in_process(BACKFILL.replace("2025-01-31", "2023-12-28")),
        "--instrument-id", "AAPL.US", "--instrument-id", "GSPC.INDX", "--model-id", "num-regime-core-v1",
    )  # fmt: skip

    assert with_market.exit_code == 0, with_market.stderr
    assert "skipped: 1 instrument ended (GSPC.INDX on 2023-12-28)" in with_market.stdout, "it has no window for 2025"
    assert named.exit_code == 0, named.stderr
    with db_manager.get_historical_connection() as connection:
        rows = connection.execute(
            "SELECT entity_id, as_of_date, dim FROM numeric_window_embeddings ORDER BY as_of_date, entity_id"
        ).fetchall()
    assert rows == [
        ("AAPL.US", date(2023, 12, 28), 384),
        ("GSPC.INDX", date(2023, 12, 28), 384),
        ("AAPL.US", date(2025, 1, 31), 384),
    ]


def test_the_prototype_file_has_the_documented_form_and_the_mean_of_the_stored_embeddings(
    run: Run, db_manager: DatabaseManager
) -> None:
    run("run_numeric_regime", *US, "--date-range", "2017-06-01", "2020-06-30")

    outcome = run_process(*COMPUTE_PROTOTYPES.split())

    assert outcome.exit_code == 0, outcome.stderr
    document = json.loads(Path("regime_prototypes_US.json").read_text())
    assert document["embedding_dim"] == 384
    assert document["region"] == "US"
    assert set(document["prototypes"]) == {"CRISIS", "NEUTRAL"}
    crisis = document["prototypes"]["CRISIS"]
    assert crisis["window"] == {"start_date": "2020-03-01", "end_date": "2020-04-30"}
    assert crisis["l2_norm"] == pytest.approx(float(np.linalg.norm(np.array(crisis["center"]))))
    states = RegimeStorage(db_manager=db_manager).get_history("US", date(2020, 3, 1), date(2020, 4, 30))
    assert len(states) == 43
    mean = np.mean([state.regime_embedding.astype(np.float64) for state in states], axis=0)
    np.testing.assert_array_equal(np.array(crisis["center"], dtype=np.float32), mean.astype(np.float32))


def in_process(command: str) -> list[str]:
    """Return the words of a command of the mission for `run`."""
    return command.removeprefix("-m prometheus.scripts.").split()


def test_the_python_snippet_of_the_mission_runs_unchanged_on_the_file_the_command_wrote(run: Run) -> None:
    mission = Path(__file__).parents[3] / "shared" / "mission" / "003_3a97b7029f3f98e8.txt"
    if not mission.exists():
        pytest.skip(f"needs the mission document {mission}")
    run("run_numeric_regime", *US, "--date-range", "2017-06-01", "2020-06-30")
    assert run(*in_process(COMPUTE_PROTOTYPES)).exit_code == 0
    snippet = mission.read_text().split("```python\n")[1].split("```")[0]

    outcome = run_process(
        "-c",
        f"{snippet}\nfrom datetime import date\nstate = regime_model.classify(date(2020, 3, 20), 'US')\n"
        "print(state.regime_label, state.regime_embedding.shape)\ndb_manager.close_all()",
    )

    assert (outcome.exit_code, outcome.stdout) == (0, "CRISIS (384,)\n"), outcome.stderr


def test_a_range_and_its_dates_one_by_one_store_the_same(run: Run, db_manager: DatabaseManager) -> None:
    storage = RegimeStorage(db_manager=db_manager)
    run("run_numeric_regime", *US, "--date-range", "2019-01-01", "2020-06-30")
    compute = COMPUTE_PROTOTYPES.replace("2018-01-01", "2019-01-01").replace("2018-12-31", "2019-12-31")
    assert run(*in_process(compute)).exit_code == 0
    classify = ["run_numeric_regime", "--region", "US", "--instrument-id", "AAPL.US"]
    prototypes = ["--prototypes", "regime_prototypes_US.json"]

    run(*classify, "--date-range", "2020-02-18", "2020-03-20", *prototypes, "--regime-model-id", "whole")
    days = [state.as_of_date for state in storage.get_history("US", date(2020, 2, 18), date(2020, 3, 20), "whole")]
    for day in reversed(days):
        run(*classify, "--as-of", str(day), *prototypes, "--regime-model-id", "one-by-one")

    whole = storage.get_history("US", days[0], days[-1], "whole")
    alone = storage.get_history("US", days[0], days[-1], "one-by-one")
    assert len(whole) == len(alone) == 24
    for left, right in zip(whole, alone, strict=True):
        assert left.regime_embedding.tobytes() == right.regime_embedding.tobytes()
        assert (left.as_of_date, left.regime_label, left.confidence) == (
            right.as_of_date, right.regime_label, right.confidence,
        )  # fmt: skip
        assert left.metadata == right.metadata
    assert storage.get_transition_matrix("US", "whole") == storage.get_transition_matrix("US", "one-by-one")
