"""Loads of series one after another: what was known stays, a revision counts from its load, --replace undoes one."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.database import TableDigest, empty_databases
from tests.fixtures.examples import share_of

from prometheus.app.databases import DatabaseManager
from prometheus.errors import InputRefusedError
from prometheus.ingest.report import IngestReport
from prometheus.ingest.series import SeriesIngest, SeriesOptions

MONTHS = [date(2019 + at // 12, at % 12 + 1, 1) for at in range(15)]
WEEKDAYS = [day for at in range(60) if (day := date(2024, 1, 1) + timedelta(days=at)).weekday() < 5]
FIRST_LOAD = datetime(2024, 6, 3, 12, tzinfo=UTC)
LAG = 45
FACTS = """
    SELECT event_id, event_type, timestamp, known_at, country, source, description, metadata FROM macro_events
    ORDER BY timestamp, event_id
"""

Row = tuple[Any, ...]
File = Mapping[date, str]


def load(
    manager: DatabaseManager, name: str, file: File, now: datetime, released: Mapping[date, date] | None = None,
    **options: Any,
) -> IngestReport:  # fmt: skip
    given_dates = released or {}
    lines = [f"{day},{value},{given_dates.get(day, '')}" for day, value in file.items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.csv"
        path.write_text("\n".join([f"date,{name},release_date", *lines]) + "\n")
        asked = {"release_lag": LAG, **options}
        return SeriesIngest(manager).ingest_series([path], SeriesOptions(now=now, **asked))


def values(manager: DatabaseManager) -> list[Row]:
    with manager.get_historical_connection() as connection:
        return connection.execute("SELECT * FROM series_values ORDER BY 1, 2, 3").fetchall()


def facts(manager: DatabaseManager) -> list[Row]:
    with manager.get_historical_connection() as connection:
        return connection.execute(FACTS).fetchall()


def said(manager: DatabaseManager) -> list[tuple[str, str]]:
    with manager.get_historical_connection() as connection:
        query = "SELECT timestamp, description FROM macro_events ORDER BY timestamp, description"
        return [(f"{row[0]:%Y-%m-%d}", row[1]) for row in connection.execute(query)]


def files(days: Sequence[date]) -> st.SearchStrategy[File]:
    return st.dictionaries(st.sampled_from(days), st.sampled_from(["1", "1.5", "2.0", "3.25"]), min_size=1)


@pytest.mark.parametrize(("name", "days"), [("UNRATE", MONTHS), ("VIXCLS", WEEKDAYS), ("DGS30", WEEKDAYS)])
@settings(deadline=None, max_examples=share_of(10), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_loaded_later_what_was_known_stays(
    db_manager: DatabaseManager, name: str, days: list[date], data: st.DataObject
) -> None:
    empty_databases(db_manager)
    loads = data.draw(st.lists(st.tuples(files(days), st.booleans()), min_size=1, max_size=3))
    before: tuple[list[Row], list[Row]] = ([], [])
    for number, (file, has_releases) in enumerate(loads):
        now = FIRST_LOAD + timedelta(days=number)
        released = {day: day + timedelta(days=60) for day in file} if has_releases else None
        try:
            load(db_manager, name, file, now, released)
        except InputRefusedError:  # a load with releases before it looks like one with another lag
            assert (values(db_manager), facts(db_manager)) == before
            continue
        after = values(db_manager), facts(db_manager)
        known_days = {row[1] for row in before[0]}
        added = [row for row in after[0] if row not in before[0]]
        assert all(row in later for earlier, later in zip(before, after, strict=True) for row in earlier)
        if not has_releases:
            assert {row[2] for row in added if row[1] in known_days} <= {now}
        assert newest(after[0]).items() >= {day: float(value) for day, value in file.items()}.items() or has_seen(
            before[0], file
        )
        require_true(after)
        load(db_manager, name, file, now + timedelta(hours=1), released)
        assert (values(db_manager), facts(db_manager)) == after
        before = after


def newest(rows: Sequence[Row]) -> dict[date, float]:
    return {day: value for _, day, _, value in rows}


def has_seen(rows: Sequence[Row], file: File) -> bool:
    """Return whether some value of a file was superseded before it was loaded."""
    old = {(day, value) for _, day, _, value in rows} - set(newest(rows).items())
    return any((day, float(value)) in old for day, value in file.items())


def require_true(stored: tuple[list[Row], list[Row]]) -> None:
    """Every plain fact tells the value as it was known at the fact's instant, and each value is told once."""
    rows, events = stored
    keys = [(event[1], event[2], event[-1]["told_values"][0]) for event in events if "told_values" in event[-1]]
    assert len(keys) == len(set(keys))
    for event in events:
        told = re.match(r"\w+ for (\S+) (?:is|was revised to) ([\d.]+)[, ]", event[6])
        if told is not None:
            then = [row for row in rows if str(row[1]) == told[1] and row[2] <= event[2]]
            assert float(told[2]) == then[-1][3]


