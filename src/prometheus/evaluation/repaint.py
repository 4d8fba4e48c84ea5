"""Whether labels of the past stay what they were: each date run again on data cut there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from prometheus.errors import InputRefusedError
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import Labeller, said_by
from prometheus.evaluation.protocol import EvaluationPlan, Progress, WalkForward, known_threshold, year_spans

LabelFunction = Callable[[MarketHistory], Iterable[Any]]
"""Returns one label per session; labels are compared by ``==``, NaN being equal to itself."""

N_LISTED = 10
_ROUNDING = 1e-12
"""Probabilities that differ by less are the same: sums may be taken in another order."""


@dataclass(frozen=True, slots=True)
class Repainted:
    """A date whose label on data cut there, `then`, is not the one on all data, `now`."""

    day: date
    then: str
    now: str


@dataclass(frozen=True, slots=True)
class RepaintReport:
    """How many dates were run again, how many labels had changed, and the first few of those, oldest first.

    On how many dates a stated probability had changed, of high volatility or of a bear market, is counted apart.
    """

    n_checked: int
    n_changed: int
    first_changed: tuple[Repainted, ...]
    n_probabilities_changed: int = 0

    @property
    def share(self) -> float:
        """Changed over checked; wanted is exactly 0."""
        return self.n_changed / self.n_checked if self.n_checked else 0.0

    @property
    def share_of_probabilities(self) -> float:
        """Dates on which a probability changed over those checked; wanted is exactly 0."""
        return self.n_probabilities_changed / self.n_checked if self.n_checked else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        listed = [{"date": str(each.day), "then": each.then, "now": each.now} for each in self.first_changed]
        return {
            "n_checked": self.n_checked, "n_changed": self.n_changed, "share": self.share, "first_changed": listed,
        }  # fmt: skip


def check_repaint(
    labeller: LabelFunction, history: MarketHistory, positions: Sequence[int], progress: Progress | None = None
) -> RepaintReport:
    """Label the whole history once, then again cut at each of some dates, and compare the labels of those dates.

    `positions`, ascending, say which sessions are run again. `InputRefusedError` unless there is one label per session.
    """
    now = _labels_of(labeller, history)
    pairs = []
    for n_done, position in enumerate(positions):
        if progress is not None:
            progress(n_done, len(positions))
        then = _labels_of(labeller, history.until(position + 1))[position]
        pairs.append((history.dates[position].item(), then, now[position]))
    return _report(pairs)


def check_walk(
    labeller: Labeller,
    history: MarketHistory,
    plan: EvaluationPlan,
    walk: WalkForward,
    every: int = 1,
    progress: Progress | None = None,
    known_on: Callable[[np.datetime64], MarketHistory] | None = None,
) -> RepaintReport:
    """Run every n-th session of a walk again on data cut at each, the model of its year fitted afresh.

    `known_on` gives the history as it was known at the close of a date, its bars judged anew; by default the history is
    cut there.
    """
    visible = plan.visible(history)

    def cut_at(position: int) -> MarketHistory:
        known = None if known_on is None else known_on(visible.dates[position])
        return visible.until(position + 1) if known is None else plan.visible(known)

    pairs: list[tuple[date, Any, Any]] = []
    n_moved = 0
    for begin, end in year_spans(visible.dates, walk.first):
        chosen = [position for position in range(begin, end) if (position - walk.first) % every == 0]
        if not chosen:
            continue
        past = cut_at(begin).until(begin)
        limit = known_threshold(past, plan) if plan.event == "own" else float(walk.thresholds[begin - walk.first])
        fitted = labeller.fit(past, limit)
        for position in chosen:
            if progress is not None:
                progress(position - walk.first, len(walk.predictions))
            row, then = position - walk.first, said_by(fitted, cut_at(position), 1)
            pairs.append((visible.dates[position].item(), then.says(0), walk.predictions.says(row)))
            n_moved += not np.allclose(then.chances(0), walk.predictions.chances(row), rtol=0.0, atol=_ROUNDING)
    return replace(_report(pairs), n_probabilities_changed=n_moved)


def _labels_of(labeller: LabelFunction, history: MarketHistory) -> list[Any]:
    labels = list(labeller(history))
    if len(labels) != len(history):
        raise InputRefusedError(
            f"the labeller returned {len(labels)} labels for {len(history)} sessions up to {history.dates[-1]}; "
            "one per session is needed"
        )
    return labels


def _report(pairs: Sequence[tuple[date, Any, Any]]) -> RepaintReport:
    changed = [
        Repainted(day, str(then), str(now))
        for day, then, now in pairs
        if not (then == now or (_is_nan(then) and _is_nan(now)))
    ]
    return RepaintReport(len(pairs), len(changed), tuple(changed[:N_LISTED]))


def _is_nan(label: Any) -> bool:
    return bool(label != label)  # noqa: PLR0124 -- only NaN differs from itself
