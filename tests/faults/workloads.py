"""Commands that write, each small, with the state it begins from and the rows it must leave whatever is killed."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from benchmarks.servers import load_random_walks
from tests.fixtures.embedded_homes import Driver
from tests.fixtures.receivers import SECRET, Receiver

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig
from prometheus.data.migrations import DATABASE_NAMES, DatabaseName
from prometheus.ingest.sample import PRICES
from prometheus.server import HISTORICAL_DATABASE, RUNTIME_DATABASE

DATABASES: Mapping[DatabaseName, str] = dict(zip(DATABASE_NAMES, (HISTORICAL_DATABASE, RUNTIME_DATABASE), strict=True))
CALM, LATER = "2008-08-29", "2009-03-31"
INDEX = "GSPC.INDX"
REGIONS = {name: {"instrument_id": INDEX, "prototypes": "p.json"} for name in ("A", "B")}
ENCODER = "num-regime-core-v2"
N_INSTRUMENTS, N_DATES, N_LARGE = 8, 2_500, 46
N_TEXTS = 270
NEWS_WORDS = [
    "rates",
    "bank",
    "growth",
    "profit",
    "shares",
    "rose",
    "fell",
    "oil",
    "demand",
    "weak",
    "strong",
    "outlook",
]
_VOLATILE = ["created_at", "updated_at", "tried_at", "sequence", "attempts", "known_from", "known_at", "written_digest"]
"""Columns that say when a row was written, alone or in a digest, or how often that was tried."""
_COLUMNS = """
    SELECT string_agg(CASE WHEN data_type = 'bytea' THEN format('md5(%%I)', column_name)
                           ELSE quote_ident(column_name) END, ', ' ORDER BY column_name)
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s AND column_name <> ALL (%s)
"""
_ALERTS = """
    [channels.desk]
    type = "webhook"
    address = "{address}"
    secret = {{file = "key"}}
    allow_private = true
    [[rules]]
    name = "all"
    kinds = ["change", "probability"]
    level = 0.5
"""

Rows = Mapping[str, Counter[str]]
"""By table, how often each row is there, as a digest of all its values but the volatile ones."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A command, the SQL that takes back what it does, and the tables it writes, both by database."""

    name: str
    command: tuple[str, ...]
    forget: Mapping[DatabaseName, str]
    tables: Mapping[DatabaseName, tuple[str, ...]]
    has_workers: bool = False
    sends: bool = False
    entity: str = "%"
    """Of `numeric_window_embeddings`, which several workloads write, the rows that are this one's."""


def workloads() -> dict[str, Workload]:
    """Return all by name."""
    span = ("--date-range", "2000-01-01", "2025-01-31")
    small = [word for number in range(N_INSTRUMENTS) for word in ("--instrument-id", f"B{number:04d}")]
    large = [word for number in range(N_LARGE) for word in ("--instrument-id", f"B{number:04d}")]
    region, years = ("--region", "R"), ("--date-range", "2005-01-03", "2008-12-31")
    vectors, told = ("numeric_window_embeddings",), ("regimes", "regime_transitions", "alert_deliveries")
    found = (
        Workload(
            "numeric", ("backfill_numeric_embeddings", "--workers", "2", *span, *small),
            {"historical": "TRUNCATE numeric_window_embeddings"}, {"historical": vectors}, entity="B%",
            has_workers=True,
        ),
        Workload(
            "first fill", ("backfill_numeric_embeddings", "--workers", "1", *span, *large),
            {"historical": "TRUNCATE numeric_window_embeddings"}, {"historical": vectors}, entity="B%",
        ),
        Workload(
            "text", ("backfill_text_embeddings", "--workers", "2", *years),
            {"historical": "TRUNCATE text_embeddings CASCADE; TRUNCATE settled_work"},
            {"historical": ("text_embeddings",)}, has_workers=True,
        ),
        Workload(
            "regime", ("run_numeric_regime", *region, "--instrument-id", INDEX, *years, "--prototypes", "p.json"),
            {
                "historical": f"DELETE FROM numeric_window_embeddings WHERE entity_id = '{INDEX}'",
                "runtime": "DELETE FROM regimes WHERE region = 'R'; "
                "DELETE FROM regime_transitions WHERE region = 'R'",
            },
            {"historical": vectors, "runtime": ("regimes", "regime_transitions")}, entity=INDEX,
        ),
        Workload(
            "joint", ("backfill_joint_regime_context", *region, *years, "--numeric-model-id", ENCODER),
            {"historical": "TRUNCATE joint_embeddings; TRUNCATE settled_work"}, {"historical": ("joint_embeddings",)},
        ),
        Workload(
            "ingest", ("ingest", "prices", "bars.csv"),
            {"historical": "DELETE FROM prices_daily WHERE instrument_id LIKE 'F%'"}, {"historical": ("prices_daily",)},
        ),
        Workload(
            "nightly", ("nightly", "--as-of", LATER),
            {
                "historical": f"DELETE FROM numeric_window_embeddings WHERE entity_id = '{INDEX}' "
                f"AND as_of_date > '{CALM}'",
                "runtime": f"TRUNCATE alert_deliveries; UPDATE nightly_marks SET told_until = '{CALM}'; "
                f"DELETE FROM regimes WHERE region <> 'R' AND as_of_date > '{CALM}'; "
                f"DELETE FROM regime_transitions WHERE region <> 'R' AND as_of_date > '{CALM}'",
            },
            {"historical": vectors, "runtime": told}, sends=True, entity=INDEX,
        ),
        Workload(
            "alerts", ("alerts", "send"),
            {"runtime": "UPDATE alert_deliveries SET state = 'PENDING', attempts = 0 WHERE state = 'SENT'"},
            {"runtime": ("alert_deliveries",)}, sends=True,
        ),
    )  # fmt: skip
    return {each.name: each for each in found}


