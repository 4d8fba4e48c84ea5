"""What prices in memory say: calibrations, labels, vectors and analogs, of bars alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from prometheus.analogs.search import AnalogRequest, AnalogSearch, Metric, build_report, date_with_vector, find_nearest
from prometheus.arrays import Float32Matrix
from prometheus.encoders.catalogue import create_numeric_model, default_window_days, knowledge_end
from prometheus.encoders.identity import NUM_REGIME_CORE_V2, model_config
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.encoders.numeric.features import LOG_PRICES, FeatureSet, feature_set_of
from prometheus.encoders.numeric.judged import JudgedBars
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import WindowBatch, windows_in_range
from prometheus.errors import InputRefusedError, UsageError, model_not_known_yet
from prometheus.market.bars import Closes, PriceBars
from prometheus.market.calendar import TradingCalendar
from prometheus.market.outcomes import ForwardReturns, forward_log_volatility
from prometheus.market.quality import CONTEXT
from prometheus.regime.calibration import (
    CalibrationSettings,
    DescribedSessions,
    PrototypeSource,
    RegimeCalibration,
    calibrate,
)
from prometheus.regime.explanation import EVIDENCE_LABELS, Evidence, Explainer
from prometheus.regime.forecasts import volatility_scores
from prometheus.regime.history import LABELS, DatedVectors, RegimeTimeline
from prometheus.regime.model_persistent import DecodedAssignment, decode
from prometheus.regime.prototypes import PrototypeSet
from prometheus.results.analogs import Analogs
from prometheus.results.regimes import DateLike, LabelSource, Regimes, WarmUp, as_date
from prometheus.results.stored import Embeddings

if TYPE_CHECKING:
    from prometheus.market.frames import Prices

T = TypeVar("T")
MAX_GAP_DAYS = 14
"""Prices follow on those of the fit when no more days lie between: the longest closures of exchanges are shorter."""
MAX_SEAM = 0.5
"""A close further than this share from the last one of the fit is another instrument's, or in another unit."""


class Fit(NamedTuple):
    """What was learned of one instrument, and the bars it was learned from."""

    prototype_set: PrototypeSet
    calibration: RegimeCalibration
    bars: PriceBars


def embed(prices: Prices, model: str = NUM_REGIME_CORE_V2, window_days: int | None = None) -> Embeddings | Any:
    """Return the vector of every session that has a full window; of several instruments a dict, by instrument.

    `model` is the id of a numeric encoder; `window_days` are the sessions of a window, None for what the encoder needs.

    `UnknownNameError` or `InputRefusedError`: there is no such encoder; prices that cannot be read, are too few, or
    lack what the encoder reads.
    """
    return each(PriceBars.from_frame(prices), lambda bars: _embed(bars, model, window_days))


def analogs(
    prices: Prices,
    as_of: DateLike,
    k: int = 10,
    *,
    exclude_sessions: int = 63,
    metric: Metric = "euclidean",
    model: str = NUM_REGIME_CORE_V2,
) -> Analogs | Any:
    """Return the past dates most like one, and what followed them; nothing after the date counts.

    Of several instruments a dict, by instrument. A date without a session is answered by the last one before it.

    `NotFoundError`, `InputRefusedError` or `UsageError`: there is no vector near the date; prices that cannot be
    read; a parameter that cannot be.
    """
    search = AnalogSearch(metric=metric, exclude_sessions=exclude_sessions)
    day = as_date("as_of", as_of)

    def find(bars: PriceBars) -> Analogs:
        (name,) = bars.instrument_ids
        request = AnalogRequest(name, day, "numeric", k, exclude_sessions, metric, model)
        known_from = knowledge_end(model_config(create_numeric_model(model)))
        if known_from is not None and known_from >= day:
            raise model_not_known_yet(model, known_from, day)
        rows = _embed(bars, model, None).rows
        as_of_date = date_with_vector(request, rows.dates)
        known = bars.take(slice(int(np.searchsorted(bars.dates, np.datetime64(as_of_date), side="right"))))
        followed = ForwardReturns(known.dates, known.column("adjusted_close"))
        nearest = find_nearest(search, rows.dates, rows.vectors, followed.sessions, as_of_date, k)
        report = build_report(
            request, as_of_date=as_of_date, model_id=model, regime_model_id=None, instrument_id=name,
            dates=rows.dates, nearest=nearest, labels={}, followed=followed,
        )  # fmt: skip
        return Analogs(report)

    return each(PriceBars.from_frame(prices), find)


