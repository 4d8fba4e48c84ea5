"""Regimes computed and stored; prototypes and constants learned from the past."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from prometheus.app.backfills import BackfillCase
from prometheus.app.histories import Histories, ReadRegimes
from prometheus.app.judged_markets import SetAside, load_judged_market
from prometheus.app.wiring import Subject, UseCase, warn_of_sessions_left_out
from prometheus.arrays import Float64Vector
from prometheus.backfill.embeddings import name_unknown
from prometheus.backfill.joint import stale_joins
from prometheus.backfill.plan import DateSpan, regime_chunks
from prometheus.backfill.regime import RegimeBackfill, RegimeReport
from prometheus.backfill.work import BackfillRun
from prometheus.core.files import require_writable, write_if_changed
from prometheus.data.vectors.index import WindowIndex
from prometheus.encoders.catalogue import is_numeric_model, stored_model_id
from prometheus.encoders.identity import NUM_REGIME_CORE_V1, NUM_REGIME_CORE_V2
from prometheus.encoders.numeric.descriptors import describe
from prometheus.encoders.numeric.regions import RegionWindowBatch
from prometheus.encoders.numeric.scale_free import RECOMPUTE_COMMAND, ScaleFreeConstants, ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import WindowBatch
from prometheus.encoders.numeric.without import without_bar
from prometheus.errors import InputRefusedError, PrototypeError, UsageError
from prometheus.files.prototypes import read_prototypes, write_prototypes
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.calibration import (
    CalibrationSettings,
    DescribedSessions,
    PrototypeSource,
    RegimeCalibration,
    calibrate,
)
from prometheus.regime.doubts import LoudestBar, find_doubts, loudest_row
from prometheus.regime.explanation import Reason, explain
from prometheus.regime.forecasts import fit_score_weights
from prometheus.regime.model_numeric import (
    EncodingRegimeModel,
    NumericRegimeModel,
    SeedRegimeModel,
    default_temperature,
)
from prometheus.regime.model_persistent import FAMILY, PersistentRegimeModel
from prometheus.regime.prototypes import CalibrationWindow, PrototypeSet, mean_prototype
from prometheus.regime.types import RegimeLabel, RegimeState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegimeRequest:
    """A region's regimes wanted, on one date or over a range; None means the default.

    By default the region's configured members stand for it, and the encoder is the region's, or num-regime-core-v1 for
    an instrument; states are stored under a name made of encoder and prototypes. Without a file of `prototypes` the
    seed model labels everything NEUTRAL. A calibrated file has its own decoding; `temperature` softens the confidence
    of others.
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
class NewestLabel:
    """A region's newest state and the label before it, None for a first state."""

    as_of_date: date
    label: str
    confidence: float
    previous_label: str | None

    @classmethod
    def of_history(cls, states: list[RegimeState]) -> NewestLabel | None:
        """Return the newest of some states, oldest first; None for no states."""
        if not states:
            return None
        newest, previous = states[-1], states[-2].regime_label.name if len(states) > 1 else None
        return cls(newest.as_of_date, newest.regime_label.name, newest.confidence, previous)

    @property
    def is_changed(self) -> bool:
        """Whether the label differs from the one before."""
        return self.previous_label not in (None, self.label)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "as_of_date": str(self.as_of_date), "regime_label": self.label, "confidence": self.confidence,
            "previous_label": self.previous_label, "is_changed": self.is_changed,
        }  # fmt: skip


