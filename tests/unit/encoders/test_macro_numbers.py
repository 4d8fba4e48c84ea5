"""Macro numbers of dates and the joint model that holds them: by hand, point in time, in equal bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from benchmarks.joint_spaces import read_constants
from hypothesis import given, settings
from hypothesis import strategies as st

from prometheus.encoders.catalogue import knowledge_end
from prometheus.encoders.joint.examples import REGIME_MACRO, JointExample
from prometheus.encoders.joint.macro_model import FROZEN_UNTIL, MacroJointModel, Shares
from prometheus.encoders.joint.models import BranchCentres, measured_shares
from prometheus.encoders.joint.numbers import NUMBERS, SERIES, KnownLevel, numbers_of, score_numbers
from prometheus.errors import InputRefusedError, UsageError, WindowShapeError

FIRST = date(2020, 1, 1)
DATES = [FIRST + timedelta(days) for days in range(0, 60, 3)]
HISTORY: list[KnownLevel] = [
    (name, day, day + timedelta(number % 2), 1.5 + 0.01 * number * (offset % 17))
    for number, name in enumerate(SERIES, 1)
    for offset in range(-400, 60)
    for day in [FIRST + timedelta(offset)]
]


def scores(values: Sequence[KnownLevel], dates: Sequence[date] = DATES) -> np.ndarray:
    return score_numbers(NUMBERS, values, dates).scores


def test_the_numbers_of_a_date_by_hand() -> None:
    day, year_before = date(2020, 2, 3), date(2019, 2, 3)
    now = {"DFF": 1.6, "DGS2": 1.4, "DGS10": 1.5, "VIXCLS": 18.0, "BAMLH0A0HYM2": 4.0, "BAMLC0A0CM": 1.0}
    before = {name: value + 0.5 for name, value in now.items()}
    values = [(name, day, day, value) for name, value in now.items()]
    values += [(name, year_before, year_before, value) for name, value in before.items()]

    found = score_numbers(NUMBERS, values, [day])

    raw = dict(zip([each.name for each in NUMBERS], found.scores[0], strict=True))
    by_hand = {
        "DFF": (1.6 - 4.3301) / 1.9443,
        "DGS10 less DGS2": (0.1 - 1.0193) / 0.8529,
        "log VIXCLS": (math.log(18.0) - 3.0248) / 0.3085,
        "DGS2, 12-month change": (-0.5 + 0.2868) / 1.4088,
        "log BAMLC0A0CM, 12-month change": (math.log(1.0 / 1.5) + 0.0359) / 0.3282,
    }
    assert {name: raw[name] for name in by_hand} == pytest.approx(by_hand)
    assert (found.gaps, found.revised) == ({}, {})


@settings(max_examples=25)
@given(
    later=st.lists(
        st.tuples(
            st.sampled_from(SERIES), st.integers(-400, 90), st.integers(1, 60), st.floats(-100, 100, allow_nan=False)
        ),
        max_size=40,
    ),
    at=st.integers(0, len(DATES) - 1),
)
def test_nothing_known_after_a_date_touches_it(later: list[tuple[str, int, int, float]], at: int) -> None:
    as_of, dates = DATES[at], DATES[: at + 1]
    more = [(name, FIRST + timedelta(offset), as_of + timedelta(delay), value) for name, offset, delay, value in later]
    known = [value for value in HISTORY if value[2] <= as_of]

    whole, cut = scores([*more, *HISTORY, *more]), scores(known, dates)

    assert whole[: at + 1].tobytes() == cut.tobytes()
    assert scores([*HISTORY, *more], [as_of]).tobytes() == cut[-1].tobytes()


def test_a_revision_counts_from_the_date_on_which_it_was_known() -> None:
    revised = [*HISTORY, ("DFF", DATES[2], DATES[4], 9.0)]
    before, after = scores(HISTORY, DATES[:5]), score_numbers(NUMBERS, revised, DATES[:5])
    assert after.scores[:4].tobytes() == before[:4].tobytes()
    assert after.revised == {"DFF": 1}
    assert scores([*HISTORY, ("DFF", DATES[4], DATES[4], 9.0)], DATES[:5])[4, 0] == (9.0 - 4.3301) / 1.9443


def test_a_gap_is_left_out_and_named_and_never_filled() -> None:
    hole = {("VIXCLS", FIRST + timedelta(offset)) for offset in range(10, 25)}
    found = score_numbers(NUMBERS, [each for each in HISTORY if each[:2] not in hole], DATES)
    left_out = tuple(day for day in DATES if FIRST + timedelta(16) < day < FIRST + timedelta(25))
    assert found.gaps == {"VIXCLS": left_out}
    of_vix = [at for at, number in enumerate(NUMBERS) if "VIXCLS" in number.series]
    is_missing = np.isnan(found.scores)
    assert is_missing[:, of_vix].any(axis=1).tolist() == [day in left_out for day in DATES]
    assert not np.delete(is_missing, of_vix, axis=1).any()

    year_ago = [each for each in HISTORY if each[0] != "DGS2" or each[1] > FIRST - timedelta(300)]
    assert score_numbers(NUMBERS, year_ago, DATES).gaps == {"DGS2": tuple(DATES)}
    assert score_numbers(NUMBERS, [*HISTORY, ("BAMLC0A0CM", DATES[0], DATES[0], 0.0)], DATES[:1]).gaps == {
        "BAMLC0A0CM": (DATES[0],)
    }


def test_series_that_are_missing_take_their_numbers_along() -> None:
    assert [each.name for each in numbers_of(["DGS10", "DFF"])] == [
        "DFF", "DGS10", "DFF, 12-month change", "DGS10, 12-month change",
    ]  # fmt: skip
    assert numbers_of(SERIES) == NUMBERS
    assert score_numbers([], HISTORY, DATES).scores.shape == (len(DATES), 0)


def test_the_constants_are_those_of_the_span_before_their_use(shared_data: Path) -> None:
    assert read_constants(shared_data / "macro") == NUMBERS


def examples(n: int, seed: int = 7, dim: int = 40) -> list[JointExample]:
    """Return days of parts that are standard scores, texts nearly parallel."""
    generator = np.random.default_rng(seed)
    prices = (generator.normal(size=(n, dim)) / math.sqrt(dim)).astype(np.float32)
    texts = (1 + 0.05 * generator.normal(size=(n, dim))).astype(np.float32)
    numbers = generator.normal(size=(n, len(NUMBERS)))
    scope = REGIME_MACRO.entity_scope("US", {})
    return [
        JointExample("REGIME_MACRO_V0", FIRST + timedelta(day), scope, prices[day], texts[day], numbers[day])
        for day in range(n)
    ]


def model_with_texts() -> MacroJointModel:
    centres = BranchCentres.fit(examples(60), FIRST + timedelta(29), {"region": "US"})
    return MacroJointModel(SERIES, Shares(0.4, 0.2), centres)


@pytest.mark.parametrize("model", [MacroJointModel(SERIES, Shares()), model_with_texts()])
def test_the_shares_hold_and_one_date_alone_gives_the_same_bytes(model: MacroJointModel) -> None:
    days = examples(400)[30:]
    parts = [part for part in model.parts(days) if part is not None]
    declared = [model.shares.prices, model.shares.numbers, model.shares.texts][: len(parts)]
    assert measured_shares(parts) == pytest.approx(declared, abs=0.1)

    together = model.embed_batch(days)

    assert together.shape == (370, 40)
    for day, row in zip(days, together, strict=True):
        assert model.embed_batch([day])[0].tobytes() == row.tobytes()
    again = MacroJointModel.from_config(json.loads(json.dumps(model.config)))
    assert again.embed_batch(days).tobytes() == together.tobytes()
    assert again.config == model.config


def test_the_numbers_stand_in_the_last_places_and_nothing_else_does() -> None:
    (day,) = examples(1)
    vector = MacroJointModel(SERIES, Shares(0.25)).embed_batch([day])[0]
    numbers, prices = day.numbers_embedding, day.numeric_embedding
    assert numbers is not None
    assert prices is not None
    np.testing.assert_allclose(vector[-13:], numbers * math.sqrt(0.25 / 13), rtol=1e-6)
    np.testing.assert_allclose(vector[:-13], prices[:-13] * math.sqrt(0.75), rtol=1e-6)
    assert MacroJointModel(SERIES, Shares()).embed_batch([]).shape == (0, 0)


def test_dates_of_the_frozen_spans_are_refused() -> None:
    (day,) = examples(1)
    for model, last in ((MacroJointModel(SERIES, Shares()), FROZEN_UNTIL), (model_with_texts(), date(2020, 1, 30))):
        old = JointExample(
            day.joint_type, last, day.entity_scope, day.numeric_embedding, day.text_embedding, day.numbers_embedding
        )
        with pytest.raises(InputRefusedError, match=f"{last} is not after {last}"):
            model.embed_batch([old])
        assert knowledge_end(model.config) == last


@pytest.mark.parametrize(
    ("series", "shares", "message"),
    [
        (SERIES, (0.0, 0.0), "--numbers-share must be above 0"),
        (SERIES, (1.5, 0.0), "--numbers-share must be above 0"),
        (SERIES, (math.nan, 0.0), "--numbers-share must be above 0"),
        (SERIES, (0.5, 0.6), "from 0 to what --numbers-share 0.5 leaves, got 0.6"),
        (SERIES, (0.5, -0.1), "--text-share must be from 0"),
        (SERIES, (0.5, 0.1), "their frozen mean belong together"),
        (("UNRATE",), (0.5, 0.0), "UNRATE: not enough for a macro number"),
        ((), (0.5, 0.0), "no series: not enough"),
    ],
)
def test_what_makes_no_space_is_refused(series: Sequence[str], shares: tuple[float, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MacroJointModel(series, Shares(*shares))


def test_numbers_of_other_series_do_not_fit() -> None:
    with pytest.raises(WindowShapeError, match="macro numbers"):
        MacroJointModel(("DFF",), Shares()).embed_batch(examples(2))
