"""The documents say what is true: commands exist, links lead somewhere, snippets run, names import."""

from __future__ import annotations

import importlib
import re
import shlex
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import blocks_of, documents
from typer.main import get_command

import prometheus
from prometheus.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.md")])
PIN = re.compile(r"^[a-z0-9.\[\]-]+==[\w.]+", re.MULTILINE)
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOREIGN_LINK = re.compile(r"https://[a-z0-9.-]+\.[a-z]{2,}(/[\w./?=&%+-]*)?")
"""Form is all that is checked of links to other hosts: the tests ask nothing of them."""


def commands_not_run() -> list[str]:
    """Return every command of ours that the documents show and `tests.docs.test_commands` does not run."""
    blocks = chain.from_iterable(map(blocks_of, documents()))
    return sorted({command for block in blocks if "not run" in block.marks for command in block.commands})


def options_of(command: Any) -> list[str]:
    return [option for parameter in command.params for option in parameter.opts]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)|<img src=\"([^\"]+)\"", text):
        place = "".join(target)
        if "://" in place:
            assert FOREIGN_LINK.fullmatch(place), place
        else:
            assert (document.parent / place).exists(), place


@pytest.mark.parametrize("command", commands_not_run())
def test_commands_that_are_not_run_exist_with_their_options(command: str) -> None:
    words = shlex.split(command)
    name = words[3] if words[2] == "prometheus" else words[2].removeprefix("prometheus.scripts.")
    assert name in COMMANDS
    found: Any = get_command(importlib.import_module(f"prometheus.scripts.{name}").app)
    known = {option for each in (found, *getattr(found, "commands", {}).values()) for option in options_of(each)}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known


def test_the_readme_shows_the_one_table_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert f"```text\n{capsys.readouterr().out}```" in README


def test_the_readme_starts_with_the_two_commands() -> None:
    assert README.index("make demo") < README.index("make test") < README.index("##")


def test_the_changelog_knows_the_version() -> None:
    assert f"## {prometheus.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_decision_record_is_listed() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    records = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert records
    assert all(name in index for name in records)


def test_lock_files_pin_and_hash_everything_and_name_no_host() -> None:
    for name, n_pins in (
        ("requirements.lock", 20),
        ("requirements-demo.lock", 20),
        ("requirements-dev.lock", 20),
        ("requirements-ray.lock", 10),
        ("requirements-lowest.lock", 100),
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        pins = PIN.findall(text)
        assert len(pins) > n_pins
        assert "://" not in text
        assert text.count("--hash=sha256:") >= len(pins)
        assert not re.search(r"^(torch|nvidia-)", text, re.MULTILINE)


def test_what_tests_need_is_added_to_what_the_demo_installs() -> None:
    runs, demo, everything = (
        set(PIN.findall((ROOT / name).read_text(encoding="utf-8")))
        for name in ("requirements.lock", "requirements-demo.lock", "requirements-dev.lock")
    )
    assert runs < demo < everything
    assert not {pin.partition("==")[0] for pin in demo} & {"pytest", "mypy", "playwright", "scipy", "mkdocs"}
