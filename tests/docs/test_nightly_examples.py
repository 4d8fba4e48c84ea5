"""The examples for cron, systemd and Airflow: the page shows them, and they know the options of the command."""

from __future__ import annotations

import ast
import re
from configparser import ConfigParser
from pathlib import Path

import pytest
from typer.main import get_command

from prometheus.cli.runner import application_of
from prometheus.core.config import read_regions

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "examples" / "nightly"
PAGE = (ROOT / "docs" / "how-to" / "nightly.md").read_text(encoding="utf-8")
OPTIONS = {option for each in get_command(application_of("nightly")).params for option in each.opts}


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_the_page_links_each_file_and_each_file_calls_the_command_as_it_is(path: Path) -> None:
    assert f"](../examples/nightly/{path.name})" in PAGE
    for arguments in re.findall(r"prometheus nightly (--[^\"\n>]*)", path.read_text(encoding="utf-8")):
        for option in re.findall(r"--([a-z-]+)", arguments):
            assert f"--{option}" in OPTIONS


def test_the_page_shows_the_line_of_the_cron_file() -> None:
    (line,) = [line for line in (FOLDER / "prometheus-nightly.cron").read_text().splitlines() if line[0].isdigit()]
    assert line in PAGE


def test_the_dag_is_python_and_skips_what_was_nothing_to_do() -> None:
    text = (FOLDER / "prometheus_nightly_dag.py").read_text()
    ast.parse(text)
    (code,) = re.findall(r"skip_on_exit_code=(\d+)", text)
    assert f"--exit-code-if-noop {code}" in text


def test_the_service_tries_again_but_not_after_what_a_try_does_not_mend() -> None:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(FOLDER / "prometheus-nightly.service")
    assert unit["Service"]["RestartPreventExitStatus"] == "2 3"
    assert unit["Service"]["Type"] == "oneshot"


def test_the_regions_can_be_read() -> None:
    assert read_regions(FOLDER / "regions.toml")["US"].prototypes == FOLDER / "regimes_US.json"
