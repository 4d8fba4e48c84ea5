"""Analog days: which past dates looked like one, in a region's numbers, its texts or both, and what followed."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import TypeVar

import numpy as np

from prometheus.analogs.nearness import nearness, space_parts
from prometheus.analogs.search import (
    MAX_DAYS_BACK,
    AnalogReport,
    AnalogRequest,
    AnalogSearch,
    Nearest,
    build_report,
    date_with_vector,
    find_nearest,
    nearest_of,
)
from prometheus.analogs.sound import SoundVectors, warn_left_out
from prometheus.app.caches import Cache
from prometheus.app.histories import Histories
from prometheus.app.text_models import TextModels
from prometheus.app.wiring import Wiring
from prometheus.arrays import DateVector
from prometheus.encoders.catalogue import stored_model_id
from prometheus.encoders.joint.examples import REGIME_MACRO, REGIME_NEWS, JointRows, require_one_space, scope_text
from prometheus.encoders.joint.macro_model import MACRO_FAMILY, MACRO_MODEL_ID, MacroJointModel
from prometheus.encoders.texts.documents import TextSelection, TextSourceType
from prometheus.errors import (
    NoRegimesError,
    UsageError,
    ambiguous_model,
    no_embedding,
    no_joint_rows,
    no_text_embeddings,
)
from prometheus.market.outcomes import ForwardReturns
from prometheus.regime.history import DatedVectors, RegimeHistory, preferred_history
from prometheus.regime.types import RegimeLabel

logger = logging.getLogger(__name__)

_SPACES_KEPT = 4
_ANSWERS_KEPT = 64
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class _Searched:
    """The vectors of a space, their owner, and their instrument, if any; `key` is equal for equal rows."""

    model_id: str
    rows: SoundVectors
    instrument_id: str | None = None
    key: Hashable = None


class FindAnalogs:
    """Searches the stored vectors of a region; nothing is written."""

    def __init__(self, wired: Wiring) -> None:
        self._wired = wired
        self._read = lru_cache(1)(lambda _state: Histories(wired))
        self._kept_rows: Cache[SoundVectors] = Cache(_SPACES_KEPT)
        self._kept_closes: Cache[ForwardReturns] = Cache(_SPACES_KEPT)
        self._kept_searches: Cache[AnalogSearch] = Cache(_SPACES_KEPT)
        self._kept_answers: Cache[Nearest] = Cache(_ANSWERS_KEPT)

    def find(self, request: AnalogRequest, asked: Histories | None = None) -> AnalogReport:
        """Return the analogs of a date; nothing dated later, or learned from later data, counts.

        UsageError if `k`, the metric or the exclusion is out of range. NoRegimesError or NotFoundError without a vector
        of the region or the date in that space, for several models and none named, a model that learned from later
        data, or no prices.
        """
        asked = asked or self._read(self._wired.visible_state())
        search = AnalogSearch(metric=request.metric, exclude_sessions=request.exclude_sessions, least=request.least)
        histories = _histories(request, asked)
        request, prices_alone = self._in_a_space(request, histories, asked)
        searched = self._searched(request, histories, asked)
        asked.require_known(searched.model_id, request.as_of)
        searched = _comparable(request, searched)
        as_of_date = date_with_vector(request, searched.rows.dates)
        named = request.instrument_id or searched.instrument_id
        instrument_id = named or asked.instrument_of(request.region, request.as_of)
        of_all_closes = self._followed(instrument_id, as_of_date, asked)
        followed = of_all_closes.until(as_of_date)
        nearest = self._nearest(search, searched, of_all_closes.sessions, as_of_date, request.k)
        labels, regime_model_id = self._labels(request, histories, as_of_date, nearest.dates, asked)
        report = build_report(
            request,
            as_of_date=as_of_date, model_id=searched.model_id, regime_model_id=regime_model_id,
            instrument_id=instrument_id, dates=searched.rows.dates, nearest=nearest, labels=labels, followed=followed,
        )  # fmt: skip
        left_out = searched.rows.left_out_until(as_of_date)
        return replace(_explained(report, searched, asked), prices_alone=prices_alone, left_out=left_out)

    def has_numbers(self, request: AnalogRequest) -> bool:
        """Return whether a request that leaves the space open is answered by prices and macro numbers."""
        asked = self._read(self._wired.visible_state())
        return self._in_a_space(request, _histories(request, asked), asked)[0].space == "joint"

    def _in_a_space(
        self, request: AnalogRequest, histories: Sequence[RegimeHistory], asked: Histories
    ) -> tuple[AnalogRequest, str]:
        """Return a request with its space, and why it is prices alone where that was left open."""
        why = ""
        if request.space is None and request.model_id is None and histories:
            found = self._with_numbers(request, preferred_history(histories).last, asked)
            if not isinstance(found, str):
                return replace(request, space="joint", model_id=found.model_id), ""
            why = found
            logger.debug("%s: prices alone are compared: %s", request.region, why)
        request = replace(request, space=request.space or "numeric")
        if request.model_id is not None and request.space == "numeric":
            request = replace(request, model_id=stored_model_id(request.model_id))
        return request, why

    def _with_numbers(self, request: AnalogRequest, newest: date, asked: Histories) -> JointRows | str:
        """Return the rows of prices and macro numbers that reach the newest date of a region, or why not."""
        region = request.region
        try:
            stored = [each for each in asked.joint_rows(region, request.as_of) if _has_numbers(each)]
        except UsageError:  # a folder keeps no joint rows
            stored = []
        if not stored:
            return f"no {MACRO_MODEL_ID} of {region} is stored up to {request.as_of}"
        named = [each for each in stored if each.model_id == MACRO_MODEL_ID] or stored
        model_ids = sorted({each.model_id for each in named})
        if len(model_ids) > 1:
            return f"several models join macro numbers, and none is named: {', '.join(model_ids)}"
        if len({(each.numeric_model_id, each.text_model_id) for each in named}) > 1:
            return f"the rows of {model_ids[0]} were joined from several models"
        found: JointRows = named[0]
        if found.last != newest:
            return f"the newest row of {found.model_id} is of {found.last}; a backfill joins later dates"
        return found

    def _searched(self, request: AnalogRequest, histories: Sequence[RegimeHistory], asked: Histories) -> _Searched:
        if request.space == "numeric":
            return self._numeric(request, histories, asked)
        return self._joined(request, asked) if request.space == "joint" else self._texts(request)

    def _numeric(self, request: AnalogRequest, histories: Sequence[RegimeHistory], asked: Histories) -> _Searched:
        region, wanted = request.region, request.model_id
        of_model = [each for each in histories if wanted in (None, each.encoder_model_id, each.model_id)]
        encoder = preferred_history(of_model).encoder_model_id if of_model else ""
        source = asked.source(region, encoder, request.as_of)
        if source is None:
            encoders = ", ".join(sorted({each.encoder_model_id for each in histories}))
            raise NoRegimesError(region, f"of {wanted} (encoders that have: {encoders})")
        key = (region, encoder, source, asked.written(region, encoder))
        load = self._wired.timelines.load_vectors
        rows = self._kept_rows.get(key, lambda: _sound(load(region, encoder, source)))
        return _Searched(encoder, rows, source.instrument_id, key)

    def _joined(self, request: AnalogRequest, asked: Histories) -> _Searched:
        joint_type = (REGIME_MACRO if request.source == "macro" else REGIME_NEWS).joint_type
        stored = [
            each
            for each in asked.joint_rows(request.region, request.as_of)
            if each.joint_type == joint_type and request.model_id in (None, each.model_id)
        ]
        if not stored:
            raise no_joint_rows(request.region, joint_type, request.model_id or "any model")
        with_numbers = [each for each in stored if each.model_id.startswith(MACRO_MODEL_ID)]
        stored = with_numbers or stored
        model_ids = sorted({each.model_id for each in stored})
        if len(model_ids) > 1:
            raise ambiguous_model(request.region, model_ids)
        require_one_space(stored)
        first = stored[0]
        for branch in (first.numeric_model_id, first.text_model_id):
            asked.require_known(branch or "", request.as_of)
        branches = (first.numeric_model_id, first.text_model_id, first.dim)
        key = (asked.state, first.joint_type, first.model_id, scope_text(first.entity_scope), branches)
        rows = self._kept_rows.get(key, lambda: SoundVectors.of(*self._wired.joint_vectors.load_vectors(first)))
        return _Searched(first.model_id, rows, key=key)

    def _texts(self, request: AnalogRequest) -> _Searched:
        kind: TextSourceType = "MACRO" if request.source == "macro" else "NEWS"
        model_id = request.model_id or TextModels(self._wired).newest(kind, request.as_of)
        if model_id is None:
            raise no_text_embeddings([kind])
        filters = {"country": request.country} if kind == "MACRO" else {}
        texts = self._wired.daily_texts.load(TextSelection(kind, model_id, filters), date.min, request.as_of)
        if not len(texts.dates):
            raise no_embedding(f"the {request.source} texts of {model_id}", request.as_of, None)
        return _Searched(model_id, SoundVectors.of(texts.dates, texts.vectors))

    def _labels(
        self, request: AnalogRequest, histories: Sequence[RegimeHistory], as_of_date: date, dates: DateVector,
        asked: Histories,
    ) -> tuple[Mapping[date, tuple[RegimeLabel, float]], str | None]:  # fmt: skip
        """Return labels of dates and their model; none if it learned from later data, or has no prototypes."""
        wanted = request.regime_model_id
        of_model = [each for each in histories if wanted in (None, each.model_id)]
        if not of_model:
            known = ", ".join(each.model_id for each in histories)
            raise NoRegimesError(request.region, f"of {wanted} (models that have: {known})")
        history = preferred_history(of_model)
        if wanted is None and not history.has_prototypes:  # the seed model says NEUTRAL of everything
            return {}, None
        learned_until = asked.learned_until(history.model_id, as_of_date)
        if learned_until is not None:
            logger.warning(
                "%s learned from data up to %s: no labels are shown for %s", history.model_id, learned_until, as_of_date
            )
            return {}, None
        labels = self._wired.timelines.labels_on(request.region, history.model_id, dates.tolist())
        return labels, history.model_id

    def _followed(self, instrument_id: str, as_of_date: date, asked: Histories) -> ForwardReturns:
        """Return what all closes tell; NotFoundError without one up to a date."""
        asked.closes(instrument_id, as_of_date)
        closes = asked.closes(instrument_id, date.max)
        key = (closes.dates.tobytes(), closes.values.tobytes())
        return self._kept_closes.get(key, lambda: ForwardReturns(closes.dates, closes.values))

    def _nearest(
        self, search: AnalogSearch, searched: _Searched, sessions: DateVector, as_of_date: date, k: int
    ) -> Nearest:
        rows = searched.rows
        if searched.key is None:
            return find_nearest(search, rows.dates, rows.vectors, sessions, as_of_date, k)
        key = (searched.key, search.metric, search.exclude_sessions, search.least, sessions.tobytes())

        def measure() -> Nearest:
            fitted = self._kept_searches.get(key, lambda: search.fit(rows.dates, rows.vectors, sessions))
            return nearest_of(fitted, as_of_date, k)

        return self._kept_answers.get((key, as_of_date, k), measure)


def _sound(rows: DatedVectors) -> SoundVectors:
    return SoundVectors.of(rows.dates, rows.vectors)


def _comparable(request: AnalogRequest, searched: _Searched) -> _Searched:
    """Return the vectors that the metric can compare; VectorError if it cannot compare that of the date asked about."""
    rows, owner = searched.rows, f"region {request.region} in the {request.space} space"
    if request.metric == "cosine" and len(rows.zeros):
        rows = rows.directions()
        searched = replace(searched, rows=rows)
    rows.require_own(request.as_of, MAX_DAYS_BACK, owner)
    warn_left_out(owner, rows.left_out_until(request.as_of))
    return searched


def _histories(request: AnalogRequest, asked: Histories) -> list[RegimeHistory]:
    found = asked.of_region(request.region, request.as_of)
    if not found:
        later = asked.of_region(request.region)
        span = min(each.first for each in later), max(each.last for each in later)
        raise no_embedding(f"region {request.region!r}", request.as_of, span)
    return found


def _has_numbers(rows: JointRows) -> bool:
    """Whether rows join macro numbers, with the macro texts or without any."""
    return rows.joint_type == REGIME_MACRO.joint_type and rows.model_id.startswith(MACRO_MODEL_ID)


def _explained(report: AnalogReport, searched: _Searched, asked: Histories) -> AnalogReport:
    """Return a report of prices and macro numbers with the part of each, and why each date is near; others as is."""
    request = report.request
    if request.space != "joint" or request.metric != "euclidean" or not report.n_candidates:
        return report
    config = asked.model_config(searched.model_id) or {}
    if config.get("family") != MACRO_FAMILY:
        return report
    model, rows, n_candidates = MacroJointModel.from_config(config), searched.rows, report.n_candidates
    parts = space_parts(model, rows.dates[:n_candidates], rows.vectors[:n_candidates])
    if request.least:
        return replace(report, parts=parts)
    at = int(np.searchsorted(rows.dates, np.datetime64(report.as_of_date, "D")))
    chosen = np.searchsorted(rows.dates, np.array([each.as_of_date for each in report.analogs], "M8[D]"))
    told = nearness(model, rows.vectors, at, chosen, n_candidates)
    analogs = tuple(replace(analog, nearness=why) for analog, why in zip(report.analogs, told, strict=True))
    return replace(report, parts=parts, analogs=analogs)
