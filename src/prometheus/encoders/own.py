"""Encoders and text models of a user's own, called with care: what they return is checked, what they raise is named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from prometheus.arrays import FeatureCube, FeatureTable, Float32Matrix, Float32Vector, Int64Vector, as_float32
from prometheus.collaborators import offers
from prometheus.encoders.identity import NUMERIC_IDS, PLUGIN, model_config
from prometheus.encoders.numeric.features import CLOSE_VOLUME, FeatureSet
from prometheus.encoders.texts.documents import TextDoc, TextEncoding, no_vectors
from prometheus.encoders.texts.pinned import PINNED
from prometheus.errors import PrometheusError, UsageError, VectorError
from prometheus.plugins import PluginKind, find_plugin, is_reference, open_plugin, reason_of

T = TypeVar("T")

ENCODER = PluginKind("encoder", "class", "prometheus.encoders", ("encode",), NUMERIC_IDS)
TEXT_MODEL = PluginKind("text model", "class", "prometheus.text_models", ("embed_batch",), frozenset(PINNED))


class _Own:
    _kind: PluginKind

    def __init__(self, name: str, model: Any) -> None:
        self._model = model
        self._named = f"{self._kind.noun} {name}"
        self.config = {**_checked_config(self._named, model), PLUGIN: name}

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._model, method)(*arguments)
        except PrometheusError:
            raise
        except Exception as error:  # whatever a user's method does
            message = f"{self._named} fails ({reason_of(error)}); nothing of this step was stored"
            raise PrometheusError(message) from error

    def _rows(self, method: str, n_rows: int, *arguments: Any) -> Float32Matrix:
        return self._matrix(self._call(method, *arguments), n_rows) if n_rows else no_vectors()

    def _matrix(self, found: object, *n_rows: int) -> Float32Matrix:
        try:
            values = np.asarray(found)
        except ValueError as error:  # rows of different lengths
            raise PrometheusError(f"{self._named} returns rows of different lengths ({reason_of(error)})") from error
        if values.ndim != len(n_rows) + 1 or values.shape[:-1] != n_rows or not values.shape[-1]:
            wanted = f"({', '.join(map(str, (*n_rows, 'dim')))}{',' * (not n_rows)})"
            raise PrometheusError(f"{self._named} returns shape {values.shape}, expected {wanted}")
        if values.dtype.kind not in "fiu":
            raise PrometheusError(f"{self._named} returns values of type {values.dtype}, expected float32")
        return as_float32(values)


class OwnEncoder(_Own):
    """A numeric encoder of a user's own, by the name the user wrote; a `protocols.BatchNumericEmbeddingModel`.

    The model has ``encode`` and, where it can, ``encode_batch``; ``model_id``, ``window_days``, ``feature_set`` and
    ``config`` count if they are there; `UsageError` says what is wrong. The name of an entry point is its id.
    """

    _kind = ENCODER

    def __init__(self, name: str, model: Any) -> None:
        super().__init__(name, model)
        stated: str = _attribute(self._named, model, "model_id", str, name)
        self.model_id = stated if is_reference(name) else name  # what an entry point is called is an id already
        if self.model_id in NUMERIC_IDS:
            raise UsageError(f"{self._named}: its model_id {self.model_id!r} belongs to Prometheus; choose another one")
        self.feature_set: FeatureSet = _attribute(self._named, model, "feature_set", FeatureSet, CLOSE_VOLUME)
        if getattr(model, "window_days", None) is not None:
            self.window_days: int = _attribute(self._named, model, "window_days", int, 0)

    def encode(self, window: FeatureTable) -> Float32Vector:
        """Return the vector of one window."""
        return self._matrix(self._call("encode", window))

    def encode_batch(self, windows: FeatureCube) -> Float32Matrix:
        """Return one vector per window; one by one where the model takes no batch."""
        if not len(windows) or offers(self._model, "encode_batch"):
            return self._rows("encode_batch", len(windows), windows)
        return self._matrix([self.encode(window) for window in windows], len(windows))


class OwnTableEncoder(OwnEncoder):
    """One that also has ``encode_table``; a `protocols.TableNumericEmbeddingModel`."""

    def encode_table(self, features: FeatureTable, ends: Int64Vector, window_days: int) -> Float32Matrix:
        """Return one vector per window."""
        return self._rows("encode_table", len(ends), features, ends, window_days)


class OwnTextModel(_Own):
    """A text model of a user's own; a `protocols.TextEmbeddingModel`."""

    _kind = TEXT_MODEL

    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        """Return one vector per text."""
        vectors = self._rows("embed_batch", len(docs), docs)
        n_bad = int(np.count_nonzero(~np.isfinite(vectors)))
        if n_bad:  # one text may be the reason: it is looked for, and left out alone
            raise VectorError(self._named, f"{n_bad} of {vectors.size} values by {self._named} are NaN or infinite")
        return vectors


class OwnChunkingTextModel(OwnTextModel):
    """One that also says in how many pieces it read each text; a `protocols.ChunkingTextEmbeddingModel`."""

    def encode(self, docs: Sequence[TextDoc]) -> TextEncoding:
        """Return one vector per text with its number of chunks and its flags."""
        found = self._call("encode", docs)
        if not isinstance(found, TextEncoding) or len(found) != len(docs):
            raise PrometheusError(
                f"{self._named}: encode() returns no TextEncoding of the {len(docs)} texts it was given"
            )
        self._matrix(found.vectors, len(docs))
        return found


def open_encoder(name: str) -> OwnEncoder | None:
    """Return the user's encoder of that name; None if not found."""
    if find_plugin(ENCODER, name) is None:
        return None
    model = open_plugin(ENCODER, name)
    return OwnTableEncoder(name, model) if offers(model, "encode_table") else OwnEncoder(name, model)


def is_own_text_model(name: str) -> bool:
    """Return whether a name stands for a text model of the user's own; `UsageError` if that lacks a method."""
    return name not in TEXT_MODEL.ours and find_plugin(TEXT_MODEL, name) is not None


def open_own_text_model(name: str) -> OwnTextModel:
    """Return the user's text model of that name."""
    model = open_plugin(TEXT_MODEL, name)
    return OwnChunkingTextModel(name, model) if offers(model, "encode") else OwnTextModel(name, model)


def open_recorded_text_model(name: str) -> OwnTextModel:
    """Return the text model that a database names; of a module only a class is taken, no function is called."""
    found = find_plugin(TEXT_MODEL, name)
    if found is not None and is_reference(name) and not isinstance(found, type):
        raise UsageError(f"the text model {name} is made by a function; name it (--hf-model-name {name})")
    return open_own_text_model(name)


def _attribute(named: str, model: Any, attribute: str, kind: type[T], default: T) -> T:
    found = getattr(model, attribute, default)
    if not isinstance(found, kind):
        raise UsageError(f"{named}: {attribute} is {found!r}, expected {kind.__name__}")
    return found


def _checked_config(named: str, model: Any) -> dict[str, Any]:
    stated = getattr(model, "config", None)
    if stated is not None and not isinstance(stated, Mapping):
        raise UsageError(f"{named}: config is {stated!r}, expected a dictionary")
    try:
        json.dumps(found := model_config(model), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{named}: config cannot be written as JSON ({error})") from error
    return found
