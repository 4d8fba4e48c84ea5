"""Text backfills by two processes against one, each with one thread; and by as many as a user gets without asking.

Run ``python -m benchmarks.text_backfill --data FOLDER`` for central-bank documents and news of a folder as `README.md`
of the shared data describes it; without a folder the macro events of the packaged sample are embedded. Every figure is
of a process of its own that starts with empty tables, the model's graph in the cache, and all texts loaded; it covers
planning, starting workers, opening models, encoding and writing, but not the start of Python and of the server.
Processor seconds, which others on the machine hardly change, stand beside. Compared, by turns, as medians:

* ``one``: one process that computes with one thread,
* ``two``: two processes of one thread each,
* ``default``: what a command does without ``--workers``: a process per core,
* ``threads``: ``--workers 1``: one process with a thread per core.

``--reruns N`` measures something else: N short texts embedded by their words, then twice more, with nothing to do; as
processor seconds of client and server. The last figure is what a settled rerun costs of the first run.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.idle_night import load_texts
from benchmarks.recording import record, write_result
from benchmarks.servers import own_server, server_cpu_s
from prometheus.app import App, open_app
from prometheus.app.backfills import EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.app.texts import TextRequest, TextWorkFactory
from prometheus.backfill.local import InProcess, LocalWorkers
from prometheus.backfill.plan import DateSpan, text_chunks
from prometheus.backfill.work import OpenedWork, run_backfill
from prometheus.core.config import PrometheusConfig
from prometheus.data.text_reader import TextReader
from prometheus.encoders.texts.chunks import available_cores
from prometheus.encoders.texts.service import TextCounts
from prometheus.ingest.sample.macro_events import write_sample_macro_events

MODEL_ID = "text-macro-v1"
HF_NAME = "sentence-transformers/all-MiniLM-L6-v2"
DOCUMENTS = Path("events") / "central_bank_documents_8banks_to_2020.parquet"
NEWS = Path("news") / "reuters_1987_first11000.parquet"
FIRST = datetime(2000, 1, 1, tzinfo=UTC)
EVERYTHING = DateSpan.of_range(date(1900, 1, 1), date(2100, 1, 1))
WAYS = ("one", "two", "default", "threads")


@dataclass(frozen=True)
class OneThreadFactory:
    """Opens text backfills whose models compute with one thread, however few processes there are."""

    factory: TextWorkFactory

    @contextmanager
    def open(self, _n_processes: int, /) -> Iterator[OpenedWork]:
        """Yield the work."""
        with self.factory.open(available_cores()) as opened:
            yield opened


def main() -> None:
    """Print seconds, ratios and memory, and as JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of real texts")
    parser.add_argument("--documents", type=int, default=120, help="central-bank documents of it")
    parser.add_argument("--articles", type=int, default=300, help="news articles of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reruns", type=int, metavar="N", help="measure reruns of N short texts")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result of reruns")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(run_one_way(arguments.way)))
        return
    if arguments.reruns:
        record(
            "text_reruns", {"texts": arguments.reruns}, measure_reruns(arguments.reruns), keep=not arguments.is_trial
        )
        return
    found = measure(arguments.data, arguments.documents, arguments.articles, arguments.rounds)
    lines = [f"{name:<28}{value:>14,.3f}" for name, value in found.items()]
    print(json.dumps(found) if arguments.json else "\n".join(lines))
    write_result("text_backfill", {"rounds": arguments.rounds, "real_texts": arguments.data is not None}, found)


def measure(data: Path | None, n_documents: int, n_articles: int, n_rounds: int) -> dict[str, float]:
    """Return seconds, ratios and peak memory."""
    with own_server() as app:
        texts = sample_texts() if data is None else real_texts(data, n_documents, n_articles)
        load(app.db_manager, texts)
        timed("threads", app.db_manager)  # builds the graph and warms the caches
        rounds = [{way: timed(way, app.db_manager) for way in WAYS} for _ in range(n_rounds)]
        again = run_apart("default")["seconds"]
    found: dict[str, float] = {"texts": len(texts), "characters": sum(map(len, texts)), "cores": available_cores()}
    for way in WAYS:
        found[f"{way}_s"] = statistics.median(each[way]["seconds"] for each in rounds)
        found[f"{way}_cpu_s"] = statistics.median(each[way]["cpu_seconds"] for each in rounds)
        found[f"{way}_times_one"] = statistics.median(each["one"]["seconds"] / each[way]["seconds"] for each in rounds)
    found["second_run_share"] = again / found["default_s"]
    for way in ("one", "default"):
        found[f"{way}_driver_mib"] = max(each[way]["driver_mib"] for each in rounds)
    found["default_worker_mib"] = max(each["default"]["worker_mib"] for each in rounds)
    found["encoded_more_by_default"] = statistics.median(
        each["default"]["encoded"] - each["one"]["encoded"] for each in rounds
    )
    return found


