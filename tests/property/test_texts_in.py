"""Texts on their way in: times through clock changes, cells over lines, and a sample that never knows its future."""

import csv
import io
import tempfile
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of

from prometheus.errors import DataCheckError
from prometheus.files import csv_lines
from prometheus.files.columns import MACRO_FIELDS
from prometheus.files.instant_styles import find_instant_style
from prometheus.files.instants import InstantReader, from_microseconds, to_instant
from prometheus.files.opening import open_text_table
from prometheus.files.tables import Reason
from prometheus.ingest.sample.macro_events import DayLevels, MacroEvent, load_macro_levels, tell_macro_events

ZONES = [ZoneInfo(name) for name in ("America/New_York", "Europe/London", "Asia/Tokyo", "America/Sao_Paulo",
                                     "Pacific/Apia", "Australia/Lord_Howe", "America/St_Johns", "UTC")]  # fmt: skip

instants = st.datetimes(datetime(1950, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
zones = st.sampled_from(ZONES)


@st.composite
def near_a_clock_change(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    """Return a zone and an instant within two hours of a change of its clock."""
    zone = draw(zones)
    early = draw(instants)
    late = early + timedelta(days=200)
    if early.astimezone(zone).utcoffset() == late.astimezone(zone).utcoffset():
        return zone, early
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) // 2
        same = middle.astimezone(zone).utcoffset() == early.astimezone(zone).utcoffset()
        early, late = (middle, late) if same else (early, middle)
    return zone, (late + timedelta(minutes=draw(st.integers(-120, 120)))).replace(microsecond=0)


@given(case=near_a_clock_change())
def test_a_time_without_zone_is_read_back_or_refused_because_the_clock_shows_it_twice(
    case: tuple[ZoneInfo, datetime],
) -> None:
    zone, instant = case
    wall = instant.astimezone(zone).replace(tzinfo=None, fold=0)
    found = to_instant(wall, zone)
    others = [other for hours in range(-12, 13) for half in (0, 30) if (other := instant + timedelta(
        hours=hours, minutes=half)) != instant and other.astimezone(zone).replace(tzinfo=None) == wall]  # fmt: skip
    assert found == (instant if not others else Reason.AMBIGUOUS_TIME)


@given(case=near_a_clock_change(), minutes=st.integers(-180, 180))
def test_what_is_read_is_what_the_clock_shows(case: tuple[ZoneInfo, datetime], minutes: int) -> None:
    zone, instant = case
    wall = instant.astimezone(zone).replace(tzinfo=None, fold=0) + timedelta(minutes=minutes)
    found = to_instant(wall, zone)
    if isinstance(found, datetime):
        assert found.astimezone(zone).replace(tzinfo=None, fold=0) == wall
    elif found is Reason.TIME_THAT_DOES_NOT_EXIST:
        shown = {(instant + timedelta(seconds=n)).astimezone(zone).replace(tzinfo=None, fold=0)
                 for n in range(-400 * 60, 400 * 60, 60)}  # fmt: skip
        assert wall not in shown


@given(instant=instants, zone=zones)
def test_texts_and_typed_columns_of_an_instant_agree(instant: datetime, zone: ZoneInfo) -> None:
    shown = instant.astimezone(zone)
    offset = shown.utcoffset() or timedelta()
    as_text = shown.isoformat(sep=" ") if not offset.total_seconds() % 60 else instant.isoformat()
    for column in (pa.array([as_text]), pa.array([instant], pa.timestamp("us", zone.key))):
        found = InstantReader(zone).read(column)
        assert (from_microseconds(int(found.values[0])), found.reasons.tolist()) == (instant, [0])


DAYS = {
    "day first": ("%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d/%m/%y"),
    "month first": ("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y"),
    "month by name": ("%b %d, %Y", "%B %d, %Y", "%A, %B %d, %Y", "%d %b %Y", "%d-%b-%y", "%a, %d %b %Y"),
    "iso": ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d"),
}
CLOCKS = ("%H:%M:%S", "%I:%M:%S %p", "%I:%M:%S%p", "%I:%M:%S %q")
HOURS_AHEAD = {" GMT": 0, " EST": -5, " +0530": 5.5, "+01:00": 1, "": 0}


def written(instant: datetime, day: str, between: str, clock: str, zone: str) -> str:
    shown = instant + timedelta(hours=HOURS_AHEAD[zone])
    half = "p.m." if shown.hour >= 12 else "a.m."
    return shown.strftime(f"{day}{between}{clock.replace('%q', half)}") + zone


def read_column(texts: list[str], date_format: str | None = None) -> list[datetime]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "e.csv")
        path.write_text("\n".join(["type,date,text", *(f'X,"{text}",a' for text in texts), ""]))
        table = open_text_table(path, MACRO_FIELDS, {"description"}, {})
        style = find_instant_style(table, "timestamp") if date_format is None else None
        reader = InstantReader(ZoneInfo("UTC"), date_format, style)
        read = [reader.read(batch.columns["timestamp"]) for batch in table.batches()]
    assert not any(column.reasons.any() for column in read), texts
    return [from_microseconds(int(value)) for column in read for value in column.values]


@settings(max_examples=share_of(300), deadline=None)
@given(data=st.data())
def test_an_instant_in_any_form_of_a_column_that_tells_its_order_is_that_instant(data: st.DataObject) -> None:
    times = st.datetimes(datetime(1970, 1, 3), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    found = [time.replace(microsecond=0) for time in data.draw(st.lists(times, min_size=1, max_size=6))]
    order = data.draw(st.sampled_from(sorted(DAYS)))
    day, clock = data.draw(st.sampled_from(DAYS[order])), data.draw(st.sampled_from(CLOCKS))
    between, zone = data.draw(st.sampled_from(" ,T")), data.draw(st.sampled_from(sorted(HOURS_AHEAD)))
    if day == "%Y%m%d":
        between, clock = " ", "%H:%M:%S"
    texts = [written(time, day, {",": ", "}.get(between, between), clock, zone) for time in found]
    days = [(time + timedelta(hours=HOURS_AHEAD[zone])).day for time in found]
    if order in {"iso", "month by name"} or max(days) > 12:
        assert read_column(texts) == found
        return
    months = [(time + timedelta(hours=HOURS_AHEAD[zone])).month for time in found]
    if days == months:
        assert read_column(texts) == found
        return
    with pytest.raises(DataCheckError, match=r"e\.csv: line \d+, column date: .* may be .* or .*") as refused:
        read_column(texts)
    ways = str(refused.value).partition("say ")[2].partition(";")[0]
    formats = [way.removeprefix("--date-format ").strip("'") for way in ways.split(" or ")]
    assert day in formats
    assert read_column(texts, day) == found


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20) | st.text(
    st.sampled_from('ab",\n\r é'), min_size=1, max_size=12
)


@settings(deadline=None)
@given(rows=st.lists(cells, min_size=1, max_size=12), size=st.integers(8, 200), end=st.sampled_from(["\n", "\r\n"]))
def test_whatever_a_csv_writer_writes_is_read_back(rows: list[str], size: int, end: str) -> None:
    buffer = io.StringIO(newline="")
    # some versions of the writer leave a lone carriage return bare, where no reader can tell it from a line end
    is_bare = any("\r" in text for text in rows)
    writer = csv.writer(buffer, lineterminator=end, quoting=csv.QUOTE_ALL if is_bare else csv.QUOTE_MINIMAL)
    writer.writerow(["type", "date", "text"])
    writer.writerows([["X", str(number), text] for number, text in enumerate(rows)])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines, "BLOCK_BYTES", size)
        path = Path(folder, "e.csv")
        path.write_bytes(buffer.getvalue().encode())
        batches = list(open_text_table(path, MACRO_FIELDS, {"description"}, {}).batches())
    assert [line for batch in batches for line in batch.malformed] == []
    assert [text for batch in batches for text in batch.columns["description"].to_pylist()] == rows


