"""Every protocol on one page: what a collaborator must offer; anything of that shape will do.

The small ones, of the fixed names alone, are enough: services adapt them. At run time this imports arrays and errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, FeatureCube, FeatureTable, Float32Matrix, Float32Vector, Int64Vector
from prometheus.errors import InputRefusedError

if TYPE_CHECKING:
    from prometheus.encoders import EmbeddingBatch, JointExample, NumericWindowSpec, TextDoc
    from prometheus.encoders.joint.examples import JointGroup, JointSpace, StoredJointEmbedding
    from prometheus.encoders.joint.numbers import KnownLevel
    from prometheus.encoders.numeric.features import FeatureSet
    from prometheus.encoders.texts import daily, documents
    from prometheus.market.bars import PriceBars
    from prometheus.regime.history import StoredEmbeddings
    from prometheus.regime.transitions import TransitionMatrix
    from prometheus.regime.types import RegimeState


class BarSource(Protocol):
    """Where bars come from; `prometheus.data.reader.DataReader` is one."""

    def load_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        """Return bars from `first` to `last` and the ones that windows ending there reach back to."""


class PriceReader(Protocol):
    """The reader by its fixed name alone."""

    def read_prices(self, instrument_ids: Sequence[str], start_date: date, end_date: date) -> Any:
        """Return a frame with ``instrument_id``, ``trade_date`` and the prices, both dates included."""


class Sessions(Protocol):
    """What a window needs of a calendar; `prometheus.core.time.TradingCalendar` is one."""

    def n_sessions_after(self, start: date, end: date) -> int:
        """Return how many sessions lie in (`start`, `end`]."""


class Calendar(Protocol):
    """The calendar by its fixed name alone."""

    def trading_days_between(self, start: date, end: date) -> Sequence[date]:
        """Return the sessions from `start` to `end`, both included."""


class InstrumentSource(Protocol):
    """Tells which instruments have prices; `prometheus.data.reader.DataReader` is one."""

    def known_instruments(self, instrument_ids: Sequence[str]) -> set[str]:
        """Return those that have at least one bar."""


class RegionMembers(Protocol):
    """What a region is made of."""

    @property
    def members(self) -> Mapping[str, float]:
        """Positive weight by instrument id."""

    @property
    def anchor(self) -> str:
        """The member whose sessions are the region's dates."""


class EncodableWindows(Protocol):
    """Windows of any make, in time order per entity: of one instrument each, or of a region's members together."""

    @property
    def window_days(self) -> int:
        """Sessions per window."""

    @property
    def entity_ids(self) -> tuple[str, ...]:
        """Names; `entity_index` points into them."""

    @property
    def entity_index(self) -> Int64Vector:
        """The entity of each window."""

    @property
    def as_of_dates(self) -> DateVector:
        """The date of each window."""

    @property
    def input_hashes(self) -> Int64Vector | None:
        """Equal windows have equal hashes; None where the inputs are unknown."""

    @property
    def feature_set(self) -> FeatureSet:
        """What the windows say of each session."""

    @property
    def sources(self) -> Sequence[Mapping[str, Any]] | None:
        """What each window was made of, where the entity does not say it all."""

    @property
    def is_held(self) -> NDArray[np.bool_] | None:
        """Of which dates the newest bar was suspect, so that the window is the one before; None: of no date."""

    def __len__(self) -> int:
        """Return how many windows there are."""

    def vectors(self, model: NumericEmbeddingModel, /) -> Float32Matrix:
        """Return a model's vector of each window, shape (n_windows, dim)."""


class HashedWindows(EncodableWindows, Protocol):
    """Windows whose inputs are known, so that a backfill can tell which of them are stored."""

    @property
    def input_hashes(self) -> Int64Vector:
        """Equal windows have equal hashes."""

    def take(self, chosen: slice, /) -> HashedWindows:
        """Return some of them."""


class WindowSource(Protocol):
    """What an encoder needs of a builder; `prometheus.encoders.NumericWindowBuilder` is one."""

    def build_one(self, spec: NumericWindowSpec, as_of_date: date) -> EncodableWindows:
        """Return a batch of one window, or raise."""

    def build_trailing(self, spec: NumericWindowSpec, as_of_date: date, n_windows: int) -> EncodableWindows:
        """Return the windows of the last sessions up to a date, oldest first, or raise."""


class WindowBuilder(Protocol):
    """The builder by its fixed name alone."""

    def build_window(self, spec: NumericWindowSpec, as_of_date: date) -> Any:
        """Return one window, shape (window_days, n_features), oldest session first."""


