"""Text embeddings wanted, and the work of a text backfill opened in whichever process it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from prometheus.app.backfills import databases_of
from prometheus.app.databases import DatabaseManager
from prometheus.backfill.plan import DateSpan
from prometheus.backfill.text import TextBackfill
from prometheus.backfill.work import OpenedWork
from prometheus.core.config import PrometheusConfig
from prometheus.core.provenance import self_contained
from prometheus.data.postgres.locks import open_claims
from prometheus.data.text_reader import TextReader
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.texts.chunks import available_cores
from prometheus.encoders.texts.service import TextEmbeddingService
from prometheus.errors import UsageError
from prometheus.protocols import TextEmbeddingModel

RUNTIMES = ("onnx", "torch")


@dataclass(frozen=True, slots=True)
class TextRequest:
    """Text embeddings wanted, and by which model.

    Attributes
    ----------
    hf_model_name
        A model of the hub, or a local folder.
    long_text
        ``mean`` of all chunks of a long text, or ``truncate`` to its first one.
    runtime
        ``onnx``, or ``torch`` for any model of sentence-transformers (extra ``torch``).

    Raises
    ------
    UsageError
        No such runtime.
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
        Open already, for this process alone: they do not travel.
    is_warm
        Opening takes a second and a few hundred megabytes: whoever does several chunks keeps one open.
    """

    config: PrometheusConfig
    request: TextRequest
    databases: DatabaseManager | None = None
    is_warm: ClassVar[bool] = True

    @property
    def wants_gpu(self) -> bool:
        """Whether a GPU would do the work: torch takes one where it finds one."""
        return self.request.runtime == "torch"

    def __reduce__(self) -> tuple[type[TextWorkFactory], tuple[PrometheusConfig, TextRequest]]:
        return TextWorkFactory, (self_contained(self.config), self.request)

    @contextmanager
    def open(self, n_processes: int, /) -> Iterator[OpenedWork]:
        """Yield the work over connections and a model of its own.

        Raises
        ------
        InputRefusedError, RetryableError, MissingExtraError
            There is no such model, or it cannot be run.
        """
        with databases_of(self.config, self.databases) as databases, open_claims(databases) as claims:
            service = TextEmbeddingService(
                model=self._open_model(max(1, available_cores() // n_processes)),
                store=TextEmbeddingStore(db_manager=databases),
                model_id=self.request.model_id,
            )
            yield OpenedWork(TextBackfill(TextReader(databases), service), claims)

    def _open_model(self, threads: int) -> TextEmbeddingModel:
        name, long_text = self.request.hf_model_name, self.request.long_text
        if self.request.runtime == "torch":  # it has threads of its own; fewer of them might change the last bits
            from prometheus.encoders.texts.torch_model import TorchTextEmbeddingModel  # noqa: PLC0415 -- optional

            return TorchTextEmbeddingModel(name, long_text=long_text)
        from prometheus.encoders.texts.onnx_model import open_text_model  # noqa: PLC0415 -- slow to import

        return open_text_model(name, cache_dir=self.config.home / "models", long_text=long_text, threads=threads)
