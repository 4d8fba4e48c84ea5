"""The container files: what they copy and call is there, nothing is root, and linters that are there are content."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from prometheus.cli.runner import application_of
from prometheus.core.config import PrometheusConfig

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "container"
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
SCRIPTS = [FOLDER / name for name in ("nights", "is-well", "roles.sh")]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = import_module("yaml").safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    return found["services"]  # type: ignore[no-any-return]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() == ignored
    for line in re.findall(r"^COPY (?!--from)(.+)$", CONTAINERFILE, re.MULTILINE):
        for name in [word for word in line.split() if not word.startswith("--")][:-1]:
            assert (ROOT / name).exists(), name
            assert any(name == each[1:] or name.startswith(each[1:] + "/") for each in ignored if each[0] == "!"), name


def test_the_image_installs_by_hash_and_runs_as_an_ordinary_user() -> None:
    installs = re.findall(r"pip install [^&]*--requirement \S+", CONTAINERFILE)
    assert len(installs) == 2
    assert all("--require-hashes" in each for each in installs)
    assert re.findall(r"^USER (.+)$", CONTAINERFILE, re.MULTILINE)[-1] == "10001:10001"


def test_every_service_of_ours_is_held_short(services: dict[str, Any]) -> None:
    ours = [name for name, service in services.items() if service["image"] == "prometheus-regime"]
    assert ours == ["tables", "nights", "serve"]
    for name in ours:
        service = services[name]
        assert (service["read_only"], service["cap_drop"], service["user"]) == (True, ["ALL"], "10001:10001")
        assert "no-new-privileges:true" in service["security_opt"]
    assert all("healthcheck" in service for service in services.values())
    assert services["serve"]["ports"] == ["127.0.0.1:8321:8321"], "this machine alone; a proxy leads further"


def test_commands_options_and_settings_are_ours(services: dict[str, Any]) -> None:
    for service in (services["tables"], services["serve"]):
        name, *arguments = service["command"]
        command: Any = get_command(application_of(name))
        known = {
            option
            for each in (command, *getattr(command, "commands", {}).values())
            for p in each.params
            for option in p.opts
        }
        assert {word for word in arguments if word.startswith("--")} <= known
    settings = {name for service in services.values() for name in service.get("environment", {})}
    settings |= set(re.findall(r"\bPROMETHEUS_[A-Z_]+", CONTAINERFILE))
    ours = {name for name in settings if name.startswith("PROMETHEUS_")}
    assert ours <= {f"PROMETHEUS_{name.upper()}" for name in PrometheusConfig.model_fields} | {"PROMETHEUS_HOME"}
    assert len(ours) >= 4


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_run_and_parsed(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_the_linter_of_containerfiles_is_content() -> None:
    done = subprocess.run(["hadolint", ROOT / "Containerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nights_go_on_after_one_that_failed_and_end_when_told(tmp_path: Path) -> None:
    """The real script with a `python` that ends as a night would; it is told to stop in its pause."""
    (tmp_path / "python").write_text(f"#!/bin/sh\necho night >> {tmp_path}/nights\nexit 5\n")
    (tmp_path / "python").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "NIGHT_EVERY_S": "0.1",
        "NIGHT_STATE": str(tmp_path / "state"),
    }
    with subprocess.Popen(["sh", FOLDER / "nights"], env=environment, stderr=subprocess.PIPE, text=True) as running:
        while not (tmp_path / "nights").exists() or (tmp_path / "nights").read_text().count("night") < 3:
            assert running.poll() is None
        assert (tmp_path / "state").read_text() == "5\n"
        well = subprocess.run(["sh", FOLDER / "is-well", "nights"], env=environment, check=False)
        running.terminate()
        _, said = running.communicate(timeout=20)
    assert (well.returncode, running.returncode) == (0, 0)
    assert "nightly ended with 5" in said
