"""HAR, the causal jump model, the band and the levels: what they say, and that nothing of the future enters."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from tests.unit.evaluation.sample_market import SHORT_PLAN, history_of, sample_history

from prometheus.evaluation.har import har_labellers, range_variances
from prometheus.evaluation.jump import CausalJump, _cheapest_path
from prometheus.evaluation.labeller import Labeller
from prometheus.evaluation.protocol import walk_forward
from prometheus.evaluation.repaint import check_walk
from prometheus.evaluation.report import figures_of
from prometheus.evaluation.rules import BandRule, ScoreRule, hindsight_ceiling, level_rule, log_ewma_volatility
from prometheus.regime.decoding import viterbi_path

HISTORY = sample_history()
ADDED: list[Labeller] = [*har_labellers(), CausalJump(penalties=(20.0, 75.0)), BandRule()]
ADDED.append(level_rule("level", HISTORY.dates, HISTORY.closes))


@pytest.mark.parametrize("labeller", ADDED, ids=lambda each: each.name)
def test_no_date_is_repainted(labeller: Labeller) -> None:
    walk = walk_forward(labeller, HISTORY, SHORT_PLAN)
    report = check_walk(labeller, HISTORY, SHORT_PLAN, walk, every=40)
    assert (report.n_changed, report.n_checked) == (0, -(-len(walk.dates) // 40))


def test_the_range_forecasts_better_than_closes_and_both_than_nothing() -> None:
    by_range, by_closes = (
        figures_of(walk_forward(each, HISTORY, SHORT_PLAN), HISTORY, SHORT_PLAN) for each in har_labellers()
    )
    assert by_range.r2 > by_closes.r2 > 0.3
    assert 0.0 < by_range.qlike < by_closes.qlike < 1.0
    assert by_range.eta2_of_labels == by_range.eta2


def test_a_range_reaches_to_the_close_before_and_falls_back_on_the_return() -> None:
    gap = replace(
        history_of(np.array([100.0, 110.0, 110.0, 121.0])),
        high_over_close=np.array([1.01, 1.01, np.nan, 1.0]), low_over_close=np.array([0.99, 0.99, 0.99, 1.0]),
    )  # fmt: skip
    scale = 4.0 * np.log(2.0)
    expected = [np.log(1.01 / 0.99) ** 2 / scale, np.log(1.01 * 1.1) ** 2 / scale, 0.0, np.log(1.1) ** 2 / scale]
    np.testing.assert_allclose(range_variances(gap), expected)
    np.testing.assert_array_equal(range_variances(history_of(gap.closes)), gap.log_returns**2)


@pytest.mark.parametrize("penalty", [0.5, 3.0, 40.0])
def test_the_cheapest_path_of_two_states_is_the_decoder_s(penalty: float) -> None:
    steps = np.random.default_rng(8).normal(0.0, 2.0, 400).cumsum() * 0.1
    costs = np.column_stack([np.maximum(steps, 0.0), np.maximum(-steps, 0.0)])
    assert (_cheapest_path(steps, penalty) == (viterbi_path(costs, penalty) == 1)).all()


def test_the_band_holds_what_it_said_until_the_other_side_is_crossed() -> None:
    closes = np.concatenate([np.full(300, 100.0), [98.0, 96.0, 99.0, 101.0, 102.0, 104.0, 101.0]])
    said = BandRule().fit(history_of(closes[:280]), 0.2).predictions(history_of(closes), 7)
    assert said.is_risk_off.tolist() == [False, True, True, True, True, False, False]


def test_the_ceiling_sees_what_a_rule_cannot() -> None:
    ceiling = figures_of(walk_forward(hindsight_ceiling(HISTORY), HISTORY, SHORT_PLAN), HISTORY, SHORT_PLAN)
    ewma = ScoreRule("EWMA volatility", log_ewma_volatility, 0.8)
    assert ceiling.r2 > figures_of(walk_forward(ewma, HISTORY, SHORT_PLAN), HISTORY, SHORT_PLAN).r2


def test_a_level_counts_from_the_newest_date_before() -> None:
    dates = HISTORY.dates[-9:-1:2]
    rule = level_rule("VIX", dates, np.array([10.0, 20.0, 30.0, 40.0]))
    assert isinstance(rule, ScoreRule)
    levels = np.exp(rule.score(HISTORY, 10))
    np.testing.assert_allclose(levels, [np.nan, 10, 10, 20, 20, 30, 30, 40, 40, 40])
    assert date(2018, 12, 31) == HISTORY.dates[-1].item()
