"""Run Alembic without ini files: one migration history per database, both may live in one database."""

from __future__ import annotations

import threading
from contextlib import closing

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy.pool import StaticPool

from prometheus.data.migrations import DatabaseName, script_directory

MIGRATION_LOCK_KEY = 0x50524F4D
"""Advisory lock ("PROM" in ASCII): two processes must not migrate one database at once."""

_ALEMBIC_LOCK = threading.Lock()
"""Alembic keeps the running migration in module globals: one thread of a process at a time."""


def alembic_config(database: DatabaseName) -> Config:
    """Return Alembic's settings for one database."""
    config = Config()
    folder = script_directory(database)
    for option, path in (("script_location", folder.parent), ("version_locations", folder / "versions")):
        config.set_main_option(option, str(path).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["database"] = database
    return config


def upgrade(connection: psycopg.Connection, database: DatabaseName) -> None:
    """Bring one database to the newest revision, in one transaction; the connection, idle now, is closed at the end."""
    config = alembic_config(database)
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool)
    with _ALEMBIC_LOCK, closing(connection), engine.begin() as transaction:
        transaction.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK_KEY})
        config.attributes["connection"] = transaction
        command.upgrade(config, "head")
