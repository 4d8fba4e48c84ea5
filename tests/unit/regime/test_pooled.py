"""Prototypes drawn towards the pooled ones: how strongly, what a young instrument gains, and what stays as it was."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.unit.regime.sample_sessions import BEFORE_THE_CRISIS, calibrated_until, followed, sample_sessions, sample_set

from prometheus.errors import PrototypeError, WindowShapeError
from prometheus.regime.calibration import (
    ORDER,
    CalibrationSettings,
    RegimeCalibration,
    calibrate,
    find_prototypes,
)
from prometheus.regime.model_persistent import decode
from prometheus.regime.pooled import PooledPrototypes, packaged_pooled
from prometheus.regime.types import RegimePrototype

OWN = CalibrationSettings(is_pooled=False)
YOUNG = 300
BYTES_OF_OWN = "f5116ccc53c66a76"
"""Digits of the file that ``calibrate`` wrote of ^GSPC up to 2007 before there were pooled prototypes."""


def distances(one: tuple[RegimePrototype, ...], other: tuple[RegimePrototype, ...]) -> list[float]:
    return [float(np.linalg.norm(a.center - b.center)) for a, b in zip(one, other, strict=True)]


def labels_after(until: date, n_sessions: int, settings: CalibrationSettings) -> tuple[np.ndarray, RegimeCalibration]:
    """Labels of the five years after a date, by the calibration of the last sessions up to it."""
    sessions = sample_sessions()
    stop = int(np.searchsorted(sessions.dates, np.datetime64(until), side="right"))
    known = followed()[stop - n_sessions : stop].copy()
    known[-21:] = np.nan
    prototypes, calibration = calibrate(sessions.take(slice(stop - n_sessions, stop)), known, settings)
    seen = slice(stop - calibration.decode_sessions + 1, stop + 1_260)
    return decode(sessions.vectors[seen], sessions.scores[seen], prototypes, calibration).nearest, calibration


def test_a_file_of_a_spans_own_prototypes_has_the_bytes_it_always_had() -> None:
    text = sample_set(settings=OWN).to_json()
    assert hashlib.sha256(text.encode()).hexdigest().startswith(BYTES_OF_OWN)
    assert "own_share" not in text
    _, calibration = calibrated_until(BEFORE_THE_CRISIS, OWN)
    assert RegimeCalibration.from_dict(calibration.to_dict(), "old.json").own_share is None


def test_prototypes_lie_on_the_way_from_the_pooled_ones_to_the_spans_own() -> None:
    pooled, (own, _), (blended, calibration) = packaged_pooled(), calibrated_until(settings=OWN), calibrated_until()
    share = calibration.own_share
    assert share == pooled.own_share(3_000)
    for each, mine in zip(blended, own, strict=True):
        expected = share * mine.center + (1 - share) * pooled.centers[each.label]
        np.testing.assert_allclose(each.center, expected, atol=1e-6)


@bounded(25)
@given(st.integers(252, 20_000), st.integers(1, 5_000))
def test_a_longer_span_is_believed_more_and_doubted_less(n_sessions: int, more: int) -> None:
    pooled = packaged_pooled()
    assert 0 < pooled.own_share(n_sessions) <= pooled.own_share(n_sessions + more) < 1
    assert pooled.deviation(n_sessions) >= pooled.deviation(n_sessions + more) >= 0
    assert pooled.deviation(3_000 + more) == 0.0


def test_labels_of_a_young_instrument_are_nearer_to_those_of_its_whole_past() -> None:
    own, blended = (
        np.mean(
            [
                labels_after(until, YOUNG, settings)[0] != labels_after(until, 3_000, settings)[0]
                for until in (date(2003, 12, 31), BEFORE_THE_CRISIS, date(2012, 12, 31))
            ]
        )
        for settings in (OWN, CalibrationSettings())
    )
    assert blended < own - 0.05


def test_a_young_instrument_is_less_sure_of_its_labels() -> None:
    sessions = sample_sessions()
    stated = {}
    for n_sessions in (YOUNG, 1_200, 3_000):
        _, calibration = labels_after(BEFORE_THE_CRISIS, n_sessions, CalibrationSettings())
        prototypes, _ = calibrated_until()
        stated[n_sessions] = decode(sessions.vectors, sessions.scores, prototypes, calibration).confidences.mean()
    assert stated[YOUNG] < stated[1_200] - 0.03 < stated[3_000] - 0.06


def test_another_calibration_year_changes_fewer_labels() -> None:
    earlier, later = date(2004, 12, 31), date(2007, 12, 31)
    for settings, limit in ((OWN, 1.0), (CalibrationSettings(), 0.08)):
        stop = int(np.searchsorted(sample_sessions().dates, np.datetime64(later), side="right"))
        judged = sample_sessions().take(slice(stop - 125, None))
        one, other = (
            decode(judged.vectors, judged.scores, *calibrated_until(until, settings)).nearest
            for until in (earlier, later)
        )
        share, sides = (one != other).mean(), ((one >= 2) != (other >= 2)).mean()
        assert share <= limit
        assert settings.is_pooled or share > 0.12
        assert sides <= (0.025 if settings.is_pooled else 0.05)


@bounded(25)
@given(st.data())
def test_a_date_has_the_same_bytes_alone_in_a_chunk_and_in_the_whole(data: st.DataObject) -> None:
    sessions, (prototypes, calibration) = sample_sessions(), calibrated_until()
    first = data.draw(st.integers(125, 3_000))
    stop = data.draw(st.integers(first + 1, first + 300))
    rows = slice(first - 125, stop)
    whole = decode(sessions.vectors[:3_400], sessions.scores[:3_400], prototypes, calibration)
    chunk = decode(sessions.vectors[rows], sessions.scores[rows], prototypes, calibration)
    alone = decode(sessions.vectors[rows][:126], sessions.scores[rows][:126], prototypes, calibration)
    assert chunk.posteriors.tobytes() == whole.posteriors[first - 125 : stop - 125].tobytes()
    assert alone.posteriors.tobytes() == chunk.posteriors[:1].tobytes()


def test_what_a_whole_span_may_say_instead_lies_on_both_sides_of_its_part() -> None:
    pooled, (prototypes, _) = packaged_pooled(), calibrated_until()
    assert pooled.alternatives(prototypes, 3_000) == []
    (weight, calmer), (same_weight, wilder) = pooled.alternatives(prototypes, YOUNG)
    assert weight == same_weight == 1 / 6
    apart = math.sqrt(3) * pooled.deviation(YOUNG)
    np.testing.assert_allclose(distances(tuple(calmer), prototypes), apart, rtol=1e-5)
    np.testing.assert_allclose(distances(tuple(wilder), prototypes), apart, rtol=1e-5)
    crisis = packaged_pooled().centers[ORDER[-1]]
    assert np.linalg.norm(wilder[0].center - crisis) < np.linalg.norm(calmer[0].center - crisis)


def test_the_pooled_prototypes_come_back_from_their_text_and_are_of_one_space() -> None:
    pooled = packaged_pooled()
    assert PooledPrototypes.from_json(pooled.to_json()).to_json() == pooled.to_json()
    assert tuple(pooled.centers) == ORDER
    with pytest.raises(WindowShapeError):
        replace(pooled, centers={ORDER[0]: np.zeros(2)})


@pytest.mark.parametrize("share", [-0.1, 0.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    _, calibration = calibrated_until()
    with pytest.raises(PrototypeError, match=r"^p\.json: 'calibration' needs a share of the span's own prototypes"):
        RegimeCalibration.from_dict({**calibration.to_dict(), "own_share": share}, "p.json")


def test_a_span_of_a_year_is_learned_from() -> None:
    sessions = sample_sessions().take(slice(0, 252))
    prototypes, calibration = calibrate(sessions, followed()[:252])
    own, _, _ = find_prototypes(sessions, OWN)
    assert calibration.own_share == packaged_pooled().own_share(252)
    assert min(distances(prototypes, own)) > 0
