"""Figures about the server itself, in a registry of each server's own."""

from __future__ import annotations

import logging
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prometheus.errors import DatabaseError, DatabaseRefusedError

logger = logging.getLogger(__name__)

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

WITHOUT_DATABASE = frozenset({"none", "/healthz", "/metrics", "/static/{name}", "/go"})
"""Routes whose answers say nothing about the databases."""


class WebMetrics:
    """Requests by route, how long they took, and whether the databases answered when last asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("regime_http_requests", "Requests answered.", labels, registry=self.registry)
        self._seconds = Histogram(
            "regime_http_request_seconds",
            "Time to the last byte.",
            ("route",),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._under_way = Gauge("regime_http_requests_under_way", "Requests not answered yet.", registry=self.registry)
        self._is_ready = Gauge(
            "regime_database_ready", "Whether the databases answered when last asked.", registry=self.registry
        )
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


class MeasuredRequests:
    """ASGI middleware, the outermost: counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: WebMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
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
