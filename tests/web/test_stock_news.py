"""Texts that concern an instrument, at every door: the page of its region, `/v1`, MCP and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.fixtures.database import set_environment
from tests.web.serving import REGION, client_of, config_of
from tests.web.test_page import text_of

from prometheus.app import App
from prometheus.cli import main
from prometheus.mcp.tools import call
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app, open_reading_app

pytest_plugins = ["tests.web.fixtures"]

STORY = (
    "Brokers said the index of large companies fell by the limit twice before noon, and trading was stopped for ten "
    "minutes each time. Volume was the highest of the year, and nine of ten shares fell. Banks and airlines lost most; "
    "only makers of masks and two gold mines rose. The exchange said that its systems worked as they should, and that "
    "it would open at the usual hour tomorrow. Economists of three houses now expect a recession by the summer."
)
ARTICLES: tuple[dict[str, str], ...] = (
    {"published_at": "2020-03-12T15:00:00Z", "headline": "Limit down", "body": STORY, "symbol": "GSPC"},
    {"published_at": "2020-03-12T16:00:00Z", "headline": "Index falls", "body": STORY, "symbol": "GSPC.INDX, NOPE"},
    {"published_at": "2020-03-16T14:00:00Z", "headline": "Fear gauge at a record", "symbol": '["GSPC.INDX"]'},
    {"published_at": "2020-03-16T14:00:00Z", "known_at": "2020-03-18T00:00Z", "headline": "Told later",
     "symbol": "GSPC"},
    {"published_at": "2020-03-17T14:00:00Z", "headline": "Stimulus hopes", "symbol": "GSPC"},
    {"published_at": "2020-03-16T14:00:00Z", "headline": "A phone is sold out", "symbol": "AAPL.US"},
    {"published_at": "2020-03-16T14:00:00Z", "headline": "A gauge of nothing", "symbol": ""},
)  # fmt: skip


@pytest.fixture(scope="module")
def told_home(changeable_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with articles that concern instruments."""
    path = tmp_path_factory.mktemp("news") / "news.jsonl"
    path.write_text("".join(json.dumps({"body": "", **each}) + "\n" for each in ARTICLES))
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, {"PROMETHEUS_HOME": str(changeable_home)})
        for _ in range(2):
            assert main(["ingest", "news", str(path), "--source", "Wire"]) == 0
    return changeable_home


@pytest.fixture(scope="module")
def told(told_home: Path) -> Iterator[tuple[App, TestClient]]:
    """The reading app over these rows, and a client of its server."""
    with (
        open_reading_app(config_of(told_home)) as app,
        client_of(create_app(app, AccessRules(LOOPBACK_HOSTS))) as client,
    ):
        yield app, client


def test_the_page_shows_the_news_of_its_instrument_as_known_on_the_date(told: tuple[App, TestClient]) -> None:
    shown = text_of(told[1], f"/regions/{REGION}/2020-03-16")
    _, _, own = shown.partition("News of GSPC.INDX ")

    assert "2020-03-16 14:00 UTC Wire Fear gauge at a record 2020-03-12 15:00 UTC Wire" in own
    assert "and 1 near-copy Limit down" in own
    for absent in ("Index falls", "Told later", "Stimulus hopes", "A phone is sold out", "A gauge of nothing"):
        assert absent not in shown
    assert "News of" not in text_of(told[1], f"/regions/{REGION}/2020-03-11")
    assert "Told later" in text_of(told[1], f"/regions/{REGION}/2020-03-18")


def test_every_search_chooses_by_instrument(
    told: tuple[App, TestClient], told_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app, client = told
    asked = {"q": "a gauge of fear, and a phone", "as_of": "2020-03-16", "by": "words", "source": "news"}

    def heads(instruments: list[str]) -> set[str]:
        answer = client.get("/v1/texts/search", params={**asked, "instrument_id": instruments})
        assert answer.status_code == 200, answer.text
        return {hit["text"] for hit in answer.json()["hits"]}

    assert heads([]) == {"Fear gauge at a record", "A phone is sold out", "A gauge of nothing"}
    assert heads(["GSPC.INDX"]) == {"Fear gauge at a record"}
    assert heads(["GSPC.INDX", "AAPL.US"]) == {"Fear gauge at a record", "A phone is sold out"}
    refused = client.get("/v1/texts/search", params={**asked, "instrument_id": "MSFT.US"})
    assert refused.status_code == 404
    assert refused.json()["detail"] == (
        "no NEWS text concerns 'MSFT.US'; instruments that texts concern: AAPL.US, GSPC.INDX"
    )

    question = {"question": asked["q"], "by": "words", "instrument_id": ["AAPL.US"]}
    answer, is_answer = call(app, "search_texts", {**question, "as_of": "2020-03-16"})
    assert is_answer
    assert [hit["text"] for hit in answer["hits"]] == ["A phone is sold out"]

    command = ["similar_texts", asked["q"], "--as-of", "2020-03-16", "--by", "words", "--instrument-id", "AAPL.US"]
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, {"PROMETHEUS_HOME": str(told_home)})
        assert main(command) == 0
        assert "A phone is sold out" in capsys.readouterr().out
        assert main([*command, "--instrument-id", "GSPC.INDX"]) == 0
        assert "Fear gauge" in capsys.readouterr().out
        assert main([*command, "--instrument-id", "MSFT.US"]) == 5
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "no MACRO or NEWS text concerns 'MSFT.US'" in line


def test_the_briefing_says_which_instruments_its_texts_concern(told: tuple[App, TestClient]) -> None:
    own = told[0].briefings.of(REGION, date(2020, 3, 16)).own_texts
    assert own.instrument_ids == ("GSPC.INDX",)
    assert [each.text.text.partition("\n")[0] for each in own.texts] == ["Fear gauge at a record", "Limit down"]
