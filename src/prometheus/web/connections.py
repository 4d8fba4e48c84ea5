"""Connections of clients: how long each may take to ask, how many there are, and room kept for health and figures.

The head and the body of a request have a deadline each, so slow clients hold nothing for long. Where there are too many
connections, the one that has kept the server waiting longest makes room for the next. If all of them are being
answered, further ones are answered questions of health and figures alone.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from prometheus.web.clients import client_of
from prometheus.web.errors import unavailable
from prometheus.web.middleware import UNLIMITED_PATHS

_TIMED_OUT = (408, "Request Timeout", "the request was not here in time")
_CROWDED = (503, "Service Unavailable", "there are too many connections")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds for the head and the body of a request, and without progress of an answer; how many connections.

    `most_kept` are beyond `most`, for health and figures; `most_of_a_client` counts for addresses of other machines, as
    those behind a reverse proxy share one of this machine.
    """

    head_s: float = 10.0
    body_s: float = 20.0
    answer_s: float = 60.0
    most: int = 500
    most_kept: int = 64
    most_of_a_client: int = 200


class Connections:
    """All connections of one server, each a `LimitedConnection`."""

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self._open: set[LimitedConnection] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def protocol(self) -> Any:
        """What uvicorn takes for its protocol: makes a connection that is one of these."""
        return partial(LimitedConnection, self)

    def admit(self, new: LimitedConnection) -> None:
        """Take a connection in; another one that waits may have to make room for it."""
        limits = self.limits
        self._open.add(new)
        if not new.is_local:
            own = [each for each in self._open if each.peer == new.peer]
            if len(own) > limits.most_of_a_client and not _make_room(own, new):
                new.end(*_CROWDED)
                return
        if len(self._open) <= limits.most or _make_room(self._open, new):
            return
        if len(self._open) > limits.most + limits.most_kept:
            new.end(*_CROWDED)
        else:
            new.answer_health_alone()

    def forget(self, gone: LimitedConnection) -> None:
        """Note that a connection is closed."""
        self._open.discard(gone)

    def end_overdue(self) -> None:
        """End the connections whose request or answer makes no progress; to be called each second or so."""
        now = time.monotonic()
        for each in list(self._open):
            each.end_if_overdue(now, self.limits)


def _make_room(found: set[LimitedConnection] | list[LimitedConnection], new: LimitedConnection) -> bool:
    """End the connection that has kept the server waiting longest; False if all others are being answered."""
    waiting = [each for each in found if each is not new and each.waits_for is not None]
    if not waiting:
        return False
    min(waiting, key=lambda each: each.since).end(*_CROWDED)
    return True


class LimitedConnection(H11Protocol):
    """A connection that knows what the server waits for: the `head` or `body` of a request, or the `next` request."""

    def __init__(self, shared: Connections, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._shared = shared
        self.waits_for: str | None = "head"
        self.since = time.monotonic()
        self._unsent, self._unsent_since = 0, self.since
        self.peer, self.is_local = "", False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head of a request."""
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        self.peer = client_of({"client": (host, 0), "headers": []})
        self.is_local = _is_loopback(host)
        self._shared.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the place."""
        self._shared.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._note()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._note()

    def end_if_overdue(self, now: float, limits: ConnectionLimits) -> None:
        """End it if its request, or the reading of its answer, takes too long."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since > limits.answer_s:
            self.transport.abort()
            return
        longest = {"head": limits.head_s, "body": limits.body_s}.get(self.waits_for or "")
        if longest is not None and now - self.since > longest:
            self.end(*_TIMED_OUT)

    def end(self, status: int, phrase: str, detail: str) -> None:
        """Close it, and say why unless an answer is under way or nothing was asked since the last one."""
        was, self.waits_for = self.waits_for, None
        if self.transport.is_closing():
            return
        if self.transport.get_write_buffer_size():  # an answer that is not read; closing would wait for it
            self.transport.abort()
            return
        is_answering = was == "body" and self.cycle is not None and self.cycle.response_started
        if was != "next" and not is_answering:
            head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain\r\nContent-Length: {len(detail) + 1}\r\n"
            self.transport.write(f"{head}Connection: close\r\n\r\n{detail}\n".encode("ascii"))
        self.transport.close()

    def answer_health_alone(self) -> None:
        """Answer questions of health and figures, and refuse all others."""
        self.app = partial(_health_alone, self.app)

    def _note(self) -> None:
        """Find out what is waited for, and since when: a head that comes byte by byte is one wait."""
        theirs, was = self.conn.their_state, self.waits_for
        if theirs is h11.SEND_BODY:
            self.waits_for = "body"
        elif theirs is not h11.IDLE:
            self.waits_for = None
        elif self.cycle is None or self.conn.trailing_data[0]:
            self.waits_for = "head"
        else:
            self.waits_for = "next"
        if self.waits_for != was:
            self.since = time.monotonic()


async def _health_alone(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" and not scope["path"].startswith(UNLIMITED_PATHS):
        refusal = unavailable("busy", "there are too many connections; ask again soon").response()
        refusal.headers["Connection"] = "close"
        await refusal(scope, receive, send)
        return
    await app(scope, receive, send)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
