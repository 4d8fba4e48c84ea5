"""The settings, the nightly run and the server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from prometheus.cli.parameters import date_option, option
from prometheus.cli.runner import Answer, command, command_app, logger, new_group, print_line, subcommand, table
from prometheus.errors import DatabaseError, UsageError
from prometheus.market.standings import Standing, count

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

    from prometheus.app import App
    from prometheus.app.night_reports import NightlyReport, RegionNight
    from prometheus.web.access import AccessRules

REGION_COLUMNS = ("region", "as of", "label", "sure", "before", "added", "rewritten", "joint rows", "findings")
TEXT_COLUMNS = ("texts", "model", "stored", "embedded")
DEFAULT_PORT = 8321
NAMED = 10
"""Names in a line; `--json` has all."""
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- named to be recognised

config = new_group("Print every setting and where it came from.")


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
