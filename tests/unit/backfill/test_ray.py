"""What a Ray run decides without a cluster: where nodes are, which addresses will do, what a node makes of an order."""

from __future__ import annotations

import pickle
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from prometheus import __version__
from prometheus.backfill.plan import DateSpan, NumericChunk
from prometheus.backfill.ray import (
    Answer,
    ChunkWorker,
    RayEngine,
    foreign_nodes,
    is_own_address,
    require_listening,
)
from prometheus.backfill.work import NoClaims, OpenedWork
from prometheus.errors import (
    DatabaseError,
    DatabaseUnreachableError,
    FileAccessError,
    InputRefusedError,
    MissingExtraError,
    PrometheusError,
    PrototypeError,
    RetryableError,
    UsageError,
)

HERE = "trader"
OWN = {"10.0.0.7", "127.0.0.1"}
CHUNK = NumericChunk(("A",), "US_EQ", DateSpan.of_date(date(2025, 1, 31)), 63, "m")


def node(hostname: str, address: str) -> dict[str, str]:
    return {"NodeManagerHostname": hostname, "NodeManagerAddress": address}


@pytest.mark.parametrize(
    ("nodes", "foreign"),
    [
        ([], ()),
        ([node(HERE, "10.0.0.7"), node(HERE, "127.0.0.1")], ()),
        ([node(HERE, "10.0.0.7"), node("other", "10.0.0.8")], ("other at 10.0.0.8",)),
        ([node(HERE, "10.0.0.9")], (f"{HERE} at 10.0.0.9",)),  # another machine of the same name
        ([node("pod", "10.0.0.7"), node("pod", "10.0.0.7")], ("pod at 10.0.0.7",)),  # one address, other files
    ],
)
def test_a_node_is_here_if_both_name_and_address_are(nodes: list[dict[str, str]], foreign: tuple[str, ...]) -> None:
    assert foreign_nodes(nodes, HERE, OWN.__contains__) == foreign


def test_own_addresses_are_those_that_can_be_bound() -> None:
    assert is_own_address("127.0.0.1")
    assert not is_own_address("192.0.2.77")  # reserved for documents
    assert not is_own_address("no such host")


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:port", "ray://head:10001"])
def test_an_address_that_is_none_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError, match=r"write HOST:PORT of the cluster's head, auto or local"):
        require_listening(address)


def test_an_address_where_nobody_listens_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        require_listening(address)
    with pytest.raises(PrometheusError, match="does not answer") as caught:
        require_listening(address)
    assert caught.value.exit_code == 1
    for name in ("local", "auto"):
        require_listening(name)


def test_without_ray_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = RayEngine(None, None, is_local_database=True)
    with pytest.raises(MissingExtraError, match=r"--engine ray .*prometheus-regime\[ray\]"):
        next(engine.run(Factory(), [CHUNK]))
    assert list(engine.run(Factory(), [])) == []  # nothing to do needs no cluster


class UnsendableError(Exception):
    """Cannot be unpickled: its constructor wants more than its arguments."""

    def __init__(self, one: str, _two: str) -> None:
        super().__init__(one)


class Busy(NoClaims):
    """Another run is at everything."""

    def try_claim(self, _key: str, /) -> bool:
        return False


@dataclass(frozen=True)
class Factory:
    """Work that reports its chunk, or raises."""

    error: str = ""
    is_busy: bool = False
    unopened: PrometheusError | None = None

    @contextmanager
    def open(self, _n_processes: int, /) -> Iterator[OpenedWork]:
        if self.unopened is not None:
            raise self.unopened
        yield OpenedWork(Steps(self.error), Busy() if self.is_busy else NoClaims())


class Steps:
    def __init__(self, error: str) -> None:
        self._error = error

    def read(self, chunk: NumericChunk) -> NumericChunk:
        if self._error == "ours":
            raise PrototypeError(chunk.key, "refused")
        if self._error:
            raise UnsendableError("one", "two")
        return chunk

    def count(self, wanted: Any) -> Any:
        return wanted

    def encode(self, wanted: Any) -> Any:
        return wanted

    def write(self, encoded: NumericChunk) -> str:
        return f"did {encoded.key}"


def answer_to(factory: Factory, *, may_wait: bool = False, version: str = __version__) -> Answer:
    answer = ChunkWorker(pickle.dumps(factory), 1, version).do(CHUNK, may_wait=may_wait)
    copy: Answer = pickle.loads(pickle.dumps(answer))
    return copy


def test_a_node_answers_with_the_report() -> None:
    assert answer_to(Factory()) == Answer(report=f"did {CHUNK.key}")


def test_a_chunk_that_another_run_is_at_is_handed_back_unless_it_may_wait() -> None:
    assert answer_to(Factory(is_busy=True)).is_busy
    assert not answer_to(Factory(is_busy=True), may_wait=True).is_busy


def test_an_error_is_sent_as_it_is_with_the_traceback() -> None:
    error = answer_to(Factory(error="ours")).error
    assert isinstance(error, PrototypeError)
    assert "in read" in error.__notes__[0]


def test_an_error_that_cannot_be_sent_is_told() -> None:
    error = answer_to(Factory(error="theirs")).error
    assert isinstance(error, RuntimeError)
    assert str(error) == "UnsendableError: one"
    assert "in read" in error.__notes__[0]


def test_a_node_of_another_version_says_so_in_one_line() -> None:
    error = answer_to(Factory(), version="9.9.9").error
    assert isinstance(error, PrometheusError)
    assert "install 9.9.9" in str(error)
    assert socket.gethostname() in str(error)


@pytest.mark.parametrize(
    ("error", "branch"),
    [
        (FileAccessError("/models/own", "no such folder"), InputRefusedError),
        (DatabaseUnreachableError("historical", "no route to host"), DatabaseError),
        (MissingExtraError("--runtime torch", "torch"), PrometheusError),
        (RetryableError("the hub cannot be reached"), RetryableError),
    ],
)
def test_work_that_a_node_cannot_open_is_refused_with_the_name_of_the_node(
    error: PrometheusError, branch: type[PrometheusError]
) -> None:
    found = answer_to(Factory(unopened=error)).error
    assert type(found) is branch
    assert (found.code, found.exit_code) == (error.code, error.exit_code)
    assert str(found).startswith(f"on node {socket.gethostname()}: {error}; every node needs the files, models")


def test_a_worker_shows_no_secrets() -> None:
    assert "hunter2" not in repr(ChunkWorker(b"password=hunter2", 1, __version__))
