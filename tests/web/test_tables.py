"""Regimes taken along as CSV, Arrow and Parquet: the same rows as the app's."""

from __future__ import annotations

import io
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from starlette.testclient import TestClient
from tests.web.serving import LAST, REGION

from prometheus.app import App
from prometheus.regime.exposure import EXPOSURES

pytest_plugins = ["tests.web.fixtures"]


def read(content: bytes, suffix: str) -> pa.Table:
    source = io.BytesIO(content)
    if suffix == "csv":
        return pyarrow.csv.read_csv(source)
    return pa.ipc.open_stream(source).read_all() if suffix == "arrow" else pyarrow.parquet.read_table(source)


@pytest.mark.parametrize("suffix", ["csv", "arrow", "parquet"])
def test_a_table_holds_what_the_states_say(client: TestClient, reading_app: App, suffix: str) -> None:
    answer = client.get(f"/v1/regions/{REGION}/regimes.{suffix}", params={"start": "2020-02-03"})
    table = read(answer.content, suffix)
    states = reading_app.regimes.states(REGION, date(2020, 2, 3), date.fromisoformat(LAST), None)

    assert answer.headers["content-disposition"] == f'attachment; filename="regimes_US_INDEX.{suffix}"'
    assert table["as_of_date"].to_pylist() == [state.as_of_date for state in states]
    assert table["label"].to_pylist() == [state.regime_label.name for state in states]
    assert table["confidence"].to_pylist() == [state.confidence for state in states]
    assert table["exposure"].to_pylist() == [EXPOSURES[state.regime_label] for state in states]
    for name in ("CARRY", "CRISIS"):
        assert table[f"probability_{name.lower()}"].to_pylist() == [
            state.metadata["probabilities"][name] for state in states
        ]


def test_a_spell_that_began_before_the_span_keeps_its_first_date(client: TestClient, reading_app: App) -> None:
    whole = reading_app.regimes.timeline(REGION, date.min, date.max)
    turn = int(np.flatnonzero(np.diff(whole.labels))[0]) + 1
    start = str(whole.dates[turn + 1])

    table = read(client.get(f"/v1/regions/{REGION}/regimes.parquet", params={"start": start}).content, "parquet")

    assert table["spell_start"][0].as_py() == whole.dates[turn].item()
    assert table["spell_session"][0].as_py() == 2


def test_all_regions_are_one_table_and_a_span_without_rows_is_an_empty_one(client: TestClient) -> None:
    one = read(client.get(f"/v1/regions/{REGION}/regimes.arrow").content, "arrow")
    every = read(client.get("/v1/regimes.arrow").content, "arrow")
    named = read(client.get("/v1/regimes.arrow", params={"region": REGION}).content, "arrow")

    assert every.equals(one)
    assert named.equals(one)
    empty = client.get("/v1/regimes.csv", params={"start": "1980-01-01", "end": "1980-12-31"})
    assert empty.text.splitlines() == [",".join(f'"{name}"' for name in one.column_names)]


def test_another_form_or_region_is_named(client: TestClient) -> None:
    assert client.get(f"/v1/regions/{REGION}/regimes.xlsx").status_code == 422
    answer = client.get("/v1/regimes.csv", params={"region": "ATLANTIS"})
    assert (answer.status_code, answer.json()["error"]) == (404, "no_regimes")
