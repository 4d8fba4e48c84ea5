"""From Arrow columns of dates and timestamps to numpy: calendar dates, and instants in UTC.

Nothing is guessed: the first value read decides in which form all of a column are written, a time that a zone's clock
shows twice or never is refused, and so is one without a zone unless the user says which zone is meant.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.files.columns import TextColumn, is_text, plain_type, read_texts
from prometheus.files.tables import Reason
from prometheus.files.written_times import ZONE, fixed_offset, read_epoch, read_rfc_822, split_clock, zone_offset
from prometheus.market.written import DateStyle

_CLOCK = (
    r"(?:(?:[T ]|, ?)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?"
    rf"(?: ?(?P<half>[AaPp](?:[Mm]|\.[Mm]\.)))?(?: ?(?P<zone>{ZONE}))?)?"
)
_COMPACT_CLOCK = (
    r"(?:[T ](?P<hour>\d{2}):?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?"
    rf"(?: ?(?P<zone>{ZONE}))?)?"
)
_FORMS = {
    "YYYY-MM-DD": re.compile(r"(\d{4})-(\d{2})-(\d{2})" + _CLOCK, re.ASCII),
    "YYYY/MM/DD": re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})" + _CLOCK, re.ASCII),
    "YYYYMMDD": re.compile(r"(\d{4})(\d{2})(\d{2})" + _COMPACT_CLOCK, re.ASCII),
    "YYYYMMDDHHMMSS": re.compile(r"(\d{4})(\d{2})(\d{2})(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})", re.ASCII),
}
_AMBIGUOUS = re.compile(r"\d{1,2}[-/. ]\d{1,2}[-/. ](?:\d{4}|\d{2})" + _CLOCK, re.ASCII)
_IANA = re.compile(r"(?P<time>.*\S) +\[?(?P<zone>[A-Z][A-Za-z]+/[A-Za-z0-9_+\-/]+)\]?", re.ASCII)
_UNITS_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}

DAY = 86_400_000_000
"""In microseconds."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = EPOCH.toordinal()
_WALL_EPOCH = EPOCH.replace(tzinfo=None)
_MIDNIGHT, _NOON = time(), 12
_MICROSECOND = timedelta(microseconds=1)
_LARGEST_OFFSET = timedelta(hours=16)
_MAX_REMEMBERED = 200_000
_LONGEST_DATE, _MINUTES_PER_DAY = len("2024-01-31"), 1440


@dataclass(frozen=True, slots=True, eq=False)
class TimeColumn:
    """Days or microseconds since 1970-01-01 UTC, shape (n,); 0, with a `Reason`, where none could be read."""

    values: Int64Vector
    reasons: NDArray[np.int8]


class _TimeReader(ABC):
    def __init__(self, date_format: str | None = None) -> None:
        self._date_format = date_format
        self._established: str | None = None
        self._remembered: dict[str, tuple[int, Reason]] = {}

    def read(self, column: pa.Array) -> TimeColumn:
        """Return the dates or instants of a column of texts, dates, timestamps or integers such as 20240131."""
        kind = plain_type(column.type)
        if pa.types.is_null(kind):
            n_rows = len(column)
            return TimeColumn(np.zeros(n_rows, np.int64), np.full(n_rows, Reason.MISSING_VALUE, np.int8))
        if is_text(kind):
            return self._read_texts(read_texts(column))
        plain = column if column.type == kind else column.dictionary_decode()
        if pa.types.is_integer(kind):
            return self._read_texts(read_texts(plain.cast(pa.string())))
        return self._read_typed(plain)

    def _read_texts(self, texts: TextColumn) -> TimeColumn:
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.clear()
        for text in texts.values:
            if text not in self._remembered:
                self._remembered[text] = self._read_new_text(text)
        read = [*map(self._remembered.__getitem__, texts.values), (0, Reason.MISSING_VALUE)]
        values, reasons = np.array([value for value, _ in read]), np.array([reason for _, reason in read], np.int8)
        return TimeColumn(values[texts.codes], reasons[texts.codes])

    def _is_of_another_form(self, form: str) -> bool:
        self._established = self._established or form
        return form != self._established

    @abstractmethod
    def _read_new_text(self, text: str) -> tuple[int, Reason]: ...

    @abstractmethod
    def _read_typed(self, column: pa.Array) -> TimeColumn: ...


