"""Backfills: the engine that was chosen, the work opened in whichever process it is done, and numeric embeddings."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, Self, TypeVar

from prometheus.app.databases import DatabaseManager
from prometheus.app.prices import PriceHistories
from prometheus.app.wiring import UseCase, Wiring, warn_of_cut_windows
from prometheus.backfill.embeddings import NumericBackfill
from prometheus.backfill.local import InProcess, LocalWorkers, ReadyWork
from prometheus.backfill.plan import CHUNK_WINDOWS, BackfillReport, Chunk, NumericRequest, Skipped
from prometheus.backfill.work import (
    BackfillRun,
    ChunkWork,
    Engine,
    OpenedWork,
    Progress,
    ReportListener,
    SumT,
    WorkFactory,
    run_backfill,
)
from prometheus.core.config import PrometheusConfig
from prometheus.core.dsn import read_dsn
from prometheus.core.provenance import self_contained
from prometheus.core.runs import retry_lost_connection
from prometheus.data.models import LoggedRun
from prometheus.data.postgres.connections import OwnedDatabase
from prometheus.data.postgres.locks import open_claims
from prometheus.data.vectors.first_fill import first_fill
from prometheus.data.vectors.numeric import NumericEmbeddingStore, checkpoint
from prometheus.encoders.catalogue import create_numeric_model, stored_model_id
from prometheus.errors import DatabaseError, InsufficientHistoryError, PrometheusError, UsageError
from prometheus.market.calendar import US_EQ
from prometheus.market.quality import DEFECTS

logger = logging.getLogger(__name__)

ENGINES = ("local", "ray")
MAX_WORKERS = 1_024
LARGE_LOAD_ROWS = 100_000
FIRST_FILL_S = 60.0
"""How long others may wait for a table that is filled for the first time, and what a killed run may lose."""
FIRST_FILL_CORES = 2
RequestT = TypeVar("RequestT")


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine of a backfill, as the user named it.

    Without `workers` there is one local process per core, or one task per CPU of the cluster; without `ray_address` the
    cluster is that of ``RAY_ADDRESS``, or one of this machine alone.
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
        """Return the engine; MissingExtraError if Ray is not installed."""
        if self.name == "ray":
            from prometheus.backfill.ray import RayEngine  # noqa: PLC0415 -- optional, slow to import

            return RayEngine(self.ray_address, self.workers, is_local_database(config), dry_run=self.dry_run)
        n_workers = self.workers or _one_per_core()
        return InProcess(dry_run=self.dry_run) if self.dry_run or n_workers == 1 else LocalWorkers(n_workers)


def _one_per_core() -> int:
    from prometheus.encoders.texts.chunks import available_cores  # noqa: PLC0415 -- one date is done in this process

    return available_cores()


class BackfillCase(UseCase):
    """Runs backfills of one kind (numeric, regime, text or joint); the log has them by kind and model of the rows."""

    kind: ClassVar[str]

    def _run(
        self, model_id: str, factory: WorkFactory, chunks: Sequence[Chunk], nothing: SumT, choice: EngineChoice,
        reports_to: ReportListener[SumT] | None = None, progress: Progress | None = None,
    ) -> BackfillRun[SumT]:  # fmt: skip
        """Run every chunk; a dry run estimates its duration from the rate of the last run."""
        chosen = choice.engine(self._wired.config)
        engine = chosen if chunks else InProcess(dry_run=choice.dry_run)  # no cluster is started for nothing
        listener = None if choice.dry_run else reports_to
        if isinstance(engine, LocalWorkers):
            self._wired.db_manager.close_all()  # the workers may need what lies idle here
        done = run_backfill(engine, factory, chunks, nothing, progress or self._wired.progress, listener)
        if not choice.dry_run:
            return done
        rate = self._wired.runs.seconds_per_row(self.kind, model_id) if done.report.written else 0.0
        return replace(done, is_dry=True, estimated_seconds=None if rate is None else rate * done.report.written)

    def _record(self, model_id: str, done: BackfillRun[SumT]) -> BackfillRun[SumT]:
        """Log a run, unless it was a dry one; return it."""
        if not done.is_dry:
            report = done.report
            counts = (report.planned, report.written, len(done.failures), report.n_bytes)
            self._wired.runs.record(LoggedRun(done.run_id, self.kind, model_id, *counts, done.seconds))
        return done

    def _run_here(
        self, model_id: str, work: ChunkWork[SumT], chunks: Sequence[Chunk], nothing: SumT, *, dry_run: bool,
        progress: Progress | None = None,
    ) -> BackfillRun[SumT]:  # fmt: skip
        """Run every chunk in this process, over open work, and log the run."""
        choice = EngineChoice(workers=1, dry_run=dry_run)
        with open_claims(self._wired.db_manager) as claims:
            done = self._run(model_id, ReadyWork(work, claims), chunks, nothing, choice, progress=progress)
            return self._record(model_id, done)


@dataclass(frozen=True)
class DatabaseWorkFactory(ABC, Generic[RequestT]):
    """Opens backfills; `databases` are already open, for this process alone: they are not pickled."""

    config: PrometheusConfig
    request: RequestT
    databases: DatabaseManager | None = None

    def __reduce__(self) -> tuple[type[Self], tuple[PrometheusConfig, RequestT]]:
        return type(self), (self_contained(self.config), self.request)

    @contextmanager
    def open(self, n_processes: int, /) -> Iterator[OpenedWork]:
        """Yield the work, for one of `n_processes` that share this machine's cores."""
        databases = self.databases or DatabaseManager(
            self.config, announce=logger.info, n_processes=n_processes, is_known=True
        )
        try:
            with open_claims(databases) as claims:
                yield OpenedWork(self.work(databases, n_processes), claims)
        finally:
            if self.databases is None:
                databases.close_all()

    @abstractmethod
    def work(self, databases: DatabaseManager, n_processes: int) -> ChunkWork[Any]:
        """Return the steps over some databases."""


