"""What stored windows cost under several designs of their table, and whether writing stays as cheap as it fills.

Answers ADR-0013. Run ``python -m benchmarks.storage``: about seven minutes and 11 GB of disk with the defaults. All is
measured side by side in an embedded server of its own, through `NumericEmbeddingStore`: each design of the table in a
schema of its own, the same chunk written to each in turn. Rows are as wide as those of ``num-regime-core-v1``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

import numpy as np
import psycopg
from psycopg import sql

from benchmarks.recording import write_result
from benchmarks.servers import own_server
from prometheus.app.databases import DatabaseManager
from prometheus.arrays import DateVector
from prometheus.encoders import EmbeddingBatch, NumericEmbeddingStore, NumericWindowSpec
from prometheus.server import APPLICATION_ROLE, HISTORICAL_DATABASE, OWNER_ROLE

T = TypeVar("T")

TABLE = "numeric_window_embeddings"
MODEL, OTHER_MODEL = "num-regime-core-v1", "num-regime-core-v2"
WINDOW_DAYS, DIM = 63, 384
N_DATES = 2_500
DATES: DateVector = np.busday_offset(np.datetime64("2025-01-31", "D"), np.arange(1 - N_DATES, 1)).astype("M8[D]")
PER_CHUNK = 6
SESSIONS_A_YEAR = 261
YEARS = range(2000, 2026)
N_ROUNDS = 9
N_LOOKUPS = 500
OF_MODEL = f"FROM {TABLE} WHERE entity_type = 'INSTRUMENT' AND model_id = '{MODEL}' AND window_days = {WINDOW_DAYS}"
SINGLE = f"SELECT vector {OF_MODEL} AND entity_id = %s AND as_of_date = %s"
HISTORY = f"SELECT as_of_date, vector {OF_MODEL} AND entity_id = %s ORDER BY as_of_date"
ONE_DATE = f"SELECT entity_id, vector {OF_MODEL} AND as_of_date = %s"


@dataclass(frozen=True, slots=True)
class Design:
    """One way to keep the rows, in a schema of its own; autovacuum is off, so that it disturbs nothing.

    Attributes
    ----------
    is_covering
        The primary key holds the input hash, too.
    is_partitioned
        By model, and under it by year.
    """

    schema: str
    manager: DatabaseManager
    is_covering: bool = False
    is_partitioned: bool = False

    @contextmanager
    def get_historical_connection(self) -> Iterator[psycopg.Connection]:
        """Yield a connection for which the table's name means the one of this design."""
        with self.manager.get_historical_connection() as connection:
            connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(self.schema)))
            yield connection

    @property
    def store(self) -> NumericEmbeddingStore:
        """The store of these rows."""
        return NumericEmbeddingStore(db_manager=self)

    def create(self) -> None:
        """Make schema, table and partitions."""
        partition_by = "PARTITION BY LIST (model_id)" if self.is_partitioned else "WITH (autovacuum_enabled = false)"
        self.execute(
            f"CREATE SCHEMA {self.schema}",
            f"CREATE TABLE {self.schema}.{TABLE} (LIKE public.{TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
            " INCLUDING STORAGE, PRIMARY KEY (entity_type, entity_id, model_id, window_days, as_of_date)"
            f" {'INCLUDE (input_hash)' if self.is_covering else ''}) {partition_by}",
            *(self._partitions() if self.is_partitioned else ()),
            f"GRANT USAGE ON SCHEMA {self.schema} TO {APPLICATION_ROLE}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA {self.schema} TO {APPLICATION_ROLE}",
        )

    def _partitions(self) -> Iterator[str]:
        for part, model_id in (("a", MODEL), ("b", OTHER_MODEL)):
            name = f"{self.schema}.{TABLE}_{part}"
            yield (
                f"CREATE TABLE {name} PARTITION OF {self.schema}.{TABLE} FOR VALUES IN ('{model_id}')"
                " PARTITION BY RANGE (as_of_date)"
            )
            for year in YEARS:
                yield (
                    f"CREATE TABLE {name}_{year} PARTITION OF {name} FOR VALUES FROM ('{year}-01-01')"
                    f" TO ('{year + 1}-01-01') WITH (autovacuum_enabled = false)"
                )

    def drop(self) -> None:
        """Remove everything."""
        self.execute(f"DROP SCHEMA {self.schema} CASCADE")

    def execute(self, *statements: str) -> None:
        """Run statements as the owner, each in a transaction of its own."""
        with owner(self.manager) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def save(self, batch: EmbeddingBatch, *, is_new: bool = False) -> float:
        """Store rows; return microseconds per row."""
        return 1e6 * seconds(lambda: self.store.save_batch(batch, is_new=is_new)) / len(batch)

    def vacuum(self) -> None:
        """Do what the server's autovacuum would do."""
        self.execute(f"VACUUM {self.schema}.{TABLE}")

    def remove_other_model(self) -> None:
        """Remove the rows of one of the two models, and give their room back."""
        rows = f"{self.schema}.{TABLE}"
        if self.is_partitioned:
            self.execute(f"DROP TABLE {rows}_b")
        else:
            self.execute(f"DELETE FROM {rows} WHERE model_id = '{OTHER_MODEL}'", f"VACUUM {rows}")

    def sizes(self) -> tuple[int, int]:
        """Return bytes of the rows with all that belongs to them, and of the indexes."""
        with owner(self.manager) as connection:
            row = connection.execute(
                "SELECT sum(pg_table_size(oid))::int8, sum(pg_indexes_size(oid))::int8 FROM pg_class"
                " WHERE relnamespace = %s::regnamespace AND relkind = 'r'",
                (self.schema,),
            ).fetchone()
        assert row is not None
        return row[0], row[1]


