"""``num-regime-region-v1``: a region seen through several instruments, as the weighted mean of what each one says.

The dates are the sessions of its anchor. A member takes part with its latest full window, at most five of them old; the
anchor and half of the weight must be there, and weights are rescaled over the members present (ADR-0011).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import (
    DateVector,
    FeatureTable,
    Float32Matrix,
    Float64Matrix,
    Float64Vector,
    Int64Vector,
    as_float32,
)
from prometheus.encoders.identity import NUM_REGIME_CORE_V2, fingerprint
from prometheus.encoders.numeric.features import LOG_PRICES, FeatureSet, window_hashes
from prometheus.encoders.numeric.judged import JudgedBars, load_judged
from prometheus.encoders.numeric.scale_free import ScaleFreeConstants, ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import MAX_AGE_SESSIONS, NumericWindowSpec, WindowBuild, windows_on_date
from prometheus.errors import InputRefusedError, InsufficientHistoryError, RegionMembersError, UsageError
from prometheus.market.bars import PriceBars
from prometheus.market.quality import AGED, Verdict
from prometheus.protocols import BarSource, NumericEmbeddingModel, RegionMembers, Sessions, TableNumericEmbeddingModel

REGION = "REGION"
NUM_REGIME_REGION_V1 = "num-regime-region-v1"
LEAST_SHARE = 0.5  # part of the total weight that the members present must carry
ABSENT = -1  # the end of a window that is not there
_ROUNDING = 1e-12
_MORE_SESSIONS = 64


def region_model_id(region: RegionMembers) -> str:
    """Return the id of a region's embeddings: the family, and eight hex digits of members, weights and anchor.

    Examples
    --------
    >>> from prometheus.core.config import RegionDefinition
    >>> region_model_id(RegionDefinition(members={"GSPC.INDX": 0.6, "TLT": 0.4}))
    'num-regime-region-v1:52b5fc8f'
    """
    return f"{NUM_REGIME_REGION_V1}:{fingerprint(_identity(region))[:8]}"


def _identity(region: RegionMembers) -> dict[str, Any]:
    return {"members": dict(region.members), "anchor": region.anchor}


class RegionMeanModel(ScaleFreeNumericEmbeddingModel):
    """Encodes the members of a region as ``num-regime-core-v2`` does; `RegionWindowBatch` takes their mean."""

    def __init__(self, region: RegionMembers, constants: ScaleFreeConstants | None = None) -> None:
        super().__init__(constants)
        self.region = region

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {
            "family": NUM_REGIME_REGION_V1,
            "code_version": 1,
            "window_days": self.window_days,
            **_identity(self.region),
            "least_share": LEAST_SHARE,
            "max_age_sessions": MAX_AGE_SESSIONS,
            "member_encoder": {"model_id": NUM_REGIME_CORE_V2, "fingerprint": fingerprint(super().config)},
        }


@dataclass(frozen=True, slots=True, eq=False)
class RegionWindowBatch:
    """Windows of one region, by date: those of its members, sorted by id, over a shared feature table.

    The anchor's rows come first; `ends`, shape (n,), are the anchor's, `input_hashes` cover all bars that take part.
    `member_ends` and `weights` have shape (n_members, n): -1 and 0 for the absent; weights add to 1. A date `is_held`
    where the anchor's bar was suspect; `closes` and `close_ends` are the anchor's, as in `WindowBatch`.
    """

    entity_ids: tuple[str, ...]
    member_ids: tuple[str, ...]
    window_days: int
    as_of_dates: DateVector
    ends: Int64Vector
    member_ends: Int64Vector
    weights: Float64Matrix
    features: FeatureTable
    input_hashes: Int64Vector
    feature_set: FeatureSet
    is_held: NDArray[np.bool_]
    closes: Float64Vector
    close_ends: Int64Vector

    def __len__(self) -> int:
        return len(self.as_of_dates)

    @property
    def entity_index(self) -> Int64Vector:
        """Shape (n,), all 0."""
        return np.zeros(len(self), dtype=np.int64)

    @property
    def sources(self) -> Sequence[Mapping[str, Any]]:
        """For each date the weights of the members that take part, and the names of those that do not."""
        if not len(self):
            return []
        is_present = self.member_ends != ABSENT
        patterns, first, which = np.unique(is_present, axis=1, return_index=True, return_inverse=True)
        described = []
        for pattern, at in zip(patterns.T, first, strict=True):
            weights = dict(zip(self.member_ids, self.weights[:, at].tolist(), strict=True))
            absent = [name for name, is_there in zip(weights, pattern, strict=True) if not is_there]
            members = {name: weight for name, weight in weights.items() if name not in absent}
            described.append({"members": members, "absent": absent})
        return [described[number] for number in which.reshape(-1)]

    def take(self, chosen: Int64Vector | slice, /) -> RegionWindowBatch:
        """Return some of the dates, over the same feature table."""
        names = ("as_of_dates", "ends", "member_ends", "weights", "input_hashes", "is_held", "close_ends")
        return replace(self, **{name: getattr(self, name)[..., chosen] for name in names})

    def vectors(self, model: NumericEmbeddingModel) -> Float32Matrix:
        """Return the weighted mean of a table model's vectors of the members, shape (n, dim), added in order of ids."""
        if not isinstance(model, TableNumericEmbeddingModel):
            raise UsageError(f"{type(model).__name__} cannot encode the members of region {self.entity_ids[0]}")
        dim = model.encode_table(self.features, self.ends[:0], self.window_days).shape[1]
        means = np.zeros((len(self), dim))
        for ends, weights in zip(self.member_ends, self.weights, strict=True):
            rows = np.flatnonzero(ends != ABSENT)
            distinct, place = np.unique(ends[rows], return_inverse=True)  # a holiday repeats a window
            vectors = model.encode_table(self.features, distinct, self.window_days)
            means[rows] += weights[rows, np.newaxis] * vectors[place]
        return as_float32(means)


