"""Backfills that ended, and how the server itself is."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from prometheus.web.parameters import Nothing, RunPageQuery
from prometheus.web.routes import AppOf, MetricsOf, next_page
from prometheus.web.schemas import RunPage, RunRow, State

router = APIRouter(tags=["operations"])


@router.get("/v1/runs", summary="Backfills that ended")
def list_runs(request: Request, app: AppOf, query: RunPageQuery) -> RunPage:
    """Return a page of the log of backfills, newest first."""
    found = app.runs.newest(query.limit + 1, query.kind, query.cursor)
    items = [RunRow(**asdict(each.run), finished_at=each.finished_at, version=each.version) for each in found]
    page = items[: query.limit]
    return RunPage(items=page, next=next_page(request, page[-1].run_id) if len(items) > query.limit else None)


@router.get("/healthz", summary="Whether the process lives")
async def get_health(_: Nothing) -> State:
    """Answer, without looking at anything."""
    return State(status="ok")


@router.get("/readyz", summary="Whether both databases answer")
def get_readiness(app: AppOf, metrics: MetricsOf, _: Nothing) -> State:
    """Open a connection to each database; 503 where one cannot be had."""
    with app.db_manager.get_historical_connection(), app.db_manager.get_runtime_connection():
        metrics.database_answered()
    return State(status="ok")


@router.get("/metrics", summary="Figures about this server", response_class=PlainTextResponse)
async def get_metrics(metrics: MetricsOf, _: Nothing) -> Response:
    """Return requests, latencies and readiness in the text format of the monitoring system Prometheus."""
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})
