"""Whole histories, once staged, against what is stored: one scale, one currency, daily bars on sessions.

A row can be sound and its history wrong: a file after a split appended to one from before it, weekly bars, a calendar
filled forward. Nothing of such a file is stored; the message says what shows it, and the way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import DateVector
from prometheus.data.staging import Overlap, PriceStaging, Seam, StagedInstrument
from prometheus.errors import CalendarRangeError, DataCheckError
from prometheus.market.calendar import TradingCalendar, TradingCalendarConfig
from prometheus.market.daily import MIN_BARS, frequency_fault, is_filled_up, off_sessions
from prometheus.market.findings import findings_of
from prometheus.market.quality import CONTEXT, JUDGED_FIELDS, judge, missing_sessions

SAME_RATIO = 0.005
"""Ratios of overlapping bars that differ by less are one ratio."""
SAME_SCALE = 0.01
"""A ratio nearer to 1 is a dividend's re-adjustment or a correction."""
FULL_YEAR = 260
"""More weekdays than this in a row hold a holiday of any market."""
MAX_NAMED = 3
MAX_FINDINGS = 10
PATCH_SHARE = 0.5
"""A file with a smaller share of the stored bars of its span corrects single bars and withdraws none."""


@dataclass(frozen=True, slots=True)
class HistoryChecks:
    """Why histories may not be stored, by instrument, and remarks on those that may."""

    faults: Mapping[str, str]
    remarks: Sequence[str]

    def require_sound(self) -> None:
        """Raise `DataCheckError` that names the first faults."""
        if self.faults:
            named = [f"{name}: {fault}" for name, fault in list(self.faults.items())[:MAX_NAMED]]
            n_more = len(self.faults) - len(named)
            more = f"; and {n_more} more instruments" if n_more else ""
            raise DataCheckError(f"{'; '.join(named)}{more}; nothing was written")


def check_histories(staging: PriceStaging, staged: Sequence[StagedInstrument], calendar: str) -> HistoryChecks:
    """Return what is wrong with whole histories that are staged; `calendar` is that of their sessions."""
    seams = staging.seams()
    faults = dict(_currency_faults(staging, staged, seams))
    faults |= dict(_scale_faults(staging, seams))
    remarks = []
    sessions = TradingCalendar(TradingCalendarConfig(market=calendar))
    for item in staged:
        if not _may_be_no_daily_history(item):
            continue
        dates, closes = staging.closes(item.instrument_id)
        fault = frequency_fault(dates)
        try:
            off = off_sessions(dates, closes, sessions)
        except CalendarRangeError:  # an exchange whose holidays are not recorded
            off = dates[:0]
        if fault is None and is_filled_up(off, len(dates)):
            way_out = "load its sessions only, or name its market or calendar: --market-id JP_EQ, --calendar 24/7"
            fault = f"{_count_off(off, len(dates), calendar)}; {way_out}"
        elif len(off):
            remarks.append(f"{item.instrument_id}: {_count_off(off, len(dates), calendar)}")
        if fault is not None:
            faults[item.instrument_id] = fault
    return HistoryChecks(faults, remarks)


def stored_findings(staging: PriceStaging, staged: Sequence[StagedInstrument], calendar: str) -> list[str]:
    """Return remarks on what the judge of prices finds in the histories as they are stored now, from the rows on."""
    sessions = TradingCalendar(TradingCalendarConfig(market=calendar))
    found = []
    for item in staged:
        bars = staging.stored_bars(item, CONTEXT, JUDGED_FIELDS)
        n_missing = missing_sessions(bars.dates, sessions)
        all_findings = findings_of(bars, judge(bars, n_missing), n_missing)
        found += [finding for finding in all_findings if finding.last >= item.first_date]
    more = [f"{len(found) - MAX_FINDINGS} more findings: python -m prometheus data check"]
    return [str(finding) for finding in found[:MAX_FINDINGS]] + (more if len(found) > MAX_FINDINGS else [])


def withdrawn(staging: PriceStaging, *, replace: bool) -> list[str]:
    """Return remarks on stored bars that a history lacks which holds those around them; `replace` deletes them."""
    remarks = []
    for name, n_staged, days in staging.withdrawn():
        if n_staged < PATCH_SHARE * (n_staged + len(days)):
            continue
        shown = ", ".join(map(str, days[:MAX_NAMED])) + (", …" if len(days) > MAX_NAMED else "")
        bars = f"{len(days):,} stored bar{'s' if len(days) > 1 else ''} ({shown})"
        if replace:
            staging.remove(name, days)
            remarks.append(f"{name}: {bars} not in the file removed; run the regimes of these dates again")
        else:
            remarks.append(f"{name}: {bars} not in the file, withdrawn by its source; --replace removes them")
    return remarks


def _currency_faults(
    staging: PriceStaging, staged: Sequence[StagedInstrument], seams: Sequence[Seam]
) -> Iterator[tuple[str, str]]:
    stored = {seam.instrument_id: seam.currency for seam in seams}
    for item in staged:
        known = stored.get(item.instrument_id, item.currency)
        if known != item.currency:
            way_out = "one instrument has one currency: load the whole history again"
            yield item.instrument_id, f"in {item.currency}, and the bars stored beside them are in {known}; {way_out}"
    for name, codes, since in staging.currencies():
        spans = ", ".join(f"{code} from {day}" for code, day in zip(codes, since, strict=True))
        way_out = "one instrument has one: convert the prices, or load them as two instruments"
        yield name, f"two currencies, {spans}; {way_out}"


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