class DateReader(_TimeReader):
    """Reads calendar dates: YYYY-MM-DD (a clock time may follow), YYYY/MM/DD, YYYYMMDD or a `strptime` format.

    A stamp that says both a zone and a time of day other than midnight is an instant; its date is that of the clock of
    `zone`, the market's own, and `n_dated_by_zone` counts those whose date that changes. Every other one means the date
    it shows.
    """

    def __init__(self, date_format: str | None = None, zone: ZoneInfo | None = None) -> None:
        super().__init__(date_format)
        self._zone = zone
        self.n_dated_by_zone = 0

    def _read_new_text(self, text: str) -> tuple[int, Reason]:
        found, form = parse_date(text, self._date_format)
        if isinstance(found, Reason):
            return 0, found
        if self._is_of_another_form(form):
            return 0, Reason.DATE_IN_ANOTHER_FORMAT
        if self._zone is not None and len(text) > _LONGEST_DATE:
            found = self._date_by_zone(text, found, self._zone)
        return found.toordinal() - _FIRST_DAY, Reason.NONE

    def _date_by_zone(self, text: str, shown: date, zone: ZoneInfo) -> date:
        written, _ = parse_timestamp(text, self._date_format)
        if isinstance(written, Reason) or written.tzinfo is None or written.time() == _MIDNIGHT:
            return shown
        try:
            day = written.astimezone(zone).date()
        except OverflowError:  # at the ends of the calendar
            return shown
        self.n_dated_by_zone += int(day != shown)
        return day

    def _read_typed(self, column: pa.Array) -> TimeColumn:
        reasons = np.where(column.is_null().to_numpy(zero_copy_only=False), Reason.MISSING_VALUE, Reason.NONE)
        ticks, per_day = _read_ticks(column)
        days = ticks // per_day
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            in_range = _is_in_calendar(ticks, per_day)
            shown = pc.if_else(pa.array(in_range), column, None)
            days = np.where(in_range, self._local_days(shown, per_day), np.iinfo(np.int64).max)
        reasons = np.where(_is_in_calendar(days, 1) | (reasons != Reason.NONE), reasons, Reason.NOT_A_DATE).astype(
            np.int8
        )
        return TimeColumn(np.where(reasons == Reason.NONE, days, 0), reasons)

    def _local_days(self, column: pa.Array, per_day: int) -> Int64Vector:
        days, within_day = _local_ticks(column, per_day)
        is_within_day = within_day != 0
        if self._zone is None or not is_within_day.any():
            return days
        at_market = column.cast(pa.timestamp(column.type.unit, self._zone.key))
        market_days = np.where(is_within_day, _local_ticks(at_market, per_day)[0], days)
        self.n_dated_by_zone += int((market_days != days).sum())
        return market_days


class InstantReader(_TimeReader):
    """Reads instants: the forms of a date, with or without a clock time and a zone; a date alone is its midnight.

    `zone` is the one whose clock shows the timestamps that say no zone; None refuses them. `style` is how the dates of
    the column are written, where in another form. `has_earlier_midnights` tells that a midnight of the
    zone fell on the day before in UTC: of dates alone, rarely what is meant.
    """

    def __init__(
        self, zone: ZoneInfo | None = None, date_format: str | None = None, style: DateStyle | None = None
    ) -> None:
        super().__init__(date_format)
        self._zone, self._style = zone, style
        self.has_earlier_midnights = False

    def _read_new_text(self, text: str) -> tuple[int, Reason]:
        if self._style is not None:
            day, clock = split_clock(text)
            text = f"{self._style.iso(day)} {clock}"
        text, zone = self._zone_of(text)
        written, form = parse_timestamp(text, self._date_format)
        if isinstance(written, Reason):
            return 0, written
        found = self._place_one(written, zone)
        if found is Reason.TIMESTAMP_WITHOUT_ZONE:
            return 0, found
        form += " with zone" if self._says_more(written, zone) else ""
        if self._is_of_another_form(form):
            return 0, Reason.DATE_IN_ANOTHER_FORMAT
        return (0, found) if isinstance(found, Reason) else (to_microseconds(found), Reason.NONE)

    def _read_typed(self, column: pa.Array) -> TimeColumn:
        ticks, per_day = _read_ticks(column)
        is_missing = column.is_null().to_numpy(zero_copy_only=False)
        of_range = np.where(_is_in_calendar(ticks, per_day), Reason.NONE, Reason.NOT_A_DATE)
        reasons = np.where(is_missing, Reason.MISSING_VALUE, of_range).astype(np.int8)
        microseconds = _as_microseconds(np.where(reasons == Reason.NONE, ticks, 0), per_day)
        if not (pa.types.is_timestamp(column.type) and column.type.tz is not None):
            microseconds, zone_reasons = self._place(microseconds)
            reasons = np.where(reasons == Reason.NONE, zone_reasons, reasons)
        return TimeColumn(np.where(reasons == Reason.NONE, microseconds, 0), reasons)

    def _place(self, walls: Int64Vector) -> tuple[Int64Vector, NDArray[np.int8]]:
        distinct, inverse = np.unique(walls, return_inverse=True)
        placed = [self._place_one(_WALL_EPOCH + int(wall) * _MICROSECOND, self._zone) for wall in distinct]
        reasons = np.array([item if isinstance(item, Reason) else Reason.NONE for item in placed], np.int8)
        instants = np.array([0 if isinstance(item, Reason) else to_microseconds(item) for item in placed], np.int64)
        return instants[inverse], reasons[inverse]

    def _says_more(self, written: datetime, zone: ZoneInfo | None) -> bool:
        """Return whether a time names its zone though the clock of the reader's zone shows it once, or never."""
        if written.tzinfo is None and zone is self._zone:
            return False
        shown = written.replace(tzinfo=None)
        return self._zone is None or to_instant(shown, self._zone) is not Reason.AMBIGUOUS_TIME

    def _zone_of(self, text: str) -> tuple[str, ZoneInfo | None]:
        """Return a text without the IANA zone that it ends in, and that zone, else the reader's own."""
        if "/" in text and (named := _IANA.fullmatch(text.strip())):
            with suppress(LookupError, ValueError, OSError):  # OSError: the name of a folder of zones
                return named["time"], ZoneInfo(named["zone"])
        return text, self._zone

    def _place_one(self, written: datetime, zone: ZoneInfo | None) -> datetime | Reason:
        found = to_instant(written, zone)
        if written.tzinfo is None and written.time() == _MIDNIGHT and isinstance(found, datetime):
            self.has_earlier_midnights |= found.date() < written.date()
        return found


