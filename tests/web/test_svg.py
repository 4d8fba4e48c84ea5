"""The drawing of the chart: well formed, round ticks with room between them, nothing after its dates."""

from __future__ import annotations

import math
import re
from datetime import date
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.web.serving import REGION

from prometheus.market.bars import Closes
from prometheus.regime.colours import GROUNDS, LOOKS
from prometheus.regime.history import RegimeTimeline
from prometheus.web.svg import ChartParameters, _log_ticks, _round_ticks, chart_values

pytest_plugins = ["tests.web.fixtures"]

DAY = "2020-03-16"
ADDRESS = f"/regions/{REGION}/{DAY}/chart.svg"


@given(low=st.floats(1e-6, 1e6), ratio=st.floats(1.0001, 1e6))
def test_ticks_are_few_ascending_and_inside_whatever_the_prices(low: float, ratio: float) -> None:
    high = low * ratio
    for ticks in (_log_ticks(low, high), _round_ticks(low, high)):
        assert 1 <= len(ticks) <= 13
        assert all(one < other for one, other in pairwise(ticks))
        assert low * (1 - 1e-9) <= ticks[0]
        assert ticks[-1] <= high * (1 + 1e-9)
    gaps = [math.log(other / one) for one, other in pairwise(_log_ticks(low, high))]
    assert all(gap > math.log(ratio) / 40 for gap in gaps)  # a label is 15 high, the pane 336


def sample(values: list[float]) -> tuple[Closes, RegimeTimeline]:
    days = np.datetime64("2020-01-01") + np.arange(len(values))
    ones, labels = np.ones(len(values)), np.arange(len(values)) // 3 % 4
    timeline = RegimeTimeline("R", "model", days, labels, ones, ones * np.nan, ones.astype(bool))
    return Closes("I", days, np.array(values)), timeline


@given(values=st.lists(st.floats(1e-4, 1e7), min_size=1, max_size=40), scale=st.sampled_from(["log", "linear"]))
def test_every_line_and_band_stays_in_its_pane(values: list[float], scale: Any) -> None:
    drawn = chart_values("title", *sample(values), ChartParameters.model_validate({"scale": scale}))

    points = [tuple(map(float, point.split())) for point in drawn["closes"][1:].split("L")]
    assert len(points) == len(values)
    assert all(69 < x < 1186 and 83 < y < 421 for x, y in points)
    assert all(left >= 69 and left + width <= 1186 for _, left, width in drawn["spells"])
    assert len(drawn["spells"]) == -(-len(values) // 3)


@pytest.mark.parametrize("theme", GROUNDS)
@pytest.mark.parametrize("scale", ["log", "linear"])
def test_the_drawing_says_what_it_is_in_either_theme(client: TestClient, theme: str, scale: str) -> None:
    response = client.get(f"{ADDRESS}?theme={theme}&scale={scale}")

    assert response.headers["content-type"] == "image/svg+xml"
    words = " ".join(ET.fromstring(response.text).itertext())
    for said in (f"GSPC.INDX and the regimes of {REGION}", DAY, f"{scale} scale", "Risk-off", "how sure"):
        assert said in words
    assert GROUNDS[theme][0] in response.text
    assert all(getattr(look, theme) in response.text for look in LOOKS.values())


def test_a_drawing_shows_the_dates_asked_for_and_nothing_after_its_own(client: TestClient) -> None:
    asked = client.get(f"{ADDRESS}?start=2019-07-01&end=2019-12-31").text
    whole = client.get(f"{ADDRESS}?end=2031-01-01").text

    assert "2019-07-01 to 2019-12-31" in asked
    assert max(re.findall(r"\d{4}-\d\d-\d\d", whole)) == DAY
    assert str(date.fromisoformat(DAY)) in whole


def test_another_regions_closes_begin_together_with_these_and_its_regimes_are_a_second_strip(
    client: TestClient,
) -> None:
    alone, drawn = (client.get(f"{ADDRESS}?{query}").text for query in ("", f"compare={REGION}"))

    own, other, *_ = re.findall(r'<path d="(M[^"]*)"', drawn[drawn.index('<g fill="none"') :])
    assert own == other
    assert "GSPC.INDX, from the same start" in drawn
    assert f"the regimes of {REGION}, with GSPC.INDX and those of {REGION}, 20" in drawn
    strips = [re.findall(rf'<rect x="(\S+)" y="{top}" width="(\S+)" height="{height}" fill="url', drawn)
              for top, height in ((424, 16), (442, 14))]  # fmt: skip
    assert strips[0] == strips[1] != []
    assert 'y="442"' not in alone
    assert client.get(f"{ADDRESS}?compare=MARS").json()["error"] == "no_regimes"


def test_days_of_macro_texts_bear_triangles_of_all_kinds_or_of_one(client: TestClient) -> None:
    marks = client.get(f"/regions/{REGION}/{DAY}/marks.json").json()
    days = np.cumsum(marks["days"]).astype("M8[D]")
    whole, one, none, without = (client.get(f"{ADDRESS}?{query}").text for query in (
        "marks=*", f"marks={marks['kinds'][0]}", "marks=<i>CPI</i>", ""
    ))  # fmt: skip

    first = re.findall(r">(\S+) to ", whole)[0]
    shown, of_kind = (np.unique(each[each >= np.datetime64(first)]) for each in (days, days[np.equal(marks["of"], 0)]))
    assert whole.count(" 76h") == len(shown)
    assert one.count(" 76h") == len(of_kind) > 0
    assert "</tspan> macro texts<" in whole
    assert f"</tspan> {marks['kinds'][0]}<" in one
    assert "&lt;i&gt;CPI&lt;/i&gt;: none in this span" in none
    assert "tspan> macro" not in without
    assert " 76h" not in none + without


@pytest.mark.parametrize(
    ("query", "status"), [("start=2031-01-01", 400), ("scale=cubic", 422), ("theme=red", 422), ("end=soon", 422)]
)
def test_what_cannot_be_drawn_is_refused_in_words(client: TestClient, query: str, status: int) -> None:
    response = client.get(f"{ADDRESS}?{query}", headers={"Accept": "text/html"})

    assert response.status_code == status
    assert set(response.json()) == {"error", "detail", "type", "title", "status"}
