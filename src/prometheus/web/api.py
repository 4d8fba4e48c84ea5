"""The routes of the API: each asks the app and answers in the form of its schema."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date
from io import BytesIO
from itertools import groupby
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from prometheus.analogs.search import AnalogRequest
from prometheus.app import App
from prometheus.arrays import Float64Matrix
from prometheus.errors import NoRegimesError, NotFoundError, VectorError
from prometheus.regime.explanation import EVIDENCE_LABELS
from prometheus.regime.exposure import EXPOSURES
from prometheus.regime.history import LABELS, RegimeHistory, RegimeTimeline, preferred_history
from prometheus.regime.types import RegimeState
from prometheus.web import questions, schemas
from prometheus.web.errors import for_clients
from prometheus.web.middleware import ARROW, MEDIA_TYPES, WebMetrics
from prometheus.web.questions import DatePath, Nothing, OfModel, RegionPath


class StrictJson(JSONResponse):
    """JSON as the standard has it: a NaN or an infinity is an error, not a word that no parser knows."""


def _state(name: str) -> Any:
    """Return a dependency on what `create_app` gave the application under a name."""

    async def of(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(of)


def _answers_as(media_types: Iterable[str], told: str) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of an answer that may come in other forms than JSON."""
    content = {each.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}} for each in media_types}
    return {200: {"content": content, "description": told}}


TABLE = _answers_as(MEDIA_TYPES.values(), "The table.")
TABLE_TOO = _answers_as(MEDIA_TYPES.values(), "A page; as a table where `Accept` names its form first.")

AppOf = Annotated[App, _state("prometheus")]
MetricsOf = Annotated[WebMetrics, _state("metrics")]

regimes = APIRouter(prefix="/v1", tags=["regimes"])
embeddings = APIRouter(prefix="/v1", tags=["embeddings"])
search = APIRouter(prefix="/v1", tags=["search"])
ROUTERS = (regimes, embeddings, search)


@regimes.get("/regions", response_model=schemas.RegionList, summary="All regions and the models that labelled them")
def list_regions(app: AppOf, _: Nothing) -> Any:
    """Return every region that has regimes, with the span of each model."""
    by_region = groupby(app.regimes.histories(), key=lambda each: each.region)
    return {"items": [_region(name, list(histories)) for name, histories in by_region]}


@regimes.get(
    "/regions/{region}/regimes", response_model=schemas.RegimePage, summary="Regimes of a range of dates",
    responses=TABLE_TOO,
)  # fmt: skip
def list_regimes(request: Request, app: AppOf, region: RegionPath, query: questions.RegimePageQuery) -> Any:
    """Return a page of labels, oldest first; a span without dates is an empty page."""
    span = query.span()
    found, shares = app.regimes.probabilities(region, span.start, span.end, query.model_id, query.limit + 1)
    after = next_page(request, found.dates[query.limit]) if len(found.dates) > query.limit else None
    return {"region": region, "model_id": found.model_id, "items": _rows(found, shares, query.limit), "next": after}


@regimes.get(
    "/regions/{region}/regimes/latest", response_model=schemas.RegimeDetail, summary="The newest regime, and why"
)
def get_latest_regime(app: AppOf, region: RegionPath, query: OfModel) -> Any:
    """Return the regime of the newest date with all that its model says."""
    return app.briefings.detail(app.regimes.history(region, query.model_id))


@regimes.get(
    "/regions/{region}/regimes/{as_of_date}",
    response_model=schemas.RegimeDetail,
    summary="The regime of one date, and why",
)
def get_regime(app: AppOf, region: RegionPath, as_of_date: DatePath, query: OfModel) -> Any:
    """Return the regime of a date, or of the last session of the week before it, with all that its model says.

    For a date without either 404 names the span.
    """
    return app.briefings.detail(app.regimes.history(region, query.model_id), as_of_date)


@regimes.get("/regimes/latest", response_model=schemas.RegimeDetails, summary="The newest regimes of several regions")
def get_latest_regimes(app: AppOf, query: questions.OfRegions) -> Any:
    """Return what the question of one region does, of each; one that has no regimes is told beside them."""
    return _details(app, query)


@regimes.get(
    "/regimes/{as_of_date}", response_model=schemas.RegimeDetails, summary="The regimes of several regions on a date"
)
def get_regimes(app: AppOf, as_of_date: DatePath, query: questions.OfRegions) -> Any:
    """Return what the question of one region and date does, of each; one that has no regime is told beside them."""
    return _details(app, query, as_of_date)


@regimes.get(
    "/regions/{region}/transitions", response_model=schemas.TransitionList, summary="How regimes follow each other"
)
def list_transitions(app: AppOf, region: RegionPath, query: OfModel) -> Any:
    """Return counts, shares, mean durations and risks of change, for each regime model or the one named."""
    app.regimes.history(region, query.model_id)  # an unknown region or model is answered with those that exist
    return {"items": [report.to_dict() for report in app.regimes.transitions(region, query.model_id)]}


@embeddings.get(
    "/regions/{region}/embeddings",
    summary="Vectors of a range of dates",
    response_model=None,
    responses={
        200: {
            "model": schemas.EmbeddingPage,
            **_answers_as([ARROW], "A page; all rows where `Accept` names Arrow.")[200],
        }
    },
)
def list_embeddings(request: Request, app: AppOf, region: RegionPath, query: questions.EmbeddingPageQuery) -> Response:
    """Return a page of vectors, or with `Accept: application/vnd.apache.arrow.stream` all of them as Arrow.

    The stream has the columns date, label, confidence, and `embedding` of type fixed_size_list<float>[dim].
    """
    if ARROW in request.headers.get("accept", ""):
        response = _arrow(app, region, query)
    else:
        response = Response(_page(request, app, region, query).model_dump_json(), media_type="application/json")
    response.headers["Vary"] = "Accept"
    return response


