"""Which bars can be trusted: a causal judge of the prices of one instrument, `price-quality-v1`.

On its own day a bar is sound, suspect, frozen, or the first one after a hole. The next bar settles a suspect one: an
error, a break of the scale, or a move. What was said of a day stays: the verdicts known at a bar depend on nothing
after it, and on no more than `CONTEXT` bars before it.

A jump is believed when the market traded it: at a multiple of the usual volume, in shares and in money alike, or
through the range of the day. What was not traded and comes back is an error; what was not traded and stays is a new
scale: a split, another unit, a history re-based. ``benchmarks/price_quality.py`` measures the thresholds.

What a user decided of a bar (`prometheus.market.bars.DECISION`) outranks this: an accepted one is a move, on its day
already; a rejected one is suspect on its day and an error after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Vector, Int64Vector
from prometheus.errors import CalendarRangeError
from prometheus.market.bars import ACCEPTED, DECISION, REJECTED, PriceBars
from prometheus.protocols import Sessions

PRICE_QUALITY_V1 = "price-quality-v1"
JUDGED_FIELDS = ("adjusted_close", "close", "high", "low", "volume")

SCALE_DAYS = 63
MIN_SCALE_DAYS = 21
N_TRIMMED = 5
SCALE_FLOOR = 0.004
FIRST_SCALE = 0.05
"""The scale of the first bars: there is no history yet to measure it by."""
MIN_VOLUMES = 5
MEANINGFUL_RANGE = 0.003

SUSPECT_Z = ((0.45, 0.65), (10.0, 5.0))
"""By the size of a jump, in between on a line: smaller ones must stand out more."""
USUAL_VOLUMES = ((0.3, 0.5), (2.0, 3.0))
"""By the size of a jump: the multiple of the usual volume that makes it believed; thrice that for rises beyond the last
size, and for falls whose day did not trade through `TRADED_LARGE` of the way."""
TRADED_SMALL, TRADED_LARGE = 0.4, 0.3
SMALLEST_JUMP = 0.05
SMALLEST_JUMP_WITHOUT_VOLUME = 0.25
BEYOND_ALL_MOVES = 1.5
"""Suspect at any volume: no stock or index of the development set moved so far in a day (log return)."""
OUTSIDE_RANGE = 0.02
OUTSIDE_Z = 3.0

TAKEN_BACK = (0.7, 1.3)
"""The share of a jump that the next session must take back to make it an error."""
TRADED_THROUGH = 0.2
"""A day whose range covers no more of a jump than this did not trade through it."""
SMALLEST_SPIKE, LARGE_SPIKE = 0.1, 0.3
SMALLEST_BREAK, SMALLEST_SPLIT, LARGE_BREAK = 0.15, 0.38, 1.0
SPLIT_RATIOS = (1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 100, 1000)

FROZEN_BARS = 6
"""From the sixth bar with the same close and no volume on, a feed is frozen."""
HOLE_SESSIONS = 5
"""More missing sessions than this make a hole: the return across it is not that of a day."""
NEW_START_SESSIONS = 63
"""After more missing sessions than this a history starts anew."""
CONTEXT = SCALE_DAYS + 21
_PLAIN = 0.9
"""Bars that reach no more than this share of a threshold are below it whatever the rounding."""
DEFECTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a defect of the judge raises; it costs one instrument, not the others."""


class Verdict(IntEnum):
    """What is said of a bar."""

    SOUND = 0
    SUSPECT = 1
    MOVE = 2
    ERROR = 3
    BREAK = 4
    FROZEN = 5
    HOLE = 6
    NEW_START = 7


