"""A server over real rows: an embedded PostgreSQL of its own, which tests may also kill."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from tests.fixtures.database import set_environment
from tests.fixtures.embedded_homes import SCRATCH, Driver
from tests.web.serving import FIRST, LAST, REGION, client_of, config_of

from prometheus.app import App
from prometheus.cli import main
from prometheus.core.config import PrometheusConfig
from prometheus.ingest.sample import PRICES
from prometheus.ingest.sample.macro_events import write_sample_macro_events
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app, open_reading_app


@pytest.fixture(scope="session")
def stopped_home() -> Iterator[Path]:
    """A home with the regimes of an index and embedded texts of a month, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="prometheus-web-", dir=SCRATCH))
    folder.chmod(0o755)
    home, events, calibration = folder / "home", folder / "events.jsonl", folder / "calibration.json"
    write_sample_macro_events(events)
    index = ["--region", REGION, "--instrument-id", "GSPC.INDX"]
    january = ["--date-range", "2025-01-01", "2025-01-31"]
    label = ["--model-id", "num-regime-core-v2", "--prototypes", str(calibration), "--date-range", FIRST, LAST]
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, {"PROMETHEUS_HOME": str(home)})
        for command in (
            ["ingest", "prices", str(PRICES)],
            ["calibrate", *index, "--until", "2007-12-31", "--output", str(calibration)],
            ["run_numeric_regime", *index, *label],
            ["ingest", "macro", str(events)],
            ["backfill_macro_text_embeddings", *january],
        ):
            assert main(command) == 0, command
    Driver(home).stop()
    yield home
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def filled_home(stopped_home: Path) -> Iterator[Path]:
    """A home with rows whose server the tests share, and leave alone."""
    yield from _copy_of(stopped_home)


@pytest.fixture(scope="session")
def breakable_home(stopped_home: Path) -> Iterator[Path]:
    """The same rows under a server that tests may kill."""
    yield from _copy_of(stopped_home)


@pytest.fixture(scope="module")
def changeable_home(stopped_home: Path) -> Iterator[Path]:
    """The same rows, for one module's tests to change."""
    yield from _copy_of(stopped_home)


def _copy_of(home: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="prometheus-web-", dir=SCRATCH))
    folder.chmod(0o755)
    subprocess.run(["cp", "-a", str(home), str(folder / "home")], check=True)
    yield folder / "home"
    Driver(folder / "home").stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def filled_config(filled_home: Path) -> PrometheusConfig:
    """The settings that lead to the filled home."""
    return config_of(filled_home)


@pytest.fixture(scope="session")
def reading_app(filled_config: PrometheusConfig) -> Iterator[App]:
    """The app as `serve` opens it."""
    with open_reading_app(filled_config) as app:
        yield app


@pytest.fixture(scope="session")
def application(reading_app: App) -> ASGIApp:
    """The ASGI application, open to this machine."""
    return create_app(reading_app, AccessRules(LOOPBACK_HOSTS))


@pytest.fixture
def client(application: ASGIApp) -> Iterator[TestClient]:
    """Asks the application in this process."""
    with client_of(application) as client:
        yield client
