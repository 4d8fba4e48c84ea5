"""Rows that were edited by hand are found and put back, whatever the edit; rows that were not are left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from benchmarks.tampering import TABLES, Tampering, digests, try_edits
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.commands import Prepare, Run, run_all
from tests.property.strategies import bounded

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.verification import VerifyReport, VerifyRequest
from prometheus.app.verified import Sample
from prometheus.data.settled import load_marks
from prometheus.ingest.sample import PRICES

INDEX = ["--region", "US_INDEX", "--instrument-id", "GSPC.INDX"]
LABEL = ["run_numeric_regime", *INDEX, "--model-id", "num-regime-core-v2", "--prototypes", "p.json"]
CRASH = ["--date-range", "2008-08-01", "2008-12-31"]
BEGINNING = ["--date-range", "2019-01-01", "2019-03-31"]
EVERYTHING = VerifyRequest(all_texts=True)


@pytest.fixture
def home(prepare: Prepare, run: Run, db_manager: DatabaseManager) -> App:
    """The packaged prices, regimes of a crash by a calibrated model and by the seed, vectors of the first encoder."""

    def make() -> None:
        run_all(
            run,
            ["ingest", "prices", str(PRICES)],
            ["calibrate", *INDEX, "--until", "2007-12-31", "--output", "p.json"],
            [*LABEL, *CRASH],
            ["run_numeric_regime", "--region", "US", "--instrument-id", "AAPL.US", *BEGINNING],
        )

    prepare("edited", make)
    return App(db_manager)


def verify(app: App, *, repair: bool = False, **chosen: Any) -> VerifyReport:
    return app.verification.verify(VerifyRequest(all_texts=True, repair=repair, **chosen))


def execute(app: App, query: str, *values: Any, database: str = "historical") -> None:
    connect = getattr(app.db_manager, f"get_{database}_connection")
    with connect() as connection:
        connection.execute(query, values)


def sums(report: VerifyReport, table: str) -> tuple[int, int, int]:
    """Rows compared, stale and wrong ones of a table."""
    (found,) = [each for each in report.tables if each.table == table]
    return found.n_compared, found.n_stale, len(found.wrong)


@bounded(6)
@given(seed=st.integers(0, 2**32 - 1), n_edits=st.integers(1, 25))
def test_edits_of_any_form_are_found_and_healed_and_nothing_else_is_named(home: App, seed: int, n_edits: int) -> None:
    before = digests(home)
    edits = Tampering(home, seed).edit(n_edits)
    outcome = try_edits(home, edits, before, EVERYTHING)
    assert outcome.found == outcome.made
    assert outcome.made.total() == n_edits
    assert (outcome.false, outcome.unhealed, outcome.differing_tables) == ([], [], [])


def test_nothing_is_named_where_nothing_was_edited(home: App) -> None:
    report = verify(home)
    assert report.wrong == []
    assert {each.table: each.n_compared for each in report.tables if each.n_rows} == {
        each.table: each.n_rows for each in report.tables if each.n_rows
    }
    before = digests(home)
    verify(home, repair=True)
    assert digests(home) == before


def test_rows_that_stand_on_corrected_bars_are_stale_and_not_wrong(home: App, run: Run, tmp_path: Path) -> None:
    line = "GSPC.INDX,2008-10-10,{0},{0},{0},{0},{0},1000,USD"
    names = "instrument_id,trade_date,open,high,low,close,adjusted_close,volume,currency"
    (tmp_path / "corrected.csv").write_text(f"{names}\n{line.format('901.5')}\n")
    run_all(run, ["ingest", "prices", "corrected.csv"])
    report = verify(home)
    assert report.wrong == []
    n_compared, n_stale, _ = sums(report, "regimes")
    assert n_stale > 50
    run_all(run, [*LABEL, *CRASH])
    assert sums(verify(home), "regimes") == (n_compared + n_stale, 0, 0)


def test_a_wrong_row_is_named_with_its_place_and_what_it_should_be(home: App, run: Run) -> None:
    day = date(2008, 10, 10)
    execute(home, "UPDATE regimes SET regime_label = 'CARRY' WHERE as_of_date = %s", day, database="runtime")
    said = run("db", "verify")
    assert said.exit_code == 3
    (line,) = [each for each in said.stdout.splitlines() if each.endswith("[row_differs]")]
    assert line.startswith("regimes: US_INDEX (num-regime-core-v2@")
    assert line.endswith("2008-10-10: regime_label is CARRY, not CRISIS [row_differs]")
    facts = json.loads(run("db", "verify", "--json", "--region", "US_INDEX").stdout)
    assert [(each["stored"], each["recomputed"]) for each in facts["wrong"]] == [("CARRY", "CRISIS")]
    assert run("db", "verify", "--region", "US").exit_code == 0
    assert run("db", "verify", "--repair").exit_code == 0
    assert run("db", "verify").exit_code == 0


def test_bars_are_put_back_with_all_that_was_known_of_them(home: App) -> None:
    def versions() -> list[Any]:
        with home.db_manager.get_historical_connection() as connection:
            bars = connection.execute("SELECT p::text FROM prices_daily AS p ORDER BY 1").fetchall()
            return bars + connection.execute("SELECT r::text FROM price_revisions AS r ORDER BY 1").fetchall()

    before = versions()
    for factor in (2, 3):
        execute(home, "UPDATE prices_daily SET close = close * %s WHERE trade_date = '2008-10-10'", factor)
    assert [row.key for row in verify(home).wrong] == ["AAPL.US 2008-10-10", "GSPC.INDX 2008-10-10"]
    verify(home, repair=True, instruments=("GSPC.INDX",))
    assert [row.key for row in verify(home).wrong] == ["AAPL.US 2008-10-10"]
    assert verify(home, repair=True).exit_code == 0
    assert versions() == before


def test_an_edit_that_left_no_revision_is_named_with_the_way_out(home: App, run: Run) -> None:
    with without_triggers(home) as connection:
        connection.execute("UPDATE prices_daily SET volume = 5 WHERE trade_date = '2008-10-10' AND volume > 1e9")
    done = run("db", "verify", "--repair")
    assert done.exit_code == 3
    assert "load its file again with ingest prices" in done.stdout
    assert run("ingest", "prices", str(PRICES)).exit_code == 0
    assert run("db", "verify").exit_code == 0


@contextmanager
def without_triggers(app: App) -> Iterator[psycopg.Connection[Any]]:
    with app.db_manager.get_owner_connection("historical") as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection
        connection.execute("RESET session_replication_role")


def test_bars_of_earlier_versions_are_held_to_what_they_are_from_the_first_repair_on(home: App, run: Run) -> None:
    with without_triggers(home) as connection:
        connection.execute("UPDATE prices_daily SET written_digest = NULL")
    execute(home, "UPDATE prices_daily SET volume = volume + 1 WHERE trade_date = '2008-10-10'")
    said = run("db", "verify")
    assert (said.exit_code, "prices_daily" in said.stdout) == (0, True)
    before = digests(home)
    adopted = run("db", "verify", "--repair")
    assert (adopted.exit_code, "14,991 rows of earlier versions" in adopted.stdout) == (0, True)
    after = digests(home)
    assert {name for name in after if after[name] != before[name]} == {"prices_daily"}
    with home.db_manager.get_historical_connection() as connection:
        assert connection.execute("SELECT count(*) FROM price_revisions").fetchall() == [(2,)]
    execute(home, "UPDATE prices_daily SET volume = volume + 1 WHERE trade_date = '2008-10-10'")
    assert len(verify(home).wrong) == 2


def test_a_repair_that_is_ended_midway_leaves_whole_rows_and_is_finished_by_the_next(
    home: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(home)
    edits = Tampering(home, 11).edit(12, TABLES[:1])
    store, n_saved = home.wired.vectors, 0
    save = type(store).save_batch

    def save_some(self: Any, *batch: Any, **more: Any) -> int:
        nonlocal n_saved
        n_saved += 1
        if n_saved > 5:
            raise KeyboardInterrupt
        return save(self, *batch, **more)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "save_batch", save_some)
        with pytest.raises(KeyboardInterrupt):
            verify(home, repair=True)
    assert len(verify(home).wrong) == len(edits) - 5
    assert verify(home, repair=True).exit_code == 0
    assert digests(home) == before


def test_transitions_that_were_edited_are_made_anew_by_the_next_run(
    home: App, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    before, marks = digests(home), load_marks(home.db_manager, ())
    execute(home, "DELETE FROM regime_transitions WHERE to_label = 'CRISIS'", database="runtime")
    execute(home, "UPDATE regime_transitions SET previous_date = previous_date - 1", database="runtime")
    edited = load_marks(home.db_manager, ())
    assert edited.of("regime_transitions", "US_INDEX") != marks.of("regime_transitions", "US_INDEX")
    assert edited.of("regimes", "US_INDEX") == marks.of("regimes", "US_INDEX")
    run_all(run, [*LABEL, *CRASH])
    assert "did not say what its labels say; mended" in caplog.text
    assert digests(home) == before
    caplog.clear()
    run_all(run, [*LABEL, *CRASH])
    assert "mended" not in caplog.text
    again = load_marks(home.db_manager, ())
    assert again.of("regime_transitions", "US_INDEX") == marks.of("regime_transitions", "US_INDEX")


def test_a_table_refuses_vectors_of_texts_that_are_not_finite(db_manager: DatabaseManager) -> None:
    query = """
        INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)
        VALUES ('MACRO', '1', 'm', 3, %s)
    """
    with db_manager.get_historical_connection() as connection:
        for value in ("0000c07f", "0000807f", "000080ff", "0100807f", "ffffffff"):
            with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
                connection.execute(query, (bytes.fromhex(f"0000807e{value}0000807e"),))
        # the bytes of an infinity across two values, and the largest number there is
        connection.execute(query, (bytes.fromhex("00000000807f003fffff7f7f"),))


@bounded(50)
@given(
    sizes=st.lists(st.integers(0, 50), max_size=8), n_rows=st.integers(1, 60), seed=st.integers(0, 9),
    name=st.sampled_from(["regimes", "texts"]),
)  # fmt: skip
def test_a_sample_has_as_many_rows_as_asked_for_each_once_and_the_same_again(
    sizes: list[int], n_rows: int, seed: int, name: str
) -> None:
    chosen = Sample(n_rows, seed=seed).choose(name, sizes)
    assert chosen == Sample(n_rows, seed=seed).choose(name, sizes)
    places = [list(range(size)) if each is None else each for each, size in zip(chosen, sizes, strict=True)]
    assert sum(map(len, places)) == min(n_rows, sum(sizes))
    for each, size in zip(places, sizes, strict=True):
        assert each == sorted(set(each))
        assert all(0 <= place < size for place in each)