@search.get(
    "/regions/{region}/analogs", response_model=schemas.AnalogList, response_model_exclude_unset=True,
    summary="Past dates that looked like one",
)  # fmt: skip
def find_analogs(app: AppOf, region: RegionPath, query: questions.AnalogQuery) -> Any:
    """Return the nearest past dates, and what followed them against what followed all dates."""
    return app.analogs.find(AnalogRequest(region=region, **query.model_dump())).to_dict()


@search.get("/texts/search", response_model=schemas.TextList, summary="Texts like a question")
def search_texts(app: AppOf, query: questions.TextSearchQuery) -> Any:
    """Return the texts known by a date that are most like a question, in words, meaning or both."""
    named = app.db_manager.config.hf_model_name
    return app.text_search.find(query.asked(query.q, query.as_of, query.k, named, model_id=query.model_id)).to_dict()


@search.get("/texts/stance", response_model=schemas.StanceList, summary="The stance of texts")
def list_stances(app: AppOf, query: questions.StanceQuery) -> Any:
    """Return how hawkish or dovish each text known by a date is; it describes and does not forecast."""
    kind = questions.TEXT_KINDS[query.source]
    return app.stance.series(query.as_of, kind, query.filters(), query.model_id).to_dict()


def next_page(request: Request, cursor: object) -> str:
    """Return the address of the page that begins at a cursor, without the name of the server."""
    address = request.url.include_query_params(cursor=str(cursor))
    return f"{address.path}?{address.query}"


def _region(name: str, histories: list[RegimeHistory]) -> dict[str, Any]:
    models = [{**asdict(each), "has_prototypes": each.has_prototypes} for each in histories]
    return {"region": name, "default_model_id": preferred_history(histories).model_id, "models": models}


def _details(app: App, query: questions.RegionsParameters, as_of: date | None = None) -> dict[str, Any]:
    items, refused = [], []
    for name in dict.fromkeys(query.region):
        try:
            items.append(app.briefings.detail(app.regimes.history(name, query.model_id), as_of))
        except NotFoundError as error:
            refused.append({"region": name, "error": error.code, "detail": for_clients(str(error))})
    return {"items": items, "refused": refused}


def _rows(found: RegimeTimeline, shares: Float64Matrix, limit: int) -> list[dict[str, Any]]:
    columns = (found.dates, found.labels, found.confidences, found.high_volatilities, found.is_held, shares)
    return [
        {
            "as_of_date": day, "label": LABELS[number], "confidence": confidence,
            "high_volatility": None if math.isnan(high) else high, "held": is_held,
            "exposure": EXPOSURES[LABELS[number]],
            "probabilities": None if math.isnan(of_each[0]) else dict(zip(EVIDENCE_LABELS, of_each, strict=True)),
        }
        for day, number, confidence, high, is_held, of_each in zip(
            *(each[:limit].tolist() for each in columns), strict=True
        )
    ]  # fmt: skip


def _page(request: Request, app: App, region: str, query: questions.EmbeddingPageParameters) -> schemas.EmbeddingPage:
    span = query.span()
    timeline = app.regimes.timeline(region, span.start, span.end, query.model_id, query.limit + 1)
    dates = timeline.dates[: query.limit].tolist()
    states = app.regimes.states(region, dates[0], dates[-1], timeline.model_id) if dates else []
    rows = [
        schemas.EmbeddingRow(as_of_date=each.as_of_date, embedding=each.regime_embedding.tolist()) for each in states
    ]
    return schemas.EmbeddingPage(
        region=region, model_id=timeline.model_id, encoder_model_id=states[0].encoder_model_id if states else None,
        dim=_dim_of(states) if states else None, items=rows,
        next=next_page(request, timeline.dates[query.limit]) if len(timeline.dates) > query.limit else None,
    )  # fmt: skip


def _arrow(app: App, region: str, query: questions.EmbeddingPageParameters) -> Response:
    span, history = query.span(), app.regimes.history(region, query.model_id)
    try:
        states = app.regimes.states(region, span.start, span.end, history.model_id)
        dim = _dim_of(states)
    except NoRegimesError:  # an empty stream has the length of the newest vector
        states, dim = [], _dim_of(app.regimes.states(region, history.last, history.last, history.model_id))
    named = {"region": region, "model_id": history.model_id, "encoder_model_id": history.encoder_model_id}
    return Response(_stream(states, dim, named), media_type=ARROW)


def _stream(states: Sequence[RegimeState], dim: int, named: dict[str, str]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 -- slow to import, and rarely needed

    values = np.concatenate([np.empty(0, np.float32), *(each.regime_embedding for each in states)])
    columns = {
        "as_of_date": pa.array([each.as_of_date for each in states], pa.date32()),
        "label": pa.array([each.regime_label.name for each in states], pa.string()),
        "confidence": pa.array([each.confidence for each in states], pa.float64()),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), dim),
    }
    table = pa.table(columns).replace_schema_metadata(named)
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _dim_of(states: Sequence[RegimeState]) -> int:
    """Return the one length of all vectors; `VectorError` where there are several."""
    dims = sorted({each.regime_embedding.size for each in states})
    if len(dims) > 1:
        listed = " and ".join(map(str, dims))
        raise VectorError(f"region {states[0].region}", f"its vectors have {listed} values; ask for a narrower range")
    return int(dims[0])
