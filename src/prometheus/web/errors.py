"""Errors as a status and a small JSON object; never a traceback, a path or a secret."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from prometheus import errors
from prometheus.errors import DatabaseError, PrometheusError
from prometheus.web.schemas import Answer

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 2
PROBLEM_JSON = "application/problem+json"
ErrorPage = Callable[[Request, "Problem"], Response | None]

_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (LookupError, 404),
    (errors.UsageError, 400),
    (DatabaseError, 503),
    (errors.RetryableError, 503),
    (errors.MissingExtraError, 409),
    (errors.InputRefusedError, 409),
)
_INCOMPLETE = {"ambiguous_model"}
"""Codes of questions that leave out what would decide between several answers."""
_REASONS = {
    400: "The question contradicts itself, or is asked of the wrong host.",
    401: "The token is missing or wrong.",
    404: "There is no such region, model or date; the answer names what there is.",
    409: "What is stored, or installed, cannot answer this.",
    422: "A parameter is unknown, malformed or out of its limits.",
    429: "The client asks too much; try again after `Retry-After` seconds.",
    500: "A defect of the server.",
    503: "The database does not answer now, or too many ask; try again after `Retry-After` seconds.",
}


class ProblemBody(Answer):
    """Why there is no answer: two members of our own, and those of RFC 9457."""

    type: str = Field(description="The stable name as a URI.", examples=["urn:prometheus-regime:error:no_regimes"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    error: str = Field(description="A stable name.", examples=["no_regimes"])
    detail: str = Field(
        description="One sentence that names the thing.", examples=["region 'UK' has no regimes at all"]
    )


_PROBLEM_SCHEMA = {"$ref": "#/components/schemas/ProblemBody"}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemBody, "description": reason, "content": {PROBLEM_JSON: {"schema": _PROBLEM_SCHEMA}}}
    for status, reason in _REASONS.items()
}
"""What every route of the API may answer instead."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal: status, stable name for machines, sentence for people."""

    status: int
    error: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)

    SHARED_HEADERS: ClassVar[dict[str, str]] = {"Cache-Control": "no-store"}

    def response(self) -> Response:
        """Return it as JSON, without what only an operator could do."""
        body = {
            "error": self.error, "detail": for_clients(self.detail), "status": self.status,
            "title": HTTPStatus(self.status).phrase, "type": f"urn:prometheus-regime:error:{self.error}",
        }  # fmt: skip
        headers = {**self.SHARED_HEADERS, **self.headers}
        return JSONResponse(body, self.status, headers, media_type=PROBLEM_JSON)


def for_clients(detail: str) -> str:
    """Return a sentence without the clauses that name a command of ours.

    Examples
    --------
    >>> for_clients("region 'UK' has no regimes; run: python -m prometheus nightly")
    "region 'UK' has no regimes"
    """
    return "; ".join(clause for clause in detail.split("; ") if "python -m prometheus" not in clause) or detail


def unavailable(error: str, detail: str) -> Problem:
    """Return a refusal that a later try may not meet."""
    return Problem(503, error, detail, {"Retry-After": str(RETRY_AFTER_S)})


def problem_of(error: PrometheusError) -> Problem:
    """Return the problem that an error of ours is to a client."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if error.code in _INCOMPLETE:
        status = 400
    if status == 503:
        return unavailable(error.code, _temporary_detail(error))
    return _internal() if status == 500 else Problem(status, error.code, str(error))


def _temporary_detail(error: PrometheusError) -> str:
    """Return a sentence without the addresses and paths that the errors of a database name."""
    if isinstance(error, errors.NotMigratedError) or not isinstance(error, DatabaseError):
        return str(error)
    if isinstance(error, errors.DatabaseRefusedError):
        return "the database gave this question up; ask for less, or again later"
    return "the database does not answer now; ask again in a few seconds"


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
    """Return a problem as a page to a browser, else as JSON."""
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
