"""The walk shows a labeller its past and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import pytest
from tests.unit.evaluation.sample_market import SHORT_PLAN, history_of, sample_history

from prometheus.errors import InputRefusedError, UsageError
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import Predictions
from prometheus.evaluation.protocol import EvaluationPlan, forward_threshold, walk_forward, year_spans
from prometheus.market.outcomes import forward_log_volatility


@dataclass(frozen=True)
class Spy:
    """Remembers what it was shown."""

    name: str = "spy"
    fitted_until: list[date] = field(default_factory=list)
    asked: list[tuple[date, int]] = field(default_factory=list)
    first_dates: set[date] = field(default_factory=set)

    def fit(self, history: MarketHistory, _threshold: float) -> Spy:
        self.fitted_until.append(history.dates[-1].item())
        self.first_dates.add(history.dates[0].item())
        return self

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        self.asked.append((history.dates[-1].item(), n_last))
        scores = np.arange(n_last, dtype=np.float64)
        return Predictions(scores > 10, scores, np.full(n_last, 0.2), ("CARRY",) * n_last)


def test_each_year_is_fitted_on_what_precedes_it_and_labelled_once() -> None:
    spy, seen = Spy(), []

    walk = walk_forward(spy, sample_history(), SHORT_PLAN, lambda done, total: seen.append((done, total)))

    assert spy.fitted_until == [date(2007, 5, 31), date(2007, 12, 31), date(2008, 12, 31), date(2009, 12, 31)]
    yearly, read, newest = (spy.asked[kind::3] for kind in range(3))
    assert [last for last, _ in read] == spy.fitted_until
    assert {n_last for _, n_last in newest} == {1}
    assert [last for last, _ in yearly] == [
        date(2007, 12, 31), date(2008, 12, 31), date(2009, 12, 31), date(2010, 3, 31),
    ]  # fmt: skip
    assert sum(n_last for _, n_last in yearly) == len(walk.predictions) == len(walk.dates)
    assert (walk.dates[0], walk.dates[-1]) == (np.datetime64("2007-06-01"), np.datetime64("2010-03-31"))
    assert walk.predictions.labels == ("CARRY",) * len(walk.dates)
    assert spy.first_dates == {date(2000, 1, 3)}
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert walk.fit_seconds >= 0.0
    assert walk.day_seconds >= 0.0


def test_what_follows_the_test_span_changes_nothing() -> None:
    history = sample_history()
    cut = history.until(history.position_of(np.datetime64("2010-04-01")))
    poisoned = MarketHistory("X", history.dates, np.where(history.dates > cut.dates[-1], 1e6, history.closes))

    assert forward_threshold(poisoned, SHORT_PLAN) == forward_threshold(cut, SHORT_PLAN)
    assert len(SHORT_PLAN.visible(poisoned)) == len(SHORT_PLAN.visible(cut))


def test_a_fifth_of_the_span_lies_above_the_threshold() -> None:
    visible = SHORT_PLAN.visible(sample_history())
    logs = forward_log_volatility(visible.closes)[SHORT_PLAN.first_position(visible) :]
    logs = logs[np.isfinite(logs)]
    share = float((logs > np.log(forward_threshold(sample_history(), SHORT_PLAN))).mean())
    assert share == pytest.approx(0.2, abs=0.003)


def test_years_are_split_where_the_calendar_does() -> None:
    dates = np.array(["2019-12-30", "2019-12-31", "2020-01-02", "2021-01-04"], dtype="M8[D]")
    assert year_spans(dates, 1) == [(1, 2), (2, 3), (3, 4)]
    assert year_spans(dates, 3) == [(3, 4)]


def test_a_span_without_a_past_without_sessions_or_without_a_future_is_refused() -> None:
    history = sample_history()
    with pytest.raises(InputRefusedError, match="504 are needed"):
        walk_forward(Spy(), history, EvaluationPlan(date(1990, 2, 1), date(1995, 1, 1)))
    with pytest.raises(InputRefusedError, match="no session from 2018-12-31"):
        walk_forward(Spy(), history_of(np.ones(600)), EvaluationPlan(date(2018, 12, 31), date(2019, 1, 1)))
    with pytest.raises(InputRefusedError, match="no 21 sessions follow"):
        forward_threshold(history, replace(SHORT_PLAN, start=date(2010, 3, 15)))


@pytest.mark.parametrize(
    "change",
    [
        {"end": date(2001, 1, 1)}, {"warm_up_start": date(2008, 1, 1)}, {"delay": -1}, {"top_fraction": 1.0},
        {"cost": 1.0}, {"calibration_span": 0},
    ],
)  # fmt: skip
def test_a_plan_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(SHORT_PLAN, **change)  # type: ignore[arg-type]