class LabelRegimes(BackfillCase, ReadRegimes):
    """Computes and stores numeric embeddings and regimes."""

    kind = "regime"

    def run(self, request: RegimeRequest, *, dry_run: bool = False) -> BackfillRun[RegimeReport]:
        """Compute and store the regimes of a request; a date that is not a session becomes the previous session.

        InsufficientHistoryError, StaleHistoryError, NotFoundError or RegionMembersError without a window to classify.
        """
        prototype_set = None if request.prototypes is None else read_prototypes(request.prototypes)
        subject = self._wired.subject_of(
            request.region, request.instrument_id, request.model_id, request.window_days,
            _default_encoder(request, prototype_set),
        )  # fmt: skip
        span = self._wired.at_session(request.span, subject.market, [subject.anchor])
        model = self._regime_model(request, subject, prototype_set)
        self._warn_of_other_sources(request, model)
        work = RegimeBackfill(subject.builder, model, self._wired.storage, self._wired.registry, self._wired.reader)
        chunks = regime_chunks(request.region, span)
        done = self._run_here(model.model_id, work, chunks, RegimeReport(), dry_run=dry_run)
        if not done.report.planned:
            raise done.report.refused[-1]
        warn_of_sessions_left_out(done.report.embeddings.failures)
        if dry_run:
            return done
        if done.report.embeddings.written:
            WindowIndex(self._wired.db_manager, model.encoder.model_id).sync()
        branch = (request.region, model.encoder.model_id)
        stale = stale_joins(self._wired.joint_vectors, self._wired.storage, *branch, span.start, span.end)
        if not stale:
            return done
        from prometheus.app.joint import JoinTexts  # noqa: PLC0415 -- most runs have nothing to join

        joined_anew = JoinTexts(self._wired).join_anew(*branch, stale)
        return replace(done, report=replace(done.report, joined_anew=joined_anew))

    def compute_prototypes(
        self, region: str, windows: Sequence[CalibrationWindow], encoder_model_id: str, output: Path
    ) -> tuple[PrototypeSet, dict[RegimeLabel, int], bool]:
        """Write the mean embedding of each calibration window to a prototype file.

        Return the set, the number of dates per label, and whether the file changed.
        """
        require_writable(output)
        encoder_model_id = stored_model_id(encoder_model_id)
        prototypes, n_dates, window_days = [], {}, set()
        for window in windows:
            loaded = self._wired.storage.load_embeddings(region, encoder_model_id, window.start_date, window.end_date)
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

    def _regime_model(
        self, request: RegimeRequest, subject: Subject, prototype_set: PrototypeSet | None
    ) -> EncodingRegimeModel:
        common: dict[str, Any] = {
            "encoder": subject.encoder, "region_instruments": {request.region: subject.entity_id},
            "model_id": request.regime_model_id,
        }  # fmt: skip
        if prototype_set is None:
            return SeedRegimeModel(**common, window_days=subject.window_days)
        prototype_set.require_space(str(request.prototypes), subject.encoder.model_id, subject.window_days)
        temperature, calibration = request.temperature, prototype_set.calibration
        if calibration is None:
            if temperature is None:
                temperature = default_temperature(subject.encoder.model_id, prototype_set.prototypes)
            return NumericRegimeModel(
                **common, window_days=subject.window_days, prototypes=prototype_set.prototypes, temperature=temperature
            )
        if temperature is not None:
            raise UsageError(f"{request.prototypes} brings its own temperature; leave --temperature away")
        model = PersistentRegimeModel(**common, prototype_set=prototype_set)
        if request.span.start <= calibration.end:
            logger.warning(
                "the prototypes were calibrated on sessions up to %s; labels of dates up to then are in-sample",
                calibration.end,
            )
        return model

    def _warn_of_other_sources(self, request: RegimeRequest, model: EncodingRegimeModel) -> None:
        source = (model.spec_of(request.region).entity_id, str(model.window_days))
        stored = self._wired.storage.load_sources(request.region, model.model_id)
        for (instrument_id, window_days), n_rows in stored.items():
            if (instrument_id, window_days) == source:
                continue
            logger.warning(
                "region %s already holds %d rows of %s made from %s with %s sessions; a history of two sources cannot "
                "be compared with itself: use another --region or --regime-model-id",
                request.region, n_rows, model.model_id, instrument_id, window_days,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """Prototypes wanted of a market's own past: its last `span` sessions up to `until`.

    Without `instrument_id` the region's configured members are meant; `align_to` is an earlier prototype file whose
    labels the new ones keep.
    """

    region: str
    instrument_id: str | None
    until: date
    output: Path
    span: int
    settings: CalibrationSettings
    align_to: Path | None = None
    model_id: str | None = None

    def __post_init__(self) -> None:
        if self.instrument_id is not None and self.model_id not in (None, NUM_REGIME_CORE_V2):
            raise UsageError(
                f"calibrate reads vectors of {NUM_REGIME_CORE_V2}, not of {self.model_id}; "
                "for others average windows with compute_regime_prototypes"
            )


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """The prototypes written, whether the file changed, each reason to doubt them, and what the judge set aside.

    `set_aside` is by instrument, over the sessions that the calibration's windows reach back to.
    """

    prototype_set: PrototypeSet
    is_changed: bool
    warnings: tuple[str, ...]
    set_aside: Mapping[str, SetAside]


class Calibrate(UseCase):
    """Learns prototypes and constants from the past, and explains labels."""

    def calibrate(self, request: CalibrationRequest) -> CalibrationResult:
        """Write prototypes and their calibration to a file, and warn of each reason to doubt them.

        InputRefusedError for too few sessions.
        """
        require_writable(request.output)
        earlier = None
        if request.align_to is not None:
            earlier = PrototypeSource(read_prototypes(request.align_to).prototypes, str(request.align_to))
        subject = self._wired.subject_of(
            request.region, request.instrument_id, request.model_id, None, NUM_REGIME_CORE_V2
        )
        windows = self._windows(subject, date.min, request.until)
        windows = windows.take(slice(max(0, len(windows) - request.span), None))
        if len(windows) < request.span:
            logger.warning(
                "%s has %d sessions with a window up to %s; calibrating on those instead of %d",
                subject.entity_id, len(windows), request.until, request.span,
            )  # fmt: skip
        sessions = _described(subject, windows)
        prototypes, calibration = calibrate(sessions, _followed(windows), request.settings, earlier=earlier)
        loudest = _loudest(subject, windows, sessions, request.settings)
        warnings = tuple(find_doubts(sessions, prototypes, calibration, request.settings, loudest))
        for warning in warnings:
            logger.warning("%s: %s", subject.entity_id, warning)
        ordered = tuple(sorted(prototypes, key=lambda each: each.label.name))
        prototype_set = PrototypeSet(
            region=request.region, prototypes=ordered, windows={}, encoder_model_id=subject.encoder.model_id,
            window_days=subject.window_days, calibration=calibration,
        )  # fmt: skip
        is_changed = write_prototypes(prototype_set, request.output)
        return CalibrationResult(prototype_set, is_changed, warnings, self._set_aside(subject, calibration))

    def _set_aside(self, subject: Subject, calibration: RegimeCalibration) -> dict[str, SetAside]:
        definition = self._wired.config.regions.get(subject.entity_id)
        names = [subject.anchor] if subject.entity_id == subject.anchor or definition is None else definition.members
        found = {}
        for name in names:
            market = load_judged_market(self._wired, name)
            dates = market.bars.dates
            begin = int(np.searchsorted(dates, np.datetime64(calibration.start, "D"))) - subject.window_days + 1
            found[name] = SetAside.of(market, dates[max(begin, 0)].item(), calibration.end)
        return found

    def explain(self, states: Sequence[RegimeState], asked: Histories | None = None) -> list[list[Reason]]:
        """Return for each state its reasons against the next likely label; InputRefusedError without prototypes."""
        asked = asked or Histories(self._wired)
        return [_explain_state(state, asked.model_config(state.model_id) or {}) for state in states]

    def fit_constants(
        self, instrument_id: str, start: date, end: date, output: Path
    ) -> tuple[ScaleFreeConstants, dict[str, float], bool]:
        """Recompute the scale-free encoder's frozen constants and the volatility score's weights.

        Return the constants, the weights, and whether the file changed.
        """
        require_writable(output)
        subject = self._wired.subject_of("", instrument_id, NUM_REGIME_CORE_V2, None, NUM_REGIME_CORE_V2)
        windows = self._windows(subject, start, end)
        source = {
            "instrument_id": instrument_id, "start": str(start), "end": str(end), "command": RECOMPUTE_COMMAND,
        }  # fmt: skip
        constants = ScaleFreeConstants.fit(describe(windows.features, windows.ends), source)
        model = ScaleFreeNumericEmbeddingModel(constants)
        vectors = model.encode_table(windows.features, windows.ends, windows.window_days)
        weights = fit_score_weights(vectors, _followed(windows))
        return constants, weights, write_if_changed(output, constants.to_json())

    def _windows(self, subject: Subject, start: date, end: date) -> WindowBatch | RegionWindowBatch:
        build = subject.builder.build_range([subject.entity_id], start, end, subject.window_days)
        if build.failures and not len(build.windows):
            raise name_unknown(build.failures, self._wired.reader)[-1]
        warn_of_sessions_left_out(build.failures)
        return build.windows


def _described(subject: Subject, windows: WindowBatch | RegionWindowBatch) -> DescribedSessions:
    return DescribedSessions.of(windows.as_of_dates, subject.encoder.encode(windows).vectors)


def _loudest(
    subject: Subject, windows: WindowBatch | RegionWindowBatch, sessions: DescribedSessions,
    settings: CalibrationSettings,
) -> LoudestBar | None:  # fmt: skip
    """Return the loudest bar of an instrument; None for a region, whose members' bars are many."""
    if isinstance(windows, RegionWindowBatch):
        return None
    log_returns = np.diff(np.log(windows.closes), prepend=np.nan)[windows.close_ends - 1]
    row = loudest_row(sessions, log_returns, settings)
    return LoudestBar(row, float(log_returns[row]), _described(subject, without_bar(windows, row)))


def _followed(windows: WindowBatch | RegionWindowBatch) -> Float64Vector:
    """Return the forward log volatility of each window's last session, of the instrument or the region's anchor."""
    closes = windows.closes[: int(windows.close_ends[-1])]
    return forward_log_volatility(closes)[windows.close_ends - 1]


def _explain_state(state: RegimeState, config: dict[str, Any]) -> list[Reason]:
    if config.get("family") != FAMILY:
        raise InputRefusedError(
            f"{state.region} {state.as_of_date}: {state.model_id} has no calibration to explain labels by; run "
            "calibrate, then run_numeric_regime with its file"
        )
    probabilities = {name: float(value) for name, value in state.metadata["probabilities"].items()}
    label = state.regime_label.name
    runner_up = max((name for name in probabilities if name != label), key=lambda name: probabilities[name])
    centers = {name: np.array(config["centers"][name], dtype=np.float32) for name in (label, runner_up)}
    return explain(state.regime_embedding, centers[label], centers[runner_up], config["calibration"]["norms"])


def _default_encoder(request: RegimeRequest, prototype_set: PrototypeSet | None) -> str:
    made_by = None if prototype_set is None else prototype_set.encoder_model_id
    is_asked = request.model_id is None and request.instrument_id is not None
    return made_by if made_by and is_asked and is_numeric_model(made_by) else NUM_REGIME_CORE_V1
