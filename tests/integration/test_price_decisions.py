"""Decisions of users and corrections of bars in the databases: kept, reversible, and never without the labels."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.database import TableDigest
from tests.integration.test_calibrated_regimes import CRASH, everything_stored, path, prices, run
from tests.integration.test_faulty_prices import FAULTY, change, known_days, spoil, states

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.regimes import RegimeRequest
from prometheus.backfill.plan import DateSpan
from prometheus.data.decisions import PriceDecisions
from prometheus.errors import InputRefusedError, NotFoundError, PrometheusError

__all__ = ["path", "prices"]  # fixtures

NAME = "GSPC.INDX"
AFTER = date(2008, 9, 18)


def now(db_manager: DatabaseManager) -> datetime:
    with db_manager.get_historical_connection() as connection:
        instant: datetime = connection.execute("SELECT clock_timestamp()").fetchall()[0][0]
    return instant


def test_a_decision_changes_labels_and_taken_back_gives_the_same_bytes(db_manager: DatabaseManager, path: Path) -> None:
    spoil(db_manager, 1.9)
    run(db_manager, path)
    before, findings = everything_stored(db_manager), App(db_manager).findings
    finding, n_bars = findings.accept(NAME, FAULTY, "desk", "seen at the exchange")
    assert (finding.kind, n_bars) == ("error", 1)
    run(db_manager, path)
    accepted = states(db_manager)
    assert "held" not in accepted[FAULTY].metadata
    assert findings.reopen(NAME, FAULTY, FAULTY, "desk", "a mistake") == 1
    run(db_manager, path)
    assert everything_stored(db_manager) == before
    (kept,) = findings.decisions([NAME])
    assert (kept.verdict, kept.decided_by, kept.reason) == ("ACCEPTED", "desk", "seen at the exchange")
    assert (kept.reopened_by, kept.reopened_for, kept.is_in_force) == ("desk", "a mistake", False)


def test_a_rejected_bar_counts_as_one_never_loaded(db_manager: DatabaseManager, path: Path) -> None:
    run(db_manager, path)
    assert App(db_manager).findings.reject(NAME, FAULTY, FAULTY, "desk", "a phantom") == 1
    run(db_manager, path)
    rejected = everything_stored(db_manager)
    assert "held" in states(db_manager)[FAULTY].metadata
    App(db_manager).findings.reopen(NAME, FAULTY, FAULTY, "desk", "to compare")
    change_nothing_but_delete(db_manager, FAULTY)
    report = run(db_manager, path)
    assert (report.dropped, report.planned) == (1, len(rejected) - 1)
    without = everything_stored(db_manager)
    assert {day: row for day, row in rejected.items() if day != FAULTY} == without


def change_nothing_but_delete(db_manager: DatabaseManager, day: date) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE trade_date = %s", (day,))


@pytest.mark.parametrize("seed", [1, 2])
def test_states_of_bars_that_are_gone_are_dropped_with_vectors_and_transitions(
    db_manager: DatabaseManager, path: Path, seed: int
) -> None:
    inside = sorted(day for day in known_days(db_manager) if CRASH.start < day <= CRASH.end)
    holidays = sorted(np.random.default_rng(seed).choice(np.array(inside), 3, replace=False).tolist())
    with db_manager.get_historical_connection() as connection:
        gone = connection.execute("SELECT * FROM prices_daily WHERE trade_date = ANY(%s)", (holidays,)).fetchall()
        connection.execute("DELETE FROM prices_daily WHERE trade_date = ANY(%s)", (holidays,))
    run(db_manager, path)
    clean = everything_stored(db_manager)
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO prices_daily VALUES ({', '.join(['%s'] * len(gone[0]))})", gone)
    run(db_manager, path)
    assert set(everything_stored(db_manager)) == {*clean, *holidays}
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE trade_date = ANY(%s)", (holidays,))
    assert run(db_manager, path).dropped == 3
    assert everything_stored(db_manager) == clean
    with db_manager.get_runtime_connection() as connection:
        query = "SELECT count(*) FROM regime_transitions WHERE as_of_date = ANY(%s) OR previous_date = ANY(%s)"
        assert connection.execute(query, (holidays, holidays)).fetchone() == (0,)
    assert run(db_manager, path).dropped == 0


def test_what_cannot_be_decided_changes_nothing(
    db_manager: DatabaseManager, prices: None, table_digests: TableDigest
) -> None:
    spoil(db_manager, 100.0)
    findings = App(db_manager).findings
    findings.accept(NAME, FAULTY, "desk", "first")
    before = table_digests()
    asked: list[tuple[type[PrometheusError], str, Callable[[], object]]] = [
        (NotFoundError, "no open finding on 2008-09-15", lambda: findings.accept(NAME, date(2008, 9, 15), "a", "b")),
        (NotFoundError, "unknown instrument", lambda: findings.accept("NO.US", FAULTY, "a", "b")),
        (InputRefusedError, "was accepted by desk on", lambda: findings.accept(NAME, FAULTY, "a", "b")),
        (InputRefusedError, "take that back first", lambda: findings.reject(NAME, FAULTY, FAULTY, "a", "b")),
        (InputRefusedError, "no bar would be left", lambda: findings.reject(NAME, date.min, date.max, "a", "b")),
        (NotFoundError, "has no bar from 2008-09-20", lambda: findings.reject(
            NAME, date(2008, 9, 20), date(2008, 9, 21), "a", "b"
        )),
        (NotFoundError, "nothing is decided", lambda: findings.reopen(NAME, AFTER, AFTER, "a", "b")),
        (NotFoundError, "has no bar", lambda: findings.remove_bars([NAME, "NO.US"], date.min, date.max, is_plan=False)),
        (NotFoundError, "no such text", lambda: findings.remove_texts(
            "MACRO", date(2000, 1, 1), date(2001, 1, 1), {}, is_plan=False
        )),
    ]  # fmt: skip
    for error, message, ask in asked:
        with pytest.raises(error, match=message):
            ask()
    assert table_digests() == before


def test_a_decision_ends_with_the_bar_it_was_made_about(db_manager: DatabaseManager, prices: None) -> None:
    spoil(db_manager, 100.0)
    findings = App(db_manager).findings
    findings.accept(NAME, FAULTY, "desk", "real")
    assert [each.first for each in findings.check([NAME]).findings] == [AFTER]  # it falls back, which nobody accepted
    spoil(db_manager, 2.0)
    assert [(each.first, each.kind) for each in findings.check([NAME]).findings] == [(FAULTY, "error")]
    assert findings.decisions([NAME])[0].is_in_force is False
    assert findings.reject(NAME, FAULTY, FAULTY, "desk", "wrong now") == 1
    assert [each.is_in_force for each in findings.decisions([NAME])] == [False, True]
    assert findings.check([NAME]).exit_code == 0


def test_corrected_bars_are_answered_as_they_were_known(db_manager: DatabaseManager, path: Path) -> None:
    spoil(db_manager, 100.0)
    run(db_manager, path)
    faulty, instant = states(db_manager), now(db_manager)
    spoil(db_manager, 0.01)
    run(db_manager, path)
    corrected = states(db_manager)
    request = RegimeRequest("SPX", NAME, CRASH, None, "num-regime-core-v2", path)
    stored = everything_stored(db_manager)
    regimes = App(db_manager).regimes
    for known_at, expected in ((instant, faulty), (now(db_manager), corrected)):
        then = {state.as_of_date: state for state in regimes.as_known(request, known_at)}
        assert {day: (each.regime_label, each.confidence, each.metadata) for day, each in then.items()} == {
            day: (each.regime_label, each.confidence, each.metadata) for day, each in expected.items()
        }
    assert everything_stored(db_manager) == stored
    face = App(db_manager).face
    on_the_day = DateSpan.of_range(FAULTY, FAULTY)
    ratio = face.prices(NAME, on_the_day, instant).column("close") / face.prices(NAME, on_the_day).column("close")
    assert ratio.tolist() == pytest.approx([100.0])
    with pytest.raises(NotFoundError, match="was stored at 1999"):
        regimes.as_known(request, datetime(1999, 1, 1, tzinfo=UTC))


def test_every_version_of_a_bar_is_kept_once_and_nothing_else(db_manager: DatabaseManager, prices: None) -> None:
    findings = App(db_manager).findings

    def revisions() -> list[tuple[date, float, float | None]]:
        found = findings.revisions([NAME], date.min, date.max, 100)
        return [(each.trade_date, round(each.close, 2), each.next_close) for each in found]

    assert revisions() == []
    (first,) = App(db_manager).face.prices(NAME, DateSpan.of_range(FAULTY, FAULTY)).column("close").tolist()
    instants = [now(db_manager)]
    for close in (11.0, 12.0):
        change(db_manager, f"close = {close}, high = NULL, low = NULL", f"trade_date = '{FAULTY}'")
        instants.append(now(db_manager))
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE trade_date = %s", (FAULTY,))
    assert revisions() == [(FAULTY, round(first, 2), 11.0), (FAULTY, 11.0, 12.0), (FAULTY, 12.0, None)]
    span = DateSpan.of_range(FAULTY - timedelta(1), AFTER)
    known = [App(db_manager).face.prices(NAME, span, each).column("close").tolist()[1] for each in instants]
    assert known == [first, 11.0, 12.0]
    assert FAULTY not in App(db_manager).face.prices(NAME, span).dates.tolist()


def test_removed_bars_take_all_that_stands_on_them(
    db_manager: DatabaseManager, path: Path, table_digests: TableDigest
) -> None:
    run(db_manager, path)
    before, findings = table_digests(), App(db_manager).findings
    planned = findings.remove_bars([NAME], FAULTY, AFTER, is_plan=True)
    assert table_digests() == before
    n_later = len([day for day in states(db_manager) if day >= FAULTY])
    assert planned == {
        NAME: {"prices_daily": 2, "regimes": n_later, "numeric_window_embeddings": n_later, "joint_embeddings": 0}
    }
    assert findings.remove_bars([NAME], FAULTY, AFTER, is_plan=False) == planned
    assert max(states(db_manager)) < FAULTY
    run(db_manager, path)
    assert {FAULTY, AFTER}.isdisjoint(states(db_manager))
    findings.remove_bars([NAME], date.min, date.max, is_plan=False)
    assert states(db_manager) == {}
    assert App(db_manager).face.instruments() == []


def test_of_two_deciders_at_once_the_second_is_told(db_manager: DatabaseManager, prices: None) -> None:
    store = PriceDecisions(db_manager)
    assert store.decide(NAME, [FAULTY, AFTER], "REJECTED", "one", "a") == 2
    with pytest.raises(InputRefusedError, match="another decision came in between"):
        store.decide(NAME, [date(2008, 9, 16), AFTER], "ACCEPTED", "two", "b")
    assert [each.decided_by for each in store.history()] == ["one", "one"]
