"""The page in a real Chromium: it loads, moves, zooms and prints, by mouse and by keyboard, and shows text as text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np
import pytest
from PIL import Image, ImageColor
from playwright.sync_api import Browser
from tests.web.browsing import Visit, launched, needs_chromium, visit
from tests.web.serving import LAST, REGION, Served, serving

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig
from prometheus.regime import RegimeLabel, RegimeState, RegimeStorage
from prometheus.regime.colours import GROUNDS

pytestmark = needs_chromium
pytest_plugins = ["tests.web.fixtures"]

DAY = "2020-03-16"
PAPERS = {"A4": 702, "Letter": 725}
"""Widths in CSS pixels inside margins of 12 mm."""
EVIL_REGION = "EVIL<img src=x onerror=window.hit=1>"
EVIL_INSTRUMENT = "<script>window.hit=2</script>"
EVIL_MODEL = "evil<b>model</b>"
EVIL_TEXT = "<script>window.hit=3</script><b onmouseover=window.hit=4>bold</b>"


@pytest.fixture(scope="module")
def served(filled_home: Path) -> Iterator[Served]:
    """A running server."""
    with serving(filled_home) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of this file."""
    with launched() as chromium:
        yield chromium


@pytest.fixture
def window(browser: Browser, served: Served) -> Iterator[Visit]:
    """A fresh window."""
    with visit(browser, served.address) as opened:
        yield opened


@pytest.fixture
def evil_rows(filled_config: PrometheusConfig) -> Iterator[None]:
    """A region, an instrument and a macro event whose names are markup; gone afterwards."""
    manager = DatabaseManager(filled_config)
    dates = np.arange("2020-01-01", "2020-06-01", dtype="M8[D]")
    generator = np.random.default_rng(1)
    states = [
        RegimeState(day, EVIL_REGION, RegimeLabel.NEUTRAL, 1.0, generator.normal(size=4).astype(np.float32),
                    {"instrument_id": EVIL_INSTRUMENT, "window_days": 63}, EVIL_MODEL, EVIL_MODEL)
        for day in dates.tolist()
    ]  # fmt: skip
    RegimeStorage(db_manager=manager).save_regimes(states)
    with manager.get_historical_connection() as connection:
        connection.cursor().executemany(
            "INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)"
            " VALUES (%s, %s, 100, 100, 1, 'USD')",
            [(EVIL_INSTRUMENT, day) for day in dates.tolist()],
        )
        connection.execute(
            "INSERT INTO macro_events (event_type, timestamp, country, description, source)"
            " VALUES (%s, '2020-05-31 12:00+00', %s, %s, %s)",
            ("<i>CPI</i>", "<u>US</u>", EVIL_TEXT, "<script>window.hit=5</script>"),
        )
    yield
    with manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE instrument_id = %s", (EVIL_INSTRUMENT,))
        connection.execute("DELETE FROM macro_events WHERE description = %s", (EVIL_TEXT,))
    with manager.get_runtime_connection() as connection:
        connection.execute("DELETE FROM regimes WHERE region = %s", (EVIL_REGION,))
        connection.execute("DELETE FROM regime_transitions WHERE region = %s", (EVIL_REGION,))
    manager.close_all()


def span_of(visited: Visit) -> tuple[str, str]:
    """Return the first and the last date that the chart shows."""
    first, last = visited.page.evaluate(
        "(({from, to}) => [from, to])(document.getElementById('history-chart').dataset)"
    )
    return first, last


def pixels(visited: Visit) -> str:
    """Return what is drawn in the chart of closes."""
    drawn: str = visited.page.evaluate("document.querySelector('#history-chart canvas').toDataURL()")
    return drawn


def test_a_first_visit_takes_less_than_ninety_kilobytes(window: Visit) -> None:
    sizes: list[int] = []
    window.page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))

    window.open(f"/regions/{REGION}")

    assert window.page.title().startswith(f"{REGION} {LAST}: ")
    assert 30_000 < sum(sizes) < 90_000


