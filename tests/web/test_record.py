"""The route of the forward record: pages of what was said, with the scores on the first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.web.serving import FIRST, LAST, REGION
from tests.web.test_api import answer

from prometheus.app import App

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
