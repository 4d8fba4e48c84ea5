"""Who may ask, from which pages, and what browsers may do with the answers."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prometheus.core.secrets import MAX_SECRET_BYTES, read_private_file
from prometheus.errors import FileAccessError, UsageError
from prometheus.web.errors import Problem
from prometheus.web.middleware import Middleware
from prometheus.web.rendering import written

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Answered without a token: they only say that the server lives."""
LOGIN, LOGOUT, COOKIE = "/login", "/logout", "prometheus_session"
SESSION_S = 12 * 3600
MAX_FORM_BYTES = 8_192
WRONG = "That is not the token."
MIN_TOKEN_CHARACTERS = 16
TOKEN_PARAMETERS = frozenset({"token", "access_token", "api_key", "apikey", "auth", "authorization", "bearer"})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors {}"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": _POLICY.format("'none'"),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer, but for the pages that `AccessRules.frames` lets frame it."""
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Accept, Authorization, If-None-Match",
    "Access-Control-Max-Age": "600",
}
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\s/@]+)(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What a request must bring: a known ``Host``, so that a foreign page cannot read answers, and the token, if any.

    `allowed_hosts` are lower case, without port. `origins` are those of pages whose scripts may read answers, `frames`
    those of pages that may frame ours: ``scheme://host[:port]``. A browser trades the token for a cookie at `LOGIN`. A
    method that sends something may only come from pages of these hosts.
    """

    allowed_hosts: frozenset[str]
    token: str | None = field(default=None, repr=False)
    origins: frozenset[str] = frozenset()
    frames: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("GET", "HEAD")

    def __post_init__(self) -> None:
        for option, given in (("--allow-origin", self.origins), ("--allow-frame", self.frames)):
            for origin in given:
                require_origin(option, origin)

    def refusal(self, scope: Scope) -> Problem | None:
        """Return why a request is refused, None for one that is not."""
        headers = Headers(scope=scope)
        return (
            self.foreign_host(headers.get("host", ""))
            or self._token_in_url(scope["query_string"].decode("latin-1"))
            or (None if scope["path"] in OPEN_PATHS else self._wrong_token(headers))
            or self._wrong_method(scope["method"], headers.get("origin", ""))
        )

    def security_headers(self) -> dict[str, str]:
        """Return the headers that tell browsers what they may do."""
        if not self.frames:
            return SECURITY_HEADERS
        framed = {**SECURITY_HEADERS, "Content-Security-Policy": _POLICY.format(" ".join(self.frames))}
        return {name: value for name, value in framed.items() if name != "X-Frame-Options"}

    def is_token(self, given: str) -> bool:
        """Compare in a time that does not tell how much of a guess was right."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def session(self, now: float) -> str:
        """Return a cookie's value that stands for the token until `SESSION_S` later."""
        until = str(int(now) + SESSION_S)
        return f"{until}.{self._signature(until)}"

    def _is_session(self, cookie: str, now: float) -> bool:
        until, _, signature = cookie.partition(".")
        is_ours = hmac.compare_digest(signature.encode(), self._signature(until).encode())
        return is_ours and until.isascii() and until.isdigit() and int(until) > now

    def _signature(self, until: str) -> str:
        key = (self.token or "").encode()
        return hmac.new(key, f"prometheus session until {until}".encode(), hashlib.sha256).hexdigest()

    def foreign_host(self, host: str) -> Problem | None:
        """Return why a request to a host of that name is refused, None where the server goes by it."""
        match = _HOST.fullmatch(host)
        if match is not None and match[1].lower() in self.allowed_hosts:
            return None
        return Problem(400, "foreign_host", f"this server does not go by {host!r}; start it with --allow-host NAME")

    def _token_in_url(self, query: str) -> Problem | None:
        pairs = parse_qsl(query, keep_blank_values=True)
        if not any(name.lower() in TOKEN_PARAMETERS or self.is_token(value) for name, value in pairs):
            return None
        detail = "a token in an address ends up in logs and histories; send it as: Authorization: Bearer TOKEN"
        return Problem(400, "token_in_url", detail)

    def _wrong_token(self, headers: Headers) -> Problem | None:
        if self.token is None:
            return None
        authorization = headers.get("authorization", "")
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return None
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        if not authorization and cookie is not None and self._is_session(cookie, time.time()):
            return None
        detail = "the token is wrong" if authorization else "a token is needed"
        detail = f"{detail}; send it as: Authorization: Bearer TOKEN"
        return Problem(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})

    def _wrong_method(self, method: str, origin: str) -> Problem | None:
        if method not in self.methods:
            allowed = {"Allow": ", ".join(self.methods)}
            return Problem(405, "method_not_allowed", f"this server only reads: {' and '.join(self.methods)}", allowed)
        return self.foreign_host(origin.partition("://")[2]) if method == "POST" and origin else None


