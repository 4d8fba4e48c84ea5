"""Schema histories of the two databases; reading their heads needs no Alembic."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, get_args

DatabaseName: TypeAlias = Literal["historical", "runtime"]
DATABASE_NAMES: tuple[DatabaseName, ...] = get_args(DatabaseName)


def script_directory(database: DatabaseName) -> Path:
    """Return the folder of one database's migrations."""
    return Path(__file__).parent / database


def version_table(database: DatabaseName) -> str:
    """Return the table that holds the revision; two names, so that one database can hold both histories."""
    return f"alembic_version_{database}"


@cache
def head_revision(database: DatabaseName) -> str:
    """Return the newest revision this version knows: that of the last file, whose names begin with numbers."""
    names = sorted(path.name for path in (script_directory(database) / "versions").glob("[0-9]*_*.py"))
    return names[-1].partition("_")[0]
