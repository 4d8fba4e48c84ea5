"""Stored rows edited by hand, at random, and what `db verify` makes of them: found, healed, and named without cause.

Run ``python -m benchmarks.tampering --n 1000 --seed 7``. The demo's bars, vectors, regimes, transitions and texts
are stored in an embedded server of its own and edited by SQL, one row at a time; then `db verify` compares
them, `--repair` puts them back, and a digest of every table tells whether all is as it was. The cost of comparing is
told beside that of making the same rows for the first time, in processor seconds of process and server.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from benchmarks.recording import record
from benchmarks.servers import server_cpu_s
from prometheus.app import App, open_app
from prometheus.app.verification import VerifyReport, VerifyRequest
from prometheus.cli.runner import run_named
from prometheus.core.config import PrometheusConfig
from prometheus.data.migrations import DatabaseName

VECTOR_EDITS = ("bit", "nan", "infinity", "zero", "huge", "slight")
STATE_EDITS = ("label", "confidence", "metadata")
TRANSITION_EDITS = ("deleted", "altered", "added")
BAR_EDITS = ("close", "adjusted_close", "volume", "currency", "known_from")
LABELS = ("NEUTRAL", "CRISIS", "RISK_OFF", "CARRY")
NEVER_COMPARED = {"created_at", "settled_at", "said_at", "finished_at"}


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit of one row: of what kind, and how `db verify` names the row."""

    kind: str
    table: str
    key: str


@dataclass(frozen=True, slots=True)
class Editable:
    """Rows that can be edited: their database and table, the columns of their key, and how these are spelled."""

    database: DatabaseName
    table: LiteralString
    columns: tuple[LiteralString, ...]
    spell: Callable[..., str]
    vector: LiteralString | None = "vector"


TABLES = (
    Editable("historical", "numeric_window_embeddings",
             ("entity_type", "entity_id", "model_id", "window_days", "as_of_date"),
             lambda _type, name, model, days, day: f"{name} ({model}, {days} sessions) {day}"),
    Editable("runtime", "regimes", ("region", "model_id", "as_of_date"),
             lambda region, model, day: f"{region} ({model}) {day}", "regime_embedding"),
    Editable("runtime", "regime_transitions", ("region", "model_id", "as_of_date"),
             lambda region, model, day: f"{region} ({model}) {day}", None),
    Editable("historical", "prices_daily", ("instrument_id", "trade_date"), lambda name, day: f"{name} {day}", None),
    Editable("historical", "text_embeddings", ("source_type", "source_id", "model_id"),
             lambda source, number, model: f"{source} {number} ({model})"),
    Editable("historical", "text_passages", ("source_type", "source_id", "model_id", "position"),
             lambda source, number, model, _position: f"{source} {number} ({model})"),
)  # fmt: skip


