"""What the routes share: the app they ask, JSON without NaN, and the address of a next page."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import JSONResponse

from prometheus.app import App
from prometheus.web.metrics import WebMetrics
from prometheus.web.schemas import ProblemBody

_REASONS = {
    400: "The question contradicts itself, or is asked of the wrong host.",
    401: "The token is missing or wrong.",
    404: "There is no such region, model or date; the answer names what there is.",
    409: "What is stored, or installed, cannot answer this.",
    422: "A parameter is unknown, malformed or out of its limits.",
    500: "A defect of the server.",
    503: "The database does not answer now, or too many ask; try again after `Retry-After` seconds.",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemBody, "description": reason} for status, reason in _REASONS.items()
}


class StrictJson(JSONResponse):
    """JSON as the standard has it: a NaN or an infinity is an error, not a word that no parser knows."""


async def _app_of(request: Request) -> App:
    app: App = request.app.state.prometheus
    return app


async def _metrics_of(request: Request) -> WebMetrics:
    metrics: WebMetrics = request.app.state.metrics
    return metrics


AppOf = Annotated[App, Depends(_app_of)]
MetricsOf = Annotated[WebMetrics, Depends(_metrics_of)]


def next_page(request: Request, cursor: object) -> str:
    """Return the address of the page that begins at a cursor, without the name of the server."""
    address = request.url.include_query_params(cursor=str(cursor))
    return f"{address.path}?{address.query}"
