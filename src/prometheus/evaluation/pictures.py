"""Pictures of an evaluation: labels over the price, stated against observed rates, the spread over a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector
from prometheus.errors import MissingExtraError, WindowShapeError
from prometheus.evaluation.labeller import Predictions
from prometheus.regime.picture import BAND_COLOURS
from prometheus.regime.types import RegimeLabel

if TYPE_CHECKING:
    from datetime import date

    from matplotlib.figure import Figure

RISK_OFF_ONLY = {"risk-off": BAND_COLOURS[RegimeLabel.CRISIS], "risk-on": BAND_COLOURS[RegimeLabel.NEUTRAL]}
"""Colours of a labeller that knows two labels."""
_LINE = "#1d2b3a"
_DOTS = ("#1d2b3a", "#c8553d", "#4c9f70", "#f0b35b", "#7a5195", "#2f7ebc", "#8c6d46", "#d77fa1", "#6b7785", "#9ab83d")


def draw_labels(
    title: str,
    dates: DateVector,
    closes: Float64Vector,
    predictions: Predictions,
    zooms: Mapping[str, tuple[date, date]] | None = None,
) -> Figure:
    """Return a figure of closes (log scale) over bands of labels, and a panel for each zoom.

    Parameters
    ----------
    zooms
        First and last date by the title of the panel.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    WindowShapeError
        Dates, closes and predictions differ in length.
    """
    if not len(dates) == len(closes) == len(predictions):
        raise WindowShapeError("labels over prices", (len(dates), len(closes), len(predictions)), ("n", "n", "n"))
    panels = dict(zooms or {})
    n_rows = 1 + -(-len(panels) // 2)
    figure = _new_figure(12.0, 4.0 + 2.6 * (n_rows - 1))
    grid = figure.add_gridspec(n_rows, 2)
    top: Any = figure.add_subplot(grid[0, :])
    _draw_bands(top, dates, closes, predictions)
    top.set_title(title, loc="left", fontsize=11)
    top.set_ylabel("close (log scale)")
    _add_legend(top, predictions)
    for number, (name, (first, last)) in enumerate(panels.items()):
        axes: Any = figure.add_subplot(grid[1 + number // 2, number % 2])
        rows = (dates >= np.datetime64(first)) & (dates <= np.datetime64(last))
        _draw_bands(axes, dates[rows], closes[rows], _rows_of(predictions, rows))
        axes.set_title(name, loc="left", fontsize=9)
        axes.tick_params(labelsize=7)
    return figure


def draw_reliability(title: str, curves: Mapping[str, Float64Matrix]) -> Figure:
    """Return a figure of the observed rate of high volatility against the stated probability.

    Parameters
    ----------
    curves
        By name, what `prometheus.evaluation.figures.reliability_bins` returns.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    figure = _new_figure(6.5, 6.0)
    axes: Any = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#9aa5b1", linewidth=0.8, linestyle="--")
    for number, (name, bins) in enumerate(curves.items()):
        colour, is_first = _DOTS[number % len(_DOTS)], number == 0
        axes.plot(
            bins[:, 0], bins[:, 1], marker="o", markersize=5 if is_first else 3, linewidth=2.2 if is_first else 1.0,
            color=colour, label=name, zorder=3 if is_first else 2,
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("stated probability of high volatility")
    axes.set_ylabel("observed rate")
    if curves:
        axes.legend(loc="upper left", framealpha=1, fontsize=8)
    _open_frame(axes)
    return figure


def draw_spread(title: str, sharpes: Mapping[str, Sequence[float]], holding: float) -> Figure:
    """Return a figure of the Sharpe ratios of all cells of a grid, sorted, by the name of the labeller.

    Parameters
    ----------
    holding
        The Sharpe ratio of holding, drawn as a line.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    figure = _new_figure(9.0, 4.5)
    axes: Any = figure.add_subplot()
    axes.axhline(holding, color="#9aa5b1", linewidth=0.8, linestyle="--", label="holding")
    for number, (name, values) in enumerate(sharpes.items()):
        ordered = np.sort(np.asarray(values, dtype=np.float64))
        place = (np.arange(len(ordered)) + 0.5) / len(ordered)
        described = f"{name}: median {np.median(ordered):.2f}, worst {ordered[0]:.2f}, {len(ordered)} variants"
        axes.plot(place, ordered, "o", markersize=4, color=_DOTS[number % len(_DOTS)], label=described)
    axes.set_xlim(0, 1)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("share of the declared variants that do worse")
    axes.set_ylabel("Sharpe ratio")
    axes.legend(loc="lower right", framealpha=1, fontsize=8)
    _open_frame(axes)
    return figure


def _new_figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 -- optional
    except ModuleNotFoundError as error:
        raise MissingExtraError("drawing", "plots") from error
    return Figure(figsize=(width, height), layout="constrained")


def _draw_bands(axes: Any, dates: DateVector, closes: Float64Vector, predictions: Predictions) -> None:
    days = dates.astype("M8[D]")
    names = np.array([predictions.says(row) for row in range(len(predictions))], dtype=np.str_)
    begins = [0, *(1 + np.flatnonzero(names[1:] != names[:-1])).tolist()] if len(names) else []
    for begin, end in zip(begins, [*begins[1:], len(names) - 1], strict=True):
        axes.axvspan(days[begin], days[end], color=_colours(predictions)[str(names[begin])], linewidth=0)
    axes.plot(days, closes, color=_LINE, linewidth=0.9)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter("{x:,g}")
    axes.margins(x=0)
    _open_frame(axes)


def _add_legend(axes: Any, predictions: Predictions) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415 -- optional

    seen = {predictions.says(row) for row in range(len(predictions))}
    patches = [Patch(color=colour, label=name) for name, colour in _colours(predictions).items() if name in seen]
    axes.legend(handles=patches, loc="upper left", framealpha=1, fontsize=8)


def _colours(predictions: Predictions) -> dict[str, str]:
    if predictions.labels is None:
        return RISK_OFF_ONLY
    return {label.name: colour for label, colour in BAND_COLOURS.items()}


def _rows_of(predictions: Predictions, rows: Any) -> Predictions:
    labels = predictions.labels
    return Predictions(
        is_risk_off=predictions.is_risk_off[rows],
        scores=predictions.scores[rows],
        probabilities=predictions.probabilities[rows],
        labels=None if labels is None else tuple(labels[row] for row in np.flatnonzero(rows)),
    )


def _open_frame(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
