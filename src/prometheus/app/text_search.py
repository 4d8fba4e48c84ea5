"""Texts by meaning: texts known by a date that are near to a question, or to the texts of a day."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prometheus.app.wiring import Wiring
from prometheus.arrays import Float32Vector, Float64Vector
from prometheus.core import MINILM
from prometheus.data.text_reader import DatedText
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.identity import PLUGIN, model_config
from prometheus.encoders.texts.chunks import FLOAT32, checked_long_text
from prometheus.encoders.texts.copies import Stories, describe_copies
from prometheus.encoders.texts.documents import TextDoc, TextSelection, TextSourceType
from prometheus.encoders.texts.service import KIND
from prometheus.errors import UsageError, VectorError, no_text_embeddings, unnamed_text_model
from prometheus.plugins import is_reference
from prometheus.protocols import TextEmbeddingModel

MAX_TEXTS = 1_000
MAX_QUERY_CHARACTERS = 10_000
_MIN_PAGE = 50
STATIC = "static"
STATIC_MODEL_ID = "text-static-v1"
"""What the vectors of `STATIC` are stored under where no other name is given."""
RUNTIME_OF = {"sentence-onnx": "onnx", "sentence-bert": "onnx", "word-vectors": STATIC}
"""How a recorded model is run, by its family; any other one by torch."""
MEAN = "mean"
Source = Literal["macro", "news"]
_KINDS: dict[Source, TextSourceType] = {"macro": "MACRO", "news": "NEWS"}
_COMPARED = np.dtype([("kind", "U5"), ("day", "M8[D]"), ("text_id", "i8"), ("similarity", "f8")])


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A search of texts by the meaning of a question; only texts dated up to `as_of` and known on it.

    None is both sources, and the only model with vectors; `hf_model_name` is the hub model, or folder, of `model_id`.
    """

    query: str
    as_of: date
    k: int = 10
    source: Source | None = None
    model_id: str | None = None
    hf_model_name: str = MINILM

    def __post_init__(self) -> None:
        if not self.query.strip():
            raise UsageError("the question is empty; say what the texts should mean")
        if len(self.query) > MAX_QUERY_CHARACTERS:
            raise UsageError(f"the question has {len(self.query)} characters; {MAX_QUERY_CHARACTERS} are the limit")
        if self.source not in (None, *_KINDS):
            raise UsageError(f"unknown source {self.source!r}; choose from {', '.join(_KINDS)}")
        _require_k(self.k)

    @property
    def kinds(self) -> tuple[TextSourceType, ...]:
        """The kinds of text searched."""
        return tuple(_KINDS.values()) if self.source is None else (_KINDS[self.source],)


@dataclass(frozen=True, slots=True)
class TextHit:
    """One text, the cosine in [-1, 1] between its vector and the question's, and how many near-copies it stands for."""

    similarity: float
    text: DatedText
    n_copies: int = 0

    @property
    def copies(self) -> str:
        """The near-copies in words, empty for none."""
        return describe_copies(self.n_copies)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"similarity": self.similarity, "n_copies": self.n_copies, **self.text.to_dict()}


@dataclass(frozen=True, slots=True)
class ToldText:
    """One text, and how many near-copies it stands for."""

    text: DatedText
    n_copies: int

    @property
    def copies(self) -> str:
        """The near-copies in words, empty for none."""
        return describe_copies(self.n_copies)