@dataclass(frozen=True, slots=True, eq=False)
class _Days:
    """Sessions of the anchor with a full window, ascending; the last one under the date asked for.

    `n_before` of them precede those asked for; `n_unseen` sessions lie between the anchor's last bar and the date. If
    it `is_whole`, nothing earlier is stored.
    """

    days: DateVector
    n_before: int
    n_unseen: int
    is_whole: bool


class RegionWindowBuilder:
    """Builds the windows of regions, defined by name, from stored bars; the calendar is that of the anchor's market."""

    def __init__(self, reader: BarSource, calendar: Sessions, regions: Mapping[str, RegionMembers]) -> None:
        self._reader = reader
        self._calendar = calendar
        self._regions = dict(regions)

    def build_one(self, spec: NumericWindowSpec, as_of_date: date) -> RegionWindowBatch:
        """Return a batch of one date, or raise what is wrong with it."""
        return self.build_trailing(spec, as_of_date, 1)

    def build_trailing(self, spec: NumericWindowSpec, as_of_date: date, n_windows: int) -> RegionWindowBatch:
        """Return the windows of a date and of the region's last sessions before it, oldest first."""
        build = self._build(spec, as_of_date, as_of_date, n_windows - 1, self._one_day)
        if build.failures:
            raise build.failures[0]
        if len(build.windows) < n_windows:
            needed, found = (n + spec.window_days - 1 for n in (n_windows, len(build.windows)))
            raise InsufficientHistoryError(spec.entity_id, as_of_date, needed, found)
        return build.windows

    def build_range(
        self, region_ids: Sequence[str], start: date, end: date, window_days: int, warm_up: int = 0
    ) -> WindowBuild[RegionWindowBatch]:
        """Return the windows of a region's sessions from `start` to `end`, `warm_up` before, and failures of others."""
        (region_id,) = region_ids
        return self._build(NumericWindowSpec(REGION, region_id, window_days), start, end, warm_up, self._days_in_range)

    def _build(
        self, spec: NumericWindowSpec, start: date, end: date, warm_up: int, find_days: Callable[..., _Days]
    ) -> WindowBuild[RegionWindowBatch]:
        """Look back as far as it takes to find `warm_up` sessions on which enough members can be seen."""
        region, n_back = self._regions[spec.entity_id], warm_up
        ids = [region.anchor, *sorted(set(region.members) - {region.anchor})]
        while True:
            found = find_days(spec.entity_id, start, end, spec.window_days, n_back)
            bars = self._load(ids, found.days[0].item(), end, spec.window_days)
            build, n_before = _windows_on_days(spec.entity_id, region, bars, found, spec.window_days)
            if n_before >= warm_up or found.is_whole:
                n_wanted = len(build.windows) - n_before
                surplus = slice(max(n_before - warm_up, 0) if n_wanted else len(build.windows), None)
                return WindowBuild(build.windows.take(surplus), build.failures)
            n_back = 2 * n_back + _MORE_SESSIONS

    def _one_day(self, region_id: str, as_of_date: date, _end: date, window_days: int, n_back: int) -> _Days:
        anchor = self._regions[region_id].anchor
        bars = self._load([anchor], as_of_date, as_of_date, window_days, n_back)
        failures = windows_on_date(bars, as_of_date, window_days, self._calendar, LOG_PRICES).failures
        if failures:
            raise _anchor_error(region_id, as_of_date, failures[0])
        days = bars.dates[bars.have_window(window_days)][-1 - n_back :].copy()
        last: date = days[-1].item()
        n_unseen = 0 if last == as_of_date else self._calendar.n_sessions_after(last, as_of_date)
        days[-1] = as_of_date
        return _Days(days, len(days) - 1, n_unseen, is_whole=len(days) <= n_back)

    def _days_in_range(self, region_id: str, start: date, end: date, window_days: int, n_back: int) -> _Days:
        anchor = self._regions[region_id].anchor
        bars = self._load([anchor], start, end, window_days, n_back)
        days = bars.dates[bars.have_window(window_days)]
        if not len(days):
            n_known = int(bars.n_known.max(initial=0))
            raise _anchor_error(region_id, end, InsufficientHistoryError(anchor, end, window_days, n_known))
        first = int(np.searchsorted(days, np.datetime64(start, "D")))
        if first >= len(days):
            raise _anchor_error(region_id, end, InputRefusedError(f"{anchor} has no bar from {start} to {end}"))
        earliest = max(first - n_back, 0)
        return _Days(days[earliest:], first - earliest, 0, is_whole=first < n_back)

    def _load(self, ids: Sequence[str], first: date, last: date, window_days: int, n_back: int = 0) -> JudgedBars:
        return load_judged(self._reader, ids, first, last, window_days, n_back, LOG_PRICES, self._calendar)


