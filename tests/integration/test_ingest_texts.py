import csv
import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prometheus.app.databases import DatabaseManager
from prometheus.errors import DataCheckError, FileAccessError, UsageError
from prometheus.ingest.report import IngestReport, TextIngestOptions
from prometheus.ingest.sample.macro_events import sample_macro_events, write_sample_macro_events
from prometheus.ingest.texts import TextIngest

NOW = datetime(2024, 6, 28, 12, tzinfo=UTC)
HEADER = "type,timestamp,country,text"
GOOD = "CPI,2024-01-02T10:00Z,US,Prices rose."
TEN = datetime(2024, 1, 2, 10, tzinfo=UTC)

Ingest = Callable[..., IngestReport]


@pytest.fixture
def macro(db_manager: DatabaseManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Write lines to ``events.csv`` and load them as macro events; options as keywords."""
    monkeypatch.chdir(tmp_path)

    def load(*lines: str, header: str = HEADER, name: str = "events.csv", **options: Any) -> IngestReport:
        Path(name).write_bytes("\n".join((*([header] if header else []), *lines, "")).encode())
        return TextIngest(db_manager).ingest_macro([Path(name)], TextIngestOptions(**{"now": NOW, **options}))

    return load


@pytest.fixture
def news(db_manager: DatabaseManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Write objects to ``news.jsonl`` and load them as news; options as keywords."""
    monkeypatch.chdir(tmp_path)

    def load(*objects: dict[str, Any], **options: Any) -> IngestReport:
        Path("news.jsonl").write_text("".join(json.dumps(item) + "\n" for item in objects))
        return TextIngest(db_manager).ingest_news([Path("news.jsonl")], TextIngestOptions(**{"now": NOW, **options}))

    return load


def events(db_manager: DatabaseManager, columns: str = "event_type, timestamp, country, description") -> list[Any]:
    with db_manager.get_historical_connection() as connection:
        return connection.execute(f"SELECT {columns} FROM macro_events ORDER BY event_id").fetchall()


def files_here() -> list[str]:
    return sorted(path.name for path in Path.cwd().iterdir())


def quarantined(path: str = "events.csv.rejected.csv") -> list[tuple[str, str, str]]:
    with Path(path).open(newline="") as file:
        return [(row["row"], row["column"], row["reason"]) for row in csv.DictReader(file)]


def test_events_are_stored_in_order_of_time(macro: Ingest, db_manager: DatabaseManager) -> None:
    report = macro("FOMC,2024-01-31T19:00:00Z,,Rates held.", GOOD, "ECB,2024-01-25 14:15+01:00,EA,Unchanged.")
    assert (report.rows_read, report.rows_written, report.exit_code, report.notes) == (3, 3, 0, ())
    assert (report.first_date, report.last_date) == (date(2024, 1, 2), date(2024, 1, 31))
    assert events(db_manager) == [
        ("CPI", TEN, "US", "Prices rose."),
        ("ECB", datetime(2024, 1, 25, 13, 15, tzinfo=UTC), "EA", "Unchanged."),
        ("FOMC", datetime(2024, 1, 31, 19, tzinfo=UTC), None, "Rates held."),
    ]
    assert events(db_manager, "known_at, source, metadata") == [(None, None, {})] * 3


def test_articles_are_stored_with_what_they_have(news: Ingest, db_manager: DatabaseManager) -> None:
    day = {"published_at": "2024-01-02T10:00:00Z"}
    report = news(
        {**day, "headline": "Up", "body": "One\n\ntwo", "lang": "en"}, {**day, "title": "Alone", "language": None},
        {**day, "headline": " ", "body": "Body"}, source="Wire", language="de",
        columns={"headline": "headline", "language": "lang"},
        on_error="quarantine",
    )  # fmt: skip
    assert report.rejected_by_reason == (("empty text", 1),)  # its title is in another column than the one named
    with db_manager.get_historical_connection() as connection:
        rows = connection.execute(
            "SELECT headline, body, language, source FROM news_articles ORDER BY headline"
        ).fetchall()
    assert rows == [("", "Body", "de", "Wire"), ("Up", "One\n\ntwo", "en", "Wire")]


def test_a_second_run_writes_nothing(macro: Ingest, table_digests: Callable[[], object]) -> None:
    macro(GOOD)
    before = table_digests()
    report = macro(GOOD)
    assert (report.rows_written, report.rows_unchanged, report.duplicates) == (0, 1, 0)
    assert table_digests() == before


def test_equal_texts_are_stored_once_and_counted(macro: Ingest, db_manager: DatabaseManager) -> None:
    macro(GOOD)
    report = macro(GOOD, GOOD.replace("10:00Z", "11:00+01:00"), GOOD.replace("rose", "fell"), GOOD)
    assert (report.rows_written, report.rows_unchanged, report.duplicates) == (1, 1, 2)
    assert len(events(db_manager)) == 2


@pytest.mark.parametrize(
    ("first", "second", "stays", "n_written"),
    [
        ("2024-01-05T00:00Z", "2024-01-04T00:00Z", datetime(2024, 1, 4, tzinfo=UTC), 1),
        ("2024-01-04T00:00Z", "2024-01-05T00:00Z", datetime(2024, 1, 4, tzinfo=UTC), 0),
        ("2024-01-04T00:00Z", "", None, 1),
        ("", "2024-01-04T00:00Z", None, 0),
        ("", "2024-01-02T10:00Z", None, 0),
        ("", "2023-12-24T00:00Z", datetime(2023, 12, 24, tzinfo=UTC), 1),
    ],
)
def test_the_earliest_known_at_stays(
    macro: Ingest, db_manager: DatabaseManager, first: str, second: str, stays: datetime | None, n_written: int
) -> None:
    header = f"{HEADER},known_at"
    macro(f"{GOOD},{first}", header=header)
    report = macro(f"{GOOD},{second}", header=header)
    assert (report.rows_written, report.rows_unchanged) == (n_written, 1 - n_written)
    assert events(db_manager, "known_at") == [(stays,)]
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM macro_events")
    assert macro(f"{GOOD},{first}", f"{GOOD},{second}", header=header).duplicates == 1
    assert events(db_manager, "known_at") == [(stays,)]


def test_an_event_announced_ahead_is_stored(macro: Ingest, db_manager: DatabaseManager) -> None:
    line = "FOMC,2024-12-18T19:00Z,US,Decision due"
    with pytest.raises(DataCheckError, match=r"column timestamp: '2024-12-18T19:00Z' is refused as future date"):
        macro(line)
    macro(f"{line},2024-01-01T00:00Z", header=f"{HEADER},available_at")
    assert events(db_manager, "known_at") == [(datetime(2024, 1, 1, tzinfo=UTC),)]


def test_one_bad_row_and_nothing_is_written(macro: Ingest, table_digests: Callable[[], object]) -> None:
    before = table_digests()
    with pytest.raises(DataCheckError) as caught:
        macro(GOOD, "CPI,2024-01-03,US,x", ",2024-01-03T00:00Z,US,x")
    assert str(caught.value) == (
        "events.csv: 2 of 3 rows refused (1 empty text, 1 timestamp without zone); first: line 3, column timestamp: "
        "'2024-01-03' is refused as timestamp without zone; nothing was written; set such rows aside with --on-error "
        "quarantine, or name their zone with --assume-timezone, such as UTC or America/New_York"
    )
    assert caught.value.exit_code == 5
    assert table_digests() == before
    assert files_here() == ["events.csv"]


def test_quarantine_sets_bad_rows_aside_whole(macro: Ingest, db_manager: DatabaseManager) -> None:
    body = "line one\nsays so\r\n" + "x" * 5_000
    bad = [f'CPI,2024-01-03,US,"{body}"', "ragged,1", 'CPI,2024-01-04T00:00Z,US,"open', "CPI,soon,US,x"]
    report = macro(GOOD, *bad, on_error="quarantine")
    assert (report.exit_code, report.rejected, report.rows_written) == (3, 4, 1)
    assert quarantined() == [
        ("3", "timestamp", "timestamp without zone"), ("6", "", "wrong number of cells"), ("7", "", "broken quotes"),
        ("8", "timestamp", "not a date"),
    ]  # fmt: skip
    first = Path("events.csv.rejected.csv").read_bytes()
    assert macro(GOOD, *bad, on_error="quarantine").rows_written == 0
    assert Path("events.csv.rejected.csv").read_bytes() == first
    again = TextIngest(db_manager).ingest_macro(
        [Path("events.csv.rejected.csv")],
        TextIngestOptions(now=NOW, assume_timezone="UTC", on_error="quarantine", quarantine_path=Path("rest.csv")),
    )
    assert (again.rows_written, again.rejected) == (1, 3)
    assert events(db_manager, "description")[1] == (body,)


def test_faults_of_json_lines_name_the_key_and_show_the_line(news: Ingest, db_manager: DatabaseManager) -> None:
    day = {"published_at": "2024-01-02T10:00:00Z"}
    bad = [{**day, "body": 1}, {**day, "body": "\ud800"}, {**day, "body": "a\0b"}, {**day, "body": None}]
    with pytest.raises(
        DataCheckError, match=r"news\.jsonl: 4 of 5 rows refused .* first: line 2, column body: .*not a text"
    ):
        news({**day, "body": "good"}, *bad)
    report = news({**day, "body": "good"}, *bad, on_error="quarantine")
    assert (report.rows_written, report.rejected) == (1, 4)
    assert quarantined("news.jsonl.rejected.csv") == [
        ("2", "body", "not a text"), ("3", "body", "lone surrogate"), ("4", "body", "text with nul"),
        ("5", "body", "empty text"),
    ]  # fmt: skip
    with Path("news.jsonl.rejected.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["line"] == json.dumps(bad[0])


def test_metadata_columns_are_kept_others_ignored_with_a_note(macro: Ingest, db_manager: DatabaseManager) -> None:
    header, lines = f"{HEADER},Impact,url,n", [f"{GOOD},high,http://x,1", f"{GOOD},low,http://y,2"]
    report = macro(*lines, header=header, metadata_columns=("impact", "n"))
    assert report.notes == ("events.csv: ignored columns url",)
    assert events(db_manager, "metadata") == [({"impact": "high", "n": "1"},)]
    assert macro(*lines, header=header, metadata_columns=("impact", "n")).rows_written == 0
    assert macro(*lines[1:], header=header, metadata_columns=("impact", "url")).rows_written == 1
    assert events(db_manager, "metadata") == [({"impact": "high", "n": "1", "url": "http://y"},)]
    assert macro(*lines, header=header).rows_written == 0


def test_every_format_gives_the_same_rows(macro: Ingest, db_manager: DatabaseManager) -> None:
    macro(f'{GOOD[:-1]} "again"\n\nand again."'.replace("US,", 'US,"').replace('"again"', '""again""'))
    (expected,) = events(db_manager, "content_hash, description")
    text = 'Prices rose "again"\n\nand again.'
    assert expected[1] == text
    row = {"type": "CPI", "time": "2024-01-02 05:00:00-05:00", "country": "US", "body": text}
    Path("e.ndjson.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    with Path("e.csv.gz").open("wb") as file:
        file.write(
            gzip.compress(
                f'type,time,country,body\r\nCPI,2024/01/02 10:00Z,US,"{text.replace(chr(34), chr(34) * 2)}"'.encode()
            )
        )
    kinds = {"time": pa.timestamp("ms", "Asia/Tokyo"), "body": pa.string(), "country": pa.string()}
    table = pa.table(
        {
            **{name: pa.array([row[name]]) for name in ("type", "body", "country")},
            "time": pa.array([TEN], kinds["time"]),
        }
    )
    pq.write_table(table, "e.parquet")
    pq.write_table(table.set_column(1, "body", table["body"].dictionary_encode()), "d.parquet")
    for name in ("e.ndjson.gz", "e.csv.gz", "e.parquet", "d.parquet"):
        report = TextIngest(db_manager).ingest_macro([Path(name)], TextIngestOptions(now=NOW))
        assert (report.rows_written, report.rows_unchanged) == (0, 1), name


def test_duplicates_are_found_across_files(db_manager: DatabaseManager, tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.jsonl"
    one.write_text(f"{HEADER}\n{GOOD}\n")
    two.write_text(
        json.dumps({"event": "CPI", "date": "2024-01-02T10:00Z", "country": "US", "content": "Prices rose."})
    )
    seen: list[tuple[int, int | None]] = []
    ingest = TextIngest(db_manager, progress=lambda done, total: seen.append((done, total)))
    report = ingest.ingest_macro([one, two], TextIngestOptions(now=NOW))
    assert (report.rows_read, report.rows_written, report.duplicates) == (2, 1, 1)
    assert seen == [(1, None), (2, None)]


def test_a_dry_run_counts_and_writes_nothing(macro: Ingest, table_digests: Callable[[], object]) -> None:
    before = table_digests()
    report = macro(GOOD, "x,1", on_error="quarantine", dry_run=True)
    assert (report.rows_written, report.rejected, report.quarantine_path) == (1, 1, None)
    assert table_digests() == before
    assert files_here() == ["events.csv"]


def test_a_file_without_rows_is_no_error(macro: Ingest) -> None:
    assert macro().notes == ("events.csv: holds no rows",)
    assert macro("", header="", name="blank.jsonl").notes == ("blank.jsonl: holds no rows",)


def test_dates_alone_in_a_zone_east_of_utc_are_noted(macro: Ingest, db_manager: DatabaseManager) -> None:
    report = macro("CPI,2024-01-02,JP,x", assume_timezone="Asia/Tokyo")
    assert report.first_date == date(2024, 1, 1)
    (note,) = report.notes
    assert note.startswith(
        "events.csv: midnights in Asia/Tokyo are of the day before in UTC; where they stand for dates"
    )
    assert macro("CPI,2024-01-02,JP,x", assume_timezone="America/New_York").notes == ()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"columns": {"headline": "text"}}, "--column headline: no such field; known: event_type, timestamp"),
        ({"metadata_columns": ("source",)}, "--metadata-column source: is a field of its own"),
        ({"language": "en"}, "--language belongs to news"),
        ({"on_error": "quarantine", "quarantine_path": Path("events.csv")}, "is one of the files to read"),
    ],
)
def test_options_that_make_no_sense_are_refused(macro: Ingest, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        macro(GOOD, **options)


def test_news_have_no_country_and_some_text(news: Ingest, db_manager: DatabaseManager) -> None:
    with pytest.raises(UsageError, match="--country belongs to macro events"):
        news({"published_at": "2024-01-02T10:00:00Z", "body": "x"}, country="US")
    with pytest.raises(DataCheckError, match=r"no column headline or body; .*--column headline=NAME"):
        news({"published_at": "2024-01-02T10:00:00Z", "remark": "x"})
    with pytest.raises(UsageError, match="no file named"):
        TextIngest(db_manager).ingest_news([], TextIngestOptions(now=NOW))


def test_a_damaged_file_leaves_everything_as_it_was(
    macro: Ingest, db_manager: DatabaseManager, table_digests: Callable[[], object]
) -> None:
    macro(GOOD)
    before = table_digests()
    Path("e.csv").write_bytes(
        f"{HEADER}\n{GOOD.replace('rose', 'fell')}\nCPI,2024-01-02T10:00Z,US,caf".encode() + b"\xe9\n"
    )
    with pytest.raises(FileAccessError, match=r"e\.csv: line 3 is not UTF-8"):
        TextIngest(db_manager).ingest_macro([Path("e.csv")], TextIngestOptions(now=NOW))
    assert table_digests() == before


def test_two_runs_at_once_agree(macro: Ingest, db_manager: DatabaseManager) -> None:
    lines = [GOOD.replace("10:00", f"{hour:02d}:00") for hour in range(23, -1, -1)]
    macro(*lines)
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM macro_events")
    with ThreadPoolExecutor(4) as pool:
        load = TextIngest(db_manager).ingest_macro
        runs = [pool.submit(load, [Path("events.csv")], TextIngestOptions(now=NOW)) for _ in range(8)]
        assert sum(run.result().rows_written for run in runs) == len(lines)


def test_the_sample_goes_in_like_any_file(macro: Ingest, db_manager: DatabaseManager) -> None:
    n_events = write_sample_macro_events(Path("sample.jsonl"))
    options = TextIngestOptions(now=datetime(2026, 1, 1, tzinfo=UTC))
    report = TextIngest(db_manager).ingest_macro([Path("sample.jsonl")], options)
    assert (report.rows_written, report.duplicates, report.notes) == (n_events, 0, ())
    assert (report.first_date, report.last_date) == (date(1999, 2, 5), date(2025, 6, 20))
    stored = events(db_manager, "event_type, timestamp, description")
    assert sorted(stored) == sorted(
        (item.event_type, item.timestamp, item.description) for item in sample_macro_events()
    )


def test_a_small_file_that_unfolds_to_gigabytes_is_refused(db_manager: DatabaseManager, tmp_path: Path) -> None:
    n_rows = 2_000
    text = pa.DictionaryArray.from_arrays(pa.array([0] * n_rows, pa.int32()), pa.array(["x" * 9_000_000]))
    columns = {"type": ["X"] * n_rows, "timestamp": pa.array(range(n_rows), pa.timestamp("s", "UTC")), "text": text}
    pq.write_table(pa.table(columns), tmp_path / "e.parquet")
    assert (tmp_path / "e.parquet").stat().st_size < 1_000_000
    with pytest.raises(FileAccessError, match="holds more than 1073741824 bytes of text in"):
        TextIngest(db_manager).ingest_macro([tmp_path / "e.parquet"], TextIngestOptions(now=NOW))


@pytest.mark.parametrize(
    ("written", "way_out", "followed", "instant"),
    [
        (
            "01/02/2020 7:05 p.m. EST",
            (
                "events.csv: line 2, column timestamp: '01/02/2020' may be 1 February 2020 (%d/%m/%Y) or 2 January "
                "2020 (%m/%d/%Y), and no other date tells which, as none has a day after the 12th; say --date-format "
                "'%d/%m/%Y' or --date-format '%m/%d/%Y'; nothing was written"
            ),
            {"date_format": "%m/%d/%Y"},
            datetime(2020, 1, 3, 0, 5, tzinfo=UTC),
        ),
        (
            "01/31/2024 7:05 PM",
            "name their zone with --assume-timezone",
            {"assume_timezone": "America/New_York"},
            datetime(2024, 2, 1, 0, 5, tzinfo=UTC),
        ),
        (
            '"January 31, 2024"',
            "name their zone with --assume-timezone",
            {"assume_timezone": "America/New_York"},
            datetime(2024, 1, 31, 5, tzinfo=UTC),
        ),
        (
            "202401311905",
            "--date-format, such as %Y%m%d%H%M",
            {"date_format": "%Y%m%d%H%M", "assume_timezone": "UTC"},
            datetime(2024, 1, 31, 19, 5, tzinfo=UTC),
        ),
        ("last Tuesday", "--date-format, such as %d/%m/%Y or %m/%d/%Y", {}, None),
    ],
)  # fmt: skip
def test_a_date_that_leaves_a_doubt_is_refused_with_what_settles_it(
    macro: Ingest,
    db_manager: DatabaseManager,
    written: str,
    way_out: str,
    followed: dict[str, str],
    instant: datetime | None,
) -> None:
    line = f"CPI,{written},US,Prices rose."
    with pytest.raises(DataCheckError) as caught:
        macro(line)
    assert way_out in str(caught.value)
    if instant is not None:
        macro(line, **followed)
        assert events(db_manager, "timestamp") == [(instant,)]


def test_a_release_time_follows_the_clock_of_its_zone(macro: Ingest, db_manager: DatabaseManager) -> None:
    lines = [f"CPI,2024-{day} 08:30,US,Prices of {day}." for day in ("03-08", "03-11", "11-01", "11-04")]
    macro(*lines, assume_timezone="America/New_York", now=datetime(2025, 1, 1, tzinfo=UTC))
    hours = [row[0].hour for row in events(db_manager, "timestamp")]
    assert hours == [13, 12, 12, 13]


DST = {
    "America/New_York": ("2024-03-10", "02:30", "2024-11-03", "01:30", ("05:30", "06:30"), ("-04:00", "-05:00")),
    "Europe/London": ("2024-03-31", "01:30", "2024-10-27", "01:30", ("00:30", "01:30"), ("+01:00", "+00:00")),
}
LATER = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("zone", DST)
@pytest.mark.parametrize("kind", ["macro", "news"])
def test_around_a_change_of_the_clock_every_hour_is_told_or_asked_for(
    db_manager: DatabaseManager, tmp_path: Path, kind: str, zone: str
) -> None:
    spring, missing, autumn, twice, instants, offsets = DST[zone]
    ingest = TextIngest(db_manager)
    take = ingest.ingest_macro if kind == "macro" else ingest.ingest_news
    options = TextIngestOptions(now=LATER, assume_timezone=zone)
    path = tmp_path / "e.csv"
    header, row = ("type,date,text", "X,{},{}") if kind == "macro" else ("source,date,title", "X,{},{}")

    def write(*times: str) -> Path:
        path.write_text("\n".join([header, *(row.format(time, f"at {time}") for time in times), ""]))
        return path

    with pytest.raises(DataCheckError, match=r"refused as time that does not exist.*whose clock shows such a time"):
        take([write(f"{spring} 00:30", f"{spring} {missing}", f"{spring} 03:30")], options)
    with pytest.raises(DataCheckError, match=r"refused as ambiguous time; .*write the offset behind"):
        take([write(f"{autumn} 00:30", f"{autumn} {twice}", f"{autumn} 03:30")], options)
    times = [f"{spring} 00:30", f"{spring} 03:30", *(f"{autumn} {twice}{offset}" for offset in offsets)]
    take([write(*times, f"{autumn} 03:30")], options)
    table, timestamp = ("macro_events", "timestamp") if kind == "macro" else ("news_articles", "published_at")
    with db_manager.get_historical_connection() as connection:
        found = [
            f"{at:%H:%M}" for (at,) in connection.execute(f"SELECT {timestamp} FROM {table} ORDER BY 1").fetchall()
        ]
    hours = {"America/New_York": ("05:30", "07:30", *instants, "08:30")}
    assert found == [*hours.get(zone, ("00:30", "02:30", *instants, "03:30"))]


def test_each_row_may_name_the_zone_of_its_clock(macro: Ingest, db_manager: DatabaseManager) -> None:
    header = "type,date,time,tz,text"
    macro(
        "A,01/31/2024,2:00 PM,America/New_York,a",
        "B,01/31/2024,2:00 PM,EST,b",
        "C,01/31/2024,2:00 PM,+0900,c",
        "D,07/13/2024,2:00 PM,Europe/London,d",
        "E,2024-07-13T14:00Z,,Asia/Tokyo,e",
        header=header,
        now=LATER,
    )
    assert sorted(events(db_manager, "event_type, timestamp")) == [
        ("A", datetime(2024, 1, 31, 19, tzinfo=UTC)),
        ("B", datetime(2024, 1, 31, 19, tzinfo=UTC)),
        ("C", datetime(2024, 1, 31, 5, tzinfo=UTC)),
        ("D", datetime(2024, 7, 13, 13, tzinfo=UTC)),
        ("E", datetime(2024, 7, 13, 14, tzinfo=UTC)),
    ]
    with pytest.raises(DataCheckError, match=r"'01/31/2024 2:00 PM Mars/Olympus' is refused as not a date"):
        macro("A,01/31/2024,2:00 PM,Mars/Olympus,a", header=header)
    with pytest.raises(DataCheckError, match=r"refused as time that does not exist"):
        macro("A,2024-03-10,2:30 AM,America/New_York,a", header=header)


def test_texts_with_garbled_letters_are_counted(macro: Ingest) -> None:
    report = macro("CPI,2024-01-02T10:00Z,US,R&amp;D rose.", "CPI,2024-01-02T10:00Z,US,In ZÃ¼rich.", GOOD)
    (note,) = report.notes
    assert note.startswith(
        "events.csv: 2 texts with HTML entities such as &amp;, or letters such as Ã¼ for ü, are stored"
    )
