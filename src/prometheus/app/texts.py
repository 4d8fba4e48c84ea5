"""Macro events and news: loading and embedding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from prometheus.app.backfills import BackfillName, Backfills, EngineChoice, databases_of
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_models import is_own, open_text_model
from prometheus.app.wiring import Wiring
from prometheus.backfill.plan import DateSpan, text_chunks
from prometheus.backfill.text import TextBackfill
from prometheus.backfill.work import BackfillRun, OpenedWork
from prometheus.core.config import PrometheusConfig
from prometheus.core.provenance import self_contained
from prometheus.core.runs import retry_lost_connection
from prometheus.data.postgres.locks import open_claims
from prometheus.data.text_reader import TextReader
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.texts.chunks import available_cores
from prometheus.encoders.texts.documents import TextKey, TextSourceType
from prometheus.encoders.texts.service import TextCounts, TextEmbeddingService
from prometheus.errors import UsageError
from prometheus.plugins import is_reference

if TYPE_CHECKING:
    from prometheus.ingest.report import TextIngestOptions, TextIngestReport
    from prometheus.ingest.texts import TextIngest

RUNTIMES = ("onnx", "torch")


@dataclass(frozen=True, slots=True)
class TextRequest:
    """Text embeddings wanted, and by which model.

    Attributes
    ----------
    hf_model_name
        A hub model, a local folder, or the user's own text model: an entry point, or ``module:Class``.
    long_text
        ``mean`` of all chunks of a long text, or ``truncate`` to its first one.
    runtime
        ``onnx``, or ``torch`` for any model of sentence-transformers (extra ``torch``).
    """

    span: DateSpan
    model_id: str
    hf_model_name: str
    long_text: str = "mean"
    limit: int | None = None
    timezone: str = "UTC"
    country: str | None = None
    event_type: str | None = None
    language: str | None = None
    runtime: str = "onnx"

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise UsageError(f"--runtime {self.runtime!r}: choose from {', '.join(RUNTIMES)}")


@dataclass(frozen=True)
class TextWorkFactory:
    """Opens backfills of one text model; a `prometheus.backfill.work.WorkFactory`.

    Attributes
    ----------
    databases
        Already open, for this process alone: they are not pickled.
    is_warm
        Opening takes a second and a few hundred megabytes: a process that does several chunks keeps it open.
    """

    config: PrometheusConfig
    request: TextRequest
    databases: DatabaseManager | None = None
    is_warm: ClassVar[bool] = True

    @property
    def wants_gpu(self) -> bool:
        """Whether the work uses a GPU if there is one: torch does."""
        return self.request.runtime == "torch"

    def require_usable(self) -> None:
        """Raise UsageError, naming the method, if the user's own text model lacks one."""
        if self.request.runtime != "torch" or is_reference(self.request.hf_model_name):
            is_own(self.request.hf_model_name)

    def __reduce__(self) -> tuple[type[TextWorkFactory], tuple[PrometheusConfig, TextRequest]]:
        return TextWorkFactory, (self_contained(self.config), self.request)

    @contextmanager
    def open(self, n_processes: int, /) -> Iterator[OpenedWork]:
        """Yield the work over its own connections and model."""
        with databases_of(self.config, self.databases) as databases, open_claims(databases) as claims:
            service = TextEmbeddingService(
                model=open_text_model(
                    self.request.hf_model_name, self.request.runtime, self.request.long_text,
                    self.config.home / "models", max(1, available_cores() // n_processes),
                ),
                store=TextEmbeddingStore(db_manager=databases),
                model_id=self.request.model_id,
            )  # fmt: skip
            yield OpenedWork(TextBackfill(TextReader(databases), service), claims)


class EmbedTexts:
    """Loads texts, and computes and stores their embeddings."""

    def __init__(self, wired: Wiring) -> None:
        self._wired = wired
        self._backfills = Backfills(wired)

    def ingest_macro(self, files: Sequence[Path], options: TextIngestOptions) -> TextIngestReport:
        """Load files of macro events."""
        return retry_lost_connection(lambda: self._ingest().ingest_macro(files, options))

    def ingest_news(self, files: Sequence[Path], options: TextIngestOptions) -> TextIngestReport:
        """Load files of news."""
        return retry_lost_connection(lambda: self._ingest().ingest_news(files, options))

    def embed_macro(self, request: TextRequest, choice: EngineChoice | None = None) -> BackfillRun[TextCounts]:
        """Embed and store the macro events of a request; see `EngineChoice` for the engines.

        A dry run reports as ``written`` what would be, and writes nothing.

        Raises
        ------
        InputRefusedError, RetryableError, MissingExtraError
            No stored event passes a filter, the model cannot be used, or its id means another one.
        """
        pages = self._wired.texts.iter_keys(
            "MACRO", request.span.start, request.span.end,
            country=request.country, event_type=request.event_type, limit=request.limit, timezone=request.timezone,
        )  # fmt: skip
        return self._embed("MACRO", pages, request, choice)

    def embed_news(self, request: TextRequest, choice: EngineChoice | None = None) -> BackfillRun[TextCounts]:
        """Embed and store the news of a request, headline and body joined; see `embed_macro`."""
        pages = self._wired.texts.iter_keys(
            "NEWS", request.span.start, request.span.end,
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
        factory = TextWorkFactory(self._wired.config, request, self._wired.db_manager)
        factory.require_usable()
        chunks = list(text_chunks(source_type, chain.from_iterable(pages), request.model_id))
        if factory.wants_gpu and chosen.name == "local" and chosen.workers is None:
            chosen = replace(chosen, workers=1)  # torch takes the GPU, or all cores, by itself
        named = BackfillName("text", request.model_id)
        return self._backfills.record(named, self._backfills.run(named, factory, chunks, TextCounts(), chosen))

    def _ingest(self) -> TextIngest:
        from prometheus.ingest.texts import TextIngest  # noqa: PLC0415 -- pyarrow is slow to import

        return TextIngest(self._wired.db_manager, self._wired.progress)
