"""What analogs are worth, as ``python -m benchmarks.analog_skill`` measures it (docs/explanation/evaluation.md)."""

from __future__ import annotations

from collections.abc import Mapping

RANK_SKILL: Mapping[str, tuple[float, float]] = {"volatility": (0.72, 0.69), "drawdown": (0.27, 0.41)}
"""Rank correlation with what came in the next 21 sessions, on the S&P 500: of the ten nearest days, of HAR."""
ELSEWHERE: Mapping[str, tuple[float, float]] = {"volatility": (0.44, 0.65), "drawdown": (0.07, 0.36)}
"""The medians of 18 other markets."""


def _pair(measure: str) -> str:
    return "{:.2f} (HAR {:.2f})".format(*RANK_SKILL[measure])


def _elsewhere(measure: str) -> str:
    return "{:.2f} against {:.2f}".format(*ELSEWHERE[measure])


WORTH = (
    "What followed the ten nearest days ranked the next 21 sessions' volatility of the S&P 500, 1990 to 2023, with a "
    f"correlation of {_pair('volatility')} and their worst fall with {_pair('drawdown')}; on 18 other markets it did "
    f"worse than that simple volatility forecast, at the median {_elsewhere('volatility')} and "
    f"{_elsewhere('drawdown')}. Look at analogs for examples, not for a forecast."
)
