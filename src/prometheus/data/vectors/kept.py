"""Vectors of texts and passages as they are stored, for a process that keeps them; no date is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from prometheus.data.postgres.binary_copy import same_length
from prometheus.data.postgres.connections import HistoricalTables
from prometheus.data.vectors.texts import VectorsOfTexts
from prometheus.data.words import WRITTEN
from prometheus.encoders.texts.documents import TextSourceType

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
        """Return how long the vectors are, but for one of another length; None without any."""
        known = sql.SQL("""
            SELECT mode() WITHIN GROUP (ORDER BY dim)
            FROM (SELECT dim FROM {} WHERE source_type = {} AND model_id = {} LIMIT 9) AS few
        """)
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

        Structured, shape (n,): what `WRITTEN` says, and ``vector`` (bytes), NaN for one of another length.
        """
        dim = self.dim(source, model_id, table)
        if dim is None:
            return
        query = _query(source, model_id, table, text_ids, [same_length("vector", dim)])
        yield from self._db.iter_copied(query, [*WRITTEN, ("vector", f"V{4 * dim}")])


def _query(
    source: TextSourceType,
    model_id: str,
    table: VectorsOfTexts,
    text_ids: Sequence[int] | None,
    further: Sequence[sql.Composable],
) -> sql.Composed:
    columns = [sql.SQL(_POSITIONS[table]), sql.SQL("xmin::text::int8"), *further]
    return sql.SQL(_STORED).format(
        columns=sql.SQL(", ").join(columns), table=sql.Identifier(table), source=source, model=model_id,
        every=text_ids is None, ids=[str(each) for each in text_ids or ()],
    )  # fmt: skip
