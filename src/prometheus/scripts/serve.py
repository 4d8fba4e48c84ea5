"""Show the page and answer the API."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.core.config import load_config
from prometheus.errors import DatabaseError, UsageError
from prometheus.scripts.terminal import Debug, logger, new_command, print_line, run

if TYPE_CHECKING:
    import socket

    from prometheus.app import App
    from prometheus.web.access import AccessRules

ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- named to be recognised


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
    debug: Debug = False,
) -> int:
    """Serve the page and the API until stopped; nothing is written."""
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # requests are what runs in parallel; read when numpy is imported
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
    print_line("stopped")
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
            logger.info("nothing is stored yet; fill it with: python -m prometheus demo")
    except DatabaseError as error:  # it may come back
        logger.warning("%s", error)


def _open(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        logger.info("no browser could be opened; go to %s", address)


app = new_command(serve)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus serve"))