def each(bars: PriceBars, answer: Callable[[PriceBars], T]) -> T | dict[str, T]:
    """Return the answer about one instrument, or those about several by instrument."""
    if len(bars.instrument_ids) == 1:
        return answer(bars)
    return {part.instrument_ids[0]: answer(part) for part in bars.each()}


def _embed(bars: PriceBars, model_id: str, window_days: int | None) -> Embeddings:
    (name,) = bars.instrument_ids
    model = create_numeric_model(model_id)
    n_sessions = default_window_days(model_id) if window_days is None else window_days
    features = feature_set_of(model)
    if "volume" in features.bar_fields and np.isnan(bars.column("volume")).any():
        row = int(np.isnan(bars.column("volume")).argmax())
        where = f"{name}, column 'volume', row {row}, {bars.dates[row]}"
        raise InputRefusedError(f"{where}: {model_id} reads volumes; give them all, or use {NUM_REGIME_CORE_V2}")
    windows = windows_of(bars, features, n_sessions)
    if not len(windows):
        raise too_few(bars, f"{model_id} reads {n_sessions} sessions for one vector", n_sessions)
    return Embeddings(name, model_id, DatedVectors(windows.as_of_dates, windows.vectors(model)))


def windows_of(
    bars: PriceBars, features: FeatureSet = LOG_PRICES, window_days: int = WINDOW_DAYS, first: date = date.min,
    warm_up: int = 0,
) -> WindowBatch:  # fmt: skip
    """Return the windows that a database would give from the day `first` on, and `warm_up` before."""
    judged = JudgedBars.judged(bars, window_days, TradingCalendar()) if features.is_judged else bars
    return windows_in_range(judged, first, date.max, window_days, features, warm_up).windows


def fit_bars(bars: PriceBars, settings: CalibrationSettings, span: int, earlier: PrototypeSource | None) -> Fit:
    """Return what ``calibrate`` learns of the last `span` sessions with a window."""
    n_least = settings.least_sessions
    n_needed = WINDOW_DAYS - 1 + n_least
    if span < n_least:
        raise UsageError(f"span={span}: name at least {n_least} sessions")
    if len(bars) < n_needed:
        raise too_few(bars, f"{WINDOW_DAYS - 1} before the first window, the others to calibrate on", n_needed)
    windows = windows_of(bars)
    windows = windows.take(slice(max(0, len(windows) - span), None))
    if len(windows) < n_least:
        raise too_few(bars, f"{WINDOW_DAYS - 1} before the first window, the others to calibrate on", n_needed)
    sessions = DescribedSessions.of(windows.as_of_dates, windows.vectors(ScaleFreeNumericEmbeddingModel()))
    followed = forward_log_volatility(windows.closes)[windows.close_ends - 1]
    prototypes, calibration = calibrate(sessions, followed, settings, earlier=earlier)
    prototype_set = PrototypeSet(
        region=bars.instrument_ids[0], prototypes=tuple(sorted(prototypes, key=lambda each: each.label.name)),
        windows={}, encoder_model_id=NUM_REGIME_CORE_V2, window_days=WINDOW_DAYS, calibration=calibration,
    )  # fmt: skip
    return Fit(prototype_set, calibration, bars)


