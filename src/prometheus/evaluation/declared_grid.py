"""The variants of ``num-regime-core-v2`` whose spread is reported, declared before the test span was run.

Nothing here may be chosen by its result: what is left out, the penalty, the calibration span, the stretches, the cuts,
the span of the frozen constants and the delay of trading are each moved away from the default, one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from prometheus.encoders.numeric import descriptors
from prometheus.evaluation.grid import GridCell
from prometheus.evaluation.labeller import Labeller
from prometheus.evaluation.v2 import PersistentLabeller
from prometheus.regime.calibration import CalibrationSettings

DECIDING = (*descriptors.RISK_NAMES, *descriptors.TREND_NAMES)
PENALTIES = (0.25, 0.5, 0.75, 1.5, 2.0, 3.0)
SPANS = (2_000, 2_500, 3_500, 4_000, 5_000)
DELAYS = tuple(range(1, 11))
STRETCHES = (
    ("calm_lengths", 126), ("calm_lengths", 252), ("wild_lengths", 42), ("wild_lengths", 63), ("wild_lengths", 126),
)  # fmt: skip
CUTS = ([0.2, 0.5, 0.8], [0.25, 0.48, 0.75], [0.25, 0.52, 0.78])
CONSTANTS = (
    ("1964-01-02", "1976-12-31"),
    ("1977-01-03", "1989-12-29"),
    ("1970-01-02", "1989-12-29"),
    ("1964-01-02", "1985-12-31"),
)


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
        *(GridCell(f"span {span}", {"span": span}) for span in SPANS),
        *(GridCell(f"{name} {length}", {"settings": {name: [length]}}) for name, length in STRETCHES),
        *(GridCell(f"cuts {cuts}", {"settings": {"cuts": cuts}}) for cuts in CUTS),
        *(GridCell(f"constants {first}..{last}", {"constants_span": [first, last]}) for first, last in CONSTANTS),
        *(GridCell(f"delay {delay}", delay=delay) for delay in DELAYS),
    )


def make_variant(arguments: Mapping[str, Any]) -> Labeller:
    """Return the labeller of a cell, from its JSON values."""
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in arguments.get("settings", {}).items()
    }
    constants = arguments.get("constants_span")
    return PersistentLabeller(
        span=arguments.get("span", PersistentLabeller().span),
        settings=CalibrationSettings(**settings),
        dropped=tuple(arguments.get("dropped", ())),
        constants_span=None if constants is None else (_day(constants[0]), _day(constants[1])),
    )


def _day(text: str) -> date:
    return date.fromisoformat(text)
