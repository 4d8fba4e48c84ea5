"""The index of similar windows: what it finds is what comparing all finds, and it keeps in step with the rows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import numpy as np
import pytest
from psycopg import sql
from tests.fixtures.market import LoadPrices, weekdays

from prometheus.analogs.window_rows import NearWindow, WindowQuery
from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.window_search import WindowReport, WindowRequest
from prometheus.arrays import encode_vector
from prometheus.data.vectors.index import WindowIndex
from prometheus.data.vectors.scan import WindowScan, WindowSpace
from prometheus.encoders import NumericEmbeddingStore
from prometheus.encoders.numeric.encoder import EmbeddingBatch
from prometheus.encoders.numeric.windows import INSTRUMENT
from prometheus.errors import NotFoundError, UsageError, VectorError

pytestmark = pytest.mark.tcp

MODEL = "made-up"
DAYS = weekdays(300)
AS_OF = DAYS[-1].item()
NAMES = ("A", "B", "C's", "D")


def save(
    db_manager: DatabaseManager, names: tuple[str, ...], seed: int, days: np.ndarray = DAYS, scale: float = 1.0
) -> None:
    generator = np.random.default_rng(seed)
    store = NumericEmbeddingStore(db_manager=db_manager)
    for name in names:
        vectors = (scale * generator.normal(size=(len(days), 12)).cumsum(axis=0)).astype(np.float32)
        store.save_batch(
            EmbeddingBatch(INSTRUMENT, MODEL, 63, (name,), np.zeros(len(days), dtype=np.int64), days, None, vectors)
        )


def find(db_manager: DatabaseManager, k: int = 5, exclude: int = 10, as_of: date = AS_OF) -> WindowReport:
    return App(db_manager).window_search.find(WindowRequest("A", as_of, k, exclude, MODEL, window_days=63))


@pytest.fixture(autouse=True)
def no_index_left(db_manager: DatabaseManager) -> Iterator[None]:
    """Remove the index afterwards: it is a table that no other test knows of."""
    yield
    WindowIndex(db_manager, MODEL).drop()


@pytest.fixture
def windows(db_manager: DatabaseManager, load_prices: LoadPrices) -> None:
    """Vectors and prices of four instruments."""
    save(db_manager, NAMES, seed=1)
    for name in NAMES:
        load_prices(name, DAYS, (100 + np.arange(len(DAYS))).tolist(), [1e6] * len(DAYS))


@pytest.mark.usefixtures("windows")
def test_the_index_finds_what_comparing_all_windows_finds(db_manager: DatabaseManager) -> None:
    exact = find(db_manager, k=12)
    n_copied, status = App(db_manager).window_search.build_index(MODEL)
    indexed = find(db_manager, k=12)

    assert (n_copied, status.n_indexed, status.n_missing) == (1_200, 1_200, 0)
    assert (exact.is_exact, indexed.is_exact) == (True, False)
    assert indexed.windows == exact.windows
    assert {window.instrument_id for window in find(db_manager, k=100).windows} == set(NAMES)
    latest = max(window.as_of_date for window in exact.windows)
    assert np.busday_count(latest, AS_OF) > 10
    earliest = min(exact.windows, key=lambda window: window.as_of_date)
    assert earliest.outcomes[0].total_return == pytest.approx(
        21 / (100 + int(np.searchsorted(DAYS, np.datetime64(earliest.as_of_date))))
    )


@pytest.mark.usefixtures("windows")
def test_neighbours_of_one_instrument_never_stand_side_by_side(db_manager: DatabaseManager) -> None:
    found = find(db_manager, k=100, exclude=20).windows

    for name in NAMES:
        days = sorted(window.as_of_date for window in found if window.instrument_id == name)
        assert (np.busday_count(days[:-1], days[1:]) > 20).all()


@pytest.mark.usefixtures("windows")
def test_the_index_keeps_in_step_with_the_rows(db_manager: DatabaseManager) -> None:
    tasks = App(db_manager).window_search
    tasks.build_index(MODEL)
    save(db_manager, ("B",), seed=2)
    save(db_manager, ("E",), seed=3)
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings WHERE entity_id = 'D'")

    assert tasks.index_status(MODEL).n_missing == 600
    assert {window.instrument_id for window in find(db_manager, k=10).windows} <= {"A", "C's"}
    assert WindowIndex(db_manager, MODEL).sync() == 600

    status = tasks.index_status(MODEL)
    assert (status.n_indexed, status.n_missing) == (1_200, 0)
    assert WindowIndex(db_manager, MODEL).sync() == 0
    report = tasks.check_index(MODEL, 40, 10, window_days=63)
    assert (report.n_queries, report.n_windows) == (39, 1_200)  # the first day has no past
    assert report.recall > 0.95  # the graph begins with numbers drawn by the server, so it is not always 1


@pytest.mark.usefixtures("windows")
def test_windows_after_the_date_change_nothing(db_manager: DatabaseManager) -> None:
    App(db_manager).window_search.build_index(MODEL)
    day = DAYS[199].item()
    before = find(db_manager, as_of=day).to_dict()

    save(db_manager, ("B", "D"), seed=8, days=DAYS[200:])
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE prices_daily SET adjusted_close = 9 WHERE trade_date > %s", (day,))
    WindowIndex(db_manager, MODEL).sync()

    assert find(db_manager, as_of=day).to_dict() == before


@pytest.mark.deep
@pytest.mark.usefixtures("windows")
def test_two_runs_may_bring_it_in_step_at_once(db_manager: DatabaseManager) -> None:
    App(db_manager).window_search.build_index(MODEL)
    save(db_manager, NAMES, seed=9)

    with ThreadPoolExecutor(4) as pool:
        copied = list(pool.map(lambda _: WindowIndex(db_manager, MODEL).sync(), range(4)))

    assert sum(copied) == 1_200
    assert App(db_manager).window_search.index_status(MODEL).n_missing == 0


@pytest.mark.usefixtures("windows")
def test_a_search_the_index_cannot_fill_compares_every_window(db_manager: DatabaseManager) -> None:
    exact = find(db_manager, k=5)
    App(db_manager).window_search.build_index(MODEL)
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE numeric_window_embeddings SET created_at = created_at + interval '1 second'")

    assert find(db_manager, k=5) == exact  # every copy is out of step, so the index finds nothing


@pytest.mark.usefixtures("windows")
def test_a_build_that_is_interrupted_leaves_nothing(db_manager: DatabaseManager) -> None:
    index, told = WindowIndex(db_manager, MODEL), list[tuple[int, int | None]]()

    def interrupt(done: int, total: int | None) -> None:
        told.append((done, total))
        if len(told) == len(NAMES):  # all is copied, the graph comes next
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.build(interrupt)

    assert told == [(300, 2_400), (600, 2_400), (900, 2_400), (1_200, 2_400)]  # each is copied and put into the graph
    assert not index.drop()
    assert index.build(lambda _done, _total: None) == 1_200


@pytest.mark.usefixtures("windows")
def test_two_builds_at_once_make_one_index(db_manager: DatabaseManager) -> None:
    with ThreadPoolExecutor(2) as pool:
        copied = list(pool.map(lambda _: WindowIndex(db_manager, MODEL).build(lambda *_: None), range(2)))

    assert sorted(copied) == [0, 1_200]


@pytest.mark.usefixtures("windows")
def test_a_build_tells_how_far_the_graph_is(db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prometheus.data.vectors.index._WATCHED_EVERY_S", 0.002)
    for seed in range(4):  # more of them, so that the graph takes longer than to look
        save(db_manager, tuple(f"{name}{seed}" for name in NAMES), seed=10 + seed)
    told: list[int] = []

    n_copied = WindowIndex(db_manager, MODEL).build(lambda done, _total: told.append(done))

    assert told == sorted(told)
    assert n_copied == 6_000 < told[-1] <= 12_000


@pytest.mark.usefixtures("windows")
def test_kept_windows_answer_as_those_read_anew_whatever_is_written_between(db_manager: DatabaseManager) -> None:
    app, numbers = App(db_manager), np.random.default_rng(4)
    edits = (
        "UPDATE numeric_window_embeddings SET vector = {vector} WHERE entity_id = {name} AND as_of_date = {day}",
        "DELETE FROM numeric_window_embeddings WHERE entity_id = {name} AND as_of_date < {day}",
        "UPDATE numeric_window_embeddings SET entity_id = 'Z' WHERE entity_id = {name} AND as_of_date = {day}",
    )
    for turn in range(12):
        if turn % 2:
            vector = encode_vector(numbers.normal(size=12))
            values = {"vector": vector, "name": NAMES[1 + turn % 3], "day": DAYS[numbers.integers(290)].item()}
            with db_manager.get_historical_connection() as connection:
                connection.execute(sql.SQL(edits[turn // 2 % 3]).format(**values))
        request = WindowRequest("A", DAYS[numbers.integers(150, 300)].item(), 6, 10, MODEL, window_days=63)
        assert app.window_search.find(request) == App(db_manager).window_search.find(request)


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("n_few", [10_000, 500])
def test_every_way_of_reading_finds_what_measuring_all_finds(
    db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch, n_few: int
) -> None:
    monkeypatch.setattr("prometheus.data.vectors.scan.FEW_WINDOWS", n_few)
    monkeypatch.setattr("prometheus.app.window_memory.FEW_WINDOWS", n_few)
    monkeypatch.setattr("prometheus.data.vectors.scan._PAGES", 2)
    save(db_manager, ("C's",), seed=1)  # as A
    scan = WindowScan(db_manager, WindowSpace(MODEL, INSTRUMENT, 63))
    stored = [scan.load(name) for name in NAMES]
    vector, before = stored[0].vectors[-1], DAYS[286].item()
    wanted = sorted(
        NearWindow(float(np.sqrt(((row.astype(float) - vector.astype(float)) ** 2).sum())), each.entity_id, day)
        for each in stored
        for row, day in zip(each.vectors, each.dates.tolist(), strict=True)
        if day < before
    )

    for n_rows in (1, 7, 400, 5_000):
        found = App(db_manager).window_search._nearest_of_all(
            WindowSpace(MODEL, INSTRUMENT, 63), [WindowQuery(vector, before), WindowQuery(-vector, date.min)], n_rows
        )
        assert found == [wanted[:n_rows], []]


@pytest.mark.usefixtures("windows")
def test_a_stale_index_fails_its_check(db_manager: DatabaseManager) -> None:
    tasks = App(db_manager).window_search
    tasks.build_index(MODEL)
    save(db_manager, ("A", "B"), seed=4)

    assert tasks.check_index(MODEL, 40, 10, window_days=63).recall < 0.9


@pytest.mark.usefixtures("windows")
def test_dropping_an_index_leaves_the_embeddings(db_manager: DatabaseManager) -> None:
    tasks = App(db_manager).window_search
    tasks.build_index(MODEL)

    assert (tasks.drop_index(MODEL), tasks.drop_index(MODEL)) == (True, False)
    with pytest.raises(NotFoundError, match="similar_index build --model-id made-up"):
        tasks.index_status(MODEL)
    assert len(find(db_manager).windows) == 5


def test_vectors_too_large_for_half_precision_are_refused(db_manager: DatabaseManager) -> None:
    save(db_manager, ("A",), seed=1, scale=1e8)

    with pytest.raises(VectorError, match="do not fit into half precision, which ends at 65504"):
        App(db_manager).window_search.build_index(MODEL)
    assert not WindowIndex(db_manager, MODEL).drop()  # nothing of it was left behind


def test_bad_requests_are_refused(db_manager: DatabaseManager) -> None:
    with pytest.raises(NotFoundError, match=f"A by made-up has no embedding up to {AS_OF}"):
        find(db_manager)
    with pytest.raises(NotFoundError, match="made-up has no embedding yet"):
        App(db_manager).window_search.build_index(MODEL)
    for k in (0, 10**9):
        with pytest.raises(UsageError, match=f"--k {k}: name a number from 1 to 1000"):
            find(db_manager, k=k)
