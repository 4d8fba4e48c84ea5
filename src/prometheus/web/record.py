"""The forward record over HTTP: its route, and the form of question and answer."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field, StringConstraints
from starlette.responses import HTMLResponse, Response

from prometheus.regime.types import RegimeLabel
from prometheus.web.api import AppOf, next_page
from prometheus.web.questions import PRINTABLE, OptionalDate, Parameters, RegionPath
from prometheus.web.rendering import render
from prometheus.web.schemas import Answer, Share

MAX_STATEMENTS = 10_000
MAX_NUMBER = 2**63 - 1
N_SHOWN = 21
"""Statements on the page."""

router = APIRouter(prefix="/v1", tags=["regimes"])
page = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


class AsOfParameters(Parameters):
    """When the record is looked at."""

    as_of: OptionalDate = Field(None, description="Nothing that was said or followed after this date, in UTC.")


class RecordParameters(AsOfParameters):
    """A page of what was said of a region."""

    region: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PRINTABLE)] = Field(
        description="Region spoken of.", examples=["US_INDEX"]
    )
    limit: int = Field(1_000, ge=1, le=MAX_STATEMENTS, description="Rows on a page.")
    cursor: int = Field(1, ge=1, le=MAX_NUMBER, description="Number of the first row of a page, from `next`.")


class StatementRow(Answer):
    """What was said of a date, as it was said."""

    number: int = Field(description="Place in the record.")
    region: str
    model_id: str
    as_of_date: date
    label: RegimeLabel
    confidence: Share
    probabilities: dict[RegimeLabel, Share | None]
    high_volatility: Share | None = Field(description="Probability in the next 21 sessions; null where not said.")
    threshold: float | None = Field(description="Annualised volatility from which on it is called high.")
    is_held: bool = Field(description="Whether the bar was suspect, and this is the label of the session before.")
    instruments: list[str] = Field(description="What it was made of, the heaviest first.")
    input_hash: int | None
    said_at: datetime
    hash: str = Field(description="SHA-256 of the statement and the hash before it, in hexadecimal digits.")
    label_today: RegimeLabel | None = Field(description="In the tables; null if it is gone, or with `as_of`.")
    today: Literal["same", "changed", "gone"] | None = Field(
        description="What the tables say of it; null with `as_of`."
    )


class TenthRow(Answer):
    """Statements whose probability lies in one tenth."""

    low: Share
    n: int
    stated: Share = Field(description="Their mean probability.")
    observed: Share = Field(description="How often it came true.")


class ForecastRow(Answer):
    """How good the probabilities of high volatility were; null where none can be scored yet."""

    n_scored: int = Field(description="Statements whose 21 sessions are over.")
    brier: float | None
    base_brier: float | None = Field(description="Of the base rate known beforehand.")
    skill: float | None = Field(description="1 less `brier` over `base_brier`.")
    tenths: list[TenthRow]


class ScoreRow(Answer):
    """The score of the statements of one model, of those said on time or of those said afterwards."""

    region: str
    model_id: str
    is_on_time: bool = Field(description="Before the next session's close, or within four days.")
    n_statements: int
    first: date
    last: date
    lag_hours: float = Field(description="Median, from the close of the session to the statement.")
    longest_lag_hours: float
    n_changed: int | None = Field(description="Labels that are others in the tables today; null with `as_of`.")
    n_gone: int | None = Field(description="Labels that the tables no longer have; null with `as_of`.")
    high_volatility: ForecastRow


class RecordPage(Answer):
    """What was said of a region, oldest first, and what that was worth."""

    region: str
    items: list[StatementRow]
    score: list[ScoreRow] | None = Field(description="By model, on time first; null on all pages but the first.")
    next: str | None = Field(description="Address of the next page; null on the last one.")


@router.get("/record", response_model=RecordPage, summary="What was said of a region, and how it came true")
def read_record(request: Request, app: AppOf, query: Annotated[RecordParameters, Query()]) -> Any:
    """Return a page of statements as they were made, beside what the tables say today; the first with the scores."""
    found = app.statements.statements(query.region, query.as_of, query.cursor, query.limit + 1)
    page, is_first = found[: query.limit], query.cursor == 1
    return {
        "region": query.region, "items": [each.to_dict() for each in page],
        "score": [each.to_dict() for each in app.statements.score(query.region, query.as_of)] if is_first else None,
        "next": next_page(request, found[query.limit].number) if len(found) > query.limit else None,
    }  # fmt: skip


@page.get("/regions/{region}/record")
def show_record(
    request: Request, app: AppOf, region: RegionPath, query: Annotated[AsOfParameters, Query()]
) -> Response:
    """Show what was said of a region, what that was worth, and where the tables say otherwise today."""
    record, as_of = app.statements, query.as_of
    said = record.statements(region, as_of)
    scores = [(each, None) for each in record.score(region, as_of)] if as_of else record.score_beside_tables(region)
    values = {
        "region": region, "as_of": as_of, "n_statements": len(said), "newest": said[: -N_SHOWN - 1 : -1],
        "n_on_time": sum(each.n_statements for each, _ in scores if each.is_on_time), "scores": scores,
        "n_models": len({each.model_id for each, _ in scores}), "head": None if as_of else record.head(),
    }  # fmt: skip
    return render(request, "record.html", values)
