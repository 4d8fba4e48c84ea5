"""What surrounds every request: who may ask, how much at once, how answers travel, and what is counted."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import stat
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prometheus.errors import DatabaseError, DatabaseRefusedError, FileAccessError
from prometheus.web.errors import Problem

logger = logging.getLogger(__name__)

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Answered without a token: they only say that the server lives."""
MIN_TOKEN_CHARACTERS = 16
MAX_TOKEN_BYTES = 4_096
TOKEN_PARAMETERS = frozenset({"token", "access_token", "api_key", "apikey", "auth", "authorization", "bearer"})
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\s/@]+)(?::\d{1,5})?")
ARROW = "application/vnd.apache.arrow.stream"
GZIP_FROM_BYTES = 1_000
GZIP_LEVEL = 1
"""Of numbers, level 6 saves five hundredths more bytes and takes six times as long."""
INLINE_BYTES = 32_768
"""Longer bodies are hashed on a thread, so that other requests do not wait."""
_NO_GZIP = re.compile(r"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)")
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

WITHOUT_DATABASE = frozenset({"none", "/healthz", "/metrics", "/static/{name}", "/go"})
"""Routes whose answers say nothing about the databases."""


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What a request must bring: a known ``Host``, so that a foreign page cannot read answers, and the token, if any.

    `allowed_hosts` are lower case, without port. A method that sends something may only come from pages of these hosts.
    """

    allowed_hosts: frozenset[str]
    token: str | None = field(default=None, repr=False)
    methods: tuple[str, ...] = ("GET", "HEAD")

    def refusal(self, scope: Scope) -> Problem | None:
        """Return why a request is refused, None for one that is not."""
        headers = Headers(scope=scope)
        return (
            self._foreign_host(headers.get("host", ""))
            or self._token_in_url(scope["query_string"].decode("latin-1"))
            or (None if scope["path"] in OPEN_PATHS else self._wrong_token(headers.get("authorization", "")))
            or self._wrong_method(scope["method"], headers.get("origin", ""))
        )

    def _foreign_host(self, host: str) -> Problem | None:
        match = _HOST.fullmatch(host)
        if match is not None and match[1].lower() in self.allowed_hosts:
            return None
        return Problem(400, "foreign_host", f"this server does not go by {host!r}; start it with --allow-host NAME")

    def _token_in_url(self, query: str) -> Problem | None:
        pairs = parse_qsl(query, keep_blank_values=True)
        if not any(name.lower() in TOKEN_PARAMETERS or self._is_token(value) for name, value in pairs):
            return None
        detail = "a token in an address ends up in logs and histories; send it as: Authorization: Bearer TOKEN"
        return Problem(400, "token_in_url", detail)

    def _wrong_token(self, authorization: str) -> Problem | None:
        if self.token is None:
            return None
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return None
        detail = "the token is wrong" if authorization else "a token is needed"
        detail = f"{detail}; send it as: Authorization: Bearer TOKEN"
        return Problem(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})

    def _wrong_method(self, method: str, origin: str) -> Problem | None:
        if method not in self.methods:
            allowed = " and ".join(self.methods)
            return Problem(
                405, "method_not_allowed", f"this address only reads: {allowed}", {"Allow": ", ".join(self.methods)}
            )
        return self._foreign_host(origin.partition("://")[2]) if method == "POST" and origin else None

    def _is_token(self, given: str) -> bool:
        """Compare in a time that does not tell how much of a guess was right."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


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


class AccessControl(Middleware):
    """Refuses what the rules refuse, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        super().__init__(app)
        self._rules = rules

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._rules.refusal(scope)
        answer = self._app if refusal is None else refusal.response()
        await answer(scope, receive, send_guarded)


class Transfer(Middleware):
    """An ETag for every complete answer, 304 where the client has it, gzip, HEAD as GET without body.

    Tags are strong, and weak for clients that accept gzip: they stand for the compressed and the plain answer alike.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self._compressed = GZipMiddleware(self._tagged, minimum_size=GZIP_FROM_BYTES, compresslevel=GZIP_LEVEL)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        accepts_gzip = _accepts_gzip(Headers(scope=scope))
        inner = {**scope, "method": "GET"}
        if not accepts_gzip:
            inner["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]

        async def send_fitting(message: Message) -> None:
            if message["type"] == "http.response.start":
                _fit_tag(MutableHeaders(scope=message), is_weak=accepts_gzip)
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
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
    """Requests by route, how long they took, and whether the databases answered when last asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("regime_http_requests", "Requests answered.", labels, registry=self.registry)
        self._seconds = Histogram(
            "regime_http_request_seconds", "Time to the last byte.", ("route",), buckets=BUCKETS_S,
            registry=self.registry,
        )  # fmt: skip
        self._under_way = Gauge("regime_http_requests_under_way", "Requests not answered yet.", registry=self.registry)
        ready = "Whether the databases answered when last asked."
        self._is_ready = Gauge("regime_database_ready", ready, registry=self.registry)
        self._was_lost: bool | None = None
        ProcessCollector(registry=self.registry)

    def text(self) -> bytes:
        """Return all figures in the text format of Prometheus, the monitoring system."""
        return generate_latest(self.registry)

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


def read_token(path: Path) -> str:
    """Return the token in a file; `FileAccessError` for one that is open to others, too short, or not a token."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            token = file.read(MAX_TOKEN_BYTES + 1).decode("ascii", "replace").strip()
    except OSError as error:
        raise FileAccessError(str(path), error.strerror or str(error)) from error
    if mode & 0o077:
        raise FileAccessError(str(path), f"others may use it (mode {mode:04o}); run: chmod 600 {path}")
    if not re.fullmatch(r"[!-~]+", token) or len(token) > MAX_TOKEN_BYTES:
        raise FileAccessError(str(path), "a token is one line of printable ASCII without spaces")
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise FileAccessError(str(path), f"a token has at least {MIN_TOKEN_CHARACTERS} characters")
    return token
