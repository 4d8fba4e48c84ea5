"""Pictures are drawn from what an evaluation has, without a display and to the same bytes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.unit.evaluation.sample_market import sample_history

from prometheus.errors import MissingExtraError, WindowShapeError
from prometheus.evaluation.figures import reliability_bins
from prometheus.evaluation.labeller import Predictions
from prometheus.evaluation.report import RISK_OFF_ONLY, draw_labels, draw_reliability, draw_spread
from prometheus.files.pictures import save_figure
from prometheus.regime.picture import BAND_COLOURS

HISTORY = sample_history().last(400)
NAMES = ("CARRY", "NEUTRAL", "RISK_OFF", "CRISIS")


def predictions(*, has_labels: bool) -> Predictions:
    code = np.arange(len(HISTORY)) // 50 % 4
    labels = tuple(NAMES[each] for each in code) if has_labels else None
    return Predictions(code > 1, code.astype(np.float64), code / 4.0, labels)


def legend_of(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("has_labels", [True, False])
def test_labels_lie_under_the_price_and_zooms_get_panels(has_labels: bool, tmp_path: Path) -> None:
    zooms = {name: (date(2018, 1, 2), date(2018, 6, 29)) for name in ("one", "two", "three")}

    figure = draw_labels("title", HISTORY.dates, HISTORY.closes, predictions(has_labels=has_labels), zooms)

    assert [axes.get_title(loc="left") for axes in figure.axes] == ["title", "one", "two", "three"]
    assert set(legend_of(figure)) == (set(NAMES) if has_labels else set(RISK_OFF_ONLY))
    assert len(BAND_COLOURS) == 4
    save_figure(figure, tmp_path / "labels.png")
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")


def test_predictions_of_other_sessions_are_refused() -> None:
    with pytest.raises(WindowShapeError, match="labels over prices"):
        draw_labels("title", HISTORY.dates[1:], HISTORY.closes[1:], predictions(has_labels=False))


def test_reliability_and_spread_show_every_name(tmp_path: Path) -> None:
    stated = np.linspace(0, 1, 200)
    bins = reliability_bins(stated, stated > 0.5)
    for copy in ("first", "second"):
        curve = draw_reliability("reliability", {"ours": bins, "theirs": bins})
        spread = draw_spread("spread", {"ours": [0.7, 0.5, 0.6]}, holding=0.47)
        assert legend_of(curve) == ["ours", "theirs"]
        assert "ours: median 0.60, worst 0.50, 3 variants" in legend_of(spread)
        save_figure(curve, tmp_path / f"curve-{copy}.png")
        save_figure(spread, tmp_path / f"spread-{copy}.png")

    for name in ("curve", "spread"):
        assert (tmp_path / f"{name}-first.png").read_bytes() == (tmp_path / f"{name}-second.png").read_bytes()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"prometheus-regime\[plots\]"):
        draw_reliability("title", {})
