"""Who may ask, how much at once, and what a browser may do with the answers."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prometheus.errors import FileAccessError
from prometheus.web.errors import Problem, unavailable

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Answered without a token: they only say that the server lives."""
UNLIMITED_PATHS = ("/healthz", "/metrics", "/static/")
"""Beginnings of addresses that need no database: answered whatever else waits."""
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


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What a request must bring: a known ``Host``, so that a foreign page cannot read answers, and the token, if any.

    `allowed_hosts` are lower case, without port.
    """

    allowed_hosts: frozenset[str]
    token: str | None = field(default=None, repr=False)

    def refusal(self, scope: Scope) -> Problem | None:
        """Return why a request is refused, None for one that is not."""
        headers = Headers(scope=scope)
        return (
            self._foreign_host(headers.get("host", ""))
            or self._token_in_url(scope["query_string"].decode("latin-1"))
            or (None if scope["path"] in OPEN_PATHS else self._wrong_token(headers.get("authorization", "")))
            or _wrong_method(scope["method"])
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
        return Problem(
            401, "unauthorized", f"{detail}; send it as: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
        )

    def _is_token(self, given: str) -> bool:
        """Compare in a time that does not tell how much of a guess was right."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


class AccessControl:
    """ASGI middleware: refuses what the rules refuse, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._rules.refusal(scope)
        answer = self._app if refusal is None else refusal.response()
        await answer(scope, receive, send_guarded)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for one request, and how many may run at once: fewer than the 40 threads that do the work."""

    deadline_s: float = 8.0
    most_at_once: int = 16


class Limiter:
    """ASGI middleware: a request over its deadline, or one too many, gets 503.

    A thread cannot be stopped: work past its deadline goes on, without a listener, and counts until it ends.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(UNLIMITED_PATHS):
            await self._app(scope, receive, send)
            return
        if len(self._running) >= self._limits.most_at_once:
            busy = unavailable("busy", f"{self._limits.most_at_once} requests are under way; ask again soon")
            await busy.response()(scope, receive, send)
            return
        has_begun = is_replaced = False

        async def send_in_time(message: Message) -> None:
            nonlocal has_begun
            if not is_replaced:
                has_begun = True
                await send(message)

        task = asyncio.ensure_future(self._app(scope, receive, send_in_time))
        self._running.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait({task}, timeout=self._limits.deadline_s)
        if task.done() or has_begun:
            await task
        else:
            is_replaced = True
            await self._too_late().response()(scope, receive, send)

    def _too_late(self) -> Problem:
        return unavailable(
            "too_slow", f"no answer within {self._limits.deadline_s:.0f} s; ask for less, or again later"
        )

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # of an abandoned one: retrieved, so that asyncio does not log it


def _wrong_method(method: str) -> Problem | None:
    if method in {"GET", "HEAD"}:
        return None
    return Problem(405, "method_not_allowed", "this server only reads: GET and HEAD", {"Allow": "GET, HEAD"})


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
