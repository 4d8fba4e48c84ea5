"""Macro events and news, their embeddings, and the joint space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prometheus.backfill.joint import JointRequest, JointRun, load_examples, run_joint_backfill
from prometheus.backfill.numeric import Progress
from prometheus.backfill.plan import DateSpan
from prometheus.core.database import DatabaseManager
from prometheus.core.retry import retry_lost_connection
from prometheus.data.reader import DataReader
from prometheus.encoders.joint import JointEmbeddingService, JointEmbeddingStore, JointSpace, StoredJointEmbedding
from prometheus.encoders.models_joint_centred import (
    DEFAULT_NUMERIC_WEIGHT,
    FAMILY,
    BranchCentres,
    CentredJointModel,
    numeric_weight_of,
    unit_rows,
)
from prometheus.encoders.models_joint_simple import SimpleAverageJointModel
from prometheus.encoders.protocols import JointEmbeddingModel, TextEmbeddingModel
from prometheus.encoders.registry import ModelRegistry
from prometheus.encoders.text import TextCounts, TextEmbeddingService, TextEmbeddingStore
from prometheus.encoders.text_daily import DailyTextReader
from prometheus.errors import NoJointRowsError, UnknownInstrumentError, UsageError
from prometheus.evaluation.neighbours import HarmCheck, check_harm, forward_log_volatility
from prometheus.regime import RegimeStorage

if TYPE_CHECKING:
    from prometheus.data.text_options import TextIngestOptions, TextIngestReport

ENGINES = ("onnx", "torch")
CENTRED_FAMILY_PREFIX = "joint-regime-core-v2"


@dataclass(frozen=True, slots=True)
class TextRequest:
    """Text embeddings wanted, and by which model.

    Attributes
    ----------
    hf_model_name
        A model of the hub, or a local folder.
    long_text
        ``mean`` of all chunks of a long text, or ``truncate`` to its first one.
    engine
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
    engine: str = "onnx"

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"--engine {self.engine!r}: choose from {', '.join(ENGINES)}")


@dataclass(frozen=True, slots=True)
class JointModelChoice:
    """Which models a joint backfill uses, as the user named them.

    Raises
    ------
    UsageError
        Weights and a share at once, or weights that make no average.
    """

    numeric_model_id: str
    text_model_id: str
    joint_model_id: str
    numeric_weight: float | None = None
    text_weight: float | None = None
    text_share: float | None = None
    centre_until: date | None = None

    def __post_init__(self) -> None:
        if self.text_share is not None and (self.numeric_weight is not None or self.text_weight is not None):
            raise UsageError("give either --text-share or weights")
        if not self.is_centred:
            if self.text_share is not None or self.centre_until is not None:
                raise UsageError(f"--text-share and --centre-until belong to {CENTRED_FAMILY_PREFIX}")
            self.simple_model()
        elif self.text_share is not None:
            numeric_weight_of(self.text_share)
        else:
            SimpleAverageJointModel(*self._weights())

    @property
    def is_centred(self) -> bool:
        """Whether the joint model centres its branches."""
        return self.joint_model_id.startswith(CENTRED_FAMILY_PREFIX)

    def simple_model(self) -> SimpleAverageJointModel:
        """Return the model of the first version with these weights."""
        return SimpleAverageJointModel(
            0.5 if self.numeric_weight is None else self.numeric_weight,
            0.5 if self.text_weight is None else self.text_weight,
        )

    def centred_weight(self) -> float | None:
        """Return the numeric weight of the second version, the two adding to 1; None where nothing was said."""
        if self.text_share is not None:
            return numeric_weight_of(self.text_share)
        if self.numeric_weight is None and self.text_weight is None:
            return None
        numeric, text = self._weights()
        return numeric / (numeric + text)

    def _weights(self) -> tuple[float, float]:
        """Return both weights; one that is not given makes them add to 1."""
        numeric, text = self.numeric_weight, self.text_weight
        if numeric is None:
            numeric = DEFAULT_NUMERIC_WEIGHT if text is None else 1.0 - text
        return numeric, 1.0 - numeric if text is None else text


