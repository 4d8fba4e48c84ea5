"""Riding out a lost connection."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import stamina

from prometheus.core import runs
from prometheus.core.runs import ATTEMPTS, retry_lost_connection
from prometheus.errors import DatabaseRefusedError, DatabaseUnreachableError

LOST = DatabaseUnreachableError("historical", "server closed the connection unexpectedly", was_connected=True)
DOWN = DatabaseUnreachableError("historical", "Connection refused")


class Work:
    """Fails in the given ways, one per call, then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.n_calls = 0

    def __call__(self) -> str:
        self.n_calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runs, "_outage_warning", runs._OneWarning())  # what another test said counts for nothing here
    stamina.set_testing(True, attempts=ATTEMPTS)
    yield
    stamina.set_testing(False)


def test_work_that_succeeds_is_done_once() -> None:
    work = Work()
    assert retry_lost_connection(work) == "done"
    assert work.n_calls == 1


def test_a_lost_connection_is_announced_and_the_work_done_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("prometheus"), "propagate", True)  # a command run before may have ended it
    work = Work(LOST)
    with caplog.at_level(logging.WARNING, logger="prometheus.core.runs"):
        assert retry_lost_connection(work) == "done"
    assert work.n_calls == 2
    assert "server closed the connection unexpectedly" in caplog.text
    assert "trying again" in caplog.text


def test_a_server_that_restarts_may_refuse_for_a_while() -> None:
    work = Work(LOST, DOWN, DOWN)
    assert retry_lost_connection(work) == "done"
    assert work.n_calls == 4


def test_a_server_that_was_never_there_is_reported_at_once() -> None:
    work = Work(DOWN)
    with pytest.raises(DatabaseUnreachableError, match="Connection refused"):
        retry_lost_connection(work)
    assert work.n_calls == 1


def test_a_server_that_stays_away_is_given_up() -> None:
    work = Work(LOST, *[DOWN] * 50)
    with pytest.raises(DatabaseUnreachableError, match="Connection refused"):
        retry_lost_connection(work)
    assert work.n_calls == 1 + ATTEMPTS


def test_no_other_failure_is_tried_again() -> None:
    for failures in ([DatabaseRefusedError("historical", "disk full")], [LOST, ValueError("a defect")]):
        work = Work(*failures)
        with pytest.raises(type(failures[-1])):
            retry_lost_connection(work)
        assert work.n_calls == len(failures)
