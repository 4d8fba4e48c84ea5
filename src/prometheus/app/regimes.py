"""Numeric embeddings, regimes, prototypes and transitions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from prometheus.app.backfills import BackfillName, Backfills
from prometheus.app.databases import DatabaseManager
from prometheus.app.encoding import (
    EncoderWiring,
    Subject,
    warn_of_sessions_left_out,
)
from prometheus.app.region_prices import RegionPrices
from prometheus.backfill.dependents import stale_joins
from prometheus.backfill.plan import DateSpan, regime_chunks
from prometheus.backfill.regime import RegimeBackfill, RegimeReport
from prometheus.backfill.run import BackfillRun
from prometheus.backfill.work import Progress
from prometheus.core.files import require_writable
from prometheus.data.models import ModelRegistry
from prometheus.data.regimes import RegimeStorage
from prometheus.data.timelines import RegimeTimelines
from prometheus.data.vectors.index import WindowIndex
from prometheus.data.vectors.joint import JointEmbeddingStore
from prometheus.encoders.catalogue import NUMERIC_MODELS
from prometheus.encoders.identity import NUM_REGIME_CORE_V1
from prometheus.errors import NoRegimesError, PrototypeError, UnknownInstrumentError, UsageError
from prometheus.files.prototypes import read_prototypes, write_prototypes
from prometheus.market.bars import Closes
from prometheus.regime.history import (
    LABELS,
    DatedVectors,
    RegimeHistory,
    RegimeTimeline,
    VectorSource,
    preferred_history,
)
from prometheus.regime.model_numeric import (
    EncodingRegimeModel,
    NumericRegimeModel,
    SeedRegimeModel,
    default_temperature,
)
from prometheus.regime.model_persistent import PersistentRegimeModel
from prometheus.regime.picture import draw_regimes, save_figure
from prometheus.regime.prototypes import CalibrationWindow, PrototypeSet, mean_prototype
from prometheus.regime.transitions import (
    ExitHazard,
    TransitionCounts,
    TransitionMatrix,
    count_stays,
    exit_hazards,
    mean_durations,
    transition_counts,
    transition_matrix,
)
from prometheus.regime.types import RegimeLabel, RegimeState
from prometheus.spelling import did_you_mean

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegimeRequest:
    """A region's regimes wanted, on one date or over a range.

    Attributes
    ----------
    instrument_id
        What stands for the region; None for the members it is configured with.
    window_days
        Sessions per window; None for what the encoder needs.
    model_id
        The encoder; None for that of the region, or num-regime-core-v1 for an instrument.
    prototypes
        File of prototypes; None for the seed model, which says NEUTRAL of everything. One that was calibrated brings
        its own decoding.
    temperature
        Softness of the confidence of prototypes that were not calibrated.
    regime_model_id
        Name to store the states under instead of the one made of encoder and prototypes.
    """

    region: str
    instrument_id: str | None
    span: DateSpan
    window_days: int | None
    model_id: str | None
    prototypes: Path | None = None
    temperature: float | None = None
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
    exit_hazards: dict[RegimeLabel, tuple[ExitHazard, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class RegimeEmbeddings:
    """The vectors behind a region's regimes, all of one encoder and one source."""

    region: str
    encoder_model_id: str
    source: VectorSource
    rows: DatedVectors


