"""The page: one per region, one address per date, written by the server; scripts only add charts and keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from prometheus.analogs.search import Analog, AnalogReport
from prometheus.analogs.worth import WORTH
from prometheus.app.briefings import Briefing
from prometheus.arrays import DateVector, Float64Vector
from prometheus.market.bars import Closes
from prometheus.market.outcomes import Quantiles
from prometheus.regime.colours import LOOKS
from prometheus.regime.exposure import EXPOSURES
from prometheus.regime.history import LABELS, RegimeTimeline
from prometheus.web.api import AppOf, StrictJson
from prometheus.web.assets import Assets
from prometheus.web.errors import Problem
from prometheus.web.questions import DatePath, OfModel, RegionPath
from prometheus.web.rendering import render, weekdays_since
from prometheus.web.svg import ALL_KINDS, ChartParameters, chart_values

MEASURE_WORDS: Mapping[str, str] = {"return": "Return", "volatility": "Volatility", "drawdown": "Worst fall"}

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/go")
def go(region: str = "", day: str = "") -> Response:
    """Lead from the form to the address of a region and date, for browsers without scripts."""
    address = f"/regions/{quote(region, safe='')}" + (f"/{quote(day, safe='')}" if day else "")
    return RedirectResponse(address if region else "/", status_code=303)


@router.get("/regions/{region}")
def latest(request: Request, app: AppOf, region: RegionPath, query: OfModel) -> Response:
    """Show a region on its newest date."""
    briefing = app.briefings.of(region, None, query.model_id)
    return render(
        request, "region.html", region_values(briefing, query.model_id, stood=app.runs.why_left_out(region))
    )  # fmt: skip


@router.get("/regions/{region}/newest.json")
def newest(app: AppOf, region: RegionPath, query: OfModel) -> Response:
    """Return the newest session and its label, for pages that wait for the next one."""
    state = app.briefings.newest(region, query.model_id)
    return StrictJson({"session": str(state.as_of_date), "label": state.regime_label.name})


@router.get("/regions/{region}/{day}")
def on_date(request: Request, app: AppOf, region: RegionPath, day: DatePath, query: OfModel) -> Response:
    """Show a region as it was known on a date."""
    briefing = app.briefings.of(region, day, query.model_id)
    return render(request, "region.html", region_values(briefing, query.model_id, day))


@router.get("/regions/{region}/{day}/series.json")
def series(app: AppOf, region: RegionPath, day: DatePath, query: OfModel) -> Response:
    """Return what the chart of a page draws: nothing after its date."""
    return StrictJson(series_document(*app.briefings.series(region, day, query.model_id)))


@router.get("/regions/{region}/{day}/marks.json")
def marks(app: AppOf, region: RegionPath, day: DatePath, query: OfModel) -> Response:
    """Return the dates and kinds of the macro texts that a chart marks: known by its date."""
    closes, timeline = app.briefings.series(region, day, query.model_id)
    found = app.briefings.marks(closes.dates[_first_shown(closes, timeline)].item(), day)
    kinds = sorted({kind for _, kind in found})
    days = np.array([each for each, _ in found], dtype="M8[D]")
    return StrictJson({"kinds": kinds, "days": _steps(days), "of": [kinds.index(kind) for _, kind in found]})


@router.get("/regions/{region}/{day}/chart.svg")
def chart(
    request: Request, app: AppOf, region: RegionPath, day: DatePath, query: Annotated[ChartParameters, Query()]
) -> Response:
    """Return the chart of a page as a drawing of its own: nothing after its date."""
    closes, timeline = app.briefings.series(region, day, query.model_id)
    title = f"{closes.instrument_id} and the regimes of {region}"
    other = None if query.compare is None else app.briefings.series(query.compare, day)
    found = [] if query.marks is None else app.briefings.marks(closes.dates[_first_shown(closes, timeline)].item(), day)
    marked = [each for each, kind in found if query.marks in (ALL_KINDS, kind)]
    values = chart_values(title, closes, timeline, query, other, marked)
    return render(request, "chart.svg", values, media_type="image/svg+xml")


def series_document(closes: Closes, timeline: RegimeTimeline) -> dict[str, Any]:
    """Return closes and regimes as columns; the first date as days since 1970, then steps; shares in per cent."""
    start = _first_shown(closes, timeline)
    return {
        "instrument": closes.instrument_id,
        "closeDays": _steps(closes.dates[start:]),
        "closes": [float(f"{value:.5g}") for value in closes.values[start:].tolist()],
        "labels": [label.name for label in LABELS],
        "letters": [LOOKS[label].letter for label in LABELS],
        "patterns": [LOOKS[label].pattern for label in LABELS],
        "regimeDays": _steps(timeline.dates),
        "regimes": timeline.labels.tolist(),
        "confidences": _per_cent(timeline.confidences),
        "highVolatilities": _per_cent(timeline.high_volatilities),
    }


def _first_shown(closes: Closes, timeline: RegimeTimeline) -> int:
    """Return the position of the first close of a chart: a year before the first regime."""
    first = int(np.searchsorted(closes.dates, timeline.dates[0])) if len(timeline.dates) else 0
    return max(0, first - 252)


def _steps(dates: DateVector) -> list[int]:
    days: list[int] = np.diff(dates.astype(np.int64), prepend=0).tolist()
    return days


def _per_cent(shares: Float64Vector) -> list[int | None]:
    return [None if np.isnan(share) else round(share * 100) for share in shares.tolist()]


def error_page(request: Request, problem: Problem) -> Response | None:
    """Return a problem as a page, with its way out; the API's stay JSON."""
    if request.url.path.startswith(("/v1/", "/metrics", "/static/")) or request.url.path.endswith((".json", ".svg")):
        return None
    headers = {**Problem.SHARED_HEADERS, **problem.headers}
    values = {"problem": problem, "regions": []}
    return render(request, "error.html", values, status_code=problem.status, headers=headers)


