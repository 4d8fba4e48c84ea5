"""Joint models: the formula, its refusals, and what the shares promise."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from prometheus.encoders.joint.examples import REGIME_MACRO, REGIME_NEWS, JointExample
from prometheus.encoders.joint.models import (
    BranchCentres,
    CentredJointModel,
    IdentityNumericJointModel,
    SimpleAverageJointModel,
    measured_text_share,
    numeric_weight_of,
    stack_branches,
    text_share,
)
from prometheus.errors import InputRefusedError, UsageError, VectorError

FIRST = date(2020, 1, 1)
SOURCE = {"region": "US"}


def examples(n: int, dim: int = 16, seed: int = 3, numeric_scale: float = 1e9) -> list[JointExample]:
    """Return `n` days of a huge numeric branch and of nearly parallel texts, as the raw branches really are."""
    generator = np.random.default_rng(seed)
    numeric = (numeric_scale * (3 + generator.normal(size=(n, dim)))).astype(np.float32)
    text = (1 + 0.05 * generator.normal(size=(n, dim))).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    scope = REGIME_MACRO.entity_scope("US", {})
    return [
        JointExample("REGIME_MACRO_V0", FIRST + timedelta(days=day), scope, numeric[day], text[day]) for day in range(n)
    ]


@pytest.mark.parametrize(("w_numeric", "w_text"), [(0.5, 0.5), (3.0, 1.0), (0.0, 1.0), (1.0, 0.0)])
def test_the_simple_model_is_the_weighted_average_of_the_mission(w_numeric: float, w_text: float) -> None:
    days = examples(5, numeric_scale=2.0)

    joined = SimpleAverageJointModel(w_numeric, w_text).embed_batch(days)

    for row, day in zip(joined, days, strict=True):
        by_hand = [
            (w_numeric * float(left) + w_text * float(right)) / (w_numeric + w_text)
            for left, right in zip(*(branch[0] for branch in stack_branches([day])), strict=True)
        ]
        np.testing.assert_allclose(row, by_hand, rtol=1e-6)
    assert joined.dtype == np.float32


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0), (1.0, float("inf"))])
def test_weights_that_make_no_average_are_refused(weights: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="weights must be finite"):
        SimpleAverageJointModel(*weights)


@pytest.mark.parametrize("model", [SimpleAverageJointModel(), IdentityNumericJointModel()])
def test_no_examples_give_an_empty_array(model: SimpleAverageJointModel | IdentityNumericJointModel) -> None:
    assert model.embed_batch([]).shape == (0, 0)


def test_branches_of_different_length_are_named() -> None:
    (day,) = examples(1)
    odd = JointExample(day.joint_type, day.as_of_date, day.entity_scope, np.ones(189, np.float32), day.text_embedding)

    with pytest.raises(VectorError, match=r"2020-01-01: the numeric embedding has 189 values, the text embedding 16"):
        SimpleAverageJointModel().embed_batch([odd])


def test_the_identity_model_ignores_the_text() -> None:
    days = examples(3)

    joined = IdentityNumericJointModel().embed_batch(days)

    np.testing.assert_array_equal(joined, stack_branches(days)[0])


def test_raw_branches_drown_the_text_and_centred_ones_hold_the_declared_share() -> None:
    days = examples(400)
    numeric, text = stack_branches(days)
    assert measured_text_share(numeric, text, 0.5, 0.5) < 1e-18

    model = CentredJointModel(BranchCentres.fit(days, FIRST + timedelta(days=199), SOURCE), numeric_weight=0.75)
    later = days[200:]

    share = measured_text_share(*model.branches(later), 0.75, 0.25)
    assert share == pytest.approx(model.text_share, abs=0.02)
    assert model.text_share == pytest.approx(0.1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_share_and_its_weight_belong_together(share: float) -> None:
    assert text_share(numeric_weight_of(share)) == pytest.approx(share)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="--text-share"):
        numeric_weight_of(share)


def test_a_date_within_the_span_of_the_means_is_refused() -> None:
    days = examples(60)
    model = CentredJointModel(BranchCentres.fit(days, FIRST + timedelta(days=29), SOURCE))

    assert model.embed_batch(days[30:]).shape == (30, 16)
    with pytest.raises(InputRefusedError, match="2020-01-30 is not after 2020-01-30"):
        model.embed_batch(days[29:])


def test_later_dates_do_not_change_the_means() -> None:
    days, until = examples(60), FIRST + timedelta(days=29)

    assert BranchCentres.fit(days, until, SOURCE).to_config() == BranchCentres.fit(days[:30], until, SOURCE).to_config()


def test_too_few_dates_make_no_means() -> None:
    with pytest.raises(InputRefusedError, match="only 19 dates"):
        BranchCentres.fit(examples(19), FIRST + timedelta(days=365), SOURCE)


def test_means_survive_their_record_byte_for_byte() -> None:
    centres = BranchCentres.fit(examples(40), FIRST + timedelta(days=365), SOURCE)

    again = BranchCentres.from_config(centres.to_config())

    assert again.numeric.tobytes() == centres.numeric.tobytes()
    assert again.text.tobytes() == centres.text.tobytes()
    assert (again.until, again.n_dates, again.source) == (centres.until, centres.n_dates, SOURCE)


@pytest.mark.parametrize("version", [1, 2])
def test_one_date_alone_and_many_give_the_same_bytes(version: int) -> None:
    days = examples(90)
    centres = BranchCentres.fit(days, FIRST + timedelta(days=29), SOURCE)
    model = SimpleAverageJointModel(0.3, 0.9) if version == 1 else CentredJointModel(centres, 0.6)

    together = model.embed_batch(days[30:])

    for row, day in zip(together, days[30:], strict=True):
        assert model.embed_batch([day])[0].tobytes() == row.tobytes()


def test_scopes_hold_the_filters_that_were_given_and_no_others() -> None:
    assert REGIME_MACRO.entity_scope("US", {"country": "US", "event_type": None}) == {
        "region": "US", "source": "regime+macro", "macro_filters": {"country": "US"},
    }  # fmt: skip
    assert REGIME_NEWS.entity_scope("EU", {"language": None}) == {
        "region": "EU", "source": "regime+news", "news_filters": {},
    }  # fmt: skip
