"""Nights as monitors see them: pages of the log, readiness, figures, and the rules of alerts over these."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from starlette.testclient import TestClient
from tests.docs.pages import ROOT
from tests.fixtures.embedded_homes import Driver
from tests.web.serving import client_of, config_of, serving, wait_for
from tests.web.test_outages import let_go_on

import prometheus
from prometheus.app import open_app
from prometheus.data.nightly_runs import NightlyRuns, RunOutcome, RunResult
from prometheus.data.postgres.locks import only_run
from prometheus.errors import UsageError
from prometheus.market.calendar import last_closed_session, trading_days_between
from prometheus.regime.history import NewestState
from prometheus.regime.types import RegimeLabel
from prometheus.server import process
from prometheus.web import figures
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app, open_reading_app

pytest_plugins = ["tests.web.fixtures"]

RULES = ROOT / "docs" / "examples" / "prometheus" / "alerts.yml"
DASHBOARD, OTHER_DASHBOARD = (ROOT / "docs" / "examples" / "grafana" / f"{name}.json" for name in ("nights", "regimes"))
PROMTOOL = shutil.which("promtool")
BOUND_S = 10.0
"""Two seconds are promised; the rest is for tests that run beside this one."""
Figures = dict[str, dict[tuple[tuple[str, str], ...], float]]
"""Values of figures by name and labels."""
SKIPPED = {"name": "OLD", "kind": "region", "why": "its history ended on 2020-01-31"}


@pytest.fixture
def log(changeable_home: Path) -> Iterator[NightlyRuns]:
    """The log of nights of a home whose tests leave it empty."""
    with open_app(config_of(changeable_home)) as app:
        yield NightlyRuns(app.db_manager)
        with app.db_manager.get_runtime_connection() as connection:
            connection.execute("DELETE FROM nightly_runs")


@pytest.fixture
def client(changeable_home: Path, log: NightlyRuns) -> Iterator[TestClient]:
    """Asks a server that has not read any figures yet."""
    with (
        open_reading_app(config_of(changeable_home)) as app,
        client_of(create_app(app, AccessRules(LOOPBACK_HOSTS))) as client,
    ):
        yield client


def note_night(log: NightlyRuns, name: str, n_sessions_ago: int, **facts: Any) -> date:
    """Note a night whose newest session is so many sessions before the last one that has closed."""
    now = datetime.now(UTC)
    sessions = trading_days_between("US_EQ", now.date() - timedelta(days=60), last_closed_session("US_EQ", now))
    day = sessions[-1 - n_sessions_ago]
    outcome: dict[str, Any] = {
        "result": RunResult.COMPLETED, "exit_code": 0, "seconds": 4.5, "as_of_date": day,
        "sessions": {"US_EQ": str(day)}, "rows_written": {"regimes": 7}, "skipped": (SKIPPED,),
        "findings": {"open": 2, "new": 0}, "standings": {"regions": {"written": 1}},
    } | facts  # fmt: skip
    log.begin(name, "nightly", None)
    log.end(name, "nightly", RunOutcome(**outcome))
    return day


def samples(text: str) -> Figures:
    """Return the values of figures by name and labels; the text is parsed as the monitoring system does."""
    found: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def asked(client: TestClient) -> Figures:
    wait_for(lambda: "prometheus_regime{" in client.get("/metrics").text)
    return samples(client.get("/metrics").text)


def test_nights_are_listed_by_pages_and_told_one_by_one(client: TestClient, log: NightlyRuns) -> None:
    assert client.get("/v1/nights").json() == {"items": [], "next": None}
    assert client.get("/readyz").json()["night"] is None
    for number in range(5):
        note_night(log, f"night{number}", 4 - number)
    first = client.get("/v1/nights?limit=3").json()
    assert [each["run_id"] for each in first["items"]] == ["night4", "night3", "night2"]
    second = client.get(first["next"]).json()
    assert [each["run_id"] for each in second["items"]] == ["night1", "night0"]
    assert second["next"] is None
    night = client.get("/v1/nights/night4").json()
    assert night == first["items"][0]
    assert (night["result"], night["skipped"], night["written"]) == ("completed", [SKIPPED], 7)
    assert client.get("/readyz").json() == {
        "status": "ok", "historical": "ok", "runtime": "ok", "night": "completed",
    }  # fmt: skip
    for address in ("/v1/nights/nothing", "/v1/nights/night", "/v1/nights?cursor=nothing"):
        answer = client.get(address)
        assert (answer.status_code, answer.json()["error"]) == (404, "unknown_run")


def test_the_figures_say_what_the_log_says(client: TestClient, log: NightlyRuns) -> None:
    failures = ({"name": "US", "why": "x"}, {"name": "EU", "why": "y"})
    note_night(log, "old", 3, result=RunResult.INCOMPLETE, exit_code=3, failures=failures)
    log.begin("new", "nightly", None)
    log.end("new", "nightly", RunOutcome(RunResult.REFUSED, 5, 0.1, "prices are missing"))
    found = asked(client)
    of_result = {labels[0][1]: value for labels, value in found["prometheus_night_result"].items()}
    assert {name for name, value in of_result.items() if value} == {"refused"}
    assert set(of_result) == {each.words.replace(" ", "_") for each in RunResult}
    assert found["prometheus_night_age_sessions"] == {(("market", "US_EQ"),): 3}
    for name, value in (
        ("night_failures", 2), ("night_skipped", 1), ("night_exit_code", 3), ("night_seconds", 4.5),
        ("findings_open", 2), ("regimes_left_out", 0),
    ):  # fmt: skip
        assert found[f"prometheus_{name}"] == {(): value}, name
    assert found["prometheus_night_rows_written"] == {(("table", "regimes"),): 7}
    assert found["prometheus_night_standings"] == {(("kind", "regions"), ("standing", "written")): 1}
    (sessions,) = found["prometheus_regime_session_age_sessions"].values()
    (days,) = found["prometheus_regime_session_age_days"].values()
    assert 0.6 < sessions / days < 0.75, "of seven days five are sessions, holidays aside"


def test_each_region_counts_the_sessions_of_its_own_market(client: TestClient) -> None:
    found = asked(client)
    (latest,) = client.get("/v1/regions").json()["items"]
    newest = date.fromisoformat(latest["models"][0]["last"])
    closed = last_closed_session("US_EQ", datetime.now(UTC))
    n_closed = len(trading_days_between("US_EQ", newest + timedelta(days=1), closed))
    assert list(found["prometheus_regime_session_age_sessions"].values()) == [n_closed]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def test_each_rule_is_of_figures_and_labels_that_are_served(client: TestClient, log: NightlyRuns) -> None:
    note_night(log, "night", 0)
    found = asked(client)
    for rule in rules():
        require_served(rule, found)


def require_served(rule: dict[str, Any], found: Figures) -> None:
    """Prove that the figures and labels of a rule are served, and that it says what to do."""
    names = set(re.findall(r"\b((?:prometheus|regime)_[a-z_]+)\b", rule["expr"]))
    assert names or "up{" in rule["expr"]
    assert names <= set(found), names - set(found)
    served = {label for name in names for labels in found[name] for label, _ in labels} | {"job", "instance"}
    used = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", rule["expr"])
    used += re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"]))
    assert set(used) <= served
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["way_out"]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def test_each_panel_of_the_dashboard_is_of_figures_that_are_served(client: TestClient, log: NightlyRuns) -> None:
    note_night(log, "night", 0)
    found = asked(client)
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${DS_PROMETHEUS}"}
    for target in (target for panel in panels() for target in panel["targets"]):
        names = set(re.findall(r"\b((?:prometheus|regime|process)_[a-z_]+)\b", target["expr"]))
        assert names
        assert names <= set(found), names - set(found)
        served = {label for name in names for labels in found[name] for label, _ in labels}
        assert set(re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))) <= served


def test_the_dashboard_of_nights_can_be_imported_beside_that_of_regimes() -> None:
    board, other = (json.loads(path.read_text(encoding="utf-8")) for path in (DASHBOARD, OTHER_DASHBOARD))
    assert board["id"] is None, "an id is given by the server"
    assert board["uid"] != other["uid"]
    assert board["__inputs"] == other["__inputs"]
    assert len({each["id"] for each in panels()}) == len(panels())
    corners = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels()]
    assert len(set(corners)) == len(corners)
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= 24 for each in panels())


def alerts_over(text: str, folder: Path, n_quarters: int = 300) -> set[str]:
    """Return the alerts that fire where a server has answered so for three days, by Prometheus's own evaluation."""
    assert PROMTOOL is not None
    shutil.copy(RULES, folder / "alerts.yml")
    series = [{"series": 'up{job="regimes",instance="desk:8321"}', "values": f"1x{n_quarters}"}]
    for name, values in samples(text).items():
        for labels, value in values.items():
            pairs = [*labels, ("job", "regimes"), ("instance", "desk:8321")]
            shown = ",".join(f"{key}={json.dumps(each, ensure_ascii=False)}" for key, each in pairs)
            series.append({"series": f"{name}{{{shown}}}", "values": f"{value:.10g}x{n_quarters}"})
    silent = [
        {"alertname": rule["alert"], "eval_time": f"{15 * n_quarters}m", "exp_alerts": []} for rule in rules()
    ]  # fmt: skip
    asked = {
        "rule_files": ["alerts.yml"], "evaluation_interval": "15m",
        "tests": [{"interval": "15m", "input_series": series, "alert_rule_test": silent}],
    }  # fmt: skip
    (folder / "test.yml").write_text(yaml.safe_dump(asked, allow_unicode=True), encoding="utf-8")
    command = [PROMTOOL, "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    firing = set(re.findall(r'alertname="?:? ?(\w+)', done.stdout + done.stderr))  # each that was to be silent
    assert bool(firing) == bool(done.returncode), done.stdout + done.stderr
    return firing


def names_of(found: Figures, name: str) -> list[float]:
    return list(found.get(name, {}).values())


@pytest.mark.parametrize(("n_sessions_ago", "is_too_old"), [(2, False), (3, True)])
def test_the_alert_fires_when_the_newest_night_is_more_than_two_sessions_old(
    client: TestClient, log: NightlyRuns, n_sessions_ago: int, is_too_old: bool, tmp_path: Path
) -> None:
    note_night(log, "night", n_sessions_ago)
    text = client.get("/metrics").text
    wait_for(lambda: "prometheus_night_age_sessions{" in client.get("/metrics").text)
    text = client.get("/metrics").text
    (rule,) = (each for each in rules() if each["alert"] == "NightTooOld")
    assert rule["expr"] == "max by (market) (prometheus_night_age_sessions) > 2"
    assert [age > 2 for age in names_of(samples(text), "prometheus_night_age_sessions")] == [is_too_old]
    if PROMTOOL is not None:
        assert ("NightTooOld" in alerts_over(text, tmp_path)) == is_too_old


@pytest.mark.skipif(PROMTOOL is None, reason="promtool of Debian's package prometheus is not on the PATH")
def test_the_rules_are_loaded_by_prometheus_and_fire_for_what_they_name(
    client: TestClient, log: NightlyRuns, tmp_path: Path
) -> None:
    assert PROMTOOL is not None
    checked = subprocess.run([PROMTOOL, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    failures = ({"name": "US", "why": "x"},)
    note_night(log, "old", 0, result=RunResult.INCOMPLETE, exit_code=3, failures=failures)
    log.begin("new", "nightly", None)
    log.end("new", "nightly", RunOutcome(RunResult.FAILED, 4, 0.1, "the database went away"))
    asked(client)
    text = client.get("/metrics").text
    linted = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert "error" not in linted.stderr, linted.stderr
    firing = alerts_over(text, tmp_path)
    assert firing == {"NightDidNotEndWell", "NightIncomplete", "RegionTooOld", "FindingsOpen"}


class Given(Collector):
    """Gauges of a region by any name."""

    def __init__(self, *states: NewestState) -> None:
        self._states = states

    def collect(self) -> Iterator[Any]:
        yield from figures.gauges_of_regimes(self._states, [1] * len(self._states))


def state_of(region: str) -> NewestState:
    return NewestState(region, "m@1", date(2024, 1, 2), RegimeLabel.CARRY, 0.5, {}, None, None)


@given(region=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_region_of_any_name_is_one_label_and_forges_no_line(region: str) -> None:
    registry = CollectorRegistry()
    registry.register(Given(state_of(region)))
    text = generate_latest(registry).decode()
    named = {
        dict(labels)["region"]
        for name, values in samples(text).items()
        if name.startswith("prometheus_regime") and name != "prometheus_regimes_left_out"
        for labels in values
    }
    assert named == {region}
    n_others = generate_latest(_registry_of("plain")).decode().count("\n")
    assert text.count("\n") == n_others


def _registry_of(region: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Given(state_of(region)))
    return registry


def test_the_number_of_regions_with_figures_of_their_own_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST_REGIONS", 3)
    registry = CollectorRegistry()
    registry.register(Given(*(state_of(f"R{number}") for number in range(8))))
    found = samples(generate_latest(registry).decode())
    assert len(found["prometheus_regime_confidence_ratio"]) == 3
    assert found["prometheus_regimes_left_out"] == {(): 5}


@pytest.mark.deep
def test_a_server_whose_database_hangs_answers_for_health_and_figures(breakable_home: Path) -> None:
    driver = Driver(breakable_home)
    driver.ensure_running()
    with serving(breakable_home) as served:
        wait_for(lambda: "regime_database_ready 1.0" in served.get("/metrics").text)
        assert samples(served.get("/metrics").text)["prometheus_regime"]
        pids = process.users_of(driver.layout.data)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            wait_for(lambda: "regime_database_ready 0.0" in served.get("/metrics", timeout_s=BOUND_S).text)
            left = samples(served.get("/metrics", timeout_s=BOUND_S).text)
            assert not left.get("prometheus_regime"), "what is old is not told as if it were new"
            assert "prometheus_night_result" not in left
            refused = served.get("/readyz", timeout_s=BOUND_S)
            assert (refused.status_code, refused.json()["error"]) == (503, "database_unreachable")
            assert served.get("/healthz", timeout_s=BOUND_S).status_code == 200
        finally:
            let_go_on(pids)
        wait_for(lambda: "regime_database_ready 1.0" in served.get("/metrics").text)


def test_a_server_that_never_had_a_database_answers_for_health_and_figures(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and not listening
        dsn = f"host=127.0.0.1 port={closed.getsockname()[1]} dbname=nothing user=prometheus"
        environment = {"PROMETHEUS_HISTORICAL_DSN": dsn, "PROMETHEUS_RUNTIME_DSN": dsn}
        with serving(tmp_path, **environment) as served:
            wait_for(lambda: "regime_database_ready 0.0" in served.get("/metrics", timeout_s=BOUND_S).text)
            assert served.get("/readyz", timeout_s=BOUND_S).status_code == 503
            assert served.get("/healthz", timeout_s=BOUND_S).status_code == 200


def test_the_page_shows_the_last_nights_with_what_was_left_out_and_why(client: TestClient, log: NightlyRuns) -> None:
    assert "Last nights" not in client.get("/").text
    failures = ({"name": "<US>", "why": "a & b"},)
    for number in range(6):
        note_night(log, f"night{number}", 0, result=RunResult.INCOMPLETE, exit_code=3, failures=failures)
    shown = client.get("/").text
    assert shown.count('<strong class="bad">incomplete</strong>') == 5
    assert "<li>&lt;US&gt;: a &amp; b</li>" in shown
    assert f"<li>OLD: {SKIPPED['why']}</li>" in shown
    assert "1 failed, 1 skipped" in shown
    assert "Last nights" not in client.get("/?as_of=2020-03-16").text, "a date of the past tells of no later night"


def test_a_night_that_is_killed_is_not_shown_as_running_for_ever(client: TestClient, log: NightlyRuns) -> None:
    manager = client_manager(log)
    with only_run(manager, "nightly", datetime.now(UTC)):
        log.begin("night", "nightly", None)
        assert client.get("/v1/nights/night").json()["result"] == "running"
        assert client.get("/v1/nights").json()["items"][0]["result"] == "running"
        assert "<strong>running</strong>" in client.get("/").text
    # nothing was written when the lock went, as with a kill
    assert client.get("/v1/nights/night").json()["result"] == "did not end"
    assert client.get("/v1/nights").json()["items"][0]["result"] == "did not end"
    assert '<strong class="bad">did not end</strong>' in client.get("/").text


def client_manager(log: NightlyRuns) -> Any:
    return log._db.connect.__self__  # type: ignore[attr-defined]


def test_python_lists_the_same_nights(changeable_home: Path, log: NightlyRuns) -> None:
    with prometheus.open(config_of(changeable_home)) as opened:
        assert len(opened.runs()) == 0
        note_night(log, "first", 1)
        note_night(log, "second", 0, result=RunResult.INCOMPLETE, failures=({"name": "US", "why": "x"},))
        found = opened.runs(n=5)
        second, first = found
        assert (second.run_id, first.run_id) == ("second", "first")
        assert (second.result, second.failed, second.skipped, second.why) == ("incomplete", 1, 1, "US: x")
        assert (first.written, first.findings) == (7, 2)
        assert found.to_pandas()["seconds"].tolist() == [4.5, 4.5]
        with pytest.raises(UsageError, match="from 1 on"):
            opened.runs(n=0)
