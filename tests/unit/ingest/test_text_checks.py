from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from prometheus.encoders.texts.documents import MACRO, NEWS, TextTable
from prometheus.errors import UsageError
from prometheus.files.instants import InstantReader
from prometheus.files.tables import RawBatch, Reason
from prometheus.ingest.report import TextIngestOptions
from prometheus.ingest.text_rows import MAX_TEXT_BYTES, body_fault, check_text_rows, read_text_rows

NOW = datetime(2024, 6, 28, 12, tzinfo=UTC)
GOOD_EVENT = {"event_type": "CPI", "timestamp": "2024-01-02T10:00Z", "country": "US", "description": "Prices rose."}
GOOD_NEWS = {"published_at": "2024-01-02T10:00Z", "headline": "Prices rise", "body": "They did."}


def verdict(table: TextTable, row: Mapping[str, str | None], **defaults: str) -> tuple[str, str]:
    columns = {name: pa.array([cell], pa.string()) for name, cell in row.items()}
    batch = RawBatch(np.array([7]), columns)
    readers = {name: InstantReader() for name in (table.timestamp, "known_at")}
    metadata = tuple(name for name in row if name not in table.columns)
    rows = read_text_rows(batch, table, readers, defaults, metadata)
    faults = check_text_rows(rows, table, NOW)
    if faults.is_good.all():
        return "", ""
    return faults.fields[faults.columns[0]], Reason(faults.reasons[0]).label


def test_good_rows_pass() -> None:
    assert verdict(MACRO, GOOD_EVENT) == ("", "")
    assert verdict(NEWS, GOOD_NEWS) == ("", "")


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"event_type": None}, "event_type", "empty text"),
        ({"event_type": "CPI "}, "event_type", "text with outer spaces"),
        ({"event_type": "C\x1fPI"}, "event_type", "text with control characters"),
        ({"country": "U\0S"}, "country", "text with control characters"),
        ({"country": "x" * 129}, "country", "text too long"),
        ({"source": " "}, "source", "text with outer spaces"),
        ({"timestamp": None}, "timestamp", "missing value"),
        ({"timestamp": "2024-01-02"}, "timestamp", "timestamp without zone"),
        ({"timestamp": "1799-12-31T23:59Z"}, "timestamp", "date before 1800"),
        ({"timestamp": "2024-06-28T12:00:01Z"}, "timestamp", "future date"),
        ({"known_at": "soon"}, "known_at", "not a date"),
        ({"known_at": "1700-01-01T00:00Z"}, "known_at", "date before 1800"),
        ({"known_at": "2024-06-28T12:00:01Z"}, "known_at", "future date"),
        ({"timestamp": "2025-01-01T00:00Z", "known_at": None}, "timestamp", "future date"),
        ({"timestamp": "2025-01-01T00:00Z", "known_at": "2025-01-01T00:00Z"}, "known_at", "future date"),
        ({"description": None}, "description", "empty text"),
        ({"description": " \n\u200b\u3000"}, "description", "empty text"),
        ({"description": "a\0b"}, "description", "text with nul"),
        ({"description": "a\x07b"}, "description", "text with control characters"),
        ({"description": "x" * MAX_TEXT_BYTES}, "description", "text too long"),
        ({"note": "a\0"}, "note", "text with nul"),
        ({"note": "x" * 1_001}, "note", "text too long"),
    ],
)
def test_a_bad_event_is_named(change: dict[str, str | None], field: str, reason: str) -> None:
    assert verdict(MACRO, {**GOOD_EVENT, **change}) == (field, reason)


@pytest.mark.parametrize(
    "change",
    [
        {"country": None},
        {"country": ""},
        {"source": None},
        {"known_at": None},
        {"known_at": "2023-12-01T00:00Z"},
        {"timestamp": "2025-01-01T00:00Z", "known_at": "2024-06-28T12:00Z"},
        {"timestamp": "2024-06-28T12:00Z"},
        {"description": "a\tb\r\nc\x0cd \x92quoted\x94"},
        {"description": " outer spaces \n"},
        {"description": "x" * (MAX_TEXT_BYTES - 1)},
        {"note": None},
    ],
)
def test_what_an_event_may_be(change: dict[str, str | None]) -> None:
    assert verdict(MACRO, {**GOOD_EVENT, **change}) == ("", "")


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"headline": None}, "", ""),
        ({"body": "\u200b"}, "", ""),
        ({"headline": " ", "body": None}, "body", "empty text"),
        ({"headline": "a\0", "body": "b"}, "headline", "text with nul"),
        ({"language": "e n\n"}, "language", "text with control characters"),
    ],
)
def test_an_article_needs_a_headline_or_a_body(change: dict[str, str | None], field: str, reason: str) -> None:
    assert verdict(NEWS, {**GOOD_NEWS, **change}) == (field, reason)


def test_a_default_stands_where_the_file_says_nothing() -> None:
    without = {name: cell for name, cell in GOOD_EVENT.items() if name != "event_type"}
    assert verdict(MACRO, without) == ("event_type", "empty text")
    assert verdict(MACRO, without, event_type="CPI") == ("", "")
    batch = RawBatch(np.arange(3), {
        "timestamp": pa.array([GOOD_EVENT["timestamp"]] * 3), "country": pa.array(["DE", "", None]),
        "description": pa.array(["a"] * 3),
    })  # fmt: skip
    readers = {name: InstantReader() for name in ("timestamp", "known_at")}
    column = read_text_rows(batch, MACRO, readers, {"country": "US"}).names["country"]
    assert [column.values[code] for code in column.codes] == ["DE", "US", "US"]


@pytest.mark.parametrize("text", ["é" * (MAX_TEXT_BYTES // 2), "\U0001f600" * (MAX_TEXT_BYTES // 4)])
def test_the_longest_text_is_counted_in_bytes(text: str) -> None:
    assert body_fault(text) is Reason.TEXT_TOO_LONG
    assert body_fault(text[1:]) is Reason.NONE


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"now": NOW.replace(tzinfo=None)}, "needs a zone"),
        ({"on_error": "ignore"}, "--on-error 'ignore'"),
        ({"country": ""}, "--country '': empty text"),
        ({"event_type": "a\n"}, "--event-type"),
        ({"language": "x" * 200}, "--language"),
        ({"source": " x"}, "--source"),
        ({"assume_timezone": "EST5"}, "--assume-timezone 'EST5': no such time zone"),
        ({"date_format": "%H:%M"}, "--date-format '%H:%M': name year, month and day"),
        ({"date_format": "%Y-%m-%d %Z"}, "%Z names no offset; use %z"),
        ({"metadata_columns": ("a", "b", "a")}, "--metadata-column 'a' stands twice"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        TextIngestOptions(**{"now": NOW, **options})


def test_options_of_every_kind_are_accepted() -> None:
    options = TextIngestOptions(now=NOW, date_format="%d.%m.%Y %H:%M:%S %z", assume_timezone="Asia/Tokyo")
    assert replace(options, now=NOW + timedelta(days=1)).columns == {}