def _anchor_error(region_id: str, as_of_date: date, failure: InputRefusedError) -> RegionMembersError:
    reason = str(failure).partition(";")[0]
    if isinstance(failure, InsufficientHistoryError):
        reason = _too_few(failure.instrument_id, failure.found, failure.needed)
    return RegionMembersError(region_id, as_of_date, "its anchor is missing", (reason,))


def _windows_on_days(
    region_id: str, region: RegionMembers, bars: JudgedBars, found: _Days, window_days: int
) -> tuple[WindowBuild[RegionWindowBatch], int]:
    member_ids = tuple(sorted(region.members))
    member_ends = _member_ends(region, bars, found, window_days)
    shares = np.zeros(len(found.days))
    for row, name in enumerate(member_ids):
        shares += np.where(member_ends[row] != ABSENT, region.members[name], 0.0)
    least = LEAST_SHARE * _total(region) * (1.0 - _ROUNDING)
    anchor_ends = member_ends[member_ids.index(region.anchor)]
    is_seen = (anchor_ends != ABSENT) & (shares >= least)
    chosen = np.flatnonzero(is_seen)
    chosen_ends = member_ends[:, chosen]
    weights = np.array([region.members[name] for name in member_ids])[:, np.newaxis]
    anchor = _dates_of(bars, region.anchor)
    windows = RegionWindowBatch(
        entity_ids=(region_id,),
        member_ids=member_ids,
        window_days=window_days,
        as_of_dates=found.days[chosen],
        ends=anchor_ends[chosen],
        member_ends=chosen_ends,
        weights=np.where(chosen_ends != ABSENT, weights / shares[chosen], 0.0),
        features=LOG_PRICES.tabulate(bars.bars),
        input_hashes=_region_hashes(member_ids, bars.bars, chosen_ends, window_days),
        feature_set=LOG_PRICES,
        is_held=_anchor_verdicts(bars, region.anchor, found.days[chosen]) == Verdict.SUSPECT,
        closes=bars.closes,
        close_ends=anchor.close_ends[np.searchsorted(anchor.dates, found.days[chosen], side="right") - 1],
    )
    failures = tuple(
        _members_error(region_id, region, bars, found.days[at].item(), member_ends[:, at], window_days)
        for at in np.flatnonzero(~is_seen)
        if at >= found.n_before
    )
    return WindowBuild(windows, failures), int(is_seen[: found.n_before].sum())