class RangeBuild(Protocol):
    """The windows that could be built, and why the others could not."""

    @property
    def windows(self) -> HashedWindows:
        """By date."""

    @property
    def failures(self) -> tuple[InputRefusedError, ...]:
        """One per session, or per entity, without any."""


class RegimeWindowSource(Protocol):
    """What a backfill needs of a builder, of instruments' windows or of regions'."""

    def build_trailing(self, spec: NumericWindowSpec, as_of_date: date, n_windows: int) -> HashedWindows:
        """Return the windows of the last sessions up to a date, oldest first, or raise."""

    def build_range(
        self, entity_ids: Sequence[str], start: date, end: date, window_days: int, warm_up: int, /
    ) -> RangeBuild:
        """Return the windows of a range, and those of as many sessions before it."""


class NumericEmbeddingModel(Protocol):
    """Turns windows into vectors; the same window gives the same bytes, alone or among others."""

    def encode(self, window: FeatureTable) -> Float32Vector:
        """Return the vector of one window of shape (window_days, n_features)."""


@runtime_checkable
class BatchNumericEmbeddingModel(NumericEmbeddingModel, Protocol):
    """A model that also takes many windows at once, which is much faster."""

    def encode_batch(self, windows: FeatureCube) -> Float32Matrix:
        """Return one vector per window, shape (n_windows, dim)."""


@runtime_checkable
class TableNumericEmbeddingModel(NumericEmbeddingModel, Protocol):
    """A model that reads windows where they lie in a shared table, without copying each one out."""

    feature_set: FeatureSet

    def encode_table(self, features: FeatureTable, ends: Int64Vector, window_days: int) -> Float32Matrix:
        """Return the vector of each window, shape (n_windows, dim): the `window_days` rows before its end."""


class TextEmbeddingModel(Protocol):
    """Turns texts into vectors; the same text gives the same bytes, alone or among others."""

    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        """Return one vector per text, shape (n, dim)."""


@runtime_checkable
class ChunkingTextEmbeddingModel(TextEmbeddingModel, Protocol):
    """A model that reads long texts in pieces, and says in how many.

    One whose encodings hold the `prometheus.encoders.texts.documents.Passages` has a true attribute `makes_passages`.
    """

    def encode(self, docs: Sequence[TextDoc]) -> documents.TextEncoding:
        """Return one vector per text with its number of chunks and its flags."""


class JointEmbeddingModel(Protocol):
    """Joins the numeric and the text embedding of a date into one vector."""

    def embed_batch(self, examples: Sequence[JointExample]) -> Float32Matrix:
        """Return one vector per example, shape (n, dim)."""


class ModelRegistry(Protocol):
    """Keeps what each model id means; `prometheus.data.models.ModelRegistry` is one."""

    def register(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Record what a model id means, or raise `ModelFingerprintError` where it means something else."""

    def require_same(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Raise `ModelFingerprintError` where a model id means something else; record nothing."""

    def load_config(self, model_id: str) -> dict[str, Any] | None:
        """Return what is recorded under an id, None where nothing is."""


class VectorStore(Protocol):
    """Keeps vectors by model."""

    @property
    def registry(self) -> ModelRegistry:
        """What the model ids of its rows mean."""


class NumericVectorStore(VectorStore, Protocol):
    """Keeps numeric vectors; `prometheus.encoders.NumericEmbeddingStore` is one."""

    def save_batch(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:
        """Store a batch whole or not at all; return how many rows were new or changed."""

    def load_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str) -> Float32Vector | None:
        """Return one stored vector, or None."""

    def load_input_hashes(
        self, entity_type: str, entity_ids: Sequence[str], model_id: str, window_days: int, dates: DateVector
    ) -> NDArray[Any]:
        """Return ``entity_index``, ``as_of_date``, ``input_hash`` of the rows between the first and last of `dates`."""

    def drop(self, entity_type: str, entity_id: str, model_id: str, window_days: int, dates: DateVector) -> int:
        """Delete the vectors of some dates; return how many there were."""


class NumericVectorSink(Protocol):
    """The store of numeric vectors by its fixed name alone."""

    def save_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str, vector: Float32Vector) -> object:
        """Store one vector."""


class StoringEncoder(Protocol):
    """The encoder by its fixed name alone."""

    def embed_and_store(self, spec: NumericWindowSpec, as_of_date: date) -> Any:
        """Return the vector of one window, shape (dim,), and store it."""