@pytest.mark.parametrize(
    ("width", "theme"),
    [
        ("desktop", "light"),
        ("phone", "dark"),
        *(
            pytest.param(width, theme, marks=pytest.mark.deep)
            for width, theme in [("desktop", "dark"), ("tablet", "light"), ("tablet", "dark"), ("phone", "light")]
        ),
    ],
)
def test_every_width_and_theme_shows_all_without_scrolling_sideways(
    browser: Browser, served: Served, width: str, theme: str
) -> None:
    with visit(browser, served.address, width, theme) as window:
        for path in ("/", f"/regions/{REGION}/{DAY}", "/regions/MARS"):
            page = window.open(path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            lightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
            assert (lightness < 60) == (theme == "dark")
        window.complaints = [each for each in window.complaints if "404" not in each]  # the page that is not there


def test_region_and_date_are_switched(evil_rows: None, window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/{DAY}")

    page.locator("#day").fill("2019-07-03")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    window.wait()
    assert page.url.endswith(f"/regions/{REGION}/2019-07-03")
    with page.expect_navigation():
        page.locator("#region").select_option(EVIL_REGION)
    assert page.locator("h1").inner_text().startswith("Neutral")


@pytest.mark.deep
def test_the_sessions_beside_a_page_are_prepared_once_it_rests(window: Visit) -> None:
    with window.page.expect_response(
        lambda answer: answer.request.method == "HEAD" and answer.url.endswith("/2020-03-17")
    ) as after:
        window.page.goto(f"{window.base}/regions/{REGION}/{DAY}#span=1y")
    assert after.value.ok
    assert f"{window.base}/regions/{REGION}/2020-03-13" in window.addresses


def test_dragging_zooms_hovering_tells_and_the_address_keeps_the_span(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}")
    page.locator("#history-chart").scroll_into_view_if_needed()
    box = page.locator("#history-chart .u-over").first.bounding_box()
    assert box is not None
    whole = span_of(window)

    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
    assert "% sure" in page.locator("#readout").inner_text()
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2, steps=6)
    page.mouse.up()
    shown = span_of(window)
    assert whole[0] < shown[0] < shown[1] < whole[1]
    assert page.url.endswith(f"#span={shown[0]}..{shown[1]}")
    page.reload()
    window.wait()
    assert span_of(window) == shown

    page.get_by_role("button", name="1 year").click()
    first, last = (np.datetime64(text) for text in span_of(window))
    assert 364 <= (last - first).astype(int) <= 367
    with page.expect_navigation():
        page.locator("#previous").click()
    window.wait()
    assert page.url.endswith("#span=1y")
    assert page.get_by_role("button", name="1 year").get_attribute("aria-pressed") == "true"


def test_the_chart_is_read_zoomed_and_left_by_keyboard(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/{DAY}")
    chart = page.locator("#history-chart")
    chart.focus()

    assert str(chart.get_attribute("aria-valuetext")).startswith(f"{DAY}: ")
    page.keyboard.press("ArrowLeft")
    assert str(chart.get_attribute("aria-valuetext")).startswith("2020-03-13: ")
    assert page.url.endswith(DAY)
    whole = span_of(window)
    page.keyboard.press("+")
    assert whole[0] < span_of(window)[0]
    page.keyboard.press("PageUp")
    page.keyboard.press("Home")
    assert str(chart.get_attribute("aria-valuetext")).startswith(span_of(window)[0][:7])
    first = str(chart.get_attribute("aria-valuetext"))
    shown = span_of(window)
    page.keyboard.press("ArrowLeft")
    assert str(chart.get_attribute("aria-valuetext"))[:10] < first[:10]
    assert span_of(window)[0] < shown[0]
    page.keyboard.press("ArrowRight")
    assert chart.get_attribute("aria-valuetext") == first
    page.keyboard.press("Escape")
    assert span_of(window) == whole
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "/2020-03-13#" in page.url


def test_a_click_on_a_day_opens_it(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/{DAY}")
    page.locator("#history-chart").scroll_into_view_if_needed()
    box = page.locator("#history-chart .u-over").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 50)
    day = page.locator("#readout").inner_text()[:10]

    with page.expect_navigation():
        page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + 50)

    assert page.url.endswith(f"/regions/{REGION}/{day}")
    assert day < DAY


def test_the_scale_is_logarithmic_or_linear_and_stands_in_the_address(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/{DAY}")
    before = pixels(window)

    page.get_by_role("button", name="Linear scale").click()

    assert pixels(window) != before
    assert page.url.endswith("#scale=linear")
    assert page.locator("#linear").get_attribute("aria-pressed") == "true"


@pytest.mark.deep
def test_ticks_of_a_logarithmic_axis_do_not_overlap_whatever_the_prices(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/{DAY}")
    generator = np.random.default_rng(1)
    asked = [(10.0 ** generator.uniform(-3, 5), 10.0 ** generator.uniform(0.01, 4), most) for most in (6, 8, 12) * 60]

    for (low, ratio, most), ticks in zip(
        asked, page.evaluate("all => all.map(([low, ratio, most]) => charts.logTicks(low, low * ratio, most))", asked),
        strict=True,
    ):  # fmt: skip
        pixels_apart = np.diff(np.log(ticks)) / np.log(ratio) * most * 30
        assert len(ticks) >= 1
        assert low <= ticks[0] * (1 + 1e-9)
        assert ticks[-1] <= low * ratio * (1 + 1e-9)
        assert not len(pixels_apart) or pixels_apart.min() >= 16  # a label is 12 high


@pytest.mark.deep
def test_sixty_years_are_drawn(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/{DAY}")
    before = pixels(window)

    page.evaluate("""() => {
        const host = document.getElementById("history-chart");
        const steps = Array.from({ length: 15_000 }, (_, at) => at % 5 ? 1 : 3);
        const series = {
            instrument: "X", closeDays: steps, closes: steps.map((_, at) => 100 + at % 900), regimeDays: steps,
            labels: ["NEUTRAL", "CRISIS"], letters: ["N", "X"], patterns: [".", "x"],
            regimes: steps.map((_, at) => at >> 5 & 1), confidences: steps.map((_, at) => at % 100),
            highVolatilities: steps.map((_, at) => at % 90),
        };
        charts.history(host, series, { isLog: true }, { point() {}, view() {}, open() {} });
    }""")

    assert pixels(window) != before
    assert page.locator("#history-chart").get_attribute("aria-valuemax") == "14999"


def test_a_tap_tells_a_day_and_offers_to_open_it(browser: Browser, served: Served) -> None:
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{served.address}/regions/{REGION}/{DAY}")
    page.locator("#history-chart").scroll_into_view_if_needed()
    page.wait_for_selector("#history-chart[data-drawn]")
    page.locator("#history-chart").scroll_into_view_if_needed()
    box = page.locator("#history-chart .u-over").first.bounding_box()
    assert box is not None

    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + 40)

    link = page.get_by_role("link", name="Open 20")
    day = page.locator("#readout").inner_text()[:10]
    assert day < DAY
    assert link.inner_text() == f"Open {day}"
    assert page.url.endswith(DAY)
    link.click()
    page.wait_for_url(f"**/{day}")
    context.close()


@pytest.mark.deep
def test_a_print_asked_for_at_once_has_its_charts_and_what_the_record_was_worth(window: Visit) -> None:
    page = window.page
    page.goto(f"{window.base}/regions/{REGION}")
    page.evaluate(
        "print = () => { window.atPrint = document.querySelectorAll('.chart[data-drawn], #worth table').length; }"
    )
    page.locator("#print").evaluate("each => each.click()")
    page.wait_for_function("() => window.atPrint")

    assert page.evaluate("window.atPrint") == 3
    assert str(page.locator("#worth").text_content()).strip().startswith("Said on time: 0 of ")
    page.locator("#record").click()
    assert page.locator("h1").inner_text() == f"The record of {REGION}"
    assert page.locator("#worth table").is_visible()


def test_an_analog_opens_as_a_page_of_its_own(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/2020-06-30")
    link = page.locator("a.analog").first
    day = link.text_content()  # `inner_text` is empty until a card below the fold is drawn
    assert day

    with page.expect_navigation():
        link.click()

    assert page.url.endswith(f"/regions/{REGION}/{day}")
    assert day in page.locator(".today").inner_text()


@pytest.mark.deep
def test_the_keyboard_alone_leads_everywhere(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/{DAY}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    with page.expect_navigation():
        page.keyboard.press("ArrowRight")
    window.wait()
    assert page.url.endswith("2020-03-17")
    with page.expect_navigation():
        page.keyboard.press("ArrowLeft")
    window.wait()
    assert page.url.endswith(DAY)
    page.keyboard.press("g")
    assert page.evaluate("document.activeElement.id") == "day"
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"theme", "png", "svg", "print", "analog", "quiet", "history-chart"} <= reached


@pytest.mark.deep
def test_another_market_is_laid_over_and_its_names_are_text(evil_rows: None, window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/2020-05-29")
    before = pixels(window)

    page.get_by_label("Compare").select_option(EVIL_REGION)
    page.wait_for_selector("#rival:not([hidden])")

    assert EVIL_INSTRUMENT in page.locator("#rival").inner_text()
    assert f"{EVIL_REGION}: Neutral" in page.locator("#readout").inner_text()
    assert pixels(window) != before
    with page.expect_navigation():
        page.locator("#previous").click()
    window.wait()
    assert page.get_by_label("Compare").input_value() == EVIL_REGION
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as SVG").click()
    assert "&lt;script&gt;window.hit=2&lt;/script&gt;, from the same start" in download.value.path().read_text()
    page.goto(f"{window.base}/regions/{REGION}/2019-07-03#with={quote(EVIL_REGION)}")
    window.wait()
    assert "cannot be compared" in page.locator("#said").inner_text()
    assert page.evaluate("window.hit") is None
    window.complaints.clear()


def test_macro_texts_are_marked_and_told_by_their_session(evil_rows: None, window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/2020-06-01#span=1y")
    page.wait_for_selector("#marks option:nth-child(3)", state="attached")
    before = pixels(window)

    page.get_by_label("Marks").select_option("<i>CPI</i>")

    assert pixels(window) != before
    assert page.locator("#readout").inner_text().endswith(", <i>CPI</i>")  # of the Sunday before
    assert parse_qs(urlsplit(page.url).fragment)["marks"] == ["<i>CPI</i>"]
    assert page.evaluate("window.hit") is None


def test_words_are_explained_on_hover_and_on_focus_until_escape(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/{DAY}")
    word, tip = page.locator("h1 .term").first, page.locator("#tip")

    word.hover()
    assert tip.is_visible()
    assert "Extreme volatility" in tip.inner_text()
    tip.hover()
    page.wait_for_timeout(200)
    assert tip.is_visible()
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator(".term").nth(1).focus()
    assert "Probability of the label" in tip.inner_text()
    described = page.locator(".term").nth(1).get_attribute("aria-describedby")
    assert page.locator(f"#{described}").text_content() == tip.inner_text()


def test_a_new_session_is_told_politely_and_only_on_the_newest_page(
    browser: Browser, served: Served, evil_rows: None, filled_config: PrometheusConfig
) -> None:
    address = f"/regions/{quote(EVIL_REGION, safe='')}"
    with visit(browser, served.address) as window:
        window.page.clock.install()
        asked = [f"{address}/2020-05-20", address]
        for path in asked:
            page = window.open(path)
            page.clock.fast_forward(61_000)
        page.wait_for_timeout(300)
        assert page.locator("#said").inner_text() == ""
        assert sum("newest.json" in each for each in window.addresses) == 1
        manager = DatabaseManager(filled_config)
        vector = np.ones(4, dtype=np.float32)
        metadata = {"instrument_id": EVIL_INSTRUMENT, "window_days": 63}
        state = RegimeState(
            date(2020, 6, 2), EVIL_REGION, RegimeLabel.CRISIS, 1.0, vector, metadata, EVIL_MODEL, EVIL_MODEL
        )
        RegimeStorage(db_manager=manager).save_regimes([state])
        manager.close_all()

        page.clock.fast_forward(61_000)
        page.wait_for_selector("#said a")

        assert page.locator("#said").inner_text() == "New session: 2020-06-02, Crisis"
        assert page.locator("#said").get_attribute("role") == "status"
        with page.expect_navigation():
            page.locator("#said a").click()
        assert "2020-06-02" in page.locator(".today").inner_text()


def test_the_theme_is_kept_and_the_charts_follow(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/{DAY}")
    before = pixels(window)

    page.keyboard.press("t")
    page.wait_for_timeout(100)
    assert pixels(window) != before
    window.open(f"/regions/{REGION}/2020-03-17")

    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("theme", GROUNDS)
def test_the_chart_is_saved_as_a_picture_of_its_span_on_its_ground(
    browser: Browser, served: Served, theme: str
) -> None:
    with visit(browser, served.address, theme=theme) as window:
        page = window.open(f"/regions/{REGION}/{DAY}#span=1y")

        with page.expect_download() as download:
            page.get_by_role("button", name="Save as PNG").click()
        with page.expect_download() as drawing:
            page.get_by_role("link", name="Save as SVG").click()
        with Image.open(download.value.path()) as picture:
            assert picture.size == (2400, 1200)
            assert picture.convert("RGB").getpixel((2, 2)) == ImageColor.getrgb(GROUNDS[theme][0])
        drawn = drawing.value.path().read_text()
        names = [each.value.suggested_filename for each in (download, drawing)]

    assert "</tspan> macro texts" in drawn
    assert names == [f"{REGION}_{DAY}_Crisis.png", f"{REGION}_{DAY}_Crisis.svg"]
    assert f"2019-03-18 to {DAY}; close, log scale" in drawn
    assert GROUNDS[theme][0] in drawn


@pytest.mark.parametrize(
    ("width", "paper"),
    [
        ("desktop", "A4"),
        ("phone", "Letter"),
        pytest.param("desktop", "Letter", marks=pytest.mark.deep),
        pytest.param("phone", "A4", marks=pytest.mark.deep),
    ],
)
def test_a_print_is_light_fits_its_paper_and_has_no_controls(
    browser: Browser, served: Served, paper: str, width: str
) -> None:
    with visit(browser, served.address, width, "dark") as window:
        page = window.open(f"/regions/{REGION}/{DAY}")
        before = pixels(window)
        page.set_viewport_size({"width": PAPERS[paper], "height": 1000})
        page.emulate_media(media="print")
        page.wait_for_timeout(200)

        assert not page.locator(".controls").is_visible()
        assert page.locator("#verdict").is_visible()
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert pixels(window) != before
        edges = page.locator("main, main *").evaluate_all("all => all.map(each => each.getBoundingClientRect().right)")
        assert max(edges) <= PAPERS[paper]
        assert page.pdf(format=paper).startswith(b"%PDF")


def test_without_colours_patterns_and_letters_are_left(browser: Browser, served: Served) -> None:
    context = browser.new_context(forced_colors="active", color_scheme="dark")
    page = context.new_page()
    page.goto(f"{served.address}/regions/{REGION}/{DAY}")
    page.locator("#history-chart").scroll_into_view_if_needed()
    page.wait_for_selector("#history-chart[data-drawn]")

    drawn = page.evaluate("""() => {
        const canvas = document.querySelector("#history-chart canvas");
        const { data } = canvas.getContext("2d").getImageData(0, canvas.height - 20, canvas.width, 12);
        return new Set([...data].filter((_, at) => at % 4 === 0)).size;
    }""")
    hatched = page.locator(".swatch").evaluate_all("all => all.map(each => getComputedStyle(each).backgroundImage)")

    assert drawn > 1  # letters and hatches on the ground
    assert len(set(hatched)) == 4
    assert page.locator("#verdict .mark").evaluate("each => getComputedStyle(each, '::before').content") == '"X"'
    context.close()


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_whatever_is_pressed_is_large_enough(browser: Browser, served: Served, width: str) -> None:
    with visit(browser, served.address, width) as window:
        page = window.open(f"/regions/{REGION}/{DAY}")
        sizes = page.locator("button, select, input, summary, .step, .quiet").evaluate_all(
            "all => all.map(each => each.getBoundingClientRect()).map(box => Math.min(box.width, box.height))"
        )

    shown = [size for size in sizes if size]
    assert len(shown) > 12
    assert min(shown) >= 24


def test_the_date_is_written_as_iso_and_anything_else_is_refused_in_place(window: Visit) -> None:
    page = window.open(f"/regions/{REGION}/{DAY}")
    field = page.get_by_label("Date")
    assert field.input_value() == DAY

    field.fill("16/03/2020")
    page.keyboard.press("Enter")

    assert field.evaluate("each => each.validity.patternMismatch")
    assert page.url.endswith(DAY)
    assert page.get_by_role("button", name="Theme: switch between light and dark").is_visible()


def test_markup_in_names_and_texts_is_shown_as_text_on_every_view(evil_rows: None, window: Visit) -> None:
    page = window.open("/")
    assert EVIL_REGION in page.locator("main").inner_text()
    with page.expect_navigation():
        page.get_by_role("link", name=EVIL_REGION, exact=True).click()
    window.wait()
    shown = page.locator("main").inner_text()
    assert f"{EVIL_INSTRUMENT} and its regimes" in shown
    assert EVIL_TEXT in shown
    assert "evil<b>model</b>" in shown
    assert "<i>CPI</i> <u>US</u>, <script>window.hit=5</script>" in shown
    page.mouse.move(700, 700)
    window.open("/regions/EVIL%3Cimg%20src=x%20onerror=window.hit=1%3E/2031-01-01")
    assert EVIL_REGION in page.locator("main").inner_text()
    assert page.evaluate("window.hit") is None
    window.complaints = [each for each in window.complaints if "404" not in each]


def test_without_scripts_the_tables_say_the_same(browser: Browser, served: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{served.address}/regions/{REGION}/{DAY}")

    assert page.locator("#verdict").inner_text().startswith("Crisis")
    assert page.locator("table.analogs tbody tr").count() > 0
    for dead in ("#history-chart", "#theme", "#print"):
        assert not page.locator(dead).is_visible()
    drawing = page.locator("img.drawing")
    assert drawing.is_visible()
    assert drawing.evaluate("each => each.complete && each.naturalWidth") == 1200
    page.locator("#day").fill("2019-07-03")
    page.get_by_role("button", name="Show").click()
    assert page.url.endswith(f"/regions/{REGION}/2019-07-03")
    context.close()
