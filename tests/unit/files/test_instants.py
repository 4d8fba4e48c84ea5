import subprocess
import sys
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest

from prometheus.encoders.texts.codes import load_zone
from prometheus.errors import UsageError
from prometheus.files.instants import InstantReader, from_microseconds, parse_timestamp, to_instant
from prometheus.files.tables import Reason

NEW_YORK = load_zone("--assume-timezone", "America/New_York")


def read(texts: list[str | None], zone: str | None = None, date_format: str | None = None) -> list[str]:
    reader = InstantReader(load_zone("--assume-timezone", zone) if zone else None, date_format)
    return shown(reader, pa.array(texts, pa.string()))


def shown(reader: InstantReader, column: pa.Array) -> list[str]:
    found = reader.read(column)
    return [
        Reason(reason).label if reason else from_microseconds(value).isoformat()
        for value, reason in zip(found.values.tolist(), found.reasons.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-01-03T16:30:00Z", "2024-01-03T16:30:00+00:00"),
        ("2024-01-03 16:30 UTC", "2024-01-03T16:30:00+00:00"),
        ("2024-01-03 16:30:00-05:00", "2024-01-03T21:30:00+00:00"),
        ("2024-01-03 16:30:00+0530", "2024-01-03T11:00:00+00:00"),
        ("2024-01-03 16:30:00+05", "2024-01-03T11:30:00+00:00"),
        (" 2024/1/3 9:05+00 ", "2024-01-03T09:05:00+00:00"),
        ("2024-01-03T23:59:59.999999999Z", "2024-01-03T23:59:59.999999+00:00"),
        ("2024-01-03T00:00:00.5Z", "2024-01-03T00:00:00.500000+00:00"),
        ("2024-01-03 16:30 EST", "2024-01-03T21:30:00+00:00"),
        ("20240131T190500Z", "2024-01-31T19:05:00+00:00"),
        ("20240131T190500.25+0100", "2024-01-31T18:05:00.250000+00:00"),
        ("20240131 1905 GMT", "2024-01-31T19:05:00+00:00"),
        ("2024-01-31 7:05 PM GMT", "2024-01-31T19:05:00+00:00"),
        ("2024-01-31 12:05 am UTC", "2024-01-31T00:05:00+00:00"),
        ("2024-01-31 12:05:01PM Z", "2024-01-31T12:05:01+00:00"),
        ("Wed, 31 Jan 2024 14:00:00 EST", "2024-01-31T19:00:00+00:00"),
        ("Wed, 31 Jul 2024 14:00:00 EDT", "2024-07-31T18:00:00+00:00"),
        ("31 Jan 2024 14:00 GMT", "2024-01-31T14:00:00+00:00"),
        ("Wed, 31 Jan 2024 14:00:00 +0100", "2024-01-31T13:00:00+00:00"),
        ("1706727900", "2024-01-31T19:05:00+00:00"),
        ("1706727900.5", "2024-01-31T19:05:00.500000+00:00"),
        ("1706727900123", "2024-01-31T19:05:00.123000+00:00"),
        ("946684799", "1999-12-31T23:59:59+00:00"),
    ],
)
def test_a_timestamp_with_a_zone_needs_no_other(text: str, instant: str) -> None:
    assert read([text]) == [instant]
    assert read([text], "Asia/Tokyo") == [instant]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-01-03 16:30", "2024-01-03T21:30:00+00:00"),
        ("2024-07-03 16:30", "2024-07-03T20:30:00+00:00"),
        ("2024-07-03", "2024-07-03T04:00:00+00:00"),
        ("20240703", "2024-07-03T04:00:00+00:00"),
        ("20240703T163000", "2024-07-03T20:30:00+00:00"),
        ("2024-07-03 4:30 PM", "2024-07-03T20:30:00+00:00"),
        ("Wed, 3 Jul 2024 16:30:00", "2024-07-03T20:30:00+00:00"),
        ("1883-11-18", "1883-11-18T04:56:02+00:00"),
    ],
)
def test_a_timestamp_without_a_zone_is_refused_or_placed(text: str, instant: str) -> None:
    assert read([text]) == ["timestamp without zone"]
    assert read([text], "America/New_York") == [instant]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "missing value"),
        ("  ", "missing value"),
        ("03/04/2024 10:00", "ambiguous date"),
        ("2024-13-01T00:00Z", "not a date"),
        ("2024-02-30T00:00Z", "not a date"),
        ("2024-01-03T24:00Z", "not a date"),
        ("2024-01-03T23:59:60Z", "not a date"),
        ("2024-01-03T10:00+16:00", "not a date"),
        ("2024-01-03T10:00 IST", "not a date"),
        ("Thu, 31 Jan 2024 14:00:00 EST", "not a date"),
        ("Wed, 31 Jan 24 14:00:00 EST", "not a date"),
        ("31 Jan 2024 14:00 CET", "not a date"),
        ("30 Feb 2024 14:00 GMT", "not a date"),
        ("2024-01-31 13:05 PM Z", "not a date"),
        ("2024-01-31 0:05 AM Z", "not a date"),
        ("01/31/2024 7:05 PM", "ambiguous date"),
        ("202401311905", "not a date"),
        ("2024013119", "not a date"),
        ("20240131190500", "timestamp without zone"),
        ("20240131250500", "not a date"),
        ("123456", "not a date"),
        ("June 13, 1996", "not a date"),
        ("0001-01-01T00:00+05:00", "not a date"),
        ("2024-01-03T10:00Z\n", "2024-01-03T10:00:00+00:00"),
        ("\u0662024-01-03T10:00Z", "not a date"),
    ],
)
def test_what_is_no_timestamp_says_why(text: str, reason: str) -> None:
    assert read([text]) == [reason]