def label_bars(bars: PriceBars, fit: Fit) -> Regimes:
    """Return the regimes of one instrument's sessions, as ``run_numeric_regime`` decodes them.

    `InputRefusedError`: no session has enough history.
    """
    warm_up = fit.calibration.decode_sessions - 1
    n_back = WINDOW_DAYS - 1 + warm_up
    past, fault = joined(bars, fit.bars)
    whole = appended(past, bars)
    windows = windows_of(whole, first=bars.dates[0].item(), warm_up=warm_up)
    if len(windows) <= warm_up:
        raise too_few(whole, f"a label looks back on {n_back}{f'; {fault}' if fault else ''}", n_back + 1)
    vectors = windows.vectors(ScaleFreeNumericEmbeddingModel())
    decoded = decode(
        vectors, volatility_scores(vectors), fit.prototype_set.prototypes, fit.calibration, windows.is_held
    )
    dates = windows.as_of_dates[warm_up:]
    (name,) = bars.instrument_ids
    model_id = fit.prototype_set.regime_model_id(NUM_REGIME_CORE_V2)
    labels = np.array([LABELS.index(label) for label in decoded.labels])[decoded.nearest]
    said = (labels, decoded.confidences, decoded.high_volatility, windows.is_held[warm_up:])
    timeline = RegimeTimeline(name, model_id, dates, *said)
    return Regimes(
        timeline,
        Closes(name, bars.dates, bars.column("adjusted_close")),
        _evidence(decoded, vectors[warm_up:], fit),
        _warm_up(past.take(slice(max(0, len(past) - n_back), None)), bars, fit, dates[0], fault),
        LabelSource(whole.take(slice(max(0, len(past) - n_back - CONTEXT), None)), fit.prototype_set),
    )


def _evidence(decoded: DecodedAssignment, vectors: Float32Matrix, fit: Fit) -> Evidence:
    names = [label.name for label in decoded.labels]
    centers = {each.label.name: each.center for each in fit.prototype_set.prototypes}
    probabilities = decoded.posteriors[:, [names.index(label) for label in EVIDENCE_LABELS]]
    said = fit.calibration
    explainer = Explainer(centers, said.norms, said.temperature, said.penalty, said.decode_sessions)
    return Evidence(probabilities, vectors, explainer)


def _warm_up(past: PriceBars, bars: PriceBars, fit: Fit, start: np.datetime64, fault: str) -> WarmUp:
    n_left_out = int(np.searchsorted(bars.dates, start))
    first = past.dates[0].item() if len(past) else None
    until = bars.dates[n_left_out - 1].item() if n_left_out else None
    return WarmUp(len(past), first, n_left_out, until, fit.calibration.end, fault)


def joined(bars: PriceBars, fitted: PriceBars) -> tuple[PriceBars, str]:
    """Return the bars of the fit that precede the first one given, none of them where that is not their past, and why.

    Prices follow on those of the fit when they are of the same name and either begin at one of its dates with its
    close, or at most 14 days after its last one and at most half away from it.
    """
    first, close = bars.dates[0], float(bars.column("adjusted_close")[0])
    at = int(np.searchsorted(fitted.dates, first))
    nothing = fitted.take(slice(0, 0))
    if at == 0:
        return nothing, ""
    if bars.instrument_ids != fitted.instrument_ids:
        return nothing, f"the fit saw {fitted.instrument_ids[0]}"
    before = fitted.column("adjusted_close")
    if at < len(fitted):
        is_same = fitted.dates[at] == first and before[at] == close
        return (fitted.take(slice(at)), "") if is_same else (nothing, f"the fit saw another close on {first}")
    n_days = int((first - fitted.dates[-1]).astype(int))
    if n_days > MAX_GAP_DAYS:
        return nothing, f"{n_days} days lie between its last session and the first one given"
    if abs(close / float(before[-1]) - 1.0) > MAX_SEAM:
        return nothing, f"its last close, {before[-1]:g}, is far from the first one, {close:g}"
    return fitted, ""


def appended(past: PriceBars, bars: PriceBars) -> PriceBars:
    """Return the bars of one instrument behind those of its past."""
    fields = bars.fields
    values = np.concatenate([np.stack([past.column(name) for name in fields]), bars.values], axis=1)
    dates = np.concatenate([past.dates, bars.dates])
    return PriceBars(bars.instrument_ids, np.array([0, len(dates)]), dates, fields, values)


def too_few(bars: PriceBars, rule: str, needed: int) -> InputRefusedError:
    """Return the error that says how many sessions a rule needs, and how many there are."""
    found = f"{bars.instrument_ids[0]}: {len(bars)} sessions from {bars.dates[0]} to {bars.dates[-1]}"
    return InputRefusedError(f"{found} are too few, {needed} are needed ({rule}); give older prices")
