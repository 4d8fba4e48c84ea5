"""What the judge of prices found in a history: date or span, kind, evidence in numbers, and what it does to labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from prometheus.arrays import Float64Vector, Int64Vector
from prometheus.market.bars import DECISION, PriceBars
from prometheus.market.quality import PRICE_QUALITY_V1, Judgement, Verdict
from prometheus.market.volume_units import MIN_UNIT_DAYS, unit_changes

EFFECTS = {
    Verdict.SUSPECT: ("its label is that of the session before", "the next session decides"),
    Verdict.ERROR: ("left out from the next session on; its own label was held", "load the bar again if it is known"),
    Verdict.BREAK: ("the return into it is left out", "load the whole history again on one scale"),
    Verdict.FROZEN: ("no labels", "load the real bars of these sessions"),
    Verdict.HOLE: ("the return across is left out; no label on its last day", "load the missing sessions"),
    Verdict.NEW_START: ("the history starts anew", "load the missing sessions, or give the second one its own id"),
}
"""By verdict: the effect on labels of encoders that judge prices, and the way out."""
VOLUME_UNIT = "volume unit"
VOLUME_UNIT_EFFECT = (
    "num-regime-core-v1 reads volume, its labels change; num-regime-core-v2 reads none",
    "load the whole history again in one unit",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of stored prices; `evidence` says its numbers."""

    instrument_id: str
    first: date
    last: date
    kind: str
    evidence: str
    effect: str
    way_out: str

    def __str__(self) -> str:
        span = str(self.first) if self.first == self.last else f"{self.first} to {self.last}"
        return f"{self.instrument_id} {span}: {self.kind}, {self.evidence}; {self.effect}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        names = ("instrument_id", "kind", "evidence", "effect", "way_out")
        said = {name: getattr(self, name) for name in names}
        return {"first": str(self.first), "last": str(self.last), **said, "judge": PRICE_QUALITY_V1}


def findings_of(bars: PriceBars, judgement: Judgement, n_missing: Int64Vector) -> Iterator[Finding]:
    """Yield what was found in the bars of one instrument, by date; moves, and what users decided, are no findings."""
    found = [*_verdicts_of(bars, judgement, n_missing), *_volume_units_of(bars, judgement)]
    yield from sorted(found, key=lambda finding: finding.first)


def _volume_units_of(bars: PriceBars, judgement: Judgement) -> Iterator[Finding]:
    rows, ratios = unit_changes(bars.column("volume"), judgement.settled == Verdict.BREAK)
    is_open = bars.column(DECISION)[rows] == 0
    for day, ratio in zip(bars.dates[rows][is_open].tolist(), ratios[is_open].tolist(), strict=True):
        evidence = f"volume x {ratio:.4g} of before and stays so"
        yield Finding(bars.instrument_ids[0], day, day, VOLUME_UNIT, evidence, *VOLUME_UNIT_EFFECT)


def _verdicts_of(bars: PriceBars, judgement: Judgement, n_missing: Int64Vector) -> Iterator[Finding]:
    (name,) = bars.instrument_ids
    days = bars.dates.tolist()
    for begin, stop in _runs(judgement, bars.column(DECISION)):
        verdict = Verdict(judgement.settled[begin])
        kind = verdict.name.lower().replace("_", " ")
        effect, way_out = EFFECTS[verdict]
        evidence = _evidence(bars, judgement, n_missing, begin, stop)
        yield Finding(name, days[begin], days[stop - 1], kind, evidence, effect, way_out)


def known_on(finding: Finding, bars: PriceBars) -> date:
    """Return the date of the first bar that shows a finding, its last one or, of a volume, one that shows it stays."""
    if finding.kind != VOLUME_UNIT:
        return finding.last
    row = int(np.searchsorted(bars.dates, np.datetime64(finding.first))) + MIN_UNIT_DAYS - 1
    known: date = bars.dates[min(row, len(bars) - 1)].item()
    return known


def _runs(judgement: Judgement, decision: Float64Vector) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each finding; consecutive frozen bars are one."""
    settled, is_open = judgement.settled, decision == 0
    is_frozen = (settled == Verdict.FROZEN) & is_open
    for row in np.flatnonzero(np.isin(settled, list(EFFECTS)) & is_open).tolist():
        if not is_frozen[row]:
            yield row, row + 1
        elif row == 0 or not is_frozen[row - 1]:
            after = np.flatnonzero(~is_frozen[row:])
            yield row, row + int(after[0]) if len(after) else len(settled)


def _evidence(bars: PriceBars, judgement: Judgement, n_missing: Int64Vector, begin: int, stop: int) -> str:
    verdict = Verdict(judgement.settled[begin])
    close = float(bars.column("close")[begin])
    if verdict == Verdict.FROZEN:
        return f"{stop - begin} bars at {close:g} without volume"
    factor = float(np.exp(judgement.log_returns[begin]))
    if verdict in (Verdict.HOLE, Verdict.NEW_START):
        missing = f"after {int(n_missing[begin])} missing sessions" if n_missing[begin] else "after a frozen feed"
        return f"{missing}, {factor - 1:+.1%} across"
    z = f", {judgement.z[begin]:.0f} times a usual day"
    return f"close {close:g}, x {factor:.4g} of the one before{z}"
