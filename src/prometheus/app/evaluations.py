"""Our labellers, the rules and the peers under one protocol, on the user's own data."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from prometheus.app.histories import Histories
from prometheus.app.judged_markets import SetAside, load_all_bars, load_judged_market
from prometheus.app.labellers import LabellerChoice, index_until
from prometheus.app.wiring import UseCase
from prometheus.arrays import DateVector
from prometheus.errors import InputRefusedError, UsageError
from prometheus.evaluation import v2
from prometheus.evaluation.figures import (
    area_under_curve,
    brier_skill,
    calibration_error,
    json_values,
    reliability_bins,
    sharpe_ratio,
)
from prometheus.evaluation.grid import GridResult, declared_cells, make_variant, run_grid
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.peers import missing_peers
from prometheus.evaluation.protocol import EvaluationPlan, Event, WalkForward, walk_forward
from prometheus.evaluation.repaint import check_walk
from prometheus.evaluation.report import (
    BEAR_NOTE,
    LabellerFigures,
    Targets,
    draw_labels,
    draw_reliability,
    draw_spread,
    figures_of,
    figures_table,
)
from prometheus.evaluation.rules import CEILING
from prometheus.evaluation.spans import first_start, require_unseen
from prometheus.files.pictures import require_picture_folder, save_figure
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.history import RegimeHistory

logger = logging.getLogger(__name__)

ZOOMS = {
    "October 1987": (date(1987, 6, 1), date(1988, 6, 30)),
    "2000 to 2002": (date(2000, 1, 3), date(2003, 6, 30)),
    "2008 and 2009": (date(2007, 7, 2), date(2009, 12, 31)),
    "March 2020": (date(2019, 10, 1), date(2020, 12, 31)),
    "2022": (date(2021, 10, 1), date(2023, 3, 31)),
}
"""Spans that a risk manager looks at first; those outside the test span are left out."""


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """Labellers to judge on one instrument: by name, or all that are installed.

    The bars of `warm_up_instrument_id`, older ones of the same market, are put in front of the first bar. Dates from
    `start` to `end` are judged: by default from the first year that works to the last bar. `repaint_every` counts the
    sessions between two re-runs on data cut there, None for no check; with `has_grid` the declared variants of
    num-regime-core-v2 are walked too. `event` says what is high volatility, the level of the instrument `vix` is a
    peer; with a `market_index` so is what is said without it.
    """

    region: str
    instrument_id: str
    warm_up_instrument_id: str | None = None
    start: date | None = None
    end: date | None = None
    labellers: tuple[str, ...] = ()
    repaint_every: int | None = None
    has_grid: bool = False
    event: Event = "own"
    vix: str | None = None
    market_index: str | None = None

    def __post_init__(self) -> None:
        if self.instrument_id == self.market_index:
            raise UsageError(f"{self.market_index} is itself the --market-index; leave that away")


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationReport:
    """The figures of each labeller, and the sessions looked at whose bar was suspect or was left out as wrong."""

    request: EvaluationRequest
    plan: EvaluationPlan
    figures: tuple[LabellerFigures, ...]
    confidence: v2.LabelConfidence | None
    grid: GridResult | None
    missing: tuple[str, ...]
    set_aside: SetAside

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "region": self.request.region, "instrument_id": self.request.instrument_id,
            "start": str(self.plan.start), "end": str(self.plan.end), "event": self.plan.event,
            "calibration_span": self.plan.calibration_span, "labellers": [row.to_dict() for row in self.figures],
            "label_confidence": None if self.confidence is None else asdict(self.confidence),
            "grid": None if self.grid is None else self.grid.to_dict(),
            "not_installed": list(self.missing),
            **self.set_aside.to_dict(),
        }  # fmt: skip

    def to_text(self) -> str:
        """Return the table and what follows it."""
        heading = (
            f"{self.request.region}, {self.request.instrument_id}: {self.figures[0].n_sessions} sessions from "
            f"{self.plan.start} to {self.plan.end}, refitted yearly on the {self.plan.calibration_span} before"
        )
        tables = (figures_table(self.figures, each) for each in ("use", "more", "bear"))
        lines = [heading, *self.set_aside.lines(), *tables, self._bear_line()]
        if self.request.start is None:
            lines.insert(1, f"no --start was given: {self.plan.start} is the first that works")
        if self.confidence is not None:
            lines.append(
                f"labels of num-regime-core-v2: stated {self.confidence.stated:.3f} sure, hindsight confirms "
                f"{self.confidence.agreeing:.3f}, calibration error {self.confidence.calibration_error:.3f}"
            )
        if self.grid is not None:
            lines.append(
                f"Sharpe over {len(self.grid.cells)} declared variants: median {self.grid.median_sharpe:.3f}, "
                f"worst {self.grid.worst.sharpe:.3f} ({self.grid.worst.cell.name})"
            )
        if self.missing:
            lines.append(f"not installed: {', '.join(self.missing)} (pip install 'prometheus-regime[evaluation]')")
        return "\n".join(lines)

    def _bear_line(self) -> str:
        falls = sorted({row.own_bear_fall for row in self.figures})
        shown = " to ".join(f"{fall:.1%}" for fall in dict.fromkeys((falls[0], falls[-1])))
        return f"{BEAR_NOTE} (here {shown} at the median)"


class EvaluationTasks(UseCase):
    """Judges labellers."""

    def evaluate(self, request: EvaluationRequest, output_dir: Path | None = None) -> EvaluationReport:
        """Walk every labeller through the protocol, and draw pictures into a folder if one is given.

        NotFoundError, InputRefusedError or UsageError without bars, with too few of them, or for an unknown labeller.
        """
        levels = None if request.vix is None else load_all_bars(self._wired, request.vix)
        index = None
        if request.market_index is not None:
            index = index_until(load_judged_market(self._wired, request.market_index), request.end)
        choice = LabellerChoice(request.labellers, levels, index, leaves_out=())
        if request.start is not None:
            require_unseen(request.start, choice.of())
        if output_dir is not None:
            require_picture_folder(output_dir)
        market = load_judged_market(self._wired, request.instrument_id, request.warm_up_instrument_id)
        plan = _plan(request, market.bars.dates, choice)
        history = market.known_on(np.datetime64(plan.end, "D"))
        labellers = choice.of(plan.visible(history))
        walks, figures = [], []
        for labeller in labellers:
            logger.info("%s: walking from %s to %s", labeller.name, plan.start, plan.end)
            walk = walk_forward(labeller, history, plan, self._wired.progress)
            repaint = None
            if request.repaint_every is not None and labeller.name != CEILING:
                repaint = check_walk(
                    labeller, history, plan, walk, request.repaint_every, self._wired.progress, market.known_on
                )
            walks.append(walk)
            figures.append(figures_of(walk, history, plan, repaint))
        own = next((each for each in labellers if isinstance(each, v2.PersistentLabeller)), None)
        confidence = None if own is None else v2.label_confidence(own, history, plan)
        grid = None
        if request.has_grid:
            grid = run_grid(declared_cells(), make_variant, history, plan, self._wired.progress)
        if output_dir is not None:
            _draw(output_dir, history, plan, walks, grid)
        set_aside = SetAside.of(market, plan.warm_up_start, plan.end)
        return EvaluationReport(request, plan, tuple(figures), confidence, grid, tuple(missing_peers()), set_aside)

    def evaluate_panel(self, market_id: str, start: date, end: date) -> v2.PanelResult:
        """Compare the volatility score of num-regime-core-v2 with EWMA volatility on every instrument of a market.

        UsageError for a market without instruments, InputRefusedError for years that the score was learned from.
        """
        require_unseen(start, [v2.PersistentLabeller()])
        listed = self._wired.catalog.list_instruments(market_id, None, 0)
        if not listed:
            raise UsageError(f"market {market_id} has no instruments")

        def histories() -> Iterator[MarketHistory]:
            for n_done, instrument_id in enumerate(listed):
                self._wired.progress(n_done, len(listed))
                yield load_judged_market(self._wired, instrument_id).known_on(np.datetime64(end, "D"))

        return v2.evaluate_panel(histories(), EvaluationPlan(start, end))

    def score_stored(self, history: RegimeHistory, until: date) -> dict[str, Any]:
        """Return as JSON values what a model's stored probabilities of high volatility were worth, by what is known.

        Sessions count that the model did not learn from, and whose next 21 had passed by `until`. A figure is None
        where they are too few or all alike; InputRefusedError for a model that states no probability.
        """
        asked = Histories(self._wired)
        calibration = (asked.model_config(history.model_id) or {}).get("calibration")
        if calibration is None:
            raise InputRefusedError(f"{history.model_id} states no probability of high volatility")
        timeline = asked.timeline(history.region, history.model_id).until(until)
        closes = asked.closes(asked.instrument_of(history.region, until), until)
        days, at, rows = np.intersect1d(timeline.dates, closes.dates, return_indices=True)
        stated, followed = timeline.high_volatilities[at], forward_log_volatility(closes.values)[rows]
        counts = np.isfinite(stated) & np.isfinite(followed) & (days > np.datetime64(calibration["end"], "D"))
        stated, days = stated[counts], days[counts]
        is_high = followed[counts] > math.log(calibration["high_volatility"]["threshold"])
        figures = {
            "mean_probability": float(stated.mean()) if len(days) else math.nan,
            "observed_share": float(is_high.mean()) if len(days) else math.nan,
            "brier_skill": brier_skill(stated, is_high), "calibration_error": calibration_error(stated, is_high),
            "area_under_curve": area_under_curve(stated, is_high),
        }  # fmt: skip
        span = {"first": str(days[0]), "last": str(days[-1])} if len(days) else {"first": None, "last": None}
        return {"model_id": history.model_id, "n_sessions": len(days), **span, **json_values(figures)}

    def history(self, instrument_id: str) -> MarketHistory:
        """Return all stored sessions of an instrument, every bar believed."""
        return MarketHistory.from_bars(load_all_bars(self._wired, instrument_id))


def _plan(request: EvaluationRequest, dates: DateVector, choice: LabellerChoice) -> EvaluationPlan:
    start = request.start or first_start(dates, choice.of())
    return EvaluationPlan(start, request.end or dates[-1].item(), event=request.event)


def _draw(
    folder: Path, history: MarketHistory, plan: EvaluationPlan, walks: Sequence[WalkForward],
    grid: GridResult | None,
) -> None:  # fmt: skip
    visible = plan.visible(history)
    curves = {}
    for walk in walks:
        dates, closes = walk.dates, visible.closes[walk.first :]
        zooms = {name: span for name, span in ZOOMS.items() if dates[0] <= np.datetime64(span[0]) <= dates[-1]}
        title = f"{history.instrument_id}, labels of {walk.name}"
        name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in walk.name)
        save_figure(draw_labels(title, dates, closes, walk.predictions, zooms), folder / f"labels_{name}.png")
        if np.ptp(walk.predictions.scores) == 0:
            continue  # holding says the same every day: a yearly base rate is no curve
        targets = Targets.of(history, plan, walk)
        stated = walk.predictions.probabilities[targets.is_known]
        curves[walk.name] = reliability_bins(stated, targets.is_high(walk.thresholds))
    save_figure(
        draw_reliability(f"{history.instrument_id}, {plan.start} to {plan.end}", curves), folder / "reliability.png"
    )
    if grid is not None:
        sharpes = [cell.sharpe for cell in grid.cells if math.isfinite(cell.sharpe)]
        holding = sharpe_ratio(np.expm1(visible.log_returns)[walks[0].first :])
        figure = draw_spread(f"{history.instrument_id}, declared variants", {"num-regime-core-v2": sharpes}, holding)
        save_figure(figure, folder / "spread.png")
