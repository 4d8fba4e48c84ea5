"""The databases, the settings, and what is loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prometheus.cli.runner import Answer, command, command_app, logger, new_group, table
from prometheus.core.config import load_config

if TYPE_CHECKING:
    from prometheus.app.databases import DatabaseManager
    from prometheus.data.report import InstrumentReport

HEADER = (
    "instrument", "first", "last", "ended on", "rows", "missing sessions", "zero volume", "flat bars",
    "jumps above 50 %",
)  # fmt: skip
DATES_SHOWN = 2

db = new_group("Migrate, inspect and stop the databases.")
config = new_group("Print every setting and where it came from.")
data = new_group("Say what is loaded and what looks wrong with it.")


@db.command()
@command
def upgrade() -> str:
    """Bring both databases to the newest schema."""
    with command_app() as application:
        changes = application.db_manager.upgrade()
    lines = []
    for database, (before, after) in changes.items():
        state = "is up to date" if before == after else f"upgraded from {before or 'nothing'}"
        lines.append(f"{database}: schema {after}, {state}")
    return "\n".join(lines)


@db.command()
@command
def status() -> Answer:
    """Say which server is used, whether it runs, and which schema the databases have; starts nothing."""
    with command_app() as application:
        facts = _facts(application.db_manager)
    return Answer(lambda: facts, lambda: "\n".join(f"{name}: {value}" for name, value in facts.items()))


@db.command()
@command
def stop() -> str:
    """Stop the embedded server."""
    loaded = load_config()
    if not loaded.uses_embedded_server:
        return "the databases are on a server of your own; nothing to stop"
    from prometheus.app.databases import DatabaseManager

    was_running = DatabaseManager(loaded, announce=logger.info).embedded_server.stop()
    return "stopped" if was_running else "was not running"


def _facts(db_manager: DatabaseManager) -> dict[str, Any]:
    facts: dict[str, Any] = {"server": "your own"}
    if db_manager.config.uses_embedded_server:
        embedded = db_manager.embedded_server.status()
        facts = {"server": "embedded", "state": embedded.state, "data_directory": str(embedded.data_directory)}
        if embedded.state != "running":
            return facts
        facts |= {"pid": embedded.pid, "socket_directory": str(embedded.socket_directory)}
    for database, found in db_manager.schema_revisions().items():
        wanted = db_manager.newest_revision(database)
        facts[f"{database}_schema"] = found or "none"
        facts[f"{database}_is_current"] = found == wanted
    return facts


@config.callback()
def _config() -> None:
    """Print every setting and where it came from."""


@config.command()
@command
def show() -> Answer:
    """Print every setting, its value, and what set it; no database is asked, and no secret is shown."""
    from prometheus.core.provenance import describe_server, explain_settings, to_text, unknown_variables

    loaded = load_config()
    settings, server = explain_settings(loaded, os.environ), describe_server(loaded, os.environ)
    for name in unknown_variables(os.environ):
        logger.warning("%s is no setting of this version", name)
    width = max(len(setting.name) for setting in settings)
    lines = [
        f"{'server'.ljust(width)}  {server}",
        *(f"{each.name.ljust(width)}  {to_text(each.value)}  ({each.source})" for each in settings),
    ]
    facts = {each.name: {"value": each.value, "source": each.source} for each in settings}
    return Answer(lambda: {"server": server, "settings": facts}, lambda: "\n".join(lines))


@data.callback()
def _data() -> None:
    """Keep `report` a sub-command although it is the only one."""


@data.command()
@command
def report(
    instrument_id: Annotated[list[str] | None, typer.Option(help="Only this instrument; may be repeated.")] = None,
    market_id: Annotated[str | None, typer.Option(help="Only instruments of this market.")] = None,
) -> Answer:
    """Print span, rows, missing sessions, zero volume and jumps above 50 % of each instrument."""
    with command_app("instruments") as application:
        reports = application.prices.report(instrument_id, market_id)
    return Answer(
        lambda: [{**asdict(each), "n_jumps": each.n_jumps} for each in reports],
        lambda: "\n".join(table([HEADER, *map(_row, reports)])),
    )


def _row(report: InstrumentReport) -> tuple[str, ...]:
    missing = "no calendar" if report.n_missing_sessions is None else f"{report.n_missing_sessions:,}"
    return (
        report.instrument_id,
        str(report.first_date),
        str(report.last_date),
        "-" if report.ended_on is None else str(report.ended_on),
        f"{report.n_rows:,}",
        missing + _listed(report.first_missing, report.n_missing_sessions or 0),
        f"{report.n_zero_volume:,}",
        f"{report.n_flat_bars:,}",
        f"{report.n_jumps:,}" + _listed(report.jump_dates[:DATES_SHOWN], report.n_jumps),
    )


def _listed(dates: Sequence[date], n_all: int) -> str:
    if not dates:
        return ""
    shown = ", ".join(str(day) for day in dates[:DATES_SHOWN])
    return f" ({shown}{', ...' if n_all > DATES_SHOWN else ''})"
