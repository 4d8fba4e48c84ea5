"""How the numbers and dates of a table are written, told from whole columns: never from one row alone.

A decimal comma, a mark between thousands, a currency sign, ``1.2B``, the day before the month: each is taken for meant
where most of the cells can be read so, and no other reading takes as many. Where two readings are left the table is
refused with both of them. A cell that does not fit is left as it is, and refused with its row later.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

MISSING_WORDS = frozenset(
    {"null", "none", "nan", "na", "n/a", "#n/a", "#n/a n/a", "#na", "-", "--", ".", "\u2013", "\u2014", "nd", "n.d."}
)
"""What sources write for a value they do not have, in lower case."""
_TICKER = re.compile(r"[\^$.]?[A-Z0-9][A-Z0-9.\-=^&/: _]*", re.ASCII)
_SIGNS = "$\u20ac\u00a3\u00a5"
_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2019": "'"})
_MULTIPLES = {"k": 3, "m": 6, "b": 9, "t": 12}
_MAX_MARKED = 1_000
_MONTHS = {
    name: number + 1
    for number, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))
}
_TIME = r"(?:[T ,]+\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?)?"
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}.*|\d{4}/\d{1,2}/\d{1,2}.*|\d{8}", re.ASCII)
_DOTTED = re.compile(r"(\d{4})\.(\d{1,2})\.(\d{1,2})" + _TIME, re.ASCII)
_TRIPLE = re.compile(r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4}|\d{2})" + _TIME, re.ASCII)
_WEEKDAY = r"(?:(?P<weekday>[A-Za-z]{3,9}),? )?"
_DAY_MONTH = re.compile(
    _WEEKDAY + r"(?P<day>\d{1,2})[- /](?P<month>[A-Za-z]{3,9})\.?[- /,]+(?P<year>\d{4}|\d{2})" + _TIME, re.ASCII
)
_MONTH_DAY = re.compile(_WEEKDAY + r"(?P<month>[A-Za-z]{3,9})\.? (?P<day>\d{1,2}),? (?P<year>\d{4})" + _TIME, re.ASCII)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EPOCH = re.compile(r"-?\d{9,19}(?:\.0+)?", re.ASCII)
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND = ((11, 1), (14, 10**3), (17, 10**6), (20, 10**9))
"""Up to how many digits an epoch has, and its ticks per second."""


def is_ticker(name: str) -> bool:
    """Return whether the name of a column looks like that of an instrument: capitals, digits and a few signs.

    >>> is_ticker("^GSPC"), is_ticker("7203.T"), is_ticker("Umsatz")
    (True, True, False)
    """
    return _TICKER.fullmatch(name) is not None


def is_missing(text: str) -> bool:
    """Return whether a cell says that there is no value.

    >>> is_missing(" n/a "), is_missing("."), is_missing("0")
    (True, True, False)
    """
    plain = text.strip().casefold()
    return not plain or plain in MISSING_WORDS


@dataclass(frozen=True, slots=True)
class NumberForm:
    """One way to write numbers: the decimal mark, and the one that may stand between thousands."""

    decimal: str = "."
    thousands: str = ""

    def plain(self, text: str) -> str | None:
        """Return a number in digits with a point, None where it is not written this way.

        >>> NumberForm(",", ".").plain("1.234,5"), NumberForm(".", ",").plain("1,23")
        ('1234.5', None)
        """
        if _PATTERNS[self].fullmatch(text) is None:
            return None
        bare = text.replace(self.thousands, "") if self.thousands else text
        return bare.replace(self.decimal, ".")

    def __str__(self) -> str:
        marks = {".": "point", ",": "comma", " ": "space", "'": "apostrophe"}
        grouped = f", thousands by {marks[self.thousands]}" if self.thousands else ""
        return f"decimal {marks[self.decimal]}{grouped}"


NUMBER_FORMS = tuple(
    NumberForm(*marks)
    for marks in ((".", ""), (",", ""), (".", ","), (",", "."), (".", "'"), (".", " "), (",", " "), (",", "'"))
)
"""The ways that can be told; of those that read all cells alike the first is taken."""


def _compile(form: NumberForm) -> re.Pattern[str]:
    mark = re.escape(form.decimal)
    grouped = rf"[1-9]\d{{0,2}}(?:{re.escape(form.thousands)}\d{{3}})+|" if form.thousands else ""
    return re.compile(rf"[+-]?(?:(?:{grouped}\d+)(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?", re.ASCII)


_PATTERNS = {form: _compile(form) for form in NUMBER_FORMS}


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How the numbers of one column are written: their form, a currency sign, letters for thousands and millions."""

    form: NumberForm
    has_sign: bool = False
    has_multiples: bool = False

    def plain(self, text: str) -> str | None:
        """Return a cell as digits with a point, None where it has no value; one that does not fit stays as it is.

        >>> NumberStyle(NumberForm(), has_multiples=True).plain("1.2B")
        '1200000000'
        """
        if is_missing(text):
            return None
        bare, sign, power = _bare(text)
        if (sign and not self.has_sign) or (power and not self.has_multiples):
            return text
        number = self.form.plain(bare)
        if number is None or not power:
            return text if number is None else number
        return f"{Decimal(number).scaleb(power).normalize():f}"


