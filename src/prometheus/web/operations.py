"""What operators and their monitors ask: health, readiness, figures, and the logs of nights and backfills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field
from starlette.responses import PlainTextResponse, Response

from prometheus.app.run_log import NightlyRun, RunResult
from prometheus.web import questions, schemas
from prometheus.web.api import AppOf, MetricsOf, next_page
from prometheus.web.questions import Nothing, OptionalName, Parameters
from prometheus.web.schemas import Answer

router = APIRouter(tags=["operations"])
MOST_NIGHTS = 1_000
RESULTS = tuple(each.words for each in RunResult)


class NightPageParameters(Parameters):
    """A page of nights."""

    limit: int = Field(30, ge=1, le=MOST_NIGHTS, description="Rows on a page.")
    cursor: OptionalName = Field(None, description="Id of the last night of the page before, from `next`.")


class LeftOut(Answer):
    """What a night skipped."""

    kind: str = Field(examples=["region"])
    name: str
    why: str


class Failed(Answer):
    """What failed in a night."""

    name: str
    why: str


class NightRow(Answer):
    """One night."""

    run_id: str = Field(examples=["9f0c5d1e22ab4b07"])
    command: str = Field(examples=["nightly"])
    result: str = Field(description=f"One of: {', '.join(RESULTS)}.", examples=["completed"])
    exit_code: int | None = Field(description="Null while it runs, and of a night that did not end.")
    message: str | None = Field(description="The error that ended it.")
    as_of_date: date | None = Field(description="The newest session it was asked for.")
    sessions: dict[str, date] = Field(description="That of each market.")
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    written: int = Field(description="Rows of all tables.")
    rows_written: dict[str, int] = Field(description="Rows by table.")
    standings: dict[str, dict[str, int]] = Field(description="How many `regions` and `instruments` have each standing.")
    skipped: list[LeftOut]
    failures: list[Failed]
    findings: dict[str, int] = Field(description="Faults in prices: `open`, and `new`.")
    backfills: list[str] = Field(description="Their ids in `/v1/runs`.")
    version: str = Field(description="Of Prometheus.")


class NightPage(Answer):
    """Nights, newest first."""

    items: list[NightRow]
    next: str | None = Field(description="Address of the next page; null on the last one.")


def headers_of(nights: Sequence[NightlyRun]) -> dict[str, str]:
    """Return the headers of an answer about nights: that one runs ends without a trace where it is killed."""
    return {"Cache-Control": "no-store"} if any(each.result is RunResult.RUNNING for each in nights) else {}


@router.get("/v1/runs", response_model=schemas.RunPage, summary="Backfills that ended")
def list_runs(request: Request, app: AppOf, query: questions.RunPageQuery) -> Any:
    """Return a page of the log of backfills, newest first."""
    found = app.wired.runs.newest(query.limit + 1, query.kind, query.cursor)
    items = [{**asdict(each.run), "finished_at": each.finished_at, "version": each.version} for each in found]
    page = items[: query.limit]
    return {"items": page, "next": next_page(request, page[-1]["run_id"]) if len(items) > query.limit else None}


@router.get("/v1/nights", response_model=NightPage, summary="Nights, and how they ended")
def list_nights(
    request: Request, response: Response, app: AppOf, query: Annotated[NightPageParameters, Query()]
) -> Any:
    """Return a page of the log of nights, newest first, as `runs` prints it."""
    found = app.runs.newest(query.limit + 1, query.cursor)
    response.headers.update(headers_of(found))
    page = [each.to_dict() for each in found[: query.limit]]
    return {"items": page, "next": next_page(request, page[-1]["run_id"]) if len(found) > query.limit else None}


@router.get("/v1/nights/{run_id}", response_model=NightRow, summary="One night")
def get_night(run_id: str, response: Response, app: AppOf, _: Nothing) -> Any:
    """Return a night by its id, or an unmistakable beginning of it."""
    found = app.runs.find(run_id)
    response.headers.update(headers_of([found]))
    return found.to_dict()


@router.get("/healthz", response_model=schemas.State, summary="Whether the process lives")
async def get_health(_: Nothing) -> Any:
    """Answer, without looking at anything."""
    return {"status": "ok"}


@router.get("/readyz", response_model=schemas.Readiness, summary="Whether both databases answer")
def get_readiness(app: AppOf, metrics: MetricsOf, _: Nothing) -> Any:
    """Open a connection to each database; 503 where one cannot be had, with the reason."""
    with app.db_manager.get_historical_connection():
        newest = app.runs.newest(1)
    metrics.database_answered()
    return {
        "status": "ok", "historical": "ok", "runtime": "ok",
        "night": newest[0].result.words if newest else None,
    }  # fmt: skip


@router.get(
    "/metrics", summary="Figures about this server, the regimes and the nights", response_class=PlainTextResponse
)
async def get_metrics(metrics: MetricsOf, _: Nothing) -> Response:
    """Return requests, latencies, newest regimes and nights in the text format of the monitoring system Prometheus."""
    await metrics.refresh()
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})
