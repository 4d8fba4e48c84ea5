"""The judged bars of stored instruments, and which of their sessions the judge sets aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from prometheus.app.wiring import Wiring, calendar_of
from prometheus.errors import unknown_instrument
from prometheus.evaluation.judged import JudgedMarket, join_bars
from prometheus.market.bars import DECISION, PriceBars
from prometheus.market.calendar import US_EQ
from prometheus.market.quality import JUDGED_FIELDS


@dataclass(frozen=True, slots=True)
class SetAside:
    """The sessions of a span whose label was held, their bar being suspect, and those whose bar is left out."""

    held: tuple[date, ...]
    left_out: tuple[date, ...]

    @classmethod
    def of(cls, market: JudgedMarket, first: date, last: date) -> SetAside:
        """Return what is set aside from `first` to `last`, as it is known on `last`."""
        held, left_out = market.set_aside(np.datetime64(first, "D"), np.datetime64(last, "D"))
        return cls(tuple(held.tolist()), tuple(left_out.tolist()))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"held": [str(day) for day in self.held], "left_out": [str(day) for day in self.left_out]}

    def lines(self, n_shown: int | None = None) -> list[str]:
        """Return a line of the held sessions, and one of those left out if there are any; dates from the first on."""
        lines = [_line("held", self.held, n_shown)]
        return [*lines, _line("left out", self.left_out, n_shown)] if self.left_out else lines


def _line(what: str, days: Sequence[date], n_shown: int | None) -> str:
    shown = ", ".join(map(str, days[:n_shown]))
    more = ", ..." if n_shown is not None and len(days) > n_shown else ""
    return f"{what}: {len(days)} session{'' if len(days) == 1 else 's'}{': ' if days else ''}{shown}{more}"


def load_judged_market(wired: Wiring, instrument_id: str, warm_up_instrument_id: str | None = None) -> JudgedMarket:
    """Return the judged bars of an instrument, after those of another one from before if one is given."""
    bars = load_all_bars(wired, instrument_id)
    if warm_up_instrument_id is not None:
        bars = join_bars(load_all_bars(wired, warm_up_instrument_id), bars)
    return JudgedMarket(bars, calendar_of(wired.catalog.markets_of([instrument_id]).get(instrument_id, US_EQ)))


def load_all_bars(wired: Wiring, instrument_id: str) -> PriceBars:
    """Return all bars of an instrument as they are stored; NotFoundError without any."""
    bars = wired.reader.load_bars([instrument_id], date.min, date.max, 1, (*JUDGED_FIELDS, DECISION))
    if not len(bars.dates):
        raise unknown_instrument(instrument_id)
    return bars
