"""The forward record: it takes what is new, keeps it for ever, and shows every change to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.database import TableDigest, empty_databases
from tests.fixtures.market import LoadPrices, random_walk, weekdays
from tests.property.strategies import LABELS, bounded

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.regimes import RegimeRequest
from prometheus.backfill.plan import DateSpan
from prometheus.data.record import ForwardRecord
from prometheus.errors import UsageError
from prometheus.regime import RegimeLabel, RegimeState, RegimeStorage
from prometheus.regime.record import FIELDS

DAY = date(2025, 1, 6)
N_STATEMENTS = 24
RECORD = ("runtime.forward_record", "runtime.forward_record_head")


def state(number: int, region: str = "US", model_id: str = "m@1", label: str = "NEUTRAL", **said: Any) -> RegimeState:
    metadata = {"instrument_id": "X", "probabilities": {label: 0.75, "CARRY": 0.25}} | said
    vector = np.array([1.0, -2.5], dtype=np.float32)
    day = DAY + timedelta(days=number)
    return RegimeState(day, region, RegimeLabel[label], 0.75, vector, metadata, model_id)


def said(manager: DatabaseManager) -> list[tuple[str, str, date, str]]:
    """What is in the record, in its order."""
    query = "SELECT region, model_id, as_of_date, regime_label FROM forward_record ORDER BY number"
    with manager.get_runtime_connection() as connection:
        return connection.execute(query).fetchall()


@contextmanager
def tampering(manager: DatabaseManager) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection on which the triggers do not fire."""
    with manager.get_owner_connection("runtime") as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection
        connection.execute("RESET session_replication_role")


@pytest.fixture
def storage(db_manager: DatabaseManager) -> RegimeStorage:
    return RegimeStorage(db_manager=db_manager)


@pytest.fixture
def record(db_manager: DatabaseManager) -> ForwardRecord:
    return ForwardRecord(db_manager)


def test_nothing_but_a_later_session_joins_the_record(
    storage: RegimeStorage, db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    storage.save_regimes([state(day) for day in (1, 2, 3)])
    before = table_digests()
    storage.save_regimes([state(day) for day in (1, 2, 3)])
    storage.save_regime(state(2, label="CRISIS"))
    storage.save_regime(state(0))
    storage.save_regimes([state(day, model_id="m@2") for day in (1, 2, 3)])
    storage.drop_regimes("US", "m@1", np.array([DAY + timedelta(days=3)], dtype="M8[D]"))
    storage.save_regime(state(3, label="CRISIS"))
    after = table_digests()
    assert [after[table] for table in RECORD] == [before[table] for table in RECORD]
    assert after["runtime.regimes"] != before["runtime.regimes"]

    storage.save_regimes([state(4), state(4, model_id="m@2"), state(1, region="UK")])
    assert said(db_manager)[3:] == [
        ("UK", "m@1", DAY + timedelta(days=1), "NEUTRAL"), ("US", "m@1", DAY + timedelta(days=4), "NEUTRAL"),
    ], "the second model of a region begins after all that is said of it"  # fmt: skip
    storage.save_regimes([state(5, model_id="m@2"), state(6, model_id="m@2")])
    storage.save_regimes([state(5), state(6)])
    assert len(said(db_manager)) == 9, "two models that speak of the same sessions are both heard"


def test_a_transaction_that_fails_leaves_no_statement(storage: RegimeStorage, db_manager: DatabaseManager) -> None:
    with tampering(db_manager) as connection:
        connection.execute("ALTER TABLE regime_transitions ADD CONSTRAINT never CHECK (to_label <> 'CRISIS')")
    try:
        with pytest.raises(psycopg.errors.CheckViolation):
            storage.save_regimes([state(1), state(2, label="CRISIS")])
        assert said(db_manager) == []
    finally:
        with tampering(db_manager) as connection:
            connection.execute("ALTER TABLE regime_transitions DROP CONSTRAINT never")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE forward_record SET regime_label = 'CARRY'",
        "DELETE FROM forward_record",
        "TRUNCATE forward_record",
        "DELETE FROM forward_record_head",
        "TRUNCATE forward_record_head",
    ],
)
def test_no_role_may_change_what_was_said(storage: RegimeStorage, db_manager: DatabaseManager, statement: str) -> None:
    storage.save_regime(state(1))
    for connect in (db_manager.get_runtime_connection, lambda: db_manager.get_owner_connection("runtime")):
        with (
            pytest.raises(
                (psycopg.errors.RestrictViolation, PermissionError), match=r"never changed|permission denied"
            ),
            connect() as connection,
        ):
            connection.execute(statement)
    assert len(said(db_manager)) == 1


