"""The front: every region at a glance, for people and for machines, as of any date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser
from starlette.testclient import TestClient
from tests.fixtures.database import set_environment
from tests.web.browsing import launched, needs_chromium, visit
from tests.web.serving import FIRST, LAST, REGION, Served, serving

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.overview import N_STRIP
from prometheus.core.config import PrometheusConfig
from prometheus.regime.colours import LOOKS
from prometheus.regime.history import LABELS

pytest_plugins = ["tests.web.fixtures"]

DAY = "2020-03-20"


def test_a_row_says_what_the_stored_states_say(client: TestClient, reading_app: App) -> None:
    day = date.fromisoformat(DAY)
    timeline = reading_app.regimes.timeline(REGION, date.min, day)
    (state,) = reading_app.regimes.states(REGION, day, day, None)
    closes = reading_app.regimes.closes(reading_app.regimes.history(REGION), date(2020, 3, 19), day).values

    answer = client.get("/v1/overview", params={"as_of": DAY}).json()

    (row,) = (each for each in answer["items"] if each["region"] == REGION)
    turns = np.flatnonzero(np.diff(timeline.labels)) + 1
    expected = {
        "label": state.regime_label.name, "as_of_date": DAY, "confidence": state.confidence,
        "high_volatility": state.metadata["high_volatility"]["probability"], "is_stale": False,
        "change_risk": state.metadata["change_risk"]["21"]["probability"],
        "bear": state.metadata["bear"]["probability"],
        "since": str(timeline.dates[turns[-1]]), "is_calibrated": True, "instrument_id": "GSPC.INDX",
        "previous_label": timeline.label_names()[turns[-1] - 1],
        "strip": "".join(LOOKS[LABELS[number]].letter for number in timeline.labels[-N_STRIP:]),
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert row["move"] == pytest.approx(closes[-1] / closes[-2] - 1)
    assert answer["counts"][state.regime_label.name] >= 1
    month = timeline.dates[turns][timeline.dates[turns] >= np.datetime64("2020-02-18")]
    told = [each for each in answer["changes"] if each["region"] == REGION]
    assert [each["as_of_date"] for each in told] == [str(each) for each in month[::-1]]


def test_a_change_is_marked_for_five_sessions(client: TestClient, reading_app: App) -> None:
    timeline = reading_app.regimes.timeline(REGION, date.min, date.max)
    turn = int(np.flatnonzero(np.diff(timeline.labels))[-1]) + 1
    for at in range(turn, min(turn + 8, len(timeline.dates))):
        answer = client.get("/v1/overview", params={"as_of": str(timeline.dates[at])}).json()
        (row,) = (each for each in answer["items"] if each["region"] == REGION)
        assert row["is_changed"] == (at - turn < 5), at - turn


def test_nothing_after_a_date_changes_its_overview(client: TestClient, filled_config: PrometheusConfig) -> None:
    address = f"/v1/overview?as_of={DAY}"
    before, page = client.get(address).text, client.get(f"/?as_of={DAY}").text
    writing = DatabaseManager(filled_config)
    try:
        for factor in ("3", "1 / 3.0"):
            with writing.get_historical_connection() as connection:
                connection.execute(
                    f"UPDATE prices_daily SET close = close * {factor} WHERE trade_date > %s",
                    (DAY,),
                )
            with writing.get_runtime_connection() as connection:
                connection.execute(
                    "UPDATE regimes SET confidence = 1 - confidence, regime_label = CASE regime_label "
                    "WHEN 'CRISIS' THEN 'CARRY' WHEN 'CARRY' THEN 'CRISIS' ELSE regime_label END "
                    "WHERE as_of_date > %s",
                    (DAY,),
                )
            assert client.get(address).text == before
            assert client.get(f"/?as_of={DAY}").text == page
    finally:
        writing.close_all()
    assert max(re.findall(r"\d{4}-\d\d-\d\d", before)) == DAY


def test_changes_are_those_between_two_dates(client: TestClient, reading_app: App) -> None:
    timeline = reading_app.regimes.timeline(REGION, date(2020, 2, 1), date(2020, 4, 30))
    turns = timeline.dates[1:][np.diff(timeline.labels) != 0]

    said = client.get("/v1/changes", params={"since": "2020-02-04", "until": "2020-04-30"}).json()["items"]

    of_region = [each for each in said if each["region"] == REGION]
    assert [each["as_of_date"] for each in of_region] == [str(each) for each in turns[::-1] if str(each) > "2020-02-03"]
    assert all(each["from_label"] != each["to_label"] for each in said)


@pytest.mark.parametrize("path", ["/v1/overview?as_of=20-03", "/v1/changes", "/v1/changes?since=2020-13-01"])
def test_a_date_that_is_none_is_named(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 422
    assert {"error", "detail"} <= set(response.json())


def test_before_all_states_there_is_nothing(client: TestClient) -> None:
    day = str(date.fromisoformat(FIRST) - timedelta(days=1))
    assert client.get(f"/v1/overview?as_of={day}").json()["items"] == []
    assert f"Nothing is stored yet up to {day}" in client.get(f"/?as_of={day}").text


@pytest.fixture(scope="module")
def board(breakable_home: Path) -> Iterator[Served]:
    """A server over fifty regions more, all like the first, but for the newest label of every tenth."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, {"PROMETHEUS_HOME": str(breakable_home)})
        manager = DatabaseManager(PrometheusConfig())
    with manager.get_runtime_connection() as connection:
        connection.execute(
            "INSERT INTO regimes (region, model_id, as_of_date, regime_label, confidence, encoder_model_id, dim, "
            "regime_embedding, metadata) SELECT 'MARKET_' || to_char(n, 'FM00'), model_id, as_of_date, "
            "CASE WHEN n %% 10 = 0 AND as_of_date = %(last)s THEN 'CRISIS' ELSE regime_label END, confidence, "
            "encoder_model_id, dim, regime_embedding, metadata FROM regimes, generate_series(1, 49) AS n "
            "WHERE region = %(region)s ON CONFLICT DO NOTHING",
            {"last": LAST, "region": REGION},
        )
        connection.execute(
            "INSERT INTO regime_transitions (region, model_id, as_of_date, previous_date, from_label, to_label) "
            "SELECT 'MARKET_' || to_char(n, 'FM00'), model_id, as_of_date, previous_date, from_label, to_label "
            "FROM regime_transitions, generate_series(1, 49) AS n WHERE region = %(region)s "
            "UNION ALL SELECT 'MARKET_' || to_char(n, 'FM00'), model_id, as_of_date, as_of_date - 1, regime_label, "
            "'CRISIS' FROM regimes, generate_series(10, 49, 10) AS n WHERE region = %(region)s "
            "AND as_of_date = %(last)s ON CONFLICT DO NOTHING",
            {"last": LAST, "region": REGION},
        )
    manager.close_all()
    with serving(breakable_home) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as opened:
        yield opened


