"""The form of questions and answers, as the OpenAPI document has it: unknown parameters and NaN are refused."""

from __future__ import annotations

import dataclasses
import re
from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, WithJsonSchema

from prometheus.analogs.search import AnalogRequest, Metric, Space
from prometheus.app.text_search import Source, TextQuery
from prometheus.backfill.plan import DateSpan
from prometheus.regime.exposure import RULE
from prometheus.regime.types import RegimeLabel

MAX_REGIMES = 10_000
MAX_REGIONS = 50
MAX_EMBEDDINGS = 500
MAX_RUNS = 1_000
MAX_ANALOGS = 100
MAX_TEXTS = 100
MAX_EXCLUDED_SESSIONS = 10_000
MAX_QUESTION = 2_000
HELD_SLASH = "\ue000"
"""Of Unicode's private use: stands for a slash within one part of a path."""
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
_DATE = {"type": "string", "format": "date"}
_NAME = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": PRINTABLE}


def parse_iso_date(value: object) -> object:
    """Return the date of a text YYYY-MM-DD, or what is not a text unchanged; `ValueError` for any other text."""
    if not isinstance(value, str):
        return value
    try:
        if _ISO_DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError(f"{value[:40]!r} is no date; write YYYY-MM-DD")


IsoDate = Annotated[date, BeforeValidator(parse_iso_date), WithJsonSchema(_DATE)]
OptionalDate = Annotated[date | None, BeforeValidator(parse_iso_date), WithJsonSchema(_DATE)]
OptionalName = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PRINTABLE)] | None, WithJsonSchema(_NAME)
]
_REGION = Path(description="A region, as `/v1/regions` lists it.", min_length=1, max_length=200, pattern=PRINTABLE)
RegionPath = Annotated[str, _REGION, BeforeValidator(lambda name: name.replace(HELD_SLASH, "/"))]
DatePath = Annotated[IsoDate, Path(description="A session of the region.", examples=["2020-03-16"])]


def _as_in(request: type, name: str, **told: Any) -> Any:
    """Return a parameter with the default that the app's own request has."""
    (field,) = (field for field in dataclasses.fields(request) if field.name == name)
    return Field(field.default, **told)


