"""Who asks, and how often each may."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeAlias

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from prometheus.web.errors import RETRY_AFTER_S, Problem
from prometheus.web.middleware import UNLIMITED_PATHS, Middleware

RATE_SPAN_S = 60.0
MOST_CLIENTS = 10_000
"""Clients whose rate is remembered; the one seen longest ago is forgotten first."""
UNKNOWN = "unknown"

Refuse: TypeAlias = Callable[[Scope, Problem], Response]


def client_of(scope: Scope) -> str:
    """Return the address that a request came from: of IPv6 the network, whose addresses belong to one client.

    A program on this machine, such as a reverse proxy, is believed the last address of its ``X-Forwarded-For``.

    Examples
    --------
    >>> client_of({"client": ("192.0.2.7", 5), "headers": [(b"x-forwarded-for", b"198.51.100.1")]})
    '192.0.2.7'
    >>> client_of({"client": ("127.0.0.1", 5), "headers": [(b"x-forwarded-for", b"192.0.2.1, 2001:db8::1")]})
    '2001:db8::'
    """
    peer = str(scope["client"][0]) if scope.get("client") else ""
    forwarded = Headers(scope=scope).get("x-forwarded-for", "").rpartition(",")[2].strip()
    try:
        address = ip_address(peer)
        if forwarded and address.is_loopback:
            address = ip_address(forwarded)
    except ValueError:
        return UNKNOWN
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), 64), strict=False).network_address)
    return str(address)


def too_many(detail: str, wait_s: float = RETRY_AFTER_S) -> Problem:
    """Return the refusal of a client that asks too much."""
    seconds = math.ceil(wait_s)
    return Problem(429, "too_many_requests", f"{detail}; ask again in {seconds} s", {"Retry-After": str(seconds)})


class ClientRate(Middleware):
    """Lets each client make at most `most_a_minute` requests, all at once if it likes; one more gets 429."""

    def __init__(self, app: ASGIApp, most_a_minute: int, refuse: Refuse) -> None:
        super().__init__(app)
        self._interval, self._refuse = RATE_SPAN_S / most_a_minute, refuse
        self._due: OrderedDict[str, float] = OrderedDict()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        wait_s = 0.0 if scope["path"].startswith(UNLIMITED_PATHS) else self._wait_s(client_of(scope), time.monotonic())
        if wait_s > 0.0:
            most = round(RATE_SPAN_S / self._interval)
            refused = too_many(f"a client may make {most:,} requests a minute", wait_s)
            await self._refuse(scope, refused)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _wait_s(self, client: str, now: float) -> float:
        """Count a request; return 0, or, uncounted, after how many seconds it would be let through."""
        due = max(self._due.pop(client, 0.0), now) + self._interval
        wait_s = due - now - RATE_SPAN_S
        is_late = wait_s > 1e-6
        self._due[client] = due - self._interval if is_late else due
        if len(self._due) > MOST_CLIENTS:
            self._due.popitem(last=False)
        return wait_s if is_late else 0.0
