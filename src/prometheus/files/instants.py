"""From columns of timestamps, with or without a zone, to instants in UTC.

Nothing is guessed: a time that a zone's clock shows twice or never is refused, and so is one without a zone unless the
user says which zone is meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.files.column_types import is_text, plain_type
from prometheus.files.convert import (
    AMBIGUOUS_DATE,
    DATE_FORMATS,
    UNITS_PER_DAY,
    TextColumn,
    read_texts,
    read_ticks,
    tick_of_year,
)
from prometheus.files.rejects import Reason

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WALL_EPOCH = EPOCH.replace(tzinfo=None)
_MIDNIGHT = time()
_MICROSECOND = timedelta(microseconds=1)
_LARGEST_OFFSET = timedelta(hours=16)
_MAX_REMEMBERED = 200_000


@dataclass(frozen=True, slots=True, eq=False)
class InstantColumn:
    """Instants as microseconds since 1970-01-01 UTC, shape (n,), with a `Reason` for each that is none (it is 0)."""

    microseconds: Int64Vector
    reasons: NDArray[np.int8]


class InstantReader:
    """Reads one column of timestamps of one file; the first read decides in which form all of them are written.

    Parameters
    ----------
    zone
        Whose clock shows the timestamps that say no zone; None refuses them.
    date_format
        As of `datetime.strptime`, for texts in another form than YYYY-MM-DD, YYYY/MM/DD (both with or without a clock
        time and a zone) and YYYYMMDD.
    """

    def __init__(self, zone: ZoneInfo | None = None, date_format: str | None = None) -> None:
        self._zone, self._date_format = zone, date_format
        self._established: str | None = None
        self._has_earlier_midnights = False
        self._remembered: dict[str, tuple[int, Reason]] = {}

    @property
    def has_earlier_midnights(self) -> bool:
        """Whether a midnight of the zone fell on the day before in UTC: of dates alone, rarely what is meant."""
        return self._has_earlier_midnights

    def read(self, column: pa.Array) -> InstantColumn:
        """Return the instants of a column; a date alone is its midnight, and says no zone."""
        kind = plain_type(column.type)
        if pa.types.is_null(kind):
            n_rows = len(column)
            return InstantColumn(np.zeros(n_rows, np.int64), np.full(n_rows, Reason.MISSING_VALUE, np.int8))
        if is_text(kind):
            return self._read_texts(read_texts(column))
        plain = column if column.type == kind else column.dictionary_decode()
        if pa.types.is_integer(kind):
            return self._read_texts(read_texts(plain.cast(pa.string())))
        return self._read_typed(plain)

    def _read_texts(self, texts: TextColumn) -> InstantColumn:
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.clear()
        read = [self._read_text(text) for text in texts.values]
        microseconds = np.array([value for value, _ in read] + [0], np.int64)
        reasons = np.array([reason for _, reason in read] + [Reason.MISSING_VALUE], np.int8)
        return InstantColumn(microseconds[texts.codes], reasons[texts.codes])

    def _read_text(self, text: str) -> tuple[int, Reason]:
        known = self._remembered.get(text)
        if known is None:
            known = self._remembered[text] = self._read_new_text(text)
        return known

    def _read_new_text(self, text: str) -> tuple[int, Reason]:
        written, form = parse_timestamp(text, self._date_format)
        if isinstance(written, Reason):
            return 0, written
        found = self._place_one(written)
        if found is Reason.TIMESTAMP_WITHOUT_ZONE:
            return 0, found
        form += " with zone" if written.tzinfo is not None else ""
        if form != (self._established or form):
            return 0, Reason.DATE_IN_ANOTHER_FORMAT
        self._established = form
        return (0, found) if isinstance(found, Reason) else (to_microseconds(found), Reason.NONE)

    def _read_typed(self, column: pa.Array) -> InstantColumn:
        ticks, per_day = read_ticks(column)
        is_missing = column.is_null().to_numpy(zero_copy_only=False)
        in_range = (ticks >= tick_of_year(1, per_day)) & (ticks < tick_of_year(9999, per_day))
        reasons = np.where(is_missing, Reason.MISSING_VALUE, np.where(in_range, Reason.NONE, Reason.NOT_A_DATE))
        reasons = reasons.astype(np.int8)
        microseconds = _as_microseconds(np.where(reasons == Reason.NONE, ticks, 0), per_day)
        if not (pa.types.is_timestamp(column.type) and column.type.tz is not None):
            microseconds, zone_reasons = self._place(microseconds)
            reasons = np.where(reasons == Reason.NONE, zone_reasons, reasons)
        return InstantColumn(np.where(reasons == Reason.NONE, microseconds, 0), reasons)

    def _place(self, walls: Int64Vector) -> tuple[Int64Vector, NDArray[np.int8]]:
        """Return the instants at which the zone's clock shows the times, and why it shows some not once."""
        distinct, inverse = np.unique(walls, return_inverse=True)
        placed = [self._place_one(_WALL_EPOCH + int(wall) * _MICROSECOND) for wall in distinct]
        reasons = np.array([item if isinstance(item, Reason) else Reason.NONE for item in placed], np.int8)
        instants = np.array([0 if isinstance(item, Reason) else to_microseconds(item) for item in placed], np.int64)
        return instants[inverse], reasons[inverse]

    def _place_one(self, written: datetime) -> datetime | Reason:
        found = to_instant(written, self._zone)
        if written.tzinfo is None and written.time() == _MIDNIGHT and isinstance(found, datetime):
            self._has_earlier_midnights |= found.date() < written.date()
        return found


def parse_timestamp(text: str, date_format: str | None = None) -> tuple[datetime | Reason, str]:
    """Return the time a text shows, aware if it says a zone, or why it shows none, and the form it is written in.

    Digits beyond microseconds are cut, not rounded: that could carry a time into the next day.

    Examples
    --------
    >>> parse_timestamp("2024-01-03 16:30-05:00")[0].isoformat()
    '2024-01-03T16:30:00-05:00'
    >>> parse_timestamp("01/03/2024 16:30")[0].label
    'ambiguous date'
    """
    text = text.strip()
    if not text:
        return Reason.MISSING_VALUE, ""
    if date_format is not None:
        try:
            return datetime.strptime(text, date_format), date_format  # noqa: DTZ007 -- without %z it has no zone yet
        except ValueError:
            return Reason.NOT_A_DATE, ""
    for form, pattern in DATE_FORMATS.items():
        match = pattern.fullmatch(text)
        if match is not None:
            return _build(match), form
    return (Reason.AMBIGUOUS_DATE if AMBIGUOUS_DATE.fullmatch(text) else Reason.NOT_A_DATE), ""


def _build(match: re.Match[str]) -> datetime | Reason:
    parts = match.groupdict()
    year, month, day = (int(part) for part in match.group(1, 2, 3))
    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    fraction = int((parts.get("fraction") or "")[:6].ljust(6, "0"))
    zone = parts.get("zone")
    offset = _offset(zone) if zone else None
    if offset is not None and abs(offset) >= _LARGEST_OFFSET:
        return Reason.NOT_A_DATE
    try:
        tz = None if offset is None else timezone(offset)
        return datetime(year, month, day, hour, minute, second, fraction, tz)
    except ValueError:
        return Reason.NOT_A_DATE


def _offset(zone: str) -> timedelta:
    if zone in {"Z", "UTC"}:
        return timedelta()
    digits = zone[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return -offset if zone[0] == "-" else offset


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
    per_day_wanted = UNITS_PER_DAY["us"]
    return ticks * (per_day_wanted // per_day) if per_day <= per_day_wanted else ticks // (per_day // per_day_wanted)
