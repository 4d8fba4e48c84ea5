"""What stands behind regimes: definitions of regions, instruments, and faults of their prices; a page may be a table.

A row of a page and of its table are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field, JsonValue
from starlette.responses import Response

from prometheus.app import App
from prometheus.errors import InputRefusedError
from prometheus.web.api import TABLE, TABLE_TOO, AppOf, next_page
from prometheus.web.questions import OptionalDate, OptionalName, Parameters, RegionPath
from prometheus.web.schemas import Answer, ModelHistory
from prometheus.web.tables import Suffix, table_answer

MAX_INSTRUMENTS = 1_000
MAX_CHECKED = 50

router = APIRouter(prefix="/v1", tags=["reference"])


class AsOfParameters(Parameters):
    """A date that nothing later passes."""

    as_of: OptionalDate = Field(None, description="Nothing later counts; default: now.", examples=["2020-03-16"])


class InstrumentPageParameters(AsOfParameters):
    """A page of instruments."""

    market: OptionalName = Field(None, description="Only of this market.", examples=["US_EQ"])
    limit: int = Field(500, ge=1, le=MAX_INSTRUMENTS, description="Rows on a page.")
    cursor: OptionalName = Field(None, description="Id of the first row of a page, from `next`.")


class FindingPageParameters(AsOfParameters):
    """A page of faults of prices."""

    region: OptionalName = Field(None, description="Only of the instruments behind this region.")
    instrument: OptionalName = Field(None, description="Only of this instrument.")
    market: OptionalName = Field(None, description="Only of instruments of this market.")
    open: bool | None = Field(None, description="Only what is not decided yet, or only what is.")
    limit: int = Field(20, ge=1, le=MAX_CHECKED, description="Instruments checked for a page.")
    cursor: OptionalName = Field(None, description="Id of the first instrument of a page, from `next`.")


class DefinedModel(ModelHistory):
    """A regime model of a region, and what it means."""

    config: dict[str, JsonValue] = Field(
        description="As it is stored, without vectors: span, thresholds and temperature of the calibration, and others."
    )


class TextScope(Answer):
    """Which texts are joined with a region; null for all."""

    country: str | None
    language: str | None


class RegionDefinition(Answer):
    """What a region stands on, and who labels it."""

    region: str = Field(examples=["US_INDEX"])
    instrument_id: str = Field(description="Whose sessions are its dates.", examples=["GSPC.INDX"])
    market: str | None
    members: dict[str, float] = Field(description="Weight by instrument; only their ratios matter.")
    default_model_id: str = Field(description="The model that answers where none is named.")
    models: list[DefinedModel]
    texts: TextScope | None = Field(description="By the settings of today; null if not configured, or with `as_of`.")


class InstrumentRow(Answer):
    """An instrument."""

    instrument_id: str = Field(examples=["GSPC.INDX"])
    name: str | None
    market_id: str
    asset_class: str
    currency: str
    first: date = Field(description="Of its bars.")
    close_date: date = Field(description="Of its newest bar.")
    close: float
    move: float | None = Field(description="Of the adjusted close, from the bar before.")
    regions: list[str] = Field(description="That stand on it.")


class InstrumentPage(Answer):
    """Instruments, in order of id."""

    items: list[InstrumentRow]
    next: str | None = Field(description="Address of the next page; null on the last one.")


class FindingRow(Answer):
    """A fault of prices."""

    instrument_id: str
    first: date
    last: date
    kind: str = Field(examples=["suspect"])
    evidence: str = Field(description="Its numbers.")
    effect: str = Field(description="On labels, while nothing is decided.")
    way_out: str
    judge: str = Field(description="Id of the rules.")
    known_on: date = Field(description="Date of the bar that showed it.")
    held: bool = Field(description="Whether the label of one of its sessions is that of the session before.")
    decision: Literal["accepted", "rejected"] | None = Field(description="Null while it is open.")
    decided_at: datetime | None = Field(description="Null while it is open, or with `as_of`.")
    reason: str | None = Field(description="Null while it is open, or with `as_of`.")


class FindingPage(Answer):
    """Faults of prices by instrument and date; a page without any may have a next one."""

    items: list[FindingRow]
    failures: dict[str, str] = Field(description="How the judge of prices failed, by instrument; usually none.")
    next: str | None = Field(description="Address of the next page; null on the last one.")


InstrumentQuery = Annotated[InstrumentPageParameters, Query()]
FindingQuery = Annotated[FindingPageParameters, Query()]


@router.get("/regions/{region}", response_model=RegionDefinition, summary="What a region stands on, and who labels it")
def get_region(app: AppOf, region: RegionPath, query: Annotated[AsOfParameters, Query()]) -> Any:
    """Return members and weights, and each model with its calibration, now or as a date knew them."""
    return app.definitions.region(region, query.as_of).to_dict()


@router.get(
    "/instruments", response_model=InstrumentPage, summary="Instruments, their prices and regions", responses=TABLE_TOO
)
def list_instruments(request: Request, app: AppOf, query: InstrumentQuery) -> Any:
    """Return a page of the instruments that have prices."""
    return _page(request, *_instruments(app, query))


@router.get("/instruments.{suffix}", summary="The same as a table", response_class=Response, responses=TABLE)
def get_instrument_table(request: Request, app: AppOf, suffix: Suffix, query: InstrumentQuery) -> Response:
    """Return a page as CSV, an Arrow stream or Parquet; the header `Link` leads to the next one."""
    return _table(request, *_instruments(app, query), InstrumentRow, suffix, "instruments")


@router.get(
    "/findings", response_model=FindingPage, summary="Faults of prices, and what is decided of them",
    responses=TABLE_TOO,
)  # fmt: skip
def list_findings(request: Request, app: AppOf, query: FindingQuery) -> Any:
    """Return the findings of some instruments, as the bars up to a date show them; bars and decisions as stored now."""
    rows, cursor, failures = _findings(app, query)
    return {**_page(request, rows, cursor), "failures": failures}


@router.get("/findings.{suffix}", summary="The same as a table", response_class=Response, responses=TABLE)
def get_finding_table(request: Request, app: AppOf, suffix: Suffix, query: FindingQuery) -> Response:
    """Return a page as CSV, an Arrow stream or Parquet; the header `Link` leads to the next one."""
    rows, cursor, failures = _findings(app, query)
    for name, failure in failures.items():  # a table has no place for it
        raise InputRefusedError(f"{name}: {failure}; ask for JSON, which has the findings of the others")
    return _table(request, rows, cursor, FindingRow, suffix, "findings")


def _instruments(app: App, query: InstrumentPageParameters) -> tuple[list[dict[str, Any]], str | None]:
    """Return the rows of a page, and the cursor of the next one."""
    found = app.definitions.instruments(query.as_of, query.market, query.cursor or "", query.limit + 1)
    rows = [each.to_dict() for each in found]
    return rows[: query.limit], rows[query.limit]["instrument_id"] if len(rows) > query.limit else None


def _findings(app: App, query: FindingPageParameters) -> tuple[list[dict[str, Any]], str | None, dict[str, str]]:
    """Return the rows of a page, the cursor of the next one, and where the judge failed, how."""
    subjects = app.definitions.subjects(query.region, query.instrument, query.market, query.as_of)
    names = [name for name in subjects if name >= (query.cursor or "")]
    found, failures = app.findings.listed(names[: query.limit], query.as_of)
    rows = [each.to_dict() for each in found if query.open in (None, each.verdict is None)]
    return rows, names[query.limit] if len(names) > query.limit else None, failures


def _page(request: Request, rows: Sequence[Mapping[str, Any]], cursor: str | None) -> dict[str, Any]:
    return {"items": rows, "next": None if cursor is None else next_page(request, cursor)}


def _table(
    request: Request, rows: Sequence[Mapping[str, Any]], cursor: str | None, form: type[Answer], suffix: str, name: str
) -> Response:
    import pyarrow as pa  # noqa: PLC0415 -- slow to import, and rarely needed

    days, numbers = pa.date32(), pa.float64()
    kinds = {
        "first": days, "last": days, "known_on": days, "close_date": days, "close": numbers, "move": numbers,
        "held": pa.bool_(), "decided_at": pa.timestamp("us", "UTC"),
    }  # fmt: skip
    schema = pa.schema([(column, kinds.get(column, pa.string())) for column in form.model_fields])
    answer = table_answer(pa.Table.from_pylist(list(_plain(rows, form)), schema=schema), suffix, name)
    if cursor is not None:
        answer.headers["Link"] = f'<{next_page(request, cursor)}>; rel="next"'
    return answer


def _plain(rows: Sequence[Mapping[str, Any]], form: type[Answer]) -> Iterator[dict[str, Any]]:
    """Yield rows with dates as dates, and lists, which CSV does not know, as one text."""
    for row in rows:
        values = form.model_validate(row).model_dump()
        yield {name: " ".join(each) if isinstance(each, list) else each for name, each in values.items()}
