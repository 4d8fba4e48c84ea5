"""Troubleshooting: every message that the page quotes is one that the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
QUOTED = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def said() -> str:
    """All strings of the code, a line each; what a format fills in divides a string."""
    found: list[str] = []
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    return "\n".join(found)


@pytest.mark.parametrize("message", QUOTED)
def test_a_message_is_one_that_the_code_says(message: str, said: str) -> None:
    for part in message.split("…"):
        words = part.strip()
        assert words in said, f"nothing says {words!r}"


def test_the_page_quotes_many() -> None:
    assert len(QUOTED) > 20
