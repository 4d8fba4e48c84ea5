"""The databases: their schema, server and digests, rows made again, dumps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prometheus.cli.parameters import option
from prometheus.cli.runner import Answer, command_app, logger, new_group, subcommand, table

if TYPE_CHECKING:
    from prometheus.app.databases import DatabaseManager
    from prometheus.app.verification import VerifyReport

VERIFY_COLUMNS = ("table", "rows", "compared", "stale", "unknown", "unread", "wrong", "healed")

db = new_group("Migrate, inspect, check and stop the databases.")


@subcommand(db, "")
def upgrade() -> Answer:
    """Bring both databases to the newest schema."""
    with command_app() as application:
        changes = application.db_manager.upgrade()
    lines = []
    for database, (before, after) in changes.items():
        state = "is up to date" if before == after else f"upgraded from {before or 'nothing'}"
        lines.append(f"{database}: schema {after}, {state}")
    facts = {database: {"before": before, "after": after} for database, (before, after) in changes.items()}
    return Answer(lambda: facts, lambda: "\n".join(lines))


@subcommand(db, "", "--json")
def status() -> Answer:
    """Say which server is used, whether it runs, and which schema the databases have; starts nothing."""
    with command_app() as application:
        facts = _facts(application.db_manager)
    shown = {name: ", ".join(value) if isinstance(value, list) else value for name, value in facts.items()}
    return Answer(lambda: facts, lambda: "\n".join(f"{name}: {value}" for name, value in shown.items()))


@subcommand(db, "", "--repair")
def check(
    repair: Annotated[
        bool, option("Make wrong digests anew; the next run looks at every row they stood for.", "--repair")
    ] = False,
) -> Answer:
    """Compare every digest with the rows it stands for, and name those that disagree; exit code 3 if there are any."""
    with command_app("digests") as application:
        report = application.digests.check(repair=repair)
    lines = [*map(str, report.found), f"{len(report.found)} digests disagree, {len(report.left)} are left"]
    facts = {"found": [asdict(each) for each in report.found], "left": len(report.left)}
    return Answer(lambda: facts, lambda: "\n".join(lines), report.exit_code)


@subcommand(db, "", "--share 0.05 --seed 7", "--region US_INDEX --repair")
def verify(
    sample: Annotated[
        int | None, option("Compare at most this number of rows of each kind, drawn at random.", min=1, metavar="N")
    ] = None,
    share: Annotated[float | None, option("Compare this share of the rows of each kind.", metavar="P")] = None,
    seed: Annotated[int, option("Which rows are drawn.", min=0)] = 0,
    region: Annotated[list[str] | None, option("Only the rows of a region; repeatable.")] = None,
    instrument: Annotated[
        list[str] | None, option("Only the bars and vectors of an instrument; repeatable.", metavar="ID")
    ] = None,
    prototypes: Annotated[
        list[Path] | None, option("File of the prototypes of a model that was not calibrated; repeatable.")
    ] = None,
    all_texts: Annotated[
        bool,
        option("Embed all texts again, not a thousand of them; this takes as long as the first time.", "--all-texts"),
    ] = False,
    repair: Annotated[bool, option("Put back what each wrong row should be.", "--repair")] = False,
) -> Answer:
    """Make stored rows again from their inputs, and name those that differ; exit code 3 while there are any."""
    from prometheus.app.verification import VerifyRequest
    from prometheus.app.verified import Sample

    chosen = Sample(sample, share, seed)
    request = VerifyRequest(
        chosen, tuple(region or ()), tuple(instrument or ()), tuple(prototypes or ()), all_texts, repair
    )
    with command_app("verified rows") as application:
        report = application.verification.verify(request)
    return Answer(report.to_dict, lambda: "\n".join(_verified_lines(report)), report.exit_code)


def _verified_lines(report: VerifyReport) -> Iterator[str]:
    yield from map(str, report.wrong)
    yield from (f"not compared: {reason}" for each in report.tables for reason in each.unread)
    rows = [
        (each.table, *(f"{n:,}" for n in (each.n_rows, each.n_compared, each.n_stale, each.n_unknown, each.n_unread)),
         f"{len(each.wrong):,}", f"{each.n_healed:,}")
        for each in report.tables
    ]  # fmt: skip
    yield from table([VERIFY_COLUMNS, *rows], numbers_right=True)
    for each in filter(lambda each: each.n_adopted, report.tables):
        yield f"{each.table}: {each.n_adopted:,} rows of earlier versions are held to what they are from now on"
    n_unread = sum(each.n_unread for each in report.tables)
    not_compared = f"; {n_unread:,} could not be compared" if n_unread else ""
    yield f"{len(report.wrong):,} rows are wrong, {len(report.left):,} are left{not_compared}"


@subcommand(db, "")
def stop() -> Answer:
    """Stop the embedded server."""
    from prometheus.core.config import load_config

    loaded = load_config()
    if not loaded.uses_embedded_server:
        return _stopped("the databases are on a server of your own; nothing to stop")
    from prometheus.app.databases import DatabaseManager

    was_running = DatabaseManager(loaded, announce=logger.info).embedded_server.stop()
    return _stopped("stopped" if was_running else "was not running", was_running=was_running)


FOLDER = typer.Argument(metavar="FOLDER", help="With a dump of each database.")


@subcommand(db, "backup-of-monday")
def backup(folder: Annotated[Path, FOLDER]) -> Answer:
    """Dump both databases into a new folder, while commands may go on."""
    with command_app() as application:
        written = application.backups.write(folder)
    lines = [f"{name}: schema {each.schema}, {each.bytes:,} bytes" for name, each in written.dumps.items()]
    return Answer(written.to_dict, lambda: "\n".join([*lines, f"written to {folder}"]))


@subcommand(db, "backup-of-monday")
def restore(folder: Annotated[Path, FOLDER]) -> Answer:
    """Make databases without rows what they were when a folder was written by `db backup`."""
    with command_app() as application:
        done = application.backups.restore(folder)
    lines = [
        *(f"{name}: restored" for name in done.restored),
        *(f"{name}: was restored from it before, nothing changed" for name in done.unchanged),
        *(f"{name}: the schema is older; run: python -m prometheus db upgrade" for name in done.behind),
    ]
    return Answer(done.to_dict, lambda: "\n".join(lines))


def _stopped(line: str, *, was_running: bool = False) -> Answer:
    return Answer(lambda: {"stopped": was_running}, lambda: line)


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
    if db_manager.durability.off:
        facts["safeguards_off"] = db_manager.durability.off
    return facts
