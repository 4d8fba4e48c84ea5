"""Schemathesis against the API: no server error, nothing that the OpenAPI document does not say."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from starlette.testclient import TestClient
from tests.fixtures.examples import share_of
from tests.web.serving import REGION, serving

from prometheus.app import App
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.middleware import MEDIA_TYPES
from prometheus.web.server import create_app

pytest_plugins = ["tests.web.fixtures"]

CONFIG = Path(__file__).with_name("schemathesis.toml")
CSV = MEDIA_TYPES["csv"].partition(";")[0]
IN_PATHS = {"{region}": REGION, "{as_of_date}": "2020-03-16", ".{suffix}": ".parquet"}
ASKED = {
    "/v1/regimes/latest": {"region": REGION}, "/v1/regimes/{as_of_date}": {"region": REGION},
    "/v1/regions/{region}/analogs": {"as_of": "2020-03-16"}, "/v1/changes": {"since": "2020-06-01"},
    "/v1/texts/search": {"q": "banks", "as_of": "2025-01-31"}, "/v1/record": {"region": REGION},
}  # fmt: skip
"""What a question needs, by its route."""
ASKED_ELSEWHERE = ("/v1/texts/stance", "/v1/nights/{run_id}")
"""In the shared home no head is fitted and no night has run; `test_stance` and `test_nights` ask these routes."""


@pytest.fixture
def api(reading_app: App) -> schemathesis.BaseSchema:
    """The API in this process, under the name that schemathesis calls it by."""
    application = create_app(reading_app, AccessRules(LOOPBACK_HOSTS | {"testserver"}))
    return schemathesis.openapi.from_asgi("/v1/openapi.json", application, config=SchemathesisConfig.from_path(CONFIG))


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_as_documented(api: schemathesis.BaseSchema, mode: GenerationMode) -> None:
    asked = []
    for found in api.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]

        @settings(
            max_examples=share_of(20),
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate()

        with suppress(Unsatisfiable):  # nothing about /healthz can be wrong
            ask()
            asked.append(operation.label)
    assert len(asked) >= 8


def test_every_route_answers_in_the_forms_that_the_document_names_and_in_no_other(client: TestClient) -> None:
    in_tables = []
    for path, operations in client.get("/v1/openapi.json").json()["paths"].items():
        if path in ASKED_ELSEWHERE:
            continue
        documented = set(operations["get"]["responses"]["200"]["content"])
        address = path
        for name, value in IN_PATHS.items():
            address = address.replace(name, value)
        for form in {CSV, *documented}:
            answer = client.get(address, params=ASKED.get(path, {}), headers={"Accept": form})
            assert answer.status_code == 200, (address, answer.text)
            given = answer.headers["content-type"].partition(";")[0]
            assert given == form or form not in documented or "{suffix}" in path, (path, form)
            assert given in documented, (path, form)
        if len(documented) > 1:
            in_tables.append(path)
    assert {"/v1/instruments", "/v1/findings", "/v1/regions/{region}/regimes"} < set(in_tables)


@pytest.mark.deep
def test_a_running_server_withstands_many_more_questions(filled_home: Path, tmp_path: Path) -> None:
    with serving(filled_home) as served:
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run",
            f"{served.address}/v1/openapi.json", "--max-examples", "50", "--seed", "1",
            "--phases", "examples,coverage,fuzzing",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
