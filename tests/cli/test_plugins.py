"""A user's own encoder, text model and labeller through the commands, on a package made here."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from psycopg import sql
from tests.fixtures.commands import Run, run_process
from tests.fixtures.database import TableDigest
from tests.fixtures.market import LoadPrices, random_walk, weekdays
from tests.fixtures.plugin_package import MODULE, WritePackage

import prometheus
from prometheus.app import open_app
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_search import TextQuery
from prometheus.core.config import load_config

RANGE = ["--model-id", f"{MODULE}:Range"]
SPAN = ["--date-range", "2024-12-02", "2025-01-31"]
LONG = ["--date-range", "1950-01-02", "2025-01-31"]
"""So many sessions that each instrument is a chunk of its own."""
TEXTS = ("abba is a band", "the zebra and the zoo", "a caracal ran far away", "blind kiwis do not see")
LETTERS = ["--hf-model-name", f"{MODULE}:Letters", "--model-id", "letters-v1"]


@pytest.fixture
def package(run: Run, write_package: WritePackage) -> Path:
    return write_package()


@pytest.fixture
def prices(package: Path, load_prices: LoadPrices) -> None:
    for number, name in enumerate(("X", "Y", "Z")):
        closes, volumes = random_walk(300, seed=number)
        load_prices(name, weekdays(300), closes.tolist(), volumes.tolist())


@pytest.fixture
def events(package: Path, run: Run, tmp_path: Path) -> None:
    rows = [
        {"timestamp": f"2025-01-{day:02}T12:00:00+00:00", "event_type": "SPEECH", "country": "US", "description": text}
        for day, text in enumerate(TEXTS, 6)
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("ingest", "macro", "events.jsonl")
    assert done.exit_code == 0, done.stderr


def stored_ids(db_manager: DatabaseManager, table: str) -> dict[str, int]:
    with db_manager.get_historical_connection() as connection:
        query = sql.SQL("SELECT model_id, count(*) FROM {} GROUP BY 1").format(sql.Identifier(table))
        return dict(connection.execute(query).fetchall())


@pytest.mark.usefixtures("prices")
def test_an_encoder_in_a_regime_run_and_in_the_searches(
    run: Run, db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    us = ["run_numeric_regime", "--region", "US", "--instrument-id", "X", *SPAN, *RANGE]
    done = run(*us)
    digests = table_digests()
    again = run_process("-m", "prometheus", *us)

    assert (done.exit_code, again.exit_code) == (0, 0), done.stderr + again.stderr
    assert table_digests() == digests
    assert stored_ids(db_manager, "numeric_window_embeddings") == {"range-v1": 45}
    with db_manager.get_historical_connection() as connection:
        (config,) = connection.execute("SELECT config FROM models WHERE model_id = 'range-v1'").fetchone() or ({},)
    assert config == {"family": "range", "code_version": 1, "prometheus_plugin": f"{MODULE}:Range"}
    for name in (f"{MODULE}:Range", "range-v1"):
        similar = run(
            "similar",
            "--region",
            "US",
            "--as-of",
            "2025-01-31",
            "--model-id",
            name,
            "--exclude-sessions",
            "5",
            "--k",
            "3",
        )
        assert similar.exit_code == 0, similar.stderr
        assert "numeric space of range-v1" in similar.stdout
    with prometheus.open() as opened:
        assert opened.embeddings("US", model_id=f"{MODULE}:Range").to_numpy().shape == (45, 2)


def vectors_of(db_manager: DatabaseManager, model_id: str) -> list[tuple[object, ...]]:
    query = "SELECT entity_id, as_of_date, vector FROM numeric_window_embeddings WHERE model_id = %s ORDER BY 1, 2"
    with db_manager.get_historical_connection() as connection:
        return connection.execute(query, (model_id,)).fetchall()


@pytest.mark.usefixtures("prices")
def test_a_backfill_in_one_process_and_in_two_writes_the_same(run: Run, db_manager: DatabaseManager) -> None:
    names = [option for name in "XYZ" for option in ("--instrument-id", name)]
    fill = ["backfill_numeric_embeddings", *names, *LONG]
    alone = run(*fill, *RANGE, "--workers", "1")
    expected = vectors_of(db_manager, "range-v1")
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings")
    together = run_process("-m", "prometheus", *fill, *RANGE, "--workers", "2")
    named = run(*fill, "--model-id", "range-by-name")

    assert (alone.exit_code, together.exit_code, named.exit_code) == (0, 0, 0), together.stderr
    assert len(expected) == 840
    assert vectors_of(db_manager, "range-v1") == vectors_of(db_manager, "range-by-name") == expected
    near = run("similar", "--instrument-id", "X", "--as-of", "2025-01-31", *RANGE, "--k", "2")
    assert near.exit_code == 0, near.stderr
    assert "windows of range-v1" in near.stdout


@pytest.mark.usefixtures("prices")
@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("Mute", 2, "has no method encode()"), ("Broken", 1, f"encoder {MODULE}:Broken fails (RuntimeError: no idea)"),
        ("Flat", 1, "returns shape (21, 3), expected (dim,)"), ("Words", 1, "expected float32"),
        ("Nothing", 2, "has no class 'Nothing'"),
    ],
)  # fmt: skip
def test_an_encoder_that_fails_writes_nothing(
    run: Run, table_digests: TableDigest, name: str, code: int, message: str
) -> None:
    before = table_digests()
    window = ["--model-id", f"{MODULE}:{name}", "--window-days", "21"]
    for command in (
        ["backfill_numeric_embeddings", "--instrument-id", "X", *SPAN, *window],
        ["run_numeric_regime", "--region", "US", "--instrument-id", "X", *SPAN, *window],
    ):
        done = run(*command)
        assert (done.exit_code, len(done.errors)) == (code, 1), done.stderr
        assert message in done.errors[0]
    assert table_digests() == before


@pytest.mark.usefixtures("prices")
def test_nan_is_named_with_model_instrument_and_date(run: Run, db_manager: DatabaseManager) -> None:
    fill = ["backfill_numeric_embeddings", "--instrument-id", "X", "--as-of", "2025-01-31", "--window-days", "21"]
    done = run(*fill, "--model-id", f"{MODULE}:Unknown")

    assert done.exit_code != 0
    assert f"failed: {MODULE}:Unknown vector of X on 2025-01-31: 1 of 2 values are NaN" in done.stderr
    assert stored_ids(db_manager, "numeric_window_embeddings") == {}


@pytest.mark.usefixtures("events")
def test_a_text_model_embeds_and_is_found_again_to_search(
    run: Run, db_manager: DatabaseManager, table_digests: TableDigest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = ["backfill_macro_text_embeddings", "--date-range", "2025-01-01", "2025-01-31", *LETTERS]
    done, digests = run(*fill), table_digests()
    again = run_process("-m", "prometheus", *fill)
    by_name = run(*fill, "--hf-model-name", "letters")

    assert (done.exit_code, again.exit_code, by_name.exit_code) == (0, 0, 0), done.stderr + again.stderr
    assert "4 texts, 4 encoded" in done.stdout
    assert "4 texts, 0 encoded" in by_name.stdout
    assert table_digests() == digests
    asked = ["similar_texts", "abba", "--as-of", "2025-01-31", "--k", "1"]
    for option in ([], ["--hf-model-name", f"{MODULE}:Letters"], ["--hf-model-name", "letters"]):
        found = run(*asked, *option)
        assert found.exit_code == 0, found.stderr
        assert "compared by words and letters-v1" in found.stdout
        assert TEXTS[0] in found.stdout
    other = run(*asked, "--hf-model-name", "sentence-transformers/all-MiniLM-L6-v2", "--model-id", "letters-v1")
    assert other.exit_code == 0  # the name by default: what is recorded counts
    with prometheus.open() as opened:
        assert len(opened.texts("abba", "2025-01-31")) == 4
    monkeypatch.setenv("PROMETHEUS_HF_MODEL_NAME", "letters")
    with open_app(load_config()) as app:
        report = app.text_search.find(TextQuery("zoo", date(2025, 1, 31), hf_model_name="letters"))
    assert report.hits[0].text.text.endswith(TEXTS[1])


@pytest.mark.deep
@pytest.mark.usefixtures("package")
def test_texts_by_a_model_of_ones_own_in_two_processes(run: Run, db_manager: DatabaseManager, tmp_path: Path) -> None:
    rows = [
        {"timestamp": f"2025-01-{day:02}T12:00:00+00:00", "event_type": "SPEECH", "country": "US",
         "description": f"{day} " + "growth rose in the north " * 1_600}
        for day in range(6, 11)
    ]  # fmt: skip
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("ingest", "macro", "long.jsonl").exit_code == 0
    span = ["--date-range", "2025-01-01", "2025-01-31", "--workers", "2"]
    done = run_process("-m", "prometheus", "backfill_macro_text_embeddings", *span, *LETTERS)

    assert done.exit_code == 0, done.stderr
    assert stored_ids(db_manager, "text_embeddings") == {"letters-v1": 5}


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--hf-model-name", f"{MODULE}:Mute"], 2, "has no method embed_batch()"),
        (["--hf-model-name", "no_such_package:Model"], 2, "module no_such_package cannot be imported"),
        (["--hf-model-name", f"{MODULE}:Letters", "--long-text", "truncate"], 2, "leave --long-text truncate away"),
        (["--hf-model-name", f"{MODULE}:AngryLetters"], 1, "AngryLetters fails (KeyError: 'growth')"),
        (["--hf-model-name", f"{MODULE}:ShortLetters"], 1, "returns shape (3, 26), expected (4, dim)"),
    ],
)
def test_a_text_model_that_fails_writes_nothing(
    run: Run, table_digests: TableDigest, options: list[str], code: int, message: str
) -> None:
    before = table_digests()
    span = ["--date-range", "2025-01-01", "2025-01-31"]
    done = run("backfill_macro_text_embeddings", *span, *options)

    assert (done.exit_code, len(done.errors)) == (code, 1), done.stderr
    assert message in done.errors[0]
    assert table_digests() == before


@pytest.mark.usefixtures("events")
def test_one_text_without_a_vector_stops_no_other(run: Run, db_manager: DatabaseManager) -> None:
    options = ["--date-range", "2025-01-01", "2025-01-31", "--hf-model-name", f"{MODULE}:BlindLetters"]
    done = run("backfill_macro_text_embeddings", *options, "--model-id", "blind-v1")

    assert stored_ids(db_manager, "text_embeddings") == {"blind-v1": 3}
    assert done.exit_code != 0
    assert f"1 of 26 values by text model {MODULE}:BlindLetters are NaN or infinite" in done.stderr


@pytest.mark.usefixtures("events")
def test_the_night_and_the_page_use_the_text_model_of_the_settings(
    run: Run, load_prices: LoadPrices, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.testclient import TestClient

    from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
    from prometheus.web.server import create_app, open_reading_app

    closes, volumes = random_walk(700)
    load_prices("X", weekdays(700), closes.tolist(), volumes.tolist())
    monkeypatch.setenv("PROMETHEUS_HF_MODEL_NAME", "letters")
    monkeypatch.setenv("PROMETHEUS_TEXT_MODEL_ID", "letters-v1")
    monkeypatch.setenv("PROMETHEUS_REGIONS", json.dumps({"US": {"instrument_id": "X"}}))
    night = run("nightly", "--as-of", "2025-01-31", "--since", "2025-01-29")
    assert night.exit_code == 0, night.stderr
    assert "letters-v1" in night.stdout
    with open_reading_app(load_config()) as app:
        client = TestClient(create_app(app, AccessRules(LOOPBACK_HOSTS, None)), base_url="http://127.0.0.1")
        answer = client.get("/v1/texts/search", params={"q": "zoo", "as_of": "2025-01-31", "k": 1})
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_id"] == "letters-v1"


@pytest.mark.usefixtures("prices")
def test_a_labeller_is_judged_and_a_function_is_checked(run: Run, load_prices: LoadPrices) -> None:
    closes, volumes = random_walk(1_200)
    load_prices("LONG", weekdays(1_200), closes.tolist(), volumes.tolist())
    judge = ["evaluate", "--region", "US", "--instrument-id", "LONG", "--start", "2024-01-02", "--json"]
    judged = run(*judge, "--labeller", "always-on", "--labeller", f"{MODULE}:Nameless", "--repaint-every", "50")
    checked = run("check_repaint", "--labeller", "trailing-200", "--instrument-id", "LONG")

    assert (judged.exit_code, checked.exit_code) == (0, 0), judged.stderr + checked.stderr
    rows = json.loads(judged.stdout)["labellers"]
    assert [(row["name"], row["repaint"]) for row in rows] == [("always", 0.0), (f"{MODULE}:Nameless", 0.0)]
    assert "no repaint" in checked.stdout
    for name, code, message in (
        ("Sulking", 1, "fails on the "), ("Certain", 1, "probabilities outside 0 to 1"), ("Mute", 2, "no method fit()"),
    ):  # fmt: skip
        done = run(*judge, "--labeller", f"{MODULE}:{name}")
        assert (done.exit_code, len(done.errors)) == (code, 1), done.stderr
        assert message in done.errors[0]
        assert f"labeller {MODULE}:{name}" in done.errors[0]
