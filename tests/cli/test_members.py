"""All members of a market calibrated and labelled by two commands: the rows are those of one region after another."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from tests.cli.test_quick import INDEX, closes_of, write_closes
from tests.fixtures.commands import Prepare, Run, run_all
from tests.fixtures.database import TableDigest, as_owner

from prometheus.app import open_app
from prometheus.app.databases import DatabaseManager
from prometheus.backfill.plan import DateSpan
from prometheus.core.config import PrometheusConfig

CALIBRATE = ["calibrate", "--market-id", "US_EQ", "--until", "2022-12-30"]
SPAN = ["--start", "2023-01-03", "--end", "2023-12-28"]
LABEL = ["run_numeric_regime", "--market-id", "US_EQ", *SPAN]
LATER = "ARRAY['created_at', 'said_at', 'hash']"
"""Columns that say when a row was written, or hang on that."""


@pytest.fixture
def members(run: Run, prepare: Prepare, tmp_path: Path) -> None:
    """Two instruments that are calibrated, and one that is too young to be."""
    closes = closes_of(INDEX)

    def load() -> None:
        rows = {
            "ONE": closes[-1_560:],
            "A/B": [(day, 5e4 / each) for day, each in closes[-1_540:]],
            "NEW": closes[-900:],
        }
        bars = [(name, *bar) for name, each in rows.items() for bar in each]
        file = write_closes(tmp_path / "members.csv", ("instrument_id", "date", "close"), bars)
        run_all(run, ["ingest", "prices", file], CALIBRATE)

    prepare("members", load)


def rows(db_manager: DatabaseManager) -> list[list[tuple[object, ...]]]:
    """All rows but for when they were written."""
    with db_manager.get_runtime_connection() as runtime, db_manager.get_historical_connection() as historical:
        return [
            connection.execute(f"SELECT to_jsonb(t) - {LATER} FROM {table} AS t ORDER BY {key}").fetchall()
            for connection, table, key in (
                (runtime, "regimes", "region, as_of_date"),
                (runtime, "regime_transitions", "region, as_of_date"),
                (runtime, "forward_record", "number"),
                (historical, "numeric_window_embeddings", "entity_id, as_of_date"),
            )
        ]


@pytest.mark.usefixtures("members")
def test_the_rows_are_those_of_one_region_after_another(run: Run, db_manager: DatabaseManager) -> None:
    done = run(*LABEL)
    together = rows(db_manager)
    again = json.loads(run(*LABEL, "--json").stdout)

    assert done.exit_code == 0, done.stderr
    assert "US_EQ: 2 of 3 members labelled; newest: " in done.stdout
    assert "without a calibration: 1 (NEW)\n" in done.stdout
    assert (again["written"], again["not_calibrated"], again["refused"]) == (0, ["NEW"], [])
    assert [(each["region"], each["as_of_date"]) for each in again["states"]] == [
        ("A/B", "2023-12-28"), ("ONE", "2023-12-28"),
    ]  # fmt: skip

    with as_owner(db_manager, "runtime") as runtime, as_owner(db_manager, "historical") as historical:
        runtime.execute("TRUNCATE regimes, regime_transitions, forward_record, forward_record_head")
        historical.execute("TRUNCATE numeric_window_embeddings")
    for name, file in (("A/B", "A%2FB"), ("ONE", "ONE")):
        prototypes = Path(f"regimes/regime_calibration_{file}.json")
        named = ["--region", name, "--instrument-id", name]
        run_all(run, ["calibrate", *named, "--until", "2022-12-30", "--output", "one.json"])
        assert Path("one.json").read_bytes() == prototypes.read_bytes()
        run_all(run, ["run_numeric_regime", *named, *SPAN, "--prototypes", str(prototypes)])
    assert rows(db_manager) == together


@pytest.mark.usefixtures("members")
def test_members_are_named_once_and_a_rerun_changes_nothing(run: Run) -> None:
    said = json.loads(run(*CALIBRATE, "--json").stdout)

    assert (said["calibrated"], said["n_changed"], list(said["refused"])) == (["A/B", "ONE"], 0, ["NEW"])
    planned = json.loads(run(*LABEL, "--dry-run", "--json").stdout)
    assert planned["written"] == planned["planned"] > 400


@pytest.mark.usefixtures("members")
def test_progress_says_how_many_members_are_done_and_which_is_at_work() -> None:
    told: list[tuple[object, ...]] = []
    span = DateSpan.of_range(date(2023, 12, 1), date(2023, 12, 28))
    with open_app(PrometheusConfig(), progress=lambda *said: told.append(said)) as app:
        app.members.run("US_EQ", span, Path("regimes"))
    assert [said[:2] for said in told] == [(0, 2), (1, 2), (2, 2)]
    assert told[1][2] in {"A/B", "ONE"}  # the second may be read while the first is written
    assert (told[0][2], told[2][2]) == ("", "ONE")


@pytest.mark.usefixtures("members")
def test_the_index_of_the_market_may_be_a_member_and_does_not_read_itself(run: Run) -> None:
    run_all(run, [*CALIBRATE, "--market-index", "ONE"], LABEL)

    seen = [json.loads(run("show_regimes", "--region", name, "--json").stdout)[-1] for name in ("A/B", "ONE")]
    assert [each.get("market_index", {}).get("instrument_id") for each in seen] == ["ONE", None]


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*LABEL, "--region", "US"], "--market-id and --region do not go together"),
        ([*LABEL, "--prototypes", "elsewhere"], "elsewhere holds no calibration of a member of US_EQ; write them: "),
        ([*CALIBRATE, "--instrument-id", "ONE"], "--market-id and --instrument-id do not go together"),
        (
            ["calibrate", "--until", "2022-12-30"],
            "name one and its instrument (--region, --instrument-id), or a --market-id",
        ),
        (
            ["run_numeric_regime", *SPAN],
            "name one and its instrument (--region, --instrument-id), or a --market-id",
        ),
        (["calibrate", "--market-id", "US_EQ", "--until", "2015-01-02"], "no member can be calibrated; A/B: "),
    ],
)
def test_bad_input_is_refused_in_one_line(
    run: Run, table_digests: TableDigest, arguments: list[str], said: str
) -> None:
    stored = table_digests()
    outcome = run(*arguments)
    assert outcome.exit_code in (2, 5)
    assert said in outcome.errors[0]
    assert table_digests() == stored
