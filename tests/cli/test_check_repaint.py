"""The repaint check as a command, pointed at labellers of a user's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.commands import Outcome, Run
from tests.fixtures.market import LoadPrices, random_walk, weekdays

from prometheus.cli.runner import run_named

MODULE = "labellers_of_a_user"
SOURCE = """
import numpy as np

def causal(dates, closes):
    changes = np.diff(np.log(closes), prepend=np.log(closes[0]))
    return np.where(changes < -0.01, "DOWN", "UP")

def smoothed(dates, closes):
    return np.where(closes > closes.mean(), "HIGH", "LOW")

def short(dates, closes):
    return closes[1:]

def broken(dates, closes):
    raise RuntimeError("no\\nidea")
"""


@pytest.fixture
def check(
    run: Run, load_prices: LoadPrices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:  # fmt: skip
    """Run the command over 600 sessions of X and the module above."""
    closes, volumes = random_walk(600)
    load_prices("X", weekdays(600), closes.tolist(), volumes.tolist())
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))

    def check_repaint(function: str, *options: str, instrument_id: str = "X") -> Outcome:
        capsys.readouterr()
        arguments = ["--labeller", function, "--instrument-id", instrument_id, *options]
        code = run_named("check_repaint", arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return check_repaint


def test_a_causal_labeller_passes(check: Run) -> None:
    done = check(f"{MODULE}:causal")

    assert done.exit_code == 0, done.stderr
    assert "17 dates run again on data cut there, 0 labels changed (0.00%): no repaint" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_a_labeller_that_looks_ahead_is_named_date_by_date(check: Run) -> None:
    done = check(f"{MODULE}:smoothed", "--every", "1")
    told = json.loads(check(f"{MODULE}:smoothed", "--every", "1", "--json").stdout)

    assert (done.exit_code, done.stderr) == (3, "")
    assert told["n_checked"] == 348
    assert 10 < told["n_changed"] <= 348
    assert told["share"] == told["n_changed"] / 348
    assert len(told["first_changed"]) == 10
    lines = done.stdout.splitlines()
    assert lines[0].endswith("repaints")
    assert lines[2].split() == [told["first_changed"][0][key] for key in ("date", "then", "now")]
    assert lines[-1] == f"... and {told['n_changed'] - 10} more"


def test_only_the_dates_asked_for_are_run_again(check: Run) -> None:
    dates = weekdays(600)
    told = json.loads(
        check(f"{MODULE}:causal", "--every", "2", "--start", str(dates[10]), "--end", str(dates[19]), "--json").stdout
    )
    assert told["n_checked"] == 5


@pytest.mark.parametrize(
    ("function", "options", "code", "reason"),
    [
        ("causal", [], 2, "names no labeller"),
        (f"{MODULE}:nothing", [], 2, "has no function 'nothing'"),
        ("no_such_module_at_all:labels", [], 2, "cannot be imported"),
        (f"{MODULE}:causal", ["--start", "2020-02-01", "--end", "2020-01-01"], 2, "lies before --start"),
        (f"{MODULE}:causal", ["--every", "0"], 2, "--every"),
        (f"{MODULE}:causal", ["--start", "2030-01-01"], 5, "is to be run again"),
        (f"{MODULE}:short", [], 5, "returned 599 labels for 600 sessions"),
        (f"{MODULE}:broken", [], 5, "RuntimeError: no idea"),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    check: Run, function: str, options: list[str], code: int, reason: str
) -> None:
    done = check(function, *options)

    assert (done.exit_code, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == 1
    assert reason in done.stderr


def test_an_unknown_instrument_is_named(check: Run) -> None:
    done = check(f"{MODULE}:causal", instrument_id="NOPE")
    assert (done.exit_code, "'NOPE'" in done.stderr) == (5, True)
    assert np.size(done.errors) == 1
