"""The databases, the settings, the loaded prices, the nightly run and the server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prometheus.cli.parameters import date_option, option
from prometheus.cli.runner import Answer, command, command_app, logger, new_group, print_line, subcommand, table
from prometheus.errors import DatabaseError, UsageError
from prometheus.market.standings import Standing, count

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

    from prometheus.app import App
    from prometheus.app.databases import DatabaseManager
    from prometheus.app.night_reports import NightlyReport, RegionNight
    from prometheus.app.verification import VerifyReport
    from prometheus.web.access import AccessRules

REGION_COLUMNS = ("region", "as of", "label", "sure", "before", "added", "rewritten", "joint rows", "findings")
TEXT_COLUMNS = ("texts", "model", "stored", "embedded")
VERIFY_COLUMNS = ("table", "rows", "compared", "stale", "unknown", "unread", "wrong", "healed")
DEFAULT_PORT = 8321
NAMED = 10
"""Names in a line; `--json` has all."""
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- named to be recognised

db = new_group("Migrate, inspect, check and stop the databases.")
config = new_group("Print every setting and where it came from.")


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


@subcommand(config, "", "--json")
def show() -> Answer:
    """Print every setting, its value, and what set it; no database is asked, and no secret is shown."""
    from prometheus.core.config import load_config
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


@command("", "--as-of latest --dry-run", latest="nightly")
def nightly(
    as_of: Annotated[
        date | None, date_option("Up to which date; without it the last session whose close has passed.")
    ] = None,
    since: Annotated[
        date | None,
        date_option(
            "First date wanted; without it the first one stored, or the first one after the calibration.",
            "--since",
            "--start",
        ),
    ] = None,
    max_age_sessions: Annotated[int, option("Sessions that prices may lack.", min=0)] = 0,
    skip_stale: Annotated[
        bool, option("Leave regions with older prices out for good instead of waiting for them.", "--skip-stale")
    ] = False,
    strict: Annotated[
        bool, option("Exit code 3 for every region or instrument that is not simply up to date.", "--strict")
    ] = False,
    exit_code_if_noop: Annotated[
        int, option("Exit code when there was nothing to write.", min=0, max=255, metavar="N")
    ] = 0,
    dry_run: Annotated[bool, option("Say what would be written; write nothing.", "--dry-run", "--plan")] = False,
) -> Answer:
    """Compute and store what is missing of every configured region: embeddings, regimes, texts and joint rows."""
    from prometheus.app.prices import NightlyRequest

    request = NightlyRequest(datetime.now(UTC), as_of, since, max_age_sessions, skip_stale, dry_run, strict)
    with command_app("nightly") as application:
        report = application.nightly.run(request)
    is_noop = report.exit_code == 0 and report.n_written == 0
    return Answer(
        report.to_dict,
        lambda: "\n".join(_night_lines(report)),
        exit_code_if_noop if is_noop else report.exit_code,
        [
            *(f"failed: {name}: {failure}" for name, failures in report.failures.items() for failure in failures),
            *(f"finding: {each}" for each in report.new_findings),
            *(f"waiting: {night.region} as of {night.as_of_date}: {night.stands.why}" for night in report.waiting),
        ],
    )


def _night_lines(report: NightlyReport) -> Iterator[str]:
    if report.run_ids:
        logger.info("runs: %s", ", ".join(report.run_ids))
    yield from table([REGION_COLUMNS, *map(_region_row, report.regions)], numbers_right=True)
    nights = [night for night in report.texts if night.n_texts]
    texts = [(each.source_type, each.model_id, f"{each.n_texts:,}", f"{each.n_written:,}") for each in nights]
    if texts:
        yield from table([TEXT_COLUMNS, *texts], numbers_right=True)
    yield from (f"stance of {each.source_type} texts by {each.model_id}: {each.n_written:,}" for each in report.stances)
    yield from _standing_lines(report)
    for skipped, noun in ((report.skipped_regions, "region"), (report.skipped_instruments, "instrument")):
        if skipped:
            yield f"skipped: {skipped.describe(noun)}"
    yield from (f"changed: {change}" for change in report.changes)
    yield from (
        f"{night.region}: {night.drift.advice}" for night in report.regions if night.drift and night.drift.advice
    )
    alerts = report.alerts
    if alerts.n_sent or alerts.n_pending or alerts.failed:
        yield f"alerts: {alerts.n_sent} sent, {alerts.n_pending} pending, {len(alerts.failed)} channels failed"
    verb = "to write" if report.is_dry else "written"
    yield f"{report.n_written:,} rows {verb}, {len(report.failures)} failed, {report.seconds:.1f} s"


def _standing_lines(report: NightlyReport) -> Iterator[str]:
    """Yield how many regions and instruments stand in which way, and name what is unusual and not skipped."""
    if not report.unusual:
        return
    for noun, stands in (("regions", report.region_standings), ("instruments", report.instrument_standings)):
        yield f"{noun}: {', '.join(f'{n:,} {standing}' for standing, n in count(stands).items())}"
    for standing in (Standing.YOUNG, Standing.RENAMED, Standing.CLOSED, Standing.HELD):
        named = [str(each) for each in report.unusual if each.standing is standing]
        more = f", and {len(named) - NAMED} more" if len(named) > NAMED else ""
        if named:
            yield f"{standing}: {', '.join(named[:NAMED])}{more}"


def _region_row(night: RegionNight) -> tuple[str, ...]:
    newest = night.newest
    said = ("-", "-", "-") if newest is None else (
        newest.label, f"{newest.confidence:.3f}",
        f"{newest.previous_label or '-'}{' (changed)' if newest.is_changed else ''}",
    )  # fmt: skip
    counts = (night.n_added, night.n_rewritten, night.n_joint_rows, len(night.findings))
    day = night.as_of_date if newest is None else newest.as_of_date
    return (night.region, str(day), *said, *(f"{count:,}" for count in counts))


@command("--open", "--host 0.0.0.0 --token-file token.txt --allow-host desk.example")
def serve(
    host: Annotated[str, option("Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, option("Port; 0 for any free one.", min=0, max=65_535)] = DEFAULT_PORT,
    token_file: Annotated[
        Path | None, option("File with a token that requests must bring; needed beyond this machine.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, option("Another name this server goes by; repeatable.", metavar="NAME")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, option("Pages whose scripts may read answers (CORS); repeatable.", metavar="ORIGIN")
    ] = None,
    allow_frame: Annotated[
        list[str] | None, option("Pages that may show ours in a frame; repeatable.", metavar="ORIGIN")
    ] = None,
    open_browser: Annotated[bool, option("Open the page in a browser.", "--open")] = False,
    with_mcp: Annotated[
        bool, option("Answer language models under /mcp, too (Model Context Protocol).", "--mcp")
    ] = False,
    workers: Annotated[int, option("Processes that answer, at most one for each core.", min=1, max=8)] = 1,
) -> int:
    """Serve the page and the API until stopped; nothing is written."""
    import webbrowser

    # requests are what runs in parallel; read when numpy is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from prometheus.core.config import load_config
    from prometheus.web import server

    if with_mcp:  # says at once what is not installed
        import prometheus.mcp.server  # noqa: F401

    with server.bind(host, port) as listener:
        rules = replace(
            _rules(listener, token_file, allow_host or []), origins=frozenset(allow_origin or ()),
            frames=tuple(allow_frame or ()),
        )  # fmt: skip
        settings, make = load_config(), partial(_application, rules, with_mcp)
        with server.open_reading_app(settings, announce=logger.info) as app:
            _say_if_empty(app)
            application = make(app, workers)
            listener.listen()
            address = server.address_of(listener)
            print_line(f"Prometheus is at {address}; stop it with Ctrl-C")
            sys.stdout.flush()
            if open_browser and not webbrowser.open(address):
                logger.info("no browser could be opened; go to %s", address)
            if workers == 1:
                server.run(application, listener)
        if workers > 1:
            from prometheus.web.workers import run_workers

            run_workers(workers, settings, make, listener)
    print_line("stopped")
    return 0


def _application(rules: AccessRules, with_mcp: bool, app: App, n_processes: int) -> ASGIApp:
    from prometheus.web.load import Limits
    from prometheus.web.server import create_app

    application = create_app(app, rules, Limits().shared_by(n_processes))
    if with_mcp:
        from prometheus.mcp.server import BesidePage

        application = BesidePage(application, app, rules)
    return application


@command("")
def mcp() -> int:
    """Answer a language model's questions as a Model Context Protocol server on standard input and output.

    Programs for language models start it themselves; nothing is written to the databases.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `serve` does
    from prometheus.core.config import load_config
    from prometheus.mcp.server import run_stdio
    from prometheus.web.server import open_reading_app

    with open_reading_app(load_config(), announce=logger.info) as app:
        run_stdio(app)
    return 0


def _rules(listener: socket.socket, token_file: Path | None, names: list[str]) -> AccessRules:
    from prometheus.web.access import LOOPBACK_HOSTS, AccessRules, read_token
    from prometheus.web.server import is_loopback

    bound = listener.getsockname()[0]
    if token_file is None and not is_loopback(listener):
        raise UsageError(f"{bound} can be reached from other machines; give --token-file FILE, or leave --host away")
    own = [] if bound in ANY_ADDRESS else [f"[{bound}]" if ":" in bound else bound]
    hosts = LOOPBACK_HOSTS | {name.lower() for name in (*own, *names)}
    return AccessRules(hosts, None if token_file is None else read_token(token_file))


def _say_if_empty(app: App) -> None:
    try:
        if not app.regimes.histories():
            logger.info("nothing is stored yet; fill it with: python -m prometheus quick FILE (or demo)")
    except DatabaseError as error:  # it may come back
        logger.warning("%s", error)
