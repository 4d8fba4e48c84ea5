"""The documents as a reader follows them: their blocks of code, and what comments before a block say of it.

============================  ======================================================================================
comment                       meaning
============================  ======================================================================================
``<!-- not run: reason -->``  the block is shown, and cannot be run by the tests
``<!-- needs: MODULE -->``    it is run where that optional package is installed
``<!-- deep: reason -->``     it takes too long for every day; ``make test-deep`` runs it
``<!-- exit: 5 -->``          the block ends with that exit code; ``0 5``: its commands do, one after the other
``<!-- own server -->``       ``db.example`` in it is a PostgreSQL of the reader's own
``<!-- file: NAME -->``       the block is a file; it is written before anything of the page is run
``<!-- shown -->``            the block before printed these lines, in this order; ``…`` stands for others
============================  ======================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ("bash", "python")
_BLOCK = re.compile(
    r"(?P<marks>(?:^[ ]*<!--[^>]*-->\n)*)^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_MARK = re.compile(r"<!-- (?P<name>not run|needs|deep|exit|own server|file|shown)(?:: (?P<value>[^>]*?))? -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page, and where it begins."""

    page: str
    line: int
    language: str
    text: str
    marks: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_script(self) -> bool:
        """Whether it is something to run."""
        return self.language in SCRIPTS and "file" not in self.marks

    @property
    def commands(self) -> list[str]:
        """The commands of ours in it, continued lines joined."""
        if self.language != "bash":
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.split(" #")[0].strip() for line in lines if line.lstrip().startswith("python -m prometheus")]


def documents() -> list[Path]:
    """Return every page whose blocks are run: the README and all below ``docs``."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in their order."""
    return list(_blocks(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8")))


def _blocks(name: str, text: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(text):
        marks = {mark["name"]: mark["value"] or "" for mark in _MARK.finditer(found["marks"])}
        line = text.count("\n", 0, found.start("language")) + 1
        yield Block(name, line, found["language"], found["text"], marks)