def test_runs_at_once_make_one_chain(
    storage: RegimeStorage, record: ForwardRecord, db_manager: DatabaseManager
) -> None:
    def label(number: int) -> None:
        for day in range(10):
            storage.save_regimes([state(day, f"R{number % 3}", f"m@{number}"), state(day, f"S{number}")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(label, range(6)))
    verdict = record.verify()
    assert verdict.fault is None
    assert verdict.head == record.head()
    assert len({row[:3] for row in said(db_manager)}) == verdict.head.n_statements >= 6 * 10 + 3 * 10


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(LABELS) | st.text(max_size=3), inner),
    max_leaves=4,
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        name: json_values | st.dictionaries(st.sampled_from([*LABELS, "probability", "threshold"]), json_values)
        for name in ("probabilities", "high_volatility", "held", "instrument_id", "members")
    },
).filter(lambda each: "\\u0000" not in repr(each) and "\x00" not in str(each))
names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)


@bounded(60)
@given(
    region=names,
    said_of=st.lists(metadata, min_size=1, max_size=4),
    confidence=st.floats(0, 1) | st.sampled_from([0, 1]),
    first=st.dates(),
)
def test_whatever_a_state_says_is_stored_as_it_was_hashed(
    migrated: DatabaseManager, region: str, said_of: list[Any], confidence: float, first: date
) -> None:
    empty_databases(migrated)
    days = [first + timedelta(days=n) for n in range(len(said_of)) if first.toordinal() + n < date.max.toordinal()]
    states = [
        RegimeState(day, region, RegimeLabel.CARRY, confidence, np.ones(1, np.float32), each, "m")
        for day, each in zip(days, said_of, strict=False)
    ]
    try:
        RegimeStorage(db_manager=migrated).save_regimes(states, np.arange(len(states)) - 2**62)
    except psycopg.DataError:  # letters that no jsonb can hold
        return
    verdict = ForwardRecord(migrated).verify()
    assert (verdict.fault, verdict.head.n_statements) == (None, len(states))


Alter = Callable[[psycopg.Connection[Any], random.Random], str]
OTHER_VALUES = {
    "region": "'EU'", "model_id": "model_id || '.'", "as_of_date": "as_of_date - 400", "regime_label": "'CRISIS'",
    "confidence": "confidence - 1e-16", "neutral": "-neutral", "crisis": "0.5", "risk_off": "1e-300",
    "carry": "NULL", "high_volatility": "high_volatility + 1e-16", "threshold": "threshold * 1.0000001",
    "is_held": "NOT is_held", "instruments": "'{Y}'", "input_hash": "input_hash # 1",
    "said_at": "said_at - interval '1 microsecond'", "hash": "sha256(hash)",
}  # fmt: skip


def any_place(chance: random.Random) -> int:
    return chance.randint(1, N_STATEMENTS)


def alter_a_field(connection: psycopg.Connection[Any], chance: random.Random) -> str:
    name, place = chance.choice(list(OTHER_VALUES)), any_place(chance)
    query = f"UPDATE forward_record SET {name} = {OTHER_VALUES[name]} WHERE number = {place}"
    connection.execute(query)
    return f"statement {place} ("


def delete_rows(connection: psycopg.Connection[Any], chance: random.Random) -> str:
    place = any_place(chance)
    rows = f"number >= {place} AND number < {place + chance.randint(1, 3)}"
    connection.execute(f"DELETE FROM forward_record WHERE {rows}")
    return f"{place}"


def delete_and_close_up(connection: psycopg.Connection[Any], chance: random.Random) -> str:
    place = any_place(chance)
    connection.execute("DELETE FROM forward_record WHERE number = %s", (place,))
    connection.execute("UPDATE forward_record SET number = number + 1000 WHERE number > %s", (place,))
    connection.execute("UPDATE forward_record SET number = number - 1001 WHERE number > 1000")
    return f"statement {place} "


def delete_a_region(connection: psycopg.Connection[Any], chance: random.Random) -> str:
    connection.execute("DELETE FROM forward_record WHERE region = %s", (chance.choice(["US", "UK"]),))
    return "missing"


def cut_the_tail(connection: psycopg.Connection[Any], chance: random.Random) -> str:
    place = any_place(chance)
    connection.execute("DELETE FROM forward_record WHERE number >= %s", (place,))
    return f"statement {place} is missing"


def swap_two(connection: psycopg.Connection[Any], chance: random.Random) -> str:
    first, second = sorted(chance.sample(range(1, N_STATEMENTS + 1), 2))
    for before, after in ((first, 1_000), (second, first), (1_000, second)):
        connection.execute("UPDATE forward_record SET number = %s WHERE number = %s", (after, before))
    return f"statement {first} ("


def insert_one(connection: psycopg.Connection[Any], chance: random.Random) -> str:
    place = chance.randint(1, N_STATEMENTS + 1)
    connection.execute("UPDATE forward_record SET number = number + 1000 WHERE number >= %s", (place,))
    connection.execute("UPDATE forward_record SET number = number - 999 WHERE number > 1000")
    columns = ", ".join(name for name in FIELDS if name != "region")
    connection.execute(
        f"INSERT INTO forward_record (number, region, {columns}, hash)"
        f" SELECT {place}, 'NEW', {columns}, sha256(hash) FROM forward_record LIMIT 1"
    )
    return f"statement {place} ("