class ReleaseReader(InstantReader):
    """Reads instants of publication; a date alone is its noon, in UTC where no zone is named.

    Noon lies on that date in nearly every zone, so that what was published on a date counts on no earlier one.
    """

    def _place_one(self, written: datetime, zone: ZoneInfo | None) -> datetime | Reason:
        if written.tzinfo is not None or written.time() != _MIDNIGHT:
            return super()._place_one(written, zone)
        return to_instant(written.replace(hour=_NOON), zone or ZoneInfo("UTC"))


def parse_date(text: str, date_format: str | None = None) -> tuple[date | Reason, str]:
    """Return the date a text names, or why it names none, and the form it is written in.

    Examples
    --------
    >>> parse_date("2022-01-03 00:00:00+08:00")
    (datetime.date(2022, 1, 3), 'YYYY-MM-DD')
    >>> parse_date("03/04/2021")[0].label
    'ambiguous date'
    """
    found, form = _find_form(text, date_format)
    if not isinstance(found, re.Match):
        return (found.date() if isinstance(found, datetime) else found), form
    try:
        return date(*map(int, found.group(1, 2, 3))), form
    except ValueError:
        return Reason.NOT_A_DATE, form


def _find_form(text: str, date_format: str | None) -> tuple[re.Match[str] | datetime | Reason, str]:
    text = text.strip()
    if not text:
        return Reason.MISSING_VALUE, ""
    if date_format is not None:
        return _read_format(text, date_format), date_format
    for form, pattern in _FORMS.items():
        match = pattern.fullmatch(text)
        if match is not None:
            return match, form
    return (Reason.AMBIGUOUS_DATE if _AMBIGUOUS.fullmatch(text) else Reason.NOT_A_DATE), ""


def _read_format(text: str, date_format: str) -> re.Match[str] | datetime | Reason:
    """Return what a format reads; after a format of the date alone, a clock time may stand as anywhere else."""
    day, clock = split_clock(text)
    for written in (text, day):
        with suppress(ValueError):
            found = datetime.strptime(written, date_format)  # noqa: DTZ007 -- without %z it has no zone yet
            if written == text:
                return found
            return _FORMS["YYYY-MM-DD"].fullmatch(f"{found.date()} {clock}") or Reason.NOT_A_DATE
    return Reason.NOT_A_DATE


def parse_timestamp(text: str, date_format: str | None = None) -> tuple[datetime | Reason, str]:
    """Return the time a text shows, aware if it says a zone, or why it shows none, and the form it is written in.

    Examples
    --------
    >>> parse_timestamp("2024-01-03 16:30-05:00")[0].isoformat()
    '2024-01-03T16:30:00-05:00'
    >>> parse_timestamp("01/03/2024 16:30")[0].label
    'ambiguous date'
    """
    found, form = _find_form(text, date_format)
    if found is Reason.NOT_A_DATE and date_format is None:
        return _read_written(text.strip())
    return (_build(found) if isinstance(found, re.Match) else found), form


