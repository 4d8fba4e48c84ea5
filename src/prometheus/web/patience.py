"""An answer in time for everybody: a deadline for each request, and no more of them at once than can be served."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prometheus.web.errors import Problem, unavailable

FREE_PATHS = ("/healthz", "/metrics", "/static/")
"""Beginnings of addresses that are answered whatever else waits: they need no database."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one request may take, and how many may be under way; fewer than the 40 threads that do the work."""

    deadline_s: float = 8.0
    most_at_once: int = 16


class Patience:
    """ASGI middleware: whoever waits for too long, or comes when too many wait, gets 503.

    A thread cannot be stopped, so work past its deadline goes on unheard, and counts until it has ended.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"].startswith(FREE_PATHS):
            await self._app(scope, receive, send)
            return
        if len(self._running) >= self._limits.most_at_once:
            busy = unavailable("busy", f"{self._limits.most_at_once} requests are under way; ask again soon")
            await busy.response()(scope, receive, send)
            return
        answer = _OneAnswer(send)
        task = asyncio.ensure_future(self._app(scope, receive, answer.send))
        self._running.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait({task}, timeout=self._limits.deadline_s)
        if task.done() or answer.has_begun:
            await task
        else:
            await answer.replace(self._too_late(), scope, receive)

    def _too_late(self) -> Problem:
        return unavailable(
            "too_slow", f"no answer within {self._limits.deadline_s:.0f} s; ask for less, or again later"
        )

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # of one given up nobody asks any more


class _OneAnswer:
    """Sends what comes until it is replaced, and nothing of it after."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_replaced = False
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if not self._is_replaced:
            self.has_begun = True
            await self._send(message)

    async def replace(self, problem: Problem, scope: Scope, receive: Receive) -> None:
        self._is_replaced = True
        await problem.response()(scope, receive, self._send)
