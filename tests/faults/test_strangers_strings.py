"""Strings of strangers and streams that fail: nothing raw on a terminal, one line for each fault, no "unexpected"."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.fixtures.commands import Run
from tests.fixtures.examples import share_of

from prometheus.cli.runner import table
from prometheus.core.logs import OneLineFormatter
from prometheus.spelling import shortened, shown

RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NONE: Mapping[str, str] = {}
FORGED = "\x1b[31mred\n12:00:00 ERROR forged\u202eevil"
letters = st.sampled_from(
    [*"aé株 '\"-./%{}[]<>&=\n\t\r", "\x1b", "\x07", "\x85", "\x9b", "\u2028", "\u202e", "\u2066", "\udcff"]
)
hostile = st.text(st.one_of(letters, st.characters(exclude_characters="\0")), min_size=1, max_size=40)


@given(hostile)
@example(FORGED)
def test_what_is_shown_steers_nothing_and_can_be_read_back(text: str) -> None:
    line = shown(text)
    assert not RAW.search(line)
    assert "\n" not in line
    assert RAW.sub("", shown(text, lines=True)).count("\n") == text.count("\n")
    if text.isascii() and "\\" not in text:
        assert line.encode().decode("unicode_escape") == text
    assert shown("Zürich, 株式, naïve, fine\u200d") == "Zürich, 株式, naïve, fine\u200d"


@given(hostile)
@example(FORGED)
def test_a_log_line_is_one_line(text: str) -> None:
    record = logging.LogRecord("prometheus", logging.INFO, "", 0, "region %s: done", (text,), None)
    line = OneLineFormatter().format(record)
    assert not RAW.search(line)
    assert "\n" not in line


@given(st.lists(st.tuples(hostile, hostile), min_size=1, max_size=4))
def test_a_row_of_a_table_is_one_line(rows: list[tuple[str, str]]) -> None:
    assert all(not RAW.search(line) and "\n" not in line for line in table(rows))


def test_a_long_word_is_shortened_and_a_short_one_is_not() -> None:
    assert shortened("x" * 256) == "x" * 256
    assert len(shortened("x" * 100_000)) == 256
    assert shortened("a" * 300 + " b") == f"{'a' * 170}…{'a' * 85} b"


COMMANDS: tuple[list[str], ...] = (
    ["show_regimes", "--region"], ["show_regimes", "--region", "US", "--model-id"],
    ["show_regimes", "--region", "US", "--start"],
    ["run_numeric_regime", "--instrument-id", "AAPL.US", "--as-of", "2025-01-31", "--region"],
    ["run_numeric_regime", "--region", "US", "--as-of", "2025-01-31", "--instrument-id"],
    ["run_numeric_regime", "--region", "US", "--instrument-id", "AAPL.US", "--as-of", "2025-01-31", "--prototypes"],
    ["run_numeric_regime", "--region", "US", "--instrument-id", "AAPL.US", "--date-range", "2025-01-31"],
    ["ingest", "prices"], ["ingest", "macro"], ["ingest", "prices", "--column"], ["quick"],
    ["data", "report", "--market-id"],
    ["report", "--region"], ["plot_regimes", "--region", "US", "--instrument-id"],
    ["similar", "--as-of", "2025-01-31", "--region"],
    ["calibrate", "--until", "2020-12-31", "--region", "US", "--align-to", "p.json", "--instrument-id"],
    ["calibrate", "--region", "US", "--instrument-id", "AAPL.US", "--until", "2020-12-31", "--align-to"],
    ["evaluate_events", "--region", "US", "--dates"], ["show_stance", "--as-of", "2025-01-31", "--country"],
    ["backfill_numeric_embeddings", "--as-of", "2025-01-31", "--market-id"], ["record", "show", "--region"], [],
)  # fmt: skip


@given(st.sampled_from(COMMANDS), hostile)
@example(["show_regimes", "--region"], FORGED)
@example(["show_regimes", "--region"], "x" * 300)
@example(["ingest", "prices"], "\udcff.csv")
@settings(max_examples=share_of(120), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_command_is_given_nothing_raw_comes_back(run: Run, command: list[str], text: str) -> None:
    done = run(*command, text)
    assert done.exit_code in (0, 2, 3, 5), done.stderr
    assert "unexpected" not in done.stderr
    assert not RAW.search(done.stdout + done.stderr)
    assert all(re.match(r"error: |note: |failed: |\d\d:\d\d:\d\d [A-Z]+ ", line) for line in done.stderr.splitlines())
    assert len(done.errors) == (done.exit_code in (2, 5))
    assert all(len(word) <= 300 for word in done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show_regimes", "--region", ""], "--region is empty; name a region"),
        (["data", "report", "--market-id", ""], "--market-id is empty; name one"),
        (["show_regimes", "--region", "US", "--model-id", ""], "--model-id is empty"),
        (
            ["show_regimes", "--region", "US", "--start", "\uff12\uff10\uff12\uff10-01-31"],
            "is no date; write YYYY-MM-DD",
        ),
        (["show_regimes", "--region", "US", "--start", "٢٠٢٠-01-31"], "is no date; write YYYY-MM-DD"),
        (["show_regimes", "--region", "\udce6\udca0"], "is no text here; use a UTF-8 locale"),
    ],
)
def test_a_text_that_is_none_is_refused_at_the_door(arguments: list[str], said: str, run: Run) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.errors[0]
    assert len(done.stderr.splitlines()) == 1


def command(
    *arguments: str, stdout: Any = subprocess.PIPE, stderr: Any = subprocess.PIPE, environment: Mapping[str, str] = NONE
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own whose streams are as given."""
    return subprocess.run(
        [sys.executable, "-m", "prometheus", *arguments], check=False, timeout=60, env={**os.environ, **environment},
        stdout=stdout, stderr=stderr,
    )  # fmt: skip


@pytest.fixture
def gone() -> Iterator[int]:
    """The end of a pipe whose reader went away."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    yield write_end
    os.close(write_end)


PRINTING = (["--help"], ["--version"], ["show_regimes", "--help"], ["completion", "bash"], ["config", "show"])


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_full_disk_under_standard_output_is_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 -- a device
        done = command(*arguments, stdout=full)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "error: standard output cannot be written (no space left on device); what was done stands, the answer is cut\n"
    )


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_reader_that_went_away_is_no_news(arguments: list[str], gone: int) -> None:
    done = command(*arguments, stdout=gone)
    assert (done.returncode, done.stderr) == (1, b"")


def test_standard_error_on_a_full_disk_keeps_the_exit_code() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 -- a device
        assert command("show_regime", stderr=full).returncode == 2
        assert command("run_numeric_regime", "--region", "US", stderr=full).returncode == 2


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii output", "ascii locale"],
)
def test_an_ascii_terminal_is_answered_in_ascii(environment: dict[str, str], cli_environment: dict[str, str]) -> None:
    for arguments in (["show_regime株"], ["show_regimes", "--region", "株式"], ["ingest", "prices", "株.csv"]):
        done = command(*arguments, environment=environment)
        assert done.returncode in (2, 5)
        assert (done.stdout + done.stderr).isascii()
        assert done.stderr.startswith(b"error: ")
        assert b"unexpected" not in done.stderr
