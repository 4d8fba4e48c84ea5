"""axe finds nothing on any view, in both themes, wide and narrow; the application answers in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route
from starlette.testclient import TestClient
from tests.web.browsing import WIDTHS, launched, needs_chromium
from tests.web.serving import REGION, TOKEN, client_of

from prometheus.app import App
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.load import Limits
from prometheus.web.server import create_app

pytestmark = needs_chromium
pytest_plugins = ["tests.web.fixtures"]

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
RUN = """async (rules) => {
    const { violations } = await axe.run({ resultTypes: ["violations"], ...rules });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join(" ")}`);
}"""
VIEWS = {
    "overview": ("open", "/"),
    "map": ("open", "/"),
    "record": ("open", f"/regions/{REGION}/record"),
    "region": ("open", f"/regions/{REGION}/2020-03-16"),
    "log-in": ("guarded", "/login"),
    "empty": ("open", "/?as_of=1990-01-02"),
    "busy": ("busy", "/"),
    "error": ("open", "/regions/MARS"),
}
"""Which application shows a view, and where."""
MOST_SEEN = {"overview", "map", "region"}
RULES: Mapping[str, Any] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
"""Of a theme: the other one differs in its colours alone."""


@pytest.fixture(scope="module")
def clients(reading_app: App) -> Iterator[Mapping[str, TestClient]]:
    """Clients of an open application, of one that wants a token, and of one that has no place for a request."""
    rules = AccessRules(LOOPBACK_HOSTS)
    applications = {
        "open": create_app(reading_app, rules),
        "guarded": create_app(reading_app, AccessRules(LOOPBACK_HOSTS, TOKEN)),
        "busy": create_app(reading_app, rules, Limits(most_waiting=0)),
    }
    with ExitStack() as stack:
        yield {name: stack.enter_context(client_of(each)) for name, each in applications.items()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all views."""
    with launched() as chromium:
        yield chromium


def answer_by(client: TestClient, route: Route) -> None:
    """Give a page what the application says to its request."""
    address = urlsplit(route.request.url)
    response = client.get(f"{address.path}?{address.query}", headers={"Accept": route.request.headers["accept"]})
    headers = {name: value for name, value in response.headers.items() if name not in {"content-encoding", "etag"}}
    route.fulfill(status=response.status_code, headers=headers, body=response.content)


def show(page: Page, name: str) -> None:
    """Bring a view to where all of it is seen."""
    page.goto(f"http://127.0.0.1:8321{VIEWS[name][1]}")
    if name == "map":
        page.locator("[data-map]").first.click()
    for chart in page.locator(".chart").all():
        chart.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('.chart')].every((each) => each.dataset.drawn)")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in MOST_SEEN else [pytest.mark.deep]) for name in VIEWS]
)
def test_axe_finds_nothing(browser: Browser, clients: Mapping[str, TestClient], name: str) -> None:
    page = browser.new_page()
    page.route("**/*", lambda route: answer_by(clients[VIEWS[name][0]], route))
    found: dict[str, Any] = {}
    show(page, name)
    page.evaluate(AXE)
    for width in ("desktop", "phone"):
        page.set_viewport_size(dict(zip(("width", "height"), WIDTHS[width], strict=True)))  # type: ignore[arg-type]
        for theme, rules in RULES.items():
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            found[f"{width}, {theme}"] = page.evaluate(RUN, rules)
    heading = page.locator("h1").inner_text()
    page.close()

    assert heading
    assert found == {each: [] for each in found}
