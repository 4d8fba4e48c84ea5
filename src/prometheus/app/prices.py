"""Prices and instruments in, and what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus.app.databases import DatabaseManager
from prometheus.backfill.work import Progress
from prometheus.core.retry import retry_lost_connection

if TYPE_CHECKING:
    from prometheus.data.report import InstrumentReport
    from prometheus.ingest.report import IngestOptions, IngestReport


class PriceTasks:
    """What is done with files of prices and instruments."""

    def __init__(self, db_manager: DatabaseManager, progress: Progress) -> None:
        self._db = db_manager
        self._progress = progress

    def ingest_prices(self, files: Sequence[Path], options: IngestOptions) -> IngestReport:
        """Load files of daily bars."""
        from prometheus.ingest.prices import PriceIngest  # noqa: PLC0415 -- pyarrow is slow to import

        ingest = PriceIngest(self._db, self._progress)
        return retry_lost_connection(lambda: ingest.ingest_prices(files, options))

    def ingest_instruments(self, file: Path, options: IngestOptions) -> IngestReport:
        """Load a file of reference rows."""
        from prometheus.ingest.prices import PriceIngest  # noqa: PLC0415 -- pyarrow is slow to import

        ingest = PriceIngest(self._db, self._progress)
        return retry_lost_connection(lambda: ingest.ingest_instruments(file, options))

    def report(self, instrument_ids: Sequence[str] | None, market_id: str | None) -> list[InstrumentReport]:
        """Return what is stored of each instrument, and what looks wrong with it."""
        from prometheus.data.report import build_data_report  # noqa: PLC0415 -- no other command needs it

        return build_data_report(self._db, instrument_ids=instrument_ids, market_id=market_id)
