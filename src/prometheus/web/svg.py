"""The chart of a region as SVG: with ground, title, key and dates, to stand alone or be read without scripts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from prometheus.arrays import DateVector, Float64Vector
from prometheus.errors import UsageError
from prometheus.market.bars import Closes
from prometheus.regime.colours import BAND_OPACITY, GROUNDS, LOOKS
from prometheus.regime.history import LABELS, RegimeTimeline
from prometheus.web.questions import IsoDate, ModelParameters, OptionalName

Theme = Literal["light", "dark"]
Scale = Literal["log", "linear"]
LEFT, RIGHT, TOP, BOTTOM, STRIP_TOP, SHARE_TOP, SHARE_BOTTOM = 70.0, 1185.0, 84.0, 420.0, 424.0, 458.0, 560.0
"""Edges of the panes in a drawing of 1200 by 600."""
ALL_KINDS = "*"
_INKS = {"light": ("#17202b", "#566372", "#dde2e8", "#0b5cad", "#b40d18", "#7a3fb0"),
         "dark": ("#f2f5f8", "#9fadbc", "#303a46", "#7db8f5", "#f08374", "#c79bf2")}  # fmt: skip
_MONTH_STEPS = (1, 3, 6, 12, 24, 60, 120, 240, 600)
_DECADE_PARTS = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
_MOST_TICKS = 11


class ChartParameters(ModelParameters):
    """What of the chart is drawn, and how."""

    start: IsoDate = Field(date.min, description="First date.")
    end: IsoDate = Field(date.max, description="Last date; nothing after the date of the page is drawn.")
    scale: Scale = Field("log", description="Of the closes.")
    compare: OptionalName = Field(None, description="Another region, whose closes and regimes are drawn, too.")
    marks: OptionalName = Field(None, description=f"Macro texts to mark: a kind, or {ALL_KINDS} for all.")
    theme: Theme = Field("light", description="Dark or light ground.")


@dataclass(frozen=True, slots=True)
class _Plane:
    """Where dates and values lie in one pane: `low` at its bottom, `high` at its top."""

    first: np.datetime64
    last: np.datetime64
    low: float
    high: float
    top: float
    bottom: float

    def across(self, dates: DateVector) -> Float64Vector:
        days = max(1.0, float((self.last - self.first).astype(int)))
        return np.asarray(LEFT + (RIGHT - LEFT) * (dates - self.first).astype(np.float64) / days)

    def up(self, values: Float64Vector) -> Float64Vector:
        return np.asarray(self.bottom - (self.bottom - self.top) * (values - self.low) / (self.high - self.low))

    def path(self, dates: DateVector, values: Float64Vector) -> str:
        known = np.isfinite(values)
        pairs = zip(self.across(dates[known]).tolist(), self.up(values[known]).tolist(), strict=True)
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in pairs)


def chart_values(
    title: str,
    closes: Closes,
    timeline: RegimeTimeline,
    asked: ChartParameters,
    other: tuple[Closes, RegimeTimeline] | None = None,
    marked: Collection[date] = (),
) -> dict[str, Any]:
    """Return what the template of the drawing needs; `UsageError` where no close lies between the dates asked for.

    The closes of `other` begin together with these, its regimes are a second strip; days `marked` bear triangles.
    """
    begin = max(np.datetime64(asked.start, "D"), timeline.dates[0] - np.timedelta64(365, "D"))
    shown = (closes.dates >= begin) & (closes.dates <= np.datetime64(asked.end, "D"))
    dates, values = closes.dates[shown], closes.values[shown]
    if not len(dates):
        raise UsageError(f"there is no close from {asked.start} to {asked.end}; ask for a longer span")
    bend = np.log if asked.scale == "log" else np.asarray
    other_days, others = _rebased(dates, values, other and other[0])
    both = np.concatenate([values, others])
    low, high = float(both.min()), float(both.max())
    heights = bend(np.array([low, high]))
    room = 0.04 * float(np.ptp(heights)) or 0.01
    plane = _Plane(dates[0], dates[-1], float(heights[0]) - room, float(heights[1]) + room, TOP, BOTTOM)
    shares = _Plane(dates[0], dates[-1], 0.0, 1.04, SHARE_TOP, SHARE_BOTTOM)
    ticks = _log_ticks(low, high) if asked.scale == "log" else _round_ticks(low, high)
    ink, soft, line, link, wild, rival = _INKS[asked.theme]
    said = _within(plane, timeline.dates)
    days = timeline.dates[said]
    marks = np.unique(np.array(list(marked), dtype="M8[D]"))
    return {
        "title": title if other is None else f"{title}, with {other[0].instrument_id} and those of {other[1].region}",
        "marks": plane.across(marks[_within(plane, marks)]).tolist(), "kind": asked.marks, "all_kinds": ALL_KINDS,
        "first": dates[0], "last": dates[-1], "scale": asked.scale, "model": timeline.model_id,
        "ground": GROUNDS[asked.theme][0], "ink": ink, "soft": soft, "line": line, "link": link, "wild": wild,
        "band": BAND_OPACITY,
        "rival": rival, "other": plane.path(other_days, bend(others)), "other_name": other and other[0].instrument_id,
        "other_spells": [] if other is None else _spells_of(plane, other[1]),
        "strips": [] if other is None else [(436, timeline.region), (453, other[1].region)],
        "looks": [_look(number, asked.theme) for number in range(len(LABELS))],
        "spells": _spells_of(plane, timeline),
        "months": _months(plane),
        "prices": [(float(plane.up(bend(np.array([tick])))[0]), f"{tick:,.6g}") for tick in ticks],
        "shares": [(float(shares.up(np.array([share]))[0]), f"{share:.0%}") for share in (0.0, 0.5, 1.0)],
        "closes": plane.path(dates, bend(values)), "sure": shares.path(days, timeline.confidences[said]),
        "high": shares.path(days, timeline.high_volatilities[said]),
    }  # fmt: skip


def _rebased(dates: DateVector, values: Float64Vector, other: Closes | None) -> tuple[DateVector, Float64Vector]:
    """Return another instrument's closes on these dates, as much higher or lower as makes both begin together."""
    if other is None:
        return dates[:0], values[:0]
    shared, own_rows, other_rows = np.intersect1d(dates, other.dates, return_indices=True)
    moved = other.values[other_rows]
    return shared, moved * (values[own_rows[0]] / moved[0]) if len(shared) else moved