def _read_written(text: str) -> tuple[datetime | Reason, str]:
    shown = read_rfc_822(text)
    return (shown, "RFC 822") if shown is not None else read_epoch(text) or (Reason.NOT_A_DATE, "")


def _build(match: re.Match[str]) -> datetime | Reason:
    parts = match.groupdict()
    year, month, day = (int(part) for part in match.group(1, 2, 3))
    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    if half := parts.get("half"):
        if not 1 <= hour <= _NOON:
            return Reason.NOT_A_DATE
        hour = hour % _NOON + (_NOON if half[0] in "Pp" else 0)
    # digits beyond microseconds are cut: rounding could carry a time into the next day
    fraction = int((parts.get("fraction") or "")[:6].ljust(6, "0"))
    zone = parts.get("zone")
    offset = zone_offset(zone) if zone else None
    if offset is not None and abs(offset) >= _LARGEST_OFFSET:
        return Reason.NOT_A_DATE
    try:
        tz = None if offset is None else timezone(offset)
        return datetime(year, month, day, hour, minute, second, fraction, tz)
    except ValueError:
        return Reason.NOT_A_DATE


def to_instant(written: datetime, zone: ZoneInfo | None) -> datetime | Reason:
    """Return the instant in UTC at which a clock shows a time; `zone` is that of a time which says none.

    Examples
    --------
    >>> new_york = ZoneInfo("America/New_York")
    >>> to_instant(datetime(2024, 1, 3, 16, 30), new_york).isoformat()
    '2024-01-03T21:30:00+00:00'
    >>> to_instant(datetime(2024, 3, 10, 2, 30), new_york).label
    'time that does not exist'
    >>> to_instant(datetime(2024, 11, 3, 1, 30), new_york).label
    'ambiguous time'
    """
    try:
        if written.tzinfo is not None:
            return written.astimezone(UTC)
        if zone is None:
            return Reason.TIMESTAMP_WITHOUT_ZONE
        first, second = (written.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first == second:
            return first
        is_shown = first.astimezone(zone).replace(tzinfo=None) == written
    except OverflowError:  # at the ends of the calendar
        return Reason.NOT_A_DATE
    return Reason.AMBIGUOUS_TIME if is_shown else Reason.TIME_THAT_DOES_NOT_EXIST


def to_microseconds(instant: datetime) -> int:
    """Return the microseconds since 1970-01-01 UTC."""
    return (instant - EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the instant in UTC."""
    return EPOCH + timedelta(microseconds=microseconds)


def _as_microseconds(ticks: Int64Vector, per_day: int) -> Int64Vector:
    per_day_wanted = _UNITS_PER_DAY["us"]
    return ticks * (per_day_wanted // per_day) if per_day <= per_day_wanted else ticks // (per_day // per_day_wanted)


def _local_ticks(column: pa.Array, per_day: int) -> tuple[Int64Vector, Int64Vector]:
    """Return days and ticks within them by the clock of the zone of a column, shape (n,) each; nulls as `_read_ticks`.

    Offsets such as +08:00 are added here: pyarrow 18 knows zones by their names alone.
    """
    offset = fixed_offset(column.type.tz)
    ticks, _ = _read_ticks(pc.local_timestamp(column) if offset is None else column)
    ahead = 0 if offset is None else offset // timedelta(minutes=1) * (per_day // _MINUTES_PER_DAY)
    within_day = ticks % per_day + ahead
    return ticks // per_day + within_day // per_day, within_day % per_day


def _read_ticks(column: pa.Array) -> tuple[Int64Vector, int]:
    if pa.types.is_date32(column.type):
        column, per_day = column.cast(pa.int32()), 1
    else:
        per_day = _UNITS_PER_DAY["ms" if pa.types.is_date64(column.type) else column.type.unit]
    ticks = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return ticks.astype(np.int64), per_day


def _is_in_calendar(ticks: Int64Vector, per_day: int) -> NDArray[np.bool_]:
    """Return which ticks lie in the years 1 to 9998, as far as 64 bits hold them."""
    limits = np.iinfo(np.int64)
    first, end = ((date(year, 1, 1).toordinal() - _FIRST_DAY) * per_day for year in (1, 9999))
    return (ticks >= max(first, limits.min)) & (ticks < min(end, limits.max))
