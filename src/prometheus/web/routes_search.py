"""Past dates and texts that resemble what is asked about."""

from __future__ import annotations

from fastapi import APIRouter

from prometheus.app.analog_report import AnalogRequest
from prometheus.app.text_search import TextQuery
from prometheus.web.parameters import AnalogQuery, RegionPath, TextSearchQuery
from prometheus.web.routes import AppOf
from prometheus.web.schemas import AnalogList, TextList

router = APIRouter(prefix="/v1", tags=["search"])


@router.get("/regions/{region}/analogs", summary="Past dates that looked like one")
def find_analogs(app: AppOf, region: RegionPath, query: AnalogQuery) -> AnalogList:
    """Return the nearest past dates, and what followed them against what followed all dates."""
    report = app.analogs.find(AnalogRequest(region=region, **query.model_dump()))
    return AnalogList.model_validate(report.to_dict())


@router.get("/texts/search", summary="Texts by meaning")
def search_texts(app: AppOf, query: TextSearchQuery) -> TextList:
    """Return the texts known by a date that are nearest in meaning to a question."""
    asked = TextQuery(
        query=query.q,
        as_of=query.as_of,
        k=query.k,
        source=query.source,
        model_id=query.model_id,
        hf_model_name=app.db_manager.config.hf_model_name,
    )
    return TextList.model_validate(app.text_search.find(asked).to_dict())
