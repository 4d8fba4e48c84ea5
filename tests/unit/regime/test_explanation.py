"""Explanations: shares of the decision, and figures that can be recomputed from the prices themselves."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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

from prometheus import RegimeClassifier
from prometheus.arrays import Float32Matrix
from prometheus.regime.decoding import forward_costs, prototype_distances
from prometheus.regime.explanation import EVIDENCE_LABELS, Decisions, Explainer, Movement, Reason
from prometheus.regime.model_persistent import DecodedAssignment, decode

CRASH = date(2008, 11, 20)
CALM = date(2005, 7, 29)
CLOSE = 0.0052
"""Figures are rounded to a percent; a move of 0.01 % is added to every mean."""


@cache
def bars() -> list[Bar]:
    return sample_bars("GSPC.INDX")


def row_of(day: date) -> int:
    return int(sessions_between(day, day).start)


def explainer_with(**changed: Any) -> Explainer:
    prototypes, said = calibrated_until()
    centers = {each.label.name: each.center for each in prototypes}
    whole = Explainer(centers, said.norms, said.temperature, said.penalty, said.decode_sessions)
    return replace(whole, **changed)


def stated(likely: int, less_likely: int) -> dict[str, float]:
    """Probabilities of the labels, from calm to wild, of which two are likely."""
    shares = {likely: 0.6, less_likely: 0.3}
    return {name: shares.get(at, 0.05) for at, name in enumerate(EVIDENCE_LABELS)}


def explained(row: int, label: int = 3, runner_up: int = 2, **changed: Any) -> list[Reason]:
    vector, probabilities = sample_sessions().vectors[row], stated(label, runner_up)
    return explainer_with(**changed).explain(vector, EVIDENCE_LABELS[label], probabilities)


def shares_of(reasons: list[Reason]) -> dict[str, float]:
    return {reason.text: reason.share for reason in reasons if not math.isnan(reason.share)}


@cache
def whole_sample() -> DecodedAssignment:
    """The labels of all sessions of the packaged index that have one."""
    sessions = sample_sessions(date.max)
    return decode(sessions.vectors, sessions.scores, *calibrated_until())


def decide_all(vectors: Float32Matrix, explainer: Explainer, decoded: DecodedAssignment) -> Decisions:
    labels = [decoded.labels[at].name for at in decoded.nearest]
    return explainer.decide(vectors[-len(labels) :], labels, decoded.posteriors, np.zeros(len(labels), dtype=np.bool_))


def verdicts_hold(decided: Decisions) -> bool:
    """Whether no share leaves [-1, 1], all sizes add to 1, and all shares, as written too, speak for the label."""
    sizes = np.abs(decided.shares)
    written = np.round(decided.shares, 6)
    return bool(
        sizes.max() <= 1
        and np.allclose(sizes.sum(axis=1), 1)
        and min(decided.shares.sum(axis=1).min(), written.sum(axis=1).min()) > 0
    )


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


def test_shares_speak_for_the_label_on_every_session_of_the_index() -> None:
    decided = decide_all(sample_sessions(date.max).vectors, explainer_with(), whole_sample())
    assert len(decided.shares) > 7_900
    assert verdicts_hold(decided)


@pytest.mark.parametrize("n_stocks", [10, pytest.param(50, marks=pytest.mark.deep)])
def test_shares_speak_for_the_label_on_every_session_of_stocks(shared_data: Path, n_stocks: int) -> None:
    path = shared_data / "prices" / "sp500_a_daily_2000_2020.parquet"
    counts = pd.read_parquet(path, columns=["instrument_id"])["instrument_id"].value_counts()
    old = sorted(counts.index[counts > 5_000])
    chosen = old[:: len(old) // n_stocks][:n_stocks]
    columns = ["instrument_id", "trade_date", "high", "low", "close"]
    prices = pd.read_parquet(path, columns=columns, filters=[("instrument_id", "in", chosen)])
    model = RegimeClassifier().fit(prices[prices["trade_date"] < date(2010, 1, 1)])
    labelled: Any = model.label(prices)
    for name, regimes in labelled.items():
        explainer = regimes.evidence.explainer
        known = [EVIDENCE_LABELS.index(each) for each in explainer.centers]
        vectors, probabilities = regimes.evidence.vectors, regimes.evidence.probabilities[:, known]
        decided = explainer.decide(vectors, regimes.to_numpy().tolist(), probabilities, regimes.timeline.is_held)
        assert verdicts_hold(decided), name
    assert len(labelled) == n_stocks


def test_the_sessions_before_are_what_the_decoding_had_of_them() -> None:
    decoded, (prototypes, calibration) = whole_sample(), calibrated_until()
    decided = decide_all(sample_sessions(date.max).vectors, explainer_with(), decoded)
    costs = prototype_distances(sample_sessions(date.max).vectors, prototypes)[:-1]
    before = forward_costs(costs, calibration.penalty, calibration.decode_sessions - 1)
    np.testing.assert_allclose(decided.behind, np.minimum(before, calibration.penalty), atol=1e-9)
    assert decided.behind[1:].argmin(axis=1).tolist() == decoded.nearest[:-1].tolist()


def test_one_session_has_the_shares_it_has_among_all() -> None:
    decoded, explainer = whole_sample(), explainer_with()
    vectors = sample_sessions(date.max).vectors[-len(decoded.nearest) :]
    decided = decide_all(vectors, explainer, decoded)
    n_alone = 0
    for row in range(0, len(vectors), 331):
        label = decoded.labels[decoded.nearest[row]]
        reasons = explainer.explain(vectors[row], label.name, decoded.details(row)["probabilities"])
        assert sorted(shares_of(reasons).values()) == pytest.approx(sorted(decided.shares[row].tolist()), abs=1e-12)
        alone = [reason.text for reason in reasons if "the session alone is nearer to" in reason.text]
        assert bool(alone) == (decoded.distances[row].argmin() != decoded.nearest[row])
        n_alone += len(alone)
        before = decoded.labels[decided.behind[row].argmin()].word
        assert f"the 125 sessions before say {before}; a change must earn its price, a distance of 1" in shares_of(
            reasons
        )
    assert 0 < n_alone < 12


def test_what_speaks_for_one_label_speaks_against_the_other() -> None:
    for row in (row_of(CRASH), row_of(CALM)):
        vector, probabilities = sample_sessions().vectors[row], stated(3, 0)
        forward, backward = (
            shares_of(explainer_with().explain(vector, label, probabilities)) for label in ("CRISIS", "CARRY")
        )
        assert forward == pytest.approx({text: -share for text, share in backward.items()})


def test_a_share_is_the_part_of_its_own_descriptors() -> None:
    centers = dict(explainer_with().centers)
    centers["RISK_OFF"] = centers["CRISIS"].copy()
    centers["RISK_OFF"][12] += 1.0  # drawdown_128, the thirteenth of the vector
    shares = shares_of(explained(row_of(CRASH), centers=centers))
    high, before = [text for text, share in shares.items() if share]
    assert {"below the 128-session high" in high, "a change must earn" in before} in ({True}, {False})


def test_a_held_session_leaves_all_to_the_sessions_before() -> None:
    vector, probabilities = sample_sessions().vectors[row_of(CRASH)], stated(1, 2)
    reasons = explainer_with().explain(vector, "NEUTRAL", probabilities, is_held=True)
    assert [reason.text for reason in reasons if "the session alone" in reason.text] == []
    (held,) = [text for text, share in shares_of(reasons).items() if share]
    assert held.startswith("the 125 sessions before say Neutral;")
    assert shares_of(reasons)[held] == 1


@pytest.mark.parametrize("free", [{"penalty": 0.0}, {"decode_sessions": 1}])
def test_where_a_change_is_free_no_label_is_named_for_the_sessions_before(free: dict[str, Any]) -> None:
    assert "the sessions before: a change has no price" in shares_of(explained(row_of(CRASH), **free))


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
    assert len({entry["text"] for entry in written}) == 10


def moved(before: int, now: int) -> list[Movement]:
    vectors = sample_sessions().vectors
    return explainer_with().compare(vectors[before], vectors[now], "CRISIS", stated(3, 2))


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
