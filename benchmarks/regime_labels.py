"""One yearly fit and one new evening: our labels against hmmlearn's and jumpmodels', in one run on one core.

The packaged S&P 500; the fit is on 3,000 sessions and includes making their vectors. A new evening is one more window,
encoded and decoded from what the sessions before it left behind; for the peers, their filtered or online label of the
last session.

Below it, the stages of both, beside the same answer the long way: a span decided session by session, and an evening
that encodes its whole window and decodes its 126 sessions again. Milliseconds of the processor, the least of several
rounds that take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import cycle

import numpy as np
import pyarrow.parquet as pq

from benchmarks.recording import record
from prometheus.arrays import Float32Matrix, Float64Matrix
from prometheus.encoders.numeric import descriptors
from prometheus.encoders.numeric.features import log_prices
from prometheus.encoders.numeric.rolling import RollingEncoder
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import Labeller
from prometheus.evaluation.peers import peer_labellers
from prometheus.evaluation.v2 import PersistentLabeller
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.calibration import (
    CalibrationSettings,
    DescribedSessions,
    RegimeCalibration,
    calibrate,
    find_prototypes,
)
from prometheus.regime.forecasts import BOOSTED_FORECAST, HighVolatilityForecast, volatility_scores
from prometheus.regime.model_persistent import decode
from prometheus.regime.rolling import RollingDecoder
from prometheus.regime.span_decoding import decide_span, decide_span_in_order
from prometheus.regime.types import RegimePrototype

N_SESSIONS = 3_000 + descriptors.WINDOW_DAYS - 1
HIGH = 0.25
ROUNDS = 7


def main() -> None:
    """Print milliseconds and ratios."""
    history = sample_history()
    past = history.until(N_SESSIONS)
    labellers: list[Labeller] = [PersistentLabeller(), *peer_labellers()]
    fits = {each.name: milliseconds(lambda each=each: each.fit(past, HIGH)) for each in labellers}  # type: ignore[misc]
    evenings = {"num-regime-core-v2": milliseconds(evening_of(history))}
    for each in labellers[1:]:
        fitted = each.fit(past, HIGH)
        evenings[each.name] = milliseconds(lambda fitted=fitted: fitted.predictions(past, 1))  # type: ignore[misc]
    own = labellers[0].name
    print(f"{'labeller':<22}{'fit ms':>10}{'times ours':>12}{'evening ms':>12}{'times ours':>12}")
    for name, fit in fits.items():
        evening = evenings[name]
        print(f"{name:<22}{fit:>10.2f}{fit / fits[own]:>12.1f}{evening:>12.3f}{evening / evenings[own]:>12.1f}")
    print(f"\n{'stage':<40}{'ms':>10}{'the long way':>15}{'times':>8}")
    for stage, works in stages(history).items():
        quick, slow = side_by_side(*works)
        said = f"{slow:>15.3f}{slow / quick:>8.1f}" if len(works) > 1 else ""
        print(f"{stage:<40}{quick:>10.3f}{said}")
    record("regime_labels", {}, {"fit of 3,000 sessions, ms": fits[own], "evening, ms": evenings[own]})


def sample_history() -> MarketHistory:
    """Return the packaged S&P 500."""
    path = resources.files("prometheus.ingest.sample").joinpath("prices.parquet")
    with resources.as_file(path) as file:
        table = pq.read_table(file, filters=[("instrument_id", "=", "GSPC.INDX")]).sort_by("trade_date")
    columns = {name: table[name].to_numpy() for name in ("close", "high", "low")}
    return MarketHistory(
        "GSPC.INDX",
        table["trade_date"].to_numpy().astype("M8[D]"),
        columns["close"],
        columns["high"] / columns["close"],
        columns["low"] / columns["close"],
    )


def evening_of(history: MarketHistory) -> Callable[[], object]:
    """Return the work of evenings, one after another: a window encoded and decoded from what those before it left."""
    evenings = Evenings.of(history)
    encoder = RollingEncoder(evenings.model, evenings.table[: N_SESSIONS + 1])
    decoder = RollingDecoder(evenings.prototypes, evenings.calibration, evenings.stored, [False] * len(evenings.stored))
    rows = cycle(evenings.table[N_SESSIONS + 1 :])

    def evening() -> object:
        return decoder.append(encoder.append(next(rows)))

    return evening


def long_evening_of(history: MarketHistory) -> Callable[[], object]:
    """Return the work of an evening that encodes its whole window, and decodes all sessions it looks back on."""
    evenings = Evenings.of(history)
    table, stored = evenings.table[: N_SESSIONS + 1], np.concatenate([evenings.stored, evenings.stored[-1:]])
    ends = np.array([len(table)])

    def evening() -> object:
        stored[-1] = evenings.model.encode_table(table, ends, descriptors.WINDOW_DAYS)[0]
        return decode(stored, volatility_scores(stored), evenings.prototypes, evenings.calibration)

    return evening


@dataclass(frozen=True, slots=True, eq=False)
class Evenings:
    """What evenings begin with: the rows of all sessions, and the vectors that the first of them looks back on."""

    model: ScaleFreeNumericEmbeddingModel
    prototypes: Sequence[RegimePrototype]
    calibration: RegimeCalibration
    table: Float64Matrix
    stored: Float32Matrix

    @classmethod
    def of(cls, history: MarketHistory) -> Evenings:
        """Return those after a fit on the first sessions of a history."""
        fitted = PersistentLabeller().fit(history.until(N_SESSIONS), HIGH)
        table, model = table_of(history), ScaleFreeNumericEmbeddingModel()
        ends = np.arange(N_SESSIONS - fitted.calibration.decode_sessions + 2, N_SESSIONS + 1)
        stored = model.encode_table(table, ends, descriptors.WINDOW_DAYS)
        return cls(model, fitted.prototypes, fitted.calibration, table, stored)


def table_of(history: MarketHistory) -> Float64Matrix:
    """Return what the encoder reads of each session."""
    assert history.high_over_close is not None
    assert history.low_over_close is not None
    return log_prices(history.closes, history.high_over_close, history.low_over_close)


def stages(history: MarketHistory) -> dict[str, list[Callable[[], object]]]:
    """Return the work of each stage, and the long way to the same answer where there is one."""
    past, model = history.until(N_SESSIONS), ScaleFreeNumericEmbeddingModel()
    table, ends = table_of(past), np.arange(descriptors.WINDOW_DAYS, len(past) + 1)
    vectors = model.encode_table(table, ends, descriptors.WINDOW_DAYS)
    sessions = DescribedSessions.of(past.dates[ends - 1], vectors)
    followed, settings = forward_log_volatility(past.closes[-len(ends) :]), CalibrationSettings()
    prototypes, _, _ = find_prototypes(sessions, settings)
    span = (vectors, [(1.0, prototypes)], settings.penalty, settings.decode_sessions)
    encoder = RollingEncoder(model, table)
    fitted, calibration = calibrate(sessions, followed, settings, HIGH)
    decoder = RollingDecoder(fitted, calibration, vectors, [False] * len(vectors))
    return {
        "fit: vectors of 3,000 windows": [lambda: model.encode_table(table, ends, descriptors.WINDOW_DAYS)],
        "fit: what calibration reads of them": [lambda: DescribedSessions.of(past.dates[ends - 1], vectors)],
        "fit: prototypes": [lambda: find_prototypes(sessions, settings)],
        "fit: labels, hindsight and temperature": [lambda: decide_span(*span), lambda: decide_span_in_order(*span)],
        "fit: forecast of high volatility": [
            lambda: HighVolatilityForecast.fit(sessions.scores, followed, HIGH, BOOSTED_FORECAST)
        ],
        "fit of vectors at hand": [
            lambda: calibrate(DescribedSessions.of(past.dates[ends - 1], vectors), followed, settings, HIGH)
        ],
        "evening: vector": [
            lambda: encoder.append(table[-1]),
            lambda: model.encode_table(table, ends[-1:], descriptors.WINDOW_DAYS),
        ],
        "evening: label": [
            lambda: decoder.append(vectors[-1]),
            lambda: decode(vectors[-126:], volatility_scores(vectors[-126:]), fitted, calibration),
        ],
        "evening": [evening_of(history), long_evening_of(history)],
    }


def side_by_side(*works: Callable[[], object]) -> tuple[float, float]:
    """Return the least processor time of the first and of the last work, in milliseconds; they take turns."""
    times = [[milliseconds(work) for work in works] for _ in range(ROUNDS)]
    return min(each[0] for each in times), min(each[-1] for each in times)


def milliseconds(work: Callable[[], object]) -> float:
    """Return the least processor time of a few runs, after one that does not count; short work is done many times."""
    clock = time.process_time()
    work()
    n_times = max(1, min(200, int(0.01 / max(time.process_time() - clock, 1e-6))))
    times = []
    for _ in range(ROUNDS):
        clock = time.process_time()
        for _ in range(n_times):
            work()
        times.append((time.process_time() - clock) / n_times)
    return 1e3 * min(times)


if __name__ == "__main__":
    main()
