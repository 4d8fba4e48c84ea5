"""What went wrong, as a status and a small JSON object; never a traceback, a path or a secret."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from prometheus.errors import (
    AmbiguousModelError,
    DatabaseError,
    DatabaseRefusedError,
    InputRefusedError,
    MissingExtraError,
    NotMigratedError,
    PrometheusError,
    RetryableError,
    UnnamedTextModelError,
    UsageError,
)

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 2
ErrorPage = Callable[[Request, "Problem"], Response | None]

_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (AmbiguousModelError, 400),  # lookups that fail because the question leaves something out
    (UnnamedTextModelError, 400),
    (LookupError, 404),
    (UsageError, 400),
    (DatabaseError, 503),
    (RetryableError, 503),
    (MissingExtraError, 409),
    (InputRefusedError, 409),
)
_DATABASE_DETAILS: tuple[tuple[type[DatabaseError], str], ...] = (
    (DatabaseRefusedError, "the database gave this question up; ask for less, or again later"),
    (DatabaseError, "the database does not answer now; ask again in a few seconds"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal: its status, a stable name for machines and a sentence for people."""

    status: int
    error: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)

    SHARED_HEADERS: ClassVar[dict[str, str]] = {"Cache-Control": "no-store"}

    def response(self) -> Response:
        """Return it as JSON."""
        body = {"error": self.error, "detail": self.detail}
        return JSONResponse(body, self.status, {**self.SHARED_HEADERS, **self.headers})


def unavailable(error: str, detail: str) -> Problem:
    """Return a refusal that a later try may not meet."""
    return Problem(503, error, detail, {"Retry-After": str(RETRY_AFTER_S)})


def problem_of(error: PrometheusError) -> Problem:
    """Return what an error of ours means to whoever asked."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
    if status == 503:
        return unavailable(name, _temporary_detail(error))
    return _internal() if status == 500 else Problem(status, name, str(error))


def _temporary_detail(error: PrometheusError) -> str:
    """Return a sentence without the addresses and paths that the errors of a database name."""
    if isinstance(error, NotMigratedError) or not isinstance(error, DatabaseError):
        return str(error)
    return next(detail for kind, detail in _DATABASE_DETAILS if isinstance(error, kind))


def add_error_handlers(api: FastAPI, on_database_error: Callable[[DatabaseError], None]) -> None:
    """Make every error a `Problem`; `api.state.error_page`, where set, may show it to a browser instead."""

    def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, PrometheusError)  # noqa: S101 -- registered for nothing else
        if isinstance(error, DatabaseError):
            on_database_error(error)
        problem = problem_of(error)
        if problem.status == 500:
            logger.error("%s: %s", request.url.path, error)
        return show(request, problem)

    api.add_exception_handler(PrometheusError, refuse)
    api.add_exception_handler(Exception, lambda request, _error: show(request, _internal()))
    api.add_exception_handler(RequestValidationError, lambda request, error: show(request, _invalid(error)))
    api.add_exception_handler(HTTPException, lambda request, error: show(request, _of_http(error)))


def show(request: Request, problem: Problem) -> Response:
    """Return a problem as whoever asked can read it."""
    page: ErrorPage | None = getattr(request.app.state, "error_page", None)
    wants_page = page is not None and "text/html" in request.headers.get("accept", "")
    shown = page(request, problem) if page is not None and wants_page else None
    return problem.response() if shown is None else shown


def _internal() -> Problem:
    return Problem(500, "internal", "an error of the server; its log says more")


def _of_http(error: Exception) -> Problem:
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for nothing else
    phrase = HTTPStatus(error.status_code).phrase
    detail = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    return Problem(error.status_code, phrase.lower().replace(" ", "_"), detail, dict(error.headers or {}))


def _invalid(error: Exception) -> Problem:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- registered for nothing else
    return Problem(422, "invalid_parameter", "; ".join(_describe(item) for item in error.errors()))


def _describe(item: dict[str, Any]) -> str:
    where, *names = item["loc"]
    name = ".".join(map(str, names))
    if item["type"] == "extra_forbidden":
        return f"unknown {where} parameter {name!r}"
    return f"{where} parameter {name!r}: {item['msg'].removeprefix('Value error, ')}"
