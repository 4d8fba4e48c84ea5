"""Analog days: which past dates looked like one, in a region's numbers, its texts or both, and what followed."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from prometheus.analogs.report import (
    AnalogReport,
    AnalogRequest,
    Nearest,
    build_report,
    date_with_vector,
    find_nearest,
)
from prometheus.analogs.search import AnalogSearch
from prometheus.app.databases import DatabaseManager
from prometheus.app.recent import Recent
from prometheus.app.region_prices import RegionPrices
from prometheus.app.text_models import TextModels
from prometheus.arrays import DateVector
from prometheus.data.models import ModelRegistry
from prometheus.data.timelines import RegimeTimelines
from prometheus.data.vectors.daily_texts import DailyTextReader
from prometheus.data.vectors.joint import JointEmbeddingStore
from prometheus.encoders.catalogue import knowledge_end
from prometheus.encoders.joint.examples import REGIME_MACRO, REGIME_NEWS, require_one_space
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.errors import (
    AmbiguousModelError,
    ModelNotKnownYetError,
    NoEmbeddingError,
    NoJointRowsError,
    NoRegimesError,
)
from prometheus.market.outcomes import FollowedCloses
from prometheus.regime.history import DatedVectors, RegimeHistory, preferred_history
from prometheus.regime.types import RegimeLabel
from prometheus.spelling import did_you_mean

logger = logging.getLogger(__name__)

_SPACES_KEPT = 4
_ANSWERS_KEPT = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Searched:
    """The vectors of a space, whose they are, and the instrument they were made of, where it is one.

    Attributes
    ----------
    key
        Equal for equal rows; None where that is not known.
    """

    model_id: str
    rows: DatedVectors
    instrument_id: str | None = None
    key: Hashable = None


class AnalogTasks:
    """Searches the stored vectors of a region; nothing is written.

    Parameters
    ----------
    db_manager
        The databases.
    """

    def __init__(self, db_manager: DatabaseManager) -> None:
        self._db = db_manager
        self._timelines = RegimeTimelines(db_manager)
        self._joint = JointEmbeddingStore(db_manager)
        self._registry = ModelRegistry(db_manager)
        self._prices = RegionPrices(db_manager)
        self._text_models = TextModels(db_manager)
        self._daily_texts = DailyTextReader(db_manager)
        self._kept_rows: Recent[DatedVectors] = Recent(_SPACES_KEPT)
        self._kept_closes: Recent[FollowedCloses] = Recent(_SPACES_KEPT)
        self._kept_answers: Recent[Nearest] = Recent(_ANSWERS_KEPT)

    def find(self, request: AnalogRequest) -> AnalogReport:
        """Return the analogs of a date: nothing dated, or learned from what is dated, after it counts.

        Raises
        ------
        UsageError
            `k`, the metric or the exclusion cannot be.
        NoRegimesError, NoEmbeddingError
            Nothing is stored of the region, or of the date in that space.
        AmbiguousModelError, ModelNotKnownYetError
            Several models' vectors answer and none was named; the model learned from later data.
        UnknownInstrumentError
            There are no prices to say what followed.
        """
        search = AnalogSearch(metric=request.metric, exclude_sessions=request.exclude_sessions)
        histories = self._histories(request.region, request.as_of)
        searched = self._searched(request, histories)
        self._require_known(searched.model_id, request.as_of)
        as_of_date = date_with_vector(request, searched.rows.dates)
        named = request.instrument_id or searched.instrument_id
        instrument_id = named or self._prices.instrument_of(request.region, request.as_of)
        followed = self._followed(instrument_id, as_of_date)
        nearest = self._nearest(search, searched, followed, as_of_date, request.k)
        labels, regime_model_id = self._labels(request, histories, as_of_date, nearest.dates)
        return build_report(
            request,
            as_of_date=as_of_date,
            model_id=searched.model_id,
            regime_model_id=regime_model_id,
            instrument_id=instrument_id,
            dates=searched.rows.dates,
            nearest=nearest,
            labels=labels,
            followed=followed,
        )

    def _histories(self, region: str, as_of: date) -> list[RegimeHistory]:
        histories = [each for each in self._timelines.histories(as_of) if each.region == region]
        if histories:
            return histories
        everywhere = self._timelines.histories()
        of_region = [each for each in everywhere if each.region == region]
        if not of_region:
            known = did_you_mean(region, sorted({each.region for each in everywhere}), "regions that have")
            raise NoRegimesError(region, f"at all ({known})")
        span = min(each.first for each in of_region), max(each.last for each in of_region)
        raise NoEmbeddingError(f"region {region!r}", as_of, span)

    def _searched(self, request: AnalogRequest, histories: Sequence[RegimeHistory]) -> _Searched:
        if request.space == "numeric":
            return self._numeric(request, histories)
        return self._joined(request) if request.space == "joint" else self._texts(request)

    def _numeric(self, request: AnalogRequest, histories: Sequence[RegimeHistory]) -> _Searched:
        region, wanted = request.region, request.model_id
        of_model = [each for each in histories if wanted in (None, each.encoder_model_id, each.model_id)]
        encoder = preferred_history(of_model).encoder_model_id if of_model else ""
        source = self._timelines.vector_source(region, encoder, request.as_of)
        if source is None:
            encoders = ", ".join(sorted({each.encoder_model_id for each in histories}))
            raise NoRegimesError(region, f"of {wanted} (encoders that have: {encoders})")
        key = (region, encoder, source, self._timelines.written(region, encoder))
        rows = self._kept_rows.get(key, lambda: self._timelines.load_vectors(region, encoder, source))
        return _Searched(encoder, rows, source.instrument_id, key)

    def _joined(self, request: AnalogRequest) -> _Searched:
        joint_type = (REGIME_MACRO if request.source == "macro" else REGIME_NEWS).joint_type
        stored = [
            each
            for each in self._joint.stored_rows(request.region, request.as_of)
            if each.joint_type == joint_type and request.model_id in (None, each.model_id)
        ]
        if not stored:
            raise NoJointRowsError(request.region, joint_type, request.model_id or "any model")
        model_ids = sorted({each.model_id for each in stored})
        if len(model_ids) > 1:
            raise AmbiguousModelError(request.region, model_ids)
        require_one_space(stored)
        for branch in (stored[0].numeric_model_id, stored[0].text_model_id):
            self._require_known(branch or "", request.as_of)
        return _Searched(model_ids[0], DatedVectors(*self._joint.load_vectors(stored[0])))

    def _texts(self, request: AnalogRequest) -> _Searched:
        kind: TextSourceType = "MACRO" if request.source == "macro" else "NEWS"
        model_id = request.model_id or self._text_models.only_one([kind])
        filters = {"country": request.country} if kind == "MACRO" else {}
        texts = self._daily_texts.load(kind, model_id, date.min, request.as_of, filters)
        if not len(texts.dates):
            raise NoEmbeddingError(f"the {request.source} texts of {model_id}", request.as_of, None)
        return _Searched(model_id, DatedVectors(texts.dates, texts.vectors))

    def _require_known(self, model_id: str, as_of: date) -> None:
        known_from = knowledge_end(self._registry.load_config(model_id) or {})
        if known_from is not None and known_from >= as_of:
            raise ModelNotKnownYetError(model_id, known_from, as_of)

    def _labels(
        self, request: AnalogRequest, histories: Sequence[RegimeHistory], as_of_date: date, dates: DateVector
    ) -> tuple[Mapping[date, tuple[RegimeLabel, float]], str | None]:
        """Return label and confidence of dates, and of which regime model.

        Of none without prototypes, unless it is named, and of none that learned from later data.
        """
        wanted = request.regime_model_id
        of_model = [each for each in histories if wanted in (None, each.model_id)]
        if not of_model:
            known = ", ".join(each.model_id for each in histories)
            raise NoRegimesError(request.region, f"of {wanted} (models that have: {known})")
        history = preferred_history(of_model)
        model_id = history.model_id
        if wanted is None and not history.has_prototypes:  # the seed model says NEUTRAL of everything
            return {}, None
        known_from = knowledge_end(self._registry.load_config(model_id) or {})
        if known_from is not None and known_from >= as_of_date:
            logger.warning(
                "%s learned from data up to %s: no labels are shown for %s", model_id, known_from, as_of_date
            )
            return {}, None
        return self._timelines.labels_on(request.region, model_id, dates.tolist()), model_id

    def _followed(self, instrument_id: str, as_of_date: date) -> FollowedCloses:
        closes = self._prices.closes(instrument_id, as_of_date)
        key = (closes.dates.tobytes(), closes.values.tobytes())
        return self._kept_closes.get(key, lambda: FollowedCloses(closes.dates, closes.values))

    def _nearest(
        self, search: AnalogSearch, searched: _Searched, followed: FollowedCloses, as_of_date: date, k: int
    ) -> Nearest:
        def measure() -> Nearest:
            rows = searched.rows
            return find_nearest(search, rows.dates, rows.vectors, followed.sessions, as_of_date, k)

        if searched.key is None:
            return measure()
        asked = (search.metric, search.exclude_sessions, as_of_date, k, followed.sessions.tobytes())
        return self._kept_answers.get((searched.key, asked), measure)