@settings(deadline=None)
@given(
    rows=st.lists(cells.filter(lambda text: "\n" not in text and "\r" not in text), min_size=1, max_size=12),
    data=st.data(),
)
def test_a_quote_that_opens_and_never_closes_costs_one_row(rows: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows)))
    quoted = ['X,1,"{}"'.format(text.replace('"', '""')) for text in rows]
    lines = [*quoted[:at], 'X,1,"never closed', *quoted[at:]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "e.csv")
        path.write_bytes("\n".join(["type,date,text", *lines, ""]).encode())
        batches = list(open_text_table(path, MACRO_FIELDS, {"description"}, {}).batches())
    assert [(line.row, line.reason) for batch in batches for line in batch.malformed] == [
        (at + 2, Reason.BROKEN_QUOTES)
    ]
    assert [text for batch in batches for text in batch.columns["description"].to_pylist()] == rows


@cache
def sample() -> tuple[list[DayLevels], list[MacroEvent]]:
    levels = load_macro_levels()
    return levels, list(tell_macro_events(levels))


@settings(max_examples=share_of(30), deadline=None)
@given(n_days=st.integers(30, 9_673))
def test_later_levels_never_change_an_earlier_sentence(n_days: int) -> None:
    levels, events = sample()
    known = list(tell_macro_events(levels[:n_days]))
    assert known == events[: len(known)]
    last_week = levels[n_days - 1].day.isocalendar()[:2]
    assert len(known) == sum(event.timestamp.isocalendar()[:2] < last_week for event in events)


@settings(max_examples=share_of(30), deadline=None)
@given(n_days=st.integers(60, 400), change=st.integers(-300, 300), data=st.data())
def test_a_week_is_told_from_its_own_days_and_earlier_ones(n_days: int, change: int, data: st.DataObject) -> None:
    levels = sample()[0][:n_days]
    at = data.draw(st.integers(0, n_days - 1))
    changed = [
        *levels[:at],
        DayLevels(levels[at].day, {k: v + change for k, v in levels[at].values.items()}),
        *levels[at + 1 :],
    ]
    before = [event for event in tell_macro_events(levels) if event.timestamp.date() < levels[at].day]
    after = [event for event in tell_macro_events(changed) if event.timestamp.date() < levels[at].day]
    assert before == after


def test_the_sample_begins_where_its_levels_allow_a_month_of_change() -> None:
    assert sample()[1][0].timestamp.date() == date(1999, 2, 5)
