"""A drift from the calibration span is found, wherever it lies; a market that goes on as it was rarely alarms."""

from __future__ import annotations

from datetime import date
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.regime.sample_sessions import (
    SPAN,
    calibrated_until,
    followed,
    sample_sessions,
    sample_windows,
    sessions_between,
)

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.encoders.numeric.features import log_prices
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.market.resampling import stationary_rows
from prometheus.regime.drift import (
    MEAN_BLOCK,
    WINDOWS,
    YEARS,
    Drift,
    DriftNorm,
    WatchedFigure,
    drift_figures,
    fit_norms,
    norms_of,
    norms_to_dict,
    watch,
)
from prometheus.regime.forecasts import logit, sigmoid
from prometheus.regime.model_persistent import DecodedAssignment, decode

N_LATE = 21
YEAR = 252
FEW = settings(max_examples=12, deadline=None)


@cache
def stop() -> int:
    """Return where the first session after the calibration is."""
    return int(sessions_between(date.min, calibrated_until()[1].end).stop)


@cache
def decoded() -> DecodedAssignment:
    """Return what is said of all sessions but the first ones."""
    return decode(sample_sessions().vectors, sample_sessions().scores, *calibrated_until())


def came() -> Float64Vector:
    """Return whether volatility was high, of the sessions that something is said of."""
    known = followed()[-len(decoded().confidences) :]
    return np.where(np.isfinite(known), known > np.log(decoded().threshold), np.nan)


def figures(stated: Float64Vector | None = None, confidences: Float64Vector | None = None) -> Float64Matrix:
    """Return what is watched of those sessions, with what is said replaced."""
    said = decoded()
    return drift_figures(
        sample_sessions().vectors[-len(said.confidences) :],
        said.confidences if confidences is None else confidences,
        said.high_volatility if stated is None else stated,
        came(),
    )


def span() -> slice:
    """Return where the known sessions of the calibration span lie in the figures."""
    n_before = len(sample_sessions()) - len(decoded().confidences)
    return slice(stop() - SPAN, stop() - n_before - N_LATE)


@cache
def norms() -> tuple[DriftNorm, ...]:
    """Return the norms of the calibration span."""
    return fit_norms(figures()[span()])


def out(rows: Float64Matrix) -> set[tuple[str, int]]:
    """Return the figures and windows that left their limits."""
    return {(each.norm.figure, each.norm.n_sessions) for each in watch(norms(), rows) if each.is_out}


def test_a_market_that_goes_on_as_it_was_alarms_once_in_the_years_promised() -> None:
    n_years = 200
    rows = stationary_rows(np.random.default_rng(7), span().stop - span().start, MEAN_BLOCK, n_years * 2 * YEAR)
    calm = figures()[span()]
    alarming = [
        any(out(calm[path[:end]][-YEAR:]) for end in range(YEAR, 2 * YEAR + 1, N_LATE))
        for path in rows.reshape(n_years, 2 * YEAR)
    ]
    # three deviations of the share, and what is lost by looking once a month counts for us
    assert np.mean(alarming) < 1 / YEARS + 3 * np.sqrt(1 / YEARS / n_years)


@FEW
@given(
    place=st.deferred(lambda: st.integers(stop() - SPAN, stop() - 2 * YEAR)),
    factor=st.floats(3.5, 6.0),
    is_calmer=st.booleans(),
)
def test_returns_of_another_size_are_found(place: int, factor: float, is_calmer: bool) -> None:
    windows = sample_windows()
    first = int(windows.ends[place])
    bars = windows.features[first - 513 : first + YEAR].astype(np.float64)
    scale = 1.0 / factor if is_calmer else factor
    steps = np.diff(bars[:, 0]) * np.where(np.arange(len(bars) - 1) < 512, 1.0, scale)
    wider = np.where(np.arange(len(bars))[:, np.newaxis] < 513, 1.0, scale) * bars[:, 1:]
    closes = np.exp(np.concatenate([[0.0], np.cumsum(steps)]))
    table = log_prices(closes, np.exp(wider[:, 0]), np.exp(-wider[:, 1]))
    vectors = ScaleFreeNumericEmbeddingModel().encode_table(table, np.arange(514, len(table) + 1), 513)
    unsaid = np.full(len(vectors), np.nan)

    found = out(drift_figures(vectors, unsaid, unsaid, unsaid))

    assert {("volatility_32", 63), ("volatility_32", YEAR)} & found
    assert not {name for name, _ in found} & {"confidence", "bias", "log_loss"}, "nothing is known of them"


@FEW
@given(place=st.floats(0, 1), factor=st.floats(4.0, 8.0))
def test_a_probability_made_over_confident_is_found_where_volatility_came_and_went(place: float, factor: float) -> None:
    shares = np.convolve(came()[span()], np.full(YEAR, 1 / YEAR), mode="valid")
    eventful = np.flatnonzero((shares > 0.3) & (shares < 0.9))
    first = span().start + int(eventful[int(place * (len(eventful) - 1))])
    surer = sigmoid(factor * logit(decoded().high_volatility))

    assert ("log_loss", YEAR) in out(figures(stated=surer)[first : first + YEAR])


@FEW
@given(place=st.integers(span().start, span().stop - YEAR), lift=st.floats(0.99, 1.0))
def test_labels_that_became_too_sure_are_found(place: int, lift: float) -> None:
    surer = 1.0 - (1.0 - decoded().confidences) * (1.0 - lift)
    assert ("confidence", YEAR) in out(figures(confidences=surer)[place : place + YEAR])


def test_the_year_of_the_crisis_gives_a_reason_in_plain_units_and_the_calm_before_none() -> None:
    dates = sample_sessions().dates[-len(decoded().confidences) :]

    def on(day: str) -> Drift:
        seen = figures()[: int(np.searchsorted(dates, np.datetime64(day), side="right"))].copy()
        seen[-N_LATE:, -2:] = np.nan
        return Drift(date.fromisoformat(day), calibrated_until()[1].end, watch(norms(), seen))

    assert on("2008-06-30").advice is None
    crisis = on("2009-03-31")
    assert crisis.advice is not None
    assert crisis.advice.startswith("calibrate again: ")
    assert crisis.advice.endswith(f", and {len(crisis.reasons) - 1} more")
    (yearly,) = (each for each in crisis.reasons if each.startswith("volatility of the last 252 sessions"))
    assert "standard deviations above the calibration span (" in yearly
    assert yearly.endswith(" a year)")
    assert crisis.to_dict()["reasons"] == list(crisis.reasons)


def test_norms_are_the_same_again_and_survive_being_kept() -> None:
    assert len(norms()) == len(WINDOWS) * figures().shape[1]
    assert all(each.low < each.mean < each.high for each in norms())
    assert norms_of(norms_to_dict(norms())) == norms()
    assert fit_norms(figures()[span()]) == norms()


@pytest.mark.parametrize("n_sessions", [0, 62])
def test_too_few_sessions_say_nothing(n_sessions: int) -> None:
    assert {each.value for each in watch(norms(), figures()[:n_sessions])} == {None}
    assert WatchedFigure(norms()[0], None).text == ""
