"""The examples for cron, systemd and Airflow: the page shows them, and they know the options of the command."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
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


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units_and_finds_little_exposed(tmp_path: Path) -> None:
    units = [path for path in FOLDER.iterdir() if path.suffix in {".service", ".timer"}]
    for unit in units:
        text = unit.read_text(encoding="utf-8").replace("/opt/prometheus/.venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    verify = ["systemd-analyze", "verify", *(str(tmp_path / unit.name) for unit in units)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if str(tmp_path) in line]) == (0, [])
    for unit in units:
        if unit.suffix == ".service":
            judge = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(tmp_path / unit.name)]
            assert subprocess.run(judge, capture_output=True, check=False).returncode == 0, unit.name


def test_the_regions_can_be_read() -> None:
    assert read_regions(FOLDER / "regions.toml")["US"].prototypes == FOLDER / "regimes_US.json"
