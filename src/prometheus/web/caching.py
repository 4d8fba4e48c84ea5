"""Answers that need not be sent twice, nor as long as they are: ETag and 304, gzip, and HEAD."""

from __future__ import annotations

import gzip
import hashlib
import re

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

GZIP_FROM_BYTES = 1_000
GZIP_LEVEL = 1
"""Of numbers, level 6 saves five hundredths more bytes and takes six times as long."""
INLINE_BYTES = 32_768
"""Longer bodies are hashed and compressed on a thread, lest others wait for it."""
_TEXTUAL = re.compile(r"text/|application/(?:[a-z.+-]*json|javascript|xml)|image/svg")
_NO_GZIP = re.compile(r"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)")


class Representations:
    """ASGI middleware: gives every complete answer a strong ETag of its own bytes, and says 304 where it is known.

    The ETag of a compressed answer is another one. Answers that come in pieces are passed on as they are, as are those
    that bring an ETag or an encoding along.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(Headers(scope=scope), is_head=scope["method"] == "HEAD", send=send)
        inner = {**scope, "method": "GET"} if answer.is_head else scope
        await self._app(inner, receive, answer.send)
        if "route" in inner:
            scope["route"] = inner["route"]


class _Answer:
    """Holds the head of an answer back until its whole body is there, or is known to come in pieces."""

    def __init__(self, request: Headers, *, is_head: bool, send: Send) -> None:
        self._request = request
        self.is_head = is_head
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        start, self._start = self._start, None
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        if start is not None:
            if is_last and start["status"] == 200:
                start, body = await self._represent(start, body)
            await self._send(start)
        await self._send({**message, "body": b"" if self.is_head else body})

    async def _represent(self, start: Message, body: bytes) -> tuple[Message, bytes]:
        headers = MutableHeaders(raw=list(start["headers"]))
        headers.setdefault("Cache-Control", "no-cache")
        if "etag" not in headers and "content-encoding" not in headers:
            work = self._encode if len(body) <= INLINE_BYTES else None
            body = work(headers, body) if work else await run_in_threadpool(self._encode, headers, body)
            headers["Content-Length"] = str(len(body))
        status = 200
        if _knows(self._request.get("if-none-match", ""), headers.get("etag", "")):
            status, body = 304, b""
            for name in ("Content-Length", "Content-Type", "Content-Encoding"):
                del headers[name]
        return {**start, "status": status, "headers": headers.raw}, body

    def _encode(self, headers: MutableHeaders, body: bytes) -> bytes:
        tag = hashlib.sha256(body).hexdigest()[:32]
        if _TEXTUAL.match(headers.get("content-type", "")):
            headers.add_vary_header("Accept-Encoding")
            if len(body) >= GZIP_FROM_BYTES and accepts_gzip(self._request):
                headers["Content-Encoding"] = "gzip"
                tag += "-gzip"
                body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        headers["ETag"] = f'"{tag}"'
        return body


def accepts_gzip(request: Headers) -> bool:
    """Whether whoever asks can read gzip."""
    accepted = request.get("accept-encoding", "").lower()
    return "gzip" in accepted and _NO_GZIP.search(accepted) is None


def _knows(if_none_match: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return bool(etag) and (etag in tags or "*" in tags)
