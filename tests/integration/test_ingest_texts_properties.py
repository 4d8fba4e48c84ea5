"""However texts are written, split or ordered, the same rows are stored; and a bad cell is always named."""

import csv
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from tests.fixtures.database import empty_databases
from tests.fixtures.examples import share_of
from tests.fixtures.texts import texts_of

from prometheus.app.databases import DatabaseManager
from prometheus.data.text_reader import TextReader
from prometheus.errors import DataCheckError
from prometheus.files import csv_lines, json_lines
from prometheus.ingest.report import TextIngestOptions
from prometheus.ingest.text_rows import is_blank
from prometheus.ingest.texts import TextIngest

COLUMNS = ("event_type", "timestamp", "known_at", "country", "source", "description")
NOW = datetime(2024, 6, 28, tzinfo=UTC)
OPTIONS = TextIngestOptions(now=NOW)

Row = tuple[Any, ...]

few = settings(
    max_examples=share_of(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8).filter(str.isprintable)
bodies = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n\r\t",'), min_size=1, max_size=40
).filter(lambda text: not is_blank(text))
instants = st.datetimes(datetime(1800, 1, 1), datetime(2024, 6, 27), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def events(draw: st.DrawFn) -> Row:
    known_at = draw(st.none() | instants)
    timestamp = draw(instants)
    country, source = draw(st.none() | names), draw(st.none() | names)
    return draw(names), timestamp, None if known_at == timestamp else known_at, country, source, draw(bodies)


tables = st.lists(events(), min_size=1, max_size=15, unique_by=lambda row: (*row[:2], row[3], row[4], row[5]))


def as_text(cell: Any) -> str | None:
    return cell.isoformat() if isinstance(cell, datetime) else cell


def write_csv(path: Path, rows: list[Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(COLUMNS)
        writer.writerows([["" if cell is None else as_text(cell) for cell in row] for row in rows])
    return path


def write_jsonl(path: Path, rows: list[Row]) -> Path:
    lines = [
        json.dumps(dict(zip(COLUMNS, map(as_text, row), strict=True)), ensure_ascii=len(row[5]) % 2 == 0)
        for row in rows
    ]
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    return path


def write_parquet(path: Path, rows: list[Row]) -> Path:
    types = {"timestamp": pa.timestamp("us", "UTC"), "known_at": pa.timestamp("us", "America/New_York")}
    columns = {
        name: pa.array(list(cells), types.get(name, pa.string()))
        for name, cells in zip(COLUMNS, zip(*rows, strict=True), strict=True)
    }
    pq.write_table(pa.table(columns), path, row_group_size=7)
    return path


WRITERS: dict[str, Callable[[Path, list[Row]], Path]] = {
    "e.csv": write_csv, "e.jsonl": write_jsonl, "e.parquet": write_parquet,
}  # fmt: skip


def stored_after(db_manager: DatabaseManager, *paths: Path) -> list[Row]:
    empty_databases(db_manager)
    TextIngest(db_manager).ingest_macro(paths, OPTIONS)
    with db_manager.get_historical_connection() as connection:
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM macro_events").fetchall()
    return sorted(rows, key=repr)


@few
@given(rows=tables)
def test_every_format_stores_the_rows_it_holds(db_manager: DatabaseManager, rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, write in WRITERS.items():
            assert stored_after(db_manager, write(Path(folder, name), rows)) == sorted(rows, key=repr), name


@few
@given(rows=tables, data=st.data())
def test_splits_order_and_repeats_change_nothing(
    db_manager: DatabaseManager, rows: list[Row], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows + rows[: data.draw(st.integers(0, len(rows)))]))
    cut = data.draw(st.integers(0, len(shuffled) - 1))
    size = data.draw(st.integers(40, 400))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines, "BLOCK_BYTES", size)
        patch.setattr(json_lines, "BLOCK_BYTES", size)
        one, two = (
            write_csv(Path(folder, "1.csv"), shuffled[:cut]),
            write_jsonl(Path(folder, "2.jsonl"), shuffled[cut:]),
        )
        assert stored_after(db_manager, one, two) == sorted(rows, key=repr)
        with db_manager.get_historical_connection() as connection:
            times = connection.execute("SELECT timestamp FROM macro_events ORDER BY event_id").fetchall()
        assert times == sorted(times)


BAD_CELLS: dict[str, list[tuple[Any, str]]] = {
    "event_type": [("", "empty text"), (" X", "outer spaces"), ("X\u200b", "control characters"), (1, "not a text")],
    "timestamp": [
        ("", "missing value"), ("01/02/2024 10:00Z", "ambiguous date"), ("2024-13-01T00:00Z", "not a date"),
        ("2024-06-28T00:00:01Z", "future date"), ("1799-12-31T00:00Z", "date before 1800"),
        ("2024-01-02 10:00", "timestamp without zone"), ("2024/01/02 10:00Z", "date in another format"),
        (True, "not a text"),
    ],
    "known_at": [("never", "not a date"), ("2024-06-28T00:00:01Z", "future date"), ([], "not a text")],
    "country": [("U S ", "outer spaces"), ("x" * 200, "text too long"), ("\ud800", "lone surrogate")],
    "source": [("a\tb", "control characters"), (1.5, "not a text"), ("\udfff", "lone surrogate")],
    "description": [
        ("", "empty text"), (" \n ", "empty text"), ("a\0b", "text with nul"), ("a\x1fb", "control characters"),
        ("x\ud83dy", "lone surrogate"), (float("nan"), "not a text"), ({"a": 1}, "not a text"),
    ],
}  # fmt: skip


@few
@given(rows=st.lists(events(), min_size=2, max_size=8), data=st.data())
def test_a_corrupted_cell_is_named_with_its_line_and_column(
    db_manager: DatabaseManager, rows: list[Row], data: st.DataObject
) -> None:
    rows = [(*row[:2], None, *row[3:]) for row in rows]  # a row that is known may be dated ahead
    position = data.draw(st.integers(1, len(rows) - 1))
    column = data.draw(st.sampled_from(COLUMNS))
    cell, reason = data.draw(st.sampled_from(BAD_CELLS[column]))
    cells = list(rows[position])
    cells[COLUMNS.index(column)] = cell
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "BLOCK_BYTES", data.draw(st.integers(40, 4000)))
        bad = [*rows[:position], tuple(cells), *rows[position + 1 :]]
        paths = {"line": write_jsonl_as_ascii(Path(folder, "e.jsonl"), bad)}
        is_writable = isinstance(cell, str) and not any("\ud800" <= letter <= "\udfff" for letter in cell)
        if is_writable:
            paths["row"] = write_texts_as_parquet(Path(folder, "e.parquet"), bad)
        for word, path in paths.items():
            with pytest.raises(DataCheckError) as caught:
                TextIngest(db_manager).ingest_macro([path], OPTIONS)
            assert f"1 of {len(rows)} rows refused (1 " in str(caught.value)
            assert f"first: {word} {position + 1}, column {column}: " in str(caught.value)
            assert reason in str(caught.value)


def write_jsonl_as_ascii(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(dict(zip(COLUMNS, map(as_text, row), strict=True))) + "\n" for row in rows))
    return path


