"""Regions, their regimes and how these follow each other."""

from __future__ import annotations

from datetime import date
from itertools import groupby

import numpy as np
from fastapi import APIRouter, Request

from prometheus.app import App
from prometheus.app.regimes import TransitionReport
from prometheus.errors import NoRegimeOnDateError, NoRegimesError
from prometheus.regime.history import LABELS, RegimeHistory, RegimeTimeline, preferred_history
from prometheus.regime.transitions import hazards_to_dict
from prometheus.regime.types import RegimeState
from prometheus.web.parameters import DatePath, Nothing, OfModel, RegimePageQuery, RegionPath
from prometheus.web.routes import AppOf, next_page
from prometheus.web.schemas import (
    ModelHistory,
    ReasonRow,
    RegimeDetail,
    RegimePage,
    RegimeRow,
    Region,
    RegionList,
    TransitionList,
    Transitions,
)

router = APIRouter(prefix="/v1", tags=["regimes"])


@router.get("/regions", summary="All regions and the models that labelled them")
def list_regions(app: AppOf, _: Nothing) -> RegionList:
    """Return every region that has regimes, with the span of each model."""
    by_region = groupby(app.regimes.histories(), key=lambda each: each.region)
    return RegionList(items=[_to_region(region, list(histories)) for region, histories in by_region])


@router.get("/regions/{region}/regimes", summary="Regimes of a range of dates")
def list_regimes(request: Request, app: AppOf, region: RegionPath, query: RegimePageQuery) -> RegimePage:
    """Return a page of labels, oldest first; a span without dates is an empty page."""
    span = query.span()
    found = app.regimes.timeline(region, span.start, span.end, query.model_id, query.limit + 1)
    is_cut = len(found.dates) > query.limit
    return RegimePage(
        region=region,
        model_id=found.model_id,
        items=_to_rows(found, query.limit),
        next=next_page(request, found.dates[query.limit]) if is_cut else None,
    )


@router.get("/regions/{region}/regimes/latest", summary="The newest regime, and why")
def get_latest_regime(app: AppOf, region: RegionPath, query: OfModel) -> RegimeDetail:
    """Return the regime of the newest date with all that its model says."""
    history = app.regimes.history(region, query.model_id)
    return _detail_on(app, history, history.last)


@router.get("/regions/{region}/regimes/{as_of_date}", summary="The regime of one date, and why")
def get_regime(app: AppOf, region: RegionPath, as_of_date: DatePath, query: OfModel) -> RegimeDetail:
    """Return the regime of a session with all that its model says; for another date 404 names the span."""
    return _detail_on(app, app.regimes.history(region, query.model_id), as_of_date)


@router.get("/regions/{region}/transitions", summary="How regimes follow each other")
def list_transitions(app: AppOf, region: RegionPath, query: OfModel) -> TransitionList:
    """Return counts, shares, mean durations and risks of change, for each regime model or the one named."""
    app.regimes.history(region, query.model_id)
    reports = app.regimes.transitions(region, query.model_id)
    return TransitionList(items=[_to_transitions(report) for report in reports])


def _to_region(region: str, histories: list[RegimeHistory]) -> Region:
    models = [ModelHistory.model_validate(each, from_attributes=True) for each in histories]
    return Region(region=region, default_model_id=preferred_history(histories).model_id, models=models)


def _to_rows(found: RegimeTimeline, limit: int) -> list[RegimeRow]:
    probabilities = found.high_volatilities[:limit]
    high = np.where(np.isnan(probabilities), None, probabilities)  # type: ignore[call-overload]
    columns = (
        found.dates[:limit].tolist(),
        [LABELS[number] for number in found.labels[:limit].tolist()],
        found.confidences[:limit].tolist(),
        high.tolist(),
    )
    return [
        RegimeRow(as_of_date=day, label=label, confidence=confidence, high_volatility=probability)
        for day, label, confidence, probability in zip(*columns, strict=True)
    ]


def _detail_on(app: App, history: RegimeHistory, day: date) -> RegimeDetail:
    region, model_id = history.region, history.model_id
    try:
        (state,) = app.regimes.states(region, day, day, model_id)
    except NoRegimesError:
        raise NoRegimeOnDateError(region, model_id, day, history.first, history.last) from None
    return _to_detail(app, state)


def _to_detail(app: App, state: RegimeState) -> RegimeDetail:
    said = state.metadata
    reasons = app.calibrations.explain([state])[0] if "probabilities" in said else []
    return RegimeDetail(
        region=state.region,
        as_of_date=state.as_of_date,
        label=state.regime_label,
        confidence=state.confidence,
        model_id=state.model_id,
        encoder_model_id=state.encoder_model_id,
        probabilities=said.get("probabilities"),
        high_volatility=said.get("high_volatility"),
        change_risk=said.get("change_risk"),
        explanation=[ReasonRow.model_validate(reason.to_dict()) for reason in reasons],
    )


def _to_transitions(report: TransitionReport) -> Transitions:
    return Transitions.model_validate({
        "region": report.region,
        "model_id": report.model_id,
        "n_dates": report.n_dates,
        "counts": report.counts,
        "matrix": report.matrix,
        "mean_duration": report.mean_durations,
        "change_risk": {label: hazards_to_dict(risks) for label, risks in report.exit_hazards.items()},
    })  # fmt: skip
