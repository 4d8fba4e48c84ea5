"""What work on an embedded server costs: seconds, seconds of processors, WAL, and what stays on the disk."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import server_cpu_s
from prometheus.app.databases import DatabaseManager


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds by the clock, and of all processors in this process, its children and the server; bytes of WAL."""

    clock: float
    client: float
    server: float
    wal: int

    @property
    def processors(self) -> float:
        """Seconds of all processors together: what other programs on the machine do hardly changes them."""
        return self.client + self.server


def cost_of(databases: DatabaseManager, work: Callable[[], object]) -> Cost:
    """Do the work and return what it cost."""
    wal, client, server, clock = wal_position(databases), _client_seconds(), server_cpu_s(), time.monotonic()
    work()
    return Cost(
        time.monotonic() - clock, _client_seconds() - client, server_cpu_s() - server,
        wal_position(databases) - wal,
    )  # fmt: skip


def wal_position(databases: DatabaseManager) -> int:
    """Return how many bytes of WAL the server has written."""
    return _asked(databases, "SELECT (pg_current_wal_insert_lsn() - '0/0')::int8")


def disk_bytes(databases: DatabaseManager, table: str) -> tuple[int, int, int]:
    """Return the bytes of a table's rows, of its indexes, and of all files of the WAL."""
    rows, indexes = (_asked(databases, f"SELECT pg_{kind}_size('{table}')") for kind in ("table", "indexes"))
    return rows, indexes, _asked(databases, "SELECT sum(size)::int8 FROM pg_ls_waldir()")


def server_peak_mib(databases: DatabaseManager) -> float:
    """Return the largest memory that a living process of the server had for itself, without what all share."""
    return max(map(_private_mib, _children(_postmaster(databases))), default=0.0)


def _private_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Rss")}
    return int(found.get("RssAnon", 0)) / 1024


def _client_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _postmaster(databases: DatabaseManager) -> int:
    pid = databases.embedded_server.status().pid
    assert pid is not None
    return pid


def _children(parent: int) -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(int(path.name)) == parent]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _asked(databases: DatabaseManager, query: str) -> int:
    with databases._connect("historical", owner=True) as connection:  # noqa: SLF001 -- only the owner may
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])
