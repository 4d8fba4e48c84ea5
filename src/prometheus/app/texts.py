"""Macro events and news in, and their embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus.app.backfills import BackfillName, Backfills, EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_work import TextRequest, TextWorkFactory
from prometheus.backfill.plan import text_chunks
from prometheus.backfill.run import BackfillRun
from prometheus.backfill.work import Progress
from prometheus.core.retry import retry_lost_connection
from prometheus.data.text_reader import TextReader
from prometheus.encoders.texts.documents import TextKey, TextSourceType
from prometheus.encoders.texts.service import TextCounts

if TYPE_CHECKING:
    from prometheus.ingest.report import TextIngestOptions, TextIngestReport


class TextTasks:
    """What is done with texts."""

    def __init__(self, db_manager: DatabaseManager, progress: Progress) -> None:
        self._db = db_manager
        self._progress = progress

    def ingest_macro(self, files: Sequence[Path], options: TextIngestOptions) -> TextIngestReport:
        """Load files of macro events."""
        from prometheus.ingest.texts import TextIngest  # noqa: PLC0415 -- pyarrow is slow to import

        ingest = TextIngest(self._db, self._progress)
        return retry_lost_connection(lambda: ingest.ingest_macro(files, options))

    def ingest_news(self, files: Sequence[Path], options: TextIngestOptions) -> TextIngestReport:
        """Load files of news."""
        from prometheus.ingest.texts import TextIngest  # noqa: PLC0415 -- pyarrow is slow to import

        ingest = TextIngest(self._db, self._progress)
        return retry_lost_connection(lambda: ingest.ingest_news(files, options))

    def embed_macro(self, request: TextRequest, choice: EngineChoice | None = None) -> BackfillRun[TextCounts]:
        """Embed and store the macro events of a request; see `EngineChoice` for who does it.

        A dry run reports as ``written`` what would be, and writes nothing.

        Raises
        ------
        InputRefusedError, RetryableError, MissingExtraError
            No stored event meets a filter, the model cannot be used, or its id means another one.
        """
        pages = TextReader(self._db).iter_macro_keys(
            request.span.start, request.span.end,
            country=request.country, event_type=request.event_type, limit=request.limit, timezone=request.timezone,
        )  # fmt: skip
        return self._embed("MACRO", pages, request, choice)

    def embed_news(self, request: TextRequest, choice: EngineChoice | None = None) -> BackfillRun[TextCounts]:
        """Embed and store the news of a request, headline and body joined; as for macro events."""
        pages = TextReader(self._db).iter_news_keys(
            request.span.start, request.span.end,
            language=request.language, limit=request.limit, timezone=request.timezone,
        )  # fmt: skip
        return self._embed("NEWS", pages, request, choice)

    def _embed(
        self,
        source_type: TextSourceType,
        pages: Iterable[Sequence[TextKey]],
        request: TextRequest,
        choice: EngineChoice | None,
    ) -> BackfillRun[TextCounts]:
        chosen = choice or EngineChoice(workers=1)
        chunks = list(text_chunks(source_type, chain.from_iterable(pages), request.model_id))
        factory = TextWorkFactory(self._db.config, request, self._db)
        if factory.wants_gpu and chosen.name == "local" and chosen.workers is None:
            chosen = replace(chosen, workers=1)  # torch takes the GPU, or all cores, by itself
        named = BackfillName("text", request.model_id)
        return Backfills(self._db, self._progress).run(named, factory, chunks, TextCounts(), chosen)
