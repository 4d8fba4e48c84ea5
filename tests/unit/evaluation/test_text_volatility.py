"""Texts beside HAR: a planted effect is found, what is none is not, and nothing later moves a forecast."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of
from tests.reference import told as reference

from prometheus.arrays import Float64Vector
from prometheus.errors import InputRefusedError, WindowShapeError
from prometheus.evaluation.har import range_variances
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.stories import N_DIRECTIONS, Stories, ToldSessions
from prometheus.evaluation.text_gains import Losses, gains_of, holm, judge_texts
from prometheus.evaluation.text_volatility import (
    FIRST_FIT,
    GRID,
    HAR,
    HORIZONS,
    RIDGE,
    JudgedSpan,
    Walked,
    log_volatility_after,
    walk_texts,
)

N_SESSIONS, DIM, N_STEPS = 1_300, 12, 24
DATES = np.busday_offset(np.datetime64("2010-01-04"), np.arange(N_SESSIONS), roll="forward").astype("M8[D]")


@cache
def planted(effect: float, seed: int = 3, per_session: float = 0.8) -> tuple[MarketHistory, Stories]:
    """Return prices whose volatility is high on the session after a text in one direction, and the texts."""
    generator = np.random.default_rng(seed)
    n_texts = generator.poisson(per_session, N_SESSIONS)
    n_texts[[22, -1]] = 1
    session = np.repeat(np.arange(N_SESSIONS), n_texts)
    vectors = generator.normal(size=(len(session), DIM))
    vectors[:, 0] *= 3.0
    pull = np.bincount(session, weights=np.tanh(vectors[:, 0]), minlength=N_SESSIONS)
    level, logs = 0.0, np.zeros(N_SESSIONS)
    for at in range(1, N_SESSIONS):
        level = 0.95 * level + 0.1 * generator.normal()
        logs[at] = level + effect * pull[at - 1]
    steps = 0.01 * np.exp(logs)[:, np.newaxis] * generator.normal(size=(N_SESSIONS, N_STEPS)) / np.sqrt(N_STEPS)
    paths = np.cumsum(steps, axis=1)
    closes = 100.0 * np.exp(np.cumsum(paths[:, -1]))
    high, low = (np.exp(each - paths[:, -1]) for each in (paths.max(axis=1), paths.min(axis=1)))
    history = MarketHistory("X", DATES, closes, np.maximum(high, 1.0), np.minimum(low, 1.0))
    return history, Stories(DATES[session], vectors.astype(np.float32))


@cache
def walked(effect: float) -> tuple[JudgedSpan, Walked]:
    span = JudgedSpan.of(*planted(effect))
    return span, walk_texts(span)


def test_a_planted_effect_is_found_and_its_placebo_is_not() -> None:
    span, _ = walked(0.35)
    found = {(each.horizon, each.features): each for each in gains_of([judge_texts(span)])}

    assert set(found) == {(horizon, cell) for horizon in HORIZONS for cell in GRID}
    planted_gain = found[1, "directions"]
    assert planted_gain.is_found
    assert found[1, "together"].is_found
    assert planted_gain.low > planted_gain.placebo_best > planted_gain.placebo - 0.02
    assert planted_gain.gain > planted_gain.least_seen
    assert planted_gain.qlike_high < 0.0
    assert planted_gain.mse_ratio < 1.0
    assert planted_gain.placebo < 0.01
    assert not found[1, "count"].is_found  # how much is told says nothing here
    assert not found[1, "novelty"].is_found
    assert planted_gain.n_sessions == len(span) - FIRST_FIT - 1  # what follows the last session is not known
    assert found[5, "directions"].n_sessions == len(span) - FIRST_FIT - 5
    assert planted_gain.n_with_texts == int((span.told.n_texts[FIRST_FIT:] > 0).sum())


def test_texts_without_an_effect_are_not_found() -> None:
    span, _ = walked(0.0)
    gains = gains_of([judge_texts(span)])

    assert not any(each.is_found for each in gains)
    assert all(each.holm >= each.p_value for each in gains)
    shifted = span.shifted(400)
    assert not any(each.is_found for each in gains_of([judge_texts(shifted, 1)]))


def test_the_answer_is_the_same_every_time() -> None:
    span = JudgedSpan.of(*planted(0.35))
    assert [each.to_dict() for each in gains_of([judge_texts(span, 2)])] == [
        each.to_dict() for each in gains_of([judge_texts(span, 2)])
    ]


def test_several_instruments_are_pooled_by_date() -> None:
    spans = [JudgedSpan.of(*planted(0.2, seed)) for seed in (3, 4)]
    judged = [judge_texts(replace(span, instrument_id=str(at)), 1) for at, span in enumerate(spans)]
    gains = gains_of(judged)
    pooled = [each for each in gains if each.instrument_id == "all together"]
    alone = gains_of(judged[:1])

    assert len(gains) == 3 * len(GRID) * len(HORIZONS)
    assert len(pooled) == len(GRID) * len(HORIZONS)
    assert {each.instrument_id for each in alone} == {"0"}
    assert gains[0].p_value == alone[0].p_value
    assert gains[0].least_seen > alone[0].least_seen  # more tests
    told = [judged[at].with_texts for at in (0, 1)]
    assert pooled[0].n_with_texts == len(np.union1d(*told)) > len(told[0])
    both = Losses.pooled([judged[0].losses[1, "count"], judged[1].losses[1, "count"]])
    assert np.allclose(both.squares, (judged[0].losses[1, "count"].squares + judged[1].losses[1, "count"].squares) / 2)


@settings(max_examples=share_of(20), deadline=None)
@given(st.integers(FIRST_FIT + 260, N_SESSIONS - 1), st.integers(0, 2**31))
def test_later_bars_and_texts_change_no_forecast_of_an_earlier_session(cut: int, seed: int) -> None:
    history, stories = planted(0.35)
    _, whole = walked(0.35)
    generator = np.random.default_rng(seed)
    later = stories.days > DATES[cut]
    poisoned = stories.vectors.copy()
    poisoned[later] = 1e3 * generator.normal(size=(int(later.sum()), DIM))
    extra = np.repeat(DATES[cut + 1 :], generator.poisson(2.0, N_SESSIONS - cut - 1))
    days = np.concatenate([stories.days, extra])
    vectors = np.concatenate([poisoned, generator.normal(size=(len(extra), DIM)).astype(np.float32)])
    order = np.argsort(days, kind="stable")
    closes, high = history.closes.copy(), np.array(history.high_over_close)
    closes[cut + 1 :] *= np.exp(generator.normal(size=N_SESSIONS - cut - 1))
    high[cut + 1 :] *= 1.5
    other = replace(history, closes=closes, high_over_close=high)

    changed = walk_texts(JudgedSpan.of(other, Stories(days[order], vectors[order])))
    n_same = cut + 1 - FIRST_FIT - 21  # the span begins on the session that ends a month
    for key, forecasts in whole.items():
        assert forecasts.values[:n_same].tobytes() == changed[key].values[:n_same].tobytes(), key
        assert forecasts.variances[:n_same].tobytes() == changed[key].variances[:n_same].tobytes(), key
        assert forecasts.base[:n_same].tobytes() == changed[key].base[:n_same].tobytes(), key


def test_a_text_moves_no_forecast_of_its_own_session_and_those_after_it() -> None:
    history, stories = planted(0.35)
    span, whole = walked(0.35)
    at = FIRST_FIT + 100
    day = span.dates[at]
    is_kept = stories.days != day
    without = walk_texts(JudgedSpan.of(history, Stories(stories.days[is_kept], stories.vectors[is_kept])))
    same = whole[1, "count"].values == without[1, "count"].values

    assert span.told.n_texts[at] > 0
    assert same[:100].all()  # at its close they are made for the session after
    assert not same[100]


def test_features_are_those_of_the_slow_twin() -> None:
    _, stories = planted(0.35)
    is_early = stories.days <= DATES[160]
    weekend = np.array([DATES[4] + 1], dtype="M8[D]")  # a Saturday
    days = np.concatenate([stories.days[is_early], weekend])
    vectors = np.concatenate([stories.vectors[is_early], np.ones((1, DIM), np.float32)])
    order = np.argsort(days, kind="stable")
    stories = Stories(days[order], vectors[order])
    dates = DATES[:150]
    told, slow = ToldSessions.of(stories, dates), reference.told_on(stories, dates)

    assert told.n_texts.tolist() == [len(each) for each in slow]
    assert DATES[4].astype(object).weekday() == 4
    np.testing.assert_allclose(told.novelty, [reference.novelty_on(slow, at) for at in range(150)], atol=1e-12)
    means = [np.mean(each, axis=0) if each else np.full(DIM, np.nan) for each in slow]
    np.testing.assert_allclose(told.means, means, atol=1e-12)
    amount = np.log1p(told.n_texts)
    usual = [amount[max(0, at - 22) : at].mean() if at else amount[0] for at in range(150)]
    np.testing.assert_allclose(told.counts(), np.column_stack([amount, amount - usual]), atol=1e-12)


def test_directions_are_the_principal_ones_of_the_fitted_sessions() -> None:
    span, _ = walked(0.35)
    fitted = slice(0, 300)
    scores = span.told.directions(fitted)
    seen = span.told.means[fitted]
    has = np.isfinite(seen).all(axis=1)
    centred = seen[has] - seen[has].mean(axis=0)
    _, values, _ = np.linalg.svd(centred, full_matrices=False)

    assert scores.shape == (len(span), N_DIRECTIONS)
    np.testing.assert_allclose((scores[fitted][has] ** 2).sum(axis=0), values[:N_DIRECTIONS] ** 2, rtol=1e-9)
    assert np.isnan(scores[~np.isfinite(span.told.means).all(axis=1)]).all()
    assert (
        not ToldSessions.of(Stories(DATES[:3], np.ones((3, 2), np.float32)), DATES[:5])
        .directions(slice(0, 5))[:3]
        .any()
    )


def test_forecasts_are_those_of_the_slow_twin() -> None:
    history, stories = planted(0.35)
    span, whole = walked(0.35)
    variances = [reference.variance_of(history, at) for at in range(N_SESSIONS)]
    np.testing.assert_allclose(variances, range_variances(history), rtol=1e-9, atol=0)
    shown, begin = FIRST_FIT, int(np.searchsorted(DATES, span.dates[0]))
    assert begin == 21  # the first session that ends a whole month
    rows = range(begin, begin + FIRST_FIT - 4)
    months = [sum(variances[at - 21 : at + 1]) / 22 for at in rows]
    target = [0.5 * np.log(max(variances[at + 1], 0.01 * month)) for at, month in zip(rows, months, strict=True)]
    design = np.array([reference.har_row(variances, at) for at in rows])
    row = np.array(reference.har_row(variances, begin + shown))
    told = reference.told_on(stories, DATES)
    amount = np.log1p([len(each) for each in told])[begin:]
    usual = [amount[max(0, at - 22) : at].mean() if at else amount[0] for at in range(len(amount))]
    counts = np.column_stack([amount, amount - usual])
    fitted = counts[: FIRST_FIT - 4]
    counts = (counts - fitted.mean(axis=0)) / fitted.std(axis=0)
    whole_design = np.hstack([design, counts[: FIRST_FIT - 4]])

    har = reference.ridge_forecast(design, np.array(target), row, 4, RIDGE)
    with_texts = reference.ridge_forecast(whole_design, np.array(target), np.append(row, counts[shown]), 4, RIDGE)
    assert whole[1, HAR].values[0] == pytest.approx(har, abs=1e-7)
    assert whole[1, "count"].values[0] == pytest.approx(with_texts, abs=1e-7)


def test_too_short_a_span_is_refused_in_one_line() -> None:
    history, stories = planted(0.35)
    few = stories.days < DATES[400]
    with pytest.raises(InputRefusedError, match=r"^X: \d+ sessions lie between its first text and its last, 754"):
        JudgedSpan.of(history, Stories(stories.days[few], stories.vectors[few]))
    rare = np.arange(len(stories.days)) % 40 == 0
    rare[-1] = True
    with pytest.raises(InputRefusedError, match=r"^X: \d+ of its first 504 sessions have texts, 50 are needed"):
        JudgedSpan.of(history, Stories(stories.days[rare], stories.vectors[rare]))
    none = Stories(stories.days[:0], stories.vectors[:0])
    with pytest.raises(InputRefusedError, match=r"^X: 0 sessions lie between"):
        JudgedSpan.of(history, none)
    with pytest.raises(WindowShapeError):
        Stories(stories.days[:2], stories.vectors)


def test_sessions_that_do_not_move_have_a_volatility() -> None:
    variances = np.full(60, 1e-4)
    variances[40:] = 0.0
    logs = log_volatility_after(variances, 1)
    assert np.isnan(logs[:21]).all()
    assert logs[30] == pytest.approx(0.5 * np.log(1e-4))
    assert logs[45] == pytest.approx(0.5 * np.log(0.01 * 16 / 22 * 1e-4))
    assert np.isnan(logs[-1])
    flat: Float64Vector = np.zeros(60)
    assert np.isnan(log_volatility_after(flat, 5)).all()


def test_holm_is_never_below_the_p_value_and_keeps_their_order() -> None:
    values = [0.04, 0.001, 0.2, 0.01]
    corrected = holm(values)
    assert corrected == pytest.approx([0.08, 0.004, 0.2, 0.03])
