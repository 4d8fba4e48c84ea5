"""Joint embeddings, what the market did and what was said in one vector per date: examples in, stored rows out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from prometheus.arrays import Float32Matrix, Float32Vector, Float64Vector, as_float32, require_finite
from prometheus.collaborators import require_methods
from prometheus.encoders.identity import RegisteredModel
from prometheus.errors import InputRefusedError, WindowShapeError
from prometheus.protocols import JointEmbeddingModel, JointVectorSink, JointVectorStore

if TYPE_CHECKING:
    from prometheus.encoders.texts.documents import TextSourceType


@dataclass(frozen=True, slots=True)
class JointSpace:
    """A kind of joint embedding: what it joins, and how its rows are labelled."""

    joint_type: str
    source: str
    filters_key: str
    text_source: TextSourceType

    def entity_scope(self, region: str, filters: Mapping[str, str | None]) -> dict[str, Any]:
        """Return the scope of a region's rows; only the filters that were given stand in it.

        Examples
        --------
        >>> REGIME_MACRO.entity_scope("US", {"country": "US", "event_type": None})
        {'region': 'US', 'source': 'regime+macro', 'macro_filters': {'country': 'US'}}
        """
        given = {name: value for name, value in filters.items() if value is not None}
        return {"region": region, "source": self.source, self.filters_key: given}


REGIME_MACRO = JointSpace("REGIME_MACRO_V0", "regime+macro", "macro_filters", "MACRO")
REGIME_NEWS = JointSpace("REGIME_CONTEXT_V0", "regime+news", "news_filters", "NEWS")


@dataclass(frozen=True, slots=True, eq=False)
class JointExample:
    """One date's numeric and text embedding, shape (dim,) each, float32, and its macro numbers, shape (n_numbers,).

    None where a model does not need them.
    """

    joint_type: str
    as_of_date: date
    entity_scope: Mapping[str, Any]
    numeric_embedding: Float32Vector | None
    text_embedding: Float32Vector | None
    numbers_embedding: Float64Vector | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StoredJointEmbedding:
    """One row of ``joint_embeddings``."""

    joint_type: str
    as_of_date: date
    model_id: str
    entity_scope: Mapping[str, Any]
    vector: Float32Vector

    @property
    def l2_norm(self) -> float:
        """The Euclidean length, in float64."""
        return float(np.linalg.norm(self.vector.astype(np.float64)))


@dataclass(frozen=True, slots=True)
class JointGroup:
    """Stored rows of one kind, model, scope and text model, if any; `written` says when each date's row was written."""

    joint_type: str
    model_id: str
    entity_scope: Mapping[str, Any]
    text_model_id: str | None
    written: Mapping[date, datetime]


@dataclass(frozen=True, slots=True)
class JointRows:
    """Which rows are stored of one kind, model and scope; the branch models' ids are None where unknown."""

    joint_type: str
    model_id: str
    entity_scope: Mapping[str, Any]
    numeric_model_id: str | None
    text_model_id: str | None
    dim: int
    n_rows: int
    first: date
    last: date


def scope_text(scope: Any) -> str:
    """Return the text of a scope by which stores order rows: keys by length, then by bytes, as PostgreSQL writes jsonb.

    Examples
    --------
    >>> scope_text({"source": "regime+news", "region": "US", "news_filters": {}})
    '{"region": "US", "source": "regime+news", "news_filters": {}}'
    """
    if isinstance(scope, Mapping):
        keys = sorted(scope, key=lambda key: (len(key.encode()), key.encode()))
        return f"{{{', '.join(f'{json.dumps(key, ensure_ascii=False)}: {scope_text(scope[key])}' for key in keys)}}}"
    if isinstance(scope, list | tuple):
        return f"[{', '.join(map(scope_text, scope))}]"
    return json.dumps(scope, ensure_ascii=False)


def require_joint_vectors(examples: Sequence[JointExample], model_id: str, vectors: Float32Matrix) -> Float32Matrix:
    """Return vectors as float32, shape (n, dim); `WindowShapeError` or `VectorError` if they cannot be stored."""
    values = as_float32(vectors)
    if values.ndim != 2 or len(values) != len(examples) or not values.shape[1]:
        raise WindowShapeError("joint vectors", values.shape, (len(examples), "dim"))
    require_finite(values, f"{model_id} vectors")
    return values


def require_one_space(stored: Sequence[JointRows]) -> None:
    """Raise `InputRefusedError` if a joint model's rows were joined from several models: distances mean nothing."""
    branches = sorted({(str(each.numeric_model_id), str(each.text_model_id)) for each in stored})
    if len(branches) > 1:
        listed = " and ".join(" with ".join(pair) for pair in branches)
        raise InputRefusedError(
            f"the rows of {stored[0].model_id} were joined from {listed}, which is no one space; write each pair under "
            "a --joint-model-id of its own"
        )


class JointEmbeddingService(RegisteredModel):
    """Joins examples and stores the vectors under `model_id`; `embed_batch` and `save_embeddings` are enough."""

    kind = "joint"

    def __init__(self, *, model: JointEmbeddingModel, store: JointVectorStore | JointVectorSink, model_id: str) -> None:
        require_methods(model, type(self).__name__, "model", "embed_batch")
        require_methods(store, type(self).__name__, "store", "save_embeddings")
        self.model: JointEmbeddingModel = model
        self.store: JointVectorStore = cast("JointVectorStore", store)
        self.model_id = model_id

    def embed_and_store(self, examples: Sequence[JointExample]) -> Float32Matrix:
        """Return one vector per example, shape (n, dim), and store them; `VectorError` if an example lacks a branch."""
        if not examples:
            return np.empty((0, 0), dtype=np.float32)
        vectors = require_joint_vectors(examples, self.model_id, self.model.embed_batch(examples))
        self.save(examples, vectors)
        return vectors

    def save(
        self,
        examples: Sequence[JointExample],
        vectors: Float32Matrix,
        branch_models: tuple[str, str | None] | None = None,
    ) -> int:
        """Store vectors, shape (n, dim), and the ids of the branch models; return how many rows were new or changed."""
        if not examples:
            return 0
        self.register()
        said = () if branch_models is None else (branch_models,)  # a store by its fixed name knows no such argument
        return self.store.save_embeddings(examples, self.model_id, vectors, *said)
