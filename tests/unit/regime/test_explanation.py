"""Explanations: shares of the decision, and figures that can be recomputed from the prices themselves."""

from __future__ import annotations

import json
import math
import re
from datetime import date
from functools import cache

import numpy as np
import pytest
from tests.reference.descriptors import slow_log_prices, weighted_mean
from tests.reference.windows import Bar, sample_bars
from tests.unit.regime.sample_sessions import (
    BEFORE_THE_CRISIS,
    SPAN,
    calibrated_until,
    sample_sessions,
    sessions_between,
)

from prometheus.arrays import Float32Vector
from prometheus.regime.explanation import Movement, Reason, compare, explain

CRASH = date(2008, 11, 20)
CALM = date(2005, 7, 29)
CLOSE = 0.0052
"""Figures are rounded to a percent; a move of 0.01 % is added to every mean."""


@cache
def bars() -> list[Bar]:
    return sample_bars("GSPC.INDX")


def row_of(day: date) -> int:
    return int(sessions_between(day, day).start)


def explained(row: int, label: int = 3, runner_up: int = 2) -> list[Reason]:
    prototypes, calibration = calibrated_until()
    vector = sample_sessions().vectors[row]
    return explain(vector, prototypes[label].center, prototypes[runner_up].center, calibration.norms)


def figures(reasons: list[Reason], words: str) -> tuple[float, float]:
    """The figure and its norm in the one line that says some words."""
    (text,) = [reason.text for reason in reasons if re.search(words, reason.text)]
    now, norm = re.findall(r"[+-]?\d+(?:\.\d+)?(?= %)", text)
    return float(now) / 100, float(norm) / 100


def log_prices(day: date) -> list[tuple[float, float, float]]:
    at = [bar[0] for bar in bars()].index(day)
    return slow_log_prices(bars()[at - 512 : at + 1])


def volatility(returns: list[float], half_life: float) -> float:
    return math.sqrt(weighted_mean([r * r for r in returns], half_life, len(returns)) * 252)


def squared_distance(left: Float32Vector, right: Float32Vector) -> float:
    return float(((left.astype(np.float64) - right) ** 2).sum())


def test_shares_add_to_one_for_the_nearer_prototype_and_to_minus_one_against_it() -> None:
    prototypes, _ = calibrated_until()
    sessions = sample_sessions()
    n_against = 0
    for row in range(0, len(sessions), 211):
        own, other = (squared_distance(sessions.vectors[row], prototypes[at].center) for at in (1, 2))
        shares = [reason.share for reason in explained(row, 1, 2) if not math.isnan(reason.share)]
        assert math.fsum(shares) == pytest.approx(1 if own < other else -1, abs=1e-9)
        assert [abs(share) for share in shares] == sorted(map(abs, shares), reverse=True)
        n_against += own > other
    assert 5 < n_against < 25


def test_what_speaks_for_one_label_speaks_against_the_other() -> None:
    for row in (row_of(CRASH), row_of(CALM)):
        forward = {reason.text: reason.share for reason in explained(row, 3, 0) if not math.isnan(reason.share)}
        backward = {reason.text: reason.share for reason in explained(row, 0, 3) if not math.isnan(reason.share)}
        assert forward == pytest.approx({text: -share for text, share in backward.items()})


def test_a_share_is_the_part_of_its_own_descriptors() -> None:
    row = row_of(CRASH)
    vector = sample_sessions().vectors[row].copy()
    prototypes, calibration = calibrated_until()
    own, other = prototypes[3].center, prototypes[2].center.copy()
    other[:] = own
    other[12] += 1.0  # drawdown_128, the thirteenth of the vector
    shares = {r.text: r.share for r in explain(vector, own, other, calibration.norms) if not math.isnan(r.share)}
    assert [text for text, share in shares.items() if share] == [t for t in shares if "below the 128-session high" in t]


def test_equal_prototypes_decide_nothing() -> None:
    assert {reason.share for reason in explained(row_of(CRASH), 2, 2) if not math.isnan(reason.share)} == {0.0}


