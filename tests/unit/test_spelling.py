"""A misspelt name is answered with those it may have meant, at most three."""

from __future__ import annotations

from prometheus.spelling import did_you_mean, nearest


def test_the_nearest_come_first_whatever_their_case() -> None:
    assert nearest("gspc.index", ["GSPC.INDX", "AAPL.US"]) == ["GSPC.INDX"]
    assert len(nearest("region", [f"region{n}" for n in range(10)])) == 3
    assert nearest("x", []) == []


def test_a_name_near_nothing_is_answered_with_a_few() -> None:
    assert did_you_mean("zzz", ["one", "two", "three", "four"], "regions") == "regions: one, two, three, …"
    assert did_you_mean("zzz", [], "regions") == "regions: none"
