"""Progress of long work: a bar on a terminal, else a line a minute with rate and time left."""

from __future__ import annotations

import io

import pytest

from prometheus.cli import runner


class Terminal(io.StringIO):
    """Says that somebody is looking."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list that the test may change."""
    now = [0.0]
    monkeypatch.setattr("prometheus.cli.runner.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged."""
    logged: list[str] = []
    monkeypatch.setattr(runner.logger, "info", lambda text, *values: logged.append(text % values))
    return logged


def test_a_line_a_minute_says_how_fast_and_how_long_still(clock: list[float], lines: list[str]) -> None:
    with runner.progress("instruments", io.StringIO()) as report:
        for now, done in ((1.0, 10), (60.0, 600), (61.0, 610), (119.0, 1_190), (120.0, 1_200)):
            clock[0] = now
            report(done, 6_000)
    assert lines == [
        "instruments: 600 of 6,000, 10.0 a second, 9 minutes left",
        "instruments: 1,200 of 6,000, 10.0 a second, 8 minutes left",
    ]


def test_a_unit_with_a_name_is_named(clock: list[float], lines: list[str]) -> None:
    with runner.progress("regimes of US_EQ", io.StringIO()) as report:
        clock[0] = 60.0
        report(90, 206, "GILD")
    assert lines == ["regimes of US_EQ: 90 of 206, at GILD, 1.5 a second, 1 minutes left"]


def test_work_of_unknown_length_has_a_rate_but_no_end(clock: list[float], lines: list[str]) -> None:
    with runner.progress("texts", io.StringIO()) as report:
        clock[0] = 90.0
        report(45, None)
    assert lines == ["texts: 45, 0.5 a second"]


def test_on_a_terminal_there_is_a_bar_once_the_work_takes_a_while(
    clock: list[float], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    with runner.progress("instruments") as report:
        report(1, 10)
        assert screen.getvalue() == ""
        clock[0] = 2.0
        report(4, 10)
    assert "instruments" in screen.getvalue()
    assert lines == []
