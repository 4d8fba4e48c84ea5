"""What goes over the wire: ETag and 304, gzip, HEAD, and the files that pages load."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ARROW = "application/vnd.apache.arrow.stream"
GZIP_FROM_BYTES = 1_000
GZIP_LEVEL = 1
"""Of numbers, level 6 saves five hundredths more bytes and takes six times as long."""
INLINE_BYTES = 32_768
"""Longer bodies are hashed on a thread, so that other requests do not wait."""
STATIC = Path(__file__).parent / "static"
PLOTLY = "plotly.min.js"
_NO_GZIP = re.compile(r"gzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)")

router = APIRouter(include_in_schema=False)


class Transfer:
    """ASGI middleware: an ETag for every complete answer, 304 where the client has it, gzip, HEAD as GET without body.

    Tags are strong, and weak for clients that accept gzip: they stand for the compressed and the plain answer alike.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressed = GZipMiddleware(self._tagged, minimum_size=GZIP_FROM_BYTES, compresslevel=GZIP_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
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
        headers["ETag"] = _digest(body) if len(body) <= INLINE_BYTES else await run_in_threadpool(_digest, body)
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


def _digest(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _accepts_gzip(request: Headers) -> bool:
    """Whether to compress; vectors as Arrow hardly get shorter."""
    accepted = request.get("accept-encoding", "").lower()
    return "gzip" in accepted and _NO_GZIP.search(accepted) is None and ARROW not in request.get("accept", "")


class Assets(StaticFiles):
    """The files beside this module and Plotly's script, from its package; no other file is served."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC, packages=[("plotly", "package_data")], follow_symlink=True)
        names = [*(path.name for path in STATIC.iterdir() if path.is_file()), PLOTLY]
        self._versions = {name: _digest(Path(self.lookup_path(name)[0]).read_bytes())[1:17] for name in names}

    def address(self, name: str) -> str:
        """Return where a page finds a file; the address changes with the content."""
        return f"/static/{name}?v={self._versions[name]}"

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file by its name, or 404."""
        if path not in self._versions:
            raise HTTPException(404)
        return await super().get_response(path, scope)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file; under the address of its present content, clients may keep it for good."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("v")
        is_current = asked == [self._versions[Path(full_path).name]]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_current else "no-cache"
        return response


@router.get("/static/{name}")
async def get_asset(request: Request, name: str) -> Response:
    """Return a file that pages load."""
    assets: Assets = request.app.state.assets
    return await assets.get_response(name, request.scope)