def _member_ends(region: RegionMembers, bars: JudgedBars, found: _Days, window_days: int) -> Int64Vector:
    """Return where each member's window ends on each day, shape (n_members, n_days); -1: none, or too old."""
    sessions = _dates_of(bars, region.anchor).dates
    numbers = np.searchsorted(sessions, found.days, side="right")
    numbers[-1] += found.n_unseen
    ends = np.full((len(region.members), len(found.days)), ABSENT, dtype=np.int64)
    for row, name in enumerate(sorted(region.members)):
        member = _dates_of(bars, name)
        if len(member.dates):
            n_dates = np.searchsorted(member.dates, found.days, side="right")
            newest = np.maximum(n_dates, 1) - 1
            ages = numbers - np.searchsorted(sessions, member.dates[newest], side="right")
            is_present = (n_dates > 0) & member.have_window(window_days)[newest] & (ages <= MAX_AGE_SESSIONS)
            ends[row] = np.where(is_present, member.ends[newest], ABSENT)
    return ends


def _anchor_verdicts(bars: JudgedBars, anchor: str, days: DateVector) -> NDArray[np.int8]:
    """Return what is said of the anchor's bar on some days; one without a bar is sound."""
    own = _dates_of(bars, anchor)
    if not len(own.dates):
        return np.zeros(len(days), dtype=np.int8)
    rows = np.minimum(np.searchsorted(own.dates, days), len(own.dates) - 1)
    return np.where(own.dates[rows] == days, own.verdicts[rows], Verdict.SOUND).astype(np.int8)


def _dates_of(bars: JudgedBars, instrument_id: str) -> JudgedBars:
    return bars.take(bars.of(bars.bars.instrument_ids.index(instrument_id)))


def _total(region: RegionMembers) -> float:
    return reduce(add, (region.members[name] for name in sorted(region.members)))  # in the order shares are added up


def _region_hashes(
    member_ids: Sequence[str], bars: PriceBars, member_ends: Int64Vector, window_days: int
) -> Int64Vector:
    """Return a digest of what each date was made of, shape (n,): the members' window hashes, bound to their names.

    An absent member has no hash, and its place says so; the order in which bars were loaded does not matter.
    """
    is_present = member_ends != ABSENT
    hashes = np.zeros(member_ends.shape, dtype=np.int64)
    ends = member_ends[is_present]
    hashes[is_present] = window_hashes(bars, ends - window_days, ends, LOG_PRICES.bar_fields)
    names = hashlib.blake2b(json.dumps(list(member_ids)).encode(), digest_size=8)
    digests = np.empty(member_ends.shape[1], dtype="<i8")
    for at, (present, values) in enumerate(zip(is_present.T, hashes.T.astype("<i8"), strict=True)):
        digest = names.copy()
        digest.update(present.tobytes() + values.tobytes())
        digests[at] = np.frombuffer(digest.digest(), dtype="<i8")[0]
    return digests.astype(np.int64)


def _members_error(
    region_id: str, region: RegionMembers, bars: JudgedBars, day: date, ends: Int64Vector, window_days: int
) -> RegionMembersError:
    absent, share = [], 0.0
    for name, end in zip(sorted(region.members), ends, strict=True):
        if end != ABSENT:
            share += region.members[name]
            continue
        member = _dates_of(bars, name)
        living = np.flatnonzero(~np.isin(member.verdicts, AGED) & (member.dates <= np.datetime64(day, "D")))
        n_known = int(member.n_known[living[-1]]) if len(living) else 0
        if n_known < window_days:
            absent.append(_too_few(name, n_known, window_days))
        else:
            newest = member.dates[living[-1]]
            absent.append(f"{name}'s last bar, of {newest}, is more than {MAX_AGE_SESSIONS} sessions old")
    rule = f"its members present carry {share / _total(region):.0%} of the weight and half is needed"
    return RegionMembersError(region_id, day, rule, absent)


def _too_few(name: str, found: int, needed: int) -> str:
    return f"{name} has {found} of {needed} sessions" if found else f"{name} has no bars"
