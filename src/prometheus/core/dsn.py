"""Connection strings, read so that no piece of a password is ever taken for something that may be shown.

libpq ends a password at the first ``@`` or ``/``. What follows then counts as a host, a port or a database, and its
messages repeat those. A string that could be cut in two ways is therefore refused before anything connects.
"""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from prometheus.errors import UsageError

_SCHEME = re.compile(r"\s*postgres(?:ql)?://")
_HOST, _PORT = re.compile(r"@?[^@\s]*"), re.compile(r"[\d,]*")
ESCAPES = "write @ / ? # % and : in a password as %40 %2F %3F %23 %25 %3A"


def read_dsn(dsn: str, name: str) -> dict[str, str]:
    """Return the parts of a connection string, by libpq's names for them.

    `UsageError`, with the `name` of the setting alone, for one that libpq cannot read, or that it might cut in the
    wrong place: two ``@`` in an address, one in the name of a database, or a port that is no number.
    """
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items()}
    except psycopg.Error:
        parts = None
    if parts is None or not _is_cut_for_sure(dsn, parts):
        raise invalid_dsn(name, f"; in an address, {ESCAPES}" if _SCHEME.match(dsn) else "") from None
    return parts


def invalid_dsn(name: str, way_out: str = "") -> UsageError:
    """Return the refusal of the connection string of a setting; its value is not shown."""
    return UsageError(f"{name} is no valid connection string (its value is not shown){way_out}")


def _is_cut_for_sure(dsn: str, parts: dict[str, str]) -> bool:
    if not (_HOST.fullmatch(parts.get("host", "")) and _PORT.fullmatch(parts.get("port", ""))):
        return False
    scheme = _SCHEME.match(dsn)
    if scheme is None:
        return True
    before, at_sign, after = dsn[scheme.end() :].partition("@")
    if "@" in after:
        return False
    if "?" in before and "/" in before:  # an option such as ?user=me@tenant, or what stands behind a password's "?"
        return "/" not in after
    return not (at_sign and "/" in before)