def require_origin(option: str, origin: str) -> None:
    """Raise `UsageError` unless a text is an origin as browsers write it: scheme, host, and a port of its own."""
    parts = urlsplit(origin)
    if parts.scheme not in {"http", "https"} or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
        raise UsageError(f"{option} {origin!r} is no origin, such as https://desk.example")
    if "@" in parts.netloc or origin != origin.lower():
        raise UsageError(f"{option} {origin!r}: write scheme and host in small letters, without a user")


class AccessControl(Middleware):
    """Refuses what the rules refuse, logs browsers in, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        super().__init__(app)
        self._rules, self._headers = rules, rules.security_headers()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Headers(scope=scope)
        origin = request.get("origin", "")
        is_friend = origin in self._rules.origins

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if self._rules.origins:
                    headers.add_vary_header("Origin")
                if is_friend:
                    headers["Access-Control-Allow-Origin"] = origin
                    headers["Access-Control-Expose-Headers"] = "ETag, Retry-After"
            await send(message)

        if is_friend and scope["method"] == "OPTIONS":
            answer: ASGIApp = Response(status_code=204, headers=PREFLIGHT)
        elif self._rules.token is not None and scope["path"] in {LOGIN, LOGOUT}:
            answer = await self._log_in(Request(scope, receive))
        else:
            refusal = self._rules.refusal(scope)
            answer = self._app if refusal is None else _refused(refusal, scope, request)
        await answer(scope, receive, send_guarded)

    async def _log_in(self, request: Request) -> Response:
        """Return the page that asks for the token, or a way on with a cookie that stands for it."""
        refusal = self._rules.foreign_host(request.headers.get("host", "")) or _foreign_page(request)
        if refusal is not None:
            return refusal.response()
        if request.url.path == LOGOUT:
            gone = RedirectResponse(LOGIN, status_code=303)
            gone.delete_cookie(COOKIE)
            return gone
        to = _own_path(request.query_params.get("next", "/"))
        if request.method != "POST":
            return _login_page(to, "")
        given = await _secret_of(request)
        return self._let_in(request, to) if self._rules.is_token(given) else _login_page(to, WRONG, 401)

    def _let_in(self, request: Request, to: str) -> Response:
        let_in = RedirectResponse(to, status_code=303)
        is_secure = "https" in {request.url.scheme, request.headers.get("x-forwarded-proto", "")}
        let_in.set_cookie(
            COOKIE, self._rules.session(time.time()), max_age=SESSION_S, httponly=True, samesite="strict",
            secure=is_secure,
        )  # fmt: skip
        return let_in


async def _secret_of(request: Request) -> str:
    """Return what a form says; an empty text for one that is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("secret", [""])[0].strip()


def _foreign_page(request: Request) -> Problem | None:
    if request.headers.get("sec-fetch-site", "same-origin") in {"same-origin", "none"} or request.method != "POST":
        return None
    return Problem(400, "foreign_page", "log in on the page of this server")


def _refused(refusal: Problem, scope: Scope, headers: Headers) -> Response:
    """Return a refusal; a browser without the token is led to where it can give it."""
    is_page = "text/html" in headers.get("accept", "") and scope["method"] in {"GET", "HEAD"}
    if refusal.error != "unauthorized" or not is_page or headers.get("authorization"):
        return refusal.response()
    query = scope["query_string"].decode("latin-1")
    to = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"{LOGIN}?next={quote(to, safe='')}", status_code=303)


def _own_path(to: str) -> str:
    """Return a path of this server; the front page for anything else, such as another server's address."""
    return to if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", to) else "/"


def _login_page(to: str, said: str, status: int = 200) -> Response:
    page = written("login.html", {"to": to, "said": said}, lambda name: name)
    return HTMLResponse(page, status, {"Cache-Control": "no-store"})


def read_token(path: Path) -> str:
    """Return the token in a file; `FileAccessError` for one that is open to others, too short, or not a token."""
    token = read_private_file(path).decode("ascii", "replace").strip()
    if not re.fullmatch(r"[!-~]+", token) or len(token) > MAX_SECRET_BYTES:
        raise FileAccessError(str(path), "a token is one line of printable ASCII without spaces")
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise FileAccessError(str(path), f"a token has at least {MIN_TOKEN_CHARACTERS} characters")
    return token