def test_times_a_clock_shows_twice_or_never_are_refused() -> None:
    spring = ["2024-03-10 01:59:59", "2024-03-10 02:00", "2024-03-10 02:59:59", "2024-03-10 03:00"]
    autumn = ["2024-11-03 00:59:59", "2024-11-03 01:00", "2024-11-03 01:59:59", "2024-11-03 02:00"]
    assert read([*spring], "US/Eastern") == [
        "2024-03-10T06:59:59+00:00", "time that does not exist", "time that does not exist",
        "2024-03-10T07:00:00+00:00",
    ]  # fmt: skip
    assert read([*autumn], "US/Eastern") == [
        "2024-11-03T04:59:59+00:00", "ambiguous time", "ambiguous time", "2024-11-03T07:00:00+00:00",
    ]  # fmt: skip


def test_a_midnight_may_be_missing_or_double() -> None:
    assert read(["2018-11-04", "2018-02-17 23:30"], "America/Sao_Paulo") == [
        "time that does not exist", "ambiguous time",
    ]  # fmt: skip


def test_a_whole_date_skipped_by_a_zone_does_not_exist() -> None:
    assert read(["2011-12-30 12:00"], "Pacific/Apia") == ["time that does not exist"]


def test_mixed_forms_are_named() -> None:
    mixed = ["2024-01-03T10:00Z", "2024/01/04 10:00Z", "2024-01-05 10:00", None, "2024-01-06 10:00:00.5+01:00"]
    assert read(list(mixed)) == [
        "2024-01-03T10:00:00+00:00", "date in another format", "timestamp without zone", "missing value",
        "2024-01-06T09:00:00.500000+00:00",
    ]  # fmt: skip
    assert read(["2024-01-05 10:00", "2024-01-05", "2024-01-03T10:00Z"], "UTC") == [
        "2024-01-05T10:00:00+00:00", "2024-01-05T00:00:00+00:00", "date in another format",
    ]  # fmt: skip


def test_a_named_format_is_read() -> None:
    assert read(["June 13, 1996"], "UTC", "%B %d, %Y") == ["1996-06-13T00:00:00+00:00"]
    assert read(["13.06.1996 10:00 +0200", "1996-06-13"], None, "%d.%m.%Y %H:%M %z") == [
        "1996-06-13T08:00:00+00:00", "not a date",
    ]  # fmt: skip


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_typed_columns_give_the_same_instants(unit: str) -> None:
    walls = pa.array([datetime(2024, 1, 3, 16, 30), None, datetime(1969, 12, 31)], pa.timestamp(unit))  # noqa: DTZ001
    zoned = walls.cast(pa.timestamp(unit, "Asia/Tokyo"))
    wanted = ["2024-01-03T16:30:00+00:00", "missing value", "1969-12-31T00:00:00+00:00"]
    assert shown(InstantReader(load_zone("x", "UTC")), walls) == wanted
    assert shown(InstantReader(), zoned) == wanted
    assert shown(InstantReader(load_zone("x", "UTC")), walls.dictionary_encode()) == wanted
    assert shown(InstantReader(), walls) == ["timestamp without zone", "missing value", "timestamp without zone"]


def test_nanoseconds_are_cut_and_never_carried_into_the_next_day() -> None:
    last = np.array(["2024-01-03T23:59:59.999999999", "1969-12-31T23:59:59.999999999"], "M8[ns]")
    assert shown(InstantReader(load_zone("x", "UTC")), pa.array(last)) == [
        "2024-01-03T23:59:59.999999+00:00", "1969-12-31T23:59:59.999999+00:00",
    ]  # fmt: skip


def test_dates_alone_are_midnights_without_a_zone() -> None:
    for kind in (pa.date32(), pa.date64()):
        reader = InstantReader(NEW_YORK)
        assert shown(reader, pa.array([date(2024, 7, 3)], kind)) == ["2024-07-03T04:00:00+00:00"]
        assert not reader.has_earlier_midnights
    tokyo = InstantReader(load_zone("x", "Asia/Tokyo"))
    assert shown(tokyo, pa.array([20240703])) == ["2024-07-02T15:00:00+00:00"]
    assert tokyo.has_earlier_midnights


def test_instants_no_calendar_holds_are_refused() -> None:
    ticks = pa.array([2**62, -(2**62)], pa.int64())
    for kind in (pa.timestamp("us"), pa.timestamp("s", "UTC"), pa.timestamp("ms")):
        assert shown(InstantReader(load_zone("x", "UTC")), ticks.cast(kind)) == ["not a date", "not a date"]
    assert to_instant(datetime(1, 1, 1, tzinfo=load_zone("x", "Asia/Tokyo")), None) is Reason.NOT_A_DATE
    assert shown(InstantReader(), pa.nulls(2)) == ["missing value", "missing value"]


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "", "America", "../etc/passwd", "/etc/passwd", "UTC+3", "a\0b", "x" * 999]
)
def test_an_unknown_zone_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=r"--assume-timezone .* no such time zone"):
        load_zone("--assume-timezone", name)


def test_the_form_says_how_a_timestamp_is_written() -> None:
    assert parse_timestamp("2024-01-03") == (datetime(2024, 1, 3), "YYYY-MM-DD")  # noqa: DTZ001
    assert parse_timestamp("2024/01/03 10:00Z") == (datetime(2024, 1, 3, 10, tzinfo=UTC), "YYYY/MM/DD")


def test_reading_stored_texts_does_not_wait_for_pyarrow() -> None:
    code = "import sys, prometheus.data.text_reader; sys.exit('pyarrow' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
