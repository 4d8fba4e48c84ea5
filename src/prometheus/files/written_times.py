"""Times as feeds and systems write them: RFC 822, epochs; and the `strptime` formats that read a text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from itertools import product

ZONE_NAMES = {
    "Z": 0, "UTC": 0, "UT": 0, "GMT": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8,
    "PDT": -7,
}  # fmt: skip
"""Hours from UTC of the names that RFC 822 defines; every other name means several zones."""
ZONE = rf"{'|'.join(ZONE_NAMES)}|[+-]\d{{2}}(?::?\d{{2}})?"

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_RFC_822 = re.compile(
    rf"(?:(?P<weekday>{'|'.join(_WEEKDAYS)}), ?)?(?P<day>\d{{1,2}}) (?P<month>{'|'.join(_MONTHS)}) (?P<year>\d{{4}})"
    rf" (?P<hour>\d{{2}}):(?P<minute>\d{{2}})(?::(?P<second>\d{{2}}))?(?: (?P<zone>{ZONE}))?",
    re.ASCII,
)
_EPOCH = re.compile(r"(?P<seconds>\d{9,10})(?P<millis>\d{3})?(?:\.(?P<fraction>\d+))?", re.ASCII)
_LAST_EPOCH = 1_900_000_000
"""Seconds up to March 2030: from there on ten digits may be a date with its hour, 1900010100."""

_DAYS = [
    *(sign.join(parts) for sign in "/-." for parts in (("%d", "%m", "%Y"), ("%m", "%d", "%Y"))),
    "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y", "%d-%b-%Y", "%Y.%m.%d",
]  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p")
_MOST_FORMATS = 2
_OFFSET = re.compile(r"[+-]\d{2}:?\d{2}", re.ASCII)
_BEFORE_CLOCK = re.compile(r"(?:[T ,]+| at )(?=\d{1,2}:\d{2})")


def split_clock(text: str) -> tuple[str, str]:
    """Return what stands before the clock time of a text, and the clock time with its zone, "" for none.

    Examples
    --------
    >>> split_clock("Jan 31, 2024, 7:05 p.m. EST"), split_clock("31/01/2024")
    (('Jan 31, 2024', '7:05 p.m. EST'), ('31/01/2024', ''))
    """
    day, *clock = _BEFORE_CLOCK.split(text.strip(), maxsplit=1)
    return day, clock[0] if clock else ""


def read_rfc_822(text: str) -> datetime | None:
    """Return the time of a date such as ``Wed, 31 Jan 2024 14:00:00 EST``, aware if it says a zone; None if not one.

    Examples
    --------
    >>> read_rfc_822("Wed, 31 Jan 2024 14:00:00 EST").isoformat()
    '2024-01-31T14:00:00-05:00'
    >>> read_rfc_822("Thu, 31 Jan 2024 14:00:00 EST") is None  # it was a Wednesday
    True
    """
    found = _RFC_822.fullmatch(text)
    if found is None:
        return None
    numbers = (int(found[name] or 0) for name in ("day", "hour", "minute", "second"))
    day, hour, minute, second = numbers
    try:
        zone = None if found["zone"] is None else timezone(zone_offset(found["zone"]))
        shown = datetime(int(found["year"]), _MONTHS.index(found["month"]) + 1, day, hour, minute, second, 0, zone)
    except ValueError:
        return None
    return shown if found["weekday"] in (None, _WEEKDAYS[shown.weekday()]) else None


def read_epoch(text: str) -> tuple[datetime, str] | None:
    """Return the instant of seconds (9 or 10 digits) or milliseconds since 1970, and which they are; None if neither.

    Examples
    --------
    >>> read_epoch("1706727900")[0].isoformat(), read_epoch("1706727900500")[1]
    ('2024-01-31T19:05:00+00:00', 'milliseconds since 1970')
    """
    found = _EPOCH.fullmatch(text)
    if found is None or int(found["seconds"]) >= _LAST_EPOCH:
        return None
    unit = "milliseconds" if found["millis"] else "seconds"
    if found["millis"] and len(found["seconds"]) < len(str(_LAST_EPOCH)):  # 12 digits may be YYYYMMDDHHMM
        return None
    digits = f"{found['millis'] or ''}{found['fraction'] or ''}"[:6].ljust(6, "0")
    instant = datetime.fromtimestamp(int(found["seconds"]), UTC) + timedelta(microseconds=int(digits))
    return instant, f"{unit} since 1970"


def zone_offset(zone: str) -> timedelta:
    """Return how far a zone, a name of `ZONE_NAMES` or an offset such as +0100, is ahead of UTC."""
    if zone in ZONE_NAMES:
        return timedelta(hours=ZONE_NAMES[zone])
    digits = zone[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return -offset if zone[0] == "-" else offset


def fixed_offset(zone: str) -> timedelta | None:
    """Return how far ahead of UTC a zone such as +08:00 is; None for one with a name.

    Examples
    --------
    >>> fixed_offset("-05:30"), fixed_offset("Asia/Shanghai")
    (datetime.timedelta(days=-1, seconds=66600), None)
    """
    return zone_offset(zone) if _OFFSET.fullmatch(zone) else None


def formats_of(text: str) -> list[str]:
    """Return the `strptime` formats, two at most, by which a text is a date or a time.

    Examples
    --------
    >>> formats_of("01/31/2024 7:05 PM"), formats_of("01/02/2020")
    (['%m/%d/%Y %I:%M %p'], ['%d/%m/%Y', '%m/%d/%Y'])
    """
    formats = (*(day + clock for clock, day in product(_CLOCKS, _DAYS)), "%Y%m%d%H%M")
    return [form for form in formats if _is_read(text.strip(), form)][:_MOST_FORMATS]


def _is_read(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 -- only whether it can be read counts
    except ValueError:
        return False
    return True
