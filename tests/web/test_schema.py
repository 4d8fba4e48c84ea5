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
from tests.fixtures.examples import share_of
from tests.web.serving import serving

from prometheus.app import App
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app

pytest_plugins = ["tests.web.fixtures"]

CONFIG = Path(__file__).with_name("schemathesis.toml")


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
