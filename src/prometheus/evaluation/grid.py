"""The spread over a grid declared beforehand: what remains when the best cell is not picked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from prometheus.errors import UsageError
from prometheus.evaluation.figures import switches_per_year
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import Labeller
from prometheus.evaluation.protocol import EvaluationPlan, Progress, WalkForward, walk_forward
from prometheus.evaluation.strategy import max_drawdown, sharpe_ratio
from prometheus.evaluation.table import trade_walk

LabellerFactory = Callable[[Mapping[str, Any]], Labeller]


@dataclass(frozen=True, slots=True)
class GridCell:
    """One variant.

    Attributes
    ----------
    arguments
        What the labeller is made with; JSON values.
    delay
        Sessions its trades lag behind.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    delay: int = 0


@dataclass(frozen=True, slots=True)
class CellResult:
    """What one variant came to.

    Attributes
    ----------
    sharpe
        Minus infinity for a variant that is never in the market, so that it counts as worse than any other.
    """

    cell: GridCell
    sharpe: float
    max_drawdown: float
    turnover: float
    switches_per_year: float

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "name": self.cell.name,
            "arguments": dict(self.cell.arguments),
            "delay": self.cell.delay,
            "sharpe": _json_number(self.sharpe),
            "max_drawdown": self.max_drawdown,
            "turnover": self.turnover,
            "switches_per_year": self.switches_per_year,
        }


@dataclass(frozen=True, slots=True)
class GridResult:
    """All variants, in the order declared."""

    cells: tuple[CellResult, ...]

    @property
    def median_sharpe(self) -> float:
        """The Sharpe ratio that half of the variants reach."""
        return median(result.sharpe for result in self.cells)

    @property
    def worst(self) -> CellResult:
        """The variant of the smallest Sharpe ratio."""
        return min(self.cells, key=lambda result: result.sharpe)

    def to_dict(self) -> dict[str, Any]:
        """Return the spread and every cell as JSON values."""
        return {
            "n_cells": len(self.cells),
            "median_sharpe": _json_number(self.median_sharpe),
            "worst_sharpe": _json_number(self.worst.sharpe),
            "worst": self.worst.cell.name,
            "cells": [result.to_dict() for result in self.cells],
        }


def run_grid(
    cells: Sequence[GridCell],
    make_labeller: LabellerFactory,
    history: MarketHistory,
    plan: EvaluationPlan,
    progress: Progress | None = None,
) -> GridResult:
    """Walk every variant through the plan; those that differ only in the delay share a walk.

    Raises
    ------
    UsageError
        There is no cell, or two have one name.
    """
    names = [cell.name for cell in cells]
    if not cells or len(set(names)) < len(names):
        raise UsageError("a grid needs at least one cell, each under its own name")
    walks: dict[str, WalkForward] = {}
    results = []
    for n_done, cell in enumerate(cells):
        if progress is not None:
            progress(n_done, len(cells))
        key = json.dumps(dict(cell.arguments), sort_keys=True)
        if key not in walks:
            walks[key] = walk_forward(make_labeller(cell.arguments), history, plan)
        results.append(_result(cell, walks[key], history, plan))
    return GridResult(tuple(results))


def _result(cell: GridCell, walk: WalkForward, history: MarketHistory, plan: EvaluationPlan) -> CellResult:
    trading = trade_walk(history, plan, walk, cell.delay)
    sharpe = sharpe_ratio(trading.returns)
    return CellResult(
        cell=cell,
        sharpe=sharpe if math.isfinite(sharpe) else -math.inf,
        max_drawdown=max_drawdown(trading.returns),
        turnover=trading.turnover,
        switches_per_year=switches_per_year(walk.predictions.is_risk_off),
    )


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