LEFT_OUT = (Verdict.ERROR, Verdict.BREAK, Verdict.FROZEN, Verdict.HOLE)
"""Bars whose return is not that of a day."""
NEW_SCALE = (Verdict.BREAK, Verdict.HOLE)
"""Bars whose level is not compared with the level before."""
AGED = (Verdict.FROZEN, Verdict.HOLE)
"""Bars whose last sound predecessor is more than `HOLE_SESSIONS` sessions old."""


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """The verdicts on the bars of one instrument.

    Attributes
    ----------
    on_day, settled
        Shape (n,), int8, values of `Verdict`: what is said at the close of the bar itself, and from the next bar on.
    log_returns
        Shape (n,): against the last bar that is no error; NaN for the first bar.
    z
        Shape (n,): a suspect jump in units of the instrument's own scale, else 0.
    """

    on_day: NDArray[np.int8]
    settled: NDArray[np.int8]
    log_returns: Float64Vector
    z: Float64Vector

    @classmethod
    def of_none(cls, n_bars: int) -> Judgement:
        """Return verdicts by which no bar is of use."""
        frozen = np.full(n_bars, Verdict.FROZEN, dtype=np.int8)
        return cls(frozen, frozen, np.full(n_bars, np.nan), np.zeros(n_bars))

    def known_at(self, row: int) -> NDArray[np.int8]:
        """Return the verdicts on the bars up to `row` as they are known at its close, shape (row + 1,)."""
        known = self.settled[: row + 1].copy()
        known[row] = self.on_day[row]
        return known

    @property
    def is_left_out(self) -> NDArray[np.bool_]:
        """Shape (n,): whether encoders leave the bar out once it is settled."""
        return np.isin(self.settled, LEFT_OUT)

    @property
    def is_held(self) -> NDArray[np.bool_]:
        """Shape (n,): whether the bar was suspect on its day, whose label is that of the day before."""
        is_suspect: NDArray[np.bool_] = self.on_day == Verdict.SUSPECT
        return is_suspect


def judge(bars: PriceBars, n_missing: Int64Vector) -> Judgement:
    """Return the verdicts on the bars of one instrument, oldest first.

    Parameters
    ----------
    bars
        With `JUDGED_FIELDS` and, where users decide, `DECISION`. What is judged is the adjusted close, with high and
        low on its scale; high, low and volume may be NaN.
    n_missing
        Shape (n,): how many sessions without a bar lie before each bar, see `missing_sessions`.
    """
    facts = _Facts.of(bars)
    on_day = _spans(bars, n_missing)
    trial = _Trial(facts, on_day, on_day.copy(), np.diff(facts.log_close, prepend=np.nan), np.zeros(len(on_day)))
    heard = 0
    decided = np.flatnonzero(facts.decision[1:]) + 1
    for row in sorted({*facts.rows_that_jump().tolist(), *decided.tolist()}):
        if row > heard:
            heard = trial.hear_from(row)
    return Judgement(trial.on_day, trial.settled, trial.log_returns, trial.z)


def is_plain(before: Sequence[float], bar: Sequence[float], n_days: int) -> bool:
    """Return whether a bar is sound because it hardly moved from the sound one before it, `n_days` earlier.

    The values are those of `JUDGED_FIELDS`; high, low and volume may be NaN. Of any other bar only `judge` knows.
    """
    adjusted, close, high, low, volume = bar
    if n_days > HOLE_SESSIONS + 1 or (close == before[1] and not volume > 0):
        return False
    is_within = not (close > high * (1.0 + _PLAIN * OUTSIDE_RANGE) or low > close * (1.0 + _PLAIN * OUTSIDE_RANGE))
    return is_within and abs(math.log(adjusted / before[0])) < _PLAIN * SMALLEST_JUMP


def missing_sessions(dates: DateVector, calendar: Sessions) -> Int64Vector:
    """Return how many sessions without a bar lie before each date, shape (n,); exact where that may be a hole.

    The calendar is asked only about gaps that are holes by weekdays, or by days where a history has weekends.
    """
    n_missing: Int64Vector = np.zeros(len(dates), dtype=np.int64)
    n_missing[1:] = np.busday_count(dates[:-1] + 1, dates[1:])
    if not np.is_busday(dates).all():
        n_missing[1:] = np.diff(dates.astype(np.int64)) - 1
    for row in np.flatnonzero(n_missing > HOLE_SESSIONS).tolist():
        before, day = dates[row - 1].item(), dates[row].item()
        with suppress(CalendarRangeError):  # bars from before all calendars
            n_missing[row] = calendar.n_sessions_after(before, day) - 1
    return n_missing