class RegimeTasks:
    """What is done with numeric embeddings and regimes."""

    def __init__(self, db_manager: DatabaseManager, progress: Progress) -> None:
        self._db = db_manager
        self._wiring = EncoderWiring(db_manager)
        self.reader = self._wiring.reader
        self.catalog = self._wiring.catalog
        self.storage = RegimeStorage(db_manager=db_manager)
        self._timelines = RegimeTimelines(db_manager)
        self._backfills = Backfills(db_manager, progress)

    def run(self, request: RegimeRequest, *, dry_run: bool = False) -> BackfillRun[RegimeReport]:
        """Compute and store the regimes of a request; a date that is no session is moved to the last one before it.

        Raises
        ------
        InsufficientHistoryError, StaleHistoryError, UnknownInstrumentError, RegionMembersError
            There is no window to classify.
        """
        prototype_set = None if request.prototypes is None else read_prototypes(request.prototypes)
        made_by = "" if prototype_set is None else prototype_set.encoder_model_id or ""
        default_model = made_by if made_by in NUMERIC_MODELS else NUM_REGIME_CORE_V1
        subject = self._wiring.subject_of(
            request.region, request.instrument_id, request.model_id, request.window_days, default_model
        )
        span = self._wiring.at_session(request.span, subject.market, [subject.anchor])
        model = self._regime_model(request, subject, prototype_set)
        self._warn_of_other_sources(request, model)
        work = RegimeBackfill(subject.builder, model, self.storage, ModelRegistry(self._db), self.reader)
        chunks = regime_chunks(request.region, span)
        named = BackfillName("regime", model.model_id)
        done = self._backfills.run_here(named, work, chunks, RegimeReport.nothing(), dry_run=dry_run)
        if not done.report.planned:
            raise done.report.refused[-1]
        warn_of_sessions_left_out(done.report.embeddings.failures)
        if dry_run:
            return done
        if done.report.embeddings.written:
            WindowIndex(self._db, model.encoder.model_id).sync()
        joined_anew = self._join_anew(request.region, model.encoder.model_id, span)
        return replace(done, report=replace(done.report, joined_anew=joined_anew))

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

    def histories(self, region: str | None = None) -> list[RegimeHistory]:
        """Return what is stored, by region and regime model; of one region where it is named.

        Raises
        ------
        NoRegimesError
            Nothing is stored of that region.
        """
        found = self._timelines.histories()
        if region is None:
            return found
        of_region = [each for each in found if each.region == region]
        if not of_region:
            known = did_you_mean(region, sorted({each.region for each in found}), "regions that have")
            raise NoRegimesError(region, f"at all ({known})")
        return of_region

    def history(self, region: str, model_id: str | None = None, as_of: date | None = None) -> RegimeHistory:
        """Return the history that answers for a region: of the model named, or the one `preferred_history` chooses.

        With `as_of` it chooses by what is stored of dates up to then, where there is anything.

        Raises
        ------
        NoRegimesError
            There is none.
        """
        found = self.histories(region)
        if model_id is None:
            known = [] if as_of is None else self._timelines.histories(as_of)
            model_id = preferred_history([each for each in known if each.region == region] or found).model_id
        for each in found:
            if each.model_id == model_id:
                return each
        raise NoRegimesError(region, f"of {model_id} (models that have: {', '.join(each.model_id for each in found)})")

    def timeline(
        self, region: str, start: date, end: date, model_id: str | None = None, limit: int | None = None
    ) -> RegimeTimeline:
        """Return labels and confidences from `start` to `end`, both included, or the first of them.

        Parameters
        ----------
        model_id
            See `history` for the default.

        Raises
        ------
        NoRegimesError
            The region has no regimes of that model; a span without dates is no error.
        """
        return self._timelines.timeline(region, self.history(region, model_id).model_id, start, end, limit)

    def embeddings(self, region: str, start: date, end: date, model_id: str | None = None) -> RegimeEmbeddings:
        """Return the vectors from `start` to `end`, both included: those that analogs of `end` are found among.

        Parameters
        ----------
        model_id
            An encoder, or a regime model for its encoder; see `history` for the default.

        Raises
        ------
        NoRegimesError
            The region has no regimes of that model; a span without dates is no error.
        """
        encoders = {each.encoder_model_id for each in self.histories(region)}
        encoder = model_id if model_id in encoders else self.history(region, model_id).encoder_model_id
        until = (end, date.max)  # vectors of a span before the first one are none, but of a known length
        found = (self._timelines.vector_source(region, encoder, each) for each in until)
        source = next((each for each in found if each is not None), None)
        if source is None:
            raise NoRegimesError(region, f"of {encoder}")
        rows = self._timelines.load_vectors(region, encoder, source)
        first = int(np.searchsorted(rows.dates, np.datetime64(start, "D"), side="left"))
        last = int(np.searchsorted(rows.dates, np.datetime64(end, "D"), side="right"))
        return RegimeEmbeddings(region, encoder, source, DatedVectors(rows.dates[first:last], rows.vectors[first:last]))

    def closes(self, history: RegimeHistory, start: date, end: date) -> Closes:
        """Return the closes behind a history from `start` to `end`; none where no instrument or no bar is known."""
        return RegionPrices(self._db).behind(history, start, end)

    def transitions(self, region: str, model_id: str | None, until: date = date.max) -> list[TransitionReport]:
        """Return matrix and mean durations of one regime model, or of each that has rows, over dates up to one.

        Raises
        ------
        NoRegimesError
            There are none.
        """
        reports = []
        for each in [model_id] if model_id else self.storage.list_models(region):
            timeline = self._timelines.timeline(region, each, date.min, until)
            labels = [LABELS[number] for number in timeline.labels.tolist()]
            counts = transition_counts(labels)
            stays = count_stays(labels)
            report = TransitionReport(
                region, each, len(labels), counts, transition_matrix(counts), mean_durations(labels),
                {label: exit_hazards(stays.get(label)) for label in counts},
            )  # fmt: skip
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

    def _join_anew(self, region: str, encoder_model_id: str, span: DateSpan) -> dict[str, int]:
        """Bring the rows of the joint space in step with the regimes of a span."""
        store = JointEmbeddingStore(self._db)
        stale = stale_joins(store, self.storage, region, encoder_model_id, span.start, span.end)
        if not stale:
            return {}
        from prometheus.app.joint import JointTasks  # noqa: PLC0415 -- most runs have nothing to join

        return JointTasks(self._db, lambda _done, _total: None).join_anew(region, encoder_model_id, stale)

    def _regime_model(
        self, request: RegimeRequest, subject: Subject, prototype_set: PrototypeSet | None
    ) -> EncodingRegimeModel:
        window_days, encoder = subject.window_days, subject.encoder
        instruments = {request.region: subject.entity_id}
        if prototype_set is None:
            return SeedRegimeModel(
                encoder=encoder,
                region_instruments=instruments,
                window_days=window_days,
                model_id=request.regime_model_id,
            )
        prototype_set.require_space(str(request.prototypes), encoder.model_id, window_days)
        if prototype_set.calibration is not None:
            return self._persistent_model(request, subject, prototype_set)
        temperature = request.temperature
        if temperature is None:
            temperature = default_temperature(encoder.model_id, prototype_set.prototypes)
        return NumericRegimeModel(
            encoder=encoder,
            region_instruments=instruments,
            window_days=window_days,
            prototypes=prototype_set.prototypes,
            temperature=temperature,
            model_id=request.regime_model_id,
        )

    def _persistent_model(
        self, request: RegimeRequest, subject: Subject, prototype_set: PrototypeSet
    ) -> PersistentRegimeModel:
        if request.temperature is not None:
            raise UsageError(f"{request.prototypes} brings its own temperature; leave --temperature away")
        model = PersistentRegimeModel(
            encoder=subject.encoder,
            region_instruments={request.region: subject.entity_id},
            prototype_set=prototype_set,
            model_id=request.regime_model_id,
        )
        until = model.calibration.end
        if request.span.start <= until:
            logger.warning(
                "the prototypes were calibrated on sessions up to %s; labels of dates up to then know their own future",
                until,
            )
        return model

    def _warn_of_other_sources(self, request: RegimeRequest, model: EncodingRegimeModel) -> None:
        source = (model.spec_of(request.region).entity_id, str(model.window_days))
        stored = self.storage.load_sources(request.region, model.model_id)
        for (instrument_id, window_days), n_rows in stored.items():
            if (instrument_id, window_days) == source:
                continue
            logger.warning(
                "region %s already holds %d rows of %s made from %s with %s sessions; a history of two sources cannot "
                "be compared with itself: use another --region or --regime-model-id",
                request.region, n_rows, model.model_id, instrument_id, window_days,
            )  # fmt: skip
