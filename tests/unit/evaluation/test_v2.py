"""Our own labeller under the protocol, and the variations a grid makes of it, on the packaged index."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from tests.unit.evaluation.sample_market import history_of, sample_history

from prometheus.encoders.numeric import descriptors
from prometheus.errors import InputRefusedError
from prometheus.evaluation.grid import declared_cells, make_variant
from prometheus.evaluation.labeller import Predictions
from prometheus.evaluation.protocol import EvaluationPlan, walk_forward
from prometheus.evaluation.repaint import check_walk
from prometheus.evaluation.rules import log_ewma_volatility
from prometheus.evaluation.v2 import (
    IndexOfMarket,
    PersistentLabeller,
    WindowDescriber,
    evaluate_panel,
    label_confidence,
    volatility_scores_of,
)

PLAN = EvaluationPlan(date(2008, 1, 2), date(2009, 12, 31))
RISK_OFF = {"RISK_OFF", "CRISIS"}


def predictions_of(labeller: PersistentLabeller, n_last: int = 250) -> Predictions:
    history = sample_history()
    end = history.position_of(np.datetime64("2009-01-02"))
    fitted = labeller.fit(history.until(end - 250), 0.25)
    return fitted.predictions(history.until(end), n_last)


def test_the_crisis_of_2008_is_one_and_the_side_follows_the_label() -> None:
    predictions = predictions_of(PersistentLabeller())
    assert predictions.labels is not None
    assert [label in RISK_OFF for label in predictions.labels] == predictions.is_risk_off.tolist()
    assert set(predictions.labels[-60:]) == {"CRISIS"}
    assert predictions.probabilities[-60:].min() > 0.7


def test_no_date_of_a_walk_is_repainted() -> None:
    history = sample_history()
    walk = walk_forward(PersistentLabeller(), history, PLAN)
    report = check_walk(PersistentLabeller(), history, PLAN, walk, every=9)
    assert report.n_checked > 50
    assert report.n_changed == 0


def test_an_index_moves_the_chance_of_its_members_alone_and_not_before_it_moves() -> None:
    history, usual = sample_history(), predictions_of(PersistentLabeller())
    itself = predictions_of(PersistentLabeller(index=IndexOfMarket.of(history)))
    assert itself.probabilities.tobytes() == usual.probabilities.tobytes()
    end = history.position_of(np.datetime64("2009-01-02"))
    calmer = IndexOfMarket.of(
        replace(history, closes=np.where(np.arange(len(history)) < end - 50, history.closes, history.closes[end - 50]))
    )
    found = predictions_of(PersistentLabeller(index=calmer))
    assert found.probabilities[:200].tobytes() == usual.probabilities[:200].tobytes()
    assert (found.probabilities[-40:] != usual.probabilities[-40:]).any()
    assert (found.labels, found.is_risk_off.tolist()) == (usual.labels, usual.is_risk_off.tolist())


def test_every_declared_cell_is_one_step_from_the_default() -> None:
    cells = declared_cells()
    assert len({cell.name for cell in cells}) == len(cells) >= 40
    assert len({(json.dumps(cell.arguments, sort_keys=True), cell.delay) for cell in cells}) == len(cells)
    for cell in cells:
        assert (make_variant(cell.arguments) == PersistentLabeller()) == (not cell.arguments)
        assert len(cell.arguments) + (cell.delay > 0) <= 1
    assert {cell.delay for cell in cells} == set(range(11))


def test_a_variation_reaches_the_labels() -> None:
    usual = predictions_of(PersistentLabeller())
    for arguments in (
        {"dropped": list(descriptors.TREND_NAMES)},
        {"settings": {"penalty": 0.0}},
        {"settings": {"cuts": [0.1, 0.2, 0.3]}},
        {"constants_span": ["1993-01-04", "1996-12-31"]},
    ):
        varied = make_variant(arguments).fit(sample_history().until(4538), 0.25)
        labels = varied.predictions(sample_history().until(4788), 250).labels
        assert labels != usual.labels, arguments


def test_a_dropped_descriptor_cannot_move_a_label() -> None:
    everything = PersistentLabeller(dropped=tuple(name for name in descriptors.NAMES if name != "drawdown_128"))
    history = sample_history().until(4788)
    fitted = everything.fit(sample_history().until(4538), 0.25)
    assert isinstance(fitted.describe, WindowDescriber)
    assert (fitted.describe.factors > 0).sum() == 1
    labels = fitted.predictions(history, 250).labels
    highs = np.array([history.closes[end - 128 : end].max() for end in range(4539, 4789)])
    drawdowns = history.closes[4538:4788] / highs - 1.0
    assert labels is not None
    by_label = {name: drawdowns[[each == name for each in labels]].mean() for name in set(labels)}
    ordered = [by_label[name] for name in ("CRISIS", "RISK_OFF", "NEUTRAL", "CARRY") if name in by_label]
    assert ordered == sorted(ordered)
    assert len(ordered) >= 2


def test_labels_are_about_as_sure_as_they_say() -> None:
    found = label_confidence(PersistentLabeller(), sample_history(), PLAN)
    assert found.n_sessions == 505
    assert 0.8 < found.stated <= 1.0
    assert abs(found.stated - found.agreeing) < 0.15


def test_constants_need_sessions_with_a_window() -> None:
    labeller = PersistentLabeller(constants_span=(date(1990, 1, 2), date(1991, 6, 28)))
    with pytest.raises(InputRefusedError, match="no session from 1990-01-02 to 1991-06-28 has a window"):
        labeller.fit(sample_history().until(4538), 0.25)


def test_a_history_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="300 sessions are too few to fit on, 1268 are needed"):
        PersistentLabeller().fit(sample_history().until(300), 0.25)


def test_a_panel_ranks_each_instrument_by_both_scores() -> None:
    generator = np.random.default_rng(5)
    short = history_of(np.exp(generator.normal(0, 0.01, 400).cumsum()), name="SHORT")
    plan = EvaluationPlan(date(2000, 1, 3), date(2018, 12, 31))
    result = evaluate_panel([sample_history(), short], plan)
    assert [row.instrument_id for row in result.rows] == ["GSPC.INDX"]
    assert result.skipped == ("SHORT",)
    assert result.rows[0].auc > result.rows[0].auc_of_ewma > 0.8
    assert result.share_not_worse == 1.0
    assert result.to_dict()["n_instruments"] == 1


def test_a_panel_of_nothing_is_refused() -> None:
    short = history_of(np.full(300, 10.0))
    with pytest.raises(InputRefusedError, match="none of 1 instruments"):
        evaluate_panel([short], EvaluationPlan(date(2000, 1, 3), date(2018, 12, 31)))


def test_the_score_follows_the_volatility_of_closes_where_highs_and_lows_are_unknown() -> None:
    closes = history_of(sample_history().closes)
    ours, ewma = volatility_scores_of(closes, 2000), log_ewma_volatility(closes, 2000)
    assert np.corrcoef(ours, ewma)[0, 1] > 0.85
