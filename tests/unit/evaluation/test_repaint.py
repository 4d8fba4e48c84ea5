"""The repaint check catches what looks ahead, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.unit.evaluation.sample_market import SHORT_PLAN, FullSampleLabeller, history_of, sample_history

from prometheus.errors import InputRefusedError, UsageError
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.own_labeller import load_labeller, own_labeller
from prometheus.evaluation.protocol import walk_forward
from prometheus.evaluation.repaint import check_repaint, check_walk
from prometheus.evaluation.rules import ScoreRule, fall_below_average


def full_sample_z_score(history: MarketHistory) -> Sequence[str]:
    returns = np.abs(history.log_returns)
    labels: list[str] = np.where(returns > returns.mean() + returns.std(), "WILD", "CALM").tolist()
    return labels


def expanding_mean(history: MarketHistory) -> Sequence[float]:
    counts = np.arange(1, len(history) + 1)
    labels: list[float] = (np.cumsum(history.closes) / counts).tolist()
    return labels


def test_a_z_score_over_the_whole_sample_repaints_and_the_dates_are_listed() -> None:
    history = sample_history().last(2500)
    seen: list[tuple[int, int | None]] = []

    report = check_repaint(full_sample_z_score, history, range(300, 2500, 20), lambda *each: seen.append(each))

    assert 0.02 < report.share < 0.5
    assert report.n_checked == 110 == len(seen)
    first = report.first_changed[0]
    position = history.position_of(np.datetime64(first.day))
    assert first.now == full_sample_z_score(history)[position] != first.then
    assert first.then == full_sample_z_score(history.until(position + 1))[position]
    assert len(report.first_changed) <= 10
    assert report.to_dict()["share"] == report.share


@bounded(25)
@given(st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=30))
def test_a_causal_labeller_never_repaints(steps: list[float]) -> None:
    history = history_of(np.exp(np.cumsum(steps)))
    report = check_repaint(expanding_mean, history, range(len(history)))
    assert (report.n_checked, report.n_changed, report.share) == (len(steps), 0, 0.0)


def test_nan_equals_itself_and_no_other_label() -> None:
    history = history_of(np.ones(5))
    assert check_repaint(lambda each: [math.nan] * len(each), history, range(5)).n_changed == 0
    late = check_repaint(lambda each: [math.nan] * 4 + [1.0] * (len(each) - 4) if len(each) > 4 else [1.0] * len(each),
                         history, range(5))  # fmt: skip
    assert late.n_changed == 4


def test_another_number_of_labels_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="returned 4 labels for 5 sessions"):
        check_repaint(lambda each: [0] * (len(each) - 1), history_of(np.ones(5)), [2])


def test_a_walk_is_checked_session_by_session() -> None:
    history = sample_history()
    for labeller, changed in ((ScoreRule("average", fall_below_average), False), (FullSampleLabeller(), True)):
        walk = walk_forward(labeller, history, SHORT_PLAN)
        report = check_walk(labeller, history, SHORT_PLAN, walk, every=7)
        assert report.n_checked == -(-len(walk.predictions) // 7)
        assert (report.n_changed > 0) is (report.n_probabilities_changed > 0) is changed


def test_a_function_gets_copies_and_its_failure_is_named() -> None:
    history = history_of(np.ones(5))

    def greedy(dates: np.ndarray, closes: np.ndarray) -> np.ndarray:
        closes[:] = 7.0
        return closes

    assert check_repaint(own_labeller(greedy), history, [1, 3]).n_changed == 0
    assert history.closes.tolist() == [1.0] * 5

    def broken(dates: np.ndarray, closes: np.ndarray) -> Any:
        raise KeyError("vix")

    with pytest.raises(InputRefusedError, match=r"mine fails on the 5 sessions up to 2001-01-05 \(KeyError: 'vix'\)"):
        own_labeller(broken, "mine")(history)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("labels", "names no labeller"), ("math:", "names no labeller"), (":labels", "names no labeller"),
        ("no_such_module_here:labels", "cannot be imported"), ("math:no_such", "has no function 'no_such'"),
        ("math:pi", "has no function 'pi'"),
    ],
)  # fmt: skip
def test_what_names_no_function_is_a_usage_error(spec: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_labeller(spec)
