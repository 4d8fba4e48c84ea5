"""The shared readers and stores of the use cases, and the encoder of an instrument or a region."""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

from prometheus.app.databases import DatabaseManager
from prometheus.app.window_makers import digest_of_maker
from prometheus.backfill.coverage import Coverage
from prometheus.backfill.embeddings import NumericBackfill
from prometheus.backfill.plan import DateSpan
from prometheus.backfill.work import NamedProgress, no_progress
from prometheus.core.config import RegionDefinition
from prometheus.data.coverage import NumericCoverage, UnfilledCoverage
from prometheus.data.instruments import InstrumentCatalog
from prometheus.data.models import ModelRegistry, RunLog
from prometheus.data.reader import DataReader
from prometheus.data.regimes import RegimeStorage
from prometheus.data.told import ToldFacts
from prometheus.data.vectors.joint import JointEmbeddingStore
from prometheus.data.vectors.numeric import NumericEmbeddingStore
from prometheus.encoders.catalogue import DEFAULT_WINDOW_DAYS, create_numeric_model, stored_model_id
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.encoders.numeric.encoder import NumericWindowEncoder
from prometheus.encoders.numeric.features import CLOSE_VOLUME, feature_set_of
from prometheus.encoders.numeric.windows import NumericWindowBuilder
from prometheus.errors import PrometheusError, RegionMembersError, UsageError, unconfigured_region
from prometheus.market.calendar import US_EQ, TradingCalendar, TradingCalendarConfig
from prometheus.market.renamed import RenamedBars
from prometheus.protocols import BarSource, NumericEmbeddingModel

if TYPE_CHECKING:
    from prometheus.data.concerned_texts import ConcernedTexts
    from prometheus.data.series import SeriesReader
    from prometheus.data.text_reader import TextReader
    from prometheus.data.timelines import RegimeTimelines
    from prometheus.data.vectors.texts import TextVectorReader
    from prometheus.encoders.numeric.regions import RegionWindowBuilder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """The instrument that stands for a region, or the region itself, its encoder, and whose sessions are the dates.

    `members` are the instruments whose bars it is made of, and `anchor` one of them, by their present ids.
    """

    entity_id: str
    members: tuple[str, ...]
    anchor: str
    market: str
    builder: NumericWindowBuilder | RegionWindowBuilder
    encoder: NumericWindowEncoder
    window_days: int


