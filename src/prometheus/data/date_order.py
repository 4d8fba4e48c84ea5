"""Whether rows come in order of date, watched while they are staged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector

_NEVER = np.iinfo(np.int64).min


class DateOrder:
    """Watches whether the dates of every instrument ascend; where they do, no key stands twice."""

    def __init__(self) -> None:
        self._latest = np.full(1024, _NEVER)
        self.has_repeats_or_steps_back = False
        self.has_steps_back = False

    def watch(self, instruments: NDArray[np.int32], days: Int64Vector) -> None:
        """Look at further rows, shape (n,) each."""
        if not len(days):
            return
        largest = int(instruments.max())
        if largest >= len(self._latest):
            self._latest = np.concatenate([self._latest, np.full(largest + 1, _NEVER)])
        order = np.argsort(instruments, kind="stable")
        instrument, day = instruments[order], days[order]
        is_first = np.diff(instrument, prepend=-1) != 0
        before = np.where(is_first, self._latest[instrument], np.roll(day, 1))
        self.has_repeats_or_steps_back |= bool((day <= before).any())
        self.has_steps_back |= bool((day < before).any())
        np.maximum.at(self._latest, instrument, day)