def test_a_changed_value_is_a_revision_known_from_the_load_on(db_manager: DatabaseManager) -> None:
    first = {MONTHS[0]: "4.0", MONTHS[1]: "3.8", MONTHS[2]: "3.8"}
    load(db_manager, "UNRATE", first, FIRST_LOAD)
    before = values(db_manager), said(db_manager)
    later = FIRST_LOAD + timedelta(days=1)
    revised = {**first, MONTHS[1]: "3.9", MONTHS[3]: "3.6"}

    planned = load(db_manager, "UNRATE", revised, later, dry_run=True)
    report = load(db_manager, "UNRATE", revised, later)

    assert planned.notes[-2:] == report.notes
    assert planned.rows_written == report.rows_written == 2
    assert "revisions known from this load on: 1, from 2019-02-01 to 2019-02-01; --replace" in report.notes[1]
    assert [row for row in values(db_manager) if row not in before[0]] == [
        ("UNRATE", MONTHS[1], later, 3.9), ("UNRATE", MONTHS[3], datetime(2019, 5, 16, 22, tzinfo=UTC), 3.6)
    ]  # fmt: skip
    assert [each for each in said(db_manager) if each not in before[1]] == [
        ("2019-05-16", "UNRATE for 2019-04-01 is 3.6, down from 3.8 for 2019-03-01."),
        ("2024-06-04", "UNRATE for 2019-02-01 was revised to 3.9 from 3.8."),
    ]


def test_an_older_file_does_not_turn_a_revision_back(db_manager: DatabaseManager, table_digests: TableDigest) -> None:
    old, new = {MONTHS[0]: "4.0", MONTHS[1]: "3.8"}, {MONTHS[0]: "4.0", MONTHS[1]: "3.9"}
    for number, file in enumerate((old, new)):
        load(db_manager, "UNRATE", file, FIRST_LOAD + timedelta(days=number))
    before = table_digests()
    report = load(db_manager, "UNRATE", old, FIRST_LOAD + timedelta(days=2))
    assert table_digests() == before
    assert "as an older file has them, left out: 1, from 2019-02-01 to 2019-02-01; --replace" in report.notes[1]
    back = load(db_manager, "UNRATE", old, FIRST_LOAD + timedelta(days=3), {MONTHS[1]: date(2024, 6, 5)})
    assert back.rows_written == 1
    assert newest(values(db_manager))[MONTHS[1]] == 3.8


@pytest.mark.parametrize("name", ["UNRATE", "VIXCLS"])
def test_replace_leaves_what_a_load_of_the_right_file_alone_leaves(db_manager: DatabaseManager, name: str) -> None:
    days = MONTHS if name == "UNRATE" else WEEKDAYS
    right = {day: f"{10 + at * 3 % 7}.5" for at, day in enumerate(days)}
    wrong = {**right, days[4]: "99.0"}
    load(db_manager, name, right, FIRST_LOAD)
    wanted = values(db_manager), said(db_manager)
    empty_databases(db_manager)
    load(db_manager, name, wrong, FIRST_LOAD)
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
            " SELECT 'MACRO', event_id::text, 'text-macro-v1', 1, '\\x00000000' FROM macro_events"
        )

    report = load(db_manager, name, right, FIRST_LOAD + timedelta(days=1), replace=True)

    assert (values(db_manager), said(db_manager)) == wanted
    assert f"whose facts are taken out: 1, from {days[4]} to {days[4]}" in report.notes[1]
    assert report.rows_written == 1
    with db_manager.get_historical_connection() as connection:
        ((n_vectors, n_lost),) = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE event_id IS NULL) FROM text_embeddings"
            " LEFT JOIN macro_events ON event_id::text = source_id"
        ).fetchall()
    assert n_lost == 0
    assert 0 < n_vectors < len(wanted[1])


def test_another_lag_than_stored_is_refused(db_manager: DatabaseManager, table_digests: TableDigest) -> None:
    file = dict.fromkeys(MONTHS, "4.0")
    load(db_manager, "UNRATE", file, FIRST_LOAD)
    before = table_digests()
    with pytest.raises(
        InputRefusedError, match="known 45 days after their own, this load says 30; give --release-lag 45"
    ):
        load(db_manager, "UNRATE", file, FIRST_LOAD, release_lag=30)
    assert table_digests() == before
    load(db_manager, "UNRATE", file, FIRST_LOAD, release_lag=30, replace=True)
    assert {row[2].date() - row[1] for row in values(db_manager)} == {timedelta(days=30)}
