"""A folder as a store: killed writers, several at once, files that were cut, and folders that hold something else."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from prometheus.arrays import Float32Vector
from prometheus.encoders.numeric.encoder import EmbeddingBatch
from prometheus.encoders.numeric.windows import NumericWindowSpec
from prometheus.errors import FileAccessError
from prometheus.files.folder_stores import FolderStores
from prometheus.market.bars import PriceBars
from prometheus.regime.types import RegimeLabel, RegimeState

DAY = date(2025, 1, 31)
WRITER = """
import sys, numpy as np
from datetime import date, timedelta
from prometheus.encoders.numeric.encoder import EmbeddingBatch
from prometheus.files.folder_stores import FolderStores

path, first, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = FolderStores(path).numeric
print("ready", flush=True)
for number in range(first, first + n):
    days = np.array([date(2000, 1, 1) + timedelta(days=number)] * 2, dtype="M8[D]")
    vectors = np.full((2, 64), number, dtype=np.float32)
    index, hashes = np.array([0, 1]), np.array([number, number])
    store.save_batch(EmbeddingBatch("INSTRUMENT", "m-v1", 63, ("X", "Y"), index, days, hashes, vectors))
    print(number, flush=True)
"""

READER = """
import sys, numpy as np
from prometheus.files.folder_stores import FolderStores

span = np.array(["1990-01-01", "2090-01-01"], dtype="M8[D]")
for _ in range(4):
    rows = FolderStores(sys.argv[1]).numeric.load_input_hashes("INSTRUMENT", ["X"], "m-v1", 63, span)
    assert len(rows) == 2000
