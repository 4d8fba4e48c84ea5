"""The table and the picture of a study of events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from prometheus.arrays import Int64Vector
from prometheus.evaluation.events import BEAR, HIGH, RETURN, VOLATILITY, EventPath, EventStudy
from prometheus.evaluation.report import aligned_table, shown
from prometheus.regime.calibration import ORDER
from prometheus.regime.picture import BAND_COLOURS, new_figure, open_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OFFSETS_SHOWN = (-63, -21, -10, -5, -1, 0, 1, 5, 10, 21, 42, 63, 126, 252)
_N_NAMED = 10
_LEGEND = """\
mean (median) [2.5 % and 97.5 % quantile of the mean over as many dates drawn at random]; * a mean outside of these;
labels: share of the events; log return: since the session before; volatility: of the 21 sessions up to each"""
_TITLES: Mapping[str, tuple[str, str]] = {
    HIGH: ("P(high volatility)", ".0%"), BEAR: ("P(bear)", ".0%"), RETURN: ("log return", "+.1%"),
    VOLATILITY: ("volatility", ".0%"),
}  # fmt: skip


def events_text(study: EventStudy) -> str:
    """Return what happened around the events as a table; ``*`` marks a mean outside of what random dates give."""
    n_outside, n_regions = len(study.outside), len(study.spans)
    regions = ", ".join(list(study.spans)[:_N_NAMED]) + (", ..." if n_regions > _N_NAMED else "")
    first, last = min(span[0] for span in study.spans.values()), max(span[1] for span in study.spans.values())
    counted = f"{len(study.used)} events in {n_regions} region{'s' if n_regions > 1 else ''}"
    lines = [
        f"{counted} ({regions}), stored from {first} to {last}",
        aligned_table([_header(), *(_row(study, row) for row in _rows_shown(study.window.offsets).tolist())]),
        _LEGEND,
    ]
    if n_outside:
        named = "; ".join(map(str, study.outside[:_N_NAMED]))
        more = f" and {n_outside - _N_NAMED} more" if n_outside > _N_NAMED else ""
        lines.append(f"outside of what is stored: {n_outside} ({named}{more})")
    return "\n".join(lines)


def _rows_shown(offsets: Int64Vector) -> Int64Vector:
    return np.flatnonzero(np.isin(offsets, (*_OFFSETS_SHOWN, offsets[0], offsets[-1])))


def _header() -> list[str]:
    return ["session", "events", *(title for title, _ in _TITLES.values()), *(label.name for label in ORDER)]


def _row(study: EventStudy, row: int) -> list[str]:
    paths = study.paths
    shares = [f"{shown(paths[label.name].mean[row], '.0%')}{_mark(paths[label.name], row)}" for label in ORDER]
    cells = [_cell(paths[name], row, form) for name, (_, form) in _TITLES.items()]
    return [f"{study.window.offsets[row]:+d}", str(paths[RETURN].n[row]), *cells, *shares]


def _cell(path: EventPath, row: int, form: str) -> str:
    if not math.isfinite(path.mean[row]):
        return "-"
    low, high = (shown(bound[row], form) for bound in (path.low, path.high))
    mean, median = format(path.mean[row], form), format(path.median[row], form)
    return f"{mean} ({median}) [{low}..{high}]{_mark(path, row)}"


def _mark(path: EventPath, row: int) -> str:
    return "*" if path.is_unusual(row) else ""


def draw_events(study: EventStudy) -> Figure:
    """Return a figure of mean and median paths over what random dates give, and of the shares of the labels."""
    figure = new_figure(11.0, 8.0)
    offsets = study.window.offsets
    grid = figure.add_gridspec(3, 2)
    for place, (name, (title, _)) in enumerate(_TITLES.items()):
        axes: Any = figure.add_subplot(grid[place // 2, place % 2])
        path = study.paths[name]
        axes.fill_between(offsets, path.low, path.high, color="#d9dee3", linewidth=0, label="random dates, 95 %")
        axes.plot(offsets, path.mean, color="#1d2b3a", label="mean")
        axes.plot(offsets, path.median, color="#1d2b3a", linewidth=0.8, linestyle="--", label="median")
        _finish(axes, title)
        if not place:
            axes.legend(fontsize=7, framealpha=0.6, loc="upper left")
    below: Any = figure.add_subplot(grid[2, :])
    shares = [study.paths[label.name].mean for label in ORDER]
    colours = [BAND_COLOURS[label] for label in ORDER]
    below.stackplot(offsets, shares, colors=colours, labels=[label.name for label in ORDER])
    below.legend(fontsize=7, framealpha=1, loc="lower left")
    _finish(below, f"shares of the labels, {len(study.used)} events, {len(study.spans)} regions")
    below.set_xlabel("sessions from the event")
    return figure


def _finish(axes: Any, title: str) -> None:
    axes.axvline(0, color="#9aa5b1", linewidth=0.8)
    axes.margins(x=0)
    axes.set_title(title, loc="left", fontsize=9)
    open_frame(axes)