def _bare(text: str) -> tuple[str, str, int]:
    """Return a cell without its currency sign and its letter, that sign, and the power of ten the letter means."""
    bare = text.translate(_SPACES).strip()
    sign = next((mark for mark in _SIGNS if bare.startswith(mark) or bare.endswith(mark)), "")
    bare = bare.strip(sign).strip() if sign else bare
    power = _MULTIPLES.get(bare[-1:].casefold(), 0)
    return (bare[:-1].rstrip() if power else bare), sign, power


@dataclass(frozen=True, slots=True)
class Doubt:
    """A cell with two readings: both, why no other cell decides, and the options that do; `column` may be unnamed."""

    column: str
    text: str
    readings: str
    reason: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.text!r} may be {self.readings}, and {self.reason}; say {self.way_out}"


@dataclass(slots=True)
class _Column:
    n_cells: int = 0
    n_signs: int = 0
    n_multiples: int = 0


@dataclass(slots=True)
class NumberEvidence:
    """Which forms the numbers of a table fit; the decimal mark is that of the whole table.

    `prefers_point` decides for the point where cells such as 1.234 leave it open; `decimal` names the mark by hand.
    """

    prefers_point: bool
    decimal: str | None = None
    _columns: dict[str, _Column] = field(default_factory=dict)
    _fits: Counter[NumberForm] = field(default_factory=Counter)
    _marked: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, texts: Iterable[str]) -> None:
        """Look at further cells of a column."""
        column = self._columns.setdefault(name, _Column())
        for text in texts:
            if is_missing(text):
                continue
            bare, sign, power = _bare(text)
            column.n_cells += 1
            column.n_signs += bool(sign)
            column.n_multiples += bool(power)
            self._fits.update(form for form in NUMBER_FORMS if _PATTERNS[form].fullmatch(bare))
            if len(self._marked) < _MAX_MARKED and not bare.isdigit():
                self._marked.setdefault(bare, name)

    def form(self) -> NumberForm:
        """Return the form that most cells fit."""
        return self._best()[0]

    def doubt(self) -> Doubt | None:
        """Return a cell that two forms read differently, though as many cells fit either."""
        best = self._best()
        if best[0] == NumberForm() and self.prefers_point:
            return None
        for text, name in self._marked.items():
            found = ((form.plain(text), form) for form in reversed(best))
            readings = {float(plain): form for plain, form in found if plain is not None}
            if len(readings) > 1:
                return Doubt(
                    name,
                    text,
                    " or ".join(f"{number:.10g} ({form})" for number, form in sorted(readings.items())),
                    "no other number tells which",
                    "--decimal-mark point or --decimal-mark comma",
                )
        return None

    def _best(self) -> list[NumberForm]:
        forms = [form for form in NUMBER_FORMS if self.decimal in {None, form.decimal}]
        most = max(self._fits[form] for form in forms)
        return [form for form in forms if self._fits[form] == most]

    def styles(self) -> dict[str, NumberStyle]:
        """Return the style of each column."""
        form = self.form()
        return {
            name: NumberStyle(form, 0 < each.n_signs == each.n_cells, 2 * each.n_multiples >= each.n_cells > 0)
            for name, each in self._columns.items()
        }


@dataclass(frozen=True, slots=True)
class DateStyle:
    """How dates are written: ``iso`` is left as it is; the others are turned into it."""

    kind: str = "iso"

    def iso(self, text: str) -> str:
        """Return a date as YYYY-MM-DD; an epoch as its instant in UTC; one of another form as it is.

        >>> DateStyle("day first").iso("31/12/2020 16:00"), DateStyle("month by name").iso("Jan 02, 2020")
        ('2020-12-31', '2020-01-02')
        >>> DateStyle("epoch").iso("1577975400")
        '2020-01-02 14:30:00+00:00'
        """
        read = _READERS.get(self.kind)
        found = None if read is None else read(text.strip())
        return text if found is None else found

    def __str__(self) -> str:
        return {"epoch": "an epoch in UTC", "iso": "ISO"}.get(self.kind, self.kind)


