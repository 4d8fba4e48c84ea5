"""Our own labeller, ``num-regime-core-v2``, calibrated yearly and decoded online, and on many instruments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from statistics import median
from typing import Any

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.encoders.catalogue import knowledge_end
from prometheus.encoders.numeric import descriptors
from prometheus.encoders.numeric.features import log_prices
from prometheus.encoders.numeric.scale_free import ScaleFreeConstants, ScaleFreeNumericEmbeddingModel
from prometheus.errors import InputRefusedError
from prometheus.evaluation import figures
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import DEFAULT_SPAN, Predictions
from prometheus.evaluation.protocol import (
    EvaluationPlan,
    forward_threshold,
    year_spans,
)
from prometheus.evaluation.rules import log_ewma_volatility
from prometheus.evaluation.spans import LEAST_SESSIONS
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.calibration import (
    RISK_OFF_SIDE,
    CalibrationSettings,
    DescribedSessions,
    RegimeCalibration,
    calibrate,
)
from prometheus.regime.decoding import viterbi_path
from prometheus.regime.forecasts import FIRST_FORECAST, logit
from prometheus.regime.market_index import IndexRises, MarketIndex
from prometheus.regime.model_persistent import decode
from prometheus.regime.types import RegimePrototype

HINDSIGHT_SESSIONS = 252
MIN_PANEL_SESSIONS = 252


Describe = Callable[[MarketHistory, int], DescribedSessions]
"""Returns what vectors say of the last `n_sessions` of a history."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowDescriber:
    """Encodes windows of prices; `factors` weigh the coordinates."""

    model: ScaleFreeNumericEmbeddingModel
    factors: Float64Vector

    def __call__(self, history: MarketHistory, n_sessions: int) -> DescribedSessions:
        """Return what the windows of the last sessions say; of fewer where a history is too short."""
        recent = history.last(n_sessions + descriptors.WINDOW_DAYS - 1)
        ends = np.arange(descriptors.WINDOW_DAYS, len(recent) + 1, dtype=np.int64)
        vectors = self.model.encode_table(_table(recent), ends, descriptors.WINDOW_DAYS)
        sessions = DescribedSessions.of(recent.dates[ends - 1], vectors)
        is_whole = (self.factors == 1.0).all()
        return sessions if is_whole else replace(sessions, vectors=(vectors * self.factors).astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class VectorsByDate:
    """Vectors made beforehand, each from the bars up to its date: of an instrument, or of a region of several.

    A date without a vector has the newest before it. As later bars change no vector, a walk gives what encoding anew
    would; a check of repaint would check nothing.
    """

    sessions: DescribedSessions

    @classmethod
    def of(cls, history: MarketHistory) -> VectorsByDate:
        """Return the vectors of a history's own windows."""
        describe = WindowDescriber(ScaleFreeNumericEmbeddingModel(), np.ones(descriptors.DIM))
        return cls(describe(history, len(history) - descriptors.WINDOW_DAYS + 1))

    def __call__(self, history: MarketHistory, n_sessions: int) -> DescribedSessions:
        """Return the last `n_sessions`, or fewer where the vectors begin later."""
        rows = np.searchsorted(self.sessions.dates, history.dates[-n_sessions:], side="right") - 1
        return self.sessions.take(rows[rows >= 0])


@dataclass(frozen=True, slots=True, eq=False)
class IndexOfMarket:
    """An index and its rises of ranges, each from the bars up to its session, as of `VectorsByDate`."""

    instrument_id: str
    rises: IndexRises

    @classmethod
    def of(cls, history: MarketHistory) -> IndexOfMarket:
        """Return what the windows of an index say."""
        sessions = VectorsByDate.of(history).sessions
        return cls(history.instrument_id, IndexRises.of(sessions.dates, sessions.vectors))


@dataclass(frozen=True, slots=True)
class PersistentLabeller:
    """The scale-free encoder with online decoding, and the variations a grid makes of it.

    `dropped` descriptors take no part in distances: the others of their group share their weight. The scaling constants
    are taken from the sessions of `constants_span`, first and last date, instead of those packaged. Either makes
    another space, in which there are no pooled prototypes. `by_bear_state` takes the side from the state of the bear
    market instead of the label. The forecast of a member uses the `index`.
    """

    span: int = DEFAULT_SPAN
    settings: CalibrationSettings = field(default_factory=CalibrationSettings)
    dropped: tuple[str, ...] = ()
    constants_span: tuple[date, date] | None = None
    name: str = "num-regime-core-v2"
    vectors: VectorsByDate | None = None
    by_bear_state: bool = False
    index: IndexOfMarket | None = None

    @property
    def learned_until(self) -> date | None:
        """The last date that the frozen constants were learned from: what is not after it is no test."""
        if self.constants_span is not None:
            return self.constants_span[1]
        return knowledge_end(ScaleFreeNumericEmbeddingModel().config)

    def fit(self, history: MarketHistory, threshold: float) -> FittedPersistentLabeller:
        """Calibrate on the last `span` sessions that have a window."""
        describe = self.vectors or WindowDescriber(
            ScaleFreeNumericEmbeddingModel(self._constants(history)), _factors_without(self.dropped)
        )
        if len(history) < LEAST_SESSIONS:
            raise InputRefusedError(
                f"{history.instrument_id}: {len(history)} sessions are too few to fit on, {LEAST_SESSIONS} are needed: "
                "load older bars or start later"
            )
        sessions = describe(history, min(self.span, len(history) - descriptors.WINDOW_DAYS + 1))
        followed = forward_log_volatility(history.closes[-len(sessions) :])
        is_pooled = self.settings.is_pooled and not self.dropped and self.constants_span is None
        settings = replace(self.settings, is_pooled=is_pooled)
        if self.index is not None:
            settings = replace(settings, market_index=MarketIndex(self.index.instrument_id))
        prototypes, calibration = calibrate(sessions, followed, settings, threshold)
        rises = None if self.index is None else self.index.rises
        return FittedPersistentLabeller(describe, prototypes, calibration, self.by_bear_state, rises)

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

    describe: Describe
    prototypes: tuple[RegimePrototype, ...]
    calibration: RegimeCalibration
    by_bear_state: bool = False
    index_rises: IndexRises | None = None

    @property
    def bear_fall(self) -> float | None:
        """The fall that its probability of a bear market is of; None where it states none."""
        return None if self.calibration.bear is None else self.calibration.bear.fall

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        """Return predictions about the last `n_last` sessions."""
        n_sessions = n_last + self.calibration.decode_sessions - 1
        sessions = self.describe(history, n_sessions)
        is_held = None if history.is_held is None else history.is_held[-n_sessions:]
        seen = None if self.index_rises is None else self.index_rises.on(sessions.dates[-n_last:])
        decoded = decode(sessions.vectors, sessions.scores, self.prototypes, self.calibration, is_held, seen)
        labels = [decoded.labels[nearest] for nearest in decoded.nearest]
        names = tuple(label.name for label in labels)
        is_risk_off = np.array([label in RISK_OFF_SIDE for label in labels])
        scores, bear = sessions.scores[-n_last:], decoded.bear
        if bear is None:
            return Predictions(is_risk_off, scores, decoded.high_volatility, names)
        scores = logit(decoded.high_volatility)
        if self.by_bear_state:
            return Predictions(bear.states, scores, decoded.high_volatility, None, bear.probabilities)
        return Predictions(is_risk_off, scores, decoded.high_volatility, names, bear.probabilities)


def core_labellers(
    vectors: VectorsByDate | None = None, index: IndexOfMarket | None = None
) -> list[PersistentLabeller]:
    """Return what the product says, as its first version said it, and by its state of the bear market.

    With an index of the market, what it says of a member comes first.
    """
    now = PersistentLabeller(vectors=vectors)
    beside = [] if index is None else [replace(now, name=f"{now.name} with {index.instrument_id}", index=index)]
    first = replace(now, name=f"{now.name}, first forecast", settings=CalibrationSettings(forecast=FIRST_FORECAST))
    return [*beside, now, first, replace(now, name=f"{now.name}, bear state", by_bear_state=True)]


def volatility_scores_of(history: MarketHistory, n_last: int) -> Float64Vector:
    """Return the frozen score of high volatility on the last `n_last` sessions, shape (n_last,); nothing is fitted."""
    return WindowDescriber(ScaleFreeNumericEmbeddingModel(), np.ones(descriptors.DIM))(history, n_last).scores


@dataclass(frozen=True, slots=True)
class LabelConfidence:
    """Whether labels were as sure as they said: against what the same prototypes say knowing how it went on.

    The mean stated probability of the label, the share of sessions whose label hindsight confirms, and the mean
    distance of the two over ten bins of equal count.
    """

    n_sessions: int
    stated: float
    agreeing: float
    calibration_error: float


def label_confidence(labeller: PersistentLabeller, history: MarketHistory, plan: EvaluationPlan) -> LabelConfidence:
    """Compare stated probabilities of labels with hindsight, which sees each year of a walk and the one after it."""
    visible = plan.visible(history)
    limit = forward_threshold(history, plan)
    stated, agreeing = [], []
    for begin, end in year_spans(visible.dates, plan.first_position(visible)):
        fitted = labeller.fit(visible.until(begin), limit)
        stop = min(end + HINDSIGHT_SESSIONS, len(visible))
        warm_up = fitted.calibration.decode_sessions - 1
        sessions = fitted.describe(visible.until(stop), stop - begin + warm_up)
        decoded = decode(sessions.vectors, sessions.scores, fitted.prototypes, fitted.calibration)
        path = viterbi_path(decoded.distances, fitted.calibration.penalty)
        rows = visible.speaking_rows(len(visible) - begin)[: end - begin] == np.arange(begin, end)
        stated.append(decoded.confidences[: end - begin][rows])
        agreeing.append((path == decoded.nearest)[: end - begin][rows])
    confidences, is_right = np.concatenate(stated), np.concatenate(agreeing)
    error = figures.calibration_error(confidences, is_right)
    return LabelConfidence(len(is_right), float(confidences.mean()), float(is_right.mean()), error)


def _table(history: MarketHistory) -> Float64Matrix:
    unknown = np.full(len(history), np.nan)
    high, low = history.high_over_close, history.low_over_close
    return log_prices(history.closes, unknown if high is None else high, unknown if low is None else low)


def _factors_without(dropped: Collection[str]) -> Float64Vector:
    factors = []
    for group in descriptors.GROUPS:
        kept = [name not in dropped for name in group.names]
        share = len(kept) / sum(kept) if any(kept) else 0.0
        factors += [np.sqrt(share) if is_kept else 0.0 for is_kept in kept]
    return np.array(factors)


@dataclass(frozen=True, slots=True)
class PanelRow:
    """Area under the curve for high forward volatility of one instrument, by our score and by its EWMA volatility."""

    instrument_id: str
    n_sessions: int
    auc: float
    auc_of_ewma: float


@dataclass(frozen=True, slots=True)
class PanelResult:
    """The rows of all instruments that could be judged, and the names of the others, which have too few sessions."""

    rows: tuple[PanelRow, ...]
    skipped: tuple[str, ...]

    @property
    def share_not_worse(self) -> float:
        """Share of the instruments on which our score ranks at least as well."""
        return sum(row.auc >= row.auc_of_ewma for row in self.rows) / len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "n_instruments": len(self.rows), "share_not_worse": self.share_not_worse,
            "median_auc": median(row.auc for row in self.rows),
            "median_auc_of_ewma": median(row.auc_of_ewma for row in self.rows),
            "rows": [asdict(row) for row in self.rows], "skipped": list(self.skipped),
        }  # fmt: skip


