"""Backfill of joint embeddings: a region's regime embeddings joined with the texts of the same dates."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from prometheus.backfill.plan import BackfillReport, DateSpan
from prometheus.encoders.joint import JointEmbeddingService, JointExample, JointSpace
from prometheus.encoders.models_joint_centred import CentredJointModel, measured_text_share
from prometheus.encoders.models_joint_simple import SimpleAverageJointModel, stack_branches
from prometheus.encoders.text_daily import DailyTextReader
from prometheus.errors import NoRegimesError
from prometheus.regime.storage import RegimeStorage

DOMINANCE = 0.99
SHARE_TOLERANCE = 0.02

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JointRequest:
    """A region's joint rows wanted, and where their branches come from.

    Attributes
    ----------
    filters
        Of the texts: country and event type, or language; None where not given.
    timezone
        In which a text's timestamp becomes a calendar date.
    """

    space: JointSpace
    region: str
    span: DateSpan
    numeric_model_id: str
    text_model_id: str
    filters: Mapping[str, str | None]
    timezone: str = "UTC"

    @property
    def source(self) -> dict[str, str]:
        """What the branches are made of; means of other sources must not centre them."""
        return {
            "region": self.region,
            "joint_type": self.space.joint_type,
            "numeric_model_id": self.numeric_model_id,
            "text_model_id": self.text_model_id,
        }

    @property
    def entity_scope(self) -> dict[str, Any]:
        """The scope of the rows; a time zone other than UTC makes other rows, so it is part of it."""
        zone = {} if self.timezone == "UTC" else {"timezone": self.timezone}
        return self.space.entity_scope(self.region, {**self.filters, **zone})


@dataclass(frozen=True, slots=True)
class JointRun:
    """What a joint backfill did for one region.

    Attributes
    ----------
    without_text, without_regime
        Dates skipped because one of the two was missing.
    text_share
        The measured share of the texts in squared distance; None where it cannot be measured.
    """

    region: str
    report: BackfillReport
    without_text: tuple[date, ...]
    without_regime: tuple[date, ...]
    text_share: float | None


@dataclass(frozen=True, slots=True, eq=False)
class JoinedDates:
    """The dates that have both branches, and those that have one."""

    examples: tuple[JointExample, ...]
    without_text: tuple[date, ...]
    without_regime: tuple[date, ...]


def load_examples(storage: RegimeStorage, texts: DailyTextReader, request: JointRequest) -> JoinedDates:
    """Return one example per date that has a regime embedding and a text; two reads, whatever the range."""
    start, end = request.span.start, request.span.end
    daily = texts.load(request.space.text_source, request.text_model_id, start, end, request.filters, request.timezone)
    text_of = dict(zip(daily.dates.tolist(), daily.vectors, strict=True))
    try:
        stored = storage.load_embeddings(request.region, request.numeric_model_id, start, end)
        regime_of = dict(zip(stored.dates, stored.vectors, strict=True))
    except NoRegimesError:
        if not text_of:
            raise
        regime_of = {}
    scope = request.entity_scope
    both = sorted(regime_of.keys() & text_of.keys())
    return JoinedDates(
        examples=tuple(
            JointExample(request.space.joint_type, day, scope, regime_of[day], text_of[day]) for day in both
        ),
        without_text=tuple(sorted(regime_of.keys() - text_of.keys())),
        without_regime=tuple(sorted(text_of.keys() - regime_of.keys())),
    )


def run_joint_backfill(service: JointEmbeddingService, joined: JoinedDates, region: str) -> JointRun:
    """Join, store, and measure how much of the distances each branch holds."""
    share = _measure_share(service.model, joined.examples, service.model_id)
    _, written = service.embed_and_count(joined.examples)
    report = BackfillReport(planned=len(joined.examples), written=written)
    return JointRun(region, report, joined.without_text, joined.without_regime, share)


def _measure_share(model: object, examples: Sequence[JointExample], model_id: str) -> float | None:
    """Return the texts' share of squared distance; warn where it is not what the model's weights promise."""
    if not examples:
        return None
    if isinstance(model, CentredJointModel):
        share = measured_text_share(*model.branches(examples), model.numeric_weight, 1.0 - model.numeric_weight)
        if len(examples) > 1 and abs(share - model.text_share) > SHARE_TOLERANCE:
            logger.warning(
                "%s: the texts hold %.3f of the squared distance, the weights declare %.3f; "
                "the frozen means no longer centre these dates", model_id, share, model.text_share,
            )  # fmt: skip
        return _finite_or_none(share)
    if not isinstance(model, SimpleAverageJointModel):
        return None
    numeric, text = stack_branches(examples)
    if len(examples) == 1:  # no distance to measure: compare lengths
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
