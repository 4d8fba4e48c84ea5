"""The page: one per region, one address per date, written by the server; scripts only add charts and keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import numpy as np
from fastapi import APIRouter, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from prometheus.analogs.search import Analog, AnalogReport
from prometheus.app.briefings import Briefing
from prometheus.market.bars import Closes
from prometheus.market.outcomes import Quantiles
from prometheus.regime.history import LABELS, RegimeTimeline, preferred_history
from prometheus.web.api import AppOf, StrictJson
from prometheus.web.errors import Problem
from prometheus.web.middleware import digest
from prometheus.web.schemas import DatePath, OfModel, RegionPath

WEEKDAYS_UNTIL_OLD = 5
"""Data that end more weekdays before today are called old."""

STATIC = Path(__file__).parent / "static"
PLOTLY = "plotly.min.js"
UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
LABEL_WORDS: Mapping[str, str] = {"NEUTRAL": "Neutral", "CRISIS": "Crisis", "RISK_OFF": "Risk-off", "CARRY": "Carry"}
MEASURE_WORDS: Mapping[str, str] = {"return": "Return", "volatility": "Volatility", "drawdown": "Worst fall"}

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/")
def overview(request: Request, app: AppOf) -> Response:
    """Show every region and the regime it is in."""
    rows: list[dict[str, Any]] = []
    for region, histories in groupby(app.regimes.histories(), key=lambda each: each.region):
        history = preferred_history(list(histories))
        (state,) = app.regimes.states(region, history.last, history.last, history.model_id)
        rows.append({"history": history, "state": state, "age": _weekdays_since(history.last)})
    return _render(request, "overview.html", {"rows": rows, "regions": [row["history"].region for row in rows]})


@router.get("/go")
def go(region: str = "", day: str = "") -> Response:
    """Lead from the form to the address of a region and date, for browsers without scripts."""
    address = f"/regions/{quote(region, safe='')}" + (f"/{quote(day, safe='')}" if day else "")
    return RedirectResponse(address if region else "/", status_code=303)


@router.get("/regions/{region}")
def latest(request: Request, app: AppOf, region: RegionPath, query: OfModel) -> Response:
    """Show a region on its newest date."""
    return _show(request, app.briefings.of(region, None, query.model_id), query.model_id)


@router.get("/regions/{region}/{day}")
def on_date(request: Request, app: AppOf, region: RegionPath, day: DatePath, query: OfModel) -> Response:
    """Show a region as it was known on a date."""
    return _show(request, app.briefings.of(region, day, query.model_id), query.model_id, day)


@router.get("/regions/{region}/{day}/series.json")
def series(app: AppOf, region: RegionPath, day: DatePath, query: OfModel) -> Response:
    """Return what the chart of a page draws: nothing after its date."""
    return StrictJson(series_document(*app.briefings.series(region, day, query.model_id)))


def series_document(closes: Closes, timeline: RegimeTimeline) -> dict[str, Any]:
    """Return closes and regimes as columns; dates as days since 1970, shares in thousandths."""
    first = int(np.searchsorted(closes.dates, timeline.dates[0])) if len(timeline.dates) else 0
    start = max(0, first - 252)
    return {
        "instrument": closes.instrument_id,
        "closeDays": closes.dates[start:].astype(np.int64).tolist(),
        "closes": [float(f"{value:.6g}") for value in closes.values[start:].tolist()],
        "labels": [label.name for label in LABELS],
        "regimeDays": timeline.dates.astype(np.int64).tolist(),
        "regimes": timeline.labels.tolist(),
        "confidences": np.rint(timeline.confidences * 1000).astype(int).tolist(),
        "highVolatilities": [
            None if np.isnan(value) else round(value * 1000) for value in timeline.high_volatilities.tolist()
        ],
    }


def error_page(request: Request, problem: Problem) -> Response | None:
    """Return a problem as a page, with its way out; the API's stay JSON."""
    if request.url.path.startswith(("/v1/", "/metrics", "/static/")) or request.url.path.endswith(".json"):
        return None
    headers = {**Problem.SHARED_HEADERS, **problem.headers}
    values = {"problem": problem, "regions": []}
    return _render(request, "error.html", values, status_code=problem.status, headers=headers)


