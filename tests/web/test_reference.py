"""What stands behind regimes: definitions, instruments and findings say what is stored, as pages and as tables."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient
from tests.fixtures.market import LoadPrices, random_walk, weekdays
from tests.web.serving import FIRST, LAST, REGION, client_of
from tests.web.test_tables import read

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.arrays import Int64Vector
from prometheus.data.instruments import InstrumentDefaults, register_instruments
from prometheus.ingest.sample import PRICES
from prometheus.market.bars import PriceBars
from prometheus.market.quality import Judgement, judge
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app

pytest_plugins = ["tests.web.fixtures"]

CRASH, INDEX = "2020-03-16", "GSPC.INDX"
DAYS = weekdays(300)
FAULTY = 200


def ask(client: TestClient, address: str, **asked: Any) -> Any:
    answer = client.get(address, params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_definition_says_members_models_and_calibration(client: TestClient, reading_app: App) -> None:
    found = ask(client, f"/v1/regions/{REGION}")
    (listed,) = ask(client, "/v1/regions")["items"]
    (model,) = found["models"]

    assert (found["instrument_id"], found["market"], found["members"]) == (INDEX, "US_EQ", {INDEX: 1.0})
    assert {name: model[name] for name in listed["models"][0]} == listed["models"][0]
    stored = reading_app.wired.registry.load_config(model["model_id"]) or {}
    assert model["config"] == {name: part for name, part in stored.items() if name != "centers"}
    assert model["config"]["calibration"]["high_volatility"]["threshold"] > 0


def test_a_definition_as_of_a_date_knows_nothing_later(client: TestClient) -> None:
    answer = client.get(f"/v1/regions/{REGION}", params={"as_of": CRASH})
    (model,) = answer.json()["models"]
    assert (model["first"], model["last"]) == (FIRST, CRASH)
    assert max(re.findall(r"\d{4}-\d\d-\d\d", answer.text)) == CRASH
    early = client.get(f"/v1/regions/{REGION}", params={"as_of": "2007-12-31"})
    assert (early.status_code, early.json()["error"]) == (404, "no_regimes")


def test_instruments_are_those_of_the_file(client: TestClient) -> None:
    table = pq.read_table(PRICES, columns=["instrument_id", "trade_date"]).to_pandas()
    spans = table.groupby("instrument_id")["trade_date"].agg(["min", "max"])
    found = ask(client, "/v1/instruments")["items"]
    assert {each["instrument_id"]: (each["first"], each["close_date"]) for each in found} == {
        name: (str(row["min"]), str(row["max"])) for name, row in spans.iterrows()
    }
    assert {each["instrument_id"]: each["regions"] for each in found} == {
        name: [REGION] if name == INDEX else [] for name in spans.index
    }
    page = ask(client, "/v1/instruments", limit=1)
    assert page["items"] + client.get(page["next"]).json()["items"] == found
    assert ask(client, "/v1/instruments", market="JP_EQ") == {"items": [], "next": None}
    crash = ask(client, "/v1/instruments", as_of=CRASH)["items"]
    assert {each["close_date"] for each in crash} == {CRASH}
    assert ask(client, "/v1/instruments", as_of="1900-01-01")["items"] == []


@pytest.mark.parametrize(("suffix", "media"), [("csv", "text/csv"), ("arrow", "application/vnd.apache.arrow.stream")])
def test_a_page_is_a_table_by_suffix_and_by_accept(client: TestClient, suffix: str, media: str) -> None:
    items = ask(client, "/v1/instruments", limit=1)["items"]
    by_suffix = client.get(f"/v1/instruments.{suffix}?limit=1")
    by_accept = client.get("/v1/instruments?limit=1", headers={"Accept": f"{media}, application/json"})

    assert by_accept.content == by_suffix.content
    assert "Accept" in by_accept.headers["vary"]
    (row,) = read(by_suffix.content, suffix).to_pylist()
    assert (row["instrument_id"], row["close"]) == (items[0]["instrument_id"], items[0]["close"])
    assert row["first"] == date.fromisoformat(items[0]["first"])
    following = re.fullmatch(r'<(.+)>; rel="next"', by_accept.headers["link"])
    assert following is not None
    assert following[1].startswith(f"/v1/instruments.{suffix}?")
    assert "link" not in client.get(following[1]).headers


def test_regimes_are_a_table_where_accept_names_one_first(client: TestClient) -> None:
    table = client.get(f"/v1/regions/{REGION}/regimes", headers={"Accept": "text/csv"})
    assert table.content == client.get(f"/v1/regions/{REGION}/regimes.csv").content
    answer = client.get(f"/v1/regions/{REGION}/regimes", headers={"Accept": "application/json, text/csv"})
    assert answer.json()["region"] == REGION


def test_several_regions_are_answered_at_once_and_an_unknown_one_beside_them(client: TestClient) -> None:
    asked = {"region": [REGION, "ATLANTIS", REGION]}
    newest, crash = ask(client, "/v1/regimes/latest", **asked), ask(client, f"/v1/regimes/{CRASH}", **asked)
    assert newest["items"] == [ask(client, f"/v1/regions/{REGION}/regimes/latest")]
    assert crash["items"] == [ask(client, f"/v1/regions/{REGION}/regimes/{CRASH}")]
    for each in (newest, crash):
        assert [(row["region"], row["error"]) for row in each["refused"]] == [("ATLANTIS", "no_regimes")]
    (refused,) = ask(client, "/v1/regimes/2030-01-01", region=REGION)["refused"]
    assert refused["error"] == "no_regime_on_date"
    assert LAST in refused["detail"]
    assert client.get("/v1/regimes/latest").status_code == 422


def test_findings_say_what_the_judge_found_and_what_was_decided(
    db_manager: DatabaseManager, load_prices: LoadPrices
) -> None:
    closes, volumes = random_walk(len(DAYS))
    closes[FAULTY] *= 3
    load_prices("BAD", DAYS, closes, volumes)
    load_prices("GOOD", DAYS, *random_walk(len(DAYS), seed=2))
    with db_manager.get_runtime_connection() as connection:
        register_instruments(connection, {"BAD": "USD", "GOOD": "USD"}, InstrumentDefaults("US_EQ", "EQUITY", None))
    app, day = App(db_manager), str(DAYS[FAULTY])
    (told,) = app.findings.check(["BAD"]).findings

    with client_of(create_app(app, AccessRules(LOOPBACK_HOSTS))) as client:
        (found,) = ask(client, "/v1/findings")["items"]
        assert found == {
            **told.to_dict(), "known_on": day, "held": True, "decision": None, "decided_at": None, "reason": None
        }  # fmt: skip
        assert ask(client, "/v1/findings", as_of=str(DAYS[FAULTY - 1]))["items"] == []
        (on_day,) = ask(client, "/v1/findings", as_of=day, instrument="BAD")["items"]
        assert (on_day["kind"], on_day["known_on"]) == ("suspect", day)
        app.findings.reject("BAD", DAYS[FAULTY].item(), DAYS[FAULTY].item(), "desk", "a phantom")
        (decided,) = ask(client, "/v1/findings", open=False)["items"]
        assert (decided["evidence"], decided["decision"], decided["reason"], decided["held"]) == (
            found["evidence"], "rejected", "a phantom", True,
        )  # fmt: skip
        assert ask(client, "/v1/findings", open=True)["items"] == []
        (then,) = ask(client, "/v1/findings", as_of=str(DAYS[-1]))["items"]
        assert (then["decision"], then["decided_at"], then["reason"]) == ("rejected", None, None)
        (row,) = read(client.get("/v1/findings.csv").content, "csv").to_pylist()
        assert (row["first"], row["decision"]) == (DAYS[FAULTY].item(), "rejected")
        page = ask(client, "/v1/findings", limit=1)
        assert client.get(page["next"]).json() == {"items": [], "next": None, "failures": {}}
        assert client.get("/v1/findings?instrument=NONE").json()["error"] == "unknown_instrument"
        assert client.get("/v1/findings?instrument=BAD&region=US").json()["error"] == "usage"


def test_a_defect_of_the_judge_costs_its_instrument_and_no_other(
    db_manager: DatabaseManager, load_prices: LoadPrices, monkeypatch: pytest.MonkeyPatch
) -> None:
    closes, volumes = random_walk(len(DAYS))
    closes[FAULTY] *= 3
    for name in ("BAD", "ODD"):
        load_prices(name, DAYS, closes, volumes)
    with db_manager.get_runtime_connection() as connection:
        register_instruments(connection, {"BAD": "USD", "ODD": "USD"}, InstrumentDefaults("US_EQ", "EQUITY", None))

    def broken(bars: PriceBars, n_missing: Int64Vector) -> Judgement:
        if bars.instrument_ids == ("ODD",):
            raise IndexError("planted")
        return judge(bars, n_missing)

    monkeypatch.setattr("prometheus.app.findings.judge", broken)
    with client_of(create_app(App(db_manager), AccessRules(LOOPBACK_HOSTS))) as client:
        page = ask(client, "/v1/findings")
        assert [each["instrument_id"] for each in page["items"]] == ["BAD"]
        assert page["failures"] == {"ODD": "the judge of prices failed, IndexError: planted"}
        refused = client.get("/v1/findings.csv")
        assert 400 <= refused.status_code < 500
        assert "IndexError: planted" in refused.text
        assert client.get("/v1/findings.csv?instrument=BAD").status_code == 200
