"""What labellers are shown of a market with faults: nothing of the future, no bar that is wrong, and no repaint."""

from __future__ import annotations

from datetime import date

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.property.test_price_quality import real_bars, with_fault, without
from tests.reference.windows import WeekdayCalendar

from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.judged import JudgedMarket, join_bars
from prometheus.evaluation.labeller import said_by
from prometheus.evaluation.protocol import EvaluationPlan, forward_threshold, walk_forward
from prometheus.evaluation.repaint import check_walk
from prometheus.evaluation.report import figures_of
from prometheus.evaluation.rules import ScoreRule, fall_below_average, log_ewma_volatility
from prometheus.evaluation.v2 import PersistentLabeller, evaluate_panel
from prometheus.market.bars import PriceBars
from prometheus.market.quality import JUDGED_FIELDS

PLAN = EvaluationPlan(date(2003, 6, 2), date(2005, 3, 31))
EWMA = ScoreRule("EWMA volatility", log_ewma_volatility, 0.8)
rows_of_the_test = st.integers(3_390, 3_840)
FACTORS = st.sampled_from([100.0, 0.01, 1.9, 0.4])


def market(bars: PriceBars) -> JudgedMarket:
    return JudgedMarket(bars, WeekdayCalendar())


def whole(bars: PriceBars) -> MarketHistory:
    return market(bars).known_on(bars.dates[-1])


def fallen_in_a_day(bars: PriceBars, row: int) -> PriceBars:
    """Return bars of a market that loses a third in one day, through the range of it, at a usual volume."""
    fallen = with_fault(bars, slice(row, None), 0.66)
    fallen.values[JUDGED_FIELDS.index("high"), row] = bars.column("close")[row - 1]
    return fallen


@st.composite
def faulty_bars(draw: st.DrawFn) -> PriceBars:
    """The packaged index with wrong bars, a split left in, a real fall and a hole, each or not, at random rows."""
    bars = real_bars("GSPC.INDX").take(slice(0, 4_000))
    for row in draw(st.lists(rows_of_the_test, max_size=3)):
        bars = with_fault(bars, slice(row, row + 1), draw(FACTORS))
    if draw(st.booleans()):
        bars = with_fault(bars, slice(0, draw(rows_of_the_test)), 4.0)
    if draw(st.booleans()):
        bars = fallen_in_a_day(bars, draw(rows_of_the_test))
    if draw(st.booleans()):
        row = draw(rows_of_the_test)
        bars = without(bars, slice(row, row + draw(st.integers(7, 40))))
    return bars


def test_of_clean_bars_every_number_stays_what_it_is() -> None:
    bars = real_bars("GSPC.INDX")
    shown, stored = whole(bars), MarketHistory.from_bars(bars)
    for name in ("dates", "closes", "high_over_close", "low_over_close", "volumes"):
        assert getattr(shown, name).tobytes() == getattr(stored, name).tobytes()
    assert shown.is_held is not None
    assert not shown.is_held.any()


@bounded(25)
@given(faulty_bars(), rows_of_the_test)
def test_what_is_known_on_a_day_is_the_past_of_what_is_known_later(bars: PriceBars, row: int) -> None:
    row = min(row, len(bars) - 1)
    then, now = market(bars).known_on(bars.dates[row]), whole(bars)
    settled = then.until(len(then) - 1) if then.is_held is not None and then.is_held[-1] else then
    past = now.until(now.position_of(bars.dates[row] + 1)).until(len(settled))
    assert past.dates.tobytes() == settled.dates.tobytes()
    assert past.closes.tobytes() == settled.closes.tobytes()
    assert past.is_held is not None
    assert settled.is_held is not None
    assert past.is_held.tobytes() == settled.is_held.tobytes()


@bounded(6)
@given(faulty_bars())
def test_nothing_is_repainted_whatever_is_planted(bars: PriceBars) -> None:
    judged = market(bars)
    history = judged.known_on(np.datetime64(PLAN.end))
    for labeller, every in ((EWMA, 2), (ScoreRule("average", fall_below_average), 2)):
        walk = walk_forward(labeller, history, PLAN)
        report = check_walk(labeller, history, PLAN, walk, every, known_on=judged.known_on)
        assert report.n_checked > 150
        assert report.n_changed == 0


