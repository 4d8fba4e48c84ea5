"""Files changed at random places: what is refused is named by file and line, and a cut last line is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.fixtures.commands import Run
from tests.fixtures.examples import share_of

DAYS = (2, 3, 4, 5, 8, 9, 10)
PRICES = "ticker,date,open,high,low,close,volume\n" + "".join(
    f"AA,2024-01-{day:02},10{day}.5,10{day}.9,10{day}.1,10{day}.25,1000{day}\n" for day in DAYS
)
MACRO = "".join(
    f'{{"event_type": "FOMC", "timestamp": "2024-01-{day:02}T12:00:00Z", "description": "Held at {day} percent."}}\n'
    for day in DAYS
)
NEWS = "published_at,headline,body,source\n" + "".join(
    f'2024-01-{day:02}T12:00:00Z,"Head {day}","Body of {day}, held",wire\n' for day in DAYS
)
SERIES = "series_id,date,value\n" + "".join(f"CPI,2024-{month:02}-01,3.{month}25\n" for month in range(1, 9))
FORMS = {
    "prices": ("p.csv", PRICES, []), "macro": ("m.jsonl", MACRO, []), "news": ("n.csv", NEWS, []),
    "series": ("s.csv", SERIES, ["--release-lag", "45"]),
}  # fmt: skip
OF_THE_WHOLE = re.compile(
    r"no column |both mean |names no series|is empty|line ends of carriage return|is no text in|first line|holds no"
)
"""Faults of a header, of the encoding or of the kind of a file: no row is at fault."""

Change = Callable[[bytes, int, bytes], bytes]
CHANGES: dict[str, Change] = {
    "cut": lambda content, at, _: content[:at],
    "replaced": lambda content, at, more: content[:at] + more + content[at + len(more) :],
    "deleted": lambda content, at, more: content[:at] + content[at + len(more) :],
    "inserted": lambda content, at, more: content[:at] + more + content[at:],
    "repeated": lambda content, at, _: content[:at] + content[at : at + 40] + content[at:],
}


@given(
    st.sampled_from(sorted(FORMS)), st.sampled_from(sorted(CHANGES)), st.floats(0, 1), st.binary(min_size=1, max_size=8)
)
@example("series", "cut", 0.99, b"x")
@example("prices", "cut", 0.995, b"x")
@settings(max_examples=share_of(160), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_file_is_refused_by_its_line_or_said_to_end_without_one(
    run: Run, form: str, change: str, share: float, more: bytes
) -> None:
    name, text, options = FORMS[form]
    whole = text.encode()
    content = CHANGES[change](whole, int(share * (len(whole) - 1)), more)
    Path(name).write_bytes(content)
    done = run("ingest", form, name, "--dry-run", *options)
    assert done.exit_code in (0, 5), done.stderr
    if done.exit_code == 5:
        assert len(done.errors) == 1
        said = done.errors[0]
        assert name in said
        assert re.search(r"\b(?:line|row)s? \d", said) or OF_THE_WHOLE.search(said), said
    elif change == "cut" and name.endswith(".csv") and b"\n" in content and not content.endswith((b"\n", b"\r")):
        assert "the last, has no line end" in done.stderr


def test_two_values_of_one_day_are_named_by_their_lines(run: Run) -> None:
    Path("s.csv").write_text(SERIES + "CPI,2024-02-01,9.5\n")
    (error,) = run("ingest", "series", "s.csv", "--release-lag", "45").errors
    assert "s.csv line 3, column value and s.csv line 10, column value: CPI has two values for 2024-02-01" in error


@pytest.mark.parametrize("end", ["CPI,2024-09-01,3.9", "CPI,2024-09-01,3.", "CPI,2024-09-01,3"])
def test_a_series_cut_inside_its_last_number_says_so(end: str, run: Run) -> None:
    Path("s.csv").write_text(SERIES + end)
    done = run("ingest", "series", "s.csv", "--release-lag", "45")
    assert done.exit_code == 0
    assert f"line 10, the last, has no line end: if the file was cut there, {end[15:]!r} may be cut, too" in done.stderr