def measure_reruns(n_texts: int) -> dict[str, float]:
    """Return the processor seconds of a first run over short texts, and of reruns: all, a text more, none settled."""
    spent = {}
    with own_server() as app:
        load_texts(app.db_manager, 2 * n_texts)
        spent["first run"] = cpu_of(app)
        spent["rerun"] = statistics.median(cpu_of(app) for _ in range(5))
        with app.db_manager.get_historical_connection() as connection:
            connection.execute("INSERT INTO news_articles (published_at, headline) VALUES ('2020-01-01', 'One more.')")
        spent["one text more"] = cpu_of(app)
        with app.db_manager.get_historical_connection() as connection:
            connection.execute("DELETE FROM settled_work")
        spent["rerun with nothing settled"] = cpu_of(app)
    shares = {f"{name} / first run": spent[name] / spent["first run"] for name in list(spent)[1:]}
    return {f"{name}, CPU s": seconds for name, seconds in spent.items()} | shares


def cpu_of(app: App) -> float:
    """Return the processor seconds of one backfill of news by their words, of this process and the server."""
    begin, server = time.process_time(), server_cpu_s()
    request = TextRequest(EVERYTHING, "text-static-v1", HF_NAME, runtime="static")
    app.texts.embed("NEWS", request, EngineChoice(workers=1))
    return time.process_time() - begin + server_cpu_s() - server


def sample_texts() -> list[str]:
    """Return the macro events of the packaged sample."""
    with tempfile.TemporaryDirectory() as folder:
        write_sample_macro_events(Path(folder) / "events.jsonl")
        lines = (Path(folder) / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["description"] for line in lines]


def real_texts(data: Path, n_documents: int, n_articles: int) -> list[str]:
    """Return documents of all years, and articles."""
    documents = [text for text in pq.read_table(data / DOCUMENTS, columns=["text"])["text"].to_pylist() if text]
    rows = pq.read_table(data / NEWS, columns=["headline", "body"]).to_pylist()
    articles = ["\n\n".join(filter(None, (row["headline"], row["body"]))) for row in rows]
    chosen = documents[:: max(1, len(documents) // n_documents)][:n_documents] if n_documents else []
    return [text for text in [*chosen, *articles[:n_articles]] if text.strip()]


def load(db_manager: DatabaseManager, texts: list[str]) -> None:
    """Store texts as macro events, a minute apart."""
    rows = [("BENCH", FIRST + timedelta(minutes=number), text) for number, text in enumerate(texts)]
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO macro_events (event_type, timestamp, description) VALUES (%s, %s, %s)", rows)


def timed(way: str, db_manager: DatabaseManager) -> dict[str, Any]:
    """Return what a first run in a process of its own says of itself."""
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM text_embeddings")
    return run_apart(way)


def run_apart(way: str) -> dict[str, Any]:
    """Return what a run in a process of its own says of itself."""
    command = [sys.executable, "-m", "benchmarks.text_backfill", "--way", way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def run_one_way(way: str) -> dict[str, Any]:
    """Do the backfill and return what it took; memory is the peak of this process, and that of its largest child."""
    with open_app(PrometheusConfig()) as app:
        with app.db_manager.get_historical_connection():
            begin = time.perf_counter()
        counts = embed(app, way)
        seconds = time.perf_counter() - begin
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() + workers.ru_utime + workers.ru_stime,
        "encoded": counts.encoded,
        "driver_mib": peak_mib(),
        "worker_mib": workers.ru_maxrss / 1024,
    }


def peak_mib() -> float:
    """Return the peak resident memory of this process; `getrusage` would count its parent's before ``exec``, too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def embed(app: App, way: str) -> TextCounts:
    """Embed everything."""
    request = TextRequest(EVERYTHING, MODEL_ID, HF_NAME)
    if way in ("default", "threads"):
        return app.texts.embed("MACRO", request, EngineChoice(workers=1 if way == "threads" else None)).report
    keys = chain.from_iterable(TextReader(app.db_manager).iter_keys("MACRO", EVERYTHING.start, EVERYTHING.end))
    chunks = list(text_chunks("MACRO", keys, MODEL_ID))
    factory = OneThreadFactory(TextWorkFactory(app.db_manager.config, request, app.db_manager))
    engine = InProcess() if way == "one" else LocalWorkers(2)
    return run_backfill(engine, factory, chunks, TextCounts(), lambda _done, _total: None).report


if __name__ == "__main__":
    main()
