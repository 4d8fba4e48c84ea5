"""Plain English: phrases of the house's old dialect stay out of code, help, pages and documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIALECT = {
    r"(?:is|are|was|were) none\b": "name what is missing",
    r"\bnone any more\b": "say what it is now",
    r"\b(?:is|are|was|were) no more\b": "say that it was removed",
    r"\bwhoever\b": "name the reader, or use the passive",
    r"\bwhat (?:came|becomes|became) of\b": "say result, report or outcome",
    r"\bso many\b": "write 'at most N' or 'this number of'",
    r"\bnobody\b": "say what cannot be done, or use the passive",
    r"\b(?:know|knows|knew) their own future\b": "labels inside the calibration span are in-sample",
    r"\bnone so near\b": "minimum gap between results",
    r"\bmade good\b": "say repaired, recomputed or written again",
}
ACCOUNT = re.compile(r'["\'`]nobody["\'`]')
"""The account of that name, which PostgreSQL runs as when root starts it."""


def pages() -> list[Path]:
    source = [path for suffix in ("py", "html", "js") for path in (ROOT / "src").rglob(f"*.{suffix}")]
    documents = [path for path in (ROOT / "docs").rglob("*.md") if "adr" not in path.parts]
    return sorted([*source, *documents, *ROOT.glob("*.md")])


@pytest.mark.parametrize("phrase", DIALECT)
def test_a_phrase_of_the_dialect_stands_nowhere(phrase: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in pages()
        if path.name != "CHANGELOG.md"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(phrase, ACCOUNT.sub("", line))
    ]
    assert not found, f"{DIALECT[phrase]}:\n" + "\n".join(found)
