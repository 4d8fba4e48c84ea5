"""Every route says what the app says, in the documented form and within its limits."""

from __future__ import annotations

import io
import math
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient
from tests.web.serving import FIRST, LAST, REGION

from prometheus.analogs.search import AnalogRequest
from prometheus.app import App
from prometheus.app.text_search import TextQuery
from prometheus.regime.exposure import EXPOSURES
from prometheus.web.api import StrictJson
from prometheus.web.middleware import ARROW
from prometheus.web.questions import MAX_ANALOGS, MAX_REGIMES
from prometheus.web.schemas import AnalogList, RegimeRow, TextList

pytest_plugins = ["tests.web.fixtures"]

REGIMES = f"/v1/regions/{REGION}/regimes"
ALL = (date.fromisoformat(FIRST), date.fromisoformat(LAST))


def answer(client: TestClient, address: str, status: int = 200, **headers: str) -> Any:
    response = client.get(address, headers=headers)
    assert response.status_code == status, response.text
    return response.json()


def pages(client: TestClient, address: str) -> list[Any]:
    """All rows, page by page."""
    rows, following = [], address
    while following:
        page = answer(client, following)
        rows += page["items"]
        following = page["next"]
    return rows


def test_regions_are_listed_with_the_span_of_each_model(client: TestClient, reading_app: App) -> None:
    (region,) = answer(client, "/v1/regions")["items"]
    (history,) = reading_app.regimes.histories()
    assert region["region"] == REGION
    assert region["default_model_id"] == history.model_id
    assert region["models"] == [{
        "model_id": history.model_id, "encoder_model_id": "num-regime-core-v2", "has_prototypes": True,
        "n_dates": history.n_dates, "first": str(history.first), "last": str(history.last),
    }]  # fmt: skip


def test_pages_of_regimes_joined_are_what_the_app_says(client: TestClient, reading_app: App) -> None:
    rows = pages(client, f"{REGIMES}?limit=100&start={FIRST}&end={LAST}")
    states = reading_app.regimes.states(REGION, *ALL, None)
    assert [row["as_of_date"] for row in rows] == [str(state.as_of_date) for state in states]
    assert [row["label"] for row in rows] == [state.regime_label.name for state in states]
    assert [row["confidence"] for row in rows] == [state.confidence for state in states]
    assert [row["exposure"] for row in rows] == [EXPOSURES[state.regime_label] for state in states]
    assert [row["high_volatility"] for row in rows] == [
        state.metadata["high_volatility"]["probability"] for state in states
    ]
    assert [row["probabilities"] for row in rows] == [state.metadata["probabilities"] for state in states]


def test_a_range_holds_both_its_ends_and_one_without_dates_is_empty(client: TestClient) -> None:
    page = answer(client, f"{REGIMES}?start=2020-03-16&end=2020-03-17")
    assert [row["as_of_date"] for row in page["items"]] == ["2020-03-16", "2020-03-17"]
    assert page["next"] is None
    assert answer(client, f"{REGIMES}?start=1980-01-01&end=1980-12-31")["items"] == []


@pytest.mark.parametrize("day", ["2020-03-16", "latest"])
def test_one_date_comes_with_its_explanation(client: TestClient, reading_app: App, day: str) -> None:
    found = answer(client, f"{REGIMES}/{day}")
    asked = date.fromisoformat(LAST if day == "latest" else day)
    (state,) = reading_app.regimes.states(REGION, asked, asked, None)
    (reasons,) = reading_app.calibrations.explain([state])
    assert found["as_of_date"] == str(asked)
    assert found["label"] == state.regime_label.name
    for name in ("probabilities", "high_volatility", "spell_sessions", "change_risk"):
        assert found[name] == state.metadata[name]
    assert found["exposure"] == EXPOSURES[state.regime_label]
    assert found["explanation"] == [reason.to_dict() for reason in reasons]
    drift = reading_app.drift.on(REGION, asked)
    assert found["drift"] == (None if drift is None else drift.to_dict())
    assert found["market_index"] is None


def test_a_weekend_is_answered_by_the_session_before_it(client: TestClient) -> None:
    assert answer(client, f"{REGIMES}/2020-03-15") == answer(client, f"{REGIMES}/2020-03-13")


