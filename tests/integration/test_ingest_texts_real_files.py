"""Every real file of texts, with the columns a user would name for it; the counts are those of the files themselves."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.fixtures.texts import texts_of

from prometheus.app.databases import DatabaseManager
from prometheus.data.text_reader import TextReader
from prometheus.errors import DataCheckError
from prometheus.ingest.report import IngestReport, TextIngestOptions
from prometheus.ingest.texts import TextIngest

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RealFile:
    """A file, how it is loaded, which columns make its rows distinct, and the days its texts span."""

    name: str
    options: dict[str, Any]
    key: tuple[str, ...]
    days: tuple[date, date]
    rejected: tuple[tuple[str, int], ...] = ()


CENTRAL_BANKS = RealFile(
    "events/central_bank_documents_8banks_to_2020.parquet",
    {
        "assume_timezone": "UTC",
        "event_type": "CENTRAL_BANK_DOCUMENT",
        "columns": {"timestamp": "available_date"},
        "metadata_columns": ("doc_id", "release_date_suspect"),
    },
    key=("available_date", "central_bank", "text"),
    days=(date(1996, 3, 29), date(2020, 12, 29)),
)
SPEECHES = RealFile(
    "events/fed_speeches_1996_2020.parquet",
    {
        "assume_timezone": "America/New_York",
        "event_type": "SPEECH",
        "country": "US",
        "columns": {"timestamp": "speech_date", "source": "speaker"},
        "metadata_columns": ("key",),
    },
    key=("speech_date", "speaker", "text"),
    days=(date(1996, 6, 13), date(2020, 12, 18)),
)
PRESS_CONFERENCES = RealFile(
    "events/fomc_press_conf_turns_2011_2020.parquet",
    {
        "assume_timezone": "America/New_York",
        "event_type": "PRESS_CONFERENCE",
        "country": "US",
        "columns": {"timestamp": "conf_date"},
    },
    key=("conf_date", "text"),
    days=(date(2011, 4, 27), date(2020, 12, 16)),
)
CALENDAR = RealFile(
    "macro/fx_calendar_asof_201911_202004.parquet",
    {
        "event_type": "CALENDAR_ENTRY",
        "columns": {"timestamp": "event_dt", "description": "event", "country": "currency"},
        "metadata_columns": ("impact",),
    },
    key=("event_dt", "event", "currency"),
    days=(date(2019, 11, 18), date(2020, 5, 7)),
)
REUTERS = RealFile(
    "news/reuters_1987_first11000.parquet",
    {"assume_timezone": "America/New_York", "language": "en", "source": "Reuters"},
    key=("published_at", "headline", "body"),
    days=(date(1987, 2, 26), date(1987, 3, 30)),
    rejected=(("missing value", 3),),
)
FILES = [CENTRAL_BANKS, SPEECHES, PRESS_CONFERENCES, CALENDAR, REUTERS]
LARGE = {CENTRAL_BANKS.name, SPEECHES.name}


def load(db_manager: DatabaseManager, path: Path, file: RealFile, **more: Any) -> IngestReport:
    ingest = TextIngest(db_manager)
    loads = ingest.ingest_news if file.name == REUTERS.name else ingest.ingest_macro
    return loads([path], TextIngestOptions(now=NOW, **file.options, **more))


def n_distinct(path: Path, file: RealFile) -> tuple[int, int]:
    """Return how many rows are dated, and how many different ones they are."""
    columns = pq.read_table(path, columns=list(file.key)).to_pydict()
    rows = [row for row in zip(*(columns[name] for name in file.key), strict=True) if row[0] is not None]
    return len(rows), len(set(rows))


@pytest.mark.parametrize(
    "file",
    [pytest.param(file, marks=[pytest.mark.deep] if file.name in LARGE else [], id=file.name) for file in FILES],
)
def test_a_real_file_loads_once(db_manager: DatabaseManager, shared_data: Path, tmp_path: Path, file: RealFile) -> None:
    path = shared_data / file.name
    more = {"on_error": "quarantine", "quarantine_path": tmp_path / "bad.csv"}
    report = load(db_manager, path, file, **more)
    n_dated, n_stored = n_distinct(path, file)
    assert report.rejected_by_reason == file.rejected
    assert (report.rows_written, report.duplicates) == (n_stored, n_dated - n_stored)
    assert (report.first_date, report.last_date) == file.days
    again = load(db_manager, path, file, **more)
    assert (again.rows_written, again.rows_unchanged) == (0, n_stored)


@pytest.mark.deep
def test_no_document_and_no_article_is_lost(db_manager: DatabaseManager, shared_data: Path, tmp_path: Path) -> None:
    load(db_manager, shared_data / CENTRAL_BANKS.name, CENTRAL_BANKS)
    bad = tmp_path / "bad.csv"
    load(db_manager, shared_data / REUTERS.name, REUTERS, on_error="quarantine", quarantine_path=bad)
    reader = TextReader(db_manager)
    documents = texts_of(reader, reader.iter_keys("MACRO", date.min, date.max))
    articles = texts_of(reader, reader.iter_keys("NEWS", date.min, date.max), "NEWS")
    real = pq.read_table(shared_data / CENTRAL_BANKS.name, columns=["text"])["text"].to_pylist()
    assert sorted(documents) == sorted(real)
    news = pq.read_table(shared_data / REUTERS.name, columns=list(REUTERS.key)).to_pylist()
    expected = ["\n\n".join(filter(None, (row["headline"], row["body"]))) for row in news if row["published_at"]]
    assert sorted(articles) == sorted(expected)
    assert bad.read_text().count("missing value") == 3


@pytest.mark.parametrize(
    ("file", "left_out", "says"),
    [
        (CENTRAL_BANKS, "columns", r"columns 'release_date' and 'available_date' both mean timestamp; .*--column"),
        (CENTRAL_BANKS, "event_type", r"no column event_type; .*--event-type"),
        (
            CENTRAL_BANKS,
            "assume_timezone",
            r"844 of 844 .*844 timestamp without zone.*--assume-timezone",
        ),
        (SPEECHES, "columns", r"'2/6/2006' is refused as ambiguous date"),
        (CALENDAR, "columns", r"no column timestamp; found 'known_at', .*--column timestamp=NAME"),
        (REUTERS, "language", r"3 of 11000 rows refused \(3 missing value\); first: row 996, column published_at"),
    ],
)
def test_what_a_real_file_leaves_open_is_asked_for(
    db_manager: DatabaseManager, shared_data: Path, file: RealFile, left_out: str, says: str
) -> None:
    options = {name: value for name, value in file.options.items() if name != left_out}
    with pytest.raises(DataCheckError, match=says):
        load(db_manager, shared_data / file.name, replace(file, options=options))


def test_a_calendar_entry_is_known_from_its_first_version_on(db_manager: DatabaseManager, shared_data: Path) -> None:
    path = shared_data / CALENDAR.name
    load(db_manager, path, CALENDAR)
    first: dict[tuple[Any, ...], datetime] = {}
    for row in pq.read_table(path).to_pylist():
        key = (row["event_dt"], row["currency"], row["event"])
        first[key] = min(first.get(key, row["known_at"]), row["known_at"])
    with db_manager.get_historical_connection() as connection:
        stored = connection.execute("SELECT timestamp, country, description, known_at FROM macro_events").fetchall()
    assert {row[:3]: row[3] or row[0] for row in stored} == first
