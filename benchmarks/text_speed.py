"""How long searches of many texts take, and what memory: by words, by meaning and by both.

    python -m benchmarks.text_speed HOME [--kind stories|headlines] [--texts N] [--before SRC]

HOME is a home of the benchmark's own; the first run fills it with texts made of Reuters' (`../shared/data`), and with
vectors of the static model, stored as a backfill stores them. A story takes sentences of two others, one in twenty is a
near-copy of an earlier one, and one in ten is a macro event; long ones have vectors of their passages. A headline takes
its first words from one of Reuters' and the rest from another.

Each measured version runs in processes of its own over the same rows. ``--before`` is the ``src`` of another checkout,
which is measured in turn with this one, so that both see the same machine. Figures are processor milliseconds of the
process that searches, the median of all questions after the first, and beside them what the clock says, which includes
the server's work; then the first search of a process, its memory, and the first search after one text was written.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq

from benchmarks.search_corpora import REUTERS
from benchmarks.text_encoding import NAME
from prometheus.analogs.passages import cut_to_show
from prometheus.app import App, open_app, text_vectors
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_models import STATIC_MODEL_ID
from prometheus.app.text_search import By, TextQuery
from prometheus.core.config import PrometheusConfig
from prometheus.data.models import ModelRegistry
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.identity import model_config
from prometheus.encoders.texts.documents import Passages, TextDoc, TextSourceType
from prometheus.encoders.texts.service import KIND
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.encoders.texts.word_vectors import StaticTextModel

QUESTIONS = (
    "the dollar fell against the yen", "oil prices rose as opec cut output", "the fed left interest rates unchanged",
    "bid for the company was raised", "grain shipments to the soviet union", "quarterly loss widened on weak sales",
    "central bank intervention in currency markets", "japan trade surplus with the united states",
    "brazil suspends interest payments on its debt", "bank of england cuts bill dealing rates",
    "unemployment fell in west germany", "gold mine production", "tariffs on semiconductors",
    "takeover of an airline", "coffee export quotas", "wheat harvest damaged by drought", "bond spreads widened",
    "stock split and higher dividend", "money supply growth slowed", "strike of oil workers",
)  # fmt: skip
FIRST, LAST, N_DAYS = datetime(1987, 1, 1, tzinfo=UTC), date(2007, 1, 1), 7_300
ROWS_AT_ONCE, LONG = 2_000, 1_200
_SENTENCES = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class MadeText:
    """A headline and a body, empty for a headline alone, and when it is told."""

    headline: str
    body: str
    told_at: datetime

    @property
    def text(self) -> str:
        """As readers give it."""
        return "\n\n".join(filter(None, (self.headline, self.body)))


def stories(rows: Sequence[dict[str, Any]], n_texts: int) -> Iterator[MadeText]:
    """Yield stories whose sentences are those of two of Reuters'; one in twenty has a closing sentence more."""
    chosen = random.Random(1)
    cut = [_SENTENCES.split(row["body"].removesuffix(" Reuter").strip()) for row in rows]
    kept: list[MadeText] = []
    for number in range(n_texts):
        told_at = FIRST + timedelta(days=chosen.randrange(N_DAYS), seconds=number)
        if kept and chosen.random() < 0.05:
            copied = chosen.choice(kept)
            yield MadeText(copied.headline, f"{copied.body} {chosen.choice(chosen.choice(cut))}", told_at)
            continue
        at, other = chosen.randrange(len(rows)), chosen.choice(cut)
        parts = [chosen.choice(other) if chosen.random() < 0.3 else each for each in cut[at]]
        made = MadeText(rows[at]["headline"] or "NO HEADLINE", " ".join(parts), told_at)
        if len(kept) < n_texts // 10:
            kept.append(made)
        yield made


