"""A misspelt name is answered with those it may have meant, at most three."""

from __future__ import annotations

import pytest

from prometheus.spelling import did_you_mean, nearest, spell_chance


def test_the_nearest_come_first_whatever_their_case() -> None:
    assert nearest("gspc.index", ["GSPC.INDX", "AAPL.US"]) == ["GSPC.INDX"]
    assert len(nearest("region", [f"region{n}" for n in range(10)])) == 3
    assert nearest("x", []) == []


@pytest.mark.parametrize(
    ("probability", "digits", "said"),
    [
        (1.0, 0, ">99%"), (0.9951, 0, ">99%"), (0.9949, 0, "99%"), (0.5, 0, "50%"), (0.0051, 0, "1%"),
        (0.0049, 0, "<1%"), (0.0, 0, "<1%"), (0.9996, 1, ">99.9%"), (0.996, 1, "99.6%"), (0.0004, 1, "<0.1%"),
    ],
)  # fmt: skip
def test_no_chance_is_certain(probability: float, digits: int, said: str) -> None:
    assert spell_chance(probability, digits) == said
    assert spell_chance(probability, digits, " %") == said.replace("%", " %")


def test_a_name_near_nothing_is_answered_with_a_few() -> None:
    assert did_you_mean("zzz", ["one", "two", "three", "four"], "regions") == "regions: one, two, three, …"
    assert did_you_mean("zzz", [], "regions") == "regions: none"