@dataclass(frozen=True, slots=True)
class TextSearchReport:
    """The texts found, nearest first, of `n_texts` compared."""

    as_of_date: date
    model_id: str
    n_texts: int
    hits: tuple[TextHit, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        hits = [hit.to_dict() for hit in self.hits]
        return {"as_of_date": str(self.as_of_date), "model_id": self.model_id, "n_texts": self.n_texts, "hits": hits}


class SearchTexts:
    """Compares all stored text vectors; nothing is written."""

    def __init__(self, wired: Wiring) -> None:
        self._models = TextModels(wired)
        self._vectors = wired.daily_texts
        self._texts = wired.texts

    def find(self, query: TextQuery) -> TextSearchReport:
        """Return the texts nearest in meaning to a question; NotFoundError without any, or for several models."""
        model_id = query.model_id or self._models.only_one(query.kinds, query.as_of)
        vector = self._models.encode(query.query, model_id, query.hf_model_name)
        return self._nearest(vector, model_id, query.kinds, query.as_of, date.max, query.k)

    def like_day(self, day: date, source: Source, model_id: str | None = None, k: int = 10) -> TextSearchReport:
        """Return the earlier texts nearest to the mean of a day's own; NotFoundError if the day has none."""
        _require_k(k)
        kind = _KINDS[source]
        chosen = model_id or self._models.only_one([kind])
        own = self._vectors.load(TextSelection(kind, chosen, {}), day, day)
        if not len(own.dates):
            raise no_text_embeddings([kind], chosen, day)
        return self._nearest(own.vectors[0], chosen, [kind], day, day, k)

    def _nearest(
        self, vector: Float32Vector, model_id: str, kinds: Sequence[TextSourceType], as_of: date, before: date, k: int
    ) -> TextSearchReport:
        compared = np.concatenate([self._compare(vector, kind, model_id, as_of, before) for kind in kinds])
        if not len(compared):
            raise no_text_embeddings(kinds, model_id, as_of)
        ranked = compared[np.lexsort((compared["text_id"], compared["day"], -compared["similarity"]))]
        return TextSearchReport(as_of, model_id, len(compared), tuple(self._first_distinct(ranked, k)))

    def _compare(
        self, vector: Float32Vector, kind: TextSourceType, model_id: str, as_of: date, before: date
    ) -> NDArray[Any]:
        """Return every text of one kind known by a date and dated before another, with its similarity."""
        pages = [np.empty(0, _COMPARED)]
        for rows in self._vectors.iter_rows(TextSelection(kind, model_id, {}, known_by=as_of), date.min, as_of):
            earlier = rows[rows["day"] < np.datetime64(before, "D")]
            vectors = np.ascontiguousarray(earlier["vector"]).view("<f4").reshape(len(earlier), len(vector))
            page = np.empty(len(earlier), _COMPARED)
            page["kind"], page["day"], page["text_id"] = kind, earlier["day"], earlier["text_id"]
            page["similarity"] = _cosines(vectors, vector)
            pages.append(page)
        return np.concatenate(pages)

    def _first_distinct(self, ranked: NDArray[Any], k: int) -> list[TextHit]:
        """Return the `k` best hits, each with the near-copies among the texts compared up to the page of the last."""
        stories = Stories()
        found: list[tuple[float, DatedText]] = []
        n_rows = max(2 * k, _MIN_PAGE)
        for first in range(0, len(ranked), n_rows):
            page = ranked[first : first + n_rows]
            texts = {
                (kind, text.source_id): text
                for kind in _KINDS.values()
                if kind in page["kind"]
                for text in self._texts.load_dated(kind, page["text_id"][page["kind"] == kind].tolist())
            }
            for kind, _, text_id, similarity in page.tolist():
                text = texts.get((kind, text_id))
                if text is not None and stories.add(text, may_open=len(found) < k):
                    found.append((similarity, text))
            if len(found) == k:
                break
        return [TextHit(*hit, n_copies) for hit, n_copies in zip(found, stories.n_copies, strict=True)]


def tell_once(texts: Iterable[DatedText]) -> tuple[ToldText, ...]:
    """Return texts in their order, near-copies counted with the first of them."""
    stories = Stories()
    first = [text for text in texts if stories.add(text)]
    return tuple(map(ToldText, first, stories.n_copies))


def _cosines(vectors: np.ndarray[Any, np.dtype[np.float32]], vector: Float32Vector) -> Float64Vector:
    """Return the cosine of each row with a vector, row by row, so that no row depends on others."""
    wide, query = vectors.astype(np.float64), vector.astype(np.float64)
    products = (wide * query).sum(axis=1)
    lengths = np.sqrt((wide * wide).sum(axis=1)) * np.sqrt((query * query).sum())
    cosines: Float64Vector = np.divide(products, lengths, out=np.zeros(len(wide)), where=lengths > 0)
    return cosines


def _require_k(k: int) -> None:
    if not 1 <= k <= MAX_TEXTS:
        raise UsageError(f"--k {k}: name a number from 1 to {MAX_TEXTS}")


class TextModels:
    """The text models of a historical database."""

    def __init__(self, wired: Wiring) -> None:
        self._registry = wired.registry
        self._vectors = wired.daily_texts
        self._store = TextEmbeddingStore(db_manager=wired.db_manager)
        self._cache_dir = wired.config.home / "models"
        self._opened: dict[tuple[str, str], TextEmbeddingModel] = {}
        self._lock = threading.Lock()

    def only_one(self, kinds: Sequence[TextSourceType], as_of: date | None = None) -> str:
        """Return the one model with vectors of these kinds; NotFoundError for no such model, or several.

        Of several, those count that have a vector of a text known by `as_of`.
        """
        registered = self._registry.ids_of_kind(KIND)
        found = sorted({each for kind in kinds for each in self._store.model_ids(kind, registered)})
        if not found:
            raise no_text_embeddings(kinds)
        if len(found) > 1 and as_of is not None:
            found = [each for each in found if self._has_text(each, kinds, as_of)] or found[:1]
        if len(found) > 1:
            raise unnamed_text_model(kinds, found)
        return found[0]

    def _has_text(self, model_id: str, kinds: Sequence[TextSourceType], as_of: date) -> bool:
        wanted = (TextSelection(kind, model_id, {}, known_by=as_of) for kind in kinds)
        return any(True for each in wanted for _ in self._vectors.iter_rows(each, date.min, as_of))

    def encode(self, text: str, model_id: str, hf_model_name: str) -> Float32Vector:
        """Return a model's vector of a text, shape (dim,); ModelFingerprintError if the two names mean other models."""
        with self._lock:
            model = self._opened.get((model_id, hf_model_name))
            if model is None:
                model = self._opened[model_id, hf_model_name] = self._open(model_id, hf_model_name)
            vector: Float32Vector = model.embed_batch([TextDoc("QUERY", "0", text)])[0]
        if not np.isfinite(vector).all():
            raise VectorError(f"vector of the question by {model_id}", "some of its values are NaN or infinite")
        return vector

    def _open(self, model_id: str, hf_model_name: str) -> TextEmbeddingModel:
        config = self._registry.load_config(model_id)
        if config is None or model_id not in self._registry.ids_of_kind(KIND):
            raise no_text_embeddings([], model_id)
        recorded, is_named = config.get(PLUGIN), is_own(hf_model_name)
        model: TextEmbeddingModel
        if recorded is not None and not is_named:
            from prometheus.encoders.own import open_recorded_text_model  # noqa: PLC0415 -- rarely needed

            model = open_recorded_text_model(str(recorded))
        else:
            runtime = "onnx" if is_named else RUNTIME_OF.get(str(config.get("family")), "torch")
            long_text = str(config.get("long_text", MEAN))
            precision = str(config.get("precision", FLOAT32)) if runtime == "torch" else FLOAT32
            model = open_text_model(hf_model_name, runtime, long_text, self._cache_dir, precision=precision)
        self._registry.require_same(model_id, KIND, model_config(model))
        return model


def is_own(name: str) -> bool:
    """Return whether a name, unless of a folder, is a user's own text model; UsageError if that cannot be used."""
    from prometheus.encoders.own import is_own_text_model  # noqa: PLC0415 -- the text runtime is slow to import

    return not Path(name).expanduser().is_dir() and is_own_text_model(name)


def open_text_model(
    name: str, runtime: str, long_text: str, cache_dir: Path, threads: int = 1, precision: str = FLOAT32
) -> TextEmbeddingModel:
    """Return a text model: the user's own by entry point or ``module:Class``, else from a folder or the hub.

    InputRefusedError, RetryableError, MissingExtraError or UsageError if there is no such model, or it cannot run.
    """
    if runtime == "torch" and not is_reference(name):  # it has threads of its own; fewer might change the last bits
        from prometheus.encoders.texts.torch_model import TorchTextEmbeddingModel  # noqa: PLC0415 -- optional

        return TorchTextEmbeddingModel(name, long_text=long_text, precision=precision)
    if runtime == STATIC or is_own(name):
        for option, value, default in (("long-text", long_text, MEAN), ("precision", precision, FLOAT32)):
            if value != default:
                raise UsageError(f"text model {name}: it reads texts in its own way; leave --{option} {value} away")
    if is_own(name):
        from prometheus.encoders.own import open_own_text_model  # noqa: PLC0415

        return open_own_text_model(name)
    from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel  # noqa: PLC0415 -- slow to import
    from prometheus.encoders.texts.sources import find_text_folder  # noqa: PLC0415 -- slow to import

    checked_long_text(long_text)
    if runtime == STATIC:
        from prometheus.encoders.texts.word_vectors import StaticTextModel  # noqa: PLC0415 -- slow to import

        return StaticTextModel(find_text_folder(name), cache_dir)
    return OnnxTextEmbeddingModel(find_text_folder(name), long_text=long_text, cache_dir=cache_dir, threads=threads)
