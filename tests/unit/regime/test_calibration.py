"""Calibration on real sessions of 1992 to 2018: what the labels mean, what they may know, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from tests.reference.decoding import slow_softmax
from tests.unit.regime.sample_sessions import (
    BEFORE_THE_CRISIS,
    SPAN,
    calibrated_until,
    followed,
    names,
    sample_sessions,
    sample_set,
    sessions_between,
)

from prometheus.errors import InputRefusedError, PrototypeError, UsageError
from prometheus.regime import PrototypeSet, RegimeLabel, RegimePrototype
from prometheus.regime.calibration import (
    ORDER,
    CalibrationSettings,
    DescribedSessions,
    PrototypeSource,
    RegimeCalibration,
    aligned,
    calibrate,
    find_prototypes,
)
from prometheus.regime.decoding import euclidean_distances, forward_costs, viterbi_path
from prometheus.regime.explanation import EXPLAINED_NAMES
from prometheus.regime.model_persistent import decode

RANK = {label: place for place, label in enumerate(ORDER)}


def labels_of(until: date, start: date, end: date) -> list[RegimeLabel]:
    """Labels of a span, given online by the calibration of a date."""
    prototypes, calibration = calibrated_until(until)
    judged = sessions_between(start, end)
    seen = slice(judged.start - calibration.decode_sessions + 1, judged.stop)
    sessions = sample_sessions()
    assignment = decode(sessions.vectors[seen], sessions.scores[seen], prototypes, calibration)
    return [assignment.labels[nearest] for nearest in assignment.nearest]


def own_span(until: date) -> DescribedSessions:
    stop = sessions_between(date.min, until).stop
    return sample_sessions().take(slice(stop - SPAN, stop))


@pytest.mark.parametrize("year", [2004, 2009, 2012, 2018])
def test_the_four_labels_are_in_the_order_of_stress(year: int) -> None:
    start, end = date(year - 9, 1, 1), date(year, 12, 31)
    labels = np.array([RANK[label] for label in labels_of(end, start, end)])
    stress = sample_sessions().stress[sessions_between(start, end)]
    means = [stress[labels == place].mean() for place in range(4)]
    assert means == sorted(means)
    assert min(np.diff(means)) > 0.7  # standard deviations of the frozen span


def test_a_crisis_nobody_told_of_is_called_one_and_a_calm_year_is_not() -> None:
    assert names(labels_of(BEFORE_THE_CRISIS, date(2008, 10, 1), date(2009, 3, 31))) == {"CRISIS"}
    assert names(labels_of(date(2016, 12, 30), date(2017, 1, 1), date(2017, 12, 31))) == {"CARRY"}


def test_a_refit_with_more_data_swaps_no_labels() -> None:
    start, end = date(1998, 1, 1), date(2018, 12, 31)
    yearly = [np.array([RANK[label] for label in labels_of(date(y, 12, 31), start, end)]) for y in range(2004, 2019)]
    for earlier, later in pairwise(yearly):
        moves = np.abs(later - earlier)
        assert moves.max() <= 1  # to a neighbour on the way from calm to wild, never across
        assert moves.mean() < 0.35


def test_alignment_undoes_any_permutation_of_the_names() -> None:
    earlier, _ = calibrated_until(BEFORE_THE_CRISIS)
    later, _ = calibrated_until(date(2017, 12, 29))
    for shuffled in permutations(ORDER):
        renamed = [RegimePrototype(label, each.center) for label, each in zip(shuffled, later, strict=True)]
        restored = aligned(renamed, earlier, "earlier.json")
        assert [each.label for each in restored] == list(ORDER)
        assert [each.center.tobytes() for each in restored] == [each.center.tobytes() for each in later]


def test_counts_belong_to_the_names_that_alignment_gave() -> None:
    prototypes, calibration = calibrated_until()
    swap = dict(zip(ORDER, reversed(ORDER), strict=True))
    renamed = tuple(RegimePrototype(swap[each.label], each.center) for each in prototypes)
    span = sessions_between(date.min, BEFORE_THE_CRISIS)
    known = followed(BEFORE_THE_CRISIS)[span][-SPAN:]
    again, under_other_names = calibrate(
        own_span(BEFORE_THE_CRISIS), known, earlier=PrototypeSource(renamed, "renamed.json")
    )
    assert [each.label for each in again] == [swap[label] for label in ORDER]
    assert under_other_names.stays == {swap[label]: counts for label, counts in calibration.stays.items()}


def test_stays_are_those_of_the_labels_given_online() -> None:
    _, calibration = calibrated_until()
    first, last = own_span(BEFORE_THE_CRISIS).dates[[calibration.decode_sessions - 1, -1]].tolist()
    labels = labels_of(BEFORE_THE_CRISIS, first, last)
    pairs = list(pairwise(labels))
    for label, counts in calibration.stays.items():
        exits = sum(before is label and after is not label for before, after in pairs)
        assert (counts.n_sessions, counts.n_exits) == (labels[:-1].count(label), exits)
    assert set(calibration.stays) == set(ORDER)


def test_what_cannot_be_aligned_to_is_refused_with_what_it_has() -> None:
    prototypes, _ = calibrated_until()
    short = [RegimePrototype(label, np.zeros(2, dtype=np.float32)) for label in ORDER]
    with pytest.raises(PrototypeError, match=r"^old\.json: cannot be aligned to: it has CARRY, NEUTRAL of \[384\]"):
        aligned(prototypes, prototypes[:2], "old.json")
    with pytest.raises(PrototypeError, match=r"^old\.json: cannot be aligned to: .* of \[2, 384\] values"):
        aligned(prototypes, short, "old.json")


def test_nothing_after_the_span_matters() -> None:
    stop = len(sample_sessions(BEFORE_THE_CRISIS))
    cut, whole = sample_sessions(BEFORE_THE_CRISIS), sample_sessions().take(slice(0, stop))
    for name in ("dates", "vectors", "stress", "scores", "explained"):
        assert getattr(cut, name).tobytes() == getattr(whole, name).tobytes()
    last = slice(stop - SPAN, stop)
    prototypes, calibration = calibrate(cut.take(last), followed(BEFORE_THE_CRISIS)[last])
    from_whole, calibration_from_whole = calibrated_until(BEFORE_THE_CRISIS)
    assert [each.center.tobytes() for each in prototypes] == [each.center.tobytes() for each in from_whole]
    assert calibration.to_dict() == calibration_from_whole.to_dict()
    assert calibration.end <= BEFORE_THE_CRISIS


@pytest.mark.parametrize(("settings", "n_needed"), [(None, 252), (CalibrationSettings(decode_sessions=800), 800)])
def test_too_short_a_span_is_refused_with_what_is_needed(settings: CalibrationSettings | None, n_needed: int) -> None:
    sessions, known = own_span(BEFORE_THE_CRISIS), followed()[:SPAN]
    with pytest.raises(InputRefusedError, match=rf"^{n_needed - 1} sessions .* too few .*, {n_needed} are needed: "):
        calibrate(sessions.take(slice(0, n_needed - 1)), known[: n_needed - 1], settings)
    _, calibration = calibrate(sessions.take(slice(0, n_needed)), known[:n_needed], settings)
    assert calibration.n_sessions == n_needed


@pytest.mark.parametrize("penalty", [-0.5, float("nan"), float("inf")])
def test_a_penalty_that_is_none_is_refused(penalty: float) -> None:
    with pytest.raises(UsageError, match="penalty must be finite and not negative"):
        CalibrationSettings(penalty=penalty)
    with pytest.raises(UsageError, match="decode_sessions must be at least 1"):
        CalibrationSettings(decode_sessions=0)


def test_the_calm_and_the_wild_stretches_are_the_extremes_of_mean_stress() -> None:
    sessions = own_span(BEFORE_THE_CRISIS)
    _, calibration = calibrated_until()
    settings = CalibrationSettings()
    for stretches, lengths, sign in (
        (calibration.calm, settings.calm_lengths, 1),
        (calibration.wild, settings.wild_lengths, -1),
    ):
        for stretch, length in zip(stretches, lengths, strict=True):
            means = [sign * sessions.stress[first : first + length].mean() for first in range(SPAN - length + 1)]
            first = int(np.argmin(means))
            assert stretch == (
                sessions.dates[first].item(),
                sessions.dates[first + length - 1].item(),
            )


def test_a_prototype_is_the_mean_of_its_group_and_an_empty_group_a_point_on_the_axis() -> None:
    generator = np.random.default_rng(3)
    stress = np.repeat([0.0, 1.0], 400)
    vectors = np.zeros((800, 384), dtype=np.float32)
    vectors[400:, 0] = 2.0
    vectors[:, 1] = generator.normal(size=800)
    sessions = DescribedSessions(np.arange(800).astype("M8[D]"), vectors, stress, stress, np.zeros((800, 1)))
    prototypes, _, _ = find_prototypes(sessions, CalibrationSettings())
    assert [each.label for each in prototypes] == list(ORDER)
    np.testing.assert_allclose([each.center[0] for each in prototypes], [0, 2 * 0.37, 2 * 0.62, 2], atol=0.05)
    groups = vectors[:400], vectors[400:]
    for prototype, members in zip((prototypes[0], prototypes[3]), groups, strict=True):
        np.testing.assert_allclose(prototype.center, members.mean(axis=0), atol=0.05)


def test_the_temperature_makes_the_labels_of_hindsight_likeliest() -> None:
    prototypes, calibration = calibrated_until()
    costs = euclidean_distances(own_span(BEFORE_THE_CRISIS).vectors, np.stack([each.center for each in prototypes]))
    values = forward_costs(costs, calibration.penalty, calibration.decode_sessions)[::20].tolist()
    hindsight = viterbi_path(costs, calibration.penalty)[calibration.decode_sessions - 1 :: 20]

    def loss(temperature: float) -> float:
        shares = [slow_softmax(row, temperature)[label] for row, label in zip(values, hindsight, strict=True)]
        return -float(np.log(shares).mean())

    assert loss(calibration.temperature) < min(loss(calibration.temperature * factor) for factor in (0.6, 1.6))


def test_norms_are_medians_and_the_threshold_is_the_top_fifth_or_the_one_given() -> None:
    sessions = own_span(BEFORE_THE_CRISIS)
    _, calibration = calibrated_until()
    assert set(calibration.norms) == set(EXPLAINED_NAMES)
    for column, name in enumerate(EXPLAINED_NAMES):
        assert calibration.norms[name] == pytest.approx(float(np.median(sessions.explained[:, column])), abs=1e-6)
    known = followed(BEFORE_THE_CRISIS)[-SPAN:]
    share = float((np.exp(known[:-21]) > calibration.high_volatility.threshold).mean())
    assert share == pytest.approx(0.2, abs=0.001)
    assert calibrate(sessions, known, threshold=0.3)[1].high_volatility.threshold == 0.3


def test_a_set_and_its_calibration_come_back_from_their_text_exactly() -> None:
    written = sample_set()
    calibration = written.calibration
    assert calibration is not None
    text = json.dumps(calibration.to_dict(), allow_nan=False)
    read = RegimeCalibration.from_dict(json.loads(text), "p.json")
    for name in RegimeCalibration.__slots__:
        assert getattr(read, name) == getattr(calibration, name)
    assert json.loads(written.to_json())["calibration"] == calibration.to_dict()
    assert written.to_json() == sample_set().to_json()
    indented = json.dumps(json.loads(written.to_json()), sort_keys=True, indent=2)
    assert written.to_json() == f"{indented}\n"  # as json writes it


def test_the_default_name_changes_with_the_calibration_and_with_the_centres_only() -> None:
    written = sample_set()
    assert written.regime_model_id("num-regime-core-v2") == sample_set().regime_model_id("num-regime-core-v2")
    reordered = PrototypeSet("X", written.prototypes[::-1], {}, calibration=written.calibration)
    assert reordered.regime_model_id("num-regime-core-v2") == written.regime_model_id("num-regime-core-v2")
    plain = PrototypeSet("SPX", written.prototypes, {})
    other = sample_set(settings=CalibrationSettings(penalty=1.5))
    ids = {
        each.regime_model_id("num-regime-core-v2") for each in (written, plain, other, sample_set(date(2017, 12, 29)))
    }
    assert len(ids) == 4
    assert [each.center.tobytes() for each in other.prototypes] == [e.center.tobytes() for e in written.prototypes]


def _set(*path: str, to: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = to

    return change


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "nothing in it": (dict.clear, "KeyError('start')"),
    "no temperature": (lambda document: document.pop("temperature"), "KeyError('temperature')"),
    "temperature of zero": (_set("temperature", to=0.0), "positive temperature"),
    "temperature that is none": (_set("temperature", to=float("nan")), "not finite"),
    "infinite penalty": (_set("penalty", to=float("inf")), "not finite"),
    "negative penalty": (_set("penalty", to=-1.0), "no negative penalty"),
    "no session to look back on": (_set("decode_sessions", to=0), "'calibration' needs"),
    "endless sessions": (_set("n_sessions", to=float("inf")), "OverflowError"),
    "number too large": (_set("penalty", to=10**400), "OverflowError"),
    "no date": (_set("end", to="yesterday"), "yesterday"),
    "number for a date": (_set("end", to=20071231), "TypeError"),
    "list of stays": (_set("stays", to=[]), "AttributeError"),
    "stays of a foreign label": (_set("stays", "PANIC", to={"n_sessions": 2, "n_exits": 1}), "PANIC"),
    "stays without exits": (_set("stays", "CRISIS", to={"n_sessions": 2}), "KeyError('n_exits')"),
    "more exits than sessions": (_set("stays", "CRISIS", to={"n_sessions": 2, "n_exits": 3}), "more exits than"),
    "fewer exits than none": (_set("stays", "CRISIS", to={"n_sessions": 2, "n_exits": -1}), "more exits than"),
    "stays of one age": (_set("stays_by_age", "CRISIS", to={"1": {"n_sessions": 2, "n_exits": 1}}), "do not add to"),
    "age that is none": (_set("stays_by_age", "CRISIS", to={"old": {"n_sessions": 2, "n_exits": 1}}), "ValueError"),
    "stays by age of another label": (lambda document: document["stays_by_age"].pop("CRISIS"), "do not add to all"),
    "forecast that is none": (_set("high_volatility", to="high"), "TypeError"),
    "slope that is none": (_set("high_volatility", "slope", to=None), "TypeError"),
    "intercept that is none": (_set("high_volatility", "intercept", to=float("nan")), "not finite"),
    "norm that is none": (_set("norms", "drawdown_128", to=float("-inf")), "not finite"),
    "norm missing": (lambda document: document["norms"].pop("drawdown_128"), "has no norm of drawdown_128"),
    "stretch of one date": (_set("calm", to=[["2006-08-24"]]), "ValueError"),
    "stretches that are a number": (_set("wild", to=3), "TypeError"),
}


@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_calibration_is_refused_in_one_line(change: Callable[[dict[str, Any]], Any], reason: str) -> None:
    _, calibration = calibrated_until()
    document = json.loads(json.dumps(calibration.to_dict()))
    change(document)
    with pytest.raises(PrototypeError) as caught:
        RegimeCalibration.from_dict(document, "p.json")
    message = str(caught.value)
    assert message.startswith("p.json: 'calibration' ")
    assert reason in message
    assert len(message.splitlines()) == 1
    assert caught.value.exit_code == 5
