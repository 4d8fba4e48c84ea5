"""Backfill of joint embeddings: a region's regime embeddings joined with texts and macro numbers of the same dates."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import chain, repeat
from typing import Any

import numpy as np

from prometheus.arrays import Float32Matrix, Float32Vector, Float64Matrix
from prometheus.backfill.embeddings import vector_bytes
from prometheus.backfill.plan import BackfillReport, Chunk, DateSpan
from prometheus.encoders.joint.examples import JointEmbeddingService, JointExample, JointSpace
from prometheus.encoders.joint.macro_model import MacroJointModel
from prometheus.encoders.joint.models import (
    CentredJointModel,
    SimpleAverageJointModel,
    measured_shares,
    measured_text_share,
)
from prometheus.encoders.joint.numbers import MAX_AGE, YEAR, MacroNumbers, numbers_of, score_numbers
from prometheus.encoders.texts.documents import TextSelection
from prometheus.errors import NoRegimesError
from prometheus.protocols import DailyTextSource, JointEmbeddingModel, JointVectorStore, SeriesSource, StateStore

DOMINANCE = 0.99
SHARE_TOLERANCE = 0.02

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JointRequest(Chunk):
    """The joint rows wanted of a region, and the sources of their branches; one chunk of a backfill.

    `filters` choose texts by country and event type, or by language; in `timezone` the instant of a text, or at which a
    value became known, becomes a date. Without a `text_model_id` no texts are joined, without `series` no numbers.
    """

    space: JointSpace
    region: str
    span: DateSpan
    numeric_model_id: str
    text_model_id: str | None
    filters: Mapping[str, str | None]
    timezone: str = "UTC"
    series: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Kind, region, branches, filters and dates."""
        given = ", ".join(f"{name}={value}" for name, value in sorted(self.filters.items()) if value is not None)
        made_of = " and ".join((self.numeric_model_id, *filter(None, (self.text_model_id,)), *self.series))
        return f"{self.space.joint_type} of {self.region} from {made_of} ({given}), {self.span}, {self.timezone}"

    @property
    def source(self) -> dict[str, str]:
        """The inputs of the branches; means of other sources must not centre them."""
        return {
            "region": self.region,
            "joint_type": self.space.joint_type,
            "numeric_model_id": self.numeric_model_id,
            "text_model_id": str(self.text_model_id),
        }

    @property
    def entity_scope(self) -> dict[str, Any]:
        """The scope of the rows; a time zone other than UTC is part of it, and so are series."""
        zone = {} if self.timezone == "UTC" else {"timezone": self.timezone}
        series = {"series": list(self.series)} if self.series else {}
        return self.space.entity_scope(self.region, {**self.filters, **zone}) | series


@dataclass(frozen=True, slots=True)
class JointRun:
    """The result of a joint backfill for one region, with the dates skipped for lack of a branch.

    `text_share` and `numbers_share` are measured shares of squared distance; None if they cannot be. `without_numbers`
    are the dates skipped for a series.
    """

    region: str
    report: BackfillReport
    without_text: tuple[date, ...]
    without_regime: tuple[date, ...]
    text_share: float | None
    numbers_share: float | None = None
    without_numbers: Mapping[str, tuple[date, ...]] = field(default_factory=dict)

    @property
    def days_without_numbers(self) -> list[date]:
        """The dates skipped for any series, in order."""
        return sorted(set(chain.from_iterable(self.without_numbers.values())))


