"""Nights with nothing to do: they tell what they told before, and any change is found as if nothing were settled."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cli.test_nightly import EVENTS, NIGHT, REGIONS, configure, ingest_events
from tests.fixtures.commands import Run
from tests.fixtures.database import as_owner, keep_rows, restore_rows
from tests.fixtures.examples import share_of
from tests.fixtures.text_models import needs_minilm

from prometheus.app import joint, regimes
from prometheus.app.databases import DatabaseManager
from prometheus.arrays import as_float32
from prometheus.data.migrations import DatabaseName
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.files.prototypes import write_prototypes
from prometheus.regime import RegimeLabel, RegimePrototype
from prometheus.regime.prototypes import PrototypeSet

pytestmark = needs_minilm

STORED = {
    "historical": (
        "SELECT entity_id, model_id, as_of_date, vector, input_hash FROM numeric_window_embeddings ORDER BY 1, 2, 3",
        "SELECT source_type, source_id, model_id, vector, text_hash FROM text_embeddings ORDER BY 1, 2, 3",
        "SELECT joint_type, model_id, as_of_date, entity_scope, vector FROM joint_embeddings ORDER BY 1, 2, 3, 4",
        "SELECT model_id, fingerprint FROM models ORDER BY 1",
    ),
    "runtime": (
        (
            "SELECT region, model_id, as_of_date, regime_label, confidence, regime_embedding, metadata, input_hash"
            " FROM regimes ORDER BY 1, 2, 3"
        ),
        "SELECT region, model_id, as_of_date, from_label, to_label FROM regime_transitions ORDER BY 1, 2, 3",
        "SELECT region, model_id, as_of_date, regime_label FROM forward_record ORDER BY number",
        "SELECT region, model_id, told_until FROM nightly_marks ORDER BY 1, 2",
    ),
}


@pytest.fixture
def settled(run: Run, sample: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two regions, joined with texts, of which a night has found nothing to do."""
    write(Path("p.json"), 1.0)
    configure(monkeypatch, REGIONS)
    monkeypatch.setenv("PROMETHEUS_TEXT_MODEL_ID", "text-static-v1")
    ingest_events(run, EVENTS)
    for _ in range(2):
        night(run)


def write(path: Path, sign: float) -> None:
    """Write prototypes of two labels, exchanged where the sign is -1."""
    axis = sign * np.linspace(-1, 1, 384)
    prototypes = (
        RegimePrototype(RegimeLabel.CARRY, as_float32(axis)), RegimePrototype(RegimeLabel.CRISIS, as_float32(-axis)),
    )  # fmt: skip
    write_prototypes(PrototypeSet("US_INDEX", prototypes, {}, NUM_REGIME_CORE_V2, 513), path)


def night(run: Run, *arguments: str) -> tuple[Any, ...]:
    """Run a night and return what it told: exit code, report without times and names of runs, and warnings."""
    done = run(*NIGHT, *arguments, "--json")
    assert done.stdout, done.stderr
    report = json.loads(done.stdout, object_hook=_lasting)
    lines = [re.sub(r"^\S+ [0-9a-f]{16} ", "", line) for line in done.stderr.splitlines()]
    return done.exit_code, report, [line for line in lines if not line.startswith("INFO runs")]


def _lasting(found: dict[str, Any]) -> dict[str, Any]:
    n_runs = {"runs": len(found["run_ids"])} if "run_ids" in found else {}
    return {key: value for key, value in found.items() if key not in ("seconds", "run_ids", "record")} | n_runs


def stored(db_manager: DatabaseManager) -> list[Any]:
    found = []
    for database, queries in STORED.items():
        with getattr(db_manager, f"get_{database}_connection")() as connection:
            found += [connection.execute(query).fetchall() for query in queries]
    return found


