"""Figures, table, grid and roster: what an evaluation hands on."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from tests.unit.evaluation.sample_market import SHORT_PLAN, FullSampleLabeller, sample_history

from prometheus.errors import MissingExtraError, UsageError
from prometheus.evaluation import peers
from prometheus.evaluation.figures import sharpe_ratio
from prometheus.evaluation.grid import GridCell, run_grid
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.jump import StatisticalJump
from prometheus.evaluation.labeller import Labeller, Predictions
from prometheus.evaluation.peers import GaussianHmm, MarkovSwitching
from prometheus.evaluation.protocol import EvaluationPlan, walk_forward
from prometheus.evaluation.repaint import check_walk
from prometheus.evaluation.report import LabellerFigures, figures_of, figures_table, trade_walk
from prometheus.evaluation.rules import ScoreRule, log_ewma_volatility, rule_labellers

HOLDING, EWMA = rule_labellers()[0:3:2]
LONG_PLAN = EvaluationPlan(start=date(2002, 1, 2), end=date(2018, 12, 31), warm_up_start=date(1990, 1, 1))


def figures_for(labeller: Labeller, plan: EvaluationPlan, repaint_every: int | None = None) -> LabellerFigures:
    history = sample_history()
    walk = walk_forward(labeller, history, plan)
    repaint = None if repaint_every is None else check_walk(labeller, history, plan, walk, repaint_every)
    return figures_of(walk, history, plan, repaint)


def test_known_rules_reach_what_they_are_known_for() -> None:
    figures = figures_for(EWMA, LONG_PLAN, repaint_every=500)

    assert 0.82 < figures.auc < 0.92
    assert 0.25 < figures.eta2 < 0.45
    assert figures.brier_skill > 0.2
    assert figures.calibration_error < 0.08
    assert figures.bear_balanced_accuracy > 0.6
    assert figures.own_bear_balanced_accuracy > 0.6
    assert 0.2 < figures.own_bear_fall < 0.25
    assert figures.own_bear_brier_skill != figures.bear_brier_skill
    assert figures.recession_balanced_accuracy > 0.6
    assert figures.sharpe_difference_low < figures.sharpe_difference_high
    assert (figures.repaint, figures.repaint_of_probabilities, figures.n_repaint_checked) == (0.0, 0.0, 9)


def test_holding_has_no_opinion_and_json_has_no_nan() -> None:
    figures = figures_for(HOLDING, replace(SHORT_PLAN, has_recession_months=False))

    assert (figures.auc, figures.switches_per_year, figures.turnover) == (0.5, 0.0, 0.0)
    document = json.loads(json.dumps(figures.to_dict(), allow_nan=False))
    assert document["repaint"] is None
    assert document["recession_balanced_accuracy"] is None
    assert document["sharpe"] == figures.sharpe


def test_what_repaints_is_told_in_the_figures() -> None:
    figures = figures_for(FullSampleLabeller(), SHORT_PLAN, repaint_every=5)
    assert figures.repaint_of_probabilities == figures.repaint > 0.0


def test_the_table_has_a_line_of_equal_length_for_each() -> None:
    rows = [figures_for(each, SHORT_PLAN) for each in (HOLDING, EWMA)]
    lines = figures_table(rows).splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
    assert lines[1].startswith("holding")
    assert " - " in lines[1]


def test_a_grid_walks_once_for_each_set_of_arguments() -> None:
    made: list[Mapping[str, Any]] = []

    def make(arguments: Mapping[str, Any]) -> Labeller:
        made.append(arguments)
        return ScoreRule("EWMA", log_ewma_volatility, **arguments)

    cells = [GridCell(f"{q} {delay}", {"quantile": q}, delay) for q in (0.7, 0.9) for delay in (0, 5, 10)]
    result = run_grid(cells, make, sample_history(), SHORT_PLAN)

    assert made == [{"quantile": 0.7}, {"quantile": 0.9}]
    sharpes = [each.sharpe for each in result.cells]
    assert len(set(sharpes)) == 6
    assert result.worst.sharpe == min(sharpes)
    assert result.median_sharpe == pytest.approx(np.median(sharpes))
    walk = walk_forward(ScoreRule("EWMA", log_ewma_volatility, 0.9), sample_history(), SHORT_PLAN)
    assert sharpes[4] == sharpe_ratio(trade_walk(sample_history(), SHORT_PLAN, walk, 5).returns)
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["n_cells"] == 6
    assert document["worst"] == result.worst.cell.name


def test_a_variant_that_is_never_in_the_market_is_the_worst() -> None:
    class Out:
        name = "out"

        def fit(self, _history: MarketHistory, _threshold: float) -> Out:
            return self

        def predictions(self, _history: MarketHistory, n_last: int) -> Predictions:
            return Predictions(np.ones(n_last, dtype=np.bool_), np.zeros(n_last), np.zeros(n_last))

    frozen = MarketHistory("X", sample_history().dates, sample_history().closes)
    result = run_grid([GridCell("out")], lambda _arguments: Out(), frozen, SHORT_PLAN)
    assert math.isfinite(result.median_sharpe) or result.to_dict()["worst_sharpe"] is None


def test_a_grid_of_nothing_or_of_one_name_twice_is_refused() -> None:
    for cells in ([], [GridCell("a"), GridCell("a")]):
        with pytest.raises(UsageError, match="each under its own name"):
            run_grid(cells, lambda _arguments: HOLDING, sample_history(), SHORT_PLAN)


def test_the_roster_names_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(rule_labellers()) == 9
    assert len(peers.peer_labellers()) + len(peers.missing_peers()) == 3
    monkeypatch.setattr(peers, "find_spec", lambda _name: None)
    assert peers.peer_labellers() == []
    assert peers.missing_peers() == ["hmmlearn", "statsmodels", "jumpmodels"]


@pytest.mark.parametrize(
    ("labeller", "module"),
    [
        (GaussianHmm(), "hmmlearn.hmm"),
        (MarkovSwitching(), "statsmodels.tsa.regime_switching.markov_regression"),
        (StatisticalJump(), "jumpmodels.jump"),
    ],
)
def test_a_missing_peer_names_the_extra(labeller: Labeller, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"prometheus-regime\[evaluation\]"):
        labeller.fit(sample_history().until(900), 0.2)
