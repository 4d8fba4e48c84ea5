"""What surrounds every request: who may ask, how much at once, how answers travel, and what is counted."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prometheus.errors import DatabaseError, DatabaseRefusedError
from prometheus.web.figures import StoredFigures
from prometheus.web.questions import HELD_SLASH

logger = logging.getLogger(__name__)

ARROW = "application/vnd.apache.arrow.stream"
MEDIA_TYPES: Mapping[str, str] = {
    "csv": "text/csv; charset=utf-8", "arrow": ARROW, "parquet": "application/vnd.apache.parquet",
}  # fmt: skip
"""Of a table, by its suffix."""
GZIP_FROM_BYTES = 1_000
GZIP_LEVEL = 1
"""Of numbers, level 6 saves five hundredths more bytes and takes six times as long."""
INLINE_BYTES = 32_768
"""Longer bodies are hashed on a thread, so that other requests do not wait."""
_NO_GZIP = re.compile(r"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)")
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

UNLIMITED_PATHS = ("/healthz", "/metrics", "/static/")
"""Beginnings of addresses that need no database: answered whatever else waits."""
FIGURES_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that names the folder in which the client library of Prometheus keeps the figures of several processes."""
WITHOUT_DATABASE = frozenset({"none", "/healthz", "/metrics", "/static/{name}", "/go"})
"""Routes whose answers say nothing about the databases."""


class Middleware(ABC):
    """ASGI middleware: answers HTTP; anything else passes through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = self._answer if scope["type"] == "http" else self._app
        await answer(scope, receive, send)

    @abstractmethod
    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class WholeSegments(Middleware):
    """Keeps a ``%2F`` within its part of a path, for names such as EUR/USD: decoded it would end the part."""

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path", b"").partition(b"?")[0]
        if b"%2f" in raw.lower():
            parts = (unquote(part.decode("latin-1")).replace("/", HELD_SLASH) for part in raw.split(b"/"))
            scope["path"] = "/".join(parts)
        await self._app(scope, receive, send)


class HeadAsGet(Middleware):
    """Answers HEAD as GET, without the body."""

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        asked = {**scope, "method": "GET"}
        await self._app(asked, receive, send_head)
        scope["route"] = asked.get("route")


class Transfer(Middleware):
    """An ETag for every complete answer, 304 where the client has it, and gzip.

    Tags are strong, and weak for clients that accept gzip: they stand for the compressed and the plain answer alike.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self._compressed = GZipMiddleware(self._tagged, minimum_size=GZIP_FROM_BYTES, compresslevel=GZIP_LEVEL)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepts_gzip = _accepts_gzip(Headers(scope=scope))
        inner = dict(scope)
        if not accepts_gzip:
            inner["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]

        async def send_fitting(message: Message) -> None:
            if message["type"] == "http.response.start":
                _fit_tag(MutableHeaders(scope=message), is_weak=accepts_gzip)
            await send(message)

        await self._compressed(inner, receive, send_fitting)
        if "route" in inner:
            scope["route"] = inner["route"]

    async def _tagged(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold the head of an answer back until its whole body is there, or is known to come in pieces."""
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                if start["status"] == 200 and not message.get("more_body", False):
                    message = await _tag(Headers(scope=scope), start, message)
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, send_tagged)


async def _tag(request: Headers, start: Message, message: Message) -> Message:
    """Give an answer its ETag; return its body, or none, with 304, where the client has it."""
    headers, body = MutableHeaders(scope=start), message.get("body", b"")
    headers.setdefault("Cache-Control", "no-cache")
    if "etag" not in headers:
        headers["ETag"] = digest(body) if len(body) <= INLINE_BYTES else await run_in_threadpool(digest, body)
    known = {tag.strip().removeprefix("W/") for tag in request.get("if-none-match", "").split(",")}
    if known.isdisjoint({headers["etag"], "*"}):
        return message
    start["status"] = 304
    for name in ("Content-Length", "Content-Type"):
        del headers[name]
    return {**message, "body": b""}


def _fit_tag(headers: MutableHeaders, *, is_weak: bool) -> None:
    if "etag" not in headers:
        return
    if is_weak:
        headers["ETag"] = f"W/{headers['etag']}"
    if "Accept-Encoding" not in headers.get("vary", ""):
        headers.add_vary_header("Accept-Encoding")


def digest(body: bytes) -> str:
    """Return the ETag of a body."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _accepts_gzip(request: Headers) -> bool:
    """Whether to compress; vectors as Arrow hardly get shorter."""
    accepted = request.get("accept-encoding", "").lower()
    return "gzip" in accepted and _NO_GZIP.search(accepted) is None and ARROW not in request.get("accept", "")


class WebMetrics:
    """Requests by route, how long they took, whether the databases answered when last asked, and what they hold."""

    def __init__(self, stored: StoredFigures) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("regime_http_requests", "Requests answered.", labels, registry=self.registry)
        self._seconds = Histogram(
            "regime_http_request_seconds", "Time to the last byte.", ("route",), buckets=BUCKETS_S,
            registry=self.registry,
        )  # fmt: skip
        self._refused = Counter(
            "regime_http_requests_refused", "Requests refused unread: too many, or too slow.", ("error",),
            registry=self.registry,
        )  # fmt: skip
        under_way = "Requests not answered yet."
        self._under_way = Gauge(
            "regime_http_requests_under_way", under_way, registry=self.registry, multiprocess_mode="sum"
        )
        ready = "Whether the databases answered when last asked."
        self._is_ready = Gauge("regime_database_ready", ready, registry=self.registry, multiprocess_mode="min")
        self._was_lost: bool | None = None
        ProcessCollector(registry=self.registry)
        self._stored = stored
        stored.tell(self.database_answered, self.database_failed)
        self.registry.register(stored)

    async def refresh(self) -> None:
        """Ask the databases for figures, seldom and not for long, and note whether they answered."""
        await self._stored.refresh()

    def text(self) -> bytes:
        """Return all figures in the text format of Prometheus, the monitoring system.

        Those of several processes are summed, and say nothing of the processes themselves.
        """
        folder, registry = os.environ.get(FIGURES_FOLDER), self.registry
        if folder is not None:
            registry = CollectorRegistry()
            collect: Any = MultiProcessCollector  # without types
            collect(registry, folder)
            registry.register(self._stored)
        return generate_latest(registry)

    def begin(self) -> None:
        """Count a request that has come."""
        self._under_way.inc()

    def end(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._under_way.dec()
        known = method if method in {"GET", "HEAD"} else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if status < 400 and route not in WITHOUT_DATABASE:
            self.database_answered()

    def refused(self, error: str) -> None:
        """Count a request that was refused before it reached its route, by the name of the error."""
        self._refused.labels(error).inc()

    def database_answered(self) -> None:
        """Note that a question to the databases was answered; say so in the log if the one before was not."""
        if self._was_lost:
            logger.warning("the database answers again")
        self._was_lost = False
        self._is_ready.set(1)

    def database_failed(self, error: DatabaseError) -> None:
        """Note that a question was not answered, and the first time say in the log why."""
        if isinstance(error, DatabaseRefusedError):  # it answered, if only with a refusal
            logger.warning("%s", error)
            return
        if not self._was_lost:
            logger.warning("%s; requests get 503 until it answers", error)
        self._was_lost = True
        self._is_ready.set(0)


class MeasuredRequests(Middleware):
    """The outermost: counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: WebMetrics) -> None:
        super().__init__(app)
        self._metrics = metrics

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 500

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        self._metrics.begin()
        try:
            await self._app(scope, receive, send_noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.end(scope["method"], route, status, time.perf_counter() - began)
