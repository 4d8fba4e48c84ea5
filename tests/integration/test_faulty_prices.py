"""Faults in stored prices and what they do to labels: one held day, and others only at the edge of two labels."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.integration.test_calibrated_regimes import CRASH, calibrate, everything_stored, path, prices, run

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.backfill.plan import DateSpan
from prometheus.errors import InsufficientHistoryError, StaleHistoryError
from prometheus.regime import RegimeState, RegimeStorage

__all__ = ["path", "prices"]  # fixtures

FAULTY = date(2008, 9, 17)
PRICE_FIELDS = "close = close * {0}, adjusted_close = adjusted_close * {0}, high = high * {0}, low = low * {0}"


def change(db_manager: DatabaseManager, setting: str, where: str) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute(f"UPDATE prices_daily SET {setting} WHERE {where}")


def spoil(db_manager: DatabaseManager, factor: float, where: str = f"trade_date = '{FAULTY}'") -> None:
    change(db_manager, PRICE_FIELDS.format(factor), where)


def states(db_manager: DatabaseManager, model_id: str | None = None) -> dict[date, RegimeState]:
    found = RegimeStorage(db_manager=db_manager).get_history("SPX", CRASH.start, CRASH.end, model_id)
    return {state.as_of_date: state for state in found}


@pytest.mark.parametrize("factor", [100.0, 0.01, 1.9])
def test_the_label_of_a_suspect_day_is_held_and_the_others_stay(
    db_manager: DatabaseManager, path: Path, factor: float
) -> None:
    run(db_manager, path)
    clean = states(db_manager)
    spoil(db_manager, factor)
    run(db_manager, path)
    faulty = states(db_manager)
    assert list(faulty) == list(clean)
    before = max(day for day in clean if day < FAULTY)
    assert [day for day, state in faulty.items() if "held" in state.metadata] == [FAULTY]
    assert faulty[FAULTY].regime_label is faulty[before].regime_label
    assert faulty[FAULTY].regime_embedding.tobytes() == faulty[before].regime_embedding.tobytes()
    differing = [day for day in clean if faulty[day].regime_label is not clean[day].regime_label]
    assert len([day for day in differing if day != FAULTY]) <= 2
    assert {day: state.confidence for day, state in faulty.items() if day < FAULTY} == {
        day: state.confidence for day, state in clean.items() if day < FAULTY
    }


@pytest.mark.parametrize(
    ("starts_anew", "every"),
    [
        pytest.param(False, 1, id="on one scale", marks=pytest.mark.deep),
        pytest.param(True, 1, id="after a new start", marks=pytest.mark.deep),
        pytest.param(True, 4, id="some days after a new start"),
    ],
)
def test_one_date_alone_says_what_the_range_says_around_a_fault(
    db_manager: DatabaseManager, path: Path, starts_anew: bool, every: int
) -> None:
    spoil(db_manager, 100.0)
    spoil(db_manager, 4.0, "trade_date < '2008-10-20'")
    if starts_anew:  # its first full window ends within the range; labels look back beyond it
        with db_manager.get_historical_connection() as connection:
            connection.execute("DELETE FROM prices_daily WHERE trade_date BETWEEN '2006-03-01' AND '2006-09-29'")
    run(db_manager, path)
    whole = everything_stored(db_manager)
    sessions = sorted(day for day in known_days(db_manager) if CRASH.start <= day <= CRASH.end)
    assert (len(whole) < len(sessions)) == starts_anew
    first = sessions.index(min(whole))  # the sessions around it and the fault, and some of the others
    near = [*sessions[max(first - 2, 0) : first + 3], *(day for day in sessions if abs((day - FAULTY).days) < 4)]
    asked = sorted({*near, *sessions[::every]})
    with db_manager.get_runtime_connection() as connection:
        connection.execute("DELETE FROM regimes")
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings")
    for day in np.random.default_rng(5).permutation(np.array(asked)).tolist():
        if day in whole:
            run(db_manager, path, DateSpan.of_date(day))
        else:
            with pytest.raises(InsufficientHistoryError):
                run(db_manager, path, DateSpan.of_date(day))
    assert everything_stored(db_manager) == {day: whole[day] for day in asked if day in whole}


def known_days(db_manager: DatabaseManager) -> set[date]:
    with db_manager.get_historical_connection() as connection:
        return {day for (day,) in connection.execute("SELECT trade_date FROM prices_daily").fetchall()}


def test_what_was_said_of_the_suspect_day_stays_when_the_next_bar_comes(
    db_manager: DatabaseManager, path: Path
) -> None:
    spoil(db_manager, 100.0)
    with db_manager.get_historical_connection() as connection:
        later = connection.execute("SELECT * FROM prices_daily WHERE trade_date > %s", (FAULTY,)).fetchall()
        connection.execute("DELETE FROM prices_daily WHERE trade_date > %s", (FAULTY,))
    run(db_manager, path, DateSpan.of_date(FAULTY))
    on_its_day = states(db_manager)[FAULTY]
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO prices_daily VALUES ({', '.join(['%s'] * len(later[0]))})", later)
    assert run(db_manager, path, DateSpan.of_date(FAULTY)).regimes.written == 0
    again = states(db_manager)[FAULTY]
    assert (again.regime_label, again.confidence, again.metadata) == (
        on_its_day.regime_label, on_its_day.confidence, on_its_day.metadata,
    )  # fmt: skip


def test_a_frozen_feed_gets_no_label_from_its_sixth_still_bar_on(db_manager: DatabaseManager, path: Path) -> None:
    run(db_manager, path)
    clean = states(db_manager)
    days = [day for day in clean if day >= date(2008, 11, 3)]
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE prices_daily p SET close = b.close, adjusted_close = b.adjusted_close, high = b.close,"
            " low = b.close, volume = 0 FROM prices_daily b WHERE b.trade_date = '2008-10-31' AND p.trade_date >= %s",
            (days[0],),
        )
    with pytest.raises(StaleHistoryError, match="last bar before 2008-11-10 is of 2008-11-07"):
        run(db_manager, path, DateSpan.of_date(days[5]))
    run(db_manager, path, DateSpan.of_date(days[4]))


def test_an_old_split_left_in_does_not_poison_a_calibration(
    db_manager: DatabaseManager, path: Path, tmp_path: Path
) -> None:
    spoil(db_manager, 7.0, "trade_date < '2004-06-01'")
    found, _ = calibrate(db_manager, tmp_path / "spoilt.json")
    assert {each.label.name for each in found.prototypes} == {"CARRY", "NEUTRAL", "RISK_OFF", "CRISIS"}
    run(db_manager, tmp_path / "spoilt.json", regime_model_id="spoilt")
    labels = states(db_manager, "spoilt")
    expected = states(db_manager, run(db_manager, path).newest_state().model_id)
    differing = [day for day, state in labels.items() if state.regime_label is not expected[day].regime_label]
    assert len(differing) <= 5


def test_what_the_judge_finds_is_listed_with_its_effect(db_manager: DatabaseManager, prices: None) -> None:
    assert App(db_manager).findings.check().findings == []
    spoil(db_manager, 100.0)
    (finding,) = App(db_manager).findings.check(["GSPC.INDX"]).findings
    assert (finding.first, finding.kind) == (FAULTY, "error")
    assert "x 95.29 of the one before" in finding.evidence
    spoil(db_manager, 0.01)
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "DELETE FROM prices_daily WHERE trade_date BETWEEN %s AND %s", (FAULTY, FAULTY + timedelta(40))
        )
    (finding,) = App(db_manager).findings.check(["GSPC.INDX"]).findings
    assert finding.kind == "hole"
    assert finding.evidence.startswith("after 29 missing sessions")


RAW_BEFORE_THE_SPLIT = "close = close * 7, high = high * 7, low = low * 7"


def test_a_split_that_was_adjusted_for_shows_in_no_finding_and_no_picture(
    db_manager: DatabaseManager, path: Path, tmp_path: Path
) -> None:
    run(db_manager, path)

    def drawn(name: str) -> bytes:
        App(db_manager).regimes.plot("SPX", "GSPC.INDX", CRASH.start, CRASH.end, None, tmp_path / name)
        return (tmp_path / name).read_bytes()

    clean = drawn("clean.png")
    change(db_manager, RAW_BEFORE_THE_SPLIT, "trade_date < '2008-10-20'")
    (report,) = App(db_manager).prices.report(None, None)
    assert App(db_manager).findings.check().findings == []
    assert report.jump_dates == ()
    assert drawn("split.png") == clean


def test_one_wrong_adjusted_close_is_a_jump_and_a_finding(db_manager: DatabaseManager, prices: None) -> None:
    change(db_manager, "adjusted_close = adjusted_close * 100", f"trade_date = '{FAULTY}'")
    (report,) = App(db_manager).prices.report(None, None)
    (finding,) = App(db_manager).findings.check().findings
    assert report.jump_dates == (FAULTY, FAULTY + timedelta(1))
    assert (finding.kind, finding.first) == ("error", FAULTY)
