"""The page of a region whose prices are joined with macro numbers, as HTML and in a real Chromium."""

from __future__ import annotations

import html
import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.web.browsing import launched, needs_chromium, visit
from tests.web.serving import FIRST, REGION, client_of, config_of, serving

from prometheus.app import App, open_app
from prometheus.app.joint import JointModelChoice
from prometheus.backfill.joint import JointRequest
from prometheus.backfill.plan import DateSpan
from prometheus.encoders.joint.examples import REGIME_MACRO
from prometheus.encoders.joint.numbers import SERIES
from prometheus.ingest.sample import MACRO_LEVELS
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app, open_reading_app

pytest_plugins = ["tests.web.fixtures"]

DAY = date(2020, 3, 16)
JOINED = DateSpan.of_range(date.fromisoformat(FIRST), date(2020, 5, 29))
PATH = f"/regions/{REGION}/{DAY}"
COLUMNS = ["fed_funds_effective_pct", "treasury_2y_pct", "treasury_10y_pct", "vix", "us_hy_oas_pct", "us_ig_oas_pct"]


@pytest.fixture(scope="module")
def joined_home(changeable_home: Path) -> Path:
    """A home with the six series of 2018 to 2020, and prices joined with them to the end of May 2020."""
    levels = pd.read_csv(MACRO_LEVELS).rename(columns=dict(zip(COLUMNS, ("DFF", *SERIES[1:]), strict=True)))
    day_column = levels.columns[0]
    values = levels[levels[day_column].between("2017-12-01", "2020-05-31")].set_index(day_column)[list(SERIES)]
    with open_app(config_of(changeable_home)) as app:
        rows = [
            (name, day, datetime.combine(date.fromisoformat(str(day)), time(22), UTC), float(value))
            for day, each in values.iterrows()
            for name, value in each.items()
            if not np.isnan(value)
        ]
        with app.db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO series_values VALUES (%s, %s, %s, %s)", rows)
        assert join(app) > 300
    return changeable_home


def join(app: App, span: DateSpan = JOINED) -> int:
    choice = JointModelChoice("num-regime-core-v2", "text-macro-v1", "joint-regime-core-v3")
    request = JointRequest(REGIME_MACRO, REGION, span, choice.numeric_model_id, choice.text_model_id, {})
    return app.joint.backfill([request], choice).report.written


def body_of(home: Path, path: str = PATH) -> str:
    with (
        open_reading_app(config_of(home)) as app,
        client_of(create_app(app, AccessRules(LOOPBACK_HOSTS))) as client,
    ):
        found: str = client.get(path, headers={"Accept": "text/html"}).text
    return found


def seen(body: str) -> str:
    """Return what a reader sees of a page."""
    visible = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", body, flags=re.DOTALL)
    return " ".join(html.unescape(visible).split())


def test_the_page_tells_shares_and_which_numbers_make_each_day_near(joined_home: Path) -> None:
    with open_reading_app(config_of(joined_home)) as app:
        briefing = app.briefings.of(REGION, DAY)
        later = app.briefings.of(REGION, date(2020, 6, 15))
    report = briefing.analogs
    assert report is not None
    assert report.parts is not None
    assert report.model_id == "joint-regime-core-v3"
    assert briefing.unlike is not None
    assert briefing.unlike.model_id == report.model_id

    text = seen(body_of(joined_home))

    assert f"Compared by prices and macro numbers: {report.parts}." in text
    assert "13 macro numbers of the United States" in text
    explained = [analog for analog in report.analogs if analog.nearness]
    assert explained
    for analog in explained:
        assert f"N{str(analog.nearness)[1:]}" in text
    assert later.analogs is not None
    assert later.analogs.model_id == "num-regime-core-v2"
    assert "Compared by prices alone: the newest row of joint-regime-core-v3 is of 2020-05-29" in seen(
        body_of(joined_home, f"/regions/{REGION}/2020-06-15")
    )


def test_what_is_stored_later_changes_no_byte_of_an_earlier_page(joined_home: Path) -> None:
    before = body_of(joined_home)
    with open_app(config_of(joined_home)) as app:
        with app.db_manager.get_historical_connection() as connection:
            for n, day in enumerate((DAY + timedelta(1), DAY + timedelta(40))):
                connection.execute(
                    "INSERT INTO macro_events (event_type, timestamp, country, description, source)"
                    " VALUES ('VIX', %s, 'US', %s, 'test')",
                    (datetime.combine(day, time(9), UTC), f"The VIX volatility index is very high at {90 + n}."),
                )
                connection.execute(  # of a day before, but not known until after it
                    "INSERT INTO macro_events (event_type, timestamp, known_at, country, description, source)"
                    " VALUES ('VIX', %s, %s, 'US', %s, 'test')",
                    (
                        datetime.combine(DAY - timedelta(30 + n), time(9), UTC),
                        datetime.combine(day, time(9), UTC),
                        f"The VIX volatility index is very high at {57.83 + n}, up very sharply from a month ago.",
                    ),
                )
            connection.execute("UPDATE series_values SET value = value * 3 WHERE observation_date > %s", (DAY,))
        assert join(app) > 0
    assert body_of(joined_home) == before


@needs_chromium
def test_a_browser_shows_why_days_are_near_and_what_was_said_on_them(joined_home: Path) -> None:
    with (
        serving(joined_home) as served,
        launched() as browser,
        visit(browser, served.address, "phone", "dark") as window,
    ):
        page = window.open(PATH)
        why = page.locator("table.analogs tr.why div").first
        why.scroll_into_view_if_needed()
        assert (why.text_content() or "").startswith("Near by prices ")
        assert why.evaluate("each => each.getBoundingClientRect().right <= innerWidth")
        assert page.locator("#parts").is_visible()
        then = page.locator("#said-then")
        assert not then.locator("li").first.is_visible()
        then.locator("summary").click()
        assert then.locator("li").count() == page.locator("a.analog").count()
        assert then.locator("mark").first.is_visible()
        like = page.locator("ul.like li")
        like.first.scroll_into_view_if_needed()
        assert like.count() == 6
        assert like.first.locator("mark").count() > 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