def evaluate_panel(histories: Iterable[MarketHistory], plan: EvaluationPlan) -> PanelResult:
    """Return both areas for every instrument with a year of judged sessions, of which there must be one."""
    judged = {history.instrument_id: _panel_row(plan.visible(history), plan) for history in histories}
    rows = tuple(row for row in judged.values() if row is not None)
    if not rows:
        raise InputRefusedError(f"none of {len(judged)} instruments has {MIN_PANEL_SESSIONS} sessions to judge")
    return PanelResult(rows, tuple(name for name, row in judged.items() if row is None))


def _panel_row(visible: MarketHistory, plan: EvaluationPlan) -> PanelRow | None:
    first = max(visible.position_of(np.datetime64(plan.start, "D")), descriptors.WINDOW_DAYS - 1)
    followed = forward_log_volatility(visible.closes, plan.horizon)[first:]
    is_known = np.isfinite(followed)
    if int(is_known.sum()) < MIN_PANEL_SESSIONS:
        return None
    known = followed[is_known]
    is_high = known > np.quantile(known, 1.0 - plan.top_fraction)
    rows = visible.speaking_rows(len(visible) - first)
    ours, ewma = (
        figures.area_under_curve(score(visible, len(visible) - int(rows[0]))[rows - rows[0]][is_known], is_high)
        for score in (volatility_scores_of, log_ewma_volatility)
    )
    return PanelRow(visible.instrument_id, len(known), ours, ewma)
