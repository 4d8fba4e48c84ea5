"""The gauges of regimes say what is stored, ask seldom, and the example of a dashboard asks for what there is."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from tests.docs.pages import ROOT
from tests.web.serving import LAST, REGION, client_of, wait_for

from prometheus.app import App
from prometheus.data.timelines import RegimeTimelines
from prometheus.regime.history import NewestState
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app

pytest_plugins = ["tests.web.fixtures"]
DASHBOARD = ROOT / "docs" / "examples" / "grafana" / "regimes.json"
SUFFIX = re.compile(r"_(bucket|count|sum|created)$")


def figures(client: TestClient) -> dict[str, list[tuple[dict[str, str], float]]]:
    wait_for(lambda: "prometheus_regime{" in client.get("/metrics").text)
    families = text_string_to_metric_families(client.get("/metrics").text)
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for sample in (sample for family in families for sample in family.samples):
        found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_the_gauges_say_what_the_api_says(client: TestClient) -> None:
    found = figures(client)
    newest = client.get(f"/v1/regions/{REGION}/regimes/latest").json()
    states = {labels["label"]: value for labels, value in found["prometheus_regime"] if labels["region"] == REGION}
    assert states == {label: float(label == newest["label"]) for label in ("NEUTRAL", "CRISIS", "RISK_OFF", "CARRY")}
    of_region = {"region": REGION}
    assert found["prometheus_regime_confidence_ratio"] == [(of_region, newest["confidence"])]
    high = newest["high_volatility"]["probability"]
    assert found["prometheus_regime_high_volatility_ratio"] == [(of_region, high)]
    age = (datetime.now(UTC).date() - date.fromisoformat(LAST)).days
    assert found["prometheus_regime_session_age_days"] == [(of_region, age)]
    assert found["prometheus_alerts_pending"] == [({}, 0)]


def test_a_flood_of_requests_asks_the_databases_once(reading_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    newest = RegimeTimelines.newest

    def counted(timelines: RegimeTimelines) -> list[NewestState]:
        asked.append("once")
        return newest(timelines)

    monkeypatch.setattr(RegimeTimelines, "newest", counted)
    with client_of(create_app(reading_app, AccessRules(LOOPBACK_HOSTS))) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get("/metrics").status_code, range(80)))
    assert (set(answers), len(asked)) == ({200}, 1)


def queries() -> list[str]:
    return re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', DASHBOARD.read_text(encoding="utf-8"))


@pytest.mark.parametrize("query", queries())
def test_each_query_of_the_dashboard_is_of_a_metric_and_labels_that_are_served(query: str, client: TestClient) -> None:
    found = figures(client)
    text = json.loads(f'"{query}"')
    names = re.findall(r"\b((?:prometheus|regime)_[a-z_]+)\b", text)
    assert names
    for name in names:
        assert name in found, f"{name} is not served"
    served = {label for name in names for labels, _ in found[name] for label in labels}
    asked = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", text)
    asked += [name for group in re.findall(r"\bby\s*\(([^)]*)\)", text) for name in re.split(r"\s*,\s*", group)]
    assert set(asked) <= served | {"le"}


def test_the_dashboard_is_one_that_can_be_imported() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert board["title"]
    assert board["id"] is None, "an id is given by the server"
    assert {each["type"] for each in board["__inputs"]} == {"datasource"}
    panels = board["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    for panel in panels:
        assert panel["datasource"]["uid"] == "${DS_PROMETHEUS}"
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for target in panel["targets"]:
            for name in re.findall(r"{{(\w+)}}", target.get("legendFormat", "")):
                assert name in {"region", "label", "route", "status", "method"}
