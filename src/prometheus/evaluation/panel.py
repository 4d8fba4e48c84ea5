"""One score against another on many instruments: which of them ranks the volatile months of each better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from prometheus.encoders.numeric import descriptors
from prometheus.errors import InputRefusedError
from prometheus.evaluation.figures import area_under_curve
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.protocol import EvaluationPlan
from prometheus.evaluation.rules import log_ewma_volatility
from prometheus.evaluation.v2 import volatility_scores_of
from prometheus.market.forward_volatility import forward_log_volatility

MIN_SESSIONS = 252


@dataclass(frozen=True, slots=True)
class PanelRow:
    """Area under the curve for high forward volatility of one instrument, by our score and by its EWMA volatility."""

    instrument_id: str
    n_sessions: int
    auc: float
    auc_of_ewma: float


@dataclass(frozen=True, slots=True)
class PanelResult:
    """The rows of all instruments that could be judged, and why the others could not."""

    rows: tuple[PanelRow, ...]
    skipped: tuple[str, ...]

    @property
    def share_not_worse(self) -> float:
        """Share of the instruments on which our score ranks at least as well."""
        return sum(row.auc >= row.auc_of_ewma for row in self.rows) / len(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "n_instruments": len(self.rows),
            "share_not_worse": self.share_not_worse,
            "median_auc": median(row.auc for row in self.rows),
            "median_auc_of_ewma": median(row.auc_of_ewma for row in self.rows),
            "rows": [
                {"instrument_id": row.instrument_id, "n_sessions": row.n_sessions, "auc": row.auc,
                 "auc_of_ewma": row.auc_of_ewma}
                for row in self.rows
            ],
            "skipped": list(self.skipped),
        }  # fmt: skip


def evaluate_panel(histories: Iterable[MarketHistory], plan: EvaluationPlan) -> PanelResult:
    """Return both areas for every instrument with a year of judged sessions.

    Raises
    ------
    InputRefusedError
        No instrument could be judged.
    """
    rows, skipped = [], []
    for history in histories:
        row = _panel_row(plan.visible(history), plan)
        if row is None:
            skipped.append(history.instrument_id)
        else:
            rows.append(row)
    if not rows:
        raise InputRefusedError(f"none of {len(skipped)} instruments has {MIN_SESSIONS} sessions to judge")
    return PanelResult(tuple(rows), tuple(skipped))


def _panel_row(visible: MarketHistory, plan: EvaluationPlan) -> PanelRow | None:
    first = max(visible.position_of(np.datetime64(plan.start, "D")), descriptors.WINDOW_DAYS - 1)
    followed = forward_log_volatility(visible.closes, plan.horizon)[first:]
    is_known = np.isfinite(followed)
    if int(is_known.sum()) < MIN_SESSIONS:
        return None
    known = followed[is_known]
    is_high = known > np.quantile(known, 1.0 - plan.top_fraction)
    ours = volatility_scores_of(visible, len(visible) - first)
    ewma = log_ewma_volatility(visible, len(visible) - first)
    return PanelRow(
        visible.instrument_id,
        len(known),
        area_under_curve(ours[is_known], is_high),
        area_under_curve(ewma[is_known], is_high),
    )
