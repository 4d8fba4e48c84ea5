"""One yearly fit and one new evening: our labels against hmmlearn's and jumpmodels', in one run on one core.

The packaged S&P 500; the fit is on 3,000 sessions and includes making their vectors. A new evening is one more window,
encoded and decoded with the 125 stored vectors before it; for the peers, their filtered or online label of the last
session.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import resources
from statistics import median

import numpy as np
import pyarrow.parquet as pq

from prometheus.encoders.numeric import descriptors
from prometheus.encoders.numeric.features import log_prices
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import Labeller
from prometheus.evaluation.peers import peer_labellers
from prometheus.evaluation.v2 import PersistentLabeller
from prometheus.regime.forecasts import volatility_scores
from prometheus.regime.model_persistent import decode

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
    """Return the work of one evening: a window encoded, and decoded with the vectors stored before it."""
    fitted = PersistentLabeller().fit(history.until(N_SESSIONS), HIGH)
    recent = history.until(N_SESSIONS).last(descriptors.WINDOW_DAYS + fitted.calibration.decode_sessions - 1)
    assert recent.high_over_close is not None
    assert recent.low_over_close is not None
    table = log_prices(recent.closes, recent.high_over_close, recent.low_over_close)
    ends = np.arange(descriptors.WINDOW_DAYS, len(recent) + 1)
    model = ScaleFreeNumericEmbeddingModel()
    stored = model.encode_table(table, ends, descriptors.WINDOW_DAYS)

    def evening() -> object:
        stored[-1] = model.encode_table(table, ends[-1:], descriptors.WINDOW_DAYS)[0]
        return decode(stored, volatility_scores(stored), fitted.prototypes, fitted.calibration)

    return evening


def milliseconds(work: Callable[[], object]) -> float:
    """Return the median processor time of a few runs, after one that does not count."""
    work()
    times = []
    for _ in range(ROUNDS):
        clock = time.process_time()
        work()
        times.append(time.process_time() - clock)
    return 1e3 * median(times)


if __name__ == "__main__":
    main()
