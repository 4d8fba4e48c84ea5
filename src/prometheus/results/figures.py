"""Pictures of results: of Plotly in notebooks that have it, else of matplotlib without pyplot.

No window opens and no state is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from prometheus.arrays import DateVector, Float32Matrix, Float64Matrix, Float64Vector
from prometheus.errors import MissingExtraError, UsageError
from prometheus.market.bars import Closes
from prometheus.regime.colours import BAND_OPACITY
from prometheus.regime.picture import BAND_COLOURS, PRICE_AXIS, LabelledDate, paint_regimes, spells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    Picture: TypeAlias = Figure | Any
    """A figure of matplotlib, or of Plotly."""

INK = "#1d2b3a"
FAINT = "#8aa0b4"
ACCENT = "#c8553d"
_DPI = 80


def chooses_plotly(interactive: bool | None) -> bool:
    """Return whether to draw with Plotly: as asked, else in a notebook; `MissingExtraError` without Plotly."""
    if interactive is None:
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        return hasattr(shell, "kernel") and find_spec("plotly") is not None
    if interactive and find_spec("plotly") is None:
        raise MissingExtraError("drawing interactively", "plots")
    return interactive


def plotly_figure(title: str, data: Sequence[dict[str, Any]], **layout: Any) -> Any:
    """Return a figure of Plotly of traces as its JSON has them."""
    shown = {"title": {"text": title, "font": {"size": 13}}, "template": "plotly_white", "height": 420, **layout}
    return import_module("plotly.graph_objects").Figure({"data": list(data), "layout": shown})


def new_figure(width: float, height: float) -> Picture:
    """Return an empty figure of a size in inches; `MissingExtraError` where matplotlib is not installed."""
    try:
        kind = _notebook_figure()
    except ModuleNotFoundError as error:
        raise MissingExtraError("drawing", "plots") from error
    return kind(figsize=(width, height), dpi=_DPI, layout="constrained")


@cache
def _notebook_figure() -> Any:
    from matplotlib.figure import Figure  # noqa: PLC0415 -- optional

    class NotebookFigure(Figure):
        """A figure with the picture that IPython asks for: it knows one made without pyplot by no other way."""

        def _repr_png_(self) -> bytes:
            file = BytesIO()
            self.savefig(file, format="png", metadata={"Software": None})
            return file.getvalue()

    return NotebookFigure


def require_rows(n_rows: int, what: str, purpose: str = "draw") -> None:
    """Refuse to draw, or to store, nothing, with `UsageError`."""
    if not n_rows:
        raise UsageError(f"there are no {what} to {purpose}; ask for a longer span")


def _axes(title: str, width: float, height: float) -> Any:
    """Return the axes of an empty figure under a title."""
    axes: Any = new_figure(width, height).add_subplot()
    axes.set_title(title, loc="left", fontsize=10)
    return axes


def draw_regimes(
    title: str, closes: Closes, states: Sequence[LabelledDate], *, interactive: bool | None = None
) -> Picture:
    """Return adjusted closes (log scale) over a band for each spell of a regime."""
    if not chooses_plotly(interactive):
        figure = new_figure(11, 4.5)
        paint_regimes(figure, title, closes.dates, closes.values, states)
        return figure
    bands = [
        {"type": "rect", "xref": "x", "yref": "paper", "y0": 0, "y1": 1, "x0": str(start), "x1": str(end),
         "fillcolor": BAND_COLOURS[label], "opacity": BAND_OPACITY, "line": {"width": 0}, "layer": "below"}
        for label, start, end in spells(states)
    ]  # fmt: skip
    names = {state.as_of_date: state.regime_label.name for state in states}
    line = {
        "x": closes.dates.astype(str), "y": closes.values,
        "text": [names.get(day, "") for day in closes.dates.tolist()],
        "line": {"color": INK, "width": 1}, "hovertemplate": "%{x}: %{y:,.2f} %{text}<extra></extra>",
    }  # fmt: skip
    return plotly_figure(title, [line], shapes=bands, yaxis={"type": "log", "title": {"text": PRICE_AXIS}})


def draw_matrix(title: str, names: list[str], shares: Float64Matrix, *, interactive: bool | None = None) -> Picture:
    """Return a heat map of a square matrix of shares, each written into its cell; NaN stays empty."""
    if chooses_plotly(interactive):
        heat = {
            "type": "heatmap", "x": names, "y": names, "z": shares, "texttemplate": "%{z:.1%}", "colorscale": "Blues",
        }  # fmt: skip
        down = {"title": {"text": "from"}, "autorange": "reversed"}
        return plotly_figure(title, [heat], xaxis={"title": {"text": "to"}}, yaxis=down)
    axes = _axes(title, 6.5, 5)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), share in np.ndenumerate(shares):
        if np.isfinite(share):
            ink = "white" if share > 0.5 else INK
            axes.text(column, row, f"{share:.1%}", ha="center", va="center", color=ink)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="to", ylabel="from")
    return axes.figure


def draw_paths(
    title: str, paths: Float64Matrix, own_path: Float64Vector, median_name: str, *, interactive: bool | None = None
) -> Picture:
    """Return paths laid over each other at the date that each belongs to, with their median under its name.

    Paths, shape (n, n_sessions), are closes as shares of the close on the analog, which stands in the middle; NaN is
    unknown. The own path, shape (n_sessions,), is that of the date asked about.
    """
    sessions = np.arange(len(own_path)) - (len(own_path) - 1) // 2
    known = np.isfinite(paths).any(axis=0)
    median = np.nanmedian(paths[:, known], axis=0)
    if chooses_plotly(interactive):
        traces = [
            *(_trace(sessions, path, "analog", FAINT, 1) for path in paths),
            _trace(sessions[known], median, median_name, ACCENT, 2),
            _trace(sessions, own_path, "the date itself", INK, 2),
        ]
        return plotly_figure(title, traces, showlegend=False, xaxis={"title": {"text": "sessions from the date"}})
    axes = _axes(title, 10, 4)
    axes.plot(sessions, paths.T, color=FAINT, linewidth=0.8, alpha=0.7)
    axes.plot(sessions[known], median, color=ACCENT, linewidth=1.8, label=median_name)
    axes.plot(sessions, own_path, color=INK, linewidth=1.8, label="the date itself")
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.axhline(1, color=INK, linewidth=0.6)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share - 1:+.0%}")
    axes.margins(x=0)
    axes.set_xlabel("sessions from the date")
    axes.legend(loc="best", framealpha=1)
    return axes.figure


def _trace(x: Any, y: Any, name: str, colour: str, width: int) -> dict[str, Any]:
    return {"x": x, "y": y, "name": name, "line": {"color": colour, "width": width}}


def draw_components(
    title: str, days: DateVector, vectors: Float32Matrix, *, interactive: bool | None = None
) -> Picture:
    """Return the first two principal components of vectors, coloured from the oldest to the newest."""
    points, shares = principal_components(vectors)
    if chooses_plotly(interactive):
        marks = {
            "type": "scatter", "mode": "markers", "x": points[:, 0], "y": points[:, 1], "text": days.astype(str),
            "marker": {"color": days.astype(np.int64), "size": 5, "colorscale": "Viridis"},
        }  # fmt: skip
        return plotly_figure(title, [marks])
    axes = _axes(title, 7.5, 5)
    dots = axes.scatter(*points.T, c=days.astype(np.int64), s=6, cmap="viridis", linewidths=0)
    axes.figure.colorbar(dots, ax=axes, format=lambda day, _: str(np.datetime64(int(day), "D")))
    axes.set(xlabel=f"first component ({shares[0]:.0%} of the variance)", ylabel=f"second component ({shares[1]:.0%})")
    return axes.figure


def principal_components(vectors: Float32Matrix) -> tuple[Float64Matrix, Float64Vector]:
    """Return the first two principal components, shape (n, 2), and the share of the variance that each holds.

    The sign of a component is chosen so that the largest of its weights is positive.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    chosen = axes[:, [-1, -2]]
    largest = np.abs(chosen).argmax(axis=0)
    points: Float64Matrix = centred @ (chosen * np.sign(chosen[largest, [0, 1]]))
    shares: Float64Vector = variances[[-1, -2]] / max(variances.sum(), np.finfo(np.float64).tiny)
    return points, shares
