"""The commands that search: what they print, and what they refuse."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fixtures.commands import US, Prepare, Run, run_all

from prometheus.analogs.passages import Passage
from prometheus.app.text_search import TextHit
from prometheus.cli.search import hit_text
from prometheus.data.text_reader import DatedText
from prometheus.ingest.sample.macro_events import write_sample_macro_events


@pytest.fixture
def history(run: Run, prepare: Prepare) -> None:
    """Regimes of AAPL.US over two years, by the seed model."""
    label = ["run_numeric_regime", *US, "--date-range", "2018-06-01", "2020-06-30"]
    prepare("similar", lambda: run_all(run, label), after="sample")


@pytest.mark.usefixtures("history")
def test_similar_prints_the_same_for_people_and_for_machines(run: Run) -> None:
    asked = ("similar", "--region", "US", "--as-of", "2020-06-30", "--k", "3")

    text, machine = run("similar", *asked[3:]), run(*asked, "--json")

    taken = text.stderr.splitlines()
    assert taken[0].endswith("region US: the only one that is stored")
    assert taken[1:] == ["model num-regime-core-v1, the only one stored"]
    assert "model num" not in run(*asked, "--model-id", "num-regime-core-v1").stderr
    found = json.loads(machine.stdout)
    lines = text.stdout.splitlines()
    assert lines[0].startswith("US 2020-06-30, numeric space of num-regime-core-v1: nearest of ")
    assert [line.split()[0] for line in lines[2:5]] == [each["as_of_date"] for each in found["analogs"]]
    assert found["analogs"][0]["followed_by"][0]["horizon_sessions"] == 21
    assert found["regime_model_id"] is None  # the seed model labels nothing
    assert "NEUTRAL" not in text.stdout
    assert len(found["spread_over_all_dates"]) == 6


@pytest.mark.usefixtures("history")
def test_a_date_with_none_far_enough_before_it_has_no_analogs(run: Run) -> None:
    asked = ("similar", "--region", "US", "--as-of", "2018-06-04")
    found, text = run(*asked, "--json"), run(*asked)
    assert json.loads(found.stdout)["analogs"] == []
    assert text.exit_code == 0
    assert text.stdout.splitlines()[1:] == ["none"]


@pytest.mark.usefixtures("history")
def test_the_dates_least_alike_are_printed_too(run: Run) -> None:
    asked = ("similar", "--region", "US", "--as-of", "2020-06-30", "--k", "3")

    text, nearest, least = run(*asked, "--least"), run(*asked, "--json"), run(*asked, "--least", "--json")

    assert text.stdout.startswith("US 2020-06-30, numeric space of num-regime-core-v1: least alike of ")
    found = json.loads(least.stdout)
    assert found["least"] is True
    assert "least" not in json.loads(nearest.stdout)
    distances = [each["distance"] for each in found["analogs"]]
    assert distances == sorted(distances, reverse=True)
    assert min(distances) > max(each["distance"] for each in json.loads(nearest.stdout)["analogs"])


@pytest.mark.usefixtures("history")
def test_windows_of_all_instruments_are_searched_without_a_region(run: Run) -> None:
    text = run("similar", "--instrument-id", "AAPL.US", "--as-of", "2020-06-30", "--model-id", "num-regime-core-v1")

    assert text.exit_code == 0
    assert "every window compared" in text.stdout.splitlines()[0]
    assert text.stdout.splitlines()[2].startswith("AAPL.US")


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--region", "MARS", "--as-of", "2020-01-02"], 5, "regions that have: US"),
        (["--region", "US", "--as-of", "1990-01-02"], 5, "there are some from 2018-06-01 to 2020-06-30"),
        (["--region", "US", "--as-of", "2020-01-02", "--k", "0"], 2, "--k 0: name a number from 1 to 1000"),
        (["--region", "US", "--as-of", "2020-01-02", "--k", "1000000000"], 2, "name a number from 1 to 1000"),
        (["--region", "US", "--as-of", "yesterday"], 2, "'yesterday' is no date; write YYYY-MM-DD"),
        (["--region", "", "--as-of", "2020-01-02"], 2, "--region is empty; name a region, or leave the option out"),
        (["--instrument-id", "AAPL.US", "--as-of", "2020-01-02", "--metric", "cosine"], 2, "by Euclidean distance"),
        (["--instrument-id", "AAPL.US", "--as-of", "2020-01-02", "--least"], 2, "give --region for --least"),
        (["--instrument-id", "NOBODY", "--as-of", "2020-01-02"], 5, "NOBODY by num-regime-core-v2 has no embedding"),
        (["--region", "US", "--as-of", "2020-01-02", "--space", "joint"], 5, "build them with backfill_joint"),
    ],
)
def test_bad_requests_get_one_line(run: Run, arguments: list[str], exit_code: int, message: str) -> None:
    outcome = run("similar", *arguments)

    assert outcome.exit_code == exit_code
    assert outcome.stdout == ""
    assert message in outcome.errors[-1]


def test_texts_are_found_by_meaning_and_only_once_known(run: Run, sample: None) -> None:
    write_sample_macro_events(Path("events.jsonl"))
    assert run("ingest", "macro", "events.jsonl").exit_code == 0
    span = ("--date-range", "2025-03-15", "2025-04-30")
    assert run("backfill_macro_text_embeddings", *span, "--model-id", "text-macro-v1").exit_code == 0
    asked = ("similar_texts", "credit spreads widen, investors want more for risk", "--k", "4", "--json")

    march = json.loads(run(*asked, "--as-of", "2025-03-31").stdout)
    april = json.loads(run(*asked, "--as-of", "2025-04-30").stdout)

    assert max(hit["timestamp"] for hit in march["hits"]) < "2025-04"
    assert march["n_texts"] < april["n_texts"]
    assert {hit["kind"] for hit in april["hits"]} <= {"CREDIT_HY", "CREDIT_IG"}
    scores = [hit["score"] for hit in april["hits"]]
    assert scores == sorted(scores, reverse=True)
    printed = run(*(each for each in asked if each != "--json"), "--as-of", "2025-04-30")
    assert printed.stdout.splitlines()[0] == (
        f"{april['n_texts']:,} texts known on 2025-04-30, compared by words and text-macro-v1; "
        f"{april['n_without_vector']:,} without a vector, by words alone"
    )
    assert "\x1b" not in printed.stdout
    assert 20 < april["n_texts"] - april["n_without_vector"] < 60
    assert printed.stderr.endswith("model text-macro-v1, the only one stored up to 2025-04-30\n")

    empty = run("similar_texts", "what was that about", "--as-of", "2025-04-30")
    assert (empty.exit_code, empty.stdout) == (2, "")
    assert "'what was that about' has no word to search by" in empty.errors[-1]
    assert run("similar_texts", "what was that about", "--as-of", "2025-04-30", "--by", "meaning").exit_code == 0


def test_words_of_the_question_are_bold_where_marks_are_wanted() -> None:
    text = DatedText("MACRO", 1, datetime(2024, 1, 3, tzinfo=UTC), None, "CPI", "US", "", "Rates\n rose, and fell.")
    hit = TextHit(0.5, text, score=1.0, passage=Passage(0, 12, ((0, 5),)))
    assert hit_text(hit, marks=False).splitlines()[1] == "       Rates rose, …"
    assert hit_text(hit, marks=True).splitlines()[1] == "       \x1b[1mRates\x1b[0m rose, …"


def test_text_searches_that_cannot_be_get_one_line(run: Run, sample: None) -> None:
    nothing = run("similar_texts", "rates", "--as-of", "2025-01-31")
    empty = run("similar_texts", " ", "--as-of", "2025-01-31")

    assert (nothing.exit_code, empty.exit_code) == (5, 2)
    assert "there are no MACRO or NEWS texts known on 2025-01-31; load some with" in nothing.errors[-1]
    assert "the question is empty" in empty.errors[-1]


def test_an_index_that_is_not_there_is_named(run: Run, sample: None) -> None:
    outcome = run("similar_index", "status")

    assert outcome.exit_code == 5
    assert "similar_index build --model-id num-regime-core-v2" in outcome.errors[-1]
    assert run("similar_index", "drop").stdout == "num-regime-core-v2: there was no index\n"


def test_one_story_of_several_agencies_is_shown_once(run: Run) -> None:
    story = "The central bank left its policy rate alone on Wednesday and said that it sees no hurry to lower it again."
    day, head = "2024-01-31T19", "Bank holds"
    lines = [
        {"published_at": f"{day}:05:00Z", "headline": head, "body": story, "language": "en-US", "source": "A"},
        {"published_at": f"{day}:07:00Z", "headline": head, "body": story, "language": "EN", "source": "B"},
        {"published_at": f"{day}:09:00Z", "headline": "", "body": f"{head} - {story}", "language": "eng"},
        {"published_at": f"{day}:59:00Z", "headline": "Oil fell on Wednesday", "language": "en"},
    ]  # fmt: skip
    Path("news.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("ingest", "news", "news.jsonl").exit_code == 0
    embedded = run("backfill_text_embeddings", "--date-range", "2024-01-01", "2024-02-01", "--language", "en")
    assert "4 texts" in embedded.stdout
    found = run("similar_texts", "no change of rates", "--as-of", "2024-02-01", "--source", "news", "--k", "2").stdout
    assert " eng and 2 near-copies\n" in found
    assert found.count("policy rate") == 1
    assert "Oil fell" in found