def execute(db_manager: DatabaseManager, database: str, statement: str) -> None:
    with getattr(db_manager, f"get_{database}_connection")() as connection:
        connection.execute(statement)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every labelling and joining fail."""

    def fail(*_given: Any, **_named: Any) -> Any:
        raise AssertionError("a settled region was computed")

    monkeypatch.setattr(regimes.LabelRegimes, "run", fail)
    monkeypatch.setattr(joint.JoinTexts, "backfill", fail)


@pytest.mark.usefixtures("settled", "no_work")
def test_an_idle_night_tells_the_same_and_computes_nothing(run: Run, db_manager: DatabaseManager) -> None:
    quick = night(run)
    assert quick[0] == 0
    assert quick[1]["written"] == 0
    assert "no prototypes: always NEUTRAL" in "\n".join(quick[2])
    n_runs = "SELECT count(*), count(DISTINCT run_id), sum(planned) FROM backfill_runs"
    with db_manager.get_historical_connection() as connection:
        before = connection.execute(n_runs).fetchone()
    again = night(run)
    with db_manager.get_historical_connection() as connection:
        after = connection.execute(n_runs).fetchone()
    assert again == quick
    assert before is not None
    assert after is not None
    assert after[0] - before[0] == 4, "each region's labels and joint rows are logged as runs"
    assert after[0] == after[1]


@pytest.mark.usefixtures("settled")
def test_what_is_settled_is_what_the_slow_way_tells(run: Run, db_manager: DatabaseManager) -> None:
    quick, rows = night(run), stored(db_manager)
    execute(db_manager, "historical", "DELETE FROM settled_work")
    assert night(run) == quick
    assert stored(db_manager) == rows
    execute(db_manager, "historical", "DELETE FROM settled_work")
    assert night(run, "--dry-run")[1]["written"] == 0
    with db_manager.get_historical_connection() as connection:
        assert connection.execute("SELECT count(*) FROM settled_work").fetchone() == (0,), "a dry run settles nothing"


@pytest.mark.usefixtures("settled")
def test_a_change_behind_resting_triggers_is_named_by_a_check_and_made_good_by_its_repair(
    run: Run, db_manager: DatabaseManager
) -> None:
    before = stored(db_manager)
    hidden: tuple[tuple[DatabaseName, str], ...] = (
        ("historical", "DELETE FROM joint_embeddings WHERE as_of_date = '2023-12-14'"),
        ("historical", "DELETE FROM text_embeddings"),
        ("runtime", "DELETE FROM regimes WHERE region = 'US_MIX' AND as_of_date = '2023-12-01'"),
    )
    for database, statement in hidden:
        with as_owner(db_manager, database) as connection:  # whose triggers rest
            connection.execute(statement)
    found = run("db", "check")
    assert found.exit_code == 3
    blocks = re.compile(r"(?<=text-static-v1) \d+")  # of identifiers, which go on from test to test
    assert [blocks.sub("", line) for line in found.stdout.splitlines()] == [
        "joint_embeddings: US_INDEX 2023 has rows that its digest does not tell [digest_disagrees]",
        "joint_embeddings: US_MIX 2023 has rows that its digest does not tell [digest_disagrees]",
        "text_embeddings: MACRO text-static-v1 has rows that its digest does not tell [digest_disagrees]",
        "regimes: US_MIX 2023 has rows that its digest does not tell [digest_disagrees]",
        "4 digests disagree, 4 are left",
    ]
    assert run("db", "check", "--repair").exit_code == 0
    assert night(run)[1]["written"] > 0
    assert stored(db_manager) == before


EDITS = {
    "bar": """
        UPDATE prices_daily SET close = close * 1.01, adjusted_close = adjusted_close * 1.01
        WHERE instrument_id = 'GSPC.INDX' AND trade_date = '2023-12-20'
    """,
    "bar gone": "DELETE FROM prices_daily WHERE instrument_id = 'AAPL.US' AND trade_date = '2023-12-18'",
    "later bars gone": "DELETE FROM prices_daily WHERE instrument_id = 'AAPL.US' AND trade_date > '2024-06-01'",
    "decision": """
        INSERT INTO price_decisions (instrument_id, trade_date, verdict, close, decided_by, reason)
        SELECT instrument_id, trade_date, 'REJECTED', close, 'me', 'odd' FROM prices_daily
        WHERE instrument_id = 'GSPC.INDX' AND trade_date = '2023-11-15'
    """,
    "text": """
        INSERT INTO macro_events (event_type, timestamp, country, description)
        VALUES ('NOTE', '2023-12-05 12:00+00', 'US', 'Growth is high.')
    """,
    "text gone": "DELETE FROM macro_events WHERE timestamp = '2023-11-02 12:00+00'",
    "vector gone": "DELETE FROM text_embeddings WHERE source_id = (SELECT min(source_id) FROM text_embeddings)",
    "joint row gone": "DELETE FROM joint_embeddings WHERE as_of_date = '2023-12-14'",
    "joint row": """
        UPDATE joint_embeddings SET vector = overlay(vector placing '\\x00' from 1) WHERE as_of_date = '2023-12-27'
    """,
    "embedding gone": "DELETE FROM numeric_window_embeddings WHERE as_of_date = '2023-11-20'",
    "state gone": "DELETE FROM regimes WHERE region = 'US_MIX' AND as_of_date = '2023-12-01'",
    "state": "UPDATE regimes SET input_hash = 7 WHERE region = 'US_INDEX' AND as_of_date = '2023-12-28'",
    "mark gone": "DELETE FROM nightly_marks WHERE region = 'US_INDEX'",
    "prototypes": "",
}
OF_RUNTIME = ("state gone", "state", "mark gone")


@pytest.mark.usefixtures("settled")
@given(names=st.lists(st.sampled_from(sorted(EDITS)), min_size=1, max_size=3, unique=True))
@settings(
    max_examples=share_of(20), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_any_edits_and_a_night_are_the_same_with_what_is_settled_and_without(
    run: Run, db_manager: DatabaseManager, names: list[str]
) -> None:
    write(Path("p.json"), 1.0)
    if not Path("kept").exists():
        keep_rows(db_manager, "settled")
        Path("kept").touch()
    restore_rows(db_manager, "settled")
    for name in names:
        if name == "prototypes":
            write(Path("p.json"), -1.0)
        else:
            execute(db_manager, "runtime" if name in OF_RUNTIME else "historical", EDITS[name])
    keep_rows(db_manager, "edited")

    quick = [night(run), stored(db_manager), night(run)]
    restore_rows(db_manager, "edited")
    execute(db_manager, "historical", "DELETE FROM settled_work")
    slow = [night(run), stored(db_manager)]
    execute(db_manager, "historical", "DELETE FROM settled_work")
    assert quick == [*slow, night(run)]