def main() -> None:
    """Print every figure, and as JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="per design of the table")
    parser.add_argument("--levels", type=int, nargs="+", default=[100_000, 1_000_000, 4_000_000])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.rows, arguments.levels)
    print(json.dumps(found) if arguments.json else to_table(found))
    write_result("storage", {"rows": arguments.rows, "levels": arguments.levels}, found)


def measure(n_rows: int, levels: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return figures by name: of each design, and of each number of rows stored already."""
    with own_server() as app:
        with app.db_manager.get_historical_connection():
            pass  # started and migrated
        figures = compare_designs(app.db_manager, n_rows)
        return figures | compare_levels(app.db_manager, levels)


@contextmanager
def owner(manager: DatabaseManager) -> Iterator[psycopg.Connection]:
    """Yield a connection of the role that owns the tables."""
    conninfo = manager.embedded_server.conninfo(HISTORICAL_DATABASE, role=OWNER_ROLE)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield connection


def compare_designs(manager: DatabaseManager, n_rows: int) -> dict[str, dict[str, float]]:
    """Return each figure by design."""
    designs = [
        Design("plain", manager),
        Design("covering", manager, is_covering=True),
        Design("partitioned", manager, is_partitioned=True),
        Design("partitioned_covering", manager, is_covering=True, is_partitioned=True),
    ]
    numbers = range(max(PER_CHUNK, n_rows // N_DATES))
    for design in designs:
        design.create()
    figures = fill(designs, numbers)
    figures |= weigh(designs, len(numbers) * N_DATES)
    figures["hash read, us/row, first after load"] = in_turn(designs, lambda design: read_hashes(design, numbers), 1)
    figures["hash read, us/row, again"] = in_turn(designs, lambda design: read_hashes(design, numbers))
    figures |= vacuum(designs, len(numbers) * N_DATES)
    figures["hash read, us/row, after VACUUM"] = in_turn(designs, lambda design: read_hashes(design, numbers))
    figures["hash read of one year, us/row"] = in_turn(designs, read_hashes_of_year)
    figures |= read(designs, numbers) | rewrite(designs, numbers) | remove_model(designs)
    for design in designs:
        design.drop()
    return figures


def fill(designs: Sequence[Design], numbers: Sequence[int]) -> dict[str, dict[str, float]]:
    """Write the same chunks into every table, one after the other; return the median time and mean WAL of a row."""
    times: dict[str, list[float]] = {design.schema: [] for design in designs}
    n_bytes = dict.fromkeys(times, 0.0)
    for turn, chunk in enumerate(chunks(numbers)):
        batch = batch_of([name_of(2 * number) for number in chunk], turn)
        for design in rotated(designs, turn):
            before = wal_position(design.manager)
            times[design.schema].append(design.save(batch, is_new=True))
            n_bytes[design.schema] += wal_position(design.manager) - before
    n_rows = len(numbers) * N_DATES
    return {
        "COPY in, us/row": {name: statistics.median(values) for name, values in times.items()},
        "WAL of COPY, bytes/row": {name: value / n_rows for name, value in n_bytes.items()},
    }


def weigh(designs: Sequence[Design], n_rows: int) -> dict[str, dict[str, float]]:
    """Return bytes per row, which are megabytes per million rows."""
    sizes = {design.schema: design.sizes() for design in designs}
    return {
        "rows, MB per million": {name: rows / n_rows for name, (rows, _) in sizes.items()},
        "indexes, MB per million": {name: indexes / n_rows for name, (_, indexes) in sizes.items()},
    }


def vacuum(designs: Sequence[Design], n_rows: int) -> dict[str, dict[str, float]]:
    """Return what the first VACUUM costs."""
    times, n_bytes = {}, {}
    for design in designs:
        before = wal_position(design.manager)
        times[design.schema] = 1e6 * seconds(design.vacuum) / n_rows
        n_bytes[design.schema] = (wal_position(design.manager) - before) / n_rows
    return {"VACUUM, s per million": times, "WAL of VACUUM, bytes/row": n_bytes}


def read(designs: Sequence[Design], numbers: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return what reading costs: one vector, its planning, one instrument, one date."""
    generator = np.random.default_rng(2)
    names = [name_of(2 * int(number)) for number in generator.choice(numbers, N_LOOKUPS)]
    days: list[date] = generator.choice(DATES, N_LOOKUPS).tolist()
    keys = list(zip(names, days, strict=True))

    def single(design: Design) -> float:
        specs = [(NumericWindowSpec("INSTRUMENT", name, WINDOW_DAYS), day) for name, day in keys]
        return 1e6 * seconds(lambda: [design.store.load_embedding(*spec, MODEL) for spec in specs]) / N_LOOKUPS

    def fetch(design: Design, query: str, values: Sequence[object]) -> float:
        with design.get_historical_connection() as connection:
            each = (connection.execute(query.encode(), (value,), binary=True).fetchall() for value in values)
            return 1e3 * seconds(lambda: list(each)) / len(values)

    return {
        "one vector, us": in_turn(designs, single),
        "its planning, us": {design.schema: planning_us(design, keys) for design in designs},
        "one instrument, ms": in_turn(designs, lambda design: fetch(design, HISTORY, names[:N_ROUNDS])),
        "one date of all, ms": in_turn(designs, lambda design: fetch(design, ONE_DATE, days[:N_ROUNDS])),
    }


def planning_us(design: Design, keys: Sequence[tuple[str, date]]) -> float:
    """Return the server's mean time to plan a lookup of one vector."""
    with design.get_historical_connection() as connection:
        plans = [connection.execute(f"EXPLAIN (SUMMARY) {SINGLE}".encode(), key).fetchall() for key in keys]
    lines = [line for plan in plans for (line,) in plan if line.startswith("Planning Time")]
    return 1e3 * statistics.mean(float(line.split()[2]) for line in lines)


def rewrite(designs: Sequence[Design], numbers: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return what an upsert of a stored chunk costs: of equal rows, and of other vectors."""
    chunk = next(chunks(numbers))
    names = [name_of(2 * number) for number in chunk]
    seeds = iter(range(1_000, 2_000))

    return {
        "upsert of equal rows, us/row": in_turn(designs, lambda design: design.save(batch_of(names, 0))),
        "upsert of changed rows, us/row": in_turn(designs, lambda design: design.save(batch_of(names, next(seeds)))),
    }


def remove_model(designs: Sequence[Design]) -> dict[str, dict[str, float]]:
    """Return what removing another model's chunks costs: by DELETE and VACUUM, or by dropping its partition."""
    times: dict[str, float] = {}
    for design in designs:
        for turn, chunk in enumerate(chunks(range(10 * PER_CHUNK))):
            design.save(batch_of([name_of(2 * number) for number in chunk], turn, OTHER_MODEL), is_new=True)
        times[design.schema] = 1e3 * seconds(design.remove_other_model)
    return {f"remove {10 * PER_CHUNK * N_DATES:,} rows of a model, ms": times}


def compare_levels(manager: DatabaseManager, levels: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return what a new window costs, and the check of a stored one, by the number of rows stored already."""
    tables = {f"{level:,}": Design(f"level_{level}", manager, is_covering=True) for level in levels}
    stored = dict(zip(tables, [range(max(PER_CHUNK, level // N_DATES)) for level in levels], strict=True))
    for name, table in tables.items():
        table.create()
        for turn, chunk in enumerate(chunks(stored[name])):
            table.save(batch_of([name_of(2 * number) for number in chunk], turn), is_new=True)
        table.vacuum()
    writes: dict[str, list[float]] = {name: [] for name in tables}
    checks: dict[str, list[float]] = {name: [] for name in tables}
    generator = np.random.default_rng(3)
    for turn in range(N_ROUNDS):
        for name in rotated(list(tables), turn):
            between = [name_of(2 * int(number) + 1) for number in range(turn * PER_CHUNK, (turn + 1) * PER_CHUNK)]
            writes[name].append(tables[name].save(batch_of(between, turn), is_new=True))
            checks[name].append(
                read_hashes(tables[name], generator.choice(stored[name], PER_CHUNK, replace=False).tolist())
            )
    for table in tables.values():
        table.drop()
    return {
        "write with so many stored, us/row": {name: statistics.median(values) for name, values in writes.items()},
        "check with so many stored, us/row": {name: statistics.median(values) for name, values in checks.items()},
    }


def read_hashes(design: Design, numbers: Sequence[int]) -> float:
    """Return microseconds per row of what a backfill with nothing to do reads, chunk by chunk."""
    began, n_rows = time.perf_counter(), 0
    for chunk in chunks(numbers):
        names = [name_of(2 * number) for number in chunk]
        n_rows += len(design.store.load_input_hashes("INSTRUMENT", names, MODEL, WINDOW_DAYS, DATES))
    return 1e6 * (time.perf_counter() - began) / n_rows


def read_hashes_of_year(design: Design) -> float:
    """Return microseconds per row of what a backfill of one year reads for many instruments at once."""
    names = [name_of(2 * number) for number in range(10 * PER_CHUNK)]
    dates = DATES[-SESSIONS_A_YEAR:]
    took = seconds(lambda: design.store.load_input_hashes("INSTRUMENT", names, MODEL, WINDOW_DAYS, dates))
    return 1e6 * took / (len(names) * len(dates))


def seconds(work: Callable[[], object]) -> float:
    """Return how long it took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(designs: Sequence[Design], figure: Callable[[Design], float], n_rounds: int = 3) -> dict[str, float]:
    """Return the median figure of each design, measured in turn."""
    found: dict[str, list[float]] = {design.schema: [] for design in designs}
    for turn in range(n_rounds):
        for design in rotated(designs, turn):
            found[design.schema].append(figure(design))
    return {name: statistics.median(values) for name, values in found.items()}


def rotated(items: Sequence[T], turn: int) -> list[T]:
    """Return the items in another order each turn, so that none is always first."""
    first = turn % len(items)
    return [*items[first:], *items[:first]]


def chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield as many instruments as a backfill writes at once."""
    for first in range(0, len(numbers), PER_CHUNK):
        yield numbers[first : first + PER_CHUNK]


def name_of(number: int) -> str:
    """Return a name of the usual length; an odd number lies between two even ones."""
    return f"T{number:05d}.US"


def batch_of(names: Sequence[str], seed: int, model_id: str = MODEL) -> EmbeddingBatch:
    """Return all dates of some instruments, with random vectors as long and as empty as the first version's."""
    n_rows = len(names) * N_DATES
    generator = np.random.default_rng(seed)
    vectors = np.zeros((n_rows, DIM), dtype=np.float32)
    vectors[:, : 3 * WINDOW_DAYS] = generator.normal(size=(n_rows, 3 * WINDOW_DAYS))
    return EmbeddingBatch(
        entity_type="INSTRUMENT",
        model_id=model_id,
        window_days=WINDOW_DAYS,
        entity_ids=tuple(names),
        entity_index=np.repeat(np.arange(len(names)), N_DATES),
        as_of_dates=np.tile(DATES, len(names)),
        input_hashes=generator.integers(-(2**63), 2**63 - 1, n_rows),
        vectors=vectors,
    )


def wal_position(manager: DatabaseManager) -> int:
    """Return how many bytes of WAL the server has written."""
    with manager.get_historical_connection() as connection:
        row = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::int8").fetchone()
    assert row is not None
    return int(row[0])


def to_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return one line per figure, under the names of what it was measured of."""
    lines, columns = [], None
    for figure, values in figures.items():
        if list(values) != columns:
            columns = list(values)
            lines.append(f"{'':<38}" + "".join(f"{name:>22}" for name in columns))
        lines.append(f"{figure:<38}" + "".join(f"{value:>22,.2f}" for value in values.values()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