class Parameters(BaseModel):
    """Query parameters; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelParameters(Parameters):
    """Which regime model."""

    model_id: OptionalName = Field(None, description="The regime model; default: that of the region.")


class RegionsParameters(ModelParameters):
    """Which regions, and which regime model."""

    region: list[Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PRINTABLE)]] = Field(
        description="A region; may be repeated.", min_length=1, max_length=MAX_REGIONS, examples=[["US_INDEX"]]
    )


class SpanParameters(ModelParameters):
    """Dates wanted."""

    start: IsoDate = Field(date.min, description="First date.", examples=["2020-01-01"])
    end: IsoDate = Field(date.max, description="Last date.", examples=["2020-12-31"])

    def span(self) -> DateSpan:
        """Return the dates; `UsageError` where the range ends before it starts."""
        return DateSpan.of_range(self.start, self.end)


class PageParameters(SpanParameters):
    """A page of dates."""

    cursor: OptionalDate = Field(None, description="Date of the first row of a page, from `next`.")

    def span(self) -> DateSpan:
        """Return the dates from the cursor on; `UsageError` where the range ends before it starts."""
        asked = super().span()
        return asked if self.cursor is None else DateSpan.of_range(max(asked.start, self.cursor), asked.end)


class RegimePageParameters(PageParameters):
    """A page of regimes."""

    limit: int = Field(1_000, ge=1, le=MAX_REGIMES, description="Rows on a page.")


class EmbeddingPageParameters(PageParameters):
    """A page of embeddings."""

    limit: int = Field(100, ge=1, le=MAX_EMBEDDINGS, description="Rows on a page; an Arrow stream has all rows.")


class RunPageParameters(Parameters):
    """A page of runs."""

    kind: OptionalName = Field(None, description="Only runs of that kind: numeric, regime, text or joint.")
    limit: int = Field(100, ge=1, le=MAX_RUNS, description="Rows on a page.")
    cursor: OptionalName = Field(None, description="Id of the last run of the page before, from `next`.")


class AnalogParameters(Parameters):
    """Analogs of a date."""

    as_of: IsoDate = Field(description="The date asked about; nothing after it counts.", examples=["2020-03-16"])
    space: Space = _as_in(
        AnalogRequest, "space", description="What is compared: the numbers, the texts, or both joined."
    )
    k: int = _as_in(AnalogRequest, "k", ge=1, le=MAX_ANALOGS, description="Analogs wanted.")
    exclude_sessions: int = _as_in(
        AnalogRequest, "exclude_sessions", ge=0, le=MAX_EXCLUDED_SESSIONS,
        description="Minimum gap between results (sessions).",
    )  # fmt: skip
    metric: Metric = _as_in(AnalogRequest, "metric", description="How distances are measured.")
    model_id: OptionalName = _as_in(AnalogRequest, "model_id", description="Whose vectors are compared.")


class TextParameters(Parameters):
    """A question to the texts."""

    q: str = Field(
        description="What the texts should mean.", min_length=1, max_length=MAX_QUESTION, pattern=r"^[^\x00]*$",
        examples=["banks in trouble"],
    )  # fmt: skip
    as_of: IsoDate = Field(description="Texts known on this date.", examples=["2025-01-31"])
    k: int = _as_in(TextQuery, "k", ge=1, le=MAX_TEXTS, description="Texts wanted.")
    source: Annotated[Source | None, WithJsonSchema({"type": "string", "enum": ["macro", "news"]})] = _as_in(
        TextQuery, "source", description="Only these texts."
    )
    model_id: OptionalName = _as_in(
        TextQuery, "model_id", description="Whose vectors are compared; needed where several models answer."
    )


Nothing = Annotated[Parameters, Query()]
OfModel = Annotated[ModelParameters, Query()]
OfRegions = Annotated[RegionsParameters, Query()]
RegimePageQuery = Annotated[RegimePageParameters, Query()]
EmbeddingPageQuery = Annotated[EmbeddingPageParameters, Query()]
RunPageQuery = Annotated[RunPageParameters, Query()]
AnalogQuery = Annotated[AnalogParameters, Query()]
TextSearchQuery = Annotated[TextParameters, Query()]

Share = Annotated[float, Field(ge=0, le=1)]
Exposure = Annotated[Share, Field(description=f"What is left in the market: {RULE}.")]
_CRASH: dict[str, JsonValue] = {"as_of_date": "2020-03-16", "label": "CRISIS", "confidence": 0.99, "held": False}
_US_INDEX: JsonValue = {
    "region": "US_INDEX",
    "model_id": "num-regime-core-v2@5cae794e",
    "items": [{**_CRASH, "high_volatility": 0.997, "probabilities": {"CRISIS": 0.99, "RISK_OFF": 0.01}}],
    "next": "/v1/regions/US_INDEX/regimes?limit=1&cursor=2020-03-17",
}
_ENCODER_EXAMPLE = "num-regime-core-v2"


class Answer(BaseModel):
    """Any part of an answer."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class State(Answer):
    """How the server is."""

    status: Literal["ok"]


class ModelHistory(Answer):
    """What one regime model said of a region."""

    model_id: str = Field(examples=["num-regime-core-v2@5cae794e"])
    encoder_model_id: str = Field(examples=[_ENCODER_EXAMPLE])
    has_prototypes: bool = Field(description="Without prototypes every label is NEUTRAL.")
    n_dates: int = Field(examples=[4026])
    first: date = Field(examples=["2008-01-02"])
    last: date = Field(examples=["2023-12-28"])


class Region(Answer):
    """A region and the models that labelled it."""

    region: str = Field(examples=["US_INDEX"])
    default_model_id: str = Field(description="The model that answers where none is named.")
    models: list[ModelHistory]


class RegionList(Answer):
    """Everything that has regimes."""

    items: list[Region]


class RegimeRow(Answer):
    """The regime of one date."""

    as_of_date: date
    label: RegimeLabel
    confidence: Share
    high_volatility: Share | None = Field(description="Probability in the next 21 sessions; null where not said.")
    held: bool = Field(description="Whether the bar was suspect, and this is the label of the session before.")
    exposure: Exposure
    probabilities: dict[RegimeLabel, Share] | None = Field(description="Of each label; null where not said.")


