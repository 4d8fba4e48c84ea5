"""What the page says analogs are worth is what the evaluation measured."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus.analogs.worth import ELSEWHERE, RANK_SKILL, WORTH

EVALUATION = Path(__file__).parents[3] / "docs" / "explanation" / "evaluation.md"


def measured(row: str) -> list[float]:
    """Return the figures of a row of the table, two decimals each."""
    (line,) = re.findall(rf"^{re.escape(row)} .*$", EVALUATION.read_text().split("## Analogs")[1], re.MULTILINE)[:1]
    return [round(float(each), 2) for each in re.findall(r"[+-]\d\.\d{3}(?= |$)", line)]


def test_the_figures_told_are_those_of_the_table() -> None:
    own, others = measured("^GSPC"), measured("median")
    assert (own[0], own[2]) == RANK_SKILL["volatility"]
    assert (own[4], own[6]) == RANK_SKILL["drawdown"]
    assert (others[0], others[2]) == ELSEWHERE["volatility"]
    assert (others[3], others[5]) == ELSEWHERE["drawdown"]
    assert all(f"{each:.2f}" in WORTH for pair in (*RANK_SKILL.values(), *ELSEWHERE.values()) for each in pair)
