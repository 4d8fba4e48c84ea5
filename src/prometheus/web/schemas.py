"""The form of answers, as the OpenAPI document has it: NaN is refused."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from prometheus.regime.exposure import RULE
from prometheus.regime.types import RegimeLabel

Share = Annotated[float, Field(ge=0, le=1)]
Exposure = Annotated[Share, Field(description=f"What is left in the market: {RULE}.")]
_CRASH: dict[str, JsonValue] = {"as_of_date": "2020-03-16", "label": "CRISIS", "confidence": 0.99, "held": False}
_US_INDEX: JsonValue = {
    "region": "US_INDEX",
    "model_id": "num-regime-core-v2@f8383ce1",
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


class Readiness(State):
    """Whether questions are answered, and how the newest night ended."""

    historical: Literal["ok"] = Field(description="The database of prices, texts and embeddings.")
    runtime: Literal["ok"] = Field(description="The database of instruments and regimes.")
    night: str | None = Field(description="Result of the newest night; null before the first.", examples=["completed"])


class ModelHistory(Answer):
    """What one regime model said of a region."""

    model_id: str = Field(examples=["num-regime-core-v2@f8383ce1"])
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


class Bear(Answer):
    """The chance that the session lies in a bear market, between its peak and its trough."""

    probability: Share
    is_bear: bool = Field(description="The state: what the last probability above .45 or below .1 said.")
    fall: Share = Field(description="From a peak, and rise from a trough, that make one begin and end.")


class Risk(Answer):
    """A probability and its 95 % interval."""

    probability: Share
    low: Share
    high: Share


class ReasonRow(Answer):
    """One line of an explanation."""

    text: str = Field(examples=["volatility 54 % a year against a norm of 16 %"])
    share: float | None = Field(
        description="Its part of all that pulled, in [-1, 1], above 0 for the label; null for a line that only informs."
    )


class MarketIndex(Answer):
    """The index of a member's market, which the probability of high volatility takes into account."""

    instrument_id: str = Field(examples=["GSPC.INDX"])
    session: date | None = Field(description="Its newest session known that day; null where none was, nor is it in it.")


class Drift(Answer):
    """How far the sessions up to the date have moved from those that the model was calibrated on."""

    calibrated_until: date
    reasons: list[str] = Field(description="Why to calibrate again, the strongest first; none while all is in limits.")


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
    bear: Bear | None
    spell_sessions: int | None = Field(description="Sessions with this label in a row, counted up to 21.")
    change_risk: dict[str, Risk] | None = Field(description="Of leaving the regime, by sessions ahead.")
    exposure: Exposure
    market_index: MarketIndex | None = Field(description="Null where the model reads none.")
    drift: Drift | None = Field(description="Null where it is not watched; `nightly` begins to.")
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


class SharedNumberRow(Answer):
    """A macro number of two dates, in words of its unit."""

    name: str
    now: str
    then: str
    share: float = Field(description="Part of the nearness that it stands for; below 0 where it held the dates apart.")


class NearnessRow(Answer):
    """Why a date is near, in a space of prices and macro numbers; the two parts add to 1."""

    prices: float
    numbers: float
    near_in: list[SharedNumberRow]
    apart_in: SharedNumberRow | None


class PartsRow(Answer):
    """How much prices and macro numbers hold of the squared distances between the dates compared."""

    prices: Share
    numbers: Share
    n_numbers: int
    has_texts: bool = Field(description="Whether texts take part, which are then counted with prices.")
    first: date
    last: date


class AnalogRow(Answer):
    """A past date that looked like the one asked about."""

    as_of_date: date
    distance: float
    percentile: Share | None = Field(description="Share of all pairs of dates that are as near or nearer.")
    regime_label: RegimeLabel | None
    confidence: Share | None
    followed_by: list[OutcomeRow]
    nearness: NearnessRow | None = Field(description="Only where prices and macro numbers are compared.")


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
    left_out: list[date] = Field(
        default=[], description="Only where there are any: dates whose stored vector cannot be compared."
    )
    model_id: str
    parts: PartsRow | None = Field(description="Only where prices and macro numbers are compared.")
    regime_model_id: str | None
    instrument_id: str
    n_candidates: int
    analogs: list[AnalogRow]
    spread_over_analogs: list[SpreadRow]
    spread_over_all_dates: list[SpreadRow]


class PassageRow(Answer):
    """A part of a text, as characters of `text`, half open, counted as Unicode code points from 0 on."""

    first_char: int
    last_char: int
    words: list[tuple[int, int]] = Field(description="Where words of the question stand in it.")


class TextRow(Answer):
    """A text found."""

    score: float = Field(
        description="What the texts are ranked by; by both, in standard deviations, words and meaning added."
    )
    similarity: float | None = Field(description="Cosine, in [-1, 1]; null for a text without a vector.")
    words: float | None = Field(description="BM25 score of the question's words; null where only meaning was asked.")
    rank: float | None = Field(
        description="Share of random questions of the same length whose best text has fewer of their words; null where "
        "no question was asked."
    )
    way: Literal["up", "down", "unchanged"] | None = Field(
        description="Which way the text says that the question's subject went; null where it does not tell."
    )
    n_copies: int = Field(description="Near-copies that it stands for; none of them is listed.")
    passage: PassageRow = Field(description="The part of the text that matched the question.")
    source_type: str = Field(examples=["MACRO"])
    source_id: int
    timestamp: datetime
    known_at: datetime | None
    kind: str
    place: str
    origin: str
    text: str


class TextList(Answer):
    """The texts most like the question, the best first."""

    as_of_date: date
    by: Literal["both", "words", "meaning"]
    model_id: str | None = Field(
        description="Whose vectors were compared; null where none were.", examples=["text-macro-v1"]
    )
    n_texts: int = Field(description="Texts that were compared.")
    n_without_vector: int = Field(description="Of these, texts ranked by their words alone.")
    nothing_close: bool = Field(description="Whether no text has more of its words than most random questions find.")
    hits: list[TextRow]


class StanceRow(Answer):
    """The stance of one text: shares of its sentences about policy; null where it has none."""

    date: date
    source_type: str = Field(examples=["MACRO"])
    source_id: int
    kind: str
    place: str
    origin: str
    sentences: int = Field(description="Sentences about policy.")
    hawkish: float | None
    dovish: float | None
    neutral: float | None
    not_sure: float | None = Field(description="Share of sentences below the sureness of the head.")
    net: float | None = Field(description="(hawkish - dovish) / sure, in [-1, 1]; null without a sure sentence.")
    main: Literal["hawkish", "dovish", "neutral"] | None = Field(description="That of most sure sentences.")
    in_sample: bool = Field(description="Whether the text lies in the span of the labels.")


class StanceList(Answer):
    """The stance of texts known on a date, the oldest first."""

    model_id: str = Field(examples=["stance-v1"])
    as_of_date: date
    labels_until: date | None = Field(description="The newest date of a label; null where the labels have none.")
    note: str = Field(description="What a stance is not.")
    items: list[StanceRow]


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