def paths_document(report: AnalogReport) -> dict[str, Any]:
    """Return the paths around the analogs and around the date itself, as per cent of the close on it."""
    days: list[AnalogReport | Analog] = [report, *report.analogs]
    today, *analogs = (
        {"day": str(each.as_of_date), "before": each.n_before, "path": np.round((each.path - 1.0) * 100.0, 2).tolist()}
        for each in days
    )
    return {"today": today, "analogs": analogs}


def region_values(
    briefing: Briefing, model_id: str | None, asked: date | None = None, stood: str = ""
) -> dict[str, Any]:
    """Return what the page of a region shows; `stood` is why the newest night did not simply bring it up to date."""
    region = quote(briefing.region, safe="")
    suffix = f"?model_id={quote(model_id, safe='')}" if model_id else ""
    shown = quote(briefing.history.model_id, safe="")
    report = briefing.analogs
    return {
        "briefing": briefing, "asked": asked, "stood": stood, "model_suffix": suffix, "base": f"/regions/{region}",
        "regions": sorted({history.region for history in briefing.histories}),
        "models": [history for history in briefing.histories if history.region == briefing.region],
        "layout": "base.html", "drawing": None, "exposure": EXPOSURES[briefing.state.regime_label],
        "drawn": f"/regions/{region}/{briefing.as_of_date}", "shown_model": f"model_id={shown}",
        "paths": None if report is None else paths_document(report),
        "worth": WORTH, "spreads": [] if report is None else _spread_rows(report),
        "age": weekdays_since(briefing.as_of_date) if briefing.next_session is None else 0,
    }  # fmt: skip


def _spread_rows(report: AnalogReport) -> list[tuple[str, Quantiles, Quantiles]]:
    return [
        (f"{MEASURE_WORDS[own.measure]}, next {own.horizon} sessions", own, base)
        for own, base in zip(report.spreads, report.base_spreads, strict=True)
    ]


@router.get("/static/{name}")
async def get_asset(request: Request, name: str) -> Response:
    """Return a file that pages load."""
    assets: Assets = request.app.state.assets
    return await assets.get_response(name, request.scope)
