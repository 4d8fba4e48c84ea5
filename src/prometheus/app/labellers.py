"""Which labellers an evaluation walks: ours first, then the rules, peers and levels that a market has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import Labeller
from prometheus.evaluation.own_labeller import open_labeller
from prometheus.evaluation.peers import peer_labellers
from prometheus.evaluation.rules import CEILING, hindsight_ceiling, level_rule, rule_labellers
from prometheus.evaluation.v2 import VectorsByDate, core_labellers
from prometheus.market.bars import PriceBars

SLOW = ("num-regime-core-v1", "hmmlearn", "statsmodels", "jumpmodels")
"""Not walked through many markets unless they are named."""


@dataclass(frozen=True, slots=True, eq=False)
class LabellerChoice:
    """Labellers by name, or all; `levels` are the bars of the VIX or its like, a peer of its own."""

    names: tuple[str, ...] = ()
    levels: PriceBars | None = None
    leaves_out: tuple[str, ...] = SLOW

    def of(self, visible: MarketHistory | None = None, vectors: VectorsByDate | None = None) -> list[Labeller]:
        """Return the labellers of a market, in the order named; UsageError for an unknown one.

        Without its visible history they lack the ceiling, which is made of it; with `vectors` nothing is encoded anew.
        """
        every: list[Labeller] = [*core_labellers(vectors), *rule_labellers(), *peer_labellers()]
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
