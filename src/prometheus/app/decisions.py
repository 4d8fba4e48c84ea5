"""What users decide of faulty prices, what was corrected, and what is taken out again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Protocol

import numpy as np

from prometheus.app.findings import FIELDS, CheckPrices, JudgedFinding, failure_text, judged_findings
from prometheus.data.decisions import PriceDecision, PriceDecisions, Verdict
from prometheus.data.reader import PriceRevision
from prometheus.data.removal import Counts, Removal
from prometheus.data.vectors.index import WindowIndex
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.errors import InputRefusedError, NotFoundError, unknown_instrument
from prometheus.market.bars import DECISION, REJECTED, PriceBars
from prometheus.market.calendar import US_EQ
from prometheus.market.findings import Finding
from prometheus.market.quality import DEFECTS


class _Remove(Protocol):
    def __call__(self, name: str, *, is_plan: bool) -> Counts: ...


class PriceFindings(CheckPrices):
    """Checks stored prices and keeps what users decide."""

    def accept(self, instrument_id: str, day: date, by: str, reason: str) -> tuple[Finding, int]:
        """Declare a finding real; return it and over how many bars. NotFoundError if nothing is open on the date."""
        bars = self.bars(instrument_id)
        finding = self.finding_on(bars, day)
        if finding is None:
            self._require_undecided(instrument_id, [day])
            raise NotFoundError(
                f"{instrument_id} has no open finding on {day}; list them: python -m prometheus data check "
                f"--instrument-id {instrument_id}"
            )
        return finding, self._decide(bars, finding.first, finding.last, "ACCEPTED", by, reason)

    def reject(self, instrument_id: str, first: date, last: date, by: str, reason: str) -> int:
        """Leave the bars of a span out, or, of a finding on its one day, all its bars; return how many bars."""
        bars = self.bars(instrument_id)
        finding = self.finding_on(bars, first) if first == last else None
        if finding is not None:
            first, last = finding.first, finding.last
        is_chosen = (bars.dates >= np.datetime64(first, "D")) & (bars.dates <= np.datetime64(last, "D"))
        if not is_chosen.any():
            raise NotFoundError(f"{instrument_id} has no bar from {first} to {last}")
        if (is_chosen | (bars.column(DECISION) == REJECTED)).all():
            raise InputRefusedError(
                f"{instrument_id}: no bar would be left; take the instrument out: python -m prometheus data remove"
            )
        return self._decide(bars, first, last, "REJECTED", by, reason)

    def reopen(self, instrument_id: str, first: date, last: date, by: str, reason: str) -> int:
        """Take the decisions on the bars of a span back; return how many. NotFoundError without any."""
        days = _days(self.bars(instrument_id), first, last)
        n_reopened = self._decisions.reopen(instrument_id, days, by, reason)
        if not n_reopened:
            raise NotFoundError(f"nothing is decided of {instrument_id} from {first} to {last}")
        return n_reopened

    def decisions(self, instrument_ids: Sequence[str] | None) -> list[PriceDecision]:
        """Return every decision ever made."""
        return self._decisions.history(instrument_ids)

    def listed(
        self, instrument_ids: Sequence[str], as_of: date | None = None
    ) -> tuple[list[JudgedFinding], dict[str, str]]:
        """Return what the judge finds, in all bars or those up to a date, decided or not, and where it failed, how.

        By instrument and first date; a decided finding is told as it would be without any decision.
        """
        markets, until = self._wired.catalog.markets_of(instrument_ids), as_of or date.max
        found: list[JudgedFinding] = []
        failures: dict[str, str] = {}
        for bars in self._wired.reader.load_bars(instrument_ids, date.min, until, 1, FIELDS).each():
            if not len(bars):
                continue
            (name,) = bars.instrument_ids
            try:
                found += judged_findings(bars, markets.get(name, US_EQ))
            except DEFECTS as error:
                failures[name] = failure_text(error)
        if as_of is not None or not any(each.verdict for each in found):
            return found, failures
        made = [each for each in self.decisions(instrument_ids) if each.is_in_force]
        return [_with_decision(each, made) for each in found], failures

    def revisions(
        self, instrument_ids: Sequence[str] | None, start: date, end: date, limit: int
    ) -> list[PriceRevision]:
        """Return the bars that were corrected or removed, as they were."""
        for name in instrument_ids or ():
            if not self._wired.reader.known_instruments([name]) and not self._wired.reader.load_revisions(
                [name], date.min, date.max, 1
            ):
                raise unknown_instrument(name)
        return self._wired.reader.load_revisions(instrument_ids, start, end, limit)

    def remove_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, *, is_plan: bool
    ) -> dict[str, Counts]:
        """Take bars out with all that stands on them; NotFoundError, and nothing removed, if one has none."""

        def remove(name: str, *, is_plan: bool) -> Counts:
            return self._removed(f"{name} has no bar", first, last, is_plan, lambda it: it.bars(name, first, last))

        return _planned_first(instrument_ids, remove, is_plan=is_plan)

    def remove_texts(
        self, source_type: TextSourceType, first: date, last: date, filters: Mapping[str, str], *, is_plan: bool
    ) -> Counts:
        """Take texts out with all that stands on them; NotFoundError without any."""
        return self._removed(
            "there is no such text", first, last, is_plan, lambda it: it.texts(source_type, first, last, filters)
        )

    def remove_series(self, names: Sequence[str], first: date, last: date, *, is_plan: bool) -> dict[str, Counts]:
        """Take values of series out with the facts that tell them; NotFoundError, nothing removed, if one has none."""

        def remove(name: str, *, is_plan: bool) -> Counts:
            absent = f"series {name} has no value"
            return self._removed(absent, first, last, is_plan, lambda it: it.series(name, first, last))

        return _planned_first(names, remove, is_plan=is_plan)

    @property
    def _decisions(self) -> PriceDecisions:
        return PriceDecisions(self._wired.db_manager)

    def _removed(
        self, absent: str, first: date, last: date, is_plan: bool, remove: Callable[[Removal], Counts]
    ) -> Counts:
        removal = Removal(self._wired.db_manager, is_plan=is_plan)
        counts = remove(removal)
        if not counts:
            raise NotFoundError(f"{absent} from {first} to {last}" if last < date.max else absent)
        for model_id in sorted(removal.touched_models) if not is_plan else ():
            WindowIndex(self._wired.db_manager, model_id).sync()
        return counts

    def _decide(self, bars: PriceBars, first: date, last: date, verdict: Verdict, by: str, reason: str) -> int:
        (name,) = bars.instrument_ids
        days = _days(bars, first, last)
        self._require_undecided(name, days)
        return self._decisions.decide(name, days, verdict, by, reason)

    def _require_undecided(self, instrument_id: str, days: Sequence[date]) -> None:
        decided = self._decisions.in_force(instrument_id, days)
        if decided:
            one = decided[0]
            raise InputRefusedError(
                f"{instrument_id} {one.trade_date} was {one.verdict.lower()} by {one.decided_by} on "
                f"{one.decided_at:%Y-%m-%d} ({one.reason}); take that back first: python -m prometheus data reopen"
            )


def _with_decision(judged: JudgedFinding, made: Sequence[PriceDecision]) -> JudgedFinding:
    """Return a finding with when and why one of its bars was decided, if one was."""
    finding = judged.finding
    for each in made:
        if each.instrument_id == finding.instrument_id and finding.first <= each.trade_date <= finding.last:
            return replace(judged, decided_at=each.decided_at, reason=each.reason)
    return judged


def _days(bars: PriceBars, first: date, last: date) -> list[date]:
    is_chosen = (bars.dates >= np.datetime64(first, "D")) & (bars.dates <= np.datetime64(last, "D"))
    days: list[date] = bars.dates[is_chosen].tolist()
    return days


def _planned_first(names: Sequence[str], remove: _Remove, *, is_plan: bool) -> dict[str, Counts]:
    """Remove what some names stand for once it is known that each has something."""
    planned = {name: remove(name, is_plan=True) for name in names}
    return planned if is_plan else {name: remove(name, is_plan=False) for name in names}