class TextVectorStore(VectorStore, Protocol):
    """Keeps text vectors; `prometheus.encoders.TextEmbeddingStore` is one.

    A store with a true attribute `keeps_passages` is given the `prometheus.encoders.texts.documents.Passages`, too: as
    `passages` of `save_embeddings`, one per text, None for one of one chunk. It returns them with what it loads.
    """

    def save_embeddings(
        self,
        docs: Sequence[TextDoc],
        model_id: str,
        vectors: Float32Matrix,
        *,
        n_chunks: Sequence[int | None] | None = None,
        flags: Sequence[Sequence[str]] | None = None,
    ) -> int:
        """Store one vector per text whole or not at all; return how many rows were new or changed."""

    def load_many(self, source_type: str, source_ids: Sequence[str], model_id: str) -> dict[str, documents.StoredText]:
        """Return what is stored for these sources, by source id."""

    def load_same_texts(self, text_hashes: Sequence[str], model_id: str) -> dict[str, documents.StoredText]:
        """Return what is stored for these texts, whatever their source, by text hash."""


class TextVectorSink(Protocol):
    """The store of text vectors by its fixed name alone."""

    def save_embeddings(self, docs: Sequence[TextDoc], model_id: str, vectors: Float32Matrix) -> object:
        """Store one vector per text."""


class JointVectorSink(Protocol):
    """The store of joint vectors by its fixed name alone."""

    def save_embeddings(self, examples: Sequence[JointExample], model_id: str, vectors: Float32Matrix) -> object:
        """Store one vector per example."""


class JointVectorStore(VectorStore, Protocol):
    """Keeps joint vectors; `prometheus.encoders.JointEmbeddingStore` is one."""

    def save_embeddings(
        self,
        examples: Sequence[JointExample],
        model_id: str,
        vectors: Float32Matrix,
        branch_models: tuple[str, str | None] | None = None,
    ) -> int:
        """Store one vector per example whole or not at all; return how many rows were new or changed."""

    def load(
        self, space: JointSpace, region: str, model_id: str, start: date, end: date, limit: int | None = None
    ) -> list[StoredJointEmbedding]:
        """Return a region's rows from `start` to `end`, both included, by date and scope; the first `limit` of them."""

    def groups(self, region: str, numeric_model_id: str, start: date, end: date) -> list[JointGroup]:
        """Return what is stored of a region from `start` to `end` that was joined from a numeric model."""


class RegimeModel(Protocol):
    """Says which regime a region is in on a date, from data up to that date; may have a `model_id`."""

    def classify(self, as_of_date: date, region: str) -> RegimeState:
        """Return the regime of `region` on `as_of_date`."""


class StateSink(Protocol):
    """The storage of states by its first fixed name alone."""

    def save_regime(self, state: RegimeState) -> object:
        """Store one state."""


class StateStore(StateSink, Protocol):
    """Keeps regime states; `prometheus.regime.RegimeStorage` is one."""

    def save_regimes(self, states: Sequence[RegimeState], input_hashes: Int64Vector | None = None) -> int:
        """Store states and the transitions that follow from them; return how many states were new or changed."""

    def get_history(self, region: str, start: date, end: date, model_id: str | None = None) -> list[RegimeState]:
        """Return the states from `start` to `end`, both included, oldest first."""

    def get_transition_matrix(self, region: str, model_id: str | None = None) -> TransitionMatrix:
        """Return ``{from: {to: probability}}`` over the stored states."""

    def drop_regimes(self, region: str, model_id: str, dates: DateVector) -> int:
        """Delete the states of some dates; return how many there were."""

    def load_input_hashes(self, region: str, model_id: str, dates: DateVector) -> NDArray[Any]:
        """Return ``as_of_date`` and ``input_hash`` of the states between the first and the last of `dates`."""

    def load_embeddings(self, region: str, encoder_model_id: str, start: date, end: date) -> StoredEmbeddings:
        """Return the embeddings of one encoder from `start` to `end`, one per date, oldest first."""

    def written(self, region: str, encoder_model_id: str, start: date, end: date) -> dict[date, datetime]:
        """Return when the newest state of each date from `start` to `end` by one encoder was written."""


class TextSource(Protocol):
    """Loads texts; `prometheus.data.text_reader.TextReader` is one."""

    def load_texts(
        self, source_type: documents.TextSourceType, source_ids: Sequence[int], /
    ) -> Sequence[documents.SourceText]:
        """Return the texts of these rows, in that order."""


class SeriesSource(Protocol):
    """Values of series as they became known; `prometheus.data.series.SeriesReader` is one."""

    def load(self, names: Sequence[str], since: date, until: date, timezone: str) -> Sequence[KnownLevel]:
        """Return the values of days from `since` on that were known by `until`, in order of knowing."""


class DailyTextSource(Protocol):
    """Averages text vectors by date; `prometheus.data.vectors.texts.TextVectorReader` is one."""

    def load(self, wanted: documents.TextSelection, start: date, end: date) -> daily.DailyTexts:
        """Return the mean of each date's texts from `start` to `end`, both included."""