class Ground:
    """A home with everything the workloads begin from, and the rows that each leaves if nothing goes wrong."""

    def __init__(self, server: Driver, folder: Path, receiver: Receiver, names: Sequence[str]) -> None:
        self.server, self.receiver = server, receiver
        self._folder = folder
        self.planted: dict[str, str] = {}
        """By command, a module that is the same with a bug in it."""
        self._environment = {
            **os.environ,
            "PROMETHEUS_HOME": str(server.settings.home),
            "PROMETHEUS_REGIONS": json.dumps(REGIONS),
            "PROMETHEUS_ALERTS_FILE": "alerts.toml",
            "PYTHONPATH": os.pathsep.join(str(Path(each).resolve()) for each in sys.path if each),
        }
        self._prepare(set(names))

    def _prepare(self, names: set[str]) -> None:
        """Store what the commands named read."""
        (self._folder / "key").write_text(SECRET)
        (self._folder / "key").chmod(0o600)
        (self._folder / "alerts.toml").write_text(_ALERTS.format(address=self.receiver.address))
        databases = DatabaseManager(PrometheusConfig(home=self.server.settings.home))
        n_walks = N_LARGE if "first fill" in names else N_INSTRUMENTS
        load_random_walks(databases, n_walks, N_DATES + 62)
        databases.close_all()
        write_bars(self._folder / "bars.csv")
        all_of = workloads()
        if names & {"regime", "joint", "nightly", "alerts"}:
            self.run("ingest", "prices", str(PRICES))
            self.run(
                "calibrate", "--region", "R", "--instrument-id", INDEX, "--until", "2004-12-31", "--output", "p.json"
            )
        if names & {"text", "joint"}:
            write_news(self._folder / "news.csv")
            self.run("ingest", "news", "news.csv", "--language", "en")
        if "joint" in names:
            self.run(*all_of["text"].command)
            self.run(*all_of["regime"].command)
        if names & {"nightly", "alerts"}:
            self.run("nightly", "--as-of", CALM)
            self.run("nightly", "--as-of", LATER)

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Begin a command."""
        name, *options = command
        words = [self.planted[name]] if name in self.planted else ["prometheus", name]
        return subprocess.Popen(
            [sys.executable, "-m", *words, *options], env=self._environment, cwd=self._folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *command: str) -> float:
        """Run a command to its end, which must be a good one; return how long it took."""
        begin = time.monotonic()
        run = self.start(*command)
        _, words = run.communicate(timeout=300)
        if run.returncode == 1 and "under way" in words:  # the server has not seen yet that its client is dead
            return self.run(*command)
        assert run.returncode == 0, f"{command}: {words}"
        return time.monotonic() - begin

    def forget(self, workload: Workload) -> None:
        """Take back what a workload does."""
        self.receiver.forget()
        for database, statements in workload.forget.items():
            self.server.query(statements, DATABASES[database])

    def rows(self, workload: Workload) -> Rows:
        """Return what a workload's tables hold."""
        found = {}
        for database, tables in workload.tables.items():
            with self.server.connect(DATABASES[database]) as connection:
                for table in tables:
                    columns = connection.execute(_COLUMNS, (table, _VOLATILE)).fetchall()[0][0]
                    query = f"SELECT md5(row({columns})::text) FROM {table}"
                    if table == "numeric_window_embeddings":
                        query += f" WHERE entity_id LIKE '{workload.entity}'"
                    rows = connection.execute(query.encode()).fetchall()
                    found[table] = Counter(row[0] for row in rows)
        return found

    def told(self, workload: Workload) -> dict[str, list[str]]:
        """Return what the receiver has taken, by region, in order."""
        return {region: self.receiver.of(region) for region in REGIONS} if workload.sends else {}


def write_bars(path: Path) -> None:
    """Write bars of seeded random walks, as a user would have them."""
    chance = random.Random(5)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["instrument_id", "date", "close", "volume"])
        for number in range(6):
            close = 100.0
            for offset in range(4_000):
                day = date(2000, 1, 3) + timedelta(days=offset)
                if day.weekday() < 5:
                    close *= 1 + chance.gauss(0, 0.01)
                    rows.writerow([f"F{number}", day.isoformat(), f"{close:.4f}", chance.randrange(1_000, 100_000)])


def write_news(path: Path) -> None:
    """Write seeded news, one a session or so."""
    chance, words = random.Random(6), NEWS_WORDS
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["published_at", "headline", "body"])
        for number in range(N_TEXTS):
            at = datetime(2005, 1, 3, 12, tzinfo=UTC) + timedelta(days=5 * number)
            rows.writerow([at.isoformat(), " ".join(chance.choices(words, k=8)), " ".join(chance.choices(words, k=4))])