def test_our_labels_are_not_repainted_on_the_days_around_faults() -> None:
    bars = with_fault(real_bars("GSPC.INDX").take(slice(0, 4_000)), slice(3_500, 3_501), 100.0)
    judged = market(fallen_in_a_day(with_fault(bars, slice(0, 3_600), 7.0), 3_700))
    history = judged.known_on(np.datetime64(PLAN.end))
    walk = walk_forward(PersistentLabeller(), history, PLAN)
    report = check_walk(PersistentLabeller(), history, PLAN, walk, 3, known_on=judged.known_on)
    assert (report.n_changed, report.n_checked) == (0, -(-len(walk.predictions) // 3))
    held, left_out = judged.set_aside(bars.dates[0], np.datetime64(PLAN.end))
    assert held.tolist() == bars.dates[[3_500, 3_600, 3_700]].tolist()
    assert left_out.tolist() == bars.dates[[3_500, 3_600]].tolist()


def test_a_held_session_says_what_the_session_before_said() -> None:
    row = 3_700
    bars = fallen_in_a_day(real_bars("GSPC.INDX").take(slice(0, 4_000)), row)
    history = whole(bars)
    for labeller in (EWMA, PersistentLabeller()):
        limit = forward_threshold(history, PLAN)
        fitted = labeller.fit(history.until(3_400), limit)
        said = said_by(fitted, history.until(row + 10), 12)
        before, held, after = (said.says(at) for at in (1, 2, 3))
        assert (said.scores[2], held) == (said.scores[1], before)
        assert after != before
        alone = said_by(fitted, history.until(row + 1), 1)
        assert (alone.scores[0], alone.says(0)) == (said.scores[2], held)


@bounded(10)
@given(rows_of_the_test, FACTORS)
def test_one_wrong_bar_hardly_moves_a_figure(row: int, factor: float) -> None:
    bars = real_bars("GSPC.INDX").take(slice(0, 4_000))

    def figures(of: PriceBars) -> list[float]:
        history = market(of).known_on(np.datetime64(PLAN.end))
        found = figures_of(walk_forward(EWMA, history, PLAN), history, PLAN)
        return [found.auc, found.brier_skill, found.sharpe, found.max_drawdown]

    clean, faulty = figures(bars), figures(with_fault(bars, slice(row, row + 1), factor))
    np.testing.assert_allclose(faulty, clean, atol=0.05)


def test_a_market_of_faults_is_ranked_like_the_clean_one() -> None:
    clean = real_bars("AAPL.US").take(slice(0, 4_000))
    plan = EvaluationPlan(date(2004, 1, 2), date(2015, 12, 31))
    (expected,) = evaluate_panel([whole(clean)], plan).rows
    (found,) = evaluate_panel([whole(fallen_in_a_day(with_fault(clean, slice(2_000, 2_001), 100.0), 2_500))], plan).rows
    assert abs(found.auc - expected.auc) < 0.02


def test_a_history_begins_anew_after_a_quarter_without_a_session() -> None:
    bars = without(real_bars("GSPC.INDX").take(slice(0, 4_000)), slice(500, 600))
    assert whole(bars).dates[0] == bars.dates[500]
    assert len(market(bars).known_on(bars.dates[499])) == 500


def test_older_bars_are_put_on_the_level_of_the_newer_and_judged_with_them() -> None:
    bars = real_bars("GSPC.INDX").take(slice(0, 2_000))
    older, newer = with_fault(bars, slice(0, 2_000), 3.0), bars.take(slice(1_000, 2_000))
    newer = PriceBars(newer.instrument_ids, np.array([0, 1_000]), newer.dates, newer.fields, newer.values)
    joined = whole(join_bars(older, newer))
    np.testing.assert_allclose(joined.closes, bars.column("adjusted_close"), rtol=1e-12)
    broken = whole(join_bars(older, with_fault(newer, slice(0, 1), 100.0)))
    assert len(broken) >= 1_998
    assert np.abs(broken.log_returns).max() < 0.1
