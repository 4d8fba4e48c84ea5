"""Whole histories, once staged, against what is stored: one scale, one currency, daily bars on sessions.

A row can be sound and its history wrong: a file after a split appended to one from before it, weekly bars, a calendar
filled forward. Nothing of such a file is stored; the message says what shows it, and the way out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import DateVector
from prometheus.data.staging import Overlap, PriceStaging, Seam, StagedInstrument
from prometheus.errors import CalendarRangeError, DataCheckError
from prometheus.market.bars import PriceBars
from prometheus.market.calendar import TradingCalendar, TradingCalendarConfig
from prometheus.market.currencies import major_currency
from prometheus.market.daily import MIN_BARS, frequency_fault, is_filled_up, off_sessions
from prometheus.market.findings import Finding, findings_of, known_on
from prometheus.market.quality import CONTEXT, DEFECTS, JUDGED_FIELDS, judge, missing_sessions

SAME_RATIO = 0.005
"""Ratios of overlapping bars that differ by less are one ratio."""
SAME_SCALE = 0.01
"""A ratio nearer to 1 is a dividend's re-adjustment or a correction."""
FULL_YEAR = 260
"""More weekdays than this in a row hold a holiday of any market."""
MAX_NAMED = 3
MAX_FINDINGS = 10
ROWS_AT_ONCE = 500_000
"""Staged bars that are in memory together: some 50 MB."""
STORED_AT_ONCE = 50
"""Instruments whose stored bars are in memory together."""
PATCH_SHARE = 0.5
"""A file with a smaller share of the stored bars of its span corrects single bars and withdraws none."""


@dataclass(frozen=True, slots=True)
class HistoryChecks:
    """Why histories may not be stored, by instrument, and remarks on those that may.

    `continued` names the instruments of which bars are stored before or after the staged ones.
    """

    faults: Mapping[str, str]
    remarks: Sequence[str]
    continued: frozenset[str]

    def require_sound(self) -> None:
        """Raise `DataCheckError` that names the first faults."""
        if self.faults:
            named = [f"{name}: {fault}" for name, fault in list(self.faults.items())[:MAX_NAMED]]
            n_more = len(self.faults) - len(named)
            more = f"; and {n_more} more instruments" if n_more else ""
            raise DataCheckError(f"{'; '.join(named)}{more}; nothing was written")


def check_histories(staging: PriceStaging, staged: Sequence[StagedInstrument], calendar: str) -> HistoryChecks:
    """Return what is wrong with whole histories that are staged; `calendar` is that of their sessions."""
    seams = staging.seams(staged)
    faults = dict(_currency_faults(staging, staged, seams))
    faults |= dict(_scale_faults(staging, seams))
    remarks = []
    sessions = TradingCalendar(TradingCalendarConfig(market=calendar))
    for chunk in chunks([item for item in staged if _may_be_no_daily_history(item)]):
        for bars in staging.staged_bars([item.instrument_id for item in chunk], ("adjusted_close",)).each():
            fault, remark = _session_fault(bars, sessions, calendar)
            if fault is not None:
                faults[bars.instrument_ids[0]] = fault
            elif remark is not None:
                remarks.append(f"{bars.instrument_ids[0]}: {remark}")
    return HistoryChecks(faults, remarks, frozenset(seam.instrument_id for seam in seams))


def _session_fault(bars: PriceBars, sessions: TradingCalendar, calendar: str) -> tuple[str | None, str | None]:
    """Return why a history is not one of daily bars on sessions, or a remark on single ones."""
    fault = frequency_fault(bars.dates)
    try:
        off = off_sessions(bars.dates, bars.column("adjusted_close"), sessions)
    except CalendarRangeError:  # an exchange whose holidays are not recorded
        off = bars.dates[:0]
    counted = _count_off(off, len(bars), calendar) if len(off) else None
    if fault is None and is_filled_up(off, len(bars)):
        way_out = "load its sessions only, or name its market or calendar: --market-id JP_EQ, --calendar 24/7"
        return f"{counted}; {way_out}", None
    return fault, counted


def stored_findings(
    staging: PriceStaging, staged: Sequence[StagedInstrument], joined: Collection[str], calendar: str
) -> list[str]:
    """Return remarks on what the judge of prices finds in the histories as they are stored now, from the rows on.

    Of the instruments in `joined` stored bars stand beside the staged ones; of the others the staged ones are all.
    """
    sessions = TradingCalendar(TradingCalendarConfig(market=calendar))
    first_date = {item.instrument_id: item.first_date for item in staged}
    place = {name: at for at, name in enumerate(first_date)}
    found: list[Finding] = []
    failed = []
    for bars in _bars_as_stored(staging, staged, joined):
        (name,) = bars.instrument_ids
        try:
            n_missing = missing_sessions(bars.dates, sessions)
            findings = [*findings_of(bars, judge(bars, n_missing), n_missing)]
        except DEFECTS as error:
            failed.append(f"{name}: the judge of prices failed, {type(error).__name__}: {error}")
            continue
        found += (each for each in findings if known_on(each, bars) >= first_date[name])
    found.sort(key=lambda finding: place[finding.instrument_id])
    more = [f"{len(found) - MAX_FINDINGS} more findings: python -m prometheus data check"]
    return failed + [str(finding) for finding in found[:MAX_FINDINGS]] + (more if len(found) > MAX_FINDINGS else [])


