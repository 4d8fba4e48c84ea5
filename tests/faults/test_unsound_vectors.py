"""Stored vectors that cannot be compared: left out of every search and named, and the answer is that without them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pytest
from psycopg import sql
from tests.fixtures.commands import Run
from tests.fixtures.market import LoadPrices
from tests.integration.test_analogs import AS_OF, BRANCHES, DAYS, DIM, save_joint, save_states
from tests.integration.test_joint import save_macro
from tests.integration.test_settled_joins import CHOICES, backfill, joined, rows
from tests.integration.test_text_memory import MODEL as TEXT_MODEL
from tests.integration.test_text_memory import emptied, write, write_vector
from tests.integration.test_window_index import MODEL, NAMES
from tests.integration.test_window_index import save as save_windows
from tests.web.serving import client_of

from prometheus.analogs.search import AnalogRequest
from prometheus.app import App, text_vectors
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_search import TextQuery
from prometheus.app.verification import VerifyRequest
from prometheus.app.window_search import WindowRequest
from prometheus.arrays import VECTOR_DTYPE
from prometheus.data.vectors.index import WindowIndex
from prometheus.errors import VectorError
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app

__all__ = ["emptied", "joined", "save_macro"]
KINDS = ("nan", "infinity", "infinities", "short", "long")
TABLES = {
    "numeric": ("runtime", "regimes", "regime_embedding"),
    "joint": ("historical", "joint_embeddings", "vector"),
    "windows": ("historical", "numeric_window_embeddings", "vector"),
}

TEXT_RULES = {
    "text_embeddings_vector_is_finite": "text_embeddings", "text_passages_vector_is_finite": "text_passages",
}  # fmt: skip
RULES = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conname ~ '_vector_is_finite$'"


def spoiled(kind: str, dim: int, numbers: np.random.Generator) -> bytes:
    """Return a vector that a table takes and that cannot be compared."""
    values = numbers.normal(size=dim + {"short": -1, "long": 3}.get(kind, 0)).astype(VECTOR_DTYPE)
    if kind in ("nan", "infinity"):
        values[numbers.integers(dim)] = {"nan": np.nan, "infinity": np.inf}[kind]
    if kind == "infinities":  # their sum is NaN
        values[:2] = np.inf, -np.inf
    return values.tobytes()


def change(app: App, space: str, day: date, stored: bytes | None, entity: str | None = None) -> None:
    """Store a vector in the place of that of a date, or remove the row."""
    database, table, column = TABLES[space]
    connect = getattr(app.db_manager, f"get_{database}_connection")
    of_row = sql.SQL("WHERE as_of_date = {} AND {}").format(
        day, sql.SQL("true") if entity is None else sql.SQL("entity_id = {}").format(entity)
    )
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
    query = sql.SQL("DELETE FROM {table} ").format(**names)
    if stored is not None:
        query = sql.SQL("UPDATE {table} SET {column} = {stored}, dim = {dim} ").format(
            stored=stored, dim=len(stored) // VECTOR_DTYPE.itemsize, **names
        )
    with connect() as connection:
        connection.execute(query + of_row)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if "is left out" in record.getMessage()]
    caplog.clear()
    return found


@pytest.fixture
def app(db_manager: DatabaseManager, load_prices: LoadPrices) -> Iterator[App]:
    """Regimes and joint rows of a region, and windows of four instruments."""
    save_states(db_manager, DAYS)
    save_joint(db_manager, DAYS, 4, BRANCHES)
    save_windows(db_manager, NAMES, seed=1, days=DAYS)
    closes = 100 * np.exp(np.random.default_rng(2).normal(0, 0.01, len(DAYS)).cumsum())
    for name in ("X", *NAMES):
        load_prices(name, DAYS, closes.tolist(), [1e6] * len(DAYS))
    yield App(db_manager)
    WindowIndex(db_manager, MODEL).drop()


@pytest.mark.parametrize("space", ["numeric", "joint"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_dates_are_found_as_if_the_rows_were_not_there(
    app: App, space: Any, metric: Any, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = np.random.default_rng(len(space) + len(metric))
    request = AnalogRequest("US", AS_OF, space, 8, 10, metric)
    good = app.analogs.find(request).to_dict()
    assert "left_out" not in good
    kinds = (*KINDS, "zero") if metric == "cosine" else KINDS
    places = [*numbers.choice(300, 2 * len(kinds), replace=False), 380]  # the last is later than the date
    days = [DAYS[at].item() for at in places]
    days[0] = date.fromisoformat(good["analogs"][0]["as_of_date"])
    days = list(dict.fromkeys(days))
    for number, day in enumerate(days):
        kind = kinds[number % len(kinds)]
        change(app, space, day, bytes(4 * DIM) if kind == "zero" else spoiled(kind, DIM, numbers))

    found = app.analogs.find(request).to_dict()

    (warning,) = warnings_of(caplog)
    known = sorted(str(day) for day in days if day <= AS_OF)
    assert found.pop("left_out") == known
    assert f"{known[0]} (and {len(known) - 1} more)" in warning
    assert "db verify --repair" in warning
    for day in days:
        change(app, space, day, None)
    assert app.analogs.find(request).to_dict() == found
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", ["numeric", "joint"])
def test_a_date_whose_own_vector_cannot_be_compared_is_refused_by_name(app: App, space: Any, kind: str) -> None:
    change(app, space, AS_OF, spoiled(kind, DIM, np.random.default_rng(3)))
    with pytest.raises(VectorError, match=f"{AS_OF}: the stored vector .*; run: .*db verify --repair") as refusal:
        app.analogs.find(AnalogRequest("US", AS_OF, space))
    assert refusal.value.exit_code == 5
    before = DAYS[348].item()
    assert app.analogs.find(AnalogRequest("US", before, space)).as_of_date == before


@pytest.mark.parametrize("has_index", [False, True])
def test_windows_are_found_as_if_the_rows_were_not_there(
    app: App, has_index: bool, caplog: pytest.LogCaptureFixture
) -> None:
    numbers, request = np.random.default_rng(5), WindowRequest("A", AS_OF, 20, 10, MODEL, 63)
    if has_index:
        app.window_search.build_index(MODEL)
    good = app.window_search.find(request)
    rows = [(window.instrument_id, window.as_of_date) for window in good.windows[:3]]
    rows += [(NAMES[numbers.integers(4)], DAYS[at].item()) for at in numbers.choice(300, 7, replace=False)]
    rows = list(dict.fromkeys(rows))
    for number, (name, day) in enumerate(rows):
        change(app, "windows", day, spoiled(KINDS[number % len(KINDS)], 12, numbers), name)
    change(app, "windows", DAYS[395].item(), spoiled("nan", 12, numbers), "B")

    found = app.window_search.find(request)

    (warning,) = warnings_of(caplog)
    assert "db verify --repair" in warning
    assert str(DAYS[395]) not in warning
    assert {(each.instrument_id, each.as_of_date) for each in found.windows}.isdisjoint(rows)
    for name, day in rows:
        change(app, "windows", day, None, name)
    assert app.window_search.find(request).windows == found.windows


def test_an_index_copies_the_other_rows(app: App, caplog: pytest.LogCaptureFixture) -> None:
    numbers = np.random.default_rng(6)
    change(app, "windows", DAYS[7].item(), spoiled("nan", 12, numbers), "B")
    change(app, "windows", DAYS[9].item(), spoiled("short", 12, numbers), "B")
    n_copied, status = app.window_search.build_index(MODEL)
    assert (n_copied, status.n_indexed, status.n_missing) == (1_598, 1_598, 2)
    assert len(warnings_of(caplog)) == 1
    change(app, "windows", AS_OF, spoiled("infinity", 12, numbers), "A")
    with pytest.raises(VectorError, match=f"^A {AS_OF} by {MODEL}: .*db verify --repair"):
        app.window_search.find(WindowRequest("A", AS_OF, 5, 10, MODEL, 63))


def test_the_command_answers_with_a_warning_and_refuses_in_one_line(app: App, run: Run) -> None:
    asked = ["similar", "--region", "US", "--space", "numeric", "--as-of"]
    change(app, "numeric", DAYS[100].item(), spoiled("nan", DIM, np.random.default_rng(3)))
    done = run(*asked, str(AS_OF), "--json")
    assert (done.exit_code, json.loads(done.stdout)["left_out"]) == (0, [str(DAYS[100])])
    assert done.stderr.count("is left out; run: python -m prometheus db verify --repair") == 1
    refused = run(*asked, str(DAYS[100]))
    assert (refused.exit_code, refused.stdout) == (5, "")
    (line,) = refused.errors
    assert line.startswith(f"error: region US in the numeric space {DAYS[100]}: the stored vector is not finite")


@pytest.mark.parametrize("most_exact", [100, 4])
def test_texts_are_found_as_if_the_rows_were_not_there(
    emptied: DatabaseManager, most_exact: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(text_vectors, "MOST_EXACT", most_exact)
    numbers, query = np.random.default_rng(8), TextQuery("bank rates fell", date(2024, 1, 31), model_id=TEXT_MODEL)
    with emptied.get_owner_connection("historical") as connection:
        rules = dict(connection.execute(RULES).fetchall())
        for name, table in TEXT_RULES.items():
            connection.execute(sql.SQL(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
    try:
        with emptied.get_historical_connection() as connection:
            for at in range(12):
                write(connection, at, ("bank rate", "oil fell")[at % 2])
                write_vector(connection, at, seed=at, n_pieces=3 if at % 3 == 0 else 0)
            for at, kind in zip((1, 4, 5, 7, 8), KINDS, strict=True):
                stored = spoiled(kind, 3, numbers)
                spoil = "SET vector = %s, dim = %s WHERE source_id = %s"
                connection.execute(f"UPDATE text_embeddings {spoil}", (stored, len(stored) // 4, str(at)))
            connection.execute(f"UPDATE text_passages {spoil} AND position = 1", (spoiled("nan", 3, numbers), 3, "9"))
        found = App(emptied).text_search.find(query).to_dict()
        assert [("MACRO 1 (and 4 more)" in said, "MACRO 9 is" in said) for said in warnings_of(caplog)] == [
            (True, False), (False, True)
        ]  # fmt: skip
        with emptied.get_historical_connection() as connection:
            connection.execute("DELETE FROM text_passages WHERE source_id = '9' AND position = 1")
            for at in (1, 4, 5, 7, 8):
                connection.execute("DELETE FROM text_embeddings WHERE source_id = %s", (str(at),))
        assert App(emptied).text_search.find(query).to_dict() == found
    finally:
        with emptied.get_historical_connection() as connection:
            connection.execute("DELETE FROM text_embeddings")
        with emptied.get_owner_connection("historical") as connection:
            for name, table in TEXT_RULES.items():
                connection.execute(sql.SQL(f"ALTER TABLE {table} ADD CONSTRAINT {name} {rules[name]}"))


def test_verify_names_joint_rows_that_are_not_finite(app: App) -> None:
    change(app, "joint", DAYS[40].item(), spoiled("nan", DIM, np.random.default_rng(3)))
    found = [row for row in app.verification.verify(VerifyRequest()).left if row.table == "joint_embeddings"]
    assert [(row.key, bool(row.way_out)) for row in found] == [(f"US (joint-regime-core-v1) {DAYS[40]}", True)]


@pytest.mark.parametrize("version", CHOICES)
def test_repair_joins_such_rows_anew_and_no_others(joined: App, version: str) -> None:
    backfill(joined, version)
    before, numbers = rows(joined.db_manager), np.random.default_rng(4)
    days = [before[at][1] for at in numbers.choice(len(before), 3, replace=False)]
    for day, kind in zip(days, ("nan", "infinity", "infinities"), strict=True):
        change(joined, "joint", day, spoiled(kind, len(before[0][3]) // 4, numbers))

    done = joined.verification.verify(VerifyRequest(repair=True))

    named = [row.key.split()[-1] for row in done.wrong if row.table == "joint_embeddings"]
    assert named == sorted(map(str, days))
    assert [row for row in done.left if row.table == "joint_embeddings"] == []
    assert rows(joined.db_manager) == before


def test_http_and_the_page_answer_too(app: App) -> None:
    change(app, "numeric", DAYS[100].item(), spoiled("infinities", DIM, np.random.default_rng(3)))
    with client_of(create_app(app, AccessRules(LOOPBACK_HOSTS))) as client:
        found = client.get(f"/v1/regions/US/analogs?as_of={AS_OF}&space=numeric")
        assert (found.status_code, found.json()["left_out"]) == (200, [str(DAYS[100])])
        refused = client.get(f"/v1/regions/US/analogs?as_of={DAYS[100]}&space=numeric")
        assert 400 <= refused.status_code < 500
        assert f"{DAYS[100]}: the stored vector is not finite" in refused.text
        for day in (AS_OF, DAYS[101]):
            assert client.get(f"/regions/US/{day}").status_code == 200
        assert "the stored vector is not finite" in client.get(f"/regions/US/{DAYS[100]}").text
