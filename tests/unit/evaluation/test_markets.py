"""Many markets: what is won and lost, what is pooled, and where a test may begin."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from tests.unit.evaluation.sample_market import SHORT_PLAN, history_of, sample_history

from prometheus.errors import InputRefusedError, UsageError
from prometheus.evaluation.bears import bear_market_days
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import Predictions
from prometheus.evaluation.market_tables import markets_text
from prometheus.evaluation.markets import HIGHER_IS_BETTER, MarketsReport, Refused, judge_market
from prometheus.evaluation.own_labeller import open_labeller
from prometheus.evaluation.protocol import EvaluationPlan, known_threshold, own_fall, walk_forward
from prometheus.evaluation.report import figures_of
from prometheus.evaluation.rules import ScoreRule, level_rule, rule_labellers
from prometheus.evaluation.spans import LEAST_SESSIONS, first_start, require_unseen
from prometheus.evaluation.v2 import PersistentLabeller, VectorsByDate
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.bear import known_fall

HOLDING, _, EWMA, AVERAGE = rule_labellers()[:4]


class Bear:
    """A model that states the probability of a bear market of a tenth: always the same."""

    name = "bear"
    bear_fall = 0.1

    def fit(self, _history: MarketHistory, _threshold: float) -> Bear:
        return self

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        falls = -history.log_returns[-n_last:]
        return Predictions(falls > 0, falls, np.full(n_last, 0.2), bear_probabilities=np.full(n_last, 0.3))


@pytest.fixture(scope="module")
def report() -> MarketsReport:
    history = sample_history()
    late = level_rule("late", history.dates[-20:], np.arange(20.0) + 1)
    told: list[str] = []
    first = judge_market("first", history, SHORT_PLAN, [EWMA, AVERAGE, Bear(), HOLDING, late], told.append)
    assert len(told) == 1
    assert told[0].startswith("first: no late: ")
    closes = history.closes[::-1].copy()
    second = judge_market("second", MarketHistory("X", history.dates, closes), SHORT_PLAN, [EWMA, HOLDING])
    return MarketsReport((first, second), (Refused("third", "too short"),))


def test_a_peer_counts_where_it_was_walked(report: MarketsReport) -> None:
    assert report.labellers == ["EWMA volatility", "200-day average", "bear", "holding"]
    assert report.decided("200-day average")["n_markets"] == 1
    decided = report.decided("holding")
    assert decided["n_markets"] == 2
    assert (decided["brier_above"], decided["brier_below"], decided["auc_below"]) == (1, 0, 0)
    assert report.share_won("holding", "eta2") == 1.0
    assert report.share_won("holding", "switches_per_year") == 0.0
    values = report.values("EWMA volatility", "auc_of_probability")
    assert report.median_of("EWMA volatility", "auc_of_probability") == pytest.approx(values.mean())


def test_a_stated_probability_of_a_bear_market_is_believed(report: MarketsReport) -> None:
    stated = report.markets[0].stated["bear"]
    assert set(stated.bear.tolist()) == {0.3}
    assert report.median_of("bear", "bear_auc") == 0.5
    assert report.median_of("bear", "bear_calibration_error") == pytest.approx(abs(0.3 - stated.is_bear.mean()))


def test_a_bear_market_is_of_the_fall_that_is_stated_and_of_a_fifth(report: MarketsReport) -> None:
    closes, stated = SHORT_PLAN.visible(sample_history()).closes, report.markets[0].stated
    own, of_peer = stated["bear"].is_own_bear, stated["EWMA volatility"].is_own_bear
    assert own.tolist() == bear_market_days(closes, 0.1, 0.1)[-len(own) :].tolist() != of_peer.tolist()
    assert stated["bear"].is_bear.tolist() == bear_market_days(closes)[-len(own) :].tolist()
    assert report.median_of("bear", "own_bear_fall") == 0.1
    assert report.median_of("bear", "own_bear_calibration_error") == pytest.approx(abs(0.3 - own.mean()))


@pytest.mark.parametrize("fall", [20, 1.5, 0.0])
def test_a_labeller_of_one_s_own_states_a_fall_that_can_be(fall: float, monkeypatch: pytest.MonkeyPatch) -> None:
    own = open_labeller(f"{__name__}:Bear", [])
    assert own_fall(own.fit(sample_history(), 0.2), sample_history(), SHORT_PLAN) == 0.1
    monkeypatch.setattr(Bear, "bear_fall", fall)
    with pytest.raises(UsageError, match=f"bear_fall is {fall}; give a share between 0 and 1, such as 0.2"):
        own.fit(sample_history(), 0.2)


def test_all_of_it_is_json_and_text(report: MarketsReport) -> None:
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["n_markets"] == 2
    assert set(document["medians"]["holding"]) == set(HIGHER_IS_BETTER)
    assert document["pooled"]["EWMA volatility"]["n_sessions"] == sum(
        len(market.stated["EWMA volatility"].high) for market in report.markets
    )
    gains = {gain["peer"]: gain for gain in document["markets"][0]["gains"]}
    assert gains["holding"]["auc_low"] < gains["holding"]["auc"] < gains["holding"]["auc_high"]
    text = markets_text(report)
    assert "not judged: third: too short" in text
    assert "share won by EWMA volatility against" in text
    assert "bear markets, median of the markets  bear bAcc" in text
    assert set(report.curves(of_bear=True)) == {"EWMA volatility", "200-day average", "bear"}


def test_no_market_at_all_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="none of 1 markets can be judged: third: too short"):
        MarketsReport((), (Refused("third", "too short"),))


def test_the_threshold_of_a_year_is_the_product_s_own_and_needs_no_future() -> None:
    history = sample_history()
    walk = walk_forward(EWMA, history, SHORT_PLAN)
    past = SHORT_PLAN.visible(history).until(walk.first)
    assert walk.thresholds[0] == known_threshold(past, SHORT_PLAN)
    fitted = PersistentLabeller().fit(past, 1.0)
    own = PersistentLabeller().fit(past, known_threshold(past, SHORT_PLAN)).calibration.high_volatility
    logs = forward_log_volatility(past.closes)[-fitted.calibration.n_sessions :]
    assert own.threshold == pytest.approx(np.exp(np.nanquantile(logs, 0.8)), abs=1e-9)
    assert walk.falls[0] == fitted.bear_fall == known_fall(past.log_returns, fitted.calibration.n_sessions)
    assert len(np.unique(walk.thresholds)) == 4


def test_vectors_made_beforehand_give_the_same_walk() -> None:
    history, plan = sample_history(), EvaluationPlan(date(2008, 1, 2), date(2009, 6, 30))
    made = PersistentLabeller(vectors=VectorsByDate.of(plan.visible(history)))
    anew, looked_up = (walk_forward(each, history, plan) for each in (PersistentLabeller(), made))
    assert anew.predictions.probabilities.tobytes() == looked_up.predictions.probabilities.tobytes()
    assert anew.predictions.labels == looked_up.predictions.labels


def test_a_test_begins_after_what_it_learns_from() -> None:
    dates = history_of(np.ones(5_000), "1927-01-03").dates
    with pytest.raises(InputRefusedError, match="0 sessions are too few"):
        first_start(dates, [EWMA])
    dates = history_of(np.ones(24_000), "1927-01-03").dates
    assert first_start(dates, [EWMA]) == date(1974, 1, 1)
    assert first_start(dates, [EWMA, PersistentLabeller()]) == date(1990, 1, 1)
    assert first_start(dates, [EWMA], LEAST_SESSIONS) == date(1965, 1, 1)
    with pytest.raises(InputRefusedError, match=r"the first start that works is 1990-01-01"):
        first_start(dates[dates < np.datetime64("1980-01-01")], [PersistentLabeller()])


@pytest.mark.parametrize("n_before", [LEAST_SESSIONS, LEAST_SESSIONS + 5])
def test_the_least_history_is_enough_with_bars_that_are_held(n_before: int) -> None:
    whole = sample_history().last(n_before + 40)
    is_held = np.zeros(len(whole), dtype=np.bool_)
    is_held[[n_before - 1, n_before - 560, n_before - 561, n_before - 562]] = True
    history, start = replace(whole, is_held=is_held), whole.dates[n_before].item()
    walk = walk_forward(PersistentLabeller(), history, EvaluationPlan(start, whole.dates[-1].item()))
    assert len(walk.readings.bear) == len(walk.dates) == 40


def test_years_that_constants_saw_are_no_test() -> None:
    require_unseen(date(1975, 1, 1), [EWMA])
    require_unseen(date(1990, 1, 1), [EWMA, PersistentLabeller()])
    with pytest.raises(InputRefusedError, match=r"learned from, up to 1989-12-29; give --start 1989-12-30 or later"):
        require_unseen(date(1975, 1, 1), [EWMA, PersistentLabeller()])


def test_the_two_events_differ_in_probabilities_alone() -> None:
    history = sample_history()
    plan = EvaluationPlan(SHORT_PLAN.start, SHORT_PLAN.end, SHORT_PLAN.warm_up_start, event="test")
    own, test = (figures_of(walk_forward(EWMA, history, each), history, each) for each in (SHORT_PLAN, plan))
    assert own.auc_of_test_event == test.auc_of_test_event == test.auc
    assert (own.eta2, own.sharpe, own.bear_f1) == (test.eta2, test.sharpe, test.bear_f1)
    assert own.brier_skill != test.brier_skill
    assert isinstance(EWMA, ScoreRule)