def _spans(bars: PriceBars, n_missing: Int64Vector) -> NDArray[np.int8]:
    """Return what each bar is by its neighbours in time: sound, frozen, or the first one after a hole."""
    verdicts = np.zeros(len(bars), dtype=np.int8)
    close, volume = bars.column("close"), bars.column("volume")
    is_still = np.zeros(len(bars), dtype=bool)
    is_still[1:] = (close[1:] == close[:-1]) & ~(volume[1:] > 0)
    decision = bars.column(DECISION)
    is_still &= decision != ACCEPTED
    rows = np.arange(len(bars))
    n_still = rows - np.maximum.accumulate(np.where(is_still, -1, rows))
    verdicts[n_still >= FROZEN_BARS] = Verdict.FROZEN
    n_absent = n_missing.copy()
    n_absent[1:] += np.where(~is_still[1:] & (n_still[:-1] >= FROZEN_BARS), n_still[:-1], 0)
    if len(bars) and decision[0] == REJECTED:
        n_absent[0] = NEW_START_SESSIONS
    for row in np.flatnonzero(decision == REJECTED).tolist():
        if n_absent[row] >= HOLE_SESSIONS:
            verdicts[row] = Verdict.FROZEN
        n_absent[row + 1 : row + 2] += n_absent[row] + 1
        n_absent[row] = 0
    is_hole, is_start = n_absent > HOLE_SESSIONS, n_absent > NEW_START_SESSIONS
    is_accepted = decision == ACCEPTED  # a hole then is no hole, and a new start only a hole
    verdicts[np.where(is_accepted, is_start, is_hole)] = Verdict.HOLE
    verdicts[is_start & ~is_accepted] = Verdict.NEW_START
    return verdicts


