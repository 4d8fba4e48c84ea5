"""Children forked from a process that has everything open answer as it does, and take nothing from it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from tests.fixtures.commands import run_process

from prometheus.app.databases import DatabaseManager
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions
from prometheus.ingest.sample import PRICES

FORKED = """
import gc, multiprocessing, os, sys, threading
import pyarrow as pa
import prometheus as pm

def ask(_number):
    read = opened.prices("AAPL.US", "2015-01-01", "2025-01-31").to_pandas()
    frame = pa.Table.from_pandas(read.reset_index().rename(columns=str))
    regimes = classifier.predict(read["close"])
    return len(read), frame.num_rows, regimes.tolist()[-1], os.getpid()

def keep_asking():
    while not is_over.wait(0.001):
        opened.instruments()

with pm.open() as opened:
    closes = opened.prices("AAPL.US", "2015-01-01", "2025-01-31").to_pandas()["close"]
    classifier = pm.RegimeClassifier().fit(closes)
    before = ask(0)[:3]
    is_over = threading.Event()
    busy = threading.Thread(target=keep_asking)  # holds a connection, or a lock, at the moment of most forks
    busy.start()
    with multiprocessing.get_context("fork").Pool(8) as pool:
        found = pool.map(ask, range(48), chunksize=1)
    is_over.set()
    busy.join()
    assert len(found) == 48 and {each[:3] for each in found} == {before}, found
    assert os.getpid() not in {each[3] for each in found}
    child = os.fork()
    if not child:
        opened.close()  # of the child alone
        gc.collect()
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ask(0)[:3] == before
print("all")
"""


def test_a_pool_of_forked_children_answers_everything(
    db_manager: DatabaseManager, cli_environment: dict[str, str], tmp_path: Path
) -> None:
    PriceIngest(db_manager).ingest_prices([PRICES], IngestOptions(today=date(2025, 8, 1)))
    (tmp_path / "forked.py").write_text(FORKED)
    outcome = run_process(str(tmp_path / "forked.py"))
    assert (outcome.exit_code, outcome.stdout) == (0, "all\n"), outcome.stderr