@pytest.mark.parametrize("day", [CRASH, CALM])
def test_figures_are_those_of_the_prices(day: date) -> None:
    reasons = explained(row_of(day))
    rows = log_prices(day)
    price = [row[0] for row in rows]
    returns = [price[t] - price[t - 1] for t in range(1, 513)]
    falls = [min(r, 0.0) for r in returns]
    dips = [max(row[2] - r, 0.0) for row, r in zip(rows[1:], returns, strict=True)]

    assert figures(reasons, "^volatility")[0] == pytest.approx(volatility(returns, 32), abs=CLOSE)
    assert figures(reasons, "^downside volatility")[0] == pytest.approx(volatility(falls, 32), abs=CLOSE)
    assert figures(reasons, "two-year high")[0] == pytest.approx(1 - math.exp(price[-1] - max(price[-512:])), abs=CLOSE)
    assert figures(reasons, "128-session high")[0] == pytest.approx(
        1 - math.exp(price[-1] - max(price[-128:])), abs=CLOSE
    )
    average = math.fsum(price[-128:]) / 128
    assert figures(reasons, "128-session average")[0] == pytest.approx(math.expm1(price[-1] - average), abs=CLOSE)
    assert figures(reasons, "over 128 sessions")[0] == pytest.approx(math.expm1(price[-1] - price[-129]), abs=CLOSE)
    assert figures(reasons, "^sessions")[0] == pytest.approx(weighted_mean(dips, 16, 512), abs=0.0002)
    (sortino,) = [reason.text for reason in reasons if "per unit of downside" in reason.text]
    ratio = weighted_mean(returns, 64, 512) / math.sqrt(weighted_mean([f * f for f in falls], 64, 512) + 1e-8)
    assert f" {ratio:+.2f} a session" in sortino


def test_norms_are_medians_of_the_calibration_span() -> None:
    price = np.log([bar[3] for bar in bars() if bar[0] <= BEFORE_THE_CRISIS])
    squares = np.diff(price) ** 2
    weights = 0.5 ** (np.arange(512) / 32)
    usual = np.sqrt(np.convolve(squares, weights / weights.sum(), "valid")[-SPAN:] * 252)
    below = [1 - math.exp(price[at] - price[at - 127 : at + 1].max()) for at in range(len(price) - SPAN, len(price))]

    reasons = explained(row_of(CRASH))
    assert figures(reasons, "^volatility")[1] == pytest.approx(float(np.median(usual)), abs=CLOSE)
    assert figures(reasons, "128-session high")[1] == pytest.approx(float(np.median(below)), abs=CLOSE)
    assert {figures(explained(row_of(day)), "^volatility")[1] for day in (CRASH, CALM)} == {0.16}


def test_lines_that_only_inform_come_first_and_have_no_share_in_json() -> None:
    reasons = explained(row_of(CRASH))
    written = [reason.to_dict() for reason in reasons]
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert [entry["share"] is None for entry in written] == [True] * 2 + [False] * (len(written) - 2)
    assert len({entry["text"] for entry in written}) == 9


def moved(before: int, now: int, label: int = 3, runner_up: int = 2) -> list[Movement]:
    prototypes, _ = calibrated_until()
    vectors = sample_sessions().vectors
    return compare(vectors[before], vectors[now], prototypes[label].center, prototypes[runner_up].center)


def test_movements_are_parts_of_all_that_moved_strongest_first() -> None:
    for row in range(1, len(sample_sessions()), 211):
        pulls = [each.pull for each in moved(row - 1, row)]
        assert math.fsum(map(abs, pulls)) == pytest.approx(1)
        assert [abs(pull) for pull in pulls] == sorted(map(abs, pulls), reverse=True)


def test_movements_back_are_those_there_with_the_other_sign_and_the_values_exchanged() -> None:
    days = (row_of(CALM), row_of(CRASH))
    there, back = ({each.driver: each for each in moved(*rows)} for rows in (days, days[::-1]))
    for driver, each in there.items():
        assert (each.before, each.now) == (back[driver].now, back[driver].before)
        assert each.pull == pytest.approx(-back[driver].pull)
    assert there["downside volatility a year"].pull > 0  # towards crisis


def test_movements_say_the_values_that_reasons_say_and_nothing_moves_between_equal_sessions() -> None:
    texts = " ".join(reason.text for reason in explained(row_of(CRASH)))
    for each in moved(row_of(CALM), row_of(CRASH)):
        assert each.now in texts
    assert {each.pull for each in moved(row_of(CRASH), row_of(CRASH))} == {0.0}