def write_texts_as_parquet(path: Path, rows: list[Row]) -> Path:
    columns = zip(COLUMNS, zip(*rows, strict=True), strict=True)
    pq.write_table(
        pa.table({name: pa.array([as_text(cell) for cell in cells], pa.string()) for name, cells in columns}), path
    )
    return path


@few
@given(rows=tables)
def test_the_zone_of_the_session_changes_no_hash_and_no_date(db_manager: DatabaseManager, rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_csv(Path(folder, "e.csv"), rows)
        seen = [_load_in_session(db_manager, path, zone) for zone in ("UTC", "America/New_York", "Asia/Tokyo")]
    assert seen[0] == seen[1] == seen[2]
    assert {day: sorted(texts) for day, texts in seen[0][1].items()} == _by_utc_date(rows)


def _by_utc_date(rows: list[Row]) -> dict[str, list[str]]:
    days: dict[str, list[str]] = {}
    for row in rows:
        days.setdefault(row[1].date().isoformat(), []).append(row[5])
    return {day: sorted(texts) for day, texts in days.items()}


def _load_in_session(db_manager: DatabaseManager, path: Path, zone: str) -> tuple[list[Row], dict[str, list[str]]]:
    from tests.integration.test_text_reader import ZonedDatabase

    empty_databases(db_manager)
    database = ZonedDatabase(db_manager, zone)
    TextIngest(database).ingest_macro([path], OPTIONS)
    with db_manager.get_historical_connection() as connection:
        hashes = connection.execute(sql.SQL("SELECT content_hash FROM macro_events ORDER BY event_id")).fetchall()
        days = connection.execute(
            "SELECT DISTINCT (timestamp AT TIME ZONE 'UTC')::date FROM macro_events ORDER BY 1"
        ).fetchall()
    reader = TextReader(database)
    texts = {day.isoformat(): texts_of(reader, reader.iter_keys("MACRO", day, day)) for (day,) in days}
    assert all(len(found) > 0 for found in texts.values())
    assert not list(reader.iter_keys("MACRO", days[-1][0] + timedelta(days=1), days[-1][0] + timedelta(days=2)))
    return hashes, texts