def cut_the_head(connection: psycopg.Connection[Any], chance: random.Random) -> str:
    connection.execute("UPDATE forward_record_head SET n_statements = n_statements - %s", (any_place(chance),))
    return "inserted"


def alter_the_head(connection: psycopg.Connection[Any], chance: random.Random) -> str:
    query = ("UPDATE forward_record_head SET hash = sha256(hash)", "DELETE FROM forward_record_head")
    number = chance.randrange(2)
    connection.execute(query[number])
    return ("head was altered", "inserted")[number]


ALTERATIONS: tuple[Alter, ...] = (
    *[alter_a_field] * 5, delete_rows, delete_and_close_up, delete_a_region, cut_the_tail, swap_two, insert_one,
    cut_the_head, alter_the_head,
)  # fmt: skip


@pytest.mark.parametrize("n_alterations", [52, pytest.param(1_000, marks=pytest.mark.deep)])
def test_every_alteration_is_found_and_its_first_row_named(
    storage: RegimeStorage, record: ForwardRecord, db_manager: DatabaseManager, n_alterations: int
) -> None:
    high = {"probability": 0.5, "threshold": 0.25}
    for day in range(N_STATEMENTS // 2):
        states = [state(day, region, high_volatility=high) for region in ("UK", "US")]
        storage.save_regimes(states, np.array([day, -day], dtype=np.int64))
    sound = record.verify()
    assert (sound.fault, sound.head.n_statements) == (None, N_STATEMENTS)
    with tampering(db_manager) as connection:
        for table in ("forward_record", "forward_record_head"):
            connection.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
    chance = random.Random(20_250_131)
    try:
        for number in range(n_alterations):
            alter = ALTERATIONS[number % len(ALTERATIONS)]
            with tampering(db_manager) as connection:
                named = alter(connection, chance)
            verdict = record.verify()
            assert verdict.fault is not None, f"{alter.__name__}, number {number}"
            assert named in str(verdict.fault), f"{alter.__name__}, number {number}"
            with tampering(db_manager) as connection:
                for table in ("forward_record", "forward_record_head"):
                    connection.execute(f"DELETE FROM {table}")
                    connection.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
    finally:
        with tampering(db_manager) as connection:
            connection.execute("DROP TABLE kept_forward_record, kept_forward_record_head")
    assert record.verify() == sound


def test_a_record_written_anew_is_found_by_a_head_that_was_kept(
    storage: RegimeStorage, db_manager: DatabaseManager
) -> None:
    storage.save_regimes([state(day) for day in range(3)])
    statements = App(db_manager).statements
    kept = statements.head().hash.hex()
    storage.save_regimes([state(day) for day in range(3, 6)])
    assert statements.verify(kept).fault is None, "an old head is on the way to the newest"

    with tampering(db_manager) as connection:
        connection.execute("TRUNCATE forward_record, forward_record_head, regimes, regime_transitions")
    storage.save_regimes([state(day, label="CARRY") for day in range(6)])
    assert statements.verify().fault is None
    assert "written anew" in str(statements.verify(kept).fault)
    for wrong in ("", "abc", "z" * 64, f" {kept[:-1]}", kept * 2):
        with pytest.raises(UsageError, match="64 hexadecimal digits"):
            statements.verify(wrong)


def test_corrected_prices_another_model_and_a_removed_instrument_leave_the_record_as_it_was(
    db_manager: DatabaseManager, load_prices: LoadPrices, table_digests: TableDigest
) -> None:
    days, app = weekdays(120), App(db_manager)
    load_prices("X", days, *random_walk(120))
    request = RegimeRequest("US", "X", DateSpan.of_range(days[70].item(), days[-2].item()), 63, None)
    assert app.regimes.run(request).report.written == 49
    before = table_digests()
    assert before["runtime.forward_record"][0] == 49

    assert app.regimes.run(request).report.written == 0
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE prices_daily SET close = close * 1.01, adjusted_close = adjusted_close * 1.01"
                           " WHERE trade_date = %s", (days[80].item(),))  # fmt: skip
    assert app.regimes.run(request).report.written > 0
    assert app.regimes.run(replace(request, regime_model_id="calibrated-anew")).report.written == 49
    corrected = table_digests()
    assert corrected["runtime.regimes"] != before["runtime.regimes"]
    assert [corrected[table] for table in RECORD] == [before[table] for table in RECORD]

    newest = RegimeRequest("US", "X", DateSpan.of_date(days[-1].item()), 63, None)
    app.regimes.run(newest)
    assert table_digests()["runtime.forward_record"][0] == 50

    app.findings.remove_bars(["X"], date.min, date.max, is_plan=False)
    found = app.statements.statements("US")
    assert {each.today for each in found} == {"gone"}
    assert {each.instruments for each in found} == {("X",)}
    assert app.statements.verify().fault is None
    (score,) = app.statements.score("US")
    assert (score.n_gone, score.n_changed, score.high_volatility.n_scored) == (50, 0, 0)
