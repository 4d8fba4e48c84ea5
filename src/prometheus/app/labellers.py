"""Which labellers an evaluation walks: ours first, then the rules, peers and levels that a market has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.errors import InputRefusedError
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.judged import JudgedMarket
from prometheus.evaluation.labeller import Labeller
from prometheus.evaluation.own_labeller import open_labeller
from prometheus.evaluation.peers import peer_labellers
from prometheus.evaluation.rules import CEILING, hindsight_ceiling, level_rule, rule_labellers
from prometheus.evaluation.v2 import IndexOfMarket, VectorsByDate, core_labellers
from prometheus.market.bars import PriceBars

SLOW = ("num-regime-core-v1", "hmmlearn", "statsmodels", "jumpmodels")
"""Not walked through many markets unless they are named."""


@dataclass(frozen=True, slots=True, eq=False)
class LabellerChoice:
    """Labellers by name, or all; `levels` are the bars of the VIX or its like, a peer of its own.

    With the `index` of their market, our labels of its members with and without it are two labellers.
    """

    names: tuple[str, ...] = ()
    levels: PriceBars | None = None
    index: IndexOfMarket | None = None
    leaves_out: tuple[str, ...] = SLOW

    def of(self, visible: MarketHistory | None = None, vectors: VectorsByDate | None = None) -> list[Labeller]:
        """Return the labellers of a market, in the order named; UsageError for an unknown one.

        Without its visible history they lack the ceiling, which is made of it; with `vectors` nothing is encoded anew.
        """
        every: list[Labeller] = [*core_labellers(vectors, self.index), *rule_labellers(), *peer_labellers()]
        if self.levels is not None:
            closes = self.levels.column("close")
            is_known = np.isfinite(closes) & (closes > 0.0)
            every.append(level_rule(self.levels.instrument_ids[0], self.levels.dates[is_known], closes[is_known]))
        if visible is not None:
            every.append(hindsight_ceiling(visible))
        if not self.names:
            return [each for each in every if each.name not in self.leaves_out]
        by_name = {labeller.name: labeller for labeller in every}
        chosen = [name for name in self.names if name != CEILING or visible is not None]
        return [by_name[name] if name in by_name else open_labeller(name, by_name) for name in chosen]


def index_until(index: JudgedMarket, end: date | None) -> IndexOfMarket:
    """Return what an index said up to a date, by default its last; InputRefusedError if that is nothing."""
    history = index.known_on(index.bars.dates[-1] if end is None else np.datetime64(end, "D"))
    if len(history) < WINDOW_DAYS:
        raise InputRefusedError(
            f"{index.bars.instrument_ids[0]}: {len(history)} sessions up to {end} are too few for an index, "
            f"{WINDOW_DAYS} are needed; load older bars"
        )
    return IndexOfMarket.of(history)