class Wiring:
    """The readers and stores over one pair of databases; `progress` receives how far long work is."""

    def __init__(self, db_manager: DatabaseManager, progress: NamedProgress | None = None) -> None:
        self.db_manager = db_manager
        self.config = db_manager.config
        self.progress: NamedProgress = progress or no_progress
        self.reader = DataReader(db_manager=db_manager)
        self.catalog, self.told = InstrumentCatalog(db_manager), ToldFacts(db_manager)
        self.registry, self.runs = ModelRegistry(db_manager), RunLog(db_manager)
        self.storage = RegimeStorage(db_manager=db_manager)
        self.vectors = NumericEmbeddingStore(db_manager=db_manager)
        self.coverage: NumericCoverage | None = NumericCoverage(db_manager)
        self.joint_vectors = JointEmbeddingStore(db_manager)

    def visible_state(self) -> Hashable:
        """Return a mark of what a question would see now: equal marks, equal rows."""
        return self.db_manager.visible_state()

    def as_known_at(self, instant: datetime) -> Wiring:
        """Return a wiring that reads bars and decisions as they were at an instant, and keeps what it computes."""
        from prometheus.memory.stores import MemoryNumericStore, MemoryRegistry, MemoryStates  # noqa: PLC0415 -- rare

        then = copy(self)
        vars(then).update(
            reader=DataReader(self.db_manager, instant), registry=MemoryRegistry(), storage=MemoryStates(),
            vectors=MemoryNumericStore(), coverage=None,
        )  # fmt: skip
        return then

    def reading_bars(self, reader: DataReader) -> Wiring:
        """Return a wiring that reads bars from a reader of the caller's."""
        other = copy(self)
        other.reader = reader
        return other

    def storing_in(self, storage: RegimeStorage) -> Wiring:
        """Return a wiring that keeps states in a storage of the caller's."""
        other = copy(self)
        other.storage = storage
        return other

    def reading_texts_once(self) -> Wiring:
        """Return a wiring that keeps the daily means of texts it reads: for one run that writes no text."""
        from prometheus.data.vectors.texts import DailyTextsOfOneRun  # noqa: PLC0415 -- only where texts are joined

        other = copy(self)
        vars(other)["daily_texts"] = DailyTextsOfOneRun(self.db_manager)
        return other

    @cached_property
    def timelines(self) -> RegimeTimelines:
        """Stored regimes as columns."""
        from prometheus.data.timelines import RegimeTimelines  # noqa: PLC0415 -- labelling writes, it reads none

        return RegimeTimelines(self.db_manager)

    @cached_property
    def texts(self) -> TextReader:
        """Macro events and news."""
        from prometheus.data.text_reader import TextReader  # noqa: PLC0415 -- only where texts are asked for

        return TextReader(self.db_manager)

    @cached_property
    def concerned_texts(self) -> ConcernedTexts:
        """Texts by the instruments they concern."""
        from prometheus.data.concerned_texts import ConcernedTexts  # noqa: PLC0415 -- only where texts are asked for

        return ConcernedTexts(self.db_manager)

    @cached_property
    def series(self) -> SeriesReader:
        """Values of series, as they became known."""
        from prometheus.data.series import SeriesReader  # noqa: PLC0415 -- only where numbers are joined

        return SeriesReader(self.db_manager)

    @cached_property
    def daily_texts(self) -> TextVectorReader:
        """The mean of each date's text vectors."""
        from prometheus.data.vectors.texts import TextVectorReader  # noqa: PLC0415 -- as above

        return TextVectorReader(self.db_manager)

    def numeric_backfill(self, model_id: str, store: NumericEmbeddingStore | None = None) -> NumericBackfill:
        """Return the steps of a numeric backfill, for instruments of any market, into a `store` of its own if given."""
        model = create_numeric_model(model_id)
        builder_of, makers = cache(partial(self._builder, model)), cache(partial(digest_of_maker, model))
        known = self.coverage if store is None else UnfilledCoverage(self.db_manager)
        coverage = None if known is None else Coverage(known, makers)
        encoder = self._encoder(builder_of(US_EQ), model, model_id, store)
        return NumericBackfill(builder_of, encoder, self.reader, coverage)

    def sync_window_index(self, model_id: str) -> None:
        """Bring the index of similar windows, where there is one, in step with a model's vectors."""
        from prometheus.data.vectors.index import WindowIndex  # noqa: PLC0415 -- most dates write nothing new

        WindowIndex(self.db_manager, model_id).sync()

    def following(self, names: Collection[str]) -> BarSource:
        """Return a reader of the bars of some instruments, of those that were renamed under their present ids."""
        present = {name: now for name, (now, _) in self.catalog.present(names).items() if name != now}
        return RenamedBars(self.reader, present) if present else self.reader

    def at_session(self, span: DateSpan, market: str, instrument_ids: Sequence[str]) -> DateSpan:
        """Move a single date that is not a session to the previous one, with a warning."""
        if span.is_range or self.reader.has_bar_on(span.start, instrument_ids):
            return span  # a bar proves a session; the calendar, slow to load, is not needed
        session = calendar_of(market).last_session(span.start)
        if session != span.start:
            logger.warning("%s is no session of %s; using the last one, %s", span.start, market, session)
        return DateSpan.of_date(session)

    def subject_of(
        self, region: str, instrument_id: str | None, model_id: str | None, window_days: int | None, default_model: str
    ) -> Subject:
        """Return the instrument, or without one the configured subject of a region.

        UsageError if the region is not configured, or cannot have that model or window length.
        """
        if instrument_id is not None:
            return self._instrument_subject(instrument_id, model_id or default_model, window_days)
        configured = self.config.regions
        if region not in configured:
            raise unconfigured_region(region, sorted(configured))
        definition = configured[region]
        if definition.instrument_id is not None:
            return self._instrument_subject(definition.instrument_id, model_id or NUM_REGIME_CORE_V2, window_days)
        return self._region_subject(region, definition, model_id, window_days)

    def _present(self, names: Collection[str]) -> Mapping[str, tuple[str, str]]:
        """Return the present id and the market of each instrument; UsageError if two are one by now."""
        found = {name: (now, market or US_EQ) for name, (now, market) in self.catalog.present(names).items()}
        ids = [now for now, _ in found.values()]
        for name, (now, _) in found.items():
            if name != now and ids.count(now) > 1:
                raise UsageError(f"{name} goes on as {now}, which is named, too; keep one of them")
            if name != now:
                logger.info("%s goes on as %s, whose bars are read in its place", name, now)
        return found

    def _reading(self, present: Mapping[str, tuple[str, str]]) -> BarSource:
        renamed = {name: now for name, (now, _) in present.items() if name != now}
        return RenamedBars(self.reader, renamed) if renamed else self.reader

    def _builder(
        self, model: NumericEmbeddingModel, market: str, reader: BarSource | None = None
    ) -> NumericWindowBuilder:
        return NumericWindowBuilder(reader or self.reader, calendar_of(market), feature_set_of(model))

    def _encoder(
        self, builder: NumericWindowBuilder, model: NumericEmbeddingModel, name: str,
        store: NumericEmbeddingStore | None = None,
    ) -> NumericWindowEncoder:  # fmt: skip
        model_id = stored_model_id(name)
        return NumericWindowEncoder(builder=builder, model=model, store=store or self.vectors, model_id=model_id)

    def _instrument_subject(self, instrument_id: str, chosen: str, window_days: int | None) -> Subject:
        present, model = self._present([instrument_id]), create_numeric_model(chosen)
        own, market = present[instrument_id]
        n_sessions = int(getattr(model, "window_days", DEFAULT_WINDOW_DAYS)) if window_days is None else window_days
        builder = self._builder(model, market, self._reading(present))
        warn_of_cut_windows(model, n_sessions)
        encoder = self._encoder(builder, model, chosen)
        return Subject(instrument_id, (own,), own, market, builder, encoder, n_sessions)

    def _region_subject(
        self, region: str, definition: RegionDefinition, model_id: str | None, window_days: int | None
    ) -> Subject:
        # only here, as a single date of one instrument must not wait for the scale-free encoder
        from prometheus.encoders.numeric.regions import (  # noqa: PLC0415
            REGION,
            RegionMeanModel,
            RegionWindowBuilder,
            region_model_id,
        )

        model, own_id = RegionMeanModel(definition), region_model_id(definition)
        if model_id not in (None, own_id):
            raise UsageError(
                f"region {region} is embedded by {own_id}, not by {model_id}; leave --model-id away or give "
                "--instrument-id"
            )
        if window_days not in (None, model.window_days):
            raise UsageError(
                f"{own_id} reads {model.window_days} sessions, not {window_days}; leave --window-days away"
            )
        present = self._present(definition.members)
        anchor, market = present[definition.anchor]
        builder = RegionWindowBuilder(self._reading(present), calendar_of(market), {region: definition})
        encoder = NumericWindowEncoder(
            builder=builder, model=model, store=self.vectors, model_id=own_id, entity_type=REGION
        )
        members = tuple(present[name][0] for name in definition.members)
        return Subject(region, members, anchor, market, builder, encoder, model.window_days)


