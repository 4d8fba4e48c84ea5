"""Faults of stored prices, as the judge finds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Literal

import numpy as np

from prometheus.app.wiring import UseCase, calendar_of
from prometheus.errors import unknown_instrument
from prometheus.market.bars import ACCEPTED, DECISION, PriceBars
from prometheus.market.calendar import US_EQ
from prometheus.market.findings import Finding, findings_of, known_on
from prometheus.market.quality import CONTEXT, DEFECTS, JUDGED_FIELDS, judge, missing_sessions

CHECKED_AT_ONCE = 50
"""Instruments whose bars are in memory together while they are checked."""
FIELDS = (*JUDGED_FIELDS, DECISION)


@dataclass(frozen=True, slots=True)
class PriceCheck:
    """The open findings by instrument and date, and by instrument that the judge failed on, how."""

    findings: Sequence[Finding]
    failures: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """0, or 3 if anything is open."""
        return 3 if self.findings or self.failures else 0


@dataclass(frozen=True, slots=True)
class JudgedFinding:
    """A finding, the date of the bar that showed it, whether a label is held for it, and what is decided of it.

    `decided_at` and `reason` are None of a past date.
    """

    finding: Finding
    known_on: date
    is_held: bool
    verdict: Literal["ACCEPTED", "REJECTED"] | None = None
    decided_at: datetime | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            **self.finding.to_dict(), "known_on": str(self.known_on), "held": self.is_held,
            "decision": self.verdict and self.verdict.lower(), "decided_at": self.decided_at and str(self.decided_at),
            "reason": self.reason,
        }  # fmt: skip


class CheckPrices(UseCase):
    """Judges stored prices."""

    def check(self, instrument_ids: Sequence[str] | None = None, market_id: str | None = None) -> PriceCheck:
        """Return what the judge of prices finds in what is stored and is not decided yet."""
        from prometheus.data.report import build_data_report  # noqa: PLC0415 -- only here

        reports = build_data_report(self._wired.db_manager, instrument_ids=instrument_ids, market_id=market_id)
        return self.check_known([each.instrument_id for each in reports])

    def check_known(
        self, names: Sequence[str], since: date = date.min, until: date = date.max, market: str | None = None
    ) -> PriceCheck:
        """Return the open findings of instruments whose bars lie, or end, between two dates, as known on the second.

        `market` is whose sessions they have; without it that of each. A failure of the judge on one instrument stops no
        other.
        """
        of_each = {} if market is not None else self._wired.catalog.markets_of(names)
        markets = {**dict.fromkeys(names, market or US_EQ), **of_each}
        found: list[Finding] = []
        failures: dict[str, str] = {}
        for first in range(0, len(names), CHECKED_AT_ONCE):
            chosen = names[first : first + CHECKED_AT_ONCE]
            for bars in self._wired.reader.load_bars(chosen, since, until, CONTEXT + 1, FIELDS).each():
                (name,) = bars.instrument_ids
                try:
                    found += [each for each in _findings(bars, markets[name]) if known_on(each, bars) >= since]
                except DEFECTS as error:
                    failures[name] = failure_text(error)
        return PriceCheck(found, failures)

    def bars(self, instrument_id: str) -> PriceBars:
        """Return all bars of an instrument, for the judge; NotFoundError without any."""
        bars = self._wired.reader.load_bars([instrument_id], date.min, date.max, 1, FIELDS)
        if not len(bars):
            raise unknown_instrument(instrument_id)
        return bars

    def finding_on(self, bars: PriceBars, day: date) -> Finding | None:
        """Return the open finding that a date lies in."""
        market = self._wired.catalog.markets_of(bars.instrument_ids).get(bars.instrument_ids[0], US_EQ)
        return next((each for each in _findings(bars, market) if each.first <= day <= each.last), None)


def failure_text(error: Exception) -> str:
    """Return how the judge failed on an instrument."""
    return f"the judge of prices failed, {type(error).__name__}: {error}"


def _findings(bars: PriceBars, market: str) -> Iterator[Finding]:
    n_missing = missing_sessions(bars.dates, calendar_of(market))
    return findings_of(bars, judge(bars, n_missing), n_missing)


def judged_findings(bars: PriceBars, market: str) -> list[JudgedFinding]:
    """Return what the judge finds in the bars of one instrument, decided or not, by first date."""
    n_missing = missing_sessions(bars.dates, calendar_of(market))
    judgement, decision = judge(bars, n_missing), bars.column(DECISION)

    def judged(finding: Finding) -> JudgedFinding:
        is_held = judgement.is_held[_rows_of(finding, bars)].any()
        return JudgedFinding(finding, known_on(finding, bars), bool(is_held))

    found = [*map(judged, findings_of(bars, judgement, n_missing))]
    if not decision.any():
        return found
    undecided = replace(bars, fields=JUDGED_FIELDS, values=bars.values[: len(JUDGED_FIELDS)])
    for finding in findings_of(undecided, judge(undecided, n_missing), n_missing):
        decided = decision[_rows_of(finding, bars)]
        if decided.any():
            is_accepted = decided[np.flatnonzero(decided)[0]] == ACCEPTED
            found.append(replace(judged(finding), verdict="ACCEPTED" if is_accepted else "REJECTED"))
    return sorted(found, key=lambda each: each.finding.first)


def _rows_of(finding: Finding, bars: PriceBars) -> slice:
    first, last = (np.datetime64(day, "D") for day in (finding.first, finding.last))
    return slice(*np.searchsorted(bars.dates, [first, last + 1]).tolist())
