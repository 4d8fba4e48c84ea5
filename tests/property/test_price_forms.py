"""However a table of prices is written, as long as one can tell: the same rows. What cannot be told is refused."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of

from prometheus.errors import DataCheckError
from prometheus.files.instants import DateReader
from prometheus.files.price_tables import PriceQuestion, open_prices
from prometheus.ingest.checks import NUMBER_NAMES, check_prices, read_price_rows

Bar = tuple[date, tuple[Decimal, ...]]
X = PriceQuestion("X")
FIELDS = ("open", "high", "low", "close", "volume")
few = settings(max_examples=share_of(200), deadline=None)

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
DATES: dict[str, Callable[[date], str]] = {
    "ISO": lambda day: day.isoformat(),
    "slashes": lambda day: f"{day.year}/{day.month}/{day.day}",
    "digits": lambda day: f"{day:%Y%m%d}",
    "day first": lambda day: f"{day:%d/%m/%Y}",
    "day first, dots, two digits": lambda day: f"{day.day}.{day.month}.{day:%y}",
    "month first": lambda day: f"{day.month}/{day.day}/{day.year}",
    "month first, a clock": lambda day: f"{day:%m-%d-%Y} 16:00:00",
    "year first, dots": lambda day: f"{day:%Y.%m.%d}",
    "month by name": lambda day: f"{MONTHS[day.month - 1]} {day.day:02}, {day.year}",
    "day, then month by name": lambda day: f"{day.day}-{MONTHS[day.month - 1]}-{day.year}",
    "epoch seconds": lambda day: str((day - date(1970, 1, 1)).days * 86_400),
    "epoch milliseconds": lambda day: str((day - date(1970, 1, 1)).days * 86_400_000),
}
MARKS = [
    (".", ""),
    (".", ","),
    (".", "'"),
    (".", " "),
    (".", "\u00a0"),
    (",", ""),
    (",", "."),
    (",", " "),
    (",", "\u2019"),
]


@dataclass(frozen=True, slots=True)
class Writing:
    """One way to write a table."""

    separator: str
    marks: tuple[str, str]
    quotes_all: bool
    dates: str
    header: str
    mark: bool
    line_end: str
    blank: str

    def number(self, value: Decimal) -> str:
        decimal, thousands = self.marks
        return f"{value:,}".translate({ord(","): thousands, ord("."): decimal})

    def text(self, bars: Sequence[Bar]) -> str:
        out = io.StringIO()
        quoting: Literal[0, 1] = csv.QUOTE_ALL if self.quotes_all else csv.QUOTE_MINIMAL
        writer = csv.writer(out, delimiter=self.separator, lineterminator=self.line_end, quoting=quoting)
        writer.writerows(HEADERS[self.header])
        for day, numbers in bars:
            writer.writerow([DATES[self.dates](day), *map(self.number, numbers[:-1]), self.volume(numbers[-1])])
        return ("\ufeff" if self.mark else "") + out.getvalue()

    def volume(self, value: Decimal) -> str:
        return self.number(value) if value else self.blank


HEADERS: dict[str, list[list[str]]] = {
    "ours": [["trade_date", *FIELDS]],
    "vendor's": [["<DATE>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>"]],
    "two lines": [["Price", "Open", "High", "Low", "Close", "Volume"], ["Ticker", *["X"] * 5]],
    "three lines": [["Price", "Open", "High", "Low", "Close", "Volume"], ["Ticker", *["X"] * 5], ["Date", *[""] * 5]],
}

writings = st.builds(
    Writing,
    separator=st.sampled_from(",;\t|"),
    marks=st.sampled_from(MARKS),
    quotes_all=st.booleans(),
    dates=st.sampled_from(sorted(DATES)),
    header=st.sampled_from(sorted(HEADERS)),
    mark=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
    blank=st.sampled_from(["", "-", "n/a"]),
)


@st.composite
def tables(draw: st.DrawFn) -> list[Bar]:
    """Return bars that tell how they are written: a day after the 12th, two decimals, more than a thousand."""
    days = draw(st.lists(st.integers(0, 18_000), min_size=1, max_size=12, unique=True))
    sessions = [date(1975, 1, 31), *(date(1975, 2, 1) + timedelta(days=day) for day in sorted(days))]
    cents = st.integers(1, 10**9).map(lambda number: Decimal(number).scaleb(-2))
    first = ("1234.25", "1234.25", "1.05", "9.75", "1234567")
    bars: list[Bar] = [(sessions[0], tuple(map(Decimal, first)))]
    for day in sessions[1:]:
        low, high = sorted([draw(cents), draw(cents)])
        bars.append((day, (draw(cents), high, low, draw(cents), Decimal(draw(st.integers(0, 10**10))))))
    return bars


def read(text: str, question: PriceQuestion = X) -> list[tuple[object, ...]]:
    """Return date and numbers of each bar of a file that holds a text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "p.csv")
        path.write_bytes(text.encode())
        table = open_prices(path, question)
        dates = DateReader(question.date_format)
        found: list[tuple[object, ...]] = []
        for batch in table.batches():
            rows = read_price_rows(batch, dates, "X", frozenset()).bars()
            faults = check_prices(rows, date(2030, 1, 1))
            assert faults.is_good.all(), (faults.counts(), text)
            staged = rows.accepted(faults.is_good, ["USD"])
            numbers = zip(*(staged.numbers[name].tolist() for name in NUMBER_NAMES), strict=True)
            found += [(day, *each) for day, each in zip(staged.trade_dates.tolist(), numbers, strict=True)]
    return found


