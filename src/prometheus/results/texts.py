"""Texts found by their meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np

from prometheus.app.text_search import TextHit, TextSearchReport
from prometheus.results.columns import Column, numbers, texts
from prometheus.results.table import ResultTable


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Texts(ResultTable[TextHit]):
    """The texts nearest in meaning to a question, nearest first; all of them known on the date asked about."""

    query: str
    report: TextSearchReport

    _index: ClassVar[None] = None

    @property
    def model_id(self) -> str:
        """Whose vectors were compared."""
        return self.report.model_id

    def __len__(self) -> int:
        return len(self.report.hits)

    def __iter__(self) -> Iterator[TextHit]:
        return iter(self.report.hits)

    def _columns(self) -> Sequence[Column]:
        found = [hit.text for hit in self]
        return (
            Column("similarity", numbers([hit.similarity for hit in self])),
            Column("timestamp", _instants([text.timestamp for text in found])),
            Column("source", texts([text.source_type.lower() for text in found])),
            Column("kind", texts([text.kind for text in found])),
            Column("place", texts([text.place for text in found])),
            Column("origin", texts([text.origin for text in found])),
            Column("text", texts([text.text for text in found])),
        )

    def _headline(self) -> str:
        report = self.report
        return (
            f"Texts like {self.query!r} known on {report.as_of_date}, by {report.model_id}: "
            f"{len(self)} of {report.n_texts:,}"
        )

    def _named(self) -> Mapping[str, str]:
        return {"query": self.query, "as_of_date": str(self.report.as_of_date), "model_id": self.model_id}


def _instants(moments: Sequence[datetime]) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    return np.array([moment.astimezone(UTC).replace(tzinfo=None) for moment in moments], dtype="M8[us]")
