"""Text models: those of a historical database, opened to read a question, and new ones by name."""

from __future__ import annotations

import logging
import threading
from datetime import date
from pathlib import Path

import numpy as np

from prometheus.app.caches import Cache
from prometheus.app.text_readings import GROUPS, LanguageGroup
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float32Vector
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.data.words import TextWords
from prometheus.encoders.identity import PLUGIN, fingerprint, model_config
from prometheus.encoders.texts.chunks import FLOAT32, checked_long_text
from prometheus.encoders.texts.documents import QUESTION, TextDoc, TextSelection, TextSourceType
from prometheus.encoders.texts.languages import ENGLISH, MULTILINGUAL_FAMILY, languages_read
from prometheus.encoders.texts.service import KIND
from prometheus.errors import (
    MissingExtraError,
    ModelFingerprintError,
    PrometheusError,
    UsageError,
    VectorError,
    no_text_embeddings,
)
from prometheus.plugins import is_reference
from prometheus.protocols import TextEmbeddingModel

logger = logging.getLogger(__name__)

STATIC = "static"
STATIC_MODEL_ID = "text-static-v1"
"""What the vectors of `STATIC` are stored under where no other name is given."""
MULTILINGUAL = "multilingual"
MODEL_ID_OF = {STATIC: STATIC_MODEL_ID, MULTILINGUAL: "text-multilingual-v1"}
"""What vectors are stored under where no name is given, by the runtime; of others by what kind of text they are of."""
RUNTIME_OF = {
    "sentence-onnx": "onnx", "sentence-bert": "onnx", "word-vectors": STATIC, MULTILINGUAL_FAMILY: MULTILINGUAL,
}  # fmt: skip
"""How a recorded model is run, by its family; any other one by torch."""
MEAN = "mean"
_NEWEST_KEPT = 16


class TextModels:
    """The text models of a historical database."""

    def __init__(self, wired: Wiring) -> None:
        self._registry = wired.registry
        self._vectors = wired.daily_texts
        self._store = TextEmbeddingStore(db_manager=wired.db_manager)
        self._words = TextWords(wired.db_manager)
        self._visible_state = wired.db_manager.visible_state
        self._newest: Cache[str | None] = Cache(_NEWEST_KEPT)
        self._cache_dir = wired.config.home / "models"
        self._opened: dict[tuple[str, str], TextEmbeddingModel] = {}
        """By model id or fingerprint, and hub model."""
        self._lock = threading.Lock()

    def readers(
        self, source_type: TextSourceType, as_of: date, hf_model_name: str = "", mark: tuple[str, ...] | None = None
    ) -> list[tuple[str, LanguageGroup | None]]:
        """Return which model stands for which texts of a source: the `newest` for all, where no other reads some.

        For English texts, and for those of other languages, it is the newest model that reads them and has a vector of
        one known by `as_of`; where none reads them, the newest of all.
        """
        mark = mark or self._visible_state()
        newest = self.newest(source_type, as_of, hf_model_name, mark)
        if newest is None:
            return []
        english, others = (
            self._reader_of(group, source_type, as_of, hf_model_name, mark) or newest for group in GROUPS
        )
        if english == others:
            return [(english, None)]
        logger.info("%s texts: those in English by %s, others by %s", source_type, english, others)
        return [(english, "english"), (others, "others")]

    def _reader_of(
        self,
        group: LanguageGroup,
        source_type: TextSourceType,
        as_of: date,
        hf_model_name: str,
        mark: tuple[str, ...],
    ) -> str | None:
        key = mark, source_type, as_of, f"{group} {hf_model_name}"
        return self._newest.get(key, lambda: self._find_reader(group, source_type, as_of, hf_model_name))

    def _find_reader(
        self, group: LanguageGroup, source_type: TextSourceType, as_of: date, hf_model_name: str
    ) -> str | None:
        stored = self._store.model_ids(source_type)
        if len(stored) < 2:
            return None
        is_english = group == "english"
        found = [
            each
            for each in stored
            if self._reads(each, group) and self._words.has_vector(source_type, each, as_of, is_english=is_english)
        ]
        return next((each for each in found if self._is_of(each, hf_model_name)), None)

    def _reads(self, model_id: str, group: LanguageGroup) -> bool:
        read = languages_read(self._registry.load_config(model_id) or {})
        return read is None or (read >= ENGLISH if group == "english" else read != ENGLISH)

    def newest(
        self,
        source_type: TextSourceType,
        as_of: date | None = None,
        hf_model_name: str = "",
        mark: tuple[str, ...] | None = None,
    ) -> str | None:
        """Return the newest model with vectors of texts of a source; None without any.

        Of several, those count that have a vector of a text known by `as_of`, and that the hub model named, if one is,
        stands for. `mark` is the `visible_state`, where the caller has just asked for it.
        """
        key = mark or self._visible_state(), source_type, as_of, hf_model_name
        return self._newest.get(key, lambda: self._find_newest(source_type, as_of, hf_model_name))

    def _find_newest(self, source_type: TextSourceType, as_of: date | None, hf_model_name: str) -> str | None:
        found = self._store.model_ids(source_type)
        if len(found) > 1 and as_of is not None:
            found = [each for each in found if self._has_text(each, source_type, as_of)] or found[:1]
        if len(found) > 1:
            fitting = [each for each in found if self._is_of(each, hf_model_name)]
            chosen = (fitting or found)[0]
            others = ", ".join(each for each in found if each != chosen)
            logger.info("%s texts: %s, the newest of several models; others: %s", source_type, chosen, others)
            return chosen
        return found[0] if found else None

    def _has_text(self, model_id: str, source_type: TextSourceType, as_of: date) -> bool:
        wanted = TextSelection(source_type, model_id, {}, known_by=as_of)
        return any(True for _ in self._vectors.iter_rows(wanted, date.min, as_of))

    def _is_of(self, model_id: str, hf_model_name: str) -> bool:
        if not hf_model_name:
            return True
        try:
            with self._lock:
                self._model(model_id, hf_model_name)
        except ModelFingerprintError:
            return False
        except MissingExtraError as error:
            logger.warning("%s is left out: %s", model_id, error)
            return False
        return True

    def stored(self, source_type: TextSourceType, source_id: int, model_id: str) -> Float32Vector | None:
        """Return a model's stored vector of a text, shape (dim,); None if not found."""
        return self._store.load_embedding(source_type, str(source_id), model_id)

    def open(self, model_id: str, hf_model_name: str) -> TextEmbeddingModel:
        """Return the model of a recorded id; ModelFingerprintError if the two names mean other models."""
        with self._lock:
            return self._model(model_id, hf_model_name)

    def encode(self, text: str, model_id: str, hf_model_name: str, source_type: str = QUESTION) -> Float32Vector:
        """Return a model's vector of a question, or of a text of another source, shape (dim,).

        ModelFingerprintError if the two names mean other models.
        """
        doc = TextDoc(source_type, "0", text)
        with self._lock:
            vector: Float32Vector = self._model(model_id, hf_model_name).embed_batch([doc])[0]
        if not np.isfinite(vector).all():
            raise VectorError(f"vector of the question by {model_id}", "some of its values are NaN or infinite")
        return vector

    def _model(self, model_id: str, hf_model_name: str) -> TextEmbeddingModel:
        """Return a model as it is recorded; ids that mean one model share it."""
        opened = self._opened.get((model_id, hf_model_name))
        if opened is not None:
            return opened
        config = self._registry.load_config(model_id)
        if config is None or model_id not in self._registry.ids_of_kind(KIND):
            raise no_text_embeddings([], model_id)
        meaning = fingerprint(config), hf_model_name
        model = self._opened.get(meaning) or self._open(config, hf_model_name)
        self._registry.require_same(model_id, KIND, model_config(model))
        self._opened[meaning] = self._opened[model_id, hf_model_name] = model
        return model

    def _open(self, config: dict[str, object], hf_model_name: str) -> TextEmbeddingModel:
        family = str(config.get("family"))
        recorded, is_named = config.get(PLUGIN), family != MULTILINGUAL_FAMILY and is_own(hf_model_name)
        if recorded is not None and not is_named:
            from prometheus.encoders.own import open_recorded_text_model  # noqa: PLC0415 -- rarely needed

            return open_recorded_text_model(str(recorded))
        runtime = "onnx" if is_named else RUNTIME_OF.get(family, "torch")
        long_text = str(config.get("long_text", MEAN))
        precision = str(config.get("precision", FLOAT32)) if runtime == "torch" else FLOAT32
        return open_text_model(hf_model_name, runtime, long_text, self._cache_dir, precision=precision)


