"""Macro events and news: loading and embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus.app.backfills import BackfillCase, DatabaseWorkFactory, EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_blocks import EmbeddedBlocks, are_kept
from prometheus.app.text_models import MODEL_ID_OF, RUNTIME_OF, is_own, open_text_model
from prometheus.backfill.plan import DateSpan, text_chunks
from prometheus.backfill.texts import TextBackfill
from prometheus.backfill.work import BackfillRun, run_of_nothing
from prometheus.core.runs import retry_lost_connection
from prometheus.data.text_reader import TextReader
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.texts.chunks import FLOAT32, available_cores, checked_precision
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.encoders.texts.portions import GPU_SCALE
from prometheus.encoders.texts.service import TextCounts, TextEmbeddingService
from prometheus.errors import UsageError
from prometheus.plugins import is_reference

if TYPE_CHECKING:
    from prometheus.ingest.report import IngestReport, TextIngestOptions
    from prometheus.ingest.series import SeriesOptions
    from prometheus.ingest.texts import TextIngest

RUNTIMES = ("onnx", "torch", *MODEL_ID_OF)


@dataclass(frozen=True, slots=True)
class TextRequest:
    """Text embeddings wanted, and by which model: of the hub, a local folder, or the user's own, by `hf_model_name`.

    `long_text` is ``mean`` of all chunks of a long text, or ``truncate`` to its first one; `runtime` is ``onnx``,
    ``static`` for the model's words without its network, ``multilingual`` for multilingual-e5-small (extra
    ``languages``), whatever `hf_model_name` says, or ``torch`` for any model of sentence-transformers (extra
    ``torch``), whose GPU computes at a `precision`.
    """

    span: DateSpan
    model_id: str
    hf_model_name: str
    long_text: str = "mean"
    limit: int | None = None
    timezone: str = "UTC"
    filters: Mapping[str, str | None] = field(default_factory=dict)
    runtime: str = "onnx"
    precision: str = FLOAT32

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise UsageError(f"--runtime {self.runtime!r}: choose from {', '.join(RUNTIMES)}")
        if checked_precision(self.precision) != FLOAT32 and not self.wants_gpu:
            raise UsageError(f"--precision {self.precision} needs --runtime torch, and a GPU")

    @property
    def wants_gpu(self) -> bool:
        """Whether the model uses a GPU if there is one: torch does."""
        return self.runtime == "torch"


class TextWorkFactory(DatabaseWorkFactory[TextRequest]):
    """Opens backfills of one text model."""

    @property
    def wants_gpu(self) -> bool:
        """Whether the work uses a GPU if there is one."""
        return self.request.wants_gpu

    def work(self, databases: DatabaseManager, n_processes: int) -> TextBackfill:
        """Return the steps over some databases and an own model."""
        request = self.request
        model = open_text_model(
            request.hf_model_name, request.runtime, request.long_text, self.config.home / "models",
            max(1, available_cores() // n_processes), request.precision,
        )  # fmt: skip
        store = TextEmbeddingStore(db_manager=databases)
        service = TextEmbeddingService(model=model, store=store, model_id=request.model_id)
        return TextBackfill(TextReader(databases), service)


class EmbedTexts(BackfillCase):
    """Loads texts, and computes and stores their embeddings."""

    kind = "text"

    def ingest_macro(self, files: Sequence[Path], options: TextIngestOptions) -> IngestReport:
        """Load files of macro events."""
        return retry_lost_connection(lambda: self._ingest().ingest_macro(files, options))

    def ingest_news(self, files: Sequence[Path], options: TextIngestOptions) -> IngestReport:
        """Load files of news."""
        return retry_lost_connection(lambda: self._ingest().ingest_news(files, options))

    def ingest_series(self, files: Sequence[Path], options: SeriesOptions) -> IngestReport:
        """Load files of levels, and the macro events that tell them."""
        from prometheus.ingest.series import SeriesIngest  # noqa: PLC0415 -- pyarrow is slow to import

        return retry_lost_connection(lambda: SeriesIngest(self._wired.db_manager).ingest_series(files, options))

    def embed(
        self, source_type: TextSourceType, request: TextRequest, choice: EngineChoice | None = None
    ) -> BackfillRun[TextCounts]:
        """Embed and store the macro events, or the news with headline and body joined, of a request.

        See `EngineChoice` for the engines. A dry run reports as ``written`` what would be, and writes nothing.
        InputRefusedError if no stored text passes a filter, or the model's id means another one; RetryableError or
        MissingExtraError if it cannot be used.
        """
        chosen = choice or EngineChoice(workers=1)
        blocks = EmbeddedBlocks(self._wired.db_manager, source_type, request) if are_kept(request) else None
        pages = self._wired.texts.iter_keys(
            source_type, request.span.start, request.span.end, limit=request.limit, timezone=request.timezone,
            without=frozenset() if blocks is None else blocks.done, **request.filters,
        )  # fmt: skip
        factory = TextWorkFactory(self._wired.config, request, self._wired.db_manager)
        if not factory.wants_gpu or is_reference(request.hf_model_name):
            is_own(request.hf_model_name)  # raises if the user's own text model lacks a method
        scale = GPU_SCALE if factory.wants_gpu else 1
        chunks = list(text_chunks(source_type, chain.from_iterable(pages), request.model_id, scale))
        if factory.wants_gpu and chosen.name == "local" and chosen.workers is None:
            chosen = replace(chosen, workers=1)  # torch takes the GPU, or all cores, by itself
        if blocks is None:
            return self._record(request.model_id, self._run(request.model_id, factory, chunks, TextCounts(), chosen))
        if blocks.is_all:  # no model is opened
            done = run_of_nothing(TextCounts(), is_dry=chosen.dry_run)
        else:
            done = self._run(request.model_id, factory, chunks, TextCounts(), chosen)
            if not done.is_dry and not done.failures:
                blocks.settle()
        return self._record(request.model_id, replace(done, report=done.report + blocks.counts))

    def runtime_of(self, model_id: str) -> str:
        """Return the runtime of a model id of settings: the one it is recorded with, or that it is named after."""
        config = self._wired.registry.load_config(model_id)
        if config is not None:
            return RUNTIME_OF.get(str(config.get("family")), "onnx")
        return next((runtime for runtime, name in MODEL_ID_OF.items() if name == model_id), "onnx")

    def _ingest(self) -> TextIngest:
        from prometheus.ingest.texts import TextIngest  # noqa: PLC0415 -- pyarrow is slow to import

        return TextIngest(self._wired.db_manager, self._wired.progress)
