"""Declared variants of the product's labeller: what spread remains when the best one is not picked.

They were declared before the test span was run, each one step away from the default; none may be chosen by its result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from statistics import median
from typing import Any

from prometheus.encoders.numeric import descriptors
from prometheus.errors import UsageError
from prometheus.evaluation import figures
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import Labeller
from prometheus.evaluation.protocol import EvaluationPlan, Progress, WalkForward, walk_forward
from prometheus.evaluation.report import trade_walk
from prometheus.evaluation.v2 import PersistentLabeller
from prometheus.regime.calibration import CalibrationSettings

DECIDING = (*descriptors.RISK_NAMES, *descriptors.TREND_NAMES)
PENALTIES = (0.25, 0.5, 0.75, 1.5, 2.0, 3.0)
STRETCHES = {"calm_lengths": (126, 252), "wild_lengths": (42, 63, 126)}
CUTS = ([0.2, 0.5, 0.8], [0.25, 0.48, 0.75], [0.25, 0.52, 0.78])
CONSTANTS = (
    ("1964-01-02", "1976-12-31"),
    ("1977-01-03", "1989-12-29"),
    ("1970-01-02", "1989-12-29"),
    ("1964-01-02", "1985-12-31"),
)


@dataclass(frozen=True, slots=True)
class GridCell:
    """One variant: what the labeller is made with, as JSON values, and how many sessions its trades lag behind."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    delay: int = 0


@dataclass(frozen=True, slots=True)
class CellResult:
    """What one variant came to; its Sharpe ratio is minus infinity where it is never in the market."""

    cell: GridCell
    sharpe: float
    max_drawdown: float
    turnover: float
    switches_per_year: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = asdict(self)
        return figures.json_values({**values.pop("cell"), **values})


@dataclass(frozen=True, slots=True)
class GridResult:
    """All variants, in the order declared: the spread that remains when the best cell is not picked."""

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
        median_and_worst = figures.json_values({"median_sharpe": self.median_sharpe, "worst_sharpe": self.worst.sharpe})
        cells = [result.to_dict() for result in self.cells]
        return {"n_cells": len(cells), **median_and_worst, "worst": self.worst.cell.name, "cells": cells}


def declared_cells() -> tuple[GridCell, ...]:
    """Return the default and every declared variant of it."""
    dropped = {name: [name] for name in DECIDING}
    for family in ("downside", "sortino"):
        dropped[f"every {family}"] = [name for name in DECIDING if name.startswith(family)]
    dropped["context and path"] = [name for group in descriptors.GROUPS[2:] for name in group.names]
    return (
        GridCell("default"),
        *(GridCell(f"without {title}", {"dropped": names}) for title, names in dropped.items()),
        *(GridCell(f"penalty {penalty}", {"settings": {"penalty": penalty}}) for penalty in PENALTIES),
        *(GridCell(f"span {span}", {"span": span}) for span in (2_000, 2_500, 3_500, 4_000, 5_000)),
        *(GridCell(f"{name} {n}", {"settings": {name: [n]}}) for name, lengths in STRETCHES.items() for n in lengths),
        *(GridCell(f"cuts {cuts}", {"settings": {"cuts": cuts}}) for cuts in CUTS),
        *(GridCell(f"constants {first}..{last}", {"constants_span": [first, last]}) for first, last in CONSTANTS),
        *(GridCell(f"delay {delay}", delay=delay) for delay in range(1, 11)),
    )


def make_variant(arguments: Mapping[str, Any]) -> Labeller:
    """Return the labeller of a cell, from its JSON values."""
    chosen = _with_tuples(arguments)
    settings = CalibrationSettings(**_with_tuples(chosen.pop("settings", {})))
    if "constants_span" in chosen:
        chosen["constants_span"] = tuple(map(date.fromisoformat, chosen["constants_span"]))
    return PersistentLabeller(settings=settings, **chosen)


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def run_grid(
    cells: Sequence[GridCell], make_labeller: Callable[[Mapping[str, Any]], Labeller], history: MarketHistory,
    plan: EvaluationPlan, progress: Progress | None = None,
) -> GridResult:  # fmt: skip
    """Walk every variant, each under its own name, through the plan; those that differ in the delay share a walk."""
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
    sharpe = figures.sharpe_ratio(trading.returns)
    return CellResult(
        cell=cell,
        sharpe=sharpe if math.isfinite(sharpe) else -math.inf,
        max_drawdown=figures.max_drawdown(trading.returns),
        turnover=trading.turnover,
        switches_per_year=figures.switches_per_year(walk.predictions.is_risk_off),
    )
