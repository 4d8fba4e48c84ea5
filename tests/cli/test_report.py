"""The page of a region as one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.fixtures.commands import Prepare, Run, run_all


@pytest.fixture
def labelled(run: Run, prepare: Prepare) -> None:
    """Regimes of 2019 and 2020."""
    index = ["--region", "US/INDEX", "--instrument-id", "GSPC.INDX"]
    calibrate = ["calibrate", *index, "--until", "2018-12-31", "--output", "p.json"]
    label = ["run_numeric_regime", *index, "--prototypes", "p.json", "--date-range", "2019-01-01", "2020-12-31"]
    prepare("report", lambda: run_all(run, calibrate, label), after="sample")


@pytest.mark.usefixtures("labelled")
def test_a_report_loads_nothing_and_tells_nothing_later(run: Run) -> None:
    done = run("report", "--region", "US/INDEX", "--as-of", "2020-03-15")
    again = run("report", "--region", "US/INDEX", "--as-of", "2020-03-15")

    assert (done.exit_code, again.exit_code) == (0, 0), done.stderr
    assert done.stdout == "wrote US%2FINDEX_2020-03-13.html: US/INDEX on 2020-03-13\n"
    assert again.stdout.startswith("unchanged: ")
    text = Path("US%2FINDEX_2020-03-13.html").read_text()
    assert not re.search(r"<script|<img|<link|<iframe|url\((?!#)|\bsrc=|href=\"(?!#)", text)
    assert "<svg" in text
    assert "Friday 2020-03-13" in text
    assert max(re.findall(r"\b20\d\d-\d\d-\d\d\b", text)) <= "2020-03-15"


@pytest.mark.usefixtures("labelled")
def test_a_region_that_is_not_there_is_named(run: Run) -> None:
    done = run("report", "--region", "MARS", "--output", "r.html")
    assert done.exit_code == 5
    assert "region 'MARS' has no regimes at all" in done.errors[0]
    assert not Path("r.html").exists()