"""


def start_writer(path: Path, first: int, n: int) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(first), str(n)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def stored(path: Path, name: str) -> list[tuple[date, int]]:
    """Return the dates and hashes of one instrument, each with the vector that belongs to it."""
    store = FolderStores(path).numeric
    span = np.array([date(1990, 1, 1), date(2090, 1, 1)], dtype="M8[D]")
    rows = store.load_input_hashes("INSTRUMENT", [name], "m-v1", 63, span)
    for _, day, number in rows.tolist():
        vector = store.load_embedding(NumericWindowSpec("INSTRUMENT", name, 63), day, "m-v1")
        assert vector is not None
        assert vector.tolist() == [number] * 64
    return [(day, number) for _, day, number in rows.tolist()]


@pytest.mark.parametrize("n_kills", [4, pytest.param(20, marks=pytest.mark.deep)])
def test_a_killed_write_leaves_the_old_rows_or_the_new_ones(tmp_path: Path, n_kills: int) -> None:
    generator, n_before = random.Random(5), 0
    for _ in range(n_kills):
        with start_writer(tmp_path, n_before, 10_000) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == f"{n_before}\n"  # at work: the next writes follow at once
            time.sleep(generator.uniform(0.0, 0.1))
            writer.kill()
        assert writer.returncode == -signal.SIGKILL
        rows = stored(tmp_path, "X")
        assert rows == stored(tmp_path, "Y")
        assert [number for _, number in rows] == list(range(len(rows)))
        assert len(rows) > n_before
        n_before = len(rows)
    FolderStores(tmp_path).registry.register("m-v1", "numeric", {})
    assert len(list(tmp_path.iterdir())) == 4, "what killed writers left behind is removed by the next one"


@pytest.mark.parametrize("n_readers", [12, pytest.param(96, marks=pytest.mark.deep)])
def test_a_program_that_ends_right_after_reading_ends_well(tmp_path: Path, n_readers: int) -> None:
    n_rows = 2000
    days, index = np.datetime64("2000-01-01") + np.arange(n_rows), np.zeros(n_rows, dtype=np.int64)
    vectors = np.random.default_rng(3).normal(size=(n_rows, 64)).astype(np.float32)
    batch = EmbeddingBatch("INSTRUMENT", "m-v1", 63, ("X",), index, days, np.arange(n_rows), vectors)
    FolderStores(tmp_path).numeric.save_batch(batch)
    for _ in range(n_readers // 6):
        readers = [subprocess.Popen([sys.executable, "-c", READER, str(tmp_path)]) for _ in range(6)]
        assert [reader.wait(timeout=60) for reader in readers] == [0] * 6


@pytest.mark.deep
def test_two_writers_at_once_lose_no_row(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, first, 40) for first in (0, 40)]
    for writer in writers:
        writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert [number for _, number in stored(tmp_path, "X")] == list(range(80))
    assert stored(tmp_path, "X") == stored(tmp_path, "Y")


def test_threads_of_one_process_lose_no_row_and_readers_see_whole_writes(tmp_path: Path) -> None:
    stores = FolderStores(tmp_path)

    def write(number: int) -> int:
        return stores.numeric.save_batch(batch_of(number))

    def read(_: int) -> bool:
        rows = [len(stored(tmp_path, name)) for name in ("X", "Y")]
        return rows[0] <= rows[1]  # X was read before Y, and both are written together

    with ThreadPoolExecutor(6) as pool:
        reads, writes = pool.map(read, range(20)), pool.map(write, range(40))
        assert all(reads)
        assert list(writes) == [2] * 40
    assert len(stored(tmp_path, "X")) == 40


def batch_of(number: int) -> EmbeddingBatch:
    days = np.array([date(2000, 1, 1) + timedelta(days=number)] * 2, dtype="M8[D]")
    vectors = np.full((2, 64), number, dtype=np.float32)
    index, hashes = np.array([0, 1]), np.array([number, number])
    return EmbeddingBatch("INSTRUMENT", "m-v1", 63, ("X", "Y"), index, days, hashes, vectors)


def bars_of(closes: list[float]) -> PriceBars:
    dates = np.array([DAY - timedelta(days=len(closes) - 1 - n) for n in range(len(closes))], dtype="M8[D]")
    values = np.array([closes, [np.nan] * len(closes)])
    return PriceBars(("GSPC.INDX",), np.array([0, len(closes)]), dates, ("close", "volume"), values)


def state_of(label: str, vector: Float32Vector) -> RegimeState:
    return RegimeState(DAY, "US", RegimeLabel[label], 0.5, vector, {"instrument_id": "X"}, "m-v1@1")


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    stores = FolderStores(tmp_path)
    stores.registry.register("m-v1", "numeric", {"a": 1})
    assert stores.bars.save_bars(bars_of([1.0, 2.0, 3.0])) == 3
    assert stores.numeric.save_batch(batch_of(7)) == 2
    assert stores.states.save_regimes([state_of("CRISIS", np.ones(4, dtype=np.float32))]) == 1
    return tmp_path


def test_rows_that_are_stored_already_touch_no_file(filled: Path) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in filled.iterdir()}
    stores = FolderStores(filled)
    stores.registry.register("m-v1", "numeric", {"a": 1})

    assert stores.bars.save_bars(bars_of([1.0, 2.0, 3.0])) == 0
    assert stores.numeric.save_batch(batch_of(7)) == 0
    assert stores.states.save_regimes([state_of("CRISIS", np.ones(4, dtype=np.float32))]) == 0
    assert before == {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in filled.iterdir()}
    assert stores.bars.save_bars(bars_of([1.0, 2.5, 3.0])) == 1
    found = stores.bars.load_bars(["GSPC.INDX"], DAY, DAY, 2, ["close", "adjusted_close", "high"])
    assert found.values[:2].tolist() == [[2.5, 3.0]] * 2
    assert np.isnan(found.values[2]).all()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "spoils", "message"),
    [
        ("vectors_*", cut, "is truncated or was changed; restore it from a copy"),
        ("vectors_*", spoil, "is truncated or was changed; restore it from a copy"),
        ("vectors_*", Path.unlink, "is missing; restore it from a copy"),
        ("prometheus.json", cut, "is no index of a Prometheus folder; restore it from a copy"),
        ("prometheus.json", lambda path: path.write_text("[1]"), "is no index of a Prometheus folder"),
        ("prometheus.json", lambda path: path.write_text(path.read_text().replace('"format": 1', '"format": 2')),
         "has format 2, this version reads 1"),
    ],
)  # fmt: skip
def test_a_spoilt_file_is_named_in_one_line(
    filled: Path, pattern: str, spoils: Callable[[Path], object], message: str
) -> None:
    victim = min(filled.glob(pattern))
    spoils(victim)
    for attempt in (lambda: stored(filled, "X"), lambda: FolderStores(filled).numeric.save_batch(batch_of(8))):
        with pytest.raises(FileAccessError, match=re.escape(message)) as caught:
            attempt()
        assert str(caught.value).startswith(str(victim))
        assert "\n" not in str(caught.value)


def test_only_an_empty_folder_or_one_of_ours_is_opened(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="no such folder; make an empty one"):
        FolderStores(tmp_path / "none")
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(FileAccessError, match=r"holds letter.txt and no prometheus.json; name an empty folder"):
        FolderStores(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_files_of_others_are_left_alone(filled: Path) -> None:
    own = filled / "my_prices.parquet"
    own.write_text("mine")
    FolderStores(filled).numeric.save_batch(batch_of(9))
    assert own.read_text() == "mine"


def test_odd_names_are_kept_apart(tmp_path: Path) -> None:
    stores = FolderStores(tmp_path)
    names = ["a/b", "a-b", "a_b", "../x", "ü", "\n", "x" * 300]
    for number, name in enumerate(names):
        stores.numeric.save_embedding(NumericWindowSpec("T", name, 5), DAY, "m", np.full(2, number, dtype=np.float32))
    for number, name in enumerate(names):
        found = FolderStores(tmp_path).numeric.load_embedding(NumericWindowSpec("T", name, 5), DAY, "m")
        assert found is not None
        assert found.tolist() == [number, number]
    assert {path.parent for path in tmp_path.rglob("*")} == {tmp_path}