@few
@given(bars=tables(), writing=writings)
def test_however_a_table_is_written_its_rows_are_the_same(bars: list[Bar], writing: Writing) -> None:
    expected = [
        (day, *map(float, numbers[:4]), float(numbers[3]), float(numbers[4])) for day, numbers in bars
    ]  # fmt: skip
    assert read(writing.text(bars)) == expected


@few
@given(
    days=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=8, unique=True),
    separator=st.sampled_from("-/."),
)
def test_a_day_that_may_be_a_month_is_refused_with_both_readings(days: list[tuple[int, int]], separator: str) -> None:
    lines = [f"{first:02}{separator}{second:02}{separator}2020,1.5" for first, second in sorted(days)]
    text = "\n".join(["date,close", *lines]) + "\n"
    if all(first == second for first, second in days):
        assert [row[0] for row in read(text)] == [date(2020, first, first) for first, _ in sorted(days)]
        return
    with pytest.raises(DataCheckError, match=r"may be \d+ \w+ 2020 .* or \d+ \w+ 2020 .*--date-format '%m") as caught:
        read(text)
    day_first, month_first = (f"'%{first}{separator}%{second}{separator}%Y'" for first, second in ("dm", "md"))
    assert f"say --date-format {day_first} or --date-format {month_first}" in str(caught.value)
    assert [row[0] for row in read(text, replace(X, date_format=day_first.strip("'")))] == [
        date(2020, second, first) for first, second in sorted(days)
    ]


@few
@given(
    numbers=st.lists(st.integers(1_000, 999_999), min_size=1, max_size=8),
    decimal=st.sampled_from([("point", ","), ("comma", ".")]),
)
def test_a_mark_that_may_be_either_is_refused_with_both_readings(
    numbers: list[int], decimal: tuple[Literal["point", "comma"], str]
) -> None:
    name, thousands = decimal
    other: Literal["point", "comma"] = "comma" if name == "point" else "point"
    cells = [f"{number:,}".replace(",", thousands) for number in numbers]
    lines = [f"2020-01-{day + 1:02};{cell}" for day, cell in enumerate(cells)]
    text = "\n".join(["date;close", *lines]) + "\n"
    with pytest.raises(DataCheckError, match="say --decimal-mark point or --decimal-mark comma"):
        read(text)
    assert [row[4] for row in read(text, replace(X, decimal_mark=name))] == numbers
    assert [row[4] for row in read(text, replace(X, decimal_mark=other))] == [
        pytest.approx(number / 1000) for number in numbers
    ]