def test_clients_are_told_no_commands_of_the_operator(client: TestClient) -> None:
    assert "python -m prometheus" not in answer(client, "/v1/regions/ATLANTIS/regimes", 404)["detail"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/v1/regions/ATLANTIS/regimes", "region 'ATLANTIS' has no regimes at all (regions that have: US_INDEX)"),
        ("/v1/regions/ATLANTIS/regimes/latest", "regions that have: US_INDEX"),
        ("/v1/regions/ATLANTIS/transitions", "regions that have: US_INDEX"),
        ("/v1/regions/ATLANTIS/embeddings", "regions that have: US_INDEX"),
        ("/v1/regions/ATLANTIS/analogs?as_of=2020-03-16", "regions that have: US_INDEX"),
        (f"{REGIMES}?model_id=unheard-of", "(models that have: num-regime-core-v2@"),
        (f"{REGIMES}/2020-08-15", f"on 2020-08-15; its dates are sessions from {FIRST} to {LAST}"),
        (f"{REGIMES}/0001-01-01", f"its dates are sessions from {FIRST} to {LAST}"),
        (f"{REGIMES}/9999-12-31", f"its dates are sessions from {FIRST} to {LAST}"),
        (f"/v1/regions/{REGION}/analogs?as_of=1980-01-01", f"from {FIRST} to {LAST}"),
        ("/v1/texts/search?q=rates&as_of=1980-01-01", "there are no"),
        ("/v1/runs?cursor=unheard-of", "unknown run 'unheard-of'"),
        ("/v1/nothing", "there is nothing at this address"),
        ("/docs", "there is nothing at this address"),
    ],
)
def test_what_is_not_there_is_named_with_what_there_is(client: TestClient, address: str, said: str) -> None:
    problem = answer(client, address, 404)
    assert set(problem) == {"error", "detail", "type", "title", "status"}
    assert said in problem["detail"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"{REGIMES}?start=2020-1-1", "'start': '2020-1-1' is no date; write YYYY-MM-DD"),
        (f"{REGIMES}?start=1584316800", "is no date"),
        (f"{REGIMES}?start=2020-03-16T00:00:00", "is no date"),
        (f"{REGIMES}?start=20200316", "is no date"),
        (f"{REGIMES}?start=2020-02-30", "is no date"),
        (f"{REGIMES}?start=0000-01-01", "is no date"),
        (f"{REGIMES}?end=", "is no date"),
        (f"{REGIMES}/yesterday", "path parameter 'as_of_date': 'yesterday' is no date"),
        (f"{REGIMES}?limit=0", "greater than or equal to 1"),
        (f"{REGIMES}?limit=1000000000", f"less than or equal to {MAX_REGIMES}"),
        (f"{REGIMES}?limits=1&from=2", "unknown query parameter 'limits'; unknown query parameter 'from'"),
        (f"/v1/regions/{REGION}/analogs?as_of=2020-03-16&k=0", "greater than or equal to 1"),
        (f"/v1/regions/{REGION}/analogs?as_of=2020-03-16&k=1000000000", f"less than or equal to {MAX_ANALOGS}"),
        (f"/v1/regions/{REGION}/analogs", "query parameter 'as_of': Field required"),
        (f"/v1/regions/{REGION}/analogs?as_of=2020-03-16&space=time", "'numeric', 'joint' or 'text'"),
        ("/v1/texts/search?q=&as_of=2025-01-31", "at least 1 character"),
        ("/v1/texts/search?like=NEWS&as_of=2025-01-31", "match pattern"),
        (f"/v1/texts/search?q={'x' * 3000}&as_of=2025-01-31", "at most 2000 characters"),
        ("/v1/texts/search?q=a%00b&as_of=2025-01-31", "match pattern"),
        ("/v1/regions/a%00b/regimes", "match pattern"),
        ("/healthz?verbose=1", "unknown query parameter 'verbose'"),
    ],
)
def test_a_malformed_question_is_refused_by_name_and_limit(client: TestClient, address: str, said: str) -> None:
    problem = answer(client, address, 422)
    assert problem["error"] == "invalid_parameter"
    assert said in problem["detail"]


def test_a_range_that_ends_before_it_starts_is_refused(client: TestClient) -> None:
    problem = answer(client, f"{REGIMES}?start=2020-02-01&end=2020-01-01", 400)
    assert problem == {
        "error": "usage", "detail": "the range ends 2020-01-01, before it starts 2020-02-01", "status": 400,
        "title": "Bad Request", "type": "urn:prometheus-regime:error:usage",
    }  # fmt: skip


