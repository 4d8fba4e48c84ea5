"""The index of guarantees: each promise stands beside tests that exist and run where the page says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (?!promise|---)(?P<promise>[^|]+) \| (?P<held_by>[^|]+) \| (?P<counted>[^|]*)\|$", re.MULTILINE)
HELD_BY = re.compile(r"(?P<deep>\*deep\* )?`(?P<file>[\w/]+\.py)::(?P<function>\w+)`")
TEXT = (ROOT / "docs" / "reference" / "guarantees.md").read_text(encoding="utf-8")
ROWS = list(ROW.finditer(TEXT))


def marks_of(file: str) -> dict[str, set[str]]:
    """Return the pytest marks of each test of a file, those of the whole file included."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    whole = {
        mark
        for node in tree.body
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "pytestmark" for target in node.targets)
        for mark in re.findall(r"pytest\.mark\.(\w+)", ast.unparse(node.value))
    }
    return {
        node.name: whole
        | {mark for each in node.decorator_list for mark in re.findall(r"^pytest\.mark\.(\w+)", ast.unparse(each))}
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["promise"][:60])
def test_a_promise_is_held_by_tests_that_run(row: re.Match[str]) -> None:
    tests = list(HELD_BY.finditer(row["held_by"]))
    assert tests
    assert not HELD_BY.sub("", row["held_by"]).strip(", "), "something that is no test"
    for test in tests:
        marks = marks_of(test["file"])
        assert test["function"] in marks, test[0]
        assert bool(test["deep"]) == ("deep" in marks[test["function"]]), f"{test[0]}: {marks[test['function']]}"


@pytest.mark.parametrize("row", [row for row in ROWS if row["counted"].strip()], ids=lambda row: row["promise"][:60])
def test_a_figure_names_a_command_that_makes_it_again(row: re.Match[str]) -> None:
    commands = re.findall(r"`([^`]+)`", row["counted"])
    assert commands
    modules = [command.split()[2] for command in commands if command.startswith("python -m benchmarks.")]
    assert all((ROOT / f"{module.replace('.', '/')}.py").is_file() for module in modules)


def test_the_page_is_read_whole() -> None:
    n_lines = sum(line.startswith("| ") and not line.startswith(("| promise", "|---")) for line in TEXT.splitlines())
    assert len(ROWS) == n_lines > 20