@dataclass(frozen=True, slots=True)
class JointReport(BackfillReport):
    """The result of a joint backfill, in total and by region; a date without a branch is skipped, no failure."""

    runs: tuple[JointRun, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class JoinedDates:
    """The dates with all branches, and those that lack one; `revised` counts days of a series with several vintages."""

    examples: tuple[JointExample, ...]
    without_text: tuple[date, ...]
    without_regime: tuple[date, ...]
    without_numbers: Mapping[str, tuple[date, ...]]
    revised: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class WantedJoins:
    """A region's dates with all branches, their model, and once encoded their rows, float32 (n_examples, dim)."""

    request: JointRequest
    joined: JoinedDates
    model: JointEmbeddingModel
    vectors: Float32Matrix = field(default_factory=lambda: np.empty((0, 0), np.float32))
    text_share: float | None = None
    numbers_share: float | None = None


@dataclass(frozen=True, slots=True)
class JointBackfill:
    """Fills ``joint_embeddings``; a `prometheus.backfill.work.ChunkWork` whose chunks are requests.

    `model_of` returns the model of a request, `model_id` names it in the rows; `only` the dates given are joined.
    """

    storage: StateStore
    texts: DailyTextSource
    store: JointVectorStore
    model_id: str
    model_of: Callable[[JointRequest], JointEmbeddingModel]
    only: Collection[date] | None = None
    series: SeriesSource | None = None

    def read(self, request: JointRequest) -> WantedJoins:
        """Read the branches, one query each for any range."""
        joined = load_examples(self.storage, self.texts, request, self.series)
        _warn_of_series(self.model_id, joined)
        if self.only is not None:
            kept = tuple(example for example in joined.examples if example.as_of_date in self.only)
            joined = replace(joined, examples=kept)
        return WantedJoins(request, joined, self.model_of(request))

    def count(self, wanted: WantedJoins) -> JointReport:
        """Return the number of rows that are new or differ from the stored ones."""
        encoded = self.encode(wanted)
        request, span = wanted.request, wanted.request.span
        rows = self.store.load(request.space, request.region, self.model_id, span.start, span.end)
        stored = {row.as_of_date: row.vector.tobytes() for row in rows if row.entity_scope == request.entity_scope}
        n_missing = sum(
            stored.get(example.as_of_date) != vector.tobytes()
            for example, vector in zip(wanted.joined.examples, encoded.vectors, strict=True)
        )
        return _report(encoded, n_missing)

    def encode(self, wanted: WantedJoins) -> WantedJoins:
        """Join, and measure each branch's share of the distances."""
        examples, model = wanted.joined.examples, wanted.model
        if not examples:
            return wanted
        if isinstance(model, MacroJointModel):
            parts = model.parts(examples)
            shares = map(_finite_or_none, measured_shares([each for each in parts if each is not None]))
            _, numbers_share, text_share = (*shares, None)[:3]
            vectors = model.combine(parts)
            return replace(wanted, vectors=vectors, text_share=text_share, numbers_share=numbers_share)
        if not isinstance(model, CentredJointModel | SimpleAverageJointModel):
            return replace(wanted, vectors=model.embed_batch(examples))
        numeric, text = model.branches(examples)
        share = _measure_share(model, numeric, text, self.model_id)
        return replace(wanted, vectors=model.combine(numeric, text), text_share=share)

    def write(self, encoded: WantedJoins) -> JointReport:
        """Store the rows of a region in one transaction."""
        request = encoded.request
        service = JointEmbeddingService(model=encoded.model, store=self.store, model_id=self.model_id)
        branches = (request.numeric_model_id, request.text_model_id)
        return _report(encoded, service.save(encoded.joined.examples, encoded.vectors, branches))


def _report(encoded: WantedJoins, n_written: int) -> JointReport:
    joined = encoded.joined
    report = BackfillReport(len(joined.examples), n_written, (), n_written * vector_bytes(encoded.vectors))
    run = JointRun(
        encoded.request.region, report, joined.without_text, joined.without_regime, encoded.text_share,
        encoded.numbers_share, joined.without_numbers,
    )  # fmt: skip
    return JointReport(report.planned, report.written, (), report.n_bytes, runs=(run,))


def load_examples(
    storage: StateStore, texts: DailyTextSource, request: JointRequest, series: SeriesSource | None = None
) -> JoinedDates:
    """Return one example per date that has all branches asked for; one query each for any range."""
    start, end = request.span.start, request.span.end
    text_of: Mapping[date, Float32Vector] = {}
    if request.text_model_id is not None:
        wanted = TextSelection(request.space.text_source, request.text_model_id, request.filters, request.timezone)
        daily = texts.load(wanted, start, end)
        text_of = dict(zip(daily.dates.tolist(), daily.vectors, strict=True))
    try:
        stored = storage.load_embeddings(request.region, request.numeric_model_id, start, end)
        regime_of = dict(zip(stored.dates, stored.vectors, strict=True))
    except NoRegimesError:
        if not text_of:
            raise
        regime_of = {}
    days = sorted(regime_of if request.text_model_id is None else regime_of.keys() & text_of.keys())
    numbers = _load_numbers(series, request, days)
    gaps = {} if numbers is None else numbers.gaps
    left_out = frozenset(chain.from_iterable(gaps.values()))
    scope, rows = request.entity_scope, repeat(None) if numbers is None else iter(numbers.scores)
    return JoinedDates(
        examples=tuple(
            JointExample(request.space.joint_type, day, scope, regime_of[day], text_of.get(day), row)
            for day, row in zip(days, rows, strict=False)
            if day not in left_out
        ),
        without_text=() if request.text_model_id is None else tuple(sorted(regime_of.keys() - text_of.keys())),
        without_regime=tuple(sorted(text_of.keys() - regime_of.keys())),
        without_numbers=gaps,
        revised={} if numbers is None else numbers.revised,
    )


def _load_numbers(series: SeriesSource | None, request: JointRequest, days: Sequence[date]) -> MacroNumbers | None:
    """Return the macro numbers of ascending dates; None where the request has no series."""
    if series is None or not request.series or not days:
        return None
    values = series.load(request.series, days[0] - YEAR - 2 * MAX_AGE, days[-1], request.timezone)
    return score_numbers(numbers_of(request.series), values, days)


def _warn_of_series(model_id: str, joined: JoinedDates) -> None:
    for name, days in joined.without_numbers.items():
        logger.warning(
            "%s: %s left out %d dates from %s to %s: no value of the week before, or of that a year earlier, was known",
            model_id, name, len(days), days[0], days[-1],
        )  # fmt: skip
    for name, n_days in joined.revised.items():
        logger.warning(
            "%s: %s has several vintages of %d days; each date has the newest known on it", model_id, name, n_days
        )


def _measure_share(
    model: CentredJointModel | SimpleAverageJointModel, numeric: Float64Matrix, text: Float64Matrix, model_id: str
) -> float | None:
    """Return the texts' share of squared distance; warn if it differs from the model's weights."""
    if isinstance(model, CentredJointModel):
        share = measured_text_share(numeric, text, model.numeric_weight, 1.0 - model.numeric_weight)
        if len(numeric) > 1 and abs(share - model.text_share) > SHARE_TOLERANCE:
            logger.warning(
                "%s: the texts hold %.3f of the squared distance, the weights declare %.3f; "
                "the frozen means no longer centre these dates", model_id, share, model.text_share,
            )  # fmt: skip
        return _finite_or_none(share)
    if len(numeric) == 1:  # no distance to measure: compare lengths
        numeric, text = np.concatenate([numeric, -numeric]), np.concatenate([text, -text])
    share = measured_text_share(numeric, text, model.numeric_weight, model.text_weight)
    if not 1.0 - DOMINANCE <= share <= DOMINANCE:
        branch, part = ("numeric", 1.0 - share) if share < 0.5 else ("text", share)
        logger.warning(
            "%s: the %s branch holds %.4g %% of the squared distance (text share %.1e), so the other one hardly "
            "counts; joint-regime-core-v2 balances them", model_id, branch, 100 * part, share,
        )  # fmt: skip
    return _finite_or_none(share)


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
