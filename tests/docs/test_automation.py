"""What the hosting site and git run for us is read here: a renamed target, or an action without a pin, is found."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import prometheus

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FILES = [*WORKFLOWS, ROOT / ".github" / "dependabot.yml", ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def load(path: Path) -> Any:
    return import_module("yaml").safe_load(path.read_text(encoding="utf-8"))


def steps_of(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in load(workflow)["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("path", [*FILES, *FORMS], ids=lambda path: path.name)
def test_a_file_can_be_read(path: Path) -> None:
    assert isinstance(load(path), dict)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_makes_is_a_target(workflow: Path) -> None:
    made = re.findall(r"\bmake(?: \w+=\S+)* ([a-z-]+)", "\n".join(step.get("run", "") for step in steps_of(workflow)))
    assert made
    assert set(made) <= TARGETS


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_to_a_commit_and_says_its_version(workflow: Path) -> None:
    lines = [line for line in workflow.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_a_job_asks_for_more(workflow: Path) -> None:
    found = load(workflow)
    assert found["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] for job in found["jobs"].values())


def test_every_python_that_the_package_names_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    jobs = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    for job in ("test", "wheel"):
        assert jobs[job]["strategy"]["matrix"]["python"] == named


def test_the_release_states_where_it_was_built() -> None:
    release = load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    used = [step.get("uses", "").partition("@")[0] for step in release["build"]["steps"]]
    assert "actions/attest-build-provenance" in used
    assert release["publish"]["permissions"] == {"id-token": "write"}, "no token is kept"


def test_hooks_run_programs_that_setup_installs() -> None:
    hooks = [hook for repository in load(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]]
    for hook in hooks:
        assert hook["language"] == "system"
        program = hook["entry"].split()[0]
        assert program.startswith(".venv/bin/")
        assert (ROOT / program).exists()
        assert all((ROOT / word).is_file() for word in hook["entry"].split() if word.startswith("tests/"))


def test_the_citation_is_of_this_version() -> None:
    assert load(ROOT / "CITATION.cff")["version"] == prometheus.__version__