@dataclass(frozen=True)
class NumericWorkFactory(DatabaseWorkFactory[str]):
    """Opens backfills of the numeric encoder of a model id.

    `is_large`: a single process is to write many rows, so it fills an empty table in one go. Not pickled: several
    processes cannot share that.
    """

    is_large: bool = False

    @contextmanager
    def open(self, n_processes: int, /) -> Iterator[OpenedWork]:
        """Yield the work, for one of `n_processes` that share this machine's cores."""
        if not self.is_large or self.databases is None:
            with super().open(n_processes) as opened:
                yield opened
            return
        with open_claims(self.databases) as claims, first_fill(self.databases, FIRST_FILL_S) as store:
            yield OpenedWork(Wiring(self.databases).numeric_backfill(self.request, store), claims)

    def work(self, databases: DatabaseManager, n_processes: int) -> NumericBackfill:  # noqa: ARG002 -- one thread each
        """Return the steps over some databases."""
        return Wiring(databases).numeric_backfill(self.request)


def is_local_database(config: PrometheusConfig) -> bool:
    """Return whether the databases can be reached from this machine alone: embedded, by socket or by loopback."""
    if config.uses_embedded_server:
        return True
    resolved = self_contained(config)
    secrets = (resolved.historical_dsn, resolved.runtime_dsn)
    return any(_is_loopback(secret.get_secret_value() if secret else "") for secret in secrets)


def _is_loopback(dsn: str) -> bool:
    given = read_dsn(dsn, "a DSN")
    host = given.get("hostaddr") or given.get("host") or ""
    return not host or host.startswith(("/", "@", "127.", "localhost", "::1"))


