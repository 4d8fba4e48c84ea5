"""Many requests at once: answers that are kept while nothing changes, and queues with a deadline."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prometheus.errors import DatabaseError
from prometheus.web.clients import Refuse, client_of, too_many
from prometheus.web.errors import Problem, problem_of, unavailable
from prometheus.web.middleware import UNLIMITED_PATHS, Middleware

NEVER_KEPT = (*UNLIMITED_PATHS, "/readyz", "/v1/openapi.json", "/go")
KEPT_BYTES, KEPT_ANSWER_BYTES, ENTRY_BYTES = 64 << 20, 2 << 20, 4 << 10
"""Of all answers that are kept, of the longest one, and what any takes beside its body."""
KINDS = frozenset({
    "analogs", "changes", "embeddings", "findings", "instruments", "overview", "record", "regimes", "runs", "texts",
    "transitions",
})  # fmt: skip
"""Of questions to the API; each of them, pages, and all others have a queue of their own."""

_REGION_ROUTE = re.compile(r"/v1/regions/[^/]+/([a-z]+)")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds for one request, waiting included; how many run at once, of one kind, and of texts; how many wait.

    `most_at_once` is below the 40 threads that do the work. One kind of question, such as one that waits for a locked
    table, leaves room for the others. One client has at most `client_share` of the places, and `most_of_a_client`
    requests that run or wait.
    """

    deadline_s: float = 8.0
    most_at_once: int = 16
    most_of_a_kind: int = 10
    most_texts: int = 3
    most_waiting: int = 240
    client_share: float = 0.75
    most_of_a_client: int = 180

    def shared_by(self, n_processes: int) -> Limits:
        """Return the limits of one of several processes, which together work on as much as these say."""
        names = ("most_at_once", "most_of_a_kind", "most_texts")
        return replace(self, **{name: max(1, getattr(self, name) // n_processes) for name in names})


class _Places:
    """Places at which questions are worked on, of all and of each kind, or a share of them for one client."""

    def __init__(self, limits: Limits, share: float = 1.0) -> None:
        def part(n_places: int) -> asyncio.Semaphore:
            return asyncio.Semaphore(max(1, int(n_places * share)))

        self._all = part(limits.most_at_once)
        self._kinds: dict[str, asyncio.Semaphore] = defaultdict(lambda: part(limits.most_of_a_kind))
        self._kinds["texts"] = part(limits.most_texts)
        self.n_in_flight = 0

    def needed(self, kind: str) -> tuple[asyncio.Semaphore, asyncio.Semaphore]:
        """Return what a question of a kind takes one of each, in order."""
        return self._kinds[kind], self._all


class Limiter(Middleware):
    """Lets some requests run and the others wait in order; one over its deadline, or one too many, gets 503.

    A client waits for its own share first, so that others are answered beside one that asks too much; that gets 429.
    A thread cannot be stopped: work past its deadline goes on, without a listener, and counts until it ends.
    """

    def __init__(self, app: ASGIApp, limits: Limits, refuse: Refuse) -> None:
        super().__init__(app)
        self._limits, self._refuse = limits, refuse
        self._places = _Places(limits)
        self._clients: dict[str, _Places] = {}
        self._n_waiting = 0

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(UNLIMITED_PATHS):
            await self._app(scope, receive, send)
            return
        loop, deadline = asyncio.get_running_loop(), self._limits.deadline_s
        until = loop.time() + deadline
        name, kind = client_of(scope), kind_of(scope["path"])
        client = self._clients.get(name) or _Places(self._limits, self._limits.client_share)
        problem = self._one_too_many(client)
        if problem is not None:
            await self._refuse(scope, problem)(scope, receive, send)
            return
        has_begun = is_replaced = False

        async def send_in_time(message: Message) -> None:
            nonlocal has_begun
            if not is_replaced:
                has_begun = True
                await send(message)

        self._n_waiting += 1
        places = AsyncExitStack()
        places.enter_context(self._in_flight(name, client))
        try:
            async with asyncio.timeout_at(until):
                for place in (*client.needed(kind), *self._places.needed(kind)):
                    await places.enter_async_context(place)
        except BaseException as error:
            await places.aclose()
            if not isinstance(error, TimeoutError):
                raise
            await self._refuse(scope, self._too_slow())(scope, receive, send)
            return
        finally:
            self._n_waiting -= 1
        task = asyncio.ensure_future(self._run(scope, receive, send_in_time, places))
        task.add_done_callback(_forget)
        await asyncio.wait({task}, timeout=max(0.0, until - loop.time()))
        if task.done() or has_begun:
            await task
        else:
            is_replaced = True
            await self._refuse(scope, self._too_slow())(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send, places: AsyncExitStack) -> None:
        async with places:
            await self._app(scope, receive, send)

    def _one_too_many(self, client: _Places) -> Problem | None:
        if client.n_in_flight >= self._limits.most_of_a_client:
            return too_many(f"{client.n_in_flight} requests of yours are not answered yet")
        if self._n_waiting >= self._limits.most_waiting:
            return unavailable("busy", f"{self._n_waiting} requests are waiting; ask again soon")
        return None

    @contextmanager
    def _in_flight(self, name: str, client: _Places) -> Iterator[None]:
        self._clients[name] = client
        client.n_in_flight += 1
        try:
            yield
        finally:
            client.n_in_flight -= 1
            if not client.n_in_flight:
                del self._clients[name]

    def _too_slow(self) -> Problem:
        detail = f"no answer within {self._limits.deadline_s:.0f} s; ask for less, or again later"
        return unavailable("too_slow", detail)


def _forget(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # of an abandoned one: retrieved, so that asyncio does not log it


def kind_of(path: str) -> str:
    """Return the kind of question that a path asks.

    Examples
    --------
    >>> kind_of("/v1/regions/US/regimes/latest"), kind_of("/v1/texts/search"), kind_of("/regions/US"), kind_of("/v1/x")
    ('regimes', 'texts', 'page', 'other')
    """
    if not path.startswith("/v1/"):
        return "page"
    of_region = _REGION_ROUTE.match(path)
    kind = of_region[1] if of_region is not None else path.split("/")[2].partition(".")[0]
    return kind if kind in KINDS else "other"


class SharedState:
    """The state of the data, asked for once for all who wait; each gets one that was asked for after it came.

    Those who waited while the databases failed to answer share the failure.
    """

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Any] | None = None
        self._failed_at = 0.0
        self._failure: DatabaseError | None = None

    def now(self) -> Awaitable[Any]:
        """Return the state, to be awaited."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._one())
        return asyncio.shield(self._next)

    async def _one(self) -> Any:
        clock = asyncio.get_running_loop().time
        came = clock()
        async with self._turn:
            self._next = None
            if self._failure is not None and self._failed_at >= came:
                raise self._failure
            try:
                return await run_in_threadpool(self._ask)
            except DatabaseError as error:
                self._failed_at, self._failure = clock(), error
                raise


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer, the state of the data before it was computed, and its route."""

    state: Any
    start: Message
    body: bytes
    route: Any


class KeptAnswers(Middleware):
    """Gives an answer again as long as no transaction has ended since and the day is the same; the oldest go first.

    An answer that says ``no-store`` is not kept.

    `state` returns a mark of what a question would see: see `PostgresDatabases.visible_state`. Where the databases do
    not answer that, they are asked nothing else, and `failed` is told.
    """

    def __init__(
        self, app: ASGIApp, state: Callable[[], Any], refuse: Refuse, failed: Callable[[DatabaseError], None]
    ) -> None:
        super().__init__(app)
        self._state, self._refuse, self._failed = SharedState(state), refuse, failed
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()
        self._n_bytes = 0

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET" or scope["path"].startswith(NEVER_KEPT):
            await self._app(scope, receive, send)
            return
        try:
            state = (await self._state.now(), datetime.now(UTC).date())
        except DatabaseError as error:
            self._failed(error)
            await self._refuse(scope, problem_of(error))(scope, receive, send)
            return
        headers = Headers(scope=scope)
        query = scope["query_string"].decode("latin-1")
        form = headers.get("accept", "") if scope["path"].startswith("/v1/") else ""  # what is no API has one form
        key = (scope["path"], query, form, headers.get("accept-encoding", ""))
        kept = self._kept.get(key)
        if kept is None or kept.state != state:
            await self._compute(key, state, scope, receive, send)
            return
        self._kept.move_to_end(key)
        scope["route"] = kept.route
        for message in _again(kept, headers.get("if-none-match", "")):
            await send(message)

    async def _compute(self, key: tuple[str, ...], state: Any, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None

        async def send_noted(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = {**message, "headers": list(message["headers"])}
            elif start is not None:
                is_whole = start["status"] == 200 and not message.get("more_body", False)
                may_keep = "no-store" not in Headers(raw=start["headers"]).get("cache-control", "")
                if is_whole and may_keep and len(body := message.get("body", b"")) <= KEPT_ANSWER_BYTES:
                    self._keep(key, _Kept(state, start, body, scope.get("route")))
                start = None
            await send(message)

        await self._app(scope, receive, send_noted)
        if key in self._kept and self._kept[key].route is None:
            self._kept[key] = replace(self._kept[key], route=scope.get("route"))

    def _keep(self, key: tuple[str, ...], answer: _Kept) -> None:
        old = self._kept.pop(key, None)
        self._n_bytes += _size(answer) - (_size(old) if old else 0)
        self._kept[key] = answer
        while self._n_bytes > KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._n_bytes -= _size(oldest)


def _size(kept: _Kept) -> int:
    return len(kept.body) + ENTRY_BYTES


def _again(kept: _Kept, known: str) -> list[Message]:
    """Return the messages of a kept answer; 304 without a body where the client has it."""
    start, body = {**kept.start, "headers": list(kept.start["headers"])}, kept.body
    headers = MutableHeaders(raw=start["headers"])
    tag = headers.get("etag", "").removeprefix("W/")
    if tag and not {each.strip().removeprefix("W/") for each in known.split(",")}.isdisjoint({tag, "*"}):
        start["status"], body = 304, b""
        for name in ("content-length", "content-type", "content-encoding"):
            del headers[name]
    return [start, {"type": "http.response.body", "body": body}]
