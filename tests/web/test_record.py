"""The record on the web: as data in pages with the scores on the first, and as a page that marks what has changed."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.integration.test_forward_record import DAY, state
from tests.web.serving import FIRST, LAST, REGION, client_of
from tests.web.test_api import answer

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.regime import RegimeStorage
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app

pytest_plugins = ["tests.web.fixtures"]

ADDRESS = f"/v1/record?region={REGION}"


def test_pages_joined_are_what_the_app_says_and_the_first_has_the_scores(client: TestClient, reading_app: App) -> None:
    rows: list[Any] = []
    scores, following = [], f"{ADDRESS}&limit=100"
    while following:
        page = answer(client, following)
        rows += page["items"]
        scores.append(page["score"])
        following = page["next"]
    said = reading_app.statements.statements(REGION)
    assert (rows[0]["as_of_date"], rows[-1]["as_of_date"]) == (FIRST, LAST)
    assert [row["hash"] for row in rows] == [each.hash.hex() for each in said]
    assert {row["today"] for row in rows} == {"same"}
    assert scores[0] == json.loads(json.dumps([each.to_dict() for each in reading_app.statements.score(REGION)]))
    assert scores[0][0]["is_on_time"] is False
    assert scores[0][0]["high_volatility"]["n_scored"] == len(rows), "prices go on to 2025"
    assert set(map(type, scores[1:])) == {type(None)}


def test_what_was_said_later_is_not_shown_of_a_past_date(client: TestClient) -> None:
    page = answer(client, f"{ADDRESS}&as_of={LAST}")
    assert (page["items"], page["score"], page["next"]) == ([], [], None)


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/v1/record?region=EU", 404, "nothing was said of region 'EU'"),
        ("/v1/record", 422, "region"),
        (f"{ADDRESS}&cursor=0", 422, "cursor"),
        (f"{ADDRESS}&limit=10001", 422, "limit"),
        (f"{ADDRESS}&as_of=today", 422, "as_of"),
        (f"{ADDRESS}&until=2020-01-01", 422, "until"),
    ],
)
def test_a_wrong_question_is_refused_by_its_name(client: TestClient, address: str, status: int, said: str) -> None:
    assert said in answer(client, address, status)["detail"]


def test_the_page_of_a_region_says_what_the_record_has_of_its_session(client: TestClient) -> None:
    past, newest = (client.get(f"/regions/{REGION}{day}").text for day in ("/2020-03-16", ""))
    assert ' days after it: <span class="CRISIS">' in past
    assert "The tables say" not in past
    assert f'id="record" href="/regions/{REGION}/record?as_of=2020-03-16"' in past
    assert f'id="record" href="/regions/{REGION}/record"' in newest


def test_the_page_of_the_record_says_what_it_was_worth_and_nothing_later_of_a_past_date(
    client: TestClient, reading_app: App
) -> None:
    page = client.get(f"/regions/{REGION}/record").text
    (score,) = reading_app.statements.score(REGION)
    assert f"0 of {score.n_statements}" in page
    assert page.count(f">{score.high_volatility.brier:.4f}<") == 2, "the tables say the same"
    assert reading_app.statements.head().hash.hex()[:16] in page
    past = client.get(f"/regions/{REGION}/record?as_of={LAST}").text
    assert f"Nothing had been said by the end of {LAST}" in past
    assert not {"<td", "tables today", reading_app.statements.head().hash.hex()[:16]} & set(past.split())
    missing = client.get("/regions/EU/record", headers={"Accept": "text/html"})
    assert missing.status_code == 404
    assert "nothing was said of region" in missing.text.lower()


def test_a_label_that_the_tables_say_otherwise_today_is_marked(db_manager: DatabaseManager) -> None:
    storage = RegimeStorage(db_manager=db_manager)
    storage.save_regimes([state(day) for day in (1, 2, 3)])
    storage.save_regime(state(2, label="CRISIS"))
    gone = state(3).as_of_date
    storage.drop_regimes("US", "m@1", np.array([gone], dtype="M8[D]"))
    with client_of(create_app(App(db_manager), AccessRules(LOOPBACK_HOSTS))) as client:
        page = client.get("/regions/US/record").text
    said = App(db_manager).statements.of_session("US", "m@1", state(2).as_of_date)

    assert page.index("gone") < page.index("changed:") < page.index("the same")
    assert ">2</td>" in page
    assert said is not None
    assert (said.label, said.label_today) == ("NEUTRAL", "CRISIS")
    assert App(db_manager).statements.of_session("US", "m@1", date(DAY.year + 1, 1, 1)) is None