@dataclass(frozen=True, slots=True, eq=False)
class _Facts:
    """What the bars say; shape (n,) each, NaN where they say nothing."""

    log_close: Float64Vector
    log_high: Float64Vector
    log_low: Float64Vector
    volume: Float64Vector
    sizes: Float64Vector
    decision: Float64Vector
    sizes_before: Float64Vector
    """Shape (`SCALE_DAYS` + n,): the sizes, after as many NaN; those before a row begin at its number."""

    @classmethod
    def of(cls, bars: PriceBars) -> _Facts:
        adjusted, close, high, low, volume = (bars.column(field) for field in JUDGED_FIELDS)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            has_range = (high > low * (1 + MEANINGFUL_RANGE)) & (low > 0)
            log_close, factor = np.log(adjusted), np.log(adjusted / close)
            sizes = np.abs(np.diff(log_close, prepend=np.nan))
            log_high, log_low = (np.where(has_range, np.log(price) + factor, np.nan) for price in (high, low))
        return cls(
            log_close,
            log_high,
            log_low,
            volume=np.where(volume > 0, volume, np.nan),
            sizes=sizes,
            decision=bars.column(DECISION),
            sizes_before=np.concatenate([np.full(SCALE_DAYS, np.nan), sizes]),
        )

    def rows_that_jump(self) -> Int64Vector:
        """Return the rows of which anything but sound may be said, if the bar before is sound."""
        outside = np.fmax(self.log_close - self.log_high, self.log_low - self.log_close) > OUTSIDE_RANGE
        rows = np.flatnonzero((self.sizes > SMALLEST_JUMP) | (outside & np.isfinite(self.sizes)))
        needed = np.where(outside[rows], OUTSIDE_Z, np.interp(self.sizes[rows], *SUSPECT_Z))
        return rows[self.sizes[rows] > needed * self.scales(rows)]

    def is_outside(self, row: int) -> bool:
        """Return whether the close is outside the range of its day, by more than rounding."""
        close = self.log_close[row]
        return bool(close - self.log_high[row] > OUTSIDE_RANGE or self.log_low[row] - close > OUTSIDE_RANGE)

    def scales(self, rows: Int64Vector) -> Float64Vector:
        """Return the size of a usual day before some bars: by the median, or by the mean where most days are still."""
        before = np.sort(self.sizes_before[rows[:, np.newaxis] + np.arange(SCALE_DAYS)], axis=1)
        usual: Float64Vector = np.fmax(1.4826 * before[:, SCALE_DAYS // 2], 1.25 * before[:, :-N_TRIMMED].mean(axis=1))
        for at in np.flatnonzero(np.isnan(before[:, -1])).tolist():
            known = before[at, np.isfinite(before[at])]
            is_enough = len(known) >= MIN_SCALE_DAYS
            usual[at] = (
                FIRST_SCALE
                if not is_enough
                else max(1.4826 * float(np.median(known)), 1.25 * float(known[:-N_TRIMMED].mean()))
            )
        usual[usual < SCALE_FLOOR] = SCALE_FLOOR
        return usual

    def relative_volume(self, row: int, log_return: float) -> float:
        """Return the volume over its usual one, in shares or in money, whichever is less; NaN if not known."""
        before = self.volume[max(row - SCALE_DAYS, 0) : row]
        before = before[np.isfinite(before)]
        if len(before) < MIN_VOLUMES:
            return np.nan
        return float(self.volume[row] / np.median(before)) * min(1.0, float(np.exp(log_return)))

    def traded_share(self, row: int, before: float) -> float:
        """Return the share of the way from a log price to the close that the day's range covers; NaN if it has none."""
        if np.isnan(self.log_high[row]):
            return np.nan
        low, high = sorted((before, float(self.log_close[row])))
        covered = min(high, float(self.log_high[row])) - max(low, float(self.log_low[row]))
        return max(0.0, covered) / (high - low)


@dataclass(frozen=True, slots=True)
class _Jump:
    """A suspect return, from the log price `before`."""

    row: int
    before: float
    log_return: float
    scale: float

    @property
    def size(self) -> float:
        return abs(self.log_return)


@dataclass(slots=True, eq=False)
class _Trial:
    """One pass over the bars, oldest first; at most one jump waits for the next bar."""

    facts: _Facts
    on_day: NDArray[np.int8]
    settled: NDArray[np.int8]
    log_returns: Float64Vector
    z: Float64Vector
    waiting: _Jump | None = None

    def hear_from(self, row: int) -> int:
        """Judge a bar, and those after it until none is waiting; return the last one judged."""
        self._hear(row)
        while self.waiting is not None and row + 1 < len(self.on_day):
            row += 1
            self._hear(row)
        return row

    def _hear(self, row: int) -> None:
        """Settle the bar before, then say what this one is on its own day."""
        before = float(self.facts.log_close[row - 1])
        if self.waiting is not None:
            verdict = self._settle(self.waiting, row)
            self.settled[self.waiting.row] = verdict
            if verdict == Verdict.ERROR:
                before = self.waiting.before
        self.waiting = None
        self.log_returns[row] = float(self.facts.log_close[row]) - before
        if self.on_day[row] != Verdict.SOUND:
            return
        jump = _Jump(row, before, float(self.log_returns[row]), float(self.facts.scales(np.array([row]))[0]))
        decision = self.facts.decision[row]
        if decision != REJECTED and not self._is_suspect(jump):
            return
        self.on_day[row] = self.settled[row] = Verdict.MOVE if decision == ACCEPTED else Verdict.SUSPECT
        self.z[row] = jump.size / jump.scale
        if decision == REJECTED:
            self.settled[row] = Verdict.ERROR
        self.waiting = None if decision == ACCEPTED else jump

    def _is_suspect(self, jump: _Jump) -> bool:
        if self.facts.is_outside(jump.row) and jump.size > OUTSIDE_Z * jump.scale:
            return True
        if jump.size <= max(float(np.interp(jump.size, *SUSPECT_Z)) * jump.scale, SMALLEST_JUMP):
            return False
        if jump.size >= BEYOND_ALL_MOVES:
            return True
        volume = self.facts.relative_volume(jump.row, jump.log_return)
        if np.isnan(volume):
            return jump.size >= SMALLEST_JUMP_WITHOUT_VOLUME
        share = self.facts.traded_share(jump.row, jump.before)
        sizes, multiples = USUAL_VOLUMES
        needed = float(np.interp(jump.size, sizes, multiples))
        if jump.size >= sizes[-1] and (jump.log_return > 0 or not share > TRADED_LARGE):
            needed *= 3
        return not (volume >= needed or (jump.size < sizes[0] and share >= TRADED_SMALL))

    def _settle(self, jump: _Jump, row: int) -> Verdict:
        if self.facts.decision[jump.row] == REJECTED:
            return Verdict.ERROR
        share_back = 1 - float(self.facts.log_close[row] - jump.before) / jump.log_return
        share = self.facts.traded_share(jump.row, jump.before)
        was_outside = self.facts.is_outside(jump.row)
        if TAKEN_BACK[0] <= share_back <= TAKEN_BACK[1]:
            is_untraded = share < TRADED_THROUGH and jump.size > SMALLEST_SPIKE
            if was_outside or is_untraded or jump.size >= LARGE_SPIKE:
                return Verdict.ERROR
        if was_outside or share > TRADED_THROUGH:
            return Verdict.MOVE
        has_evidence = share <= TRADED_THROUGH and np.isfinite(self.facts.volume[jump.row])
        is_split = jump.size > SMALLEST_SPLIT and _is_near_split(jump)
        is_break = (has_evidence and jump.size >= SMALLEST_BREAK) or is_split or jump.size >= LARGE_BREAK
        return Verdict.BREAK if is_break else Verdict.MOVE


def _is_near_split(jump: _Jump) -> bool:
    return bool(np.min(np.abs(np.log(SPLIT_RATIOS) - jump.size)) < 3 * jump.scale)
