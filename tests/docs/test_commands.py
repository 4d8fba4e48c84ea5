"""Every command and snippet that the documents show is run, page by page, in the order a reader meets them."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
from tests.docs.pages import ROOT, Block, blocks_of, documents
from tests.docs.shell import Shell

pytest_plugins = ["tests.fixtures.own_server"]

PAGES = [page for page in documents() if any(block.is_script for block in blocks_of(page))]
EVERY_DAY = "tests/cli/test_readme.py runs it every day"
WITH_REGIONS = "export PROMETHEUS_REGIONS_FILE=regions.toml"
NOT_RUN = {
    "docs/api.md": 2,  # a name in the DNS; a role made by hand
    "docs/explanation/evaluation.md": 1,  # files of others, and an hour
    "docs/how-to/cluster.md": 1,  # a cluster
}
"""Pages with blocks that hold commands of ours and cannot be run, and how many."""
MOST_NOT_RUN = 12
NEEDED = ("curl", "openssl", "tar")
"""Programs that blocks call and a machine may lack."""
MARKS_TO_ADD: dict[tuple[str, str], dict[str, str]] = {
    ("README.md", "make demo"): {"not run": "installs; tests/cli/test_readme.py runs the demo"},
    ("README.md", "--market-id US_EQ --as-of"): {"exit": "0 0 3 0"},  # the packaged index ends in 2023
    ("README.md", "python -m prometheus calibrate"): {"deep": EVERY_DAY},
    ("README.md", "python -m prometheus evaluate"): {"deep": EVERY_DAY},
    ("README.md", "python -m prometheus compute_regime_prototypes"): {"deep": EVERY_DAY},
    ("README.md", "python -m prometheus nightly"): {"exit": "5", "before": WITH_REGIONS},
    ("README.md", "host=db.example"): {"own server": ""},
    ("docs/analogs.md", "--window-days 513"): {"deep": "embeds thousands of windows"},
    ("docs/analogs.md", "similar_index build"): {"deep": "of those windows"},
    ("docs/analogs.md", "AnalogSearch(metric"): {"not run": "a fragment; its vectors are the reader's"},
    ("docs/api.md", "--host 0.0.0.0"): {"not run": "needs a name in the DNS"},
    ("docs/api.md", "user=prometheus_reader"): {"not run": "needs the role made above on a server of your own"},
    ("docs/nightly.md", "prototypes ="): {"file": "regions.toml"},
    ("docs/nightly.md", "nightly --as-of"): {"deep": "nine thousand texts", "exit": "5 0 0", "before": WITH_REGIONS},
    ("docs/nightly.md", "systemctl"): {"not run": "needs systemd"},
    ("docs/nightly.md", "BashOperator("): {
        "not run": "a part of a file that tests/docs/test_nightly_examples.py reads"
    },
}
"""Marks of pages that say nothing of themselves, by page and a part of the block."""


def marked(page: Path) -> list[Block]:
    """Return the blocks of a page with all that is said of them."""
    blocks = []
    for block in blocks_of(page):
        extra = [marks for (name, part), marks in MARKS_TO_ADD.items() if name == block.page and part in block.text]
        marks = {name: value for each in extra for name, value in each.items()} | dict(block.marks)
        blocks.append(Block(block.page, block.line, block.language, block.text, marks))
    return blocks


def follow(page: Path, shell: Shell, *, is_deep: bool) -> None:
    """Write the files of a page, run its blocks and compare what they print with what is shown."""
    blocks = marked(page)
    for block in [*chain.from_iterable(map(marked, PAGES)), *blocks]:  # those of this page last
        if "file" in block.marks:
            (shell.folder / block.marks["file"]).write_text(block.text, encoding="utf-8")
    printed = ""
    for block in blocks:
        if "deep" in block.marks and not is_deep:
            continue
        if "shown" in block.marks:
            missing = not_printed(block.text, printed)
            assert missing is None, f"{block}: {missing!r} was not printed; this was:\n{printed}"
        if not block.is_script or "not run" in block.marks or lacks_program(block):
            continue
        ended = shell.run(block)
        wanted = tuple(map(int, block.marks.get("exit", "0").split()))
        assert ended.exit_codes == wanted, f"{block}: {ended.exit_codes}, not {wanted}\n{block.text}\n{ended.output}"
        printed = ended.output
    assert shell.close() == 0


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
    return any("deep" in block.marks for block in marked(page))


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
    blocks = [block for page in PAGES for block in marked(page) if "not run" in block.marks]
    assert all(block.marks["not run"] for block in blocks)
    assert Counter(block.page for block in blocks if block.commands) == NOT_RUN
    assert len(blocks) <= MOST_NOT_RUN, [f"{block}: {block.marks['not run']}" for block in blocks]


def test_marks_of_other_pages_are_still_needed() -> None:
    for (name, part), marks in MARKS_TO_ADD.items():
        blocks = [block for block in blocks_of(ROOT / name) if part in block.text]
        assert blocks, (name, part)
        assert any(set(marks) - set(block.marks) for block in blocks), (name, part)


def test_a_line_that_was_not_printed_is_found() -> None:
    assert not_printed("a\n…\nc\n", "a\nb\nc\n") is None
    assert not_printed("c\na\n", "a\nb\nc\n") == "a"
    assert not_printed("d\n", "a\n") == "d"


def test_every_fence_is_understood() -> None:
    for page in documents():
        n_fences = len(re.findall(r"^```\w+", page.read_text(encoding="utf-8"), re.MULTILINE))
        n_named = sum(1 for block in blocks_of(page) if block.language)
        assert n_named == n_fences, page
