"""Rows of states and of the forward record on the wire: as columns, field by field, and state by state.

Run ``python -m benchmarks.state_rows``: microseconds of this process's processor for each row, medians of rounds in
which the ways take turns. The states are those of the packaged S&P 500, calibrated on its first 3,000 sessions.
``benchmarks.market_members`` tells what a whole run costs, the server included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from statistics import median

import numpy as np

from benchmarks.recording import record
from benchmarks.regime_labels import HIGH, N_SESSIONS, sample_history
from prometheus.arrays import Int64Vector
from prometheus.data.postgres.row_copy import Column, encode_column, encoded_block, encoded_rows, write_numbers
from prometheus.data.record import History
from prometheus.data.regimes import ROWS_AT_ONCE, state_columns
from prometheus.encoders.numeric import descriptors
from prometheus.encoders.numeric.features import log_prices
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.evaluation.v2 import PersistentLabeller
from prometheus.regime.forecasts import volatility_scores
from prometheus.regime.model_persistent import decode
from prometheus.regime.record import columns_of
from prometheus.regime.states import RegimeStates, as_they_are

Write = Callable[[], Sequence[bytes]]
NOW = datetime(2025, 1, 31, tzinfo=UTC)


def main() -> None:
    """Print microseconds a row and ratios, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    states = sample_states()
    hashes = np.arange(len(states), dtype=np.int64)
    ways: dict[str, tuple[Write, Write, Write]] = {
        "regimes": (
            lambda: regime_rows(states, hashes),
            lambda: field_by_field(states, hashes),
            lambda: one_by_one(states, hashes),
        ),
        "record": (
            lambda: list(encoded_rows(columns_of(states, hashes, NOW))),
            lambda: plain_rows(columns_of(states, hashes, NOW)),
            lambda: plain_rows(columns_of(list(states), hashes.tolist(), NOW)),
        ),
    }  # fmt: skip
    figures: dict[str, float] = {"rows": len(states)}
    for table, (columns, fields, objects) in ways.items():
        took = side_by_side([columns, fields, objects], arguments.rounds)
        each = [1e6 * seconds / len(states) for seconds in took]
        figures |= {
            f"{table}, us a row as columns": each[0],
            f"{table}, us a row field by field": each[1],
            f"{table}, us a row state by state": each[2],
            f"{table}, times field by field": each[1] / each[0],
        }
    record("state_rows", {"rounds": arguments.rounds}, figures, keep=not arguments.is_trial)


def sample_states() -> RegimeStates:
    """Return the states of the packaged S&P 500."""
    history = sample_history()
    fitted = PersistentLabeller().fit(history.until(N_SESSIONS), HIGH)
    assert history.high_over_close is not None
    assert history.low_over_close is not None
    table = log_prices(history.closes, history.high_over_close, history.low_over_close)
    ends = np.arange(descriptors.WINDOW_DAYS, len(history) + 1)
    vectors = ScaleFreeNumericEmbeddingModel().encode_table(table, ends, descriptors.WINDOW_DAYS)
    found = decode(vectors, volatility_scores(vectors), fitted.prototypes, fitted.calibration)
    n = len(found.nearest)
    return RegimeStates(
        region="GSPC.INDX", model_id="num-regime-core-v2@00000000", encoder_model_id="num-regime-core-v2",
        names=found.labels, dates=history.dates[-n:], labels=found.nearest, confidences=found.confidences,
        vectors=vectors[-n:], sources=[{"instrument_id": "GSPC.INDX", "window_days": descriptors.WINDOW_DAYS}] * n,
        details=found.columns(),
    )  # fmt: skip


def regime_rows(states: RegimeStates, hashes: Int64Vector) -> list[bytes]:
    """Return the rows as they are sent, piece by piece."""
    history = History(states, hashes)
    pieces = (history.take(slice(begin, begin + ROWS_AT_ONCE)) for begin in range(0, len(states), ROWS_AT_ONCE))
    return [encoded_block(with_json(state_columns(piece, write_numbers))) for piece in pieces]


def field_by_field(states: RegimeStates, hashes: Int64Vector) -> list[bytes]:
    """Return rows of which each field is an object, and each number its Python text."""
    return [b"".join(plain_rows(with_json(state_columns(History(states, hashes), as_they_are))))]


def one_by_one(states: RegimeStates, hashes: Int64Vector) -> list[bytes]:
    """Return rows that are made of an object for each state."""
    return [b"".join(plain_rows(with_json(state_columns(History(list(states), hashes.tolist()), as_they_are))))]


def with_json(columns: dict[str, Column]) -> list[Column]:
    """Return the columns with the metadata as the server reads them."""
    texts = [b"\x01" + text.encode() for text in columns["metadata"]]
    return [*({**columns, "metadata": texts}).values()]


def plain_rows(columns: Iterable[Column]) -> list[bytes]:
    """Return the bytes of each row, made field by field."""
    values = (each if isinstance(each, np.ndarray) else list(each) for each in columns)
    return list(map(b"".join, zip(*map(encode_column, values), strict=True)))


def side_by_side(ways: Sequence[Write], n_rounds: int) -> list[float]:
    """Return the median seconds of each way, after a round that does not count."""
    rounds = []
    for _ in range(n_rounds + 1):
        took = []
        for way in ways:
            clock = time.process_time()
            way()
            took.append(time.process_time() - clock)
        rounds.append(took)
    return [median(times) for times in zip(*rounds[1:], strict=True)]


if __name__ == "__main__":
    main()
