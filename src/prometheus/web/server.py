"""The server: assembled, bound to an address, and run until stopped."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from types import FrameType

import uvicorn
from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from prometheus import __version__
from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig
from prometheus.errors import DatabaseUnreachableError, UsageError, unusable_address
from prometheus.web import middleware, operations, overview, page, record, reference, tables
from prometheus.web.access import AccessControl, AccessRules
from prometheus.web.api import ROUTERS, StrictJson
from prometheus.web.assets import Assets
from prometheus.web.clients import ClientRate
from prometheus.web.connections import Connections
from prometheus.web.errors import PROBLEMS, Problem, add_error_handlers, show
from prometheus.web.figures import StoredFigures
from prometheus.web.load import KeptAnswers, Limiter, Limits

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 1
STATEMENT_TIMEOUT_S = 5
SHUTDOWN_S = 5
TICKS_A_SECOND = 10
"""Of uvicorn's main loop."""
_M_ARENA_MAX = -8  # malloc.h of glibc
_DESCRIPTION = (
    "Which regime each market is in, how sure that is, and which past days and texts were like it. Read only."
)


def create_app(app: App, rules: AccessRules, limits: Limits | None = None) -> ASGIApp:
    """Return the ASGI application over an open app."""
    metrics = middleware.WebMetrics(StoredFigures(app))
    api = FastAPI(
        title="Prometheus", version=__version__, description=_DESCRIPTION, openapi_url="/v1/openapi.json",
        docs_url=None, redoc_url=None, redirect_slashes=False, default_response_class=StrictJson, responses=PROBLEMS,
    )  # fmt: skip
    api.state.prometheus, api.state.metrics = app, metrics
    api.state.assets, api.state.error_page = Assets(), page.error_page
    add_error_handlers(api, metrics.database_failed)
    needs = [] if rules.token is None else [Security(HTTPBearer(auto_error=False))]  # checked by `rules`, told here
    for router in (*ROUTERS, operations.router, overview.api, tables.tables, record.router, reference.router):
        api.include_router(router, dependencies=needs)
    for pages in (overview.page, record.page, page.router):
        api.include_router(pages)

    def refuse(scope: Scope, problem: Problem) -> Response:
        metrics.refused(problem.error)
        return show(Request({**scope, "app": api}), problem)

    limited = Limiter(middleware.Transfer(api), limits or Limits(), refuse)
    kept = KeptAnswers(limited, app.db_manager.visible_state, refuse, metrics.database_failed)
    answering: ASGIApp = middleware.WholeSegments(tables.TablesByAccept(middleware.HeadAsGet(kept)))
    rate = app.db_manager.config.client_requests_per_minute
    if rate is not None:
        answering = ClientRate(answering, rate, refuse)
    guarded = AccessControl(answering, rules)
    return middleware.MeasuredRequests(guarded, metrics)


@contextmanager
def open_reading_app(
    config: PrometheusConfig, announce: Callable[[str], None] | None = None, n_processes: int = 1
) -> Iterator[App]:
    """Yield an app that only reads and never waits for long; an embedded server is started and migrated first.

    Of `n_processes` that answer together it is one.

    `DatabaseError` where a database cannot be used; one that does not answer yet is waited for later.
    """
    patient = DatabaseManager(config, announce=announce)
    try:
        patient.server_version()
        with patient.get_runtime_connection():
            pass
    except DatabaseUnreachableError as error:
        logger.warning("%s; serving, with 503 until it answers", error)
    finally:
        patient.close_all()
    in_time = {"connect_timeout_s": CONNECT_TIMEOUT_S, "statement_timeout_s": STATEMENT_TIMEOUT_S}
    manager = DatabaseManager(
        config.model_copy(update=in_time), announce=announce, read_only=True, n_processes=n_processes
    )
    try:
        yield App(manager)
    finally:
        manager.close_all()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address, not listening yet; port 0 is any free one.

    `UsageError` for an unknown host, `PrometheusError` for an address that is in use or not ours.
    """
    name = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host!r} is no address of this machine: {error}") from error
    listener = socket.socket(family, kind, protocol)  # asyncio sends at once only where the protocol says TCP
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise unusable_address(name, (error.strerror or str(error)).lower()) from error
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach a socket."""
    return ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def address_of(listener: socket.socket) -> str:
    """Return the address of a socket as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(application: ASGIApp, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are given a few seconds to end."""
    _share_arenas()
    connections = Connections()
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # one line of ours says it, not one for each attempt
    config = uvicorn.Config(
        application, log_config=None, server_header=False, proxy_headers=False, ws="none",
        access_log=False,  # addresses may hold what was searched for
        http=connections.protocol, timeout_graceful_shutdown=SHUTDOWN_S,
    )  # fmt: skip
    asyncio.run(_Server(config, connections).serve(sockets=[listener]))


def _share_arenas() -> None:
    """Let the threads share two arenas of the C allocator: each keeps what was freed in it, and there were up to 16."""
    with suppress(AttributeError, OSError):  # glibc alone has it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


class _Server(uvicorn.Server):
    """A server that a signal ends without an error, and that waits for no client for ever."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_SECOND == 0:
            self._connections.end_overdue()
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM)
        earlier = {number: signal.signal(number, self._stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # the second time at once
        self.should_exit = True
