"""What the tools are asked: their parameters, with what each means."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from prometheus.regime.types import RegimeLabel
from prometheus.web.questions import (
    FoundTextParameters,
    IsoDate,
    OptionalName,
    Parameters,
    RankedTextParameters,
    TextKind,
    parse_iso_date,
)

LATEST = "latest"
_WORDS = r"^[^\x00]*\S[^\x00]*$"


def _parse_as_of(value: object) -> object:
    return None if value == LATEST else parse_iso_date(value)


AsOf = Annotated[
    date | None,
    BeforeValidator(_parse_as_of),
    WithJsonSchema({"type": "string", "pattern": rf"^(\d{{4}}-\d{{2}}-\d{{2}}|{LATEST})$"}),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class AsOfParameters(Parameters):
    """What every tool is asked."""

    as_of: AsOf = Field(
        description=f"YYYY-MM-DD, or '{LATEST}' for the newest session stored. Nothing that became known after this "
        "date is in the answer.",
        examples=["2020-03-16"],
    )


class RegionParameters(AsOfParameters):
    """A region on a date."""

    region: Name = Field(description="As list_regions names it.", examples=["US_INDEX"])
    model_id: OptionalName = Field(None, description="A regime model; leave it out for that of the region.")


class RegionsParameters(AsOfParameters):
    """Regions on a date."""

    market: OptionalName = Field(None, description="Only regions of this market.")
    label: RegimeLabel | None = Field(None, description="Only regions in this regime.")
    limit: int = Field(30, ge=1, le=200, description="Regions told.")
    offset: int = Field(0, ge=0, description="Regions left out first.")


class HistoryParameters(RegionParameters):
    """Sessions of a region."""

    start: IsoDate = Field(date.min, description="First date, YYYY-MM-DD.")
    limit: int = Field(21, ge=1, le=252, description="The newest sessions told.")


class ChangesParameters(AsOfParameters):
    """Changes of regime."""

    since: IsoDate = Field(description="First date, YYYY-MM-DD.", examples=["2020-02-01"])
    region: OptionalName = Field(None, description="Only of this region.")
    limit: int = Field(30, ge=1, le=200, description="Changes told.")


class RecordParameters(RegionParameters):
    """What was said of a region."""

    limit: int = Field(10, ge=1, le=100, description="The newest statements told.")


class AnalogsParameters(RegionParameters):
    """Past dates like one."""

    k: int = Field(5, ge=1, le=20, description="Past dates wanted.")


class TextsParameters(AsOfParameters, RankedTextParameters):
    """A question to the texts."""

    question: Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern=_WORDS)] | None = Field(
        None, description="What the texts should say or mean; left out with `like`.", examples=["banks in trouble"]
    )
    k: int = Field(5, ge=1, le=20, description="Texts wanted.")


class InstrumentsParameters(AsOfParameters):
    """Instruments on a date."""

    market: OptionalName = Field(None, description="Only of this market.")
    limit: int = Field(50, ge=1, le=500, description="Instruments told.")
    offset: int = Field(0, ge=0, description="Instruments left out first.")


class FindingsParameters(AsOfParameters):
    """Faults in prices: of a region's, or of one instrument's."""

    region: OptionalName = Field(None, description="A region; its instruments are looked at.")
    instrument_id: OptionalName = Field(None, description="One instrument, instead of a region.")
    limit: int = Field(20, ge=1, le=100, description="Findings told, the newest first.")


class StanceParameters(AsOfParameters, FoundTextParameters):
    """The stance of texts."""

    source: TextKind = Field("macro", description="Macro events, or news.")
    model_id: OptionalName = Field(None, description="A head of fit_stance; leave it out for the newest.")
    limit: int = Field(20, ge=1, le=200, description="Texts told, the newest.")
