"""Options of commands: examples, JSON, all that are missing told at once, and dates said in words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.commands import documented_json
from typer.main import get_command

from prometheus.cli import COMMANDS, EXAMPLES, main
from prometheus.cli.options import Sessions, file_of
from prometheus.cli.parameters import NEWEST, parse_date
from prometheus.cli.runner import application_of, examples_of
from prometheus.errors import UsageError

JANUARY = (date(2025, 1, 1), date(2025, 1, 31))

WITHOUT_JSON = {
    "completion": "it prints a script",
    "demo": "it runs other commands, and shows each",
    "mcp": "it speaks a protocol",
    "serve": "it answers by HTTP",
}
Command = tuple[list[str], Any]


def _commands() -> Iterator[Command]:
    """Yield each command and sub-command with the words that call it."""
    for name in COMMANDS:
        top = get_command(application_of(name))
        below = getattr(top, "commands", None)
        yield from [([name], top)] if below is None else [([name, sub], one) for sub, one in below.items()]


ALL = list(_commands())
NEEDED = [
    (words, [param.opts[0] for param in each.params if param.required])
    for words, each in ALL
    if all(param.param_type_name == "option" for param in each.params if param.required)
]
SPANS = [(words, each) for words, each in ALL if any(param.name == "date_range" for param in each.params)]


@pytest.mark.parametrize(("words", "command"), ALL, ids=[" ".join(words) for words, _ in ALL])
def test_the_examples_of_a_command_are_read_by_it(words: list[str], command: Any) -> None:
    assert examples_of(command)
    for example in examples_of(command):
        command.make_context(" ".join(words), shlex.split(example))


def test_the_examples_of_all_commands_are_read() -> None:
    known = {tuple(words): command for words, command in ALL}
    for example in EXAMPLES:
        name, *rest = shlex.split(example)
        known[name,].make_context(name, rest)


def test_examples_end_the_help_and_none_is_broken_within_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run_numeric_regime", "--help"]) == 0
    shown = capsys.readouterr().out.partition("\nExamples:\n")[2]
    examples = examples_of({words[0]: each for words, each in ALL}["run_numeric_regime"])
    whole = [f"python -m prometheus run_numeric_regime {each}" for each in examples]
    assert [line.strip() for line in re.sub(r" \\\n +", " ", shown).splitlines()] == whole
    assert main(["data", "--help"]) == 0
    assert "Examples:\n  python -m prometheus data report\n" in capsys.readouterr().out


def test_every_command_prints_json_or_says_why_not() -> None:
    without = [
        words[0] for words, each in ALL if "--json" not in {name for param in each.params for name in param.opts}
    ]
    assert sorted(without) == sorted(WITHOUT_JSON)
    with_json = {" ".join(words) for words, _ in ALL if words[0] not in WITHOUT_JSON}
    assert set(documented_json()) == with_json


@pytest.mark.parametrize(("words", "command"), SPANS, ids=[words[0] for words, _ in SPANS])
def test_a_span_has_one_spelling_beside_the_mission_s(words: list[str], command: Any) -> None:
    assert {"--as-of", "--date-range", "--start", "--end"} <= {name for param in command.params for name in param.opts}


@pytest.mark.parametrize("name", ["calibrate", "quick", "data reject", "data reopen"])
def test_until_is_also_end(name: str) -> None:
    (command,) = (each for words, each in ALL if " ".join(words) == name)
    assert [param.opts for param in command.params if param.name == "until"] == [["--until", "--end"]]


@pytest.mark.parametrize(
    ("start", "end", "date_range", "as_of"),
    [
        (JANUARY[0], JANUARY[1], None, None),
        (None, None, JANUARY, None),
        (None, None, None, JANUARY[0]),
    ],
)
def test_a_span_is_given_in_one_way(
    start: date | None, end: date | None, date_range: tuple[date, date] | None, as_of: date | None
) -> None:
    span = Sessions(as_of, date_range, start, end).span()
    assert (span.start, span.end) == (JANUARY if as_of is None else (as_of, as_of))


@pytest.mark.parametrize(
    "given_twice",
    [
        Sessions(), Sessions(start=JANUARY[0]), Sessions(end=JANUARY[1]), Sessions(JANUARY[0], JANUARY),
        Sessions(JANUARY[0], start=JANUARY[0]), Sessions(None, JANUARY, *JANUARY),
    ],
)  # fmt: skip
def test_and_in_no_other(given_twice: Sessions) -> None:
    with pytest.raises(UsageError, match="--as-of DATE, or --date-range START END, or --start DATE with --end DATE"):
        given_twice.span()


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


def test_latest_is_told_from_the_date_that_stands_for_it() -> None:
    assert parse_date("latest") is NEWEST
    assert parse_date("0001-01-01") is not NEWEST


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
