"""Texts by meaning: texts known by a date that are near to a question, or to the texts of a day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np

from prometheus.app.text_models import TextModels
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float32Vector, Float64Vector, Int64Vector
from prometheus.core.config import MINILM
from prometheus.data.text_reader import DatedText
from prometheus.encoders.texts.documents import TextSelection, TextSourceType
from prometheus.errors import UsageError, no_text_embeddings

MAX_TEXTS = 1_000
MAX_QUERY_CHARACTERS = 10_000
Source = Literal["macro", "news"]
_KINDS: dict[Source, TextSourceType] = {"macro": "MACRO", "news": "NEWS"}


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A search of texts by the meaning of a question.

    Attributes
    ----------
    as_of
        Only texts dated up to this date and known on it.
    source
        ``macro``, ``news``, or None for both.
    model_id
        Of the vectors; None for the only model with vectors.
    hf_model_name
        The hub model, or local folder, that `model_id` stands for.
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
    """One text, and the cosine in [-1, 1] between its vector and the question's."""

    similarity: float
    text: DatedText

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"similarity": self.similarity, **self.text.to_dict()}


@dataclass(frozen=True, slots=True)
class TextSearchReport:
    """The texts found, nearest first, of `n_texts` compared."""

    as_of_date: date
    model_id: str
    n_texts: int
    hits: tuple[TextHit, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "as_of_date": str(self.as_of_date),
            "model_id": self.model_id,
            "n_texts": self.n_texts,
            "hits": [hit.to_dict() for hit in self.hits],
        }


class SearchTexts:
    """Compares all stored text vectors; nothing is written."""

    def __init__(self, wired: Wiring) -> None:
        self._models = TextModels(wired.db_manager)
        self._vectors = wired.daily_texts
        self._texts = wired.texts

    def find(self, query: TextQuery) -> TextSearchReport:
        """Return the texts nearest in meaning to a question.

        Raises
        ------
        NotFoundError, ModelFingerprintError
            No text known by the date; several models, none named; another model under that name.
        """
        model_id = query.model_id or self._models.only_one(query.kinds)
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

    def of_day(self, day: date, source: Source, known_by: date | None = None) -> list[DatedText]:
        """Return the texts dated on a day and known by another, or on it, in order of time."""
        return self._texts.texts_of(_KINDS[source], day, known_by or day)

    def newest_day(self, until: date, source: Source) -> date | None:
        """Return the date of the newest text dated and known up to a date; None if not stored."""
        return self._texts.newest(_KINDS[source], until)

    def _nearest(
        self, vector: Float32Vector, model_id: str, kinds: Sequence[TextSourceType], as_of: date, before: date, k: int
    ) -> TextSearchReport:
        parts = [
            part for kind in kinds for part in self._similarities(vector, kind, model_id, as_of) if len(part.text_ids)
        ]
        parts = [part.earlier_than(before) for part in parts]
        n_texts = sum(len(part.text_ids) for part in parts)
        if not n_texts:
            raise no_text_embeddings(kinds, model_id, as_of)
        hits = self._first_distinct(parts, k)
        return TextSearchReport(as_of, model_id, n_texts, tuple(hits))

    def _similarities(
        self, vector: Float32Vector, kind: TextSourceType, model_id: str, as_of: date
    ) -> Iterator[_Similarities]:
        selection = TextSelection(kind, model_id, {}, known_by=as_of)
        for rows in self._vectors.iter_rows(selection, date.min, as_of):
            vectors = np.ascontiguousarray(rows["vector"]).view("<f4").reshape(len(rows), -1)
            yield _Similarities(kind, rows["day"], rows["text_id"], _cosines(vectors, vector))

    def _first_distinct(self, parts: Sequence[_Similarities], k: int) -> list[TextHit]:
        """Return the `k` best hits; of equal texts only the earliest."""
        ranked = _ranked(parts)
        hits: list[TextHit] = []
        seen: set[str] = set()
        for first in range(0, len(ranked), 2 * k):
            page = ranked[first : first + 2 * k]
            texts = {
                (kind, text.source_id): text
                for kind in {kind for _, kind, _ in page}
                for text in self._texts.load_dated(kind, [text_id for _, of_kind, text_id in page if of_kind == kind])
            }
            for similarity, kind, text_id in page:
                text = texts.get((kind, text_id))
                if text is not None and text.text not in seen:
                    seen.add(text.text)
                    hits.append(TextHit(similarity, text))
                if len(hits) == k:
                    return hits
        return hits


@dataclass(frozen=True, slots=True, eq=False)
class _Similarities:
    """Texts of one kind and their similarities, shape (n,) each."""

    kind: TextSourceType
    days: np.ndarray[Any, np.dtype[np.datetime64]]
    text_ids: Int64Vector
    values: Float64Vector

    def earlier_than(self, day: date) -> _Similarities:
        is_earlier = self.days < np.datetime64(day, "D")
        return _Similarities(self.kind, self.days[is_earlier], self.text_ids[is_earlier], self.values[is_earlier])


def _ranked(parts: Sequence[_Similarities]) -> list[tuple[float, TextSourceType, int]]:
    """Return similarity, kind and id of every text, most similar first; of equal ones the earlier."""
    days = np.concatenate([part.days for part in parts])
    ids = np.concatenate([part.text_ids for part in parts])
    values = np.concatenate([part.values for part in parts])
    kinds = [part.kind for part in parts for _ in range(len(part.text_ids))]
    order = np.lexsort((ids, days, -values))
    return [(float(values[at]), kinds[at], int(ids[at])) for at in order.tolist()]


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
