"""Options of commands: all that are missing are told at once, and dates may be said in words."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from prometheus.cli import COMMANDS, main
from prometheus.cli.options import file_of
from prometheus.cli.parameters import parse_date
from prometheus.cli.runner import application_of

Needed = tuple[list[str], list[str]]


def _needed() -> list[Needed]:
    """Return each command and sub-command that takes options alone and needs some, and these."""
    found: list[Needed] = []
    for name in COMMANDS:
        top = get_command(application_of(name))
        for words, each in [([name], top), *(([name, sub], one) for sub, one in getattr(top, "commands", {}).items())]:
            required = [param for param in each.params if param.required]
            if required and all(param.param_type_name == "option" for param in required):
                found.append((words, [param.opts[0] for param in required]))
    return found


NEEDED = _needed()


@given(data=st.data())
def test_all_missing_options_are_told_at_once(data: st.DataObject) -> None:
    words, required = data.draw(st.sampled_from([each for each in NEEDED if len(each[1]) > 1]))
    given_ones = data.draw(st.lists(st.sampled_from(required), unique=True, max_size=len(required) - 2))
    missing = [name for name in required if name not in given_ones]
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr("sys.stderr.write", written.append)
        exit_code = main([*words, *(word for name in given_ones for word in (name, "x"))])
    (line,) = written
    assert exit_code == 2
    command = " ".join(["python -m prometheus", *words])
    assert line == f"error: missing options: {', '.join(missing)}; explained by: {command} --help\n"


def test_today_is_a_date() -> None:
    before = datetime.now(UTC).date()
    assert before <= parse_date("today") <= datetime.now(UTC).date()


@given(st.dates(min_value=date(1000, 1, 1)))
def test_a_date_is_read_as_it_is_written(day: date) -> None:
    assert parse_date(str(day)) == day


@given(st.text(max_size=12).filter(lambda text: text not in ("today", "latest") and not text[:1].isdigit()))
def test_other_words_are_no_dates(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no date; write YYYY-MM-DD, today or latest"):
        parse_date(text)


@given(st.text(min_size=1, max_size=30).filter(str.isprintable))
def test_the_file_of_a_region_lies_here(region: str) -> None:
    assert len(file_of(region, "regimes", "png").parts) == 1
