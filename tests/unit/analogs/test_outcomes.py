"""What followed a date, against its slow twin, and only as far as it was knowable."""

from __future__ import annotations

import numpy as np
import pytest
from tests.reference import analogs as reference

from prometheus.market.outcomes import HORIZONS, ForwardReturns, Quantiles

DAYS = np.arange("2020-01-01", "2020-07-01", dtype="M8[D]")
CLOSES = 100 * np.exp(np.random.default_rng(5).normal(0, 0.02, len(DAYS)).cumsum())


def test_outcomes_equal_those_of_a_loop() -> None:
    followed = ForwardReturns(DAYS, CLOSES)

    for at in (0, 17, len(DAYS) - 64):
        for horizon, outcome in zip(HORIZONS, followed.outcomes(DAYS[at].item()), strict=True):
            found = (outcome.total_return, outcome.volatility, outcome.drawdown)
            assert found == pytest.approx(reference.outcome(CLOSES.tolist(), at, horizon), rel=1e-12)
            assert outcome.known_from == DAYS[at + horizon].item()


def test_an_outcome_is_known_from_its_last_session_on() -> None:
    day = DAYS[50].item()
    month_before, month_of = (ForwardReturns(DAYS[:n], CLOSES[:n]).outcomes(day)[0] for n in (71, 72))

    assert (month_before.known_from, month_before.total_return, month_before.volatility) == (None, None, None)
    assert month_of.known_from == DAYS[71].item()
    assert month_of == ForwardReturns(DAYS, CLOSES).outcomes(day)[0]


@pytest.mark.parametrize("n_known", [1, 20, 21, 22, 63, 64, 65, 120, len(DAYS)])
def test_closes_that_are_cut_tell_what_the_first_ones_alone_tell(n_known: int) -> None:
    day = DAYS[n_known - 1].item()
    cut, alone = ForwardReturns(DAYS, CLOSES).until(day), ForwardReturns(DAYS[:n_known], CLOSES[:n_known])

    assert [cut.outcomes(each) for each in DAYS.tolist()] == [alone.outcomes(each) for each in DAYS.tolist()]
    assert cut.spreads(DAYS) == alone.spreads(DAYS)
    assert cut.path(day)[1].tobytes() == alone.path(day)[1].tobytes()
    assert cut.sessions.tolist() == DAYS[:n_known].tolist()


def test_a_date_that_is_no_session_is_followed_from_the_last_one_before() -> None:
    is_weekday = np.is_busday(DAYS)
    followed = ForwardReturns(DAYS[is_weekday], CLOSES[is_weekday])
    friday, sunday = np.datetime64("2020-01-10", "D").item(), np.datetime64("2020-01-12", "D").item()

    assert followed.outcomes(sunday) == followed.outcomes(friday)
    assert followed.path(sunday)[1].tobytes() == followed.path(friday)[1].tobytes()


def test_before_the_first_session_nothing_is_known() -> None:
    followed = ForwardReturns(DAYS, CLOSES)
    day = np.datetime64("2019-12-31", "D").item()

    assert {outcome.total_return for outcome in followed.outcomes(day)} == {None}
    assert len(followed.path(day)[1]) == 0


def test_a_path_is_a_share_of_the_close_on_the_date() -> None:
    n_before, path = ForwardReturns(DAYS, CLOSES).path(DAYS[70].item())

    assert (n_before, len(path), path[63]) == (63, 127, 1.0)
    np.testing.assert_allclose(path * CLOSES[70], CLOSES[7:134])
    n_before, path = ForwardReturns(DAYS, CLOSES).path(DAYS[10].item())
    assert (n_before, len(path)) == (10, 74)


def test_spreads_are_quantiles_over_the_dates_that_are_known() -> None:
    spreads = ForwardReturns(DAYS, CLOSES).spreads(DAYS)
    month = spreads[0]
    known = CLOSES[21:] / CLOSES[:-21] - 1

    assert [(spread.measure, spread.horizon) for spread in spreads[:4]] == [
        ("return", 21), ("volatility", 21), ("drawdown", 21), ("return", 63),
    ]  # fmt: skip
    assert month.n_dates == len(known)
    assert (month.p10, month.median, month.p90) == pytest.approx(tuple(np.quantile(known, [0.1, 0.5, 0.9])))
    assert month.positive_share == pytest.approx((known > 0).mean())


def test_a_spread_over_nothing_says_nothing() -> None:
    spread = Quantiles.of("return", 21, np.array([np.nan]))

    assert (spread.n_dates, spread.mean, spread.median, spread.positive_share) == (0, None, None, None)
