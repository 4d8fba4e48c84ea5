"""One place an embedded server lives in, and whether one answers there."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus.errors import EmbeddedServerError
from prometheus.server import address, bootstrap
from prometheus.server.account import Account, resolve_account
from prometheus.server.cluster import OWNER_ROLE, Layout, layout_of
from prometheus.server.supervisor import Record

_HOPELESS = ("requirepeer", "authentication failed", "does not exist", "no pg_hba.conf entry")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server's files and its socket are, and who it runs as."""

    account: Account
    layout: Layout

    @property
    def socket_directory(self) -> Path:
        """The private directory of the server's socket."""
        return address.socket_directory(self.layout.data, self.account)

    def conninfo(self, database: str, role: str = OWNER_ROLE) -> str:
        """Return the connection string of a database."""
        return address.conninfo(self.socket_directory, self.account, database, role)

    def ask(self) -> bootstrap.Answer:
        """Look at the socket directory, then ask the server; `ConnectionError` where none answers."""
        import psycopg  # noqa: PLC0415 -- only when connecting

        try:
            address.check_socket_directory(self.socket_directory, self.account)
            answer = bootstrap.ask(self.conninfo(bootstrap.MAINTENANCE_DATABASE))
        except (psycopg.OperationalError, FileNotFoundError) as error:
            reason = str(error).strip().partition("\n")[0]
            if any(sign in reason for sign in _HOPELESS):
                raise EmbeddedServerError(f"the server in {self.socket_directory}: {reason}") from error
            raise ConnectionError(reason) from error
        if not self.is_ours(answer.data_directory):
            raise EmbeddedServerError(
                f"the server in {self.socket_directory} works on {answer.data_directory}, not on {self.layout.data}; "
                "stop it, then try again"
            )
        return answer

    def is_ours(self, data_directory: str) -> bool:
        """Whether that path leads to our data directory, possibly on another way than ours."""
        try:
            return self.layout.data.samefile(data_directory)
        except FileNotFoundError:
            return False

    def is_answering(self) -> bool:
        """Whether a server answers here."""
        try:
            self.ask()
        except ConnectionError:
            return False
        return True

    def check_record(self, record: Record) -> None:
        """Refuse a server that is up, but for others: under another path, or behind another ``/tmp``."""
        if not self.is_ours(record.data_directory):
            raise EmbeddedServerError(
                f"the data is in use as {record.data_directory}; use that path, "
                "or stop the server: python -m prometheus db stop"
            )
        if record.is_ready and not self.socket_directory.exists():
            raise EmbeddedServerError(
                f"the server runs (process {record.postmaster_pid}), but its socket directory {self.socket_directory} "
                "cannot be seen from here (another container, or a private /tmp?); stop it where it was started"
            )

    def size_bytes(self) -> int:
        """Return the size of all data files; those that vanish meanwhile do not count."""
        total = 0
        for parent, _, names in os.walk(self.layout.data):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 -- thousands of them
        return total


def find_place(home: Path, account_name: str) -> Place:
    """Return the place below `home`; creates nothing."""
    return Place(resolve_account(account_name), layout_of(home))