class TextTasks:
    """What is done with texts and with the joint space."""

    def __init__(self, db_manager: DatabaseManager, progress: Progress) -> None:
        self._db = db_manager
        self._progress = progress
        self._storage = RegimeStorage(db_manager=db_manager)
        self._joint_store = JointEmbeddingStore(db_manager)

    def ingest_macro(self, files: Sequence[Path], options: TextIngestOptions) -> TextIngestReport:
        """Load files of macro events."""
        from prometheus.data.text_ingest import TextIngest  # noqa: PLC0415 -- pyarrow is slow to import

        ingest = TextIngest(self._db, self._progress)
        return retry_lost_connection(lambda: ingest.ingest_macro(files, options))

    def ingest_news(self, files: Sequence[Path], options: TextIngestOptions) -> TextIngestReport:
        """Load files of news."""
        from prometheus.data.text_ingest import TextIngest  # noqa: PLC0415 -- pyarrow is slow to import

        ingest = TextIngest(self._db, self._progress)
        return retry_lost_connection(lambda: ingest.ingest_news(files, options))

    def embed_macro(self, request: TextRequest) -> TextCounts:
        """Embed and store the macro events of a request."""
        from prometheus.backfill.text import run_text_backfill  # noqa: PLC0415 -- the joint commands need no model
        from prometheus.data.text_reader import TextReader  # noqa: PLC0415

        batches = TextReader(self._db).iter_macro_texts(
            request.span.start, request.span.end,
            country=request.country, event_type=request.event_type, limit=request.limit, timezone=request.timezone,
        )  # fmt: skip
        return run_text_backfill(self._text_service(request), batches, self._progress)

    def embed_news(self, request: TextRequest) -> TextCounts:
        """Embed and store the news of a request, headline and body joined."""
        from prometheus.backfill.text import run_text_backfill  # noqa: PLC0415 -- the joint commands need no model
        from prometheus.data.text_reader import TextReader  # noqa: PLC0415

        batches = TextReader(self._db).iter_news_texts(
            request.span.start, request.span.end,
            language=request.language, limit=request.limit, timezone=request.timezone,
        )  # fmt: skip
        return run_text_backfill(self._text_service(request), batches, self._progress)

    def backfill_joint(self, requests: Sequence[JointRequest], choice: JointModelChoice) -> list[JointRun]:
        """Join and store the rows of each request.

        Raises
        ------
        UsageError, InputRefusedError
            The centred model has no frozen means yet, or cannot have them from these data.
        """
        from prometheus.data.text_reader import TextReader  # noqa: PLC0415 -- the other joint command needs none

        texts, reader = DailyTextReader(self._db), TextReader(self._db)
        runs = []
        for n_done, request in enumerate(requests):
            self._progress(n_done, len(requests))
            reader.require_known(request.space.text_table, request.filters)
            joined = load_examples(self._storage, texts, request)
            model = self._joint_model(choice, request, texts)
            service = JointEmbeddingService(model=model, store=self._joint_store, model_id=choice.joint_model_id)
            runs.append(run_joint_backfill(service, joined, request.region))
        return runs

    def joint_rows(
        self, space: JointSpace, region: str, model_id: str, start: date, end: date, limit: int | None
    ) -> list[StoredJointEmbedding]:
        """Return stored joint embeddings of a region, oldest first.

        Raises
        ------
        NoJointRowsError
            There are none.
        """
        rows = self._joint_store.load(space, region, model_id, start, end, limit)
        if not rows:
            raise NoJointRowsError(region, space.joint_type, model_id)
        return rows

    def check_harm(self, request: JointRequest, joint_model_id: str, instrument_id: str) -> HarmCheck:
        """Compare volatility forecasts from a region's joint rows with those from their numeric branch alone.

        Raises
        ------
        NoJointRowsError, NoRegimesError, UnknownInstrumentError, InputRefusedError
            There is nothing, or too little, to compare.
        """
        scope = request.entity_scope
        start, end = request.span.start, request.span.end
        rows = [
            row
            for row in self._joint_store.load(request.space, request.region, joint_model_id, start, end)
            if row.entity_scope == scope
        ]
        if not rows:
            raise NoJointRowsError(request.region, request.space.joint_type, joint_model_id)
        stored = self._storage.load_embeddings(request.region, request.numeric_model_id, start, end)
        numeric_of = dict(zip(stored.dates, stored.vectors, strict=True))
        bars = DataReader(self._db).load_bars([instrument_id], start, date.max, 1, ["close"])
        if not len(bars.dates):
            raise UnknownInstrumentError(instrument_id)
        session_of = {day: number for number, day in enumerate(bars.dates.tolist())}
        rows = [row for row in rows if row.as_of_date in session_of and row.as_of_date in numeric_of]
        numeric = np.stack([numeric_of[row.as_of_date] for row in rows]).astype(np.float64)
        config = ModelRegistry(self._db).load_config(joint_model_id)
        if config is not None and config.get("family") == FAMILY:
            numeric = unit_rows(numeric - BranchCentres.from_config(config["centres"]).numeric)
        sessions = np.array([session_of[row.as_of_date] for row in rows], dtype=np.int64)
        targets = forward_log_volatility(bars.column("close"))[sessions]
        return check_harm(numeric, np.stack([row.vector for row in rows]), targets, sessions)

    def _joint_model(
        self, choice: JointModelChoice, request: JointRequest, texts: DailyTextReader
    ) -> JointEmbeddingModel:
        if not choice.is_centred:
            return choice.simple_model()
        weight = choice.centred_weight()
        stored = ModelRegistry(self._db).load_config(choice.joint_model_id)
        if stored is not None and stored.get("family") == FAMILY:
            centres = BranchCentres.from_config(stored["centres"])
            if dict(centres.source) != request.source:
                made_of = ", ".join(centres.source.get(key, "?") for key in request.source)
                raise UsageError(
                    f"the means of {choice.joint_model_id} were taken of {made_of}; for others choose a new "
                    f"--joint-model-id, such as {CENTRED_FAMILY_PREFIX}-{request.region}"
                )
            if choice.centre_until not in (None, centres.until):
                raise UsageError(
                    f"the means of {choice.joint_model_id} are frozen on dates up to {centres.until}; for others "
                    f"choose a new --joint-model-id, such as {CENTRED_FAMILY_PREFIX}-{choice.centre_until}"
                )
            return CentredJointModel(centres, stored["numeric_weight"] if weight is None else weight)
        if choice.centre_until is None:
            raise UsageError(
                f"{choice.joint_model_id} has no frozen means yet; "
                "give --centre-until DATE, earlier than all dates joined"
            )
        past = JointRequest(
            request.space, request.region, DateSpan.of_range(date.min, choice.centre_until), request.numeric_model_id,
            request.text_model_id, request.filters, request.timezone,
        )  # fmt: skip
        examples = load_examples(self._storage, texts, past).examples
        centres = BranchCentres.fit(examples, choice.centre_until, request.source)
        return CentredJointModel(centres, DEFAULT_NUMERIC_WEIGHT if weight is None else weight)

    def _text_service(self, request: TextRequest) -> TextEmbeddingService:
        store = TextEmbeddingStore(db_manager=self._db)
        return TextEmbeddingService(model=self._text_model(request), store=store, model_id=request.model_id)

    def _text_model(self, request: TextRequest) -> TextEmbeddingModel:
        if request.engine == "torch":
            from prometheus.encoders.models_torch_text import TorchTextEmbeddingModel  # noqa: PLC0415 -- optional

            return TorchTextEmbeddingModel(request.hf_model_name, long_text=request.long_text)
        from prometheus.encoders.models_onnx_text import open_text_model  # noqa: PLC0415 -- slow to import

        cache_dir = self._db.config.home / "models"
        return open_text_model(request.hf_model_name, cache_dir=cache_dir, long_text=request.long_text)