def _from_triple(text: str, *, is_day_first: bool) -> str | None:
    match = _TRIPLE.fullmatch(text)
    if match is None:
        return None
    first, _, second, year = match.groups()
    day, month = (first, second) if is_day_first else (second, first)
    return _iso(year, int(month), int(day))


def _from_dotted(text: str) -> str | None:
    match = _DOTTED.fullmatch(text)
    return None if match is None else _iso(match[1], int(match[2]), int(match[3]))


def _from_names(text: str) -> str | None:
    match = _DAY_MONTH.fullmatch(text) or _MONTH_DAY.fullmatch(text)
    month = _MONTHS.get(match["month"][:3].casefold()) if match is not None else None
    found = _iso(match["year"], month, int(match["day"])) if match is not None and month is not None else None
    if match is None or found is None or match["weekday"] is None:
        return found
    return found if match["weekday"][:3].casefold() == _WEEKDAYS[date.fromisoformat(found).weekday()] else None


def _from_epoch(text: str) -> str | None:
    if _EPOCH.fullmatch(text) is None:
        return None
    ticks = text.partition(".")[0]
    n_digits = len(ticks.removeprefix("-"))
    per_second = next(ticks_per for most, ticks_per in _PER_SECOND if n_digits <= most)
    try:
        instant = _EPOCH_START + timedelta(seconds=int(ticks) // per_second)
    except OverflowError:
        return None
    return f"{instant:%Y-%m-%d %H:%M:%S}+00:00"


def _iso(year: str, month: int, day: int) -> str | None:
    """Return a date; a year of two digits is of the last century from 69 on, as in POSIX."""
    full = int(year) + (0 if len(year) == 4 else 1900 if int(year) >= 69 else 2000)
    try:
        return date(full, month, day).isoformat()
    except ValueError:
        return None


_READERS = {
    "day first": lambda text: _from_triple(text, is_day_first=True),
    "month first": lambda text: _from_triple(text, is_day_first=False),
    "YYYY.MM.DD": _from_dotted,
    "month by name": _from_names,
    "epoch": _from_epoch,
}


@dataclass(slots=True)
class DateEvidence:
    """Which ways to write a date the cells of a column fit."""

    _n_iso: int = 0
    _fits: Counter[str] = field(default_factory=Counter)
    _undecided: str = ""

    def add(self, texts: Iterable[str]) -> None:
        """Look at further cells."""
        for text in texts:
            plain = text.strip()
            if _ISO.fullmatch(plain):
                self._n_iso += 1
                continue
            found = {kind: day for kind, read in _READERS.items() if (day := read(plain)) is not None}
            self._fits.update(found.keys())
            if len({*found.values()}) > 1:
                self._undecided = self._undecided or plain

    def style(self) -> DateStyle:
        """Return the way that most cells fit."""
        return DateStyle(self._best()[0])

    def doubt(self) -> Doubt | None:
        """Return a date whose day and month cannot be told apart, though as many cells fit either reading."""
        return _doubt(self._undecided) if len(self._best()) > 1 and self._undecided else None

    def _best(self) -> list[str]:
        most = max(self._fits.values(), default=0)
        return [kind for kind in _READERS if self._fits[kind] == most] if most > self._n_iso else ["iso"]


def _doubt(text: str) -> Doubt:
    match = _TRIPLE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} has one reading")
    year = "%Y" if len(match[4]) == 4 else "%y"
    clock = text[match.end(4) :]
    for digits in (r"\d{1,2}:\d{2}:\d{2}", r"\d{1,2}:\d{2}"):
        clock = re.sub(digits, "%H:%M:%S"[: 8 if digits.count(":") == 2 else 5], clock)
    formats = [match[2].join((*parts, year)) + clock for parts in (("%d", "%m"), ("%m", "%d"))]
    days = [date.fromisoformat(DateStyle(kind).iso(text)) for kind in ("day first", "month first")]
    shown = " or ".join(f"{day.day} {day:%B %Y} ({form})" for day, form in zip(days, formats, strict=True))
    ways = " or ".join(f"--date-format '{form}'" for form in formats)
    return Doubt("", text, shown, "no other date tells which, as none has a day after the 12th", ways)
