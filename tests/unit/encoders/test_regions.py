"""Regions of several instruments: the mean of what the members say, and the written rule for those that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from tests.reference.windows import Bar, MemoryBars, NoDatabase, WeekdayCalendar, bar_walk

from prometheus.core.config import RegionDefinition
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder, NumericWindowSpec
from prometheus.encoders.identity import fingerprint
from prometheus.encoders.models_simple_numeric import FlattenNumericEmbeddingModel
from prometheus.encoders.numeric.features import LOG_PRICES
from prometheus.encoders.numeric.regions import (
    REGION,
    RegionMeanModel,
    RegionWindowBatch,
    RegionWindowBuilder,
    region_model_id,
)
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.errors import InsufficientHistoryError, RegionMembersError, UsageError

FRIDAY = date(2025, 1, 31)
SPEC = NumericWindowSpec(REGION, "US", 513)
US = RegionDefinition(members={"SPX": 0.5, "TLT": 0.3, "GLD": 0.2})
N_BARS = 540
WALKS = {name: bar_walk(N_BARS, seed=seed) for seed, name in enumerate(("SPX", "TLT", "GLD"))}
DAYS = [bar[0] for bar in WALKS["SPX"]]

Histories = dict[str, list[Bar]]


def builder_of(histories: Histories, region: RegionDefinition = US) -> RegionWindowBuilder:
    return RegionWindowBuilder(MemoryBars(histories), WeekdayCalendar(), {"US": region})


def one_date(histories: Histories, day: date = FRIDAY, region: RegionDefinition = US) -> RegionWindowBatch:
    return builder_of(histories, region).build_one(SPEC, day)


def vectors_of(windows: RegionWindowBatch, region: RegionDefinition = US) -> np.ndarray:
    return windows.vectors(RegionMeanModel(region))


def member_vector(bars: Sequence[Bar], day: date = FRIDAY, name: str = "SPX") -> np.ndarray:
    """What the scale-free encoder says of one instrument alone."""
    builder = NumericWindowBuilder(MemoryBars({name: bars}), WeekdayCalendar(), LOG_PRICES)
    window = builder.build_window(NumericWindowSpec("INSTRUMENT", name, 513), day)
    return ScaleFreeNumericEmbeddingModel().encode(window)


def slow_mean(weights: dict[str, float], day: date = FRIDAY, histories: Histories = WALKS) -> np.ndarray:
    total = sum(weights[name] for name in sorted(weights))
    mean = np.zeros(384)
    for name in sorted(weights):
        mean += weights[name] / total * member_vector(histories[name], day).astype(np.float64)
    return mean.astype(np.float32)


def without(histories: Histories, **dropped: set[date]) -> Histories:
    return {name: [bar for bar in bars if bar[0] not in dropped.get(name, ())] for name, bars in histories.items()}


def test_the_vector_is_the_weighted_mean_of_the_members_vectors() -> None:
    windows = one_date(WALKS)
    assert vectors_of(windows)[0].tobytes() == slow_mean(US.members).tobytes()
    assert windows.sources == [{"members": {"GLD": 0.2, "SPX": 0.5, "TLT": 0.3}, "absent": []}]
    assert (windows.entity_ids, windows.entity_index.tolist()) == (("US",), [0])


def test_a_region_of_one_member_says_what_the_member_says() -> None:
    alone = RegionDefinition(members={"TLT": 7})
    assert np.array_equal(vectors_of(one_date(WALKS, region=alone), alone)[0], member_vector(WALKS["TLT"]))


def test_only_the_ratios_of_weights_matter_and_the_order_they_are_written_in_does_not() -> None:
    other = RegionDefinition(members={"GLD": 2, "TLT": 3, "SPX": 5}, anchor="SPX")
    windows, rewritten = one_date(WALKS), one_date(WALKS, region=other)
    assert vectors_of(rewritten).tobytes() == vectors_of(windows).tobytes()
    turned = dict(reversed(list(WALKS.items())))
    reordered = RegionDefinition(members=dict(reversed(list(US.members.items()))), anchor="SPX")
    again = one_date(turned, region=reordered)
    assert again.input_hashes.tolist() == windows.input_hashes.tolist()
    assert region_model_id(reordered) == region_model_id(US)


@pytest.mark.parametrize(
    "other",
    [
        RegionDefinition(members={"SPX": 0.5, "TLT": 0.3, "GLD": 0.3}),
        RegionDefinition(members={"SPX": 0.5, "TLT": 0.3, "IAU": 0.2}),
        RegionDefinition(members={"SPX": 0.5, "TLT": 0.3, "GLD": 0.2}, anchor="TLT"),
    ],
)
def test_members_weights_and_anchor_are_part_of_the_id(other: RegionDefinition) -> None:
    family, _, digits = region_model_id(other).partition(":")
    assert (family, len(digits)) == ("num-regime-region-v1", 8)
    assert region_model_id(other) != region_model_id(US)
    assert fingerprint(RegionMeanModel(other).config) != fingerprint(RegionMeanModel(US).config)


def test_a_change_of_the_member_encoder_shows_in_the_fingerprint() -> None:
    constants = ScaleFreeNumericEmbeddingModel().constants
    other = RegionMeanModel(US, replace(constants, means=constants.means + 1))
    assert fingerprint(other.config) != fingerprint(RegionMeanModel(US).config)


def test_a_member_that_is_too_young_is_left_out_and_weights_are_rescaled() -> None:
    young = {**WALKS, "TLT": WALKS["TLT"][-512:]}
    windows = one_date(young)
    assert vectors_of(windows)[0].tobytes() == slow_mean({"SPX": 0.5, "GLD": 0.2}).tobytes()
    assert windows.sources[0]["absent"] == ["TLT"]
    assert sum(windows.sources[0]["members"].values()) == pytest.approx(1)
    old_enough = {**WALKS, "TLT": WALKS["TLT"][-513:]}
    assert one_date(old_enough).sources[0]["absent"] == []


@pytest.mark.parametrize(("n_missing", "absent"), [(5, []), (6, ["GLD"])])
def test_a_last_bar_may_be_five_sessions_of_the_region_old(n_missing: int, absent: list[str]) -> None:
    windows = one_date(without(WALKS, GLD=set(DAYS[-n_missing:])))
    assert windows.sources[0]["absent"] == absent


def test_a_holiday_of_one_market_repeats_its_window() -> None:
    holiday = DAYS[-3]
    histories = without(WALKS, TLT={holiday})
    windows = builder_of(histories).build_range(["US"], DAYS[-5], FRIDAY, 513).windows
    assert windows.as_of_dates.tolist() == DAYS[-5:]
    assert windows.sources[2]["absent"] == []
    assert vectors_of(windows)[2].tobytes() == slow_mean(US.members, holiday, histories).tobytes()
    row = windows.member_ids.index("TLT")
    assert windows.member_ends[row, 2] == windows.member_ends[row, 1]


def test_a_holiday_of_the_anchor_is_no_date_of_the_region() -> None:
    windows = builder_of(without(WALKS, SPX={DAYS[-2]})).build_range(["US"], DAYS[-4], FRIDAY, 513).windows
    assert windows.as_of_dates.tolist() == [DAYS[-4], DAYS[-3], FRIDAY]


@pytest.mark.parametrize(("weights", "is_enough"), [((0.5, 0.5), True), ((0.1, 0.2), False), ((1 / 3, 1 / 3), True)])
def test_half_of_the_weight_is_enough(weights: tuple[float, float], is_enough: bool) -> None:
    region = RegionDefinition(members={"SPX": weights[0], "TLT": weights[1]}, anchor="SPX")
    histories = {"SPX": WALKS["SPX"], "TLT": WALKS["TLT"][-7:]}
    if is_enough:
        assert one_date(histories, region=region).sources == [{"members": {"SPX": 1.0}, "absent": ["TLT"]}]
        return
    with pytest.raises(RegionMembersError) as caught:
        one_date(histories, region=region)
    assert str(caught.value).startswith(
        "region 'US' has no embedding on 2025-01-31: its members present carry 33% of the weight and half is needed "
        "(TLT has 7 of 513 sessions); "
    )


@pytest.mark.parametrize(
    ("bars", "reason"),
    [
        ([], "SPX has no bars"),
        (WALKS["SPX"][-100:], "SPX has 100 of 513 sessions"),
        (WALKS["SPX"][:-6], "last bar before 2025-01-31 is of 2025-01-23, 6 sessions old"),
    ],
)
def test_without_its_anchor_a_region_has_no_embedding(bars: list[Bar], reason: str) -> None:
    with pytest.raises(RegionMembersError, match=reason) as caught:
        one_date({**WALKS, "SPX": bars})
    assert "its anchor is missing" in str(caught.value)


def test_every_missing_member_is_named_with_its_reason() -> None:
    region = RegionDefinition(members={"SPX": 1, "NEW": 1, "OLD": 1, "NONE": 1})
    histories = {"SPX": WALKS["SPX"], "NEW": WALKS["TLT"][-9:], "OLD": WALKS["GLD"][:-9], "NONE": []}
    with pytest.raises(RegionMembersError) as caught:
        one_date(histories, region=region)
    assert caught.value.absent == (
        "NEW has 9 of 513 sessions",
        "NONE has no bars",
        "OLD's last bar, of 2025-01-20, is more than 5 sessions old",
    )


def test_a_range_leaves_out_what_has_no_embedding_and_says_so() -> None:
    equal = RegionDefinition(members={"SPX": 2, "TLT": 3}, anchor="SPX")
    gap = set(DAYS[-16:-4])  # on the last seven of these twelve its newest bar is too old, and on the day after as well
    build = builder_of(without(WALKS, TLT=gap), equal).build_range(["US"], DAYS[-20], FRIDAY, 513)
    left_out = DAYS[-11:-3]
    assert build.windows.as_of_dates.tolist() == [day for day in DAYS[-20:] if day not in left_out]
    assert [failure.as_of for failure in build.failures if isinstance(failure, RegionMembersError)] == left_out


def test_sessions_before_the_anchor_is_old_enough_are_no_failures() -> None:
    build = builder_of(WALKS).build_range(["US"], DAYS[0], FRIDAY, 513)
    assert build.windows.as_of_dates.tolist() == DAYS[512:]
    assert build.failures == ()


def test_a_range_without_any_embedding_has_no_windows_not_even_those_before_it() -> None:
    equal = RegionDefinition(members={"SPX": 2, "TLT": 3}, anchor="SPX")
    build = builder_of({**WALKS, "TLT": WALKS["TLT"][:-9]}, equal).build_range(["US"], DAYS[-2], FRIDAY, 513, 3)
    assert (len(build.windows), len(build.failures)) == (0, 2)
    assert (build.windows.sources, vectors_of(build.windows, equal).shape) == ([], (0, 384))


def test_a_range_outside_of_the_anchors_bars_is_refused() -> None:
    with pytest.raises(RegionMembersError, match="SPX has no bar from 2025-02-03 to 2025-02-07"):
        builder_of(WALKS).build_range(["US"], date(2025, 2, 3), date(2025, 2, 7), 513)
    with pytest.raises(RegionMembersError, match="SPX has 3 of 513 sessions"):
        builder_of({**WALKS, "SPX": WALKS["SPX"][-3:]}).build_range(["US"], DAYS[-3], FRIDAY, 513)


def test_sessions_left_out_are_stepped_over_when_looking_back() -> None:
    equal = RegionDefinition(members={"SPX": 2, "TLT": 3}, anchor="SPX")
    builder = builder_of(without(WALKS, TLT=set(DAYS[-16:-4])), equal)
    seen = [day for day in DAYS[512:] if day not in DAYS[-11:-3]]
    assert builder.build_trailing(SPEC, FRIDAY, 15).as_of_dates.tolist() == seen[-15:]
    lead = builder.build_range(["US"], DAYS[-3], FRIDAY, 513, 12).windows
    assert lead.as_of_dates.tolist() == seen[-15:]
    with pytest.raises(InsufficientHistoryError, match="US: window ending 2025-01-31 needs 612 sessions"):
        builder.build_trailing(SPEC, FRIDAY, 100)


def test_a_date_the_anchor_has_no_bar_of_stands_for_its_last_session() -> None:
    cut = {name: [bar for bar in bars if bar[0] < FRIDAY] for name, bars in WALKS.items()}
    late, thursday = one_date(cut), one_date(cut, DAYS[-2])
    assert late.as_of_dates.tolist() == [FRIDAY]
    assert vectors_of(late).tobytes() == vectors_of(thursday).tobytes()
    aged = without(cut, GLD=set(DAYS[-6:]))
    assert one_date(aged, DAYS[-2]).sources[0]["absent"] == []
    assert one_date(aged).sources[0]["absent"] == ["GLD"]
    assert builder_of(cut).build_trailing(SPEC, FRIDAY, 3).as_of_dates.tolist() == [*DAYS[-4:-2], FRIDAY]


def test_the_hash_follows_every_members_window_and_nothing_else() -> None:
    base = one_date(WALKS).input_hashes[0]

    def changed(name: str, at: int) -> Histories:
        bars = list(WALKS[name])
        day, close, volume, adjusted, high, low = bars[at]
        bars[at] = (day, close, volume, adjusted * 1.01, high, low)
        return {**WALKS, name: bars}

    for name in US.members:
        assert one_date(changed(name, -1)).input_hashes[0] != base
        assert one_date(changed(name, -513)).input_hashes[0] != base
        assert one_date(changed(name, -514)).input_hashes[0] == base
    swapped = {**WALKS, "TLT": WALKS["GLD"], "GLD": WALKS["TLT"]}
    absent = {**WALKS, "GLD": WALKS["GLD"][-512:]}
    renamed = RegionDefinition(members={"SPX": 0.5, "TLT": 0.3, "IAU": 0.2})
    others = [one_date(swapped), one_date(absent), one_date({**WALKS, "IAU": WALKS["GLD"]}, region=renamed)]
    assert len({base, *[other.input_hashes[0] for other in others]}) == 4


def test_the_encoder_stores_it_as_a_region() -> None:
    encoder = NumericWindowEncoder(
        builder=builder_of(WALKS),
        model=RegionMeanModel(US),
        store=NumericEmbeddingStore(NoDatabase()),  # type: ignore[arg-type]
        model_id=region_model_id(US),
        entity_type=REGION,
    )
    batch = encoder.encode(builder_of(WALKS).build_range(["US"], DAYS[-3], FRIDAY, 513).windows)
    assert (batch.entity_type, batch.entity_ids, len(batch.sources or ())) == (REGION, ("US",), 3)
    assert batch.take(slice(2, None)).sources == [{"members": {"GLD": 0.2, "SPX": 0.5, "TLT": 0.3}, "absent": []}]


def test_a_model_without_a_shared_table_is_refused() -> None:
    with pytest.raises(UsageError, match="FlattenNumericEmbeddingModel cannot encode the members of region US"):
        one_date(WALKS).vectors(FlattenNumericEmbeddingModel())