def test_transitions_are_what_the_app_says(client: TestClient, reading_app: App) -> None:
    (found,) = answer(client, f"/v1/regions/{REGION}/transitions")["items"]
    (report,) = reading_app.regimes.transitions(REGION, None)
    assert found["counts"] == report.counts
    assert found["matrix"] == report.matrix
    assert found["mean_duration"] == report.mean_durations
    assert set(found["change_risk"]) == set(report.counts)


def test_analogs_are_what_the_app_says_field_by_field(client: TestClient, reading_app: App) -> None:
    found = answer(client, f"/v1/regions/{REGION}/analogs?as_of=2020-03-16&k=3&exclude_sessions=21&metric=cosine")
    request = AnalogRequest(REGION, date(2020, 3, 16), k=3, exclude_sessions=21, metric="cosine")
    assert found == reading_app.analogs.find(request).to_dict()
    assert set(found) == set(AnalogList.model_fields) - {"left_out"}  # only where a vector cannot be compared


def test_texts_are_what_the_app_says(client: TestClient, reading_app: App) -> None:
    found = answer(client, "/v1/texts/search?q=calm%20markets&as_of=2025-01-31&k=3&source=macro")
    report = reading_app.text_search.find(TextQuery("calm markets", date(2025, 1, 31), k=3, source="macro")).to_dict()
    assert set(report) == set(TextList.model_fields)
    assert [hit["text"] for hit in found["hits"]] == [hit["text"] for hit in report["hits"]]
    assert [set(hit) for hit in found["hits"]] == [set(hit) for hit in report["hits"]]
    first = found["hits"][0]
    like = answer(client, f"/v1/texts/search?like=MACRO:{first['source_id']}&as_of=2025-01-31&k=2&by=words&country=us")
    assert like["n_texts"] < found["n_texts"]
    assert first["source_id"] not in [hit["source_id"] for hit in like["hits"]]


def test_embeddings_as_json_and_as_arrow_are_the_stored_ones(client: TestClient, reading_app: App) -> None:
    states = reading_app.regimes.states(REGION, *ALL, None)
    vectors = np.stack([state.regime_embedding for state in states])
    address = f"/v1/regions/{REGION}/embeddings?start={FIRST}&end={LAST}"

    rows = pages(client, f"{address}&limit=150")
    np.testing.assert_array_equal(np.array([row["embedding"] for row in rows], np.float32), vectors)

    response = client.get(address, headers={"Accept": ARROW})
    assert response.headers["content-type"] == ARROW
    assert "Accept" in response.headers["vary"]
    table = pa.ipc.open_stream(io.BytesIO(response.content)).read_all()
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 384)
    assert table.column("as_of_date").to_pylist() == [state.as_of_date for state in states]
    assert table.column("label").to_pylist() == [state.regime_label.name for state in states]
    np.testing.assert_array_equal(np.array(table.column("embedding").to_pylist(), np.float32), vectors)
    assert table.schema.metadata[b"encoder_model_id"] == b"num-regime-core-v2"


def test_embeddings_of_no_date_are_an_empty_page_and_an_empty_stream(client: TestClient) -> None:
    address = f"/v1/regions/{REGION}/embeddings?start=1980-01-01&end=1980-12-31"
    assert answer(client, address)["items"] == []
    table = pa.ipc.open_stream(io.BytesIO(client.get(address, headers={"Accept": ARROW}).content)).read_all()
    assert (table.num_rows, table.schema.field("embedding").type.list_size) == (0, 384)


def test_runs_are_listed_newest_first_page_by_page(client: TestClient) -> None:
    rows = pages(client, "/v1/runs?limit=1")
    assert [row["kind"] for row in rows] == ["text", "regime"]
    assert rows == answer(client, "/v1/runs")["items"]
    assert rows[:1] == answer(client, "/v1/runs?kind=text")["items"]


def test_a_nan_fits_no_answer() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        StrictJson({"value": math.nan})
    with pytest.raises(ValidationError, match="finite number"):
        RegimeRow.model_validate({"as_of_date": date.min, "label": "CARRY", "confidence": math.nan})


def test_the_openapi_document_explains_and_exemplifies(client: TestClient) -> None:
    document = answer(client, "/v1/openapi.json")
    for address, operations in document["paths"].items():
        operation = operations["get"]
        assert operation["summary"], address
        assert {"200", "400", "404", "422", "503"} <= set(operation["responses"])
        assert "security" not in operation
    page = document["components"]["schemas"]["RegimePage"]
    assert page["examples"][0]["items"][0]["label"] == "CRISIS"
    assert "format" in str(document["paths"][f"{REGIMES.replace(REGION, '{region}')}"]["get"]["parameters"])
