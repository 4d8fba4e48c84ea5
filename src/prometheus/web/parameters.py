"""What a request may say, and within which limits; anything else is refused by name."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from prometheus.analogs.search import Metric
from prometheus.app.analog_report import Space
from prometheus.app.text_search import Source
from prometheus.backfill.plan import DateSpan

MAX_REGIMES = 10_000
MAX_EMBEDDINGS = 500
MAX_RUNS = 1_000
MAX_ANALOGS = 100
MAX_TEXTS = 100
MAX_EXCLUDED_SESSIONS = 10_000
MAX_QUESTION = 2_000
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
_NAME = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": _PRINTABLE}


def parse_iso_date(value: object) -> object:
    """Return the date that a text of the form YYYY-MM-DD names; anything but text is returned as it is.

    Raises
    ------
    ValueError
        It names none.
    """
    if not isinstance(value, str):
        return value
    try:
        if _ISO_DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError(f"{value[:40]!r} is no date; write YYYY-MM-DD")


IsoDate = Annotated[date, BeforeValidator(parse_iso_date), WithJsonSchema({"type": "string", "format": "date"})]
OptionalDate = Annotated[
    date | None, BeforeValidator(parse_iso_date), WithJsonSchema({"type": "string", "format": "date"})
]
OptionalName = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_PRINTABLE)] | None, WithJsonSchema(_NAME)
]
RegionPath = Annotated[
    str,
    Path(
        description="A region, as `/v1/regions` lists it.",
        min_length=1,
        max_length=200,
        pattern=r"^[^/\x00-\x1f\x7f]+$",
    ),
]
DatePath = Annotated[IsoDate, Path(description="A session of the region.", examples=["2020-03-16"])]


class Parameters(BaseModel):
    """Query parameters; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoParameters(Parameters):
    """None at all."""


class ModelParameters(Parameters):
    """Which regime model."""

    model_id: OptionalName = Field(None, description="The regime model; the default of the region without it.")


class SpanParameters(ModelParameters):
    """Dates wanted."""

    start: IsoDate = Field(date.min, description="First date.", examples=["2020-01-01"])
    end: IsoDate = Field(date.max, description="Last date.", examples=["2020-12-31"])
    cursor: OptionalDate = Field(None, description="Date of the first row of a page, from `next`.")

    def span(self) -> DateSpan:
        """Return the dates that are still to come.

        Raises
        ------
        UsageError
            The end lies before the start.
        """
        asked = DateSpan.of_range(self.start, self.end)
        if self.cursor is None:
            return asked
        return DateSpan.of_range(max(asked.start, self.cursor), asked.end)


class RegimePageParameters(SpanParameters):
    """A page of regimes."""

    limit: int = Field(1_000, ge=1, le=MAX_REGIMES, description="Rows on a page.")


class EmbeddingPageParameters(SpanParameters):
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
    space: Space = Field("numeric", description="What is compared: the numbers, the texts, or both joined.")
    k: int = Field(10, ge=1, le=MAX_ANALOGS, description="Analogs wanted.")
    exclude_sessions: int = Field(
        63, ge=0, le=MAX_EXCLUDED_SESSIONS, description="Dates this near to the date, or to an analog, are none."
    )
    metric: Metric = Field("euclidean", description="How distances are measured.")
    model_id: OptionalName = Field(None, description="Whose vectors are compared.")


class TextParameters(Parameters):
    """A question to the texts."""

    q: str = Field(
        description="What the texts should mean.", min_length=1, max_length=MAX_QUESTION, pattern=r"^[^\x00]*$",
        examples=["banks in trouble"],
    )  # fmt: skip
    as_of: IsoDate = Field(description="Texts known on this date.", examples=["2025-01-31"])
    k: int = Field(10, ge=1, le=MAX_TEXTS, description="Texts wanted.")
    source: Annotated[Source | None, WithJsonSchema({"type": "string", "enum": ["macro", "news"]})] = Field(
        None, description="Only these texts."
    )
    model_id: OptionalName = Field(None, description="Whose vectors are compared; needed where several models answer.")


Nothing = Annotated[NoParameters, Query()]
OfModel = Annotated[ModelParameters, Query()]
PageQuery = OfModel
RegimePageQuery = Annotated[RegimePageParameters, Query()]
EmbeddingPageQuery = Annotated[EmbeddingPageParameters, Query()]
RunPageQuery = Annotated[RunPageParameters, Query()]
AnalogQuery = Annotated[AnalogParameters, Query()]
TextSearchQuery = Annotated[TextParameters, Query()]
