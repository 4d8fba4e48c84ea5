"""Versions of an event: each counts from the date of its own publication, the newest known one alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prometheus.app.databases import DatabaseManager
from prometheus.data.text_reader import TextReader
from prometheus.data.vectors.texts import TextVectorReader
from prometheus.encoders import TextEmbeddingStore
from prometheus.encoders.texts.documents import TextDoc, TextSelection
from prometheus.errors import DataCheckError
from prometheus.ingest.report import IngestReport, TextIngestOptions
from prometheus.ingest.texts import TextIngest

NOW = datetime(2024, 6, 28, 12, tzinfo=UTC)
RELEASED = datetime(2020, 7, 30, 12, 30, tzinfo=UTC)
VERSIONS = [("2020-07-30", "fell 32.9"), ("2020-08-27", "fell 31.7"), ("2020-09-30", "fell 31.4")]
KNOWN = [None, datetime(2020, 8, 27, 12, tzinfo=UTC), datetime(2020, 9, 30, 12, tzinfo=UTC)]
Load = Callable[..., IngestReport]


@pytest.fixture
def load(db_manager: DatabaseManager, tmp_path: Path) -> Load:
    """Load columns as a Parquet file of macro events; options as keywords."""

    def ingest(columns: dict[str, list[Any]], **options: Any) -> IngestReport:
        pq.write_table(pa.table(columns), tmp_path / "events.parquet")
        return TextIngest(db_manager).ingest_macro(
            [tmp_path / "events.parquet"], TextIngestOptions(now=NOW, event_type="GDP", **options)
        )

    return ingest


def columns(vintage: str = "realtime_start", observed: str = "timestamp", **further: list[Any]) -> dict[str, list[Any]]:
    dates, texts = zip(*VERSIONS, strict=True)
    return {observed: [RELEASED.isoformat()] * 3, vintage: list(dates), "description": list(texts), **further}


def known(manager: DatabaseManager) -> list[datetime | None]:
    with manager.get_historical_connection() as connection:
        return [row[0] for row in connection.execute("SELECT known_at FROM macro_events ORDER BY known_at NULLS FIRST")]


@pytest.mark.parametrize(
    ("vintage", "observed"),
    [
        ("realtime_start", "timestamp"), ("vintage_date", "date"), ("Vintage", "observation_date"),
        ("release_date", "observation_date"), ("Release Date", "date"), ("released_at", "timestamp"),
    ],
)  # fmt: skip
def test_a_vintage_says_when_a_version_became_known(
    load: Load, db_manager: DatabaseManager, vintage: str, observed: str
) -> None:
    report = load(columns(vintage, observed))
    assert (report.rows_written, report.notes) == (3, ())
    assert known(db_manager) == KNOWN
    assert load(columns(vintage, observed)).rows_unchanged == 3


def test_dates_of_a_typed_column_and_of_a_named_zone_are_noons(load: Load, db_manager: DatabaseManager) -> None:
    days = [date.fromisoformat(day) for day, _ in VERSIONS]
    load({**columns(), "realtime_start": days}, assume_timezone="America/New_York")
    assert known(db_manager)[1:] == [each.replace(hour=16) for each in KNOWN[1:] if each]


def test_a_release_alone_dates_the_event(load: Load, db_manager: DatabaseManager) -> None:
    load({"release_date": [RELEASED.isoformat()], "description": ["fell"]})
    assert known(db_manager) == [None]


def test_two_columns_that_say_it_are_named_and_known_at_goes_first(load: Load, db_manager: DatabaseManager) -> None:
    with pytest.raises(DataCheckError, match=r"'realtime_start' and 'vintage_date' both mean known_at; choose one"):
        load(columns(vintage_date=["2020-07-30"] * 3))
    report = load(columns(known_at=[RELEASED.isoformat()] * 3))
    assert any("--column known_at=realtime_start" in note for note in report.notes)
    assert known(db_manager) == [None] * 3


def test_the_newest_version_known_at_a_date_counts(load: Load, db_manager: DatabaseManager) -> None:
    load(columns(country=["US"] * 3))
    day = RELEASED.date()
    found = {
        known_by: [text.text for text in TextReader(db_manager).texts_of("MACRO", day, date.fromisoformat(known_by))]
        for known_by in (
            "2020-07-29",
            "2020-07-30",
            "2020-08-26",
            "2020-08-27",
            "2020-09-29",
            "2020-09-30",
            "2024-01-01",
        )
    }
    first, second, third = ([text] for _, text in VERSIONS)
    assert list(found.values()) == [[], first, first, second, second, third, third]


def test_means_of_dates_hold_the_version_known_then(load: Load, db_manager: DatabaseManager) -> None:
    load(columns())
    load({"timestamp": [RELEASED.isoformat()], "description": ["another event of that instant"]})
    store, reader = TextEmbeddingStore(db_manager=db_manager), TextReader(db_manager)
    keys = [key.source_id for page in reader.iter_keys("MACRO", RELEASED.date(), RELEASED.date()) for key in page]
    docs = [TextDoc("MACRO", text.source_id, text.text) for text in reader.load_texts("MACRO", keys)]
    order = [[*(text for _, text in VERSIONS), "another event of that instant"].index(doc.text) for doc in docs]
    store.save_embeddings(docs, "m@1", np.eye(4, dtype=np.float32)[order])

    def weights(known_by: date | None, zone: str = "UTC") -> list[float]:
        wanted = TextSelection("MACRO", "m@1", {}, zone, known_by)
        mean: list[float] = (
            TextVectorReader(db_manager).load(wanted, RELEASED.date(), RELEASED.date()).vectors[0].tolist()
        )
        return mean

    assert weights(None) == weights(date(2020, 8, 26)) == [0.5, 0, 0, 0.5]
    assert weights(date(2020, 8, 27)) == weights(date(2020, 8, 27), "America/New_York") == [0, 0.5, 0, 0.5]
    assert weights(date(2020, 8, 26), "America/New_York") == [0.5, 0, 0, 0.5]
    assert weights(date(2021, 1, 1)) == [0, 0, 0.5, 0.5]
