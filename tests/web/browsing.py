"""A real Chromium that notes what goes wrong on a page and what leaves the host."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: chromium)")
_QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDTHS = {"desktop": (1440, 900), "tablet": (820, 1100), "phone": (390, 844)}


@dataclass
class Visit:
    """One page, and what was noted on it."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a path and wait for the charts, where there are any."""
        self.page.goto(f"{self.base}{path}")
        self.wait()
        return self.page

    def wait(self) -> None:
        """Wait until every chart of the page is drawn, which is when it is first seen."""
        self.page.wait_for_load_state("load")
        for chart in ("#history-chart", "#analog-chart"):
            if self.page.locator(chart).count():
                self.page.locator(chart).scroll_into_view_if_needed()
                self.page.wait_for_selector(f"{chart}[data-drawn]", timeout=30_000)
        self.page.evaluate("scrollTo(0, 0)")


@contextmanager
def launched() -> Iterator[Browser]:
    """Yield a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_QUIET))
        yield browser
        browser.close()


@contextmanager
def visit(browser: Browser, base: str, width: str = "desktop", theme: str = "light") -> Iterator[Visit]:
    """Yield a fresh window; leaving it proves that nothing went wrong and nothing left the host."""
    size = WIDTHS[width]
    scheme: Literal["dark", "light"] = "dark" if theme == "dark" else "light"
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page = context.new_page()
    visited = Visit(page, base)
    page.on("console", lambda message: visited.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: visited.complaints.append(str(error)))
    page.on("request", lambda request: visited.addresses.append(request.url))
    try:
        yield visited
    finally:
        context.close()
    assert not visited.complaints, visited.complaints
    assert [address for address in visited.addresses if not address.startswith((base, "data:", "blob:"))] == []
