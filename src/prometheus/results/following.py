"""The regime of one instrument in memory, kept up to date as its sessions come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.encoders.numeric.features import log_price_table
from prometheus.encoders.numeric.rolling import RollingEncoder
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.errors import InputRefusedError, UsageError
from prometheus.market.bars import DECISION, PriceBars
from prometheus.market.daily import frequency_fault
from prometheus.market.quality import JUDGED_FIELDS, is_plain
from prometheus.regime.explanation import EVIDENCE_LABELS
from prometheus.regime.forecasts import volatility_scores
from prometheus.regime.model_persistent import DecodedAssignment, decode
from prometheus.regime.rolling import RollingDecoder
from prometheus.results.in_memory import Fit, appended, joined, too_few, windows_of
from prometheus.results.regimes import RegimeRow

if TYPE_CHECKING:
    from prometheus.arrays import DateVector
    from prometheus.market.frames import Prices


class FollowedMarket:
    """Keeps what the next session of one instrument needs; `RegimeClassifier.follow` makes one.

    A session that hardly moved costs its own window. What the judge of prices must see first, and a bar that corrects
    an earlier one, is answered by reading all prices again. Either way `row` is the last one of `label` of all prices
    given so far. Not for several threads at once.
    """

    row: RegimeRow
    """The regime of the newest session that has one."""
    _bars: PriceBars
    _added: list[PriceBars]

    def __init__(self, bars: PriceBars, fit: Fit) -> None:
        self._fit = fit
        self._begin(bars)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._bars.instrument_ids[0]!r}, {self.row})"

    def update(self, prices: Prices) -> RegimeRow:
        """Return the regime of the newest session after one or more bars came, or came again with other values.

        `InputRefusedError` or `UsageError`: prices that cannot be read, or of another instrument; nothing has changed.
        """
        (name,) = self._bars.instrument_ids
        bars = PriceBars.from_frame(prices, name)
        if bars.instrument_ids != (name,):
            raise UsageError(f"prices of {', '.join(bars.instrument_ids)} given where {name} is followed")
        if not self._is_plain(bars):
            self._begin(_merged(self.bars, bars))
            return self.row
        self._added.append(bars)
        self._newest, self._values = bars.dates[-1], _judged_values(bars)
        decoded = self._decoder.append(self._encoder.append(log_price_table(bars)[0]))
        self.row = _row_of(decoded, bars.dates)
        return self.row

    @property
    def bars(self) -> PriceBars:
        """All prices given so far, which `label` reads, too."""
        if self._added:
            dates = np.concatenate([self._bars.dates, *(bars.dates for bars in self._added)])
            columns = [np.stack([bars.column(name) for name in self._bars.fields]) for bars in self._added]
            values = np.concatenate([self._bars.values, *columns], axis=1)
            bars = PriceBars(self._bars.instrument_ids, np.array([0, len(dates)]), dates, self._bars.fields, values)
            self._bars, self._added = bars, []
        return self._bars

    def _begin(self, bars: PriceBars) -> None:
        """Read all bars anew."""
        calibration, prototypes = self._fit.calibration, self._fit.prototype_set.prototypes
        n_back, model = calibration.decode_sessions, ScaleFreeNumericEmbeddingModel()
        past, _ = joined(bars, self._fit.bars)
        whole = appended(past, bars)
        windows = windows_of(whole)
        if len(windows) < n_back or windows.as_of_dates[-1] < bars.dates[0]:
            raise too_few(whole, f"a label looks back on {WINDOW_DAYS + n_back - 2}", WINDOW_DAYS + n_back - 1)
        windows = windows.take(slice(len(windows) - n_back, None))
        vectors, end = windows.vectors(model), int(windows.ends[-1])
        decoded = decode(vectors, volatility_scores(vectors), prototypes, calibration, windows.is_held)
        self._encoder = RollingEncoder(model, windows.features[end - WINDOW_DAYS : end])
        self._decoder = RollingDecoder(prototypes, calibration, vectors[1:], windows.is_held[1:].tolist())
        self._bars, self._added = bars, []
        self._newest, self._values = whole.dates[-1], _judged_values(whole)
        self._is_settled = bool(windows.as_of_dates[-1] == whole.dates[-1]) and not windows.is_held[-1]
        self._has_weekends = not bool(np.is_busday(whole.dates).all())
        self.row = _row_of(decoded, windows.as_of_dates[-1:])

    def _is_plain(self, bars: PriceBars) -> bool:
        """Return whether the judge would find these bars, one in fact, sound without a look."""
        if len(bars) != 1 or not self._is_settled or DECISION in {*bars.fields, *self._bars.fields}:
            return False
        n_days = int((bars.dates[0] - self._newest).astype(int))
        is_expected = self._has_weekends or bool(np.is_busday(bars.dates[0]))
        return n_days > 0 and is_expected and is_plain(self._values, _judged_values(bars), n_days)


def _judged_values(bars: PriceBars) -> Sequence[float]:
    """Return what the judge reads of the last bar."""
    return [float(bars.column(field)[-1]) for field in JUDGED_FIELDS]


def _merged(bars: PriceBars, others: PriceBars) -> PriceBars:
    """Return all bars, oldest first; `others` stand in place of bars of the same dates."""
    is_kept = ~np.isin(bars.dates, others.dates)
    dates = np.concatenate([bars.dates[is_kept], others.dates])
    order = np.argsort(dates)
    other_values = np.stack([others.column(field) for field in bars.fields])
    values = np.concatenate([bars.values[:, is_kept], other_values], axis=1)[:, order]
    merged = PriceBars(bars.instrument_ids, np.array([0, len(dates)]), dates[order], bars.fields, values)
    fault = frequency_fault(merged.dates)
    if fault is not None:
        raise InputRefusedError(f"{merged.instrument_ids[0]}: {fault}")
    return merged


def _row_of(decoded: DecodedAssignment, dates: DateVector) -> RegimeRow:
    names = [label.name for label in decoded.labels]
    shares = decoded.posteriors[-1].tolist()
    return RegimeRow(
        dates[-1].item(),
        decoded.labels[int(decoded.nearest[-1])],
        float(decoded.confidences[-1]),
        float(decoded.high_volatility[-1]),
        {label: shares[names.index(label)] for label in EVIDENCE_LABELS},
    )
