"""The vectors behind the regimes: as JSON by pages, or all at once as an Arrow stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from prometheus.app import App
from prometheus.backfill.plan import DateSpan
from prometheus.errors import VectorError
from prometheus.regime.types import RegimeState
from prometheus.web.parameters import EmbeddingPageParameters, EmbeddingPageQuery, RegionPath
from prometheus.web.routes import AppOf, next_page
from prometheus.web.schemas import EmbeddingPage, EmbeddingRow

ARROW = "application/vnd.apache.arrow.stream"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": EmbeddingPage, "content": {ARROW: {"schema": {"type": "string", "format": "binary"}}}}
}

router = APIRouter(prefix="/v1", tags=["embeddings"])


@router.get(
    "/regions/{region}/embeddings", summary="Vectors of a range of dates", response_model=None, responses=_RESPONSES
)
def list_embeddings(request: Request, app: AppOf, region: RegionPath, query: EmbeddingPageQuery) -> Response:
    """Return a page of vectors, or with `Accept: application/vnd.apache.arrow.stream` all of them as Arrow.

    The stream has a column `embedding` of type fixed_size_list<float>[dim] beside date, label and confidence.
    """
    if ARROW in request.headers.get("accept", ""):
        response = _arrow(app, region, query)
    else:
        response = Response(_page(request, app, region, query).model_dump_json(), media_type="application/json")
    response.headers["Vary"] = "Accept"
    return response


def _page(request: Request, app: App, region: str, query: EmbeddingPageParameters) -> EmbeddingPage:
    span = query.span()
    timeline = app.regimes.timeline(region, span.start, span.end, query.model_id, query.limit + 1)
    dates = timeline.dates[: query.limit]
    states: Sequence[RegimeState] = []
    if len(dates):
        states = app.regimes.states(region, dates[0].item(), dates[-1].item(), timeline.model_id)
    return EmbeddingPage(
        region=region,
        model_id=timeline.model_id,
        encoder_model_id=states[0].encoder_model_id if states else None,
        dim=_dim_of(states) if states else None,
        items=[EmbeddingRow(as_of_date=each.as_of_date, embedding=each.regime_embedding.tolist()) for each in states],
        next=next_page(request, timeline.dates[query.limit]) if len(timeline.dates) > query.limit else None,
    )


def _arrow(app: App, region: str, query: EmbeddingPageParameters) -> Response:
    history = app.regimes.history(region, query.model_id)
    span = query.span()
    states = _states_of(app, region, span, history.model_id)
    newest = app.regimes.states(region, history.last, history.last, history.model_id)
    named = {"region": region, "model_id": history.model_id, "encoder_model_id": history.encoder_model_id}
    return Response(_stream(states, _dim_of(states or newest), named), media_type=ARROW)


def _states_of(app: App, region: str, span: DateSpan, model_id: str) -> Sequence[RegimeState]:
    timeline = app.regimes.timeline(region, span.start, span.end, model_id)
    return app.regimes.states(region, span.start, span.end, model_id) if len(timeline.dates) else []


def _stream(states: Sequence[RegimeState], dim: int, named: dict[str, str]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 -- slow to import, and not all who serve need it

    values = np.concatenate([np.empty(0, np.float32), *(each.regime_embedding for each in states)])
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), dim)
    columns = {
        "as_of_date": pa.array([each.as_of_date for each in states], pa.date32()),
        "label": pa.array([each.regime_label.name for each in states], pa.string()),
        "confidence": pa.array([each.confidence for each in states], pa.float64()),
        "embedding": embeddings,
    }
    table = pa.table(columns).replace_schema_metadata(named)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _dim_of(states: Sequence[RegimeState]) -> int:
    """Return the one length of all vectors.

    Raises
    ------
    VectorError
        There are several, so they are of several spaces.
    """
    dims = sorted({each.regime_embedding.size for each in states})
    if len(dims) > 1:
        listed = " and ".join(map(str, dims))
        raise VectorError(f"region {states[0].region}", f"its vectors have {listed} values; ask for a narrower range")
    return int(dims[0])
