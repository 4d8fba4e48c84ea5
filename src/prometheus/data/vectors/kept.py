"""Vectors of texts and passages as they are stored, for a process that keeps them; no date is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.data.postgres.connections import HistoricalTables
from prometheus.data.vectors.texts import VectorsOfTexts
from prometheus.data.words import WRITTEN
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.errors import VectorError

# a name of a source that is no number of a row is no text's
_STORED = r"""
    SELECT source_id::int8, {columns} FROM {table}
    WHERE source_type = {source} AND model_id = {model} AND source_id ~ '^(0|-?[1-9][0-9]{{0,17}}|-?[1-8][0-9]{{18}})$'
      AND ({every} OR source_id = ANY({ids}::text[]))
"""
_POSITIONS = {"text_embeddings": "0", "text_passages": "position"}


class StoredVectors(HistoricalTables):
    """Reads the vectors that a model has of one source of texts, of `text_embeddings` or of `text_passages`."""

    def dim(self, source: TextSourceType, model_id: str, table: VectorsOfTexts) -> int | None:
        """Return how long the vectors are; None without any."""
        known = sql.SQL("SELECT dim FROM {} WHERE source_type = {} AND model_id = {} LIMIT 1")
        dim: int | None = self._db.value(known.format(sql.Identifier(table), source, model_id))
        return dim

    def written(self, source: TextSourceType, model_id: str, table: VectorsOfTexts) -> NDArray[Any]:
        """Return which rows there are, as `WRITTEN`, by text and position."""
        rows = self._db.packed(_query(source, model_id, table, None, ()), WRITTEN)
        return rows[np.lexsort((rows["position"], rows["text_id"]))]

    def pages(
        self, source: TextSourceType, model_id: str, table: VectorsOfTexts, text_ids: Sequence[int] | None
    ) -> Iterator[NDArray[Any]]:
        """Yield the rows of some texts, or of every one, block by block in any order.

        Structured, shape (n,): what `WRITTEN` says, and ``vector`` (bytes). VectorError where lengths differ.
        """
        dim = self.dim(source, model_id, table)
        if dim is None:
            return
        query = _query(source, model_id, table, text_ids, ["vector"])
        try:
            yield from self._db.iter_copied(query, [*WRITTEN, ("vector", f"V{4 * dim}")])
        except psycopg.DataError as error:
            fault = f"vectors of one model differ in length, {dim} values expected"
            raise VectorError(table, fault) from error


def _query(
    source: TextSourceType, model_id: str, table: VectorsOfTexts, text_ids: Sequence[int] | None, further: Sequence[str]
) -> sql.Composed:
    columns = [sql.SQL(_POSITIONS[table]), sql.SQL("xmin::text::int8"), *map(sql.Identifier, further)]
    return sql.SQL(_STORED).format(
        columns=sql.SQL(", ").join(columns), table=sql.Identifier(table), source=source, model=model_id,
        every=text_ids is None, ids=[str(each) for each in text_ids or ()],
    )  # fmt: skip
