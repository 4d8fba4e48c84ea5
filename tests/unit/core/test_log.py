"""The package's log."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prometheus.core import logs
from prometheus.core.logs import OneLineFormatter, begin_run, configure_logging, run_id, take_run_id

LINE = re.compile(r"(\S+) ([0-9a-f]{16}) (INFO|WARNING|ERROR) (.*)")


@pytest.fixture(autouse=True)
def restored_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("prometheus")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers.clear()
    yield logger
    logger.handlers[:], logger.level, logger.propagate = before
    for name in logs._OTHERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def test_lines_go_to_standard_error_once_however_often_it_is_configured(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging()
    logging.getLogger("prometheus.app").info("three of four done")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("INFO three of four done") == 1


def test_debug_lines_appear_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("prometheus.app").debug("quiet")
    configure_logging(verbose=True)
    logging.getLogger("prometheus.app").debug("loud")
    assert "quiet" not in (shown := capsys.readouterr().err)
    assert "DEBUG loud" in shown


def record_of(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("prometheus.x", logging.WARNING, __file__, 1, message, arguments, None)


def test_a_line_has_date_with_zone_run_level_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    begin_run()
    logging.getLogger("prometheus.app").warning("%d of %s", 3, "four")
    found = LINE.fullmatch(capsys.readouterr().err.rstrip("\n"))
    assert found is not None
    assert datetime.fromisoformat(found[1]).utcoffset() is not None
    assert found[2] == run_id()
    assert (found[3], found[4]) == ("WARNING", "3 of four")


@given(message=st.text(st.characters(), max_size=60))
def test_a_record_of_any_message_is_one_line_without_anything_that_steers_a_terminal(message: str) -> None:
    line = OneLineFormatter("text").format(record_of("%s", message))
    assert len(line.splitlines()) == 1
    unsafe = {each for each in line if unicodedata.category(each) in {"Cc", "Zl", "Zp", "Cs"}}
    assert not unsafe
    assert not {"\u202e", "\u2066", "\u200f"} & set(line)
    assert LINE.fullmatch(line) is not None
    line.encode()


@given(message=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_as_json_a_record_is_one_object_with_the_message_as_it_was(message: str) -> None:
    line = OneLineFormatter("json").format(record_of("%s", message))
    assert line.isascii()
    assert len(line.splitlines()) == 1
    found = json.loads(line)
    assert (found["message"], found["level"], found["logger"]) == (message, "WARNING", "prometheus.x")
    assert (found["run_id"], set(found)) == (run_id(), {"time", "level", "run_id", "logger", "message"})


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_is_part_of_its_line(log_format: logs.LogFormat) -> None:
    try:
        int("a\nforged line")
    except ValueError:
        record = record_of("failed")
        record.exc_info = sys.exc_info()
    line = OneLineFormatter(log_format).format(record)
    assert len(line.splitlines()) == 1
    assert "forged line" in line
    assert "test_log.py" in line


def test_a_second_run_of_a_process_has_an_id_of_its_own() -> None:
    begin_run()
    first = take_run_id()
    assert first == run_id()
    second = take_run_id()
    assert second == run_id() != first


def test_what_a_command_starts_has_its_id() -> None:
    begin_run()
    script = "from prometheus.core.logs import run_id; print(run_id())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == run_id()


@pytest.mark.parametrize(("name", "is_shown"), [("uvicorn.error", True), ("asyncio", True), ("psycopg.pool", False)])
def test_warnings_of_servers_and_drivers_look_the_same(
    name: str, is_shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging()
    logging.getLogger(name).warning("Invalid HTTP request received.")
    logging.getLogger(name).info("quiet")
    shown = capsys.readouterr().err
    assert (LINE.fullmatch(shown.rstrip("\n")) is not None) == is_shown