@needs_chromium
@pytest.mark.parametrize(("width", "screens"), [("desktop", 1.5), ("phone", 4.0)])
def test_fifty_regions_are_seen_at_a_glance(browser: Browser, board: Served, width: str, screens: float) -> None:
    with visit(browser, board.address, width, "light") as window:
        page = window.open(f"/?as_of={LAST}")
        assert page.locator("tbody tr[data-label]").count() == 50
        height, visible = page.evaluate("[document.documentElement.scrollHeight, innerHeight]")
        assert height <= screens * visible
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@needs_chromium
def test_what_changed_is_found_filtered_and_sorted(browser: Browser, board: Served) -> None:
    with visit(browser, board.address, "desktop", "dark") as window:
        page = window.open(f"/?as_of={LAST}")
        rows = page.locator("tbody tr[data-label]:visible")
        changed = [f"MARKET_{n}" for n in (10, 20, 30, 40)]

        page.locator(".chip[data-changed]").click()
        assert [name.split()[0] for name in rows.all_inner_texts()] == changed
        assert "changed" in rows.first.inner_text()
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.type("market_2")
        assert rows.count() == 10
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Regime", exact=True).click()
        assert [name.split()[0] for name in rows.all_inner_texts()[:4]] == changed
        assert "sort=2" in page.url
        page.reload()
        assert rows.first.inner_text().startswith("MARKET_10")
        page.get_by_role("link", name="MARKET_30", exact=True).click()
        assert page.url.endswith(f"/regions/MARKET_30/{LAST}")


@pytest.mark.deep
@needs_chromium
def test_without_scripts_every_region_stands_there(browser: Browser, board: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{board.address}/?as_of={LAST}")
    assert page.locator("tbody tr[data-label]").count() == 50
    assert not page.locator("#filter").is_visible()
    context.close()
