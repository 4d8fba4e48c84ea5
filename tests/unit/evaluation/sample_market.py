"""Real sessions to judge labellers on: the packaged index up to 2018, and a labeller that is quick to fit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

import numpy as np
import pyarrow.parquet as pq

from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import Predictions
from prometheus.evaluation.protocol import EvaluationPlan
from prometheus.ingest.sample import PRICES

LAST_DATE = date(2018, 12, 31)
SHORT_PLAN = EvaluationPlan(start=date(2007, 6, 1), end=date(2010, 3, 31), warm_up_start=date(2000, 1, 3))


@cache
def sample_history() -> MarketHistory:
    """Return GSPC.INDX from 1990 to 2018."""
    columns = ["instrument_id", "trade_date", "adjusted_close", "close", "high", "low", "volume"]
    frame = pq.read_table(PRICES, columns=columns, filters=[("instrument_id", "=", "GSPC.INDX")]).to_pandas()
    frame = frame[frame["trade_date"] <= LAST_DATE].sort_values("trade_date")
    close = frame["close"].to_numpy(np.float64)
    return MarketHistory(
        instrument_id="GSPC.INDX",
        dates=frame["trade_date"].to_numpy().astype("M8[D]"),
        closes=frame["adjusted_close"].to_numpy(np.float64),
        high_over_close=frame["high"].to_numpy(np.float64) / close,
        low_over_close=frame["low"].to_numpy(np.float64) / close,
        volumes=frame["volume"].to_numpy(np.float64),
    )


def history_of(closes: np.ndarray, first: str = "2001-01-01", name: str = "X") -> MarketHistory:
    """Return a history of these closes on weekdays from `first` on."""
    dates = np.busday_offset(np.datetime64(first, "D"), np.arange(len(closes)), roll="forward")
    return MarketHistory(name, dates.astype("M8[D]"), np.asarray(closes, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class FullSampleLabeller:
    """Measures each session against the mean of all it is shown, the sessions after it included."""

    name: str = "full sample"

    def fit(self, _history: MarketHistory, _threshold: float) -> FullSampleLabeller:
        return self

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        falls = -history.log_returns[-n_last:]
        scores = falls - falls.mean()
        return Predictions(scores > 0, scores, np.where(scores > 0, 0.5, 0.1))