def is_own(name: str) -> bool:
    """Return whether a name, unless of a folder, is a user's own text model; UsageError if that cannot be used."""
    from prometheus.encoders.own import is_own_text_model  # noqa: PLC0415 -- the text runtime is slow to import

    return not Path(name).expanduser().is_dir() and is_own_text_model(name)


def why_not_read(name: str, cache_dir: Path) -> PrometheusError | None:
    """Return why texts cannot be read with a model of the hub, None where they can; it is fetched if it has to be."""
    from prometheus.encoders.texts.sources import find_text_folder, require_text_runtime  # noqa: PLC0415 -- slow

    try:
        require_text_runtime()
        find_text_folder(name, cache_dir)
    except PrometheusError as error:
        return error
    return None


def open_text_model(
    name: str, runtime: str, long_text: str, cache_dir: Path, threads: int = 1, precision: str = FLOAT32
) -> TextEmbeddingModel:
    """Return a text model: the user's own by entry point or ``module:Class``, else from a folder or the hub.

    InputRefusedError, RetryableError, MissingExtraError or UsageError if there is no such model, or it cannot run.
    """
    if runtime == "torch" and not is_reference(name):  # it has threads of its own; fewer might change the last bits
        from prometheus.encoders.texts.torch_model import TorchTextEmbeddingModel  # noqa: PLC0415 -- optional

        return TorchTextEmbeddingModel(name, long_text=long_text, precision=precision)
    if runtime in MODEL_ID_OF or is_own(name):
        for option, value, default in (("long-text", long_text, MEAN), ("precision", precision, FLOAT32)):
            if value != default:
                raise UsageError(f"text model {name}: it reads texts in its own way; leave --{option} {value} away")
    if runtime == MULTILINGUAL:
        from prometheus.encoders.texts.multilingual import MultilingualTextModel  # noqa: PLC0415 -- optional

        return MultilingualTextModel(threads)
    if is_own(name):
        from prometheus.encoders.own import open_own_text_model  # noqa: PLC0415

        return open_own_text_model(name)
    from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel  # noqa: PLC0415 -- slow to import
    from prometheus.encoders.texts.sources import find_text_folder  # noqa: PLC0415 -- slow to import

    checked_long_text(long_text)
    if runtime == STATIC:
        from prometheus.encoders.texts.word_vectors import StaticTextModel  # noqa: PLC0415 -- slow to import

        return StaticTextModel(find_text_folder(name, cache_dir), cache_dir)
    folder = find_text_folder(name, cache_dir)
    return OnnxTextEmbeddingModel(folder, long_text=long_text, cache_dir=cache_dir, threads=threads)
