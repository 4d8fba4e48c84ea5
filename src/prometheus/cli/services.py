"""What runs unattended: the nightly run, and the server of the page and the API."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.cli.options import optional_date
from prometheus.cli.runner import Answer, command, command_app, logger, print_line, table
from prometheus.core.config import load_config
from prometheus.errors import DatabaseError, UsageError

if TYPE_CHECKING:
    import socket

    from prometheus.app import App
    from prometheus.app.nightly import NightlyReport, RegionNight
    from prometheus.web.middleware import AccessRules

REGION_COLUMNS = ("region", "as of", "label", "sure", "before", "added", "rewritten", "joint rows")
TEXT_COLUMNS = ("texts", "model", "stored", "embedded")
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- named to be recognised


@command
def nightly(
    as_of: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Up to which date; without it the last session whose close has passed."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="First date wanted; without it the first one stored, or the first one after the calibration.",
        ),
    ] = None,
    max_age_sessions: Annotated[int, typer.Option(min=0, help="Sessions that prices may lack.")] = 0,
    skip_stale: Annotated[
        bool, typer.Option("--skip-stale", help="Leave regions with older prices out instead of doing nothing.")
    ] = False,
    exit_code_if_noop: Annotated[
        int, typer.Option(min=0, max=255, metavar="N", help="Exit code when there was nothing to write.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--plan", help="Say what would be written; write nothing.")
    ] = False,
) -> Answer:
    """Compute and store what is missing of every configured region: embeddings, regimes, texts and joint rows."""
    from prometheus.app.prices import NightlyRequest

    request = NightlyRequest(
        now_utc=datetime.now(UTC),
        as_of_date=optional_date(as_of),
        since=optional_date(since),
        max_age_sessions=max_age_sessions,
        skip_stale=skip_stale,
        dry_run=dry_run,
    )
    with command_app("nightly") as application:
        report = application.nightly.run(request)
    is_noop = report.exit_code == 0 and report.n_written == 0
    return Answer(
        report.to_dict,
        lambda: "\n".join(_summary(report)),
        exit_code_if_noop if is_noop else report.exit_code,
        [f"failed: {name}: {failure}" for name, failures in report.failures.items() for failure in failures],
    )


def _summary(report: NightlyReport) -> Iterator[str]:
    if report.run_ids:
        logger.info("runs: %s", ", ".join(report.run_ids))
    yield from table([REGION_COLUMNS, *map(_region_row, report.regions)], numbers_right=True)
    texts = [
        (night.source_type, night.model_id, f"{night.n_texts:,}", f"{night.n_written:,}")
        for night in report.texts
        if night.n_texts
    ]
    if texts:
        yield from table([TEXT_COLUMNS, *texts], numbers_right=True)
    for skipped, noun in ((report.skipped_regions, "region"), (report.skipped_instruments, "instrument")):
        if skipped:
            yield f"skipped: {skipped.describe(noun)}"
    verb = "to write" if report.is_dry else "written"
    yield f"{report.n_written:,} rows {verb}, {len(report.failures)} failed, {report.seconds:.1f} s"


def _region_row(night: RegionNight) -> tuple[str, ...]:
    newest = night.newest
    said = ("-", "-", "-") if newest is None else (
        newest.label, f"{newest.confidence:.3f}",
        f"{newest.previous_label or '-'}{' (changed)' if newest.is_changed else ''}",
    )  # fmt: skip
    counts = (night.n_added, night.n_rewritten, night.n_joint_rows)
    day = night.as_of_date if newest is None else newest.as_of_date
    return (night.region, str(day), *said, *(f"{count:,}" for count in counts))


@command
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 for any free one.")] = 8321,
    token_file: Annotated[
        Path | None, typer.Option(help="File with a token that requests must bring; needed beyond this machine.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Another name this server goes by; repeatable.")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> str:
    """Serve the page and the API until stopped; nothing is written."""
    # requests are what runs in parallel; read when numpy is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from prometheus.web import server

    with server.bind(host, port) as listener:
        rules = _rules(listener, token_file, allow_host or [])
        with server.open_reading_app(load_config(), announce=logger.info) as app:
            _say_if_empty(app)
            application = server.create_app(app, rules)
            listener.listen()
            address = server.address_of(listener)
            print_line(f"Prometheus is at {address}; stop it with Ctrl-C")
            sys.stdout.flush()
            if open_browser:
                _open(address)
            server.run(application, listener)
    return "stopped"


def _rules(listener: socket.socket, token_file: Path | None, names: list[str]) -> AccessRules:
    from prometheus.web.middleware import LOOPBACK_HOSTS, AccessRules, read_token
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
            logger.info("nothing is stored yet; fill it with: python -m prometheus demo")
    except DatabaseError as error:  # it may come back
        logger.warning("%s", error)


def _open(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        logger.info("no browser could be opened; go to %s", address)
