"""Numeric embeddings, regimes, prototypes and transitions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from prometheus.backfill import BackfillReport, DateSpan, NumericBackfill, NumericRequest, RegimeBackfill, RegimeRun
from prometheus.backfill.numeric import Progress
from prometheus.core.database import DatabaseManager
from prometheus.core.time import US_EQ, TradingCalendar, TradingCalendarConfig
from prometheus.data.catalog import InstrumentCatalog
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder
from prometheus.encoders.protocols import NumericEmbeddingModel
from prometheus.encoders.registry import ModelRegistry, create_numeric_model
from prometheus.encoders.windows import FEATURES
from prometheus.errors import NoRegimesError, PrototypeError, UnknownInstrumentError, UsageError
from prometheus.regime import NumericRegimeModel, RegimeLabel, RegimeState, RegimeStorage, SeedRegimeModel
from prometheus.regime.picture import draw_regimes, save_figure
from prometheus.regime.prototypes import (
    CalibrationWindow,
    PrototypeSet,
    mean_prototype,
    read_prototypes,
    require_writable,
    write_prototypes,
)
from prometheus.regime.transitions import (
    TransitionCounts,
    TransitionMatrix,
    mean_durations,
    transition_counts,
    transition_matrix,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegimeRequest:
    """A region's regimes wanted, on one date or over a range.

    Attributes
    ----------
    prototypes
        File of prototypes; None for the seed model, which says NEUTRAL of everything.
    regime_model_id
        Name to store the states under instead of the one made of encoder and prototypes.
    """

    region: str
    instrument_id: str
    span: DateSpan
    window_days: int
    model_id: str
    prototypes: Path | None = None
    temperature: float = 1.0
    regime_model_id: str | None = None


@dataclass(frozen=True, slots=True)
class TransitionReport:
    """The transitions of one region under one regime model."""

    region: str
    model_id: str
    n_dates: int
    counts: TransitionCounts
    matrix: TransitionMatrix
    mean_durations: dict[RegimeLabel, float]


class RegimeTasks:
    """What is done with numeric embeddings and regimes."""

    def __init__(self, db_manager: DatabaseManager, progress: Progress) -> None:
        self._db = db_manager
        self.reader = DataReader(db_manager=db_manager)
        self.catalog = InstrumentCatalog(db_manager)
        self.storage = RegimeStorage(db_manager=db_manager)
        self._progress = progress

    def run(self, request: RegimeRequest) -> RegimeRun:
        """Compute and store the regimes of a request; a date that is no session is moved to the last one before it."""
        market = self.catalog.markets_of([request.instrument_id]).get(request.instrument_id, US_EQ)
        span = self._at_session(request.span, market, [request.instrument_id])
        builder = self._builder(market)
        model = self._regime_model(request, builder)
        self._warn_of_other_sources(request, model.model_id)
        backfill = RegimeBackfill(builder, model, self.storage, ModelRegistry(self._db), self.reader)
        return backfill.run(request.region, span, self._progress)

    def backfill_embeddings(self, request: NumericRequest, *, dry_run: bool = False) -> BackfillReport:
        """Compute and store the embeddings of a request, market by market."""
        report = BackfillReport()
        for market, instrument_ids in self._by_market(request.instrument_ids).items():
            span = self._at_session(request.span, market, instrument_ids)
            builder = self._builder(market)
            backfill = NumericBackfill(
                builder, self._encoder(builder, request.model_id, request.window_days), self.reader
            )
            part = NumericRequest(tuple(instrument_ids), span, request.window_days, request.model_id)
            report += backfill.run(part, self._progress, dry_run=dry_run)
        return report

    def select_instruments(
        self, instrument_ids: Sequence[str], market_id: str | None, limit: int | None, offset: int
    ) -> tuple[str, ...]:
        """Return the instruments named, and those of a market from `offset` on, each once.

        Raises
        ------
        UsageError
            Nothing is named, or nothing is there.
        """
        if not instrument_ids and market_id is None:
            raise UsageError("name instruments with --instrument-id or a market with --market-id")
        listed = self.catalog.list_instruments(market_id, limit, offset) if market_id is not None else []
        if not listed and not instrument_ids:
            raise UsageError(f"market {market_id} has no instruments from offset {offset} on")
        return tuple(dict.fromkeys([*instrument_ids, *listed]))

    def compute_prototypes(
        self, region: str, windows: Sequence[CalibrationWindow], encoder_model_id: str, output: Path
    ) -> tuple[PrototypeSet, dict[RegimeLabel, int], bool]:
        """Write the mean embedding of each calibration window to a prototype file.

        Returns
        -------
        The set, the number of dates behind each label, and whether the file changed.
        """
        require_writable(output)
        prototypes, n_dates, window_days = [], {}, set()
        for window in windows:
            loaded = self.storage.load_embeddings(region, encoder_model_id, window.start_date, window.end_date)
            prototypes.append(mean_prototype(window.label, loaded.vectors))
            n_dates[window.label] = len(loaded.vectors)
            window_days.add((loaded.instrument_id, loaded.window_days))
        if len(window_days) > 1:
            listed = " and ".join(f"{name}/{days} sessions" for name, days in sorted(window_days, key=str))
            raise PrototypeError(f"region {region}", f"the calibration windows hold embeddings of {listed}")
        prototype_set = PrototypeSet(
            region=region,
            prototypes=tuple(prototypes),
            windows={window.label: window for window in windows},
            encoder_model_id=encoder_model_id,
            window_days=next(iter(window_days))[1],
        )
        return prototype_set, n_dates, write_prototypes(prototype_set, output)

    def states(self, region: str, start: date, end: date, model_id: str | None) -> list[RegimeState]:
        """Return stored states of one regime model, or of all, by date and model.

        Raises
        ------
        NoRegimesError
            There are none.
        """
        chosen = [model_id] if model_id else self.storage.list_models(region)
        states = [state for each in chosen for state in self.storage.get_history(region, start, end, each)]
        if not states:
            raise NoRegimesError(region, f"of {model_id}" if model_id else f"from {start} to {end}")
        return sorted(states, key=lambda state: (state.as_of_date, state.model_id))

    def transitions(self, region: str, model_id: str | None) -> list[TransitionReport]:
        """Return matrix and mean durations of one regime model, or of each that has rows of the region.

        Raises
        ------
        NoRegimesError
            There are none.
        """
        reports = []
        for each in [model_id] if model_id else self.storage.list_models(region):
            labels = self.storage.load_labels(region, each)
            counts = transition_counts(labels)
            report = TransitionReport(
                region, each, len(labels), counts, transition_matrix(counts), mean_durations(labels)
            )
            reports += [report] if labels else []
        if not reports:
            raise NoRegimesError(region, f"of {model_id}" if model_id else "at all")
        return reports

    def plot(self, region: str, instrument_id: str, start: date, end: date, model_id: str | None, output: Path) -> int:
        """Write a PNG of an instrument's closes over a region's regimes; return the number of dates.

        Raises
        ------
        NoRegimesError
            There is nothing to draw.
        """
        require_writable(output)
        states = self.storage.get_history(region, start, end, model_id)
        if not states:
            raise NoRegimesError(region, f"from {start} to {end}")
        first, last = states[0].as_of_date, states[-1].as_of_date
        bars = self.reader.load_bars([instrument_id], first, last, 1, ["close"])
        if not len(bars.dates):
            raise UnknownInstrumentError(instrument_id)
        title = f"{instrument_id}, regimes of {region} by {states[0].model_id}"
        save_figure(draw_regimes(title, bars.dates, bars.column("close"), states), output)
        return len(states)

    def _regime_model(
        self, request: RegimeRequest, builder: NumericWindowBuilder
    ) -> NumericRegimeModel | SeedRegimeModel:
        encoder = self._encoder(builder, request.model_id, request.window_days)
        instruments = {request.region: request.instrument_id}
        if request.prototypes is None:
            return SeedRegimeModel(
                encoder=encoder,
                region_instruments=instruments,
                window_days=request.window_days,
                model_id=request.regime_model_id,
            )
        prototype_set = read_prototypes(request.prototypes)
        prototype_set.require_space(str(request.prototypes), request.model_id, request.window_days)
        return NumericRegimeModel(
            encoder=encoder,
            region_instruments=instruments,
            window_days=request.window_days,
            prototypes=prototype_set.prototypes,
            temperature=request.temperature,
            model_id=request.regime_model_id,
        )

    def _encoder(self, builder: NumericWindowBuilder, model_id: str, window_days: int) -> NumericWindowEncoder:
        model = create_numeric_model(model_id)
        _warn_of_cut_windows(model, window_days)
        return NumericWindowEncoder(
            builder=builder,
            model=model,
            store=NumericEmbeddingStore(db_manager=self._db),
            model_id=model_id,
        )

    def _builder(self, market: str) -> NumericWindowBuilder:
        return NumericWindowBuilder(self.reader, _calendar(market))

    def _by_market(self, instrument_ids: Sequence[str]) -> dict[str, list[str]]:
        markets = self.catalog.markets_of(instrument_ids)
        grouped: dict[str, list[str]] = {}
        for instrument_id in instrument_ids:
            grouped.setdefault(markets.get(instrument_id, US_EQ), []).append(instrument_id)
        return grouped

    def _at_session(self, span: DateSpan, market: str, instrument_ids: Sequence[str]) -> DateSpan:
        """Move a single date that is no session to the last one before it, and say so."""
        if span.is_range or self.reader.has_bar_on(span.start, instrument_ids):
            return span  # a bar proves a session; the calendar, slow to load, is not needed
        session = _calendar(market).last_session(span.start)
        if session != span.start:
            logger.warning("%s is no session of %s; using the last one, %s", span.start, market, session)
        return DateSpan.of_date(session)

    def _warn_of_other_sources(self, request: RegimeRequest, model_id: str) -> None:
        source = (request.instrument_id, str(request.window_days))
        others = {key: n for key, n in self.storage.load_sources(request.region, model_id).items() if key != source}
        for (instrument_id, window_days), n_rows in others.items():
            logger.warning(
                "region %s already holds %d rows of %s made from %s with %s sessions; a history of two sources cannot "
                "be compared with itself: use another --region or --regime-model-id",
                request.region, n_rows, model_id, instrument_id, window_days,
            )  # fmt: skip


def _calendar(market: str) -> TradingCalendar:
    return TradingCalendar(TradingCalendarConfig(market=market))


def _warn_of_cut_windows(model: NumericEmbeddingModel, window_days: int) -> None:
    """Say so when a window is too long for the vector: the part that is cut off is the newest."""
    dim = getattr(model, "target_dim", None)
    if dim is not None and window_days * len(FEATURES) > dim:
        longest = dim // len(FEATURES)
        logger.warning(
            "a window of %d sessions does not fit into %d values; the model, as specified, cuts off the newest %d "
            "sessions: use at most %d", window_days, dim, window_days - longest, longest,
        )  # fmt: skip
