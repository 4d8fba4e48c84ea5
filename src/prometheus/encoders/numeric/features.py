"""What windows say of each session: tables of features made of bars, and digests of what they were made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import FeatureTable, Float32Matrix, Float64Matrix, Float64Vector, Int64Vector, UInt64Vector
from prometheus.market.bars import PriceBars
from prometheus.protocols import NumericEmbeddingModel

LOG_RETURN = "log_return"
WIDEST_RANGE = 3.0  # a high or low further from the close than this factor is an error of the source


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSet:
    """What a window says of each session: features by name, in order, made of columns of ``prices_daily``.

    `tabulate` makes the table of all bars, shape (n_rows, n_features); a row depends on its bar and the one before.
    """

    names: tuple[str, ...]
    bar_fields: tuple[str, ...]
    tabulate: Callable[[PriceBars], FeatureTable]
    is_judged: bool = False
    """Whether bars that the judge of prices finds wrong are left out."""


def feature_table(bars: PriceBars) -> Float32Matrix:
    """Return close, volume and log return of every bar, shape (n_rows, 3), float32; the first return of each is 0."""
    close = bars.column("close")
    table = np.empty((len(close), 3), dtype=np.float32)
    with np.errstate(over="ignore"):  # a volume beyond float32 becomes infinite and is refused with the vector
        table[:, 0] = close
        table[:, 1] = bars.column("volume")
    table[:, 2] = log_returns(close)
    table[bars.offsets[:-1][bars.offsets[:-1] < len(close)], 2] = 0.0
    return table


def log_returns(close: Float64Vector) -> Float64Vector:
    """Return ln(close[t] / close[t-1]) with 0 first, shape (n,), float64."""
    returns = np.zeros_like(close)
    with np.errstate(over="ignore", divide="ignore"):  # between two instruments any ratio can occur; it is not used
        np.log(close[1:] / close[:-1], out=returns[1:])
    return returns


CLOSE_VOLUME = FeatureSet(("close", "volume", LOG_RETURN), ("close", "volume"), feature_table)
"""What the encoders of the first version see."""


def log_price_table(bars: PriceBars) -> Float64Matrix:
    """Return the table of `LOG_PRICES`, shape (n_rows, 3), float64; the adjusted close carries the returns.

    High and low are taken against the close of their session, all as quoted, so neither a split nor a change of
    currency shows. One that is missing, or more than three times away from the close, counts as equal to the close.
    """
    close = bars.column("close")
    with np.errstate(over="ignore"):  # a ratio beyond float64 is an error of the source like any beyond 3
        high_over_close, low_over_close = bars.column("high") / close, bars.column("low") / close
    return log_prices(bars.column("adjusted_close"), high_over_close, low_over_close)


def log_prices(
    adjusted_close: Float64Vector, high_over_close: Float64Vector, low_over_close: Float64Vector
) -> Float64Matrix:
    """Return the rows of `LOG_PRICES`, shape (n_rows, 3), float64; ratios may be NaN."""
    table = np.empty((len(adjusted_close), 3))
    np.log(adjusted_close, out=table[:, 0])
    with np.errstate(over="ignore", divide="ignore"):
        close_over_low = 1.0 / low_over_close
    for column, ratio in ((1, high_over_close), (2, close_over_low)):
        is_sound = (ratio >= 1.0) & (ratio <= WIDEST_RANGE)  # False for NaN
        table[:, column] = np.log(np.where(is_sound, ratio, 1.0))
    return table


LOG_PRICES = FeatureSet(
    ("log_adjusted_close", "log_high_over_close", "log_close_over_low"),
    ("adjusted_close", "close", "high", "low"),
    log_price_table,
    is_judged=True,
)


def window_hashes(
    bars: PriceBars, starts: Int64Vector, ends: Int64Vector, fields: Sequence[str] = CLOSE_VOLUME.bar_fields
) -> Int64Vector:
    """Return a 64-bit digest of each window's bars, shape (n_windows,), int64 (ADR-0004); equal bars, equal digest.

    A polynomial in an odd constant over mixed row digests, modulo 2**64, from prefix sums: linear in the number of
    bars.
    """
    return digests_of_runs(_row_digests(bars, fields), starts, ends)


def digests_of_runs(values: UInt64Vector, starts: Int64Vector, ends: Int64Vector) -> Int64Vector:
    """Return a 64-bit digest of each run ``values[start:end]``, shape (n_runs,), int64; see `window_hashes`."""
    n_rows = len(values)
    powers = np.ones(n_rows + 1, dtype=np.uint64)
    inverses = np.ones(n_rows + 1, dtype=np.uint64)
    np.cumprod(np.full(n_rows, _BASE), out=powers[1:])
    np.cumprod(np.full(n_rows, _BASE_INVERSE), out=inverses[1:])
    prefix = np.zeros(n_rows + 1, dtype=np.uint64)
    np.cumsum(values * powers[:-1], out=prefix[1:])
    digests = (prefix[ends] - prefix[starts]) * inverses[starts]
    return mixed(digests).view(np.int64)


_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so it has an inverse modulo 2**64; 2**64 divided by the golden ratio
_BASE_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))


def _row_digests(bars: PriceBars, fields: Sequence[str]) -> UInt64Vector:
    digests = mixed(bars.dates.astype(np.int64).view(np.uint64))
    for field in fields:
        digests = mixed(digests ^ bars.column(field).view(np.uint64))
    return digests


def mixed(values: UInt64Vector) -> UInt64Vector:
    """Return the finaliser of SplitMix64 of each value (Steele, Lea and Flood, 2014)."""
    bits = values + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def feature_set_of(model: NumericEmbeddingModel) -> FeatureSet:
    """Return what the model's windows say of each session: close, volume and log return unless it states otherwise."""
    feature_set: FeatureSet = getattr(model, "feature_set", CLOSE_VOLUME)
    return feature_set
