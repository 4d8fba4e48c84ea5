"""Bars of instruments that were renamed, under the names that a region was defined by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from prometheus.market.bars import PriceBars
from prometheus.protocols import BarSource


class RenamedBars:
    """A source that reads each instrument under its present id and calls it by the name asked for.

    A region's vectors and hashes are bound to the names of its members: under these, a renamed member changes none.
    """

    def __init__(self, source: BarSource, present: Mapping[str, str]) -> None:
        self._source, self._present = source, present
        self.keeps_decisions = bool(getattr(source, "keeps_decisions", False))

    def load_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        """Return bars as the source does; two names that stand for one instrument have the same bars."""
        names = tuple(dict.fromkeys(instrument_ids))
        ids = [self._present.get(name, name) for name in names]
        bars = self._source.load_bars(ids, first, last, n_before, fields)
        if len(bars.instrument_ids) == len(names):
            return replace(bars, instrument_ids=names)
        found = dict(zip(bars.instrument_ids, bars.each(), strict=True))
        parts = [found[each] for each in ids]
        return PriceBars(
            names, np.cumsum([0, *map(len, parts)]), np.concatenate([each.dates for each in parts]), bars.fields,
            np.concatenate([each.values for each in parts], axis=1),
        )  # fmt: skip