def headlines(rows: Sequence[dict[str, Any]], n_texts: int) -> Iterator[MadeText]:
    """Yield headlines that begin as one of Reuters' and end as another; one in twenty differs in a last word only."""
    chosen = random.Random(2)
    words = [row["headline"].split() for row in rows if row["headline"]]
    last: list[str] = []
    for number in range(n_texts):
        told_at = FIRST + timedelta(days=chosen.randrange(N_DAYS), seconds=number)
        one, other = chosen.choice(words), chosen.choice(words)
        if last and chosen.random() < 0.05:
            last = [*last, chosen.choice(other)]
        else:
            last = [*one[: (len(one) + 1) // 2], *other[len(other) // 2 :]]
        yield MadeText(" ".join(last), "", told_at)


MAKERS = {"stories": stories, "headlines": headlines}


def fill(db_manager: DatabaseManager, kind: str, n_texts: int) -> None:
    """Write texts and their vectors, block by block; those that are there stay."""
    rows = [row for row in pq.read_table(REUTERS).to_pylist() if row["body"]]
    model = StaticTextModel(find_text_folder(NAME), db_manager.config.home / "models")
    ModelRegistry(db_manager).register(STATIC_MODEL_ID, KIND, model_config(model))
    made = MAKERS[kind](rows, n_texts)
    begun, n_done = time.monotonic(), 0
    while block := list(islice(made, ROWS_AT_ONCE)):
        is_macro = kind == "stories" and (n_done // ROWS_AT_ONCE) % 10 == 9
        ids = write_macro(db_manager, block) if is_macro else write_news(db_manager, block)
        embed(db_manager, "MACRO" if is_macro else "NEWS", ids, block, model)
        n_done += len(block)
        if n_done % 50_000 == 0:
            print(f"{n_done} {kind} written, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    with db_manager.get_owner_connection("historical") as connection:
        connection.execute("ANALYZE")


def write_news(db_manager: DatabaseManager, block: Sequence[MadeText]) -> list[int]:
    """Append articles; return their numbers."""
    query = (
        "INSERT INTO news_articles (published_at, language, source, headline, body) "
        "SELECT told_at, 'en', 'made', headline, body FROM unnest(%s::timestamptz[], %s::text[], %s::text[]) "
        "WITH ORDINALITY AS made(told_at, headline, body, number) ORDER BY number RETURNING article_id"
    )
    columns = ([each.told_at for each in block], [each.headline for each in block], [each.body for each in block])
    with db_manager.get_historical_connection() as connection:
        return [key for (key,) in connection.execute(query, columns)]


def write_macro(db_manager: DatabaseManager, block: Sequence[MadeText]) -> list[int]:
    """Append macro events; return their numbers."""
    query = (
        "INSERT INTO macro_events (event_type, timestamp, source, description) "
        "SELECT 'NOTE', told_at, 'made', description FROM unnest(%s::timestamptz[], %s::text[]) "
        "WITH ORDINALITY AS made(told_at, description, number) ORDER BY number RETURNING event_id"
    )
    columns = ([each.told_at for each in block], [each.text for each in block])
    with db_manager.get_historical_connection() as connection:
        return [key for (key,) in connection.execute(query, columns)]


def embed(
    db_manager: DatabaseManager,
    source_type: TextSourceType,
    ids: Sequence[int],
    block: Sequence[MadeText],
    model: StaticTextModel,
) -> None:
    """Store a vector of each text, and of the passages of long ones."""
    docs = [TextDoc(source_type, str(key), made.text) for key, made in zip(ids, block, strict=True)]
    vectors = model.embed_batch(docs)
    passages = [pieces_of(doc.text, model) for doc in docs]
    n_chunks = [1 if each is None else len(each) for each in passages]
    store = TextEmbeddingStore(db_manager=db_manager)
    store.save_embeddings(docs, STATIC_MODEL_ID, vectors, n_chunks=n_chunks, passages=passages)


def pieces_of(text: str, model: StaticTextModel) -> Passages | None:
    """Return the passages of a long text; None for another."""
    spans = cut_to_show(text) if len(text) > LONG else []
    if len(spans) < 2:
        return None
    return Passages(np.array(spans), model.embed_batch([TextDoc("PART", "1", text[a:b]) for a, b in spans]))


def measure(home: Path) -> dict[str, float]:
    """Return the figures of the version that this process has imported."""
    os.environ["PROMETHEUS_HOME"] = str(home)
    figures: dict[str, float] = {}
    with open_app(PrometheusConfig()) as app:
        app.db_manager.visible_state()  # the server is started before the clock is
        before = memory_mib("VmRSS")
        figures["first, CPU ms"], figures["first, ms"] = timed(app, QUESTIONS[0], "both")
        figures["second, CPU ms"], figures["second, ms"] = timed(app, QUESTIONS[1], "both")
        for by in get_args(By):
            timed(app, QUESTIONS[-1], by)
            taken = [timed(app, question, by) for question in QUESTIONS]
            figures[f"warm, {by}, CPU ms"] = statistics.median(cpu for cpu, _ in taken)
            figures[f"warm, {by}, ms"] = statistics.median(wall for _, wall in taken)
        figures["memory, MiB"], figures["memory at most, MiB"] = memory_mib("VmRSS") - before, memory_mib("VmHWM")
        taken = [timed_after_write(app, number) for number in range(3)]
        figures["after one write, CPU ms"] = statistics.median(cpu for cpu, _ in taken)
        figures["after one write, ms"] = statistics.median(wall for _, wall in taken)
        early = [timed(app, question, "both", date(1997, 1, 1)) for question in QUESTIONS[:4]]
        figures["another date, CPU ms"] = early[0][0]
        figures["another date, again, CPU ms"] = statistics.median(cpu for cpu, _ in early[1:])
    return figures


def compare_forms(home: Path) -> dict[str, float]:
    """Return how the first ten by vectors at a quarter of their length agree with those by whole ones."""
    os.environ["PROMETHEUS_HOME"] = str(home)
    found: list[dict[str, dict[tuple[str, int], float]]] = []
    for most_exact in (10**9, 0):
        text_vectors.MOST_EXACT = most_exact
        with open_app(PrometheusConfig()) as app:
            found.append({f"{by} {each}": first_ten(app, each, by) for each in QUESTIONS for by in ("both", "meaning")})
    whole, short = found
    pairs = [(ten, short[name]) for name, ten in whole.items()]
    return {
        "first ten found again": statistics.mean(len(ten.keys() & other.keys()) / len(ten) for ten, other in pairs),
        "equal lists of ten": statistics.mean(float(list(ten) == list(other)) for ten, other in pairs),
        "largest move of a score": max(abs(ten[at] - other[at]) for ten, other in pairs for at in ten.keys() & other),
    }


def first_ten(app: App, question: str, by: By) -> dict[tuple[str, int], float]:
    """Return the texts found first, in order, and their scores."""
    hits = app.text_search.find(TextQuery(question, LAST, by=by, hf_model_name=NAME)).hits
    return {(hit.text.source_type, hit.text.source_id): hit.score or 0.0 for hit in hits}


def timed(app: App, question: str, by: By, as_of: date = LAST) -> tuple[float, float]:
    """Return the milliseconds of the processor, and of the clock, that a search takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    app.text_search.find(TextQuery(question, as_of, by=by, hf_model_name=NAME))
    return 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)


def timed_after_write(app: App, number: int) -> tuple[float, float]:
    """Write a text without a vector, search, and remove it."""
    (key,) = write_news(app.db_manager, [MadeText(f"OIL PRICES ROSE {number}", "", FIRST)])
    taken = timed(app, QUESTIONS[number], "both")
    with app.db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM news_articles WHERE article_id = %s", (key,))
    timed(app, QUESTIONS[number], "both")
    return taken


def memory_mib(name: str) -> float:
    """Return what this process holds, ``VmRSS``, or held at most, ``VmHWM``."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1_024 for line in lines if line.startswith(f"{name}:"))


def measured_apart(home: Path, src: Path | None) -> dict[str, float]:
    """Return the figures of a version, that of `src` or this one, from a process of its own."""
    path = {} if src is None else {"PYTHONPATH": str(src)}
    command = [sys.executable, "-m", "benchmarks.text_speed", str(home), "--measure"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **path})
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Fill the home if it is empty; print the figures, of two versions side by side if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--kind", choices=MAKERS, default="stories")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--before", type=Path, help="src of another checkout to measure beside this one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--forms", action="store_true", help="compare vectors of a quarter of the length with whole ones"
    )
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.home)))
        return
    if given.forms:
        for label, value in compare_forms(given.home).items():
            print(f"{label:32}{value:12.4f}")
        return
    os.environ["PROMETHEUS_HOME"] = str(given.home)
    with open_app(PrometheusConfig()) as app, app.db_manager.get_historical_connection() as connection:
        ((is_filled,),) = connection.execute("SELECT EXISTS (SELECT FROM news_articles)").fetchall()
        if not is_filled:
            fill(app.db_manager, given.kind, given.texts)
    versions = {"now": None, **({"before": given.before.absolute()} if given.before else {})}
    rounds = [{name: measured_apart(given.home, src) for name, src in versions.items()} for _ in range(given.rounds)]
    print(f"{'':32}" + "".join(f"{name:>12}" for name in versions))
    for label in rounds[0]["now"]:
        middle = [statistics.median(each[name].get(label, np.nan) for each in rounds) for name in versions]
        print(f"{label:32}" + "".join(f"{value:12,.1f}" for value in middle))


if __name__ == "__main__":
    main()