def _look(number: int, theme: Theme) -> dict[str, str]:
    look = LOOKS[LABELS[number]]
    ink: str = getattr(look, f"{theme}_ink")
    colour: str = getattr(look, theme)
    return {"name": LABELS[number].name, "colour": colour, "ink": ink, "letter": look.letter, "pattern": look.pattern}


def _within(plane: _Plane, dates: DateVector) -> NDArray[np.bool_]:
    return np.asarray((dates >= plane.first) & (dates <= plane.last))


def _spells_of(plane: _Plane, timeline: RegimeTimeline) -> list[tuple[int, float, float]]:
    """Return label, left edge and width of each unbroken spell; it reaches to the next one."""
    shown = _within(plane, timeline.dates)
    labels = timeline.labels[shown].tolist()
    starts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)] if labels else []
    edges = [*plane.across(timeline.dates[shown]).tolist(), RIGHT]
    return [(labels[start], edges[start], max(0.5, edges[end] - edges[start])) for start, end in pairwise(starts)]


def _months(plane: _Plane) -> list[tuple[float, str]]:
    first, last = plane.first.astype("M8[M]"), plane.last.astype("M8[M]")
    step = next(each for each in _MONTH_STEPS if int((last - first).astype(int)) / each <= _MOST_TICKS)
    months = np.arange(first + 1, last + 1)
    months = months[months.astype(int) % step == 0]
    places = plane.across(months.astype("M8[D]")).tolist()
    return [(at, str(month)[: 4 if step >= 12 else 7]) for at, month in zip(places, months, strict=True)]


def _round_ticks(low: float, high: float) -> list[float]:
    rough = ((high - low) or abs(high) * 1e-3 or 1.0) / _MOST_TICKS
    size = 10.0 ** np.floor(np.log10(rough))
    step = next(part * size for part in (1, 2, 2.5, 5, 10) if part * size >= rough)
    return [float(tick) for tick in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]


def _log_ticks(low: float, high: float) -> list[float]:
    if high / low < 3:
        return _round_ticks(low, high)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    found: list[float] = []
    for parts in _DECADE_PARTS:
        found = [part * 10.0**power for power in powers for part in parts if low <= part * 10.0**power <= high]
        if len(found) <= _MOST_TICKS:
            return found
    return found[:: -(-len(found) // _MOST_TICKS)]
