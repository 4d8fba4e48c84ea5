"""Analogs by prices and macro numbers where both are joined, by prices elsewhere; at every door the same."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
from tests.fixtures.commands import Run
from tests.fixtures.market import LoadPrices
from tests.integration.test_joint_numbers import DAYS, SPAN, V3, history, join, save_regimes, store

import prometheus as pm
from prometheus.analogs.search import AnalogReport, AnalogRequest
from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.joint import JointModelChoice
from prometheus.backfill.plan import DateSpan
from prometheus.mcp.tools import call

DAY = DAYS[24]
ASKED = {"k": 3, "exclude_sessions": 4}


@pytest.fixture
def stored(db_manager: DatabaseManager, load_prices: LoadPrices) -> DatabaseManager:
    """A region with prices, regimes and six series, not yet joined."""
    closes = 100 * np.exp(np.random.default_rng(2).normal(0, 0.01, len(DAYS)).cumsum())
    load_prices("X", np.array(DAYS, "M8[D]"), closes.tolist(), [1e6] * len(DAYS))
    save_regimes(db_manager)
    store(db_manager, history())
    return db_manager


def find(db_manager: DatabaseManager, **more: object) -> AnalogReport:
    return App(db_manager).analogs.find(AnalogRequest(**{"region": "US", "as_of": DAY, **ASKED, **more}))  # type: ignore[arg-type]


def test_prices_answer_until_the_numbers_are_joined_up_to_the_date(stored: DatabaseManager) -> None:
    alone = find(stored)
    assert (alone.request.space, alone.model_id, alone.parts) == ("numeric", "num-regime-core-v2", None)
    assert alone.prices_alone == f"no joint-regime-core-v3 of US is stored up to {DAY}"

    join(stored, span=DateSpan.of_range(DAYS[0], DAYS[20]))
    behind = find(stored)
    assert behind.to_dict() == alone.to_dict()
    assert behind.prices_alone.startswith(f"the newest row of joint-regime-core-v3 is of {DAYS[20]}")

    join(stored)
    both = find(stored)
    assert (both.request.space, both.model_id, both.prices_alone) == ("joint", "joint-regime-core-v3", "")
    assert both.to_dict() == find(stored, space="joint").to_dict()
    assert both.parts is not None
    assert both.parts.prices + both.parts.numbers == pytest.approx(1.0)
    assert (both.parts.first, both.parts.last) == (DAYS[0], DAYS[19])
    assert both.analogs[0].nearness is not None
    assert find(stored, least=True).analogs[0].nearness is None


def test_an_explicit_choice_wins(stored: DatabaseManager) -> None:
    before = [find(stored, space="numeric").to_dict(), find(stored, model_id="num-regime-core-v2").to_dict()]
    join(stored)
    after = [find(stored, space="numeric").to_dict(), find(stored, model_id="num-regime-core-v2").to_dict()]
    assert after == before
    assert find(stored, space="joint", metric="cosine").parts is None


def test_of_several_models_the_one_with_the_plain_name_answers_else_none(stored: DatabaseManager) -> None:
    others = [
        JointModelChoice("num-regime-core-v2", "text-macro-v1", f"joint-regime-core-v3-{name}", numbers_share=share)
        for name, share in (("half", 0.5), ("tenth", 0.1))
    ]
    join(stored, others[0])
    assert find(stored).model_id == "joint-regime-core-v3-half"
    join(stored, others[1])
    named = "joint-regime-core-v3-half, joint-regime-core-v3-tenth"
    assert find(stored).prices_alone == f"several models join macro numbers, and none is named: {named}"
    join(stored)
    assert find(stored).model_id == V3.joint_model_id


def test_what_becomes_known_later_changes_no_answer(stored: DatabaseManager, load_prices: LoadPrices) -> None:
    join(stored, span=DateSpan.of_range(DAYS[0], DAY))
    before = find(stored)

    later = [DAYS[-1] + timedelta(n) for n in range(1, 12)]
    save_regimes(stored, seed=9, days=later)
    load_prices("X", np.array(later, "M8[D]"), [500.0] * len(later), [1e6] * len(later))
    store(stored, [(name, day + timedelta(12), known + timedelta(12), value * 9) for name, day, known, value in
                   history() if day >= DAYS[-12]])  # fmt: skip
    join(stored, span=DateSpan.of_range(DAYS[0], later[-1]))

    after = find(stored)
    assert after.to_dict() == before.to_dict()
    assert (after.parts, [each.nearness for each in after.analogs]) == (
        before.parts, [each.nearness for each in before.analogs],
    )  # fmt: skip


def test_command_python_and_tool_say_the_same(stored: DatabaseManager, run: Run) -> None:
    join(stored, span=SPAN)
    expected = find(stored)

    asked = ("similar", "--region", "US", "--as-of", str(DAY), "--k", "3", "--exclude-sessions", "4")
    printed = run(*asked)
    assert printed.exit_code == 0, printed.stderr
    assert printed.stdout.startswith(f"US {DAY}, joint space of joint-regime-core-v3: nearest of ")
    assert printed.stderr.splitlines()[-1].endswith("prices alone: --space numeric")
    assert str(expected.parts) in printed.stdout
    assert str(expected.analogs[0].nearness) in printed.stdout
    machine = json.loads(run(*asked, "--json").stdout)
    assert machine == json.loads(json.dumps(expected.to_dict()))

    with pm.open() as opened:
        table = opened.analogs("US", DAY, k=3, exclude_sessions=4)
    assert table.report.to_dict() == expected.to_dict()
    assert str(expected.parts) in repr(table)

    told, is_answer = call(App(stored), "find_analogs", {"region": "US", "as_of": str(DAY), "k": 3})
    assert is_answer
    assert (told["space"], told["model_id"]) == ("joint", "joint-regime-core-v3")
    named, _ = call(
        App(stored), "find_analogs", {"region": "US", "as_of": str(DAY), "k": 3, "model_id": "regime-core-v3"}
    )
    assert (named["space"], named["model_id"]) == ("numeric", "num-regime-core-v2")