class EmbedWindows(BackfillCase):
    """Computes and stores the numeric embeddings of many instruments."""

    kind = "numeric"

    def backfill(self, request: NumericRequest, choice: EngineChoice | None = None) -> BackfillRun[BackfillReport]:
        """Compute and store the embeddings of a request; a dry run reports as ``written`` what would be.

        A first fill that loses its server has stored nothing of its last minute: it is planned and done again.
        """
        return retry_lost_connection(partial(self._backfill, request, choice or EngineChoice(workers=1)))

    def _backfill(self, request: NumericRequest, chosen: EngineChoice) -> BackfillRun[BackfillReport]:
        warn_of_cut_windows(create_numeric_model(request.model_id), request.window_days)
        parts = [self._without_ended(part, market) for market, part in self._by_market(request)]
        work = self._wired.numeric_backfill(request.model_id)
        work.encoder.require_same()
        model_id = stored_model_id(request.model_id)
        left = [work.remaining(part, market) for market, part, _ in parts]
        chunks = [chunk for each in left for chunk in each.chunks]
        nothing = BackfillReport(planned=sum(each.n_covered for each in left))
        is_large = len(chunks) * CHUNK_WINDOWS >= LARGE_LOAD_ROWS
        chosen, is_first = self._for_first_fill(chosen) if is_large else (chosen, False)
        factory = NumericWorkFactory(self._wired.config, request.model_id, self._wired.db_manager, is_first)
        done = self._run(model_id, factory, chunks, nothing, chosen, self._tidying())
        if request.members:
            done = self._without_young(done, parts)
        self._record(model_id, done)
        if not chosen.dry_run:
            self._warn_of_stale_regimes(model_id, done.report.rewritten)
            if done.report.written:
                self._wired.sync_window_index(model_id)
        return done

    def select(
        self, instrument_ids: Sequence[str], market_id: str | None, limit: int | None, offset: int
    ) -> tuple[str, ...]:
        """Return the instruments named, and those of a market from `offset` on, each once."""
        if not instrument_ids and market_id is None:
            raise UsageError("name instruments with --instrument-id or a market with --market-id")
        listed = self._wired.catalog.list_instruments(market_id, limit, offset) if market_id is not None else []
        if not listed and not instrument_ids:
            raise UsageError(f"market {market_id} has no instruments from offset {offset} on")
        return tuple(dict.fromkeys([*instrument_ids, *listed]))

    def _for_first_fill(self, chosen: EngineChoice) -> tuple[EngineChoice, bool]:
        """Return the engine for a large load, and whether it may fill an empty table in one go.

        It may on the embedded server alone: users of another one need not wait for us. Of its own accord a run takes
        one process for that where several are no faster, on up to two cores.
        """
        may_be_first = (
            self._wired.config.uses_embedded_server and chosen.name == "local" and not chosen.dry_run
            and chosen.workers in (None, 1) and self._wired.vectors.is_empty()
        )  # fmt: skip
        if not may_be_first or (chosen.workers is None and _one_per_core() > FIRST_FILL_CORES):
            return chosen, False
        return replace(chosen, workers=1), True

    def _by_market(self, request: NumericRequest) -> Iterator[tuple[str, NumericRequest]]:
        """Yield the part of a request in each market, its date moved to a session of it."""
        markets = self._wired.catalog.markets_of(request.instrument_ids)
        grouped: dict[str, list[str]] = {}
        for instrument_id in request.instrument_ids:
            grouped.setdefault(markets.get(instrument_id, US_EQ), []).append(instrument_id)
        for market, names in grouped.items():
            span = self._wired.at_session(request.span, market, names)
            yield market, replace(request, instrument_ids=tuple(names), span=span)

    def _without_ended(self, part: NumericRequest, market: str) -> tuple[str, NumericRequest, Skipped]:
        members = [name for name in part.instrument_ids if name in part.members]
        skipped = PriceHistories(self._wired).skipped(members, market, part.span.start, part.span.end)
        return market, replace(part, instrument_ids=tuple(skipped.rest(part.instrument_ids))), skipped

    def _without_young(
        self, done: BackfillRun[BackfillReport], parts: Sequence[tuple[str, NumericRequest, Skipped]]
    ) -> BackfillRun[BackfillReport]:
        """Count members with too few sessions as skipped, with those left out before."""
        skipped = Skipped()
        for market, part, left_out in parts:
            members = part.members.intersection(part.instrument_ids)
            short = {
                each.instrument_id: (each.as_of, each.needed)
                for each in done.report.failures
                if isinstance(each, InsufficientHistoryError) and each.instrument_id in members
            }
            skipped += left_out + PriceHistories(self._wired).too_short(short, market)
        failures = [each for each in done.report.failures if getattr(each, "instrument_id", None) not in skipped]
        return replace(done, report=replace(done.report, failures=tuple(failures)), skipped=skipped)

    def _warn_of_stale_regimes(self, model_id: str, rewritten: Sequence[str]) -> None:
        """Name the regimes that rest on rewritten embeddings; new labels need their prototypes."""
        if not rewritten:
            return
        for region, regime_model_id, instrument_id in self._wired.storage.regions_made_of(model_id, rewritten):
            logger.warning(
                "embeddings of %s were rewritten, and regimes of %s by %s rest on them; bring those in step with: "
                "python -m prometheus run_numeric_regime --region %s --instrument-id %s --date-range START END",
                instrument_id, region, regime_model_id, region, instrument_id,
            )  # fmt: skip

    def _tidying(self) -> ReportListener[BackfillReport]:
        manager = self._wired.db_manager
        return _tidying(self._wired.vectors, manager if self._wired.config.uses_embedded_server else None)


@contextmanager
def _tidying(store: NumericEmbeddingStore, ours: OwnedDatabase | None) -> Iterator[Callable[[BackfillReport], None]]:
    """Tidy a table in another thread while it is filled: after every `LARGE_LOAD_ROWS` new rows, and at the end.

    In the end a server of ours gives back its WAL.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prometheus-tidying")
    running: Future[None] | None = None
    n_new = 0

    def tidy(*, is_last: bool) -> None:
        try:
            store.tidy(analyze=is_last)
            if is_last and ours is not None:
                checkpoint(ours)
        except DatabaseError as error:  # the rows are stored: what is left is the server's to do
            logger.warning("the table was not tidied, the server will do it later: %s", error)

    def count(report: BackfillReport) -> None:
        nonlocal running, n_new
        n_new += report.written
        if n_new >= LARGE_LOAD_ROWS and (running is None or running.done()):
            n_new = 0
            running = pool.submit(tidy, is_last=False)

    try:
        yield count
    except BaseException:
        pool.shutdown(wait=False)
        raise
    if running is not None:
        pool.submit(tidy, is_last=True)
    pool.shutdown()


@contextmanager
def noting(failures: list[str]) -> Iterator[None]:
    """Note an error and go on; a database error is raised."""
    try:
        yield
    except DatabaseError:
        raise
    except PrometheusError as error:
        failures.append(" ".join(str(error).split()))
    except DEFECTS as error:  # of one region or head must not cost the others
        logger.exception("a defect of this program")
        failures.append(f"unexpected {type(error).__name__}: {' '.join(str(error).split())}")
