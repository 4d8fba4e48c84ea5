"""Each page by itself does what it says, for a reader who begins there; `test_reading_order` reads all in one go."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest
from tests.docs.pages import ROOT, Block, blocks_of, documents
from tests.docs.shell import Shell

pytest_plugins = ["tests.fixtures.own_server"]

PAGES = [page for page in documents() if any(block.is_script for block in blocks_of(page))]
NOT_RUN = {
    "docs/how-to/api.md": 1,  # a name in the DNS
    "docs/explanation/evaluation.md": 1,  # files of others, and an hour
    "docs/how-to/cluster.md": 1,  # a cluster
    "docs/how-to/install.md": 3,  # installations, which tests/install makes
}
"""Pages with blocks that hold commands of ours and cannot be run, and how many."""
MOST_NOT_RUN = 17
NEEDED = ("curl", "openssl", "tar")
"""Programs that blocks call and a machine may lack."""


def is_installed(module: str | None) -> bool:
    """Return whether an optional package that a block needs is there; True for a block that needs no such package."""
    return module is None or find_spec(module) is not None


def follow(page: Path, shell: Shell, *, is_deep: bool) -> None:
    """Write the files of a page, run its blocks and compare what they print with what is shown."""
    shell.write_files([*chain.from_iterable(map(blocks_of, PAGES)), *blocks_of(page)])  # those of this page last
    for departure in departures(page, shell, is_deep=is_deep):
        raise AssertionError(departure)
    assert shell.close() == 0


def departures(page: Path, shell: Shell, *, is_deep: bool) -> Iterator[str]:
    """Run the blocks of a page in their order; yield where one ends or prints otherwise than the page says."""
    printed = ""
    for block in blocks_of(page):
        if ("deep" in block.marks and not is_deep) or not is_installed(block.marks.get("needs")):
            continue
        if "shown" in block.marks:
            missing = not_printed(block.text, printed)
            if missing is not None:
                yield f"{block}: {missing!r} was not printed; this was:\n{printed}"
        if not block.is_script or "not run" in block.marks or lacks_program(block):
            continue
        ended = shell.run(block)
        wanted = tuple(map(int, block.marks.get("exit", "0").split()))
        if ended.exit_codes != wanted:
            yield f"{block}: {ended.exit_codes}, not {wanted}\n{block.text}\n{ended.output}"
        printed = ended.output


def lacks_program(block: Block) -> bool:
    return any(re.search(rf"^{name} ", block.text, re.MULTILINE) and not shutil.which(name) for name in NEEDED)


def not_printed(shown: str, printed: str) -> str | None:
    """Return the first line shown that does not follow in what was printed, None where all do."""
    lines = iter(map(str.rstrip, printed.splitlines()))
    for line in map(str.rstrip, shown.splitlines()):
        if line not in {"…", "..."} and line not in lines:
            return line
    return None


def is_slow(page: Path) -> bool:
    return any("deep" in block.marks for block in blocks_of(page))


@pytest.mark.deep
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_do_what_it_says(page: Path, reader: Shell) -> None:
    follow(page, reader, is_deep=False)


@pytest.mark.deep
@pytest.mark.parametrize(
    "page", [page for page in PAGES if is_slow(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_so_do_the_slow_ones(page: Path, reader: Shell) -> None:
    follow(page, reader, is_deep=True)


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page) if "not run" in block.marks]
    assert all(block.marks["not run"] for block in blocks)
    assert Counter(block.page for block in blocks if block.commands) == NOT_RUN
    assert len(blocks) <= MOST_NOT_RUN, [f"{block}: {block.marks['not run']}" for block in blocks]


def test_a_line_that_was_not_printed_is_found() -> None:
    assert not_printed("a\n…\nc\n", "a\nb\nc\n") is None
    assert not_printed("c\na\n", "a\nb\nc\n") == "a"
    assert not_printed("d\n", "a\n") == "d"


def test_every_fence_is_understood() -> None:
    for page in documents():
        n_fences = len(re.findall(r"^```\w+", page.read_text(encoding="utf-8"), re.MULTILINE))
        n_named = sum(1 for block in blocks_of(page) if block.language)
        assert n_named == n_fences, page
