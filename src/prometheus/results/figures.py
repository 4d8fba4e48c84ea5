"""Pictures of results, made without pyplot: no window opens and no state is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from prometheus.arrays import DateVector, Float32Matrix, Float64Matrix, Float64Vector
from prometheus.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1d2b3a"
FAINT = "#8aa0b4"
ACCENT = "#c8553d"
_DPI = 80


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    try:
        from prometheus.results.notebook_figure import NotebookFigure  # noqa: PLC0415 -- optional
    except ModuleNotFoundError as error:
        raise MissingExtraError("drawing", "plots") from error
    return NotebookFigure(figsize=(width, height), dpi=_DPI, layout="constrained")


def require_rows(n_rows: int, what: str) -> None:
    """Refuse to draw nothing.

    Raises
    ------
    UsageError
        There are no rows.
    """
    if not n_rows:
        raise UsageError(f"there are no {what} to draw; ask for a longer span")


def draw_matrix(title: str, names: list[str], shares: Float64Matrix) -> Figure:
    """Return a heat map of a square matrix of shares, each written into its cell; NaN stays empty."""
    figure = new_figure(6.5, 5)
    axes: Any = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), share in np.ndenumerate(shares):
        if np.isfinite(share):
            ink = "white" if share > 0.5 else INK
            axes.text(column, row, f"{share:.1%}", ha="center", va="center", color=ink)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("to")
    axes.set_ylabel("from")
    axes.set_title(title, loc="left", fontsize=10)
    return figure


def draw_paths(title: str, paths: Float64Matrix, own_path: Float64Vector, median_name: str) -> Figure:
    """Return paths laid over each other at the date that each belongs to.

    Parameters
    ----------
    paths
        Shape (n, n_sessions): closes as shares of the close on the analog, which stands in the middle; NaN unknown.
    own_path
        Shape (n_sessions,): the same of the date asked about.
    median_name
        What the legend calls the median of the paths.
    """
    figure = new_figure(10, 4)
    axes: Any = figure.add_subplot()
    middle = (len(own_path) - 1) // 2
    sessions = np.arange(len(own_path)) - middle
    axes.plot(sessions, paths.T, color=FAINT, linewidth=0.8, alpha=0.7)
    known = np.isfinite(paths).any(axis=0)
    axes.plot(sessions[known], np.nanmedian(paths[:, known], axis=0), color=ACCENT, linewidth=1.8, label=median_name)
    axes.plot(sessions, own_path, color=INK, linewidth=1.8, label="the date itself")
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.axhline(1, color=INK, linewidth=0.6)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share - 1:+.0%}")
    axes.margins(x=0)
    axes.set_xlabel("sessions from the date")
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(loc="best", framealpha=1)
    return figure


def draw_components(title: str, days: DateVector, vectors: Float32Matrix) -> Figure:
    """Return the first two principal components of vectors, coloured from the oldest to the newest."""
    figure = new_figure(7.5, 5)
    axes: Any = figure.add_subplot()
    points, shares = principal_components(vectors)
    marks = axes.scatter(*points.T, c=days.astype(np.int64), s=6, cmap="viridis", linewidths=0)
    figure.colorbar(marks, ax=axes, format=lambda day, _: str(np.datetime64(int(day), "D")))
    axes.set_xlabel(f"first component ({shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second component ({shares[1]:.0%})")
    axes.set_title(title, loc="left", fontsize=10)
    return figure


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