class UseCase:
    """Answers one kind of question, over the shared readers and stores."""

    def __init__(self, wired: Wiring) -> None:
        self._wired = wired


def instant_of(known_at: str | date | datetime) -> datetime:
    """Return an instant: of a date its end, in UTC; of a time without a zone UTC. UsageError if it is neither."""
    if isinstance(known_at, str):
        try:
            is_date = len(known_at) == len("2024-01-31")
            known_at = date.fromisoformat(known_at) if is_date else datetime.fromisoformat(known_at)
        except ValueError:
            example = "2024-01-31, or 2024-01-31T18:00+01:00"
            raise UsageError(f"{known_at!r} is neither a date nor an instant; write {example}") from None
    if not isinstance(known_at, datetime):
        known_at = datetime.combine(known_at, time.max)
    return known_at if known_at.tzinfo else known_at.replace(tzinfo=UTC)


def calendar_of(market: str) -> TradingCalendar:
    """Return the trading calendar of a market."""
    return TradingCalendar(TradingCalendarConfig(market=market))


def warn_of_cut_windows(model: NumericEmbeddingModel, window_days: int) -> None:
    """Warn if a window is too long for the vector: its newest part is cut off."""
    dim = getattr(model, "target_dim", None)
    if dim is not None and window_days * len(CLOSE_VOLUME.names) > dim:
        longest = dim // len(CLOSE_VOLUME.names)
        logger.warning(
            "a window of %d sessions does not fit into %d values; the model, as specified, cuts off the newest %d "
            "sessions: use at most %d", window_days, dim, window_days - longest, longest,
        )  # fmt: skip


def warn_of_sessions_left_out(failures: Sequence[PrometheusError]) -> None:
    """Warn once of the sessions without an embedding of a region; `--json` names each."""
    left_out = [failure for failure in failures if isinstance(failure, RegionMembersError)]
    if left_out:
        first, last = left_out[0], left_out[-1]
        logger.warning(
            "region %s: %d sessions from %s to %s left out, the last because %s (%s)",
            first.region, len(left_out), first.as_of, last.as_of, last.rule, "; ".join(last.absent),
        )  # fmt: skip
