"""The outbox and the marks of nights, over any history cut into any nights, some of them killed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from itertools import count, pairwise

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prometheus.alerts.settings import AlertSettings
from prometheus.app.databases import DatabaseManager
from prometheus.data.outbox import DeliveryState, Outbox, note_saved
from prometheus.data.regimes import RegimeStorage
from prometheus.regime import RegimeLabel, RegimeState
from prometheus.regime.alerts import Alert, AlertKind, Reading, Route, RoutedAlert, alerts_in, changes_in

MODEL = "m@00000000"
FIRST = date(2024, 1, 1)
_regions = count(1)
RULES = AlertSettings.model_validate(
    {
        "channels": {"own": {"type": "command", "command": ["/bin/true"]}},
        "rules": [{"name": "all", "kinds": ["change", "held"]}],
    }
)


def judge(region: str, model_id: str, readings: Sequence[Reading]) -> Iterable[RoutedAlert]:
    return RULES.routed(alerts_in(region, model_id, readings))


def states(region: str, labels: str, first: int = 0) -> list[RegimeState]:
    """States of consecutive days, N or C; small letters are held."""
    names = {"n": RegimeLabel.NEUTRAL, "c": RegimeLabel.CRISIS}
    return [
        RegimeState(
            FIRST + timedelta(days=first + n), region, names[letter.lower()], 0.75, np.ones(2, np.float32),
            {"held": "why"} if letter.islower() else {}, MODEL,
        )
        for n, letter in enumerate(labels)
    ]  # fmt: skip


def night(db_manager: DatabaseManager, region: str, labels: str, first: int, n_stored: int | None = None) -> list[str]:
    """Store labels in two transactions, as a night does; killed after `n_stored` of them if that is given."""
    outbox, end = Outbox(db_manager), FIRST + timedelta(days=first + len(labels) - 1)
    storage = RegimeStorage(db_manager, on_saved=partial(note_saved, judge=judge))
    outbox.open_mark(region, MODEL, end)
    half = len(labels) // 2
    for begin, piece in ((0, labels[:half]), (half, labels[half:])):
        wanted = piece if n_stored is None else piece[: max(0, n_stored - begin)]
        if wanted:
            storage.save_regimes(states(region, wanted, first + begin))
    if n_stored is not None:
        return []
    outbox.note_states(region, MODEL, judge)
    readings = outbox.readings(region, MODEL)
    outbox.advance_marks({(region, MODEL): readings[-1].as_of_date})
    return [str(each) for each in changes_in(region, MODEL, readings)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.text("NCnc", min_size=1, max_size=8), st.none() | st.integers(0, 8)), min_size=2, max_size=5),
    st.text("NC", max_size=6),
)
def test_every_change_is_written_and_listed_once_whatever_is_killed(
    db_manager: DatabaseManager, nights: list[tuple[str, int | None]], past: str
) -> None:
    region, first, listed = f"R{next(_regions)}", 0, list[str]()
    for labels, n_stored in nights:
        if n_stored is not None:
            assert night(db_manager, region, labels, first, n_stored) == []
        listed += night(db_manager, region, labels, first)
        first += len(labels)
    if past:  # a longer past, and a second look at the last night
        RegimeStorage(db_manager).save_regimes(states(region, past, -len(past)))
    assert night(db_manager, region, nights[-1][0], first - len(nights[-1][0])) == []

    whole, n_history = "".join(labels for labels, _ in nights), len(nights[0][0])
    days = [FIRST + timedelta(days=n) for n in range(len(whole))]
    turned = [n for n, (then, now) in enumerate(pairwise(whole.lower()), 1) if then != now and n >= n_history]
    held = [n for n, letter in enumerate(whole) if letter.islower() and n >= n_history]
    written = [each.alert for each in Outbox(db_manager).deliveries() if each.alert.region == region]
    assert [each.as_of_date for each in written if each.kind == AlertKind.CHANGE] == [days[n] for n in turned]
    assert [each.as_of_date for each in written if each.kind == AlertKind.HELD] == [days[n] for n in held]
    assert [each.as_of_date for each in written] == sorted(each.as_of_date for each in written)
    assert [line.split(": ")[0] for line in listed] == [f"{region} {days[n]}" for n in turned]


def test_a_row_of_the_outbox_stands_or_falls_with_the_states(db_manager: DatabaseManager) -> None:
    night(db_manager, "US", "NN", 0)

    def fail(cursor: psycopg.Cursor, region: str, model_id: str) -> None:
        note_saved(cursor, region, model_id, judge)
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        RegimeStorage(db_manager, on_saved=fail).save_regimes(states("US", "C", 2))
    assert len(RegimeStorage(db_manager).get_history("US", date.min, date.max)) == 2
    assert Outbox(db_manager).deliveries() == []


def test_a_cooldown_counts_from_what_was_sent_not_from_what_was_quiet(db_manager: DatabaseManager) -> None:
    outbox, route = Outbox(db_manager), Route("own", "all", cooldown_days=10)
    alerts = [Alert(AlertKind.CHANGE, "US", MODEL, FIRST + timedelta(days=n), "x", "x") for n in (0, 6, 9, 10, 12, 20)]
    for _ in range(2):
        outbox.add([(alert, route) for alert in alerts])
    found = {(each.alert.as_of_date - FIRST).days: each.state for each in outbox.deliveries()}
    quiet, pending = DeliveryState.QUIET, DeliveryState.PENDING
    assert found == {0: pending, 6: quiet, 9: quiet, 10: pending, 12: quiet, 20: pending}


def test_a_chance_of_a_bear_market_that_crosses_a_level_is_told(db_manager: DatabaseManager) -> None:
    region, outbox = "BEARISH", Outbox(db_manager)
    outbox.open_mark(region, MODEL, FIRST)
    said = [{"bear": {"probability": 0.2}}, {}, {"bear": {"probability": 0.3}}, {"bear": {"probability": 0.6}}]
    days = zip(states(region, "NNNN"), said, strict=True)
    RegimeStorage(db_manager).save_regimes([replace(state, metadata=metadata) for state, metadata in days])
    readings = outbox.readings(region, MODEL)
    assert [each.probability("bear") for each in readings] == [0.2, None, 0.3, 0.6]
    told = alerts_in(region, MODEL, readings, [("bear", 0.5)])
    assert [(each.kind, each.as_of_date) for each in told] == [(AlertKind.PROBABILITY, FIRST + timedelta(days=3))]
