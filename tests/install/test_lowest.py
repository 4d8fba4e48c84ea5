"""The lock file of the lowest versions is what pyproject.toml allows, and nothing newer."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TESTED = ("texts", "plots", "evaluation", "xlsx", "mcp", "alerts")
PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([\w.]+)", re.MULTILINE)


def bounds() -> dict[str, Version]:
    """Return the lowest version that is allowed of each direct requirement that is tested."""
    project, found = PROJECT["project"], {}
    texts = [*project["dependencies"], *(each for extra in TESTED for each in project["optional-dependencies"][extra])]
    for requirement in map(Requirement, texts):
        lowest = [each.version for each in requirement.specifier if each.operator in (">=", "==")]
        assert len(lowest) == 1, f"{requirement} has no lower bound"
        found[requirement.name.replace("_", "-").lower()] = Version(lowest[0])
    return found


@pytest.mark.parametrize(("name", "bound"), bounds().items())
def test_the_lowest_version_of_each_requirement_is_the_one_that_is_tested(name: str, bound: Version) -> None:
    pinned = defaultdict(list)
    for each, version in PIN.findall((ROOT / "requirements-lowest.lock").read_text(encoding="utf-8")):
        pinned[each].append(Version(version))
    lowest = min(pinned[name])
    assert lowest.release[: len(bound.release)] == bound.release, f"make lock was not run: {name} {lowest}"


def test_an_extra_that_is_not_tested_so_says_why() -> None:
    rest = set(PROJECT["project"]["optional-dependencies"]) - set(TESTED)
    # exact pins; torch, which is gigabytes; Ray, which has a lock file and a target of its own
    assert rest == {"minilm", "languages", "torch", "ray"}
