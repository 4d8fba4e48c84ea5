"""Opens the work of a backfill, in whichever process it is done, and chooses who does it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from prometheus.app.databases import DatabaseManager
from prometheus.app.encoding import EncoderWiring
from prometheus.backfill.numeric import NumericBackfill
from prometheus.backfill.run import BackfillRun, Beside, SumT, run_backfill
from prometheus.backfill.runner import InProcess, ReadyWork
from prometheus.backfill.work import Chunk, ChunkWork, Engine, OpenedWork, Progress, WorkFactory
from prometheus.core.config import PrometheusConfig
from prometheus.core.provenance import self_contained
from prometheus.data.postgres.locks import open_claims
from prometheus.data.run_log import LoggedRun, RunLog
from prometheus.encoders.numeric.windows import NumericWindowBuilder
from prometheus.encoders.texts.chunks import available_cores
from prometheus.errors import UsageError
from prometheus.market.calendar import US_EQ

logger = logging.getLogger(__name__)

ENGINES = ("local", "ray")
MAX_WORKERS = 1_024


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Who does the chunks of a backfill, as the user named it.

    Attributes
    ----------
    workers
        Local processes; None for one per core.
    ray_address
        Of a Ray cluster; None for ``RAY_ADDRESS``, or a cluster of this machine alone.

    Raises
    ------
    UsageError
        No such engine, or a number of workers that cannot be.
    """

    name: str = "local"
    workers: int | None = None
    ray_address: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UsageError(f"--engine {self.name!r}: choose from {', '.join(ENGINES)}")
        if self.workers is not None and not 1 <= self.workers <= MAX_WORKERS:
            raise UsageError(f"--workers {self.workers}: choose from 1 to {MAX_WORKERS}")
        if self.ray_address is not None and self.name != "ray":
            raise UsageError("--ray-address belongs to --engine ray")

    def engine(self, config: PrometheusConfig) -> Engine:
        """Return the engine.

        Raises
        ------
        UsageError
            A cluster whose other machines cannot reach the database.
        MissingExtraError
            Ray is not installed.
        """
        if self.name == "ray":
            from prometheus.backfill.ray.engine import RayEngine  # noqa: PLC0415 -- optional, slow to import

            return RayEngine(self.ray_address, self.workers, is_local_database(config), dry_run=self.dry_run)
        n_workers = self.workers or available_cores()
        if self.dry_run or n_workers == 1:
            return InProcess(dry_run=self.dry_run)
        from prometheus.backfill.workers import LocalWorkers  # noqa: PLC0415 -- one process needs no others

        return LocalWorkers(n_workers)


class Backfills:
    """Carries backfills out and keeps the log of them.

    Parameters
    ----------
    db_manager
        The databases; of the log, too.
    """

    def __init__(self, db_manager: DatabaseManager, progress: Progress) -> None:
        self._db_manager = db_manager
        self._config = db_manager.config
        self._log = RunLog(db_manager)
        self._progress = progress

    def run(
        self,
        named: BackfillName,
        factory: WorkFactory,
        chunks: Sequence[Chunk],
        nothing: SumT,
        choice: EngineChoice,
        beside: Beside[SumT] | None = None,
    ) -> BackfillRun[SumT]:
        """Do every chunk as was chosen; a dry run estimates how long it would take at the rate of the last one.

        Parameters
        ----------
        nothing, beside
            As for `run_backfill`.
        """
        engine = choice.engine(self._config)
        done = run_backfill(engine, factory, chunks, nothing, self._progress, None if choice.dry_run else beside)
        if choice.dry_run:
            rate = self._log.seconds_per_row(named.kind, named.model_id) if done.report.written else 0.0
            return replace(done, is_dry=True, estimated_seconds=None if rate is None else rate * done.report.written)
        report = done.report
        self._log.record(
            LoggedRun(
                done.run_id, named.kind, named.model_id, report.planned, report.written, len(done.failures),
                report.n_bytes, done.seconds,
            )
        )  # fmt: skip
        return done

    def run_here(
        self,
        named: BackfillName,
        work: ChunkWork[Any, SumT],
        chunks: Sequence[Chunk],
        nothing: SumT,
        *,
        dry_run: bool = False,
    ) -> BackfillRun[SumT]:
        """Do every chunk in this process, with work that is open already."""
        with open_claims(self._db_manager) as claims:
            return self.run(named, ReadyWork(work, claims), chunks, nothing, EngineChoice(workers=1, dry_run=dry_run))


@dataclass(frozen=True, slots=True)
class BackfillName:
    """What the log calls a backfill: its kind (numeric, regime, text or joint) and the model that made the rows."""

    kind: str
    model_id: str


@dataclass(frozen=True)
class NumericWorkFactory:
    """Opens backfills of one numeric encoder; a `prometheus.backfill.work.WorkFactory`.

    Attributes
    ----------
    databases
        Open already, for this process alone: they do not travel.
    """

    config: PrometheusConfig
    model_id: str
    databases: DatabaseManager | None = None

    def __reduce__(self) -> tuple[type[NumericWorkFactory], tuple[PrometheusConfig, str]]:
        return NumericWorkFactory, (self_contained(self.config), self.model_id)

    @contextmanager
    def open(self, _n_processes: int, /) -> Iterator[OpenedWork]:
        """Yield the work over connections of its own."""
        with databases_of(self.config, self.databases) as databases, open_claims(databases) as claims:
            yield OpenedWork(numeric_backfill(databases, self.model_id), claims)


def numeric_backfill(databases: DatabaseManager, model_id: str) -> NumericBackfill:
    """Return the steps of a numeric backfill over these databases."""
    wiring = EncoderWiring(databases)

    @cache
    def builder_of(market: str) -> NumericWindowBuilder:
        return wiring.builder(market, model_id)

    return NumericBackfill(builder_of, wiring.encoder(builder_of(US_EQ), model_id), wiring.reader)


def is_local_database(config: PrometheusConfig) -> bool:
    """Return whether the databases can be reached from this machine alone: embedded, by socket or by loopback."""
    if config.uses_embedded_server:
        return True
    resolved = self_contained(config)
    secrets = (resolved.historical_dsn, resolved.runtime_dsn)
    return any(_is_loopback(secret.get_secret_value() if secret else "") for secret in secrets)


def _is_loopback(dsn: str) -> bool:
    given = conninfo_to_dict(dsn)
    host = str(given.get("hostaddr") or given.get("host") or "")
    return not host or host.startswith(("/", "@", "127.", "localhost", "::1"))


@contextmanager
def databases_of(config: PrometheusConfig, opened: DatabaseManager | None) -> Iterator[DatabaseManager]:
    """Yield databases that are open already, or new ones that are closed at the end."""
    if opened is not None:
        yield opened
        return
    databases = DatabaseManager(config, announce=logger.info)
    try:
        yield databases
    finally:
        databases.close_all()