class RegimePage(Answer):
    """Regimes of one region and model, oldest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [_US_INDEX]})

    region: str
    model_id: str
    items: list[RegimeRow]
    next: str | None = Field(description="Address of the next page; null on the last one.")


class HighVolatility(Answer):
    """How likely the next 21 sessions are volatile."""

    probability: Share
    threshold: float = Field(description="Annualised volatility from which on it is called high.")


class Risk(Answer):
    """A probability and its 95 % interval."""

    probability: Share
    low: Share
    high: Share


class ReasonRow(Answer):
    """One line of an explanation."""

    text: str = Field(examples=["volatility 54 % a year against a norm of 16 %"])
    share: float | None = Field(
        description="Its part in the decision for the label; null for a line that only informs."
    )


class RegimeDetail(Answer):
    """The regime of one date with all that its model says; what it does not say is null or empty."""

    region: str
    as_of_date: date
    label: RegimeLabel
    confidence: Share
    held: str | None = Field(description="Why this is the label of the session before; null where it is its own.")
    model_id: str
    encoder_model_id: str
    probabilities: dict[RegimeLabel, Share] | None
    high_volatility: HighVolatility | None
    spell_sessions: int | None = Field(description="Sessions with this label in a row, counted up to 21.")
    change_risk: dict[str, Risk] | None = Field(description="Of leaving the regime, by sessions ahead.")
    exposure: Exposure
    explanation: list[ReasonRow]


class RegionRefusal(Answer):
    """A region that cannot be answered for."""

    region: str
    error: str = Field(description="A stable name.", examples=["no_regimes"])
    detail: str


class RegimeDetails(Answer):
    """The regimes of several regions, in the order asked for, and why others have none."""

    items: list[RegimeDetail]
    refused: list[RegionRefusal]


class Transitions(Answer):
    """How the regimes of one model follow each other."""

    region: str
    model_id: str
    n_dates: int
    counts: dict[RegimeLabel, dict[RegimeLabel, int]]
    matrix: dict[RegimeLabel, dict[RegimeLabel, Share]] = Field(description="Share of each successor, stays included.")
    mean_duration: dict[RegimeLabel, float] = Field(description="Dates in an unbroken spell.")
    change_risk: dict[RegimeLabel, dict[str, Risk]] = Field(description="Of leaving each regime, by sessions ahead.")


class TransitionList(Answer):
    """One entry for each regime model."""

    items: list[Transitions]


class EmbeddingRow(Answer):
    """The vector of one date."""

    as_of_date: date
    embedding: list[float]


class EmbeddingPage(Answer):
    """Vectors of one region and regime model, oldest first."""

    region: str
    model_id: str
    encoder_model_id: str | None = Field(description="Whose vectors they are; null on an empty page.")
    dim: int | None
    items: list[EmbeddingRow]
    next: str | None = Field(description="Address of the next page; null on the last one.")


class OutcomeRow(Answer):
    """What followed a date; null where it is not known yet."""

    horizon_sessions: int
    known_from: date | None
    return_: float | None = Field(alias="return", description="Simple: 0.1 is 10 % up.")
    volatility: float | None
    drawdown: float | None


class AnalogRow(Answer):
    """A past date that looked like the one asked about."""

    as_of_date: date
    distance: float
    percentile: Share | None = Field(description="Share of all pairs of dates that are as near or nearer.")
    regime_label: RegimeLabel | None
    confidence: Share | None
    followed_by: list[OutcomeRow]


class SpreadRow(Answer):
    """How a measure of what followed is spread over dates."""

    measure: Literal["return", "volatility", "drawdown"]
    horizon_sessions: int
    n_dates: int
    mean: float | None
    p10: float | None
    p25: float | None
    median: float | None
    p75: float | None
    p90: float | None
    positive_share: Share | None


class AnalogList(Answer):
    """The analogs of a date, nearest first, and what followed them against what followed all dates."""

    region: str
    as_of_date: date = Field(description="The date asked about, or the last before it that has a vector.")
    space: Literal["numeric", "joint", "text"]
    metric: Literal["euclidean", "cosine"]
    exclude_sessions: int
    model_id: str
    regime_model_id: str | None
    instrument_id: str
    n_candidates: int
    analogs: list[AnalogRow]
    spread_over_analogs: list[SpreadRow]
    spread_over_all_dates: list[SpreadRow]


class TextRow(Answer):
    """A text found."""

    similarity: float = Field(description="Cosine, in [-1, 1].")
    n_copies: int = Field(description="Near-copies that it stands for; none of them is listed.")
    source_type: str = Field(examples=["MACRO"])
    source_id: int
    timestamp: datetime
    known_at: datetime | None
    kind: str
    place: str
    origin: str
    text: str


class TextList(Answer):
    """Texts nearest in meaning first."""

    as_of_date: date
    model_id: str = Field(examples=["text-macro-v1"])
    n_texts: int = Field(description="Texts that were compared.")
    hits: list[TextRow]


class RunRow(Answer):
    """A backfill that came to its end."""

    run_id: str
    kind: str = Field(examples=["regime"])
    model_id: str
    finished_at: datetime
    planned: int
    written: int
    failed: int
    n_bytes: int
    seconds: float
    version: str = Field(description="Of Prometheus.")


class RunPage(Answer):
    """Backfills, newest first."""

    items: list[RunRow]
    next: str | None = Field(description="Address of the next page; null on the last one.")