class Tampering:
    """Edits rows at random, each at most once, by the role that commands have."""

    def __init__(self, app: App, seed: int) -> None:
        self.n_refused: Counter[str] = Counter()
        """By table, edits that a constraint refused; each is made up for by another edit."""
        self._app, self._chance = app, random.Random(seed)

    def edit(self, n_edits: int, tables: Sequence[Editable] = TABLES) -> list[Edit]:
        """Make edits, spread over the tables that have rows, as evenly as these allow; return them."""
        left = {each.table: self._keys(each) for each in tables}
        filled = [each for each in tables if left[each.table]]
        done: list[Edit] = []
        while len(done) < n_edits and (filled := [each for each in filled if left[each.table]]):
            table = filled[len(done) % len(filled)]
            done += self._edit_one(table, left[table.table].pop())
        return done

    def _keys(self, table: Editable) -> list[tuple[Any, ...]]:
        query = sql.SQL("SELECT {} FROM {}").format(_names(table.columns), sql.Identifier(table.table))
        with self._connect(table.database) as connection:
            keys = sorted(connection.execute(query).fetchall(), key=str)
        if table.table == "text_passages":  # of each text one, as the text is what is named
            keys = list({key[:3]: key for key in keys}.values())
        self._chance.shuffle(keys)
        return keys

    def _connect(self, database: DatabaseName) -> Any:
        manager = self._app.db_manager
        return manager.get_runtime_connection() if database == "runtime" else manager.get_historical_connection()

    def _edit_one(self, table: Editable, key: tuple[Any, ...]) -> list[Edit]:
        kinds: tuple[str, ...] = VECTOR_EDITS
        if table.table == "regimes":
            kinds = (*VECTOR_EDITS, *STATE_EDITS)
        elif table.table == "regime_transitions":
            kinds = TRANSITION_EDITS
        elif table.table == "prices_daily":
            kinds = BAR_EDITS
        kind = self._chance.choice(kinds)
        try:
            with self._connect(table.database) as connection:
                if table.table == "regime_transitions":
                    key = self._edit_transition(connection, kind, key)
                elif table.table == "prices_daily":
                    self._edit_bar(connection, kind, key)
                elif kind in STATE_EDITS:
                    self._edit_state(connection, kind, key)
                else:
                    self._edit_vector(connection, table, kind, key)
        except psycopg.errors.CheckViolation:
            self.n_refused[table.table] += 1
            return []
        return [Edit(kind, table.table, table.spell(*key))]

    def _edit_vector(
        self, connection: psycopg.Connection[Any], table: Editable, kind: str, key: tuple[Any, ...]
    ) -> None:
        names = {"table": sql.Identifier(table.table), "vector": sql.Identifier(table.vector or "")}
        key = tuple(Jsonb(each) if isinstance(each, dict) else each for each in key)
        of_row = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in table.columns)
        found = connection.execute(
            sql.SQL("SELECT {vector} FROM {table} WHERE {of_row}").format(of_row=of_row, **names), key
        ).fetchall()
        spoiled = spoil(bytes(found[0][0]), kind, self._chance)
        connection.execute(
            sql.SQL("UPDATE {table} SET {vector} = %s WHERE {of_row}").format(of_row=of_row, **names), (spoiled, *key)
        )

    def _edit_state(self, connection: psycopg.Connection[Any], kind: str, key: tuple[Any, ...]) -> None:
        of_row = "WHERE region = %s AND model_id = %s AND as_of_date = %s"
        query = f"SELECT regime_label, confidence, metadata FROM regimes {of_row}"
        label, confidence, metadata = connection.execute(query, key).fetchall()[0]
        values: Mapping[str, Any] = {
            "label": self._chance.choice([each for each in LABELS if each != label]),
            "confidence": confidence / 2 if confidence else 0.5,
            "metadata": Jsonb({**metadata, "window_days": metadata.get("window_days", 0) + 1}),
        }
        column = {"label": "regime_label"}.get(kind, kind)
        change = sql.SQL("UPDATE regimes SET {} = %s {}").format(sql.Identifier(column), sql.SQL(of_row))
        connection.execute(change, (values[kind], *key))

    def _edit_transition(self, connection: psycopg.Connection[Any], kind: str, key: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the key of the row that was removed, changed, or put where there is none."""
        of_row = "WHERE region = %s AND model_id = %s AND as_of_date = %s"
        if kind == "deleted":
            connection.execute(f"DELETE FROM regime_transitions {of_row}", key)
        elif kind == "altered":
            connection.execute(
                f"UPDATE regime_transitions SET previous_date = previous_date - 7 {of_row}", key
            )  # fmt: skip
        else:
            query = """
                INSERT INTO regime_transitions (region, model_id, as_of_date, previous_date, from_label, to_label)
                SELECT region, model_id, as_of_date, as_of_date - 1, 'CARRY', 'CRISIS' FROM regimes AS r
                WHERE region = %s AND model_id = %s AND NOT EXISTS (
                    SELECT FROM regime_transitions AS t
                    WHERE (t.region, t.model_id, t.as_of_date) = (r.region, r.model_id, r.as_of_date)
                ) ORDER BY md5(as_of_date::text || %s::text) LIMIT 1 RETURNING region, model_id, as_of_date
            """
            return tuple(connection.execute(query, (*key[:2], self._chance.random())).fetchall()[0])
        return key

    def _edit_bar(self, connection: psycopg.Connection[Any], kind: str, key: tuple[Any, ...]) -> None:
        changes: Mapping[str, LiteralString] = {
            "close": "close = close * 1.0000001", "adjusted_close": "adjusted_close = adjusted_close * 3",
            "volume": "volume = volume + 1", "currency": "currency = 'XXX'",
            "known_from": "known_from = known_from - interval '1 year'",
        }  # fmt: skip
        query = sql.SQL("UPDATE prices_daily SET {} WHERE instrument_id = %s AND trade_date = %s")
        connection.execute(query.format(sql.SQL(changes[kind])), key)


def spoil(vector: bytes, kind: str, chance: random.Random) -> bytes:
    """Return a stored vector with an edit of a kind; the bytes always differ."""
    values = np.frombuffer(vector, "<f4").copy()
    at = chance.randrange(values.size)
    if kind == "bit":
        values.view("<u4")[at] ^= np.uint32(1 << chance.randrange(32))
    elif kind == "slight":
        values[at] = np.nextafter(values[at], np.float32(np.inf))
    elif kind == "zero":
        values[:] = 0
    else:
        values[at] = {"nan": np.nan, "infinity": -np.inf, "huge": 3e38}[kind]
    spoiled = values.tobytes()
    return spoiled if spoiled != vector else spoil(vector, "slight", chance)


def _names(columns: Sequence[LiteralString]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def digests(app: App) -> dict[str, str]:
    """Return a digest of every row of every table that holds results or bars, but for when it was written."""
    found = {}
    for table in TABLES:
        connect = app.db_manager.get_runtime_connection
        if table.database == "historical":
            connect = app.db_manager.get_historical_connection
        with connect() as connection:
            names = connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
                (table.table,),
            ).fetchall()
            kept = _names([name for (name,) in names if name not in NEVER_COMPARED])
            query = sql.SQL("SELECT md5(coalesce(string_agg(md5(r::text), '' ORDER BY md5(r::text)), '')) FROM ({}) r")
            rows = sql.SQL("SELECT {} FROM {}").format(kept, sql.Identifier(table.table))
            found[table.table] = connection.execute(query.format(rows)).fetchall()[0][0]
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """Edits by kind, those found, rows named without an edit, and those that are as they were after `--repair`."""

    made: Counter[tuple[str, str]]
    found: Counter[tuple[str, str]]
    false: list[str]
    unhealed: list[str]
    differing_tables: list[str]


def try_edits(app: App, edits: Sequence[Edit], before: Mapping[str, str], request: VerifyRequest) -> Outcome:
    """Compare, repair and compare again."""
    kind_of = {(each.table, each.key): (each.table, each.kind) for each in edits}
    named = {(row.table, row.key) for row in app.verification.verify(request).wrong}
    repaired = VerifyRequest(
        request.sample, request.regions, request.instruments, request.prototypes, all_texts=True, repair=True
    )
    app.verification.verify(repaired)
    after: VerifyReport = app.verification.verify(request)
    return Outcome(
        Counter(kind_of.values()),
        Counter(kind for row, kind in kind_of.items() if row in named),
        sorted(f"{table} {key}" for table, key in named - kind_of.keys()),
        sorted(str(row) for row in after.wrong),
        sorted(name for name, digest in digests(app).items() if digest != before[name]),
    )


def main() -> None:
    """Print what was found, healed and named without cause, by kind of edit, and keep the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prometheus-bench-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        os.environ["PROMETHEUS_HOME"] = f"{folder}/home"
        try:
            begin = spent()
            run_named("demo", ["--folder", folder])
            making_s = spent() - begin
            figures = measure(Path(folder), arguments.n, arguments.seed)
        finally:
            run_named("db", ["stop"])
    figures |= {"cpu_s of the demo that made the rows": making_s}
    record("tampering", {"n": arguments.n, "seed": arguments.seed}, figures, keep=not arguments.is_trial)


def spent() -> float:
    """Return the processor seconds of this process and of the server."""
    return time.process_time() + server_cpu_s()


def measure(folder: Path, n_edits: int, seed: int) -> dict[str, float]:
    """Edit, compare and repair the rows of a home; return the sums, and print those of each kind."""
    request = VerifyRequest(prototypes=(folder / "regime_prototypes_US.json",), all_texts=True)
    with open_app(PrometheusConfig()) as app:
        begin = spent()
        sound = app.verification.verify(request)
        cpu_s = spent() - begin
        before = digests(app)
        tampering = Tampering(app, seed)
        edits = tampering.edit(n_edits)
        outcome = try_edits(app, edits, before, request)
    print(f"{'table':<28}{'edit':<16}{'made':>6}{'found':>7}")
    for (table, kind), made in sorted(outcome.made.items()):
        print(f"{table:<28}{kind:<16}{made:>6}{outcome.found[table, kind]:>7}")
    print(json.dumps({"edits refused by a constraint": tampering.n_refused}))
    for title, lines in (("false", outcome.false), ("unhealed", outcome.unhealed)):
        print(json.dumps({title: lines[:20]}))
    print(json.dumps({"tables that differ after the repair": outcome.differing_tables}))
    n_compared = sum(each.n_compared for each in sound.tables)
    return {
        "edits": len(edits), "found": sum(outcome.found.values()), "false": len(outcome.false),
        "wrong before any edit": len(sound.wrong), "left after the repair": len(outcome.unhealed),
        "tables that differ after the repair": len(outcome.differing_tables),
        "rows compared": n_compared, "cpu_s of comparing": cpu_s, "rows compared per cpu_s": n_compared / cpu_s,
    }  # fmt: skip


if __name__ == "__main__":
    main()
