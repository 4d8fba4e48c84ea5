"""The form of questions, as the OpenAPI document has it: unknown parameters are refused."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, get_args

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from prometheus.analogs.search import SPACES, AnalogRequest, Metric, Space
from prometheus.app.text_search import By, Source, TextQuery
from prometheus.backfill.plan import DateSpan
from prometheus.encoders.texts.documents import MainStance, TextFilters, TextSourceType

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
QUESTION = r"^[^\x00]*$"
LIKE = r"^(MACRO|NEWS|macro|news):[0-9]{1,18}$"
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
Names = tuple[Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PRINTABLE)], ...]
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
    space: Annotated[Space | None, WithJsonSchema({"type": "string", "enum": list(SPACES)})] = _as_in(
        AnalogRequest,
        "space",
        description="What is compared: prices, texts, or joint rows; left out prices, with macro numbers where joined.",
    )
    k: int = _as_in(AnalogRequest, "k", ge=1, le=MAX_ANALOGS, description="Analogs wanted.")
    exclude_sessions: int = _as_in(
        AnalogRequest, "exclude_sessions", ge=0, le=MAX_EXCLUDED_SESSIONS,
        description="Minimum gap between results (sessions).",
    )  # fmt: skip
    metric: Metric = _as_in(AnalogRequest, "metric", description="How distances are measured.")
    model_id: OptionalName = _as_in(AnalogRequest, "model_id", description="Whose vectors are compared.")


TextKind = Literal["macro", "news"]
TEXT_KINDS: Mapping[TextKind, TextSourceType] = {"macro": "MACRO", "news": "NEWS"}


class FoundTextParameters(Parameters):
    """Which texts may be found."""

    start: OptionalDate = _as_in(TextFilters, "start", description="First date of the texts.")
    end: OptionalDate = _as_in(TextFilters, "end", description="Last date of the texts.")
    country: OptionalName = _as_in(TextFilters, "country", description="Only texts of this country.")
    publisher: OptionalName = _as_in(TextFilters, "publisher", description="Only texts of this source.")
    event_type: OptionalName = _as_in(TextFilters, "event_type", description="Only texts of this type.")
    author: OptionalName = _as_in(
        TextFilters, "author", description="Only texts by this author or speaker, who may be named in part."
    )
    language: OptionalName = _as_in(TextFilters, "language", description="Only texts in this language.")
    instrument_id: Names = _as_in(
        TextFilters, "instrument_id", description="Only texts that concern this instrument; may be repeated.",
        max_length=MAX_REGIONS, examples=[["AAPL.US"]],
    )  # fmt: skip
    stance: Annotated[MainStance | None, WithJsonSchema({"type": "string", "enum": list(get_args(MainStance))})] = (
        _as_in(TextFilters, "stance", description="Only texts of this main stance, as the newest head reads them.")
    )

    def filters(self) -> TextFilters:
        """Return what texts must be."""
        return TextFilters(**{field.name: getattr(self, field.name) for field in dataclasses.fields(TextFilters)})


class RankedTextParameters(FoundTextParameters):
    """How texts are ranked, and which may be found."""

    source: Annotated[Source | None, WithJsonSchema({"type": "string", "enum": ["macro", "news"]})] = _as_in(
        TextQuery, "source", description="Only macro events, or only news."
    )
    by: By = _as_in(TextQuery, "by", description="Ranked by the words of the question, by its meaning, or by both.")
    like: Annotated[
        Annotated[str, StringConstraints(pattern=LIKE)] | None, WithJsonSchema({"type": "string", "pattern": LIKE})
    ] = _as_in(
        TextQuery, "like", description="Instead of a question: a stored text, by source and number.",
        examples=["MACRO:123"],
    )  # fmt: skip

    def asked(self, question: str | None, as_of: date, k: int, hf_model_name: str, **more: Any) -> TextQuery:
        """Return what the app is asked; `UsageError` for neither a question nor a text that others are like."""
        chosen = {"source": self.source, "by": self.by, "like": self.like, **more}
        return TextQuery(question or "", as_of, k, hf_model_name=hf_model_name, filters=self.filters(), **chosen)


class TextParameters(RankedTextParameters):
    """A question to the texts."""

    q: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_QUESTION, pattern=QUESTION)] | None,
        WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_QUESTION, "pattern": QUESTION}),
    ] = Field(
        None, description="What the texts should say or mean; left out with `like`.", examples=["banks in trouble"]
    )
    as_of: IsoDate = Field(description="Texts known on this date.", examples=["2025-01-31"])
    k: int = _as_in(TextQuery, "k", ge=1, le=MAX_TEXTS, description="Texts wanted.")
    model_id: OptionalName = _as_in(
        TextQuery,
        "model_id",
        description="Whose vectors are compared; without it, for each text the newest model that reads it.",
    )


class StanceParameters(FoundTextParameters):
    """The stance of texts."""

    as_of: IsoDate = Field(description="Texts known on this date.", examples=["2025-01-31"])
    source: TextKind = Field("macro", description="Macro events, or news.")
    model_id: OptionalName = Field(None, description="A head of fit_stance; without it the newest.")


Nothing = Annotated[Parameters, Query()]
OfModel = Annotated[ModelParameters, Query()]
OfRegions = Annotated[RegionsParameters, Query()]
RegimePageQuery = Annotated[RegimePageParameters, Query()]
EmbeddingPageQuery = Annotated[EmbeddingPageParameters, Query()]
RunPageQuery = Annotated[RunPageParameters, Query()]
AnalogQuery = Annotated[AnalogParameters, Query()]
TextSearchQuery = Annotated[TextParameters, Query()]
StanceQuery = Annotated[StanceParameters, Query()]
