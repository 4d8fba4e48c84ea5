"""Numeric embeddings of many instruments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from prometheus.app.backfills import BackfillName, Backfills, EngineChoice, NumericWorkFactory, numeric_backfill
from prometheus.app.databases import DatabaseManager
from prometheus.app.encoding import EncoderWiring, warn_of_cut_windows
from prometheus.backfill.plan import BackfillReport, NumericRequest, numeric_chunks
from prometheus.backfill.run import BackfillRun
from prometheus.backfill.work import Progress
from prometheus.data.vectors.index import WindowIndex
from prometheus.data.vectors.numeric import NumericEmbeddingStore
from prometheus.errors import DatabaseError, UsageError
from prometheus.market.calendar import US_EQ

LARGE_LOAD_ROWS = 100_000

logger = logging.getLogger(__name__)


class EmbeddingTasks:
    """What is done with numeric embeddings."""

    def __init__(self, db_manager: DatabaseManager, progress: Progress) -> None:
        self._db = db_manager
        self._wiring = EncoderWiring(db_manager)
        self._backfills = Backfills(db_manager, progress)

    def backfill(self, request: NumericRequest, choice: EngineChoice | None = None) -> BackfillRun[BackfillReport]:
        """Compute and store the embeddings of a request; see `EngineChoice` for who does it.

        A dry run reports as ``written`` what would be, and writes nothing.
        """
        chosen = choice or EngineChoice(workers=1)
        chunks = [
            chunk
            for market, instrument_ids in self._by_market(request.instrument_ids).items()
            for chunk in numeric_chunks(
                replace(
                    request,
                    instrument_ids=tuple(instrument_ids),
                    span=self._wiring.at_session(request.span, market, instrument_ids),
                ),
                market,
            )
        ]
        warn_of_cut_windows(request.model_id, request.window_days)
        numeric_backfill(self._db, request.model_id).require_same()
        factory = NumericWorkFactory(self._db.config, request.model_id, self._db)
        named = BackfillName("numeric", request.model_id)
        tidying = _Tidying(NumericEmbeddingStore(db_manager=self._db))
        done = self._backfills.run(named, factory, chunks, BackfillReport(), chosen, tidying)
        if not chosen.dry_run:
            self._warn_of_stale_regimes(request.model_id, done.report.rewritten)
            if done.report.written:
                WindowIndex(self._db, request.model_id).sync()
        return done

    def select(
        self, instrument_ids: Sequence[str], market_id: str | None, limit: int | None, offset: int
    ) -> tuple[str, ...]:
        """Return the instruments named, and those of a market from `offset` on, each once.

        Raises
        ------
        UsageError
            Nothing is named, or nothing is there.
        """
        if not instrument_ids and market_id is None:
            raise UsageError("name instruments with --instrument-id or a market with --market-id")
        listed = self._wiring.catalog.list_instruments(market_id, limit, offset) if market_id is not None else []
        if not listed and not instrument_ids:
            raise UsageError(f"market {market_id} has no instruments from offset {offset} on")
        return tuple(dict.fromkeys([*instrument_ids, *listed]))

    def _by_market(self, instrument_ids: Sequence[str]) -> dict[str, list[str]]:
        markets = self._wiring.catalog.markets_of(instrument_ids)
        grouped: dict[str, list[str]] = {}
        for instrument_id in instrument_ids:
            grouped.setdefault(markets.get(instrument_id, US_EQ), []).append(instrument_id)
        return grouped

    def _warn_of_stale_regimes(self, model_id: str, rewritten: Sequence[str]) -> None:
        """Name the regimes that rest on rewritten embeddings; only their prototypes can tell the new labels."""
        if not rewritten:
            return
        from prometheus.data.regimes import RegimeStorage  # noqa: PLC0415 -- rarely needed, and slow to import

        storage = RegimeStorage(db_manager=self._db)
        for region, regime_model_id, instrument_id in storage.regions_made_of(model_id, rewritten):
            logger.warning(
                "embeddings of %s were rewritten, and regimes of %s by %s rest on them; bring those in step with: "
                "python -m prometheus run_numeric_regime --region %s --instrument-id %s --date-range START END",
                instrument_id, region, regime_model_id, region, instrument_id,
            )  # fmt: skip


class _Tidying:
    """Keeps a table tidy while it is being filled: whenever enough rows are new, and once more at the end.

    A context; left by an error it tidies no more. Done meanwhile, by another core, most of the work costs no time.
    """

    def __init__(self, store: NumericEmbeddingStore) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prometheus-tidying")
        self._running: Future[None] | None = None
        self._is_large = False
        self._n_new = 0

    def __enter__(self) -> Callable[[BackfillReport], None]:
        return self.hear

    def hear(self, report: BackfillReport) -> None:
        """Count the rows of a chunk."""
        self._n_new += report.written
        is_idle = self._running is None or self._running.done()
        if self._n_new >= LARGE_LOAD_ROWS and is_idle:
            self._is_large, self._n_new = True, 0
            self._running = self._pool.submit(self._tidy, is_last=False)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._is_large:
            self._pool.submit(self._tidy, is_last=True)
        self._pool.shutdown(wait=kind is None)

    def _tidy(self, *, is_last: bool) -> None:
        try:
            self._store.tidy(analyze=is_last)
        except DatabaseError as error:  # the rows are stored: what is left is the server's to do
            logger.warning("the table was not tidied, the server will do it later: %s", error)