def _bars_as_stored(
    staging: PriceStaging, staged: Sequence[StagedInstrument], joined: Collection[str]
) -> Iterator[PriceBars]:
    for chunk in chunks([item for item in staged if item.instrument_id not in joined]):
        yield from staging.staged_bars([item.instrument_id for item in chunk], JUDGED_FIELDS).each()
    beside = [item for item in staged if item.instrument_id in joined]
    for first in range(0, len(beside), STORED_AT_ONCE):
        yield from staging.stored_bars(beside[first : first + STORED_AT_ONCE], CONTEXT, JUDGED_FIELDS).each()


def chunks(staged: Sequence[StagedInstrument]) -> Iterator[list[StagedInstrument]]:
    """Yield consecutive instruments that have about `ROWS_AT_ONCE` rows together."""
    ends = np.cumsum([item.n_rows for item in staged]) // ROWS_AT_ONCE
    for number in np.unique(ends):
        yield [item for item, end in zip(staged, ends, strict=True) if end == number]


def withdrawn(
    staging: PriceStaging, staged: Sequence[StagedInstrument], *, replace: bool
) -> tuple[list[str], frozenset[str]]:
    """Return remarks on stored bars that a history lacks which holds those around them; `replace` deletes them.

    Asked before the staged rows are stored. The second value names all instruments with such bars.
    """
    remarks, found = [], staging.withdrawn(staged)
    for name, n_staged, days in found:
        if n_staged < PATCH_SHARE * (n_staged + len(days)):
            continue
        shown = ", ".join(map(str, days[:MAX_NAMED])) + (", …" if len(days) > MAX_NAMED else "")
        bars = f"{len(days):,} stored bar{'s' if len(days) > 1 else ''} ({shown})"
        if replace:
            staging.remove(name, days)
            remarks.append(f"{name}: {bars} not in the file removed; run the regimes of these dates again")
        else:
            remarks.append(f"{name}: {bars} not in the file, withdrawn by its source; --replace removes them")
    return remarks, frozenset(name for name, _, _ in found)


def _currency_faults(
    staging: PriceStaging, staged: Sequence[StagedInstrument], seams: Sequence[Seam]
) -> Iterator[tuple[str, str]]:
    stored = {seam.instrument_id: seam.currency for seam in seams}
    for item in staged:
        known = stored.get(item.instrument_id, item.currency)
        if known != item.currency:
            way_out = _conversion({known, item.currency}) or "load the whole history again"
            way_out = f"one instrument has one currency: {way_out}"
            yield item.instrument_id, f"in {item.currency}, and the bars stored beside them are in {known}; {way_out}"
    for name, codes, since in staging.currencies():
        spans = ", ".join(f"{code} from {day}" for code, day in zip(codes, since, strict=True))
        offered = _conversion(set(codes))
        way_out = f"one instrument has one: {offered or 'convert the prices'}, or load them as two instruments"
        yield name, f"two currencies, {spans}; {way_out}"


def _conversion(codes: Collection[str]) -> str:
    """Return the way out where currencies differ by their unit alone, else nothing."""
    majors = {major_currency(code) for code in codes}
    return f"--convert-minor-units stores all in {majors.pop()}" if len(majors) == 1 else ""


def _scale_faults(staging: PriceStaging, seams: Sequence[Seam]) -> Iterator[tuple[str, str]]:
    n_staged = {seam.instrument_id: seam.n_staged for seam in seams}
    for overlap in staging.overlaps(list(n_staged)):
        is_correction = overlap.n_bars == 1 and n_staged[overlap.instrument_id] == 1
        ratio = None if is_correction else _other_scale(overlap)
        if ratio is not None:
            bars = (
                "bar that overlaps is the stored one" if overlap.n_bars == 1 else "bars that overlap are those stored"
            )
            way_out = "so the file is on another scale (a split, another unit); load the whole history again"
            yield overlap.instrument_id, f"the {overlap.n_bars} {bars} x {ratio:.6g}, {way_out}"


def _other_scale(overlap: Overlap) -> float | None:
    for least, most in (overlap.close_ratios, overlap.adjusted_ratios):
        if most <= least * (1 + SAME_RATIO) and abs(least - 1) > SAME_SCALE:
            return (least + most) / 2
    return None


def _may_be_no_daily_history(item: StagedInstrument) -> bool:
    """Return whether number and span of the bars leave it open that they are daily and on sessions."""
    n_weekdays = int(np.busday_count(item.first_date, item.last_date)) + 1
    is_sparse = item.n_rows >= MIN_BARS and n_weekdays >= 1.9 * item.n_rows
    return is_sparse or item.n_weekend > 0 or (item.n_rows > FULL_YEAR and item.n_rows >= n_weekdays)


def _count_off(off: DateVector, n_bars: int, calendar: str) -> str:
    day = off[0].item()
    return f"{len(off):,} of {n_bars:,} bars on no session of {calendar}, the first on {day:%A} {day}"
