"""All pages as one reader follows them: from an empty home, in the order of the menu, in one folder, on one server."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest
from tests.docs.conftest import DemoHome, reader_of
from tests.docs.pages import ROOT, blocks_of
from tests.docs.test_commands import PAGES, departures
from tests.fixtures.own_databases import OwnServer

pytest_plugins = ["tests.fixtures.own_server"]

DEMO = "python -m prometheus demo --folder demo"
"""What `make demo` runs once all is installed."""
MENU = re.compile(r"^ +- .*: (?P<page>\S+\.md)$", re.MULTILINE)


def reading_order() -> list[Path]:
    """Return the pages that have something to run: the README, those of the site's menu, and the rest."""
    menu = MENU.findall((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    first = [ROOT / "README.md", *(ROOT / "docs" / name for name in menu)]
    return [page for page in dict.fromkeys([*first, *PAGES]) if page in PAGES]


def test_the_demo_is_that_of_the_makefile() -> None:
    assert DEMO.removeprefix("python") in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_order_holds_every_page_once() -> None:
    order = reading_order()
    assert sorted(order) == sorted(PAGES)
    assert [page.name for page in order[:2]] == ["README.md", "first-ten-minutes.md"]
    assert order.index(ROOT / "docs/how-to/own-data.md") < order.index(ROOT / "docs/how-to/nightly.md")


@pytest.mark.timeout(1_200)
def test_a_reader_of_every_page_sees_what_each_shows(new_home: DemoHome, own_server: OwnServer) -> None:
    """One home from `make demo` to the last page, a new terminal for each; nothing is typed that no page shows."""
    found: list[str] = []
    place = new_home.home.parent / "pages"
    place.mkdir()
    with reader_of(place, new_home, own_server) as shell:
        shell.write_files(chain.from_iterable(map(blocks_of, PAGES)))
        (shell.folder / "demo").mkdir()
        assert shell.type(DEMO).exit_codes == (0,)
        for page in reading_order():
            shell.open_terminal()
            shell.write_files(blocks_of(page))
            found += departures(page, shell, is_deep=True)
            if shell.close() != 0:
                found.append(f"{page}: its server did not end well")
    assert not found, "\n\n".join(found)