def paths_document(report: AnalogReport) -> dict[str, Any]:
    """Return the paths around the analogs and around the date itself, as per cent of the close on it."""
    days: list[AnalogReport | Analog] = [report, *report.analogs]
    today, *analogs = (
        {"day": str(each.as_of_date), "before": each.n_before, "path": np.round((each.path - 1.0) * 100.0, 2).tolist()}
        for each in days
    )
    return {"today": today, "analogs": analogs}


def _show(request: Request, briefing: Briefing, model_id: str | None, asked: date | None = None) -> Response:
    region = quote(briefing.region, safe="")
    suffix = f"?model_id={quote(model_id, safe='')}" if model_id else ""
    shown = quote(briefing.history.model_id, safe="")
    report = briefing.analogs
    values = {
        "briefing": briefing, "asked": asked, "model_suffix": suffix, "base": f"/regions/{region}",
        "regions": sorted({history.region for history in briefing.histories}),
        "models": [history for history in briefing.histories if history.region == briefing.region],
        "series_address": f"/regions/{region}/{briefing.as_of_date}/series.json?model_id={shown}",
        "paths": None if report is None else paths_document(report),
        "spreads": [] if report is None else _spread_rows(report),
        "age": _weekdays_since(briefing.as_of_date) if briefing.next_session is None else 0,
    }  # fmt: skip
    return _render(request, "region.html", values)


def _spread_rows(report: AnalogReport) -> list[tuple[str, Quantiles, Quantiles]]:
    return [
        (f"{MEASURE_WORDS[own.measure]}, next {own.horizon} sessions", own, base)
        for own, base in zip(report.spreads, report.base_spreads, strict=True)
    ]


def _weekdays_since(day: date) -> int:
    today = datetime.now(UTC).date()
    return int(np.busday_count(np.datetime64(day, "D"), np.datetime64(today, "D")))


def _render(request: Request, template: str, values: Mapping[str, Any], **answer: Any) -> Response:
    assets: Assets = request.app.state.assets
    page = _environment().get_template(template).render(asset=assets.address, **values)
    return HTMLResponse(page, **answer)


@cache
def _environment() -> Environment:
    """Return the templates; values are escaped: text, never markup."""
    environment = Environment(
        loader=PackageLoader("prometheus.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "percent": _percent,
        "rarity": _rarity,
        "sentence": lambda text: f"{text[:1].upper()}{text[1:]}",
        "signed": _signed,
        "label": lambda name: LABEL_WORDS.get(str(name), str(name)),
        "path": lambda text: quote(str(text), safe=""),
    }
    environment.globals |= {"labels": [label.name for label in LABELS], "weekdays_until_old": WEEKDAYS_UNTIL_OLD}
    return environment


def _percent(value: float | None, digits: int = 0) -> str:
    """Return a share for people; an unknown one is a dash."""
    return UNKNOWN if value is None else f"{value * 100:.{digits}f} %"


def _signed(value: float | None, digits: int = 1) -> str:
    return UNKNOWN if value is None else f"{value * 100:+.{digits}f} %".replace("-", MINUS)


def _rarity(share: float | None) -> str:
    """Return a share of pairs; a tiny one is not shown as zero."""
    return "< 0.1 %" if share is not None and 0 < share < 0.001 else _percent(share, 1)


class Assets(StaticFiles):
    """The files in `static` and Plotly's script from its own package; no other file is served."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC, packages=[("plotly", "package_data")], follow_symlink=True)
        names = [*(path.name for path in STATIC.iterdir() if path.is_file()), PLOTLY]
        self._versions = {name: digest(Path(self.lookup_path(name)[0]).read_bytes())[1:17] for name in names}

    def address(self, name: str) -> str:
        """Return where a page finds a file; the address changes with the content."""
        return f"/static/{name}?v={self._versions[name]}"

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file by its name, or 404."""
        if path not in self._versions:
            raise HTTPException(404)
        return await super().get_response(path, scope)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file; under the address of its present content, clients may keep it for good."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("v")
        is_current = asked == [self._versions[Path(full_path).name]]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_current else "no-cache"
        return response


@router.get("/static/{name}")
async def get_asset(request: Request, name: str) -> Response:
    """Return a file that pages load."""
    assets: Assets = request.app.state.assets
    return await assets.get_response(name, request.scope)
