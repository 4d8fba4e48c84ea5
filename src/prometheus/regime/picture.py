"""A picture of regimes: price over time, with a band behind it for each spell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from prometheus.arrays import DateVector, Float64Vector
from prometheus.errors import MissingExtraError
from prometheus.regime.colours import BAND_OPACITY, LOOKS
from prometheus.regime.types import RegimeLabel

if TYPE_CHECKING:
    from datetime import date

    from matplotlib.figure import Figure

BAND_COLOURS = {label: look.light for label, look in LOOKS.items()}
_STRIP_HEIGHT = 0.05
MARGINS = {"left": 0.075, "right": 0.99, "bottom": 0.07, "top": 0.93}
"""Of a picture of regimes, in shares of its width and height: room for closes of seven digits."""
PRICE_AXIS = "adjusted close (log scale)"


DateLike: TypeAlias = "date | np.datetime64"


class LabelledDate(Protocol):
    """A date and its regime, as in a `RegimeState`."""

    @property
    def as_of_date(self) -> date:
        """The date."""

    @property
    def regime_label(self) -> RegimeLabel:
        """Its regime."""


def spells(states: Sequence[LabelledDate]) -> list[tuple[RegimeLabel, date, date]]:
    """Return label, first date and end of each unbroken spell; a spell ends where the next one begins."""
    runs = [(label, list(run)) for label, run in groupby(states, key=lambda state: state.regime_label)]
    starts = [run[0].as_of_date for _, run in runs]
    ends = [*starts[1:], states[-1].as_of_date] if states else []
    return [(label, start, end) for (label, _), start, end in zip(runs, starts, ends, strict=True)]


def draw_regimes(title: str, dates: DateVector, closes: Float64Vector, states: Sequence[LabelledDate]) -> Figure:
    """Return a figure of adjusted closes (log scale) over regime bands; needs matplotlib."""
    figure = new_figure(12, 5, layout=None)
    figure.subplots_adjust(**MARGINS)
    paint_regimes(figure, title, dates, closes, states)
    return figure


def paint_regimes(
    figure: Figure, title: str, dates: DateVector, closes: Float64Vector, states: Sequence[LabelledDate]
) -> None:
    """Draw adjusted closes (log scale) over regime bands into an empty figure."""
    axes: Any = figure.add_subplot()
    bands = spells(states)
    paint_bands(axes, dates, closes, [(start, end, BAND_COLOURS[label]) for label, start, end in bands])
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_ylabel(PRICE_AXIS)
    seen = {label for label, _, _ in bands}
    add_legend(axes, {label.name: BAND_COLOURS[label] for label in RegimeLabel if label in seen})


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure, or raise `MissingExtraError` where matplotlib is not installed.

    A constrained layout fits all texts in, by drawing twice.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 -- optional
    except ModuleNotFoundError as error:
        raise MissingExtraError("drawing", "plots") from error
    return Figure(figsize=(width, height), layout=layout)


def paint_bands(
    axes: Any, dates: DateVector, closes: Float64Vector, bands: Iterable[tuple[DateLike, DateLike, str]]
) -> None:
    """Draw closes (log scale) over pale bands of a first date, an end and a colour each, and the full colours below."""
    for start, end, colour in bands:
        axes.axvspan(start, end, color=colour, linewidth=0, alpha=BAND_OPACITY)
        axes.axvspan(start, end, ymax=_STRIP_HEIGHT, color=colour, linewidth=0)
    axes.plot(dates.astype("M8[D]"), closes, color="#1d2b3a", linewidth=0.9)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter("{x:,g}")
    axes.margins(x=0, y=2 * _STRIP_HEIGHT)
    open_frame(axes)


def add_legend(axes: Any, colours: Mapping[str, str], **style: Any) -> None:
    """Name the colours of the bands."""
    from matplotlib.patches import Patch  # noqa: PLC0415 -- optional

    patches = [Patch(color=colour, label=name) for name, colour in colours.items()]
    axes.legend(handles=patches, loc="upper left", framealpha=1, **style)


def open_frame(axes: Any) -> None:
    """Take away the upper and the right edge."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
