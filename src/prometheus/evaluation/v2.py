"""Our own labeller under the protocol: ``num-regime-core-v2``, calibrated yearly, decoded online."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.encoders.numeric import descriptors
from prometheus.encoders.numeric.features import log_prices
from prometheus.encoders.numeric.scale_free import ScaleFreeConstants, ScaleFreeNumericEmbeddingModel
from prometheus.errors import InputRefusedError
from prometheus.evaluation.figures import calibration_error
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import DEFAULT_SPAN, Predictions
from prometheus.evaluation.protocol import EvaluationPlan, forward_threshold, year_spans
from prometheus.market.forward_volatility import forward_log_volatility
from prometheus.regime.calibration import (
    RISK_OFF_SIDE,
    CalibrationSettings,
    DescribedSessions,
    RegimeCalibration,
    calibrate,
)
from prometheus.regime.decoding import viterbi_path
from prometheus.regime.model_persistent import decode
from prometheus.regime.types import RegimePrototype

HINDSIGHT_SESSIONS = 252


@dataclass(frozen=True, slots=True)
class PersistentLabeller:
    """The scale-free encoder with online decoding, and the variations a grid makes of it.

    Attributes
    ----------
    span
        Sessions of the yearly calibration.
    settings
        How prototypes are found and labels decoded.
    dropped
        Descriptors that take no part in distances; the others of their group share its weight.
    constants_span
        First and last date of the sessions that the scaling constants are taken from, instead of those packaged.
    name
        What tables call it.
    """

    span: int = DEFAULT_SPAN
    settings: CalibrationSettings = field(default_factory=CalibrationSettings)
    dropped: tuple[str, ...] = ()
    constants_span: tuple[date, date] | None = None
    name: str = "num-regime-core-v2"

    def fit(self, history: MarketHistory, threshold: float) -> FittedPersistentLabeller:
        """Calibrate on the last `span` sessions that have a window."""
        model = ScaleFreeNumericEmbeddingModel(self._constants(history))
        factors = _factors_without(self.dropped)
        n_sessions = min(self.span, len(history) - descriptors.WINDOW_DAYS + 1)
        if n_sessions < 1:
            raise InputRefusedError(
                f"{history.instrument_id}: {len(history)} sessions are fewer than a window of {descriptors.WINDOW_DAYS}"
            )
        sessions = _described(model, factors, history, n_sessions)
        followed = forward_log_volatility(history.closes[-n_sessions:])
        prototypes, calibration = calibrate(sessions, followed, self.settings, threshold)
        return FittedPersistentLabeller(model, factors, prototypes, calibration)

    def _constants(self, history: MarketHistory) -> ScaleFreeConstants | None:
        if self.constants_span is None:
            return None
        first, last = (np.datetime64(day, "D") for day in self.constants_span)
        begin = max(history.position_of(first), descriptors.WINDOW_DAYS - 1)
        ends = np.arange(begin, history.position_of(last + 1), dtype=np.int64) + 1
        if not len(ends):
            raise InputRefusedError(f"{history.instrument_id}: no session from {first} to {last} has a window")
        source = {"start": str(first), "end": str(last), "instrument_id": history.instrument_id}
        return ScaleFreeConstants.fit(descriptors.describe(_table(history), ends), source)


@dataclass(frozen=True, slots=True, eq=False)
class FittedPersistentLabeller:
    """A calibration at work."""

    model: ScaleFreeNumericEmbeddingModel
    factors: Float64Vector
    prototypes: tuple[RegimePrototype, ...]
    calibration: RegimeCalibration

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        """Return predictions about the last `n_last` sessions."""
        n_sessions = n_last + self.calibration.decode_sessions - 1
        sessions = _described(self.model, self.factors, history, n_sessions)
        decoded = decode(sessions.vectors, sessions.scores, self.prototypes, self.calibration)
        labels = [decoded.labels[nearest] for nearest in decoded.nearest]
        return Predictions(
            is_risk_off=np.array([label in RISK_OFF_SIDE for label in labels]),
            scores=sessions.scores[-n_last:],
            probabilities=decoded.high_volatility,
            labels=tuple(label.name for label in labels),
        )


def volatility_scores_of(history: MarketHistory, n_last: int) -> Float64Vector:
    """Return the frozen score of high volatility on the last `n_last` sessions, shape (n_last,); nothing is fitted."""
    return _described(ScaleFreeNumericEmbeddingModel(), np.ones(descriptors.DIM), history, n_last).scores


@dataclass(frozen=True, slots=True)
class LabelConfidence:
    """Whether labels were as sure as they said: against what the same prototypes say knowing how it went on.

    Attributes
    ----------
    stated, agreeing
        Mean stated probability of the label, and the share of sessions whose label hindsight confirms.
    calibration_error
        Mean distance of the two over ten bins of equal count.
    """

    n_sessions: int
    stated: float
    agreeing: float
    calibration_error: float


def label_confidence(labeller: PersistentLabeller, history: MarketHistory, plan: EvaluationPlan) -> LabelConfidence:
    """Compare stated probabilities of labels with hindsight, year by year of a walk.

    Hindsight sees each year and the one after it; the last sessions of the span, which have little after them, count
    like the others.
    """
    visible = plan.visible(history)
    limit = forward_threshold(history, plan)
    stated, agreeing = [], []
    for begin, end in year_spans(visible.dates, plan.first_position(visible)):
        fitted = labeller.fit(visible.until(begin), limit)
        stop = min(end + HINDSIGHT_SESSIONS, len(visible))
        n_lead = fitted.calibration.decode_sessions - 1
        sessions = _described(fitted.model, fitted.factors, visible.until(stop), stop - begin + n_lead)
        decoded = decode(sessions.vectors, sessions.scores, fitted.prototypes, fitted.calibration)
        path = viterbi_path(decoded.distances, fitted.calibration.penalty)
        stated.append(decoded.confidences[: end - begin])
        agreeing.append(path[: end - begin] == decoded.nearest[: end - begin])
    confidences, is_right = np.concatenate(stated), np.concatenate(agreeing)
    return LabelConfidence(
        n_sessions=len(is_right),
        stated=float(confidences.mean()),
        agreeing=float(is_right.mean()),
        calibration_error=calibration_error(confidences, is_right),
    )


def _described(
    model: ScaleFreeNumericEmbeddingModel, factors: Float64Vector, history: MarketHistory, n_sessions: int
) -> DescribedSessions:
    recent = history.last(n_sessions + descriptors.WINDOW_DAYS - 1)
    ends = np.arange(descriptors.WINDOW_DAYS, len(recent) + 1, dtype=np.int64)
    vectors = model.encode_table(_table(recent), ends, descriptors.WINDOW_DAYS)
    sessions = DescribedSessions.of(recent.dates[ends - 1], vectors)
    if (factors == 1.0).all():
        return sessions
    return replace(sessions, vectors=(vectors * factors).astype(np.float32))


def _table(history: MarketHistory) -> Float64Matrix:
    unknown = np.full(len(history), np.nan)
    high, low = history.high_over_close, history.low_over_close
    return log_prices(history.closes, unknown if high is None else high, unknown if low is None else low)


def _factors_without(dropped: Collection[str]) -> Float64Vector:
    """Return what the columns of a vector are multiplied by when some descriptors leave and the others take over."""
    factors = []
    for group in descriptors.GROUPS:
        kept = [name not in dropped for name in group.names]
        share = len(kept) / sum(kept) if any(kept) else 0.0
        factors += [np.sqrt(share) if is_kept else 0.0 for is_kept in kept]
    return np.array(factors)
