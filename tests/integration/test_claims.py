"""Claims: one run at a time has a chunk, and whoever is gone has none."""

from __future__ import annotations

import threading
import time

import pytest

from prometheus.app.databases import DatabaseManager
from prometheus.data.postgres import locks
from prometheus.data.postgres.locks import open_claims

pytestmark = pytest.mark.tcp


def test_a_claim_is_held_by_one_until_it_is_given_back(db_manager: DatabaseManager) -> None:
    with open_claims(db_manager) as ours, open_claims(db_manager) as theirs:
        assert ours.try_claim("a")
        assert not theirs.try_claim("a")
        assert theirs.try_claim("b")
        ours.release("a")
        assert theirs.try_claim("a")


def test_whoever_waits_gets_it_when_it_is_free(db_manager: DatabaseManager) -> None:
    with open_claims(db_manager) as ours, open_claims(db_manager) as theirs:
        assert ours.try_claim("a")
        threading.Timer(0.3, ours.release, ["a"]).start()
        begin = time.monotonic()
        theirs.wait_for("a")
        assert time.monotonic() - begin >= 0.25
        assert not ours.try_claim("a")


def test_a_claim_ends_with_its_connection_and_the_work_goes_on_without(db_manager: DatabaseManager) -> None:
    with open_claims(db_manager) as ours, open_claims(db_manager) as theirs:
        assert ours.try_claim("a")
        assert ours._connection is not None
        pid = ours._connection.info.backend_pid
        with db_manager._connect("historical", owner=True) as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        theirs.wait_for("a")
        ours.release("a")
        assert ours.try_claim("b")


def test_a_claim_that_nobody_can_give_back_does_not_stop_the_work_for_ever(
    db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "CLAIM_TIMEOUT_S", 0.2)
    with open_claims(db_manager) as ours, open_claims(db_manager) as theirs:
        assert ours.try_claim("a")
        assert not theirs.try_claim("a")
        theirs.wait_for("a")


def test_nothing_is_held_after_the_end_and_the_connection_is_as_it_was(db_manager: DatabaseManager) -> None:
    with open_claims(db_manager) as ours:
        assert ours.try_claim("a")
    with db_manager.get_historical_connection() as connection:
        assert not connection.autocommit
    with open_claims(db_manager) as theirs:
        assert theirs.try_claim("a")
