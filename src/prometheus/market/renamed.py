"""Bars of instruments that were renamed, under the names that a region was defined by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

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
        """Return bars as the source does; no two names may stand for one instrument."""
        names = tuple(dict.fromkeys(instrument_ids))
        ids = [self._present.get(name, name) for name in names]
        return replace(self._source.load_bars(ids, first, last, n_before, fields), instrument_ids=names)
