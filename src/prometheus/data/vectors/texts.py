"""The tables ``text_embeddings`` and ``text_passages``: vectors in and out, and beside the dates of their texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any, Literal, TypeAlias

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.analogs.sound import unsound_rows
from prometheus.arrays import Float32Matrix, Float32Vector, decode_vector, encode_vector
from prometheus.data.models import VectorTable
from prometheus.data.postgres.connections import HistoricalDatabase, HistoricalTables
from prometheus.data.text_reader import compose_text_query, newest_version
from prometheus.encoders.texts.daily import DailyTexts, daily_means
from prometheus.encoders.texts.documents import (
    Passages,
    StoredText,
    TextDoc,
    TextSelection,
    TextSourceType,
    no_vectors,
    text_rows,
)
from prometheus.errors import VectorError

ROWS_AT_ONCE = 20_000
DAYS_PER_QUERY = 366
"""Texts read at once where there are more; a year of a hundred thousand articles is 150 MiB of vectors."""

SPANS_AT_ONCE = 2

VectorsOfTexts: TypeAlias = Literal["text_embeddings", "text_passages"]

# The instants around a span let the index on time be used. The vector of each text is looked up by its whole key: a
# server that has not seen the rows of a fresh load counted yet would else walk through all vectors of the model, fifty
# times slower.
_SPAN = """
    SELECT {own_date}, {key}, found.*
    FROM {table} CROSS JOIN LATERAL (
        SELECT {columns} FROM {vectors}
        WHERE source_type = {source} AND source_id = {table}.{key}::text AND model_id = {model} OFFSET 0
    ) AS found
    WHERE {timestamp} >= ({first}::date)::timestamp AT TIME ZONE {zone}
      AND {timestamp} < ({last}::date + 1)::timestamp AT TIME ZONE {zone}
      AND (coalesce(known_at, {timestamp}) AT TIME ZONE {zone})::date <= {known_by}
      {newest_version} {filters}
"""
_IS_KNOWN = "(coalesce(later.known_at, later.timestamp) AT TIME ZONE {zone})::date <= {known_by}"


_LOAD = """
    SELECT source_type, source_id, text_hash, vector, dim, n_chunks, flags, passages.*
    FROM text_embeddings AS stored LEFT JOIN LATERAL (
        SELECT array_agg(first_char ORDER BY position), array_agg(last_char ORDER BY position),
               string_agg(vector, ''::bytea ORDER BY position)
        FROM text_passages AS passage
        WHERE passage.source_type = stored.source_type AND passage.source_id = stored.source_id
          AND passage.model_id = stored.model_id
    ) AS passages(firsts, lasts, vectors) ON n_chunks > 1
"""


class TextEmbeddingStore(VectorTable):
    """Both tables; every write is an upsert on the natural key."""

    keeps_passages = True

    def save_embeddings(
        self,
        docs: Sequence[TextDoc],
        model_id: str,
        vectors: Float32Matrix,
        *,
        n_chunks: Sequence[int | None] | None = None,
        flags: Sequence[Sequence[str]] | None = None,
        passages: Sequence[Passages | None] | None = None,
    ) -> int:
        """Store one vector per text in one transaction, and its passages; return how many texts were new or changed.

        Passages of None leave those of an equal text alone. See `text_rows`.
        """
        rows = text_rows(docs, model_id, vectors, n_chunks, flags, passages)
        return self._db.write(lambda cursor: _upsert(cursor, rows, model_id)) if rows else 0

    def load_embedding(self, source_type: str, source_id: str, model_id: str) -> Float32Vector | None:
        """Return one stored vector, or None."""
        stored = self.load_many(source_type, [source_id], model_id).get(source_id)
        return None if stored is None else stored.vector

    def model_ids(self, source_type: str) -> list[str]:
        """Return the registered text models that have a vector of a source type, the newest first."""
        query = """
            SELECT models.model_id FROM models
            WHERE kind = 'text' AND EXISTS (
                SELECT FROM text_embeddings WHERE source_type = %s AND text_embeddings.model_id = models.model_id
            ) ORDER BY created_at DESC, models.model_id
        """
        return self._db.column(query, (source_type,))

    def load_many(
        self, source_type: str, source_ids: Sequence[str], model_id: str, *, is_search: bool = False
    ) -> dict[str, StoredText]:
        """Return what is stored for these sources, by source id; for a search without passages it cannot compare.

        VectorError otherwise, for such a passage.
        """
        query = f"{_LOAD} WHERE source_type = %s AND source_id = ANY(%s) AND model_id = %s"
        rows = self._db.rows(query, (source_type, list(source_ids), model_id), binary=True)
        return {
            row[1]: _stored(row[2:], f"{model_id} vector of {source_type} {row[1]}", is_search=is_search)
            for row in rows
        }

    def load_same_texts(self, text_hashes: Sequence[str], model_id: str) -> dict[str, StoredText]:
        """Return what is stored for these texts, whatever their source, by text hash."""
        query = sql.SQL("""
            SELECT DISTINCT ON (text_hash) * FROM ({} WHERE model_id = %s AND text_hash = ANY(%s)) AS found
            ORDER BY text_hash, vectors IS NULL, source_type, source_id
        """)
        rows = self._db.rows(query.format(sql.SQL(_LOAD)), (model_id, list(text_hashes)), binary=True)
        return {row[2]: _stored(row[2:], f"{model_id} vector of text {row[2]}") for row in rows}


def _stored(row: Sequence[Any], name: str, *, is_search: bool = False) -> StoredText:
    text_hash, vector, dim, n_chunks, flags, firsts, lasts, vectors = row
    passages = None
    if vectors is not None and not (is_search and len(vectors) != 4 * len(firsts) * dim):
        spans = np.array([firsts, lasts], dtype=np.int64).T
        rows = decode_vector(vectors, len(spans) * dim, f"passages, {name}").reshape(-1, dim)
        is_bad = unsound_rows(rows) if is_search else None
        if is_bad is not None:
            spans, rows = spans[~is_bad], rows[~is_bad]
        passages = Passages(spans, rows) if len(rows) else None
    return StoredText(text_hash, decode_vector(vector, dim, name), n_chunks, tuple(flags), passages)


def _upsert(cursor: psycopg.Cursor[Any], rows: Mapping[tuple[str, str], StoredText], model_id: str) -> int:
    """Return how many texts were new or changed, or got other passages."""
    cursor.execute("SET LOCAL prometheus.keeps_coverage = 'on'")  # what is settled of texts is noted by digest
    written = _upsert_texts(cursor, rows, model_id)
    _drop_passages(cursor, {key: len(rows[key].passages or ()) for key in written}, model_id)
    pieces = {key: row.passages for key, row in rows.items() if row.passages is not None}
    return len(written | _upsert_passages(cursor, pieces, model_id)) if pieces else len(written)


def _upsert_texts(
    cursor: psycopg.Cursor[Any], rows: Mapping[tuple[str, str], StoredText], model_id: str
) -> set[tuple[str, str]]:
    """Text vectors come a few hundred at a time, with texts and arrays beside them: arrays as parameters beat COPY."""
    texts = list(rows.values())
    cursor.execute(
        """
        INSERT INTO text_embeddings AS stored
            (source_type, source_id, model_id, dim, vector, text_hash, n_chunks, flags)
        SELECT source_type, source_id, %(model)s, %(dim)s, vector, text_hash, n_chunks, string_to_array(flags, ',')
        FROM unnest(%(types)s::text[], %(ids)s::text[], %(vectors)b::bytea[], %(hashes)s::text[], %(n_chunks)s::int4[],
                    %(flags)s::text[])
          AS incoming(source_type, source_id, vector, text_hash, n_chunks, flags)
        ON CONFLICT (source_type, source_id, model_id) DO UPDATE
        SET dim = excluded.dim, vector = excluded.vector, text_hash = excluded.text_hash,
            n_chunks = excluded.n_chunks, flags = excluded.flags, created_at = now()
        WHERE stored.vector <> excluded.vector
           OR stored.text_hash IS DISTINCT FROM excluded.text_hash
           OR (excluded.n_chunks IS NOT NULL
               AND (stored.n_chunks, stored.flags) IS DISTINCT FROM (excluded.n_chunks, excluded.flags))
        RETURNING source_type, source_id
        """,
        {
            "model": model_id,
            "dim": texts[0].vector.size,
            "types": [source_type for source_type, _ in rows],
            "ids": [source_id for _, source_id in rows],
            "vectors": [encode_vector(text.vector) for text in texts],
            "hashes": [text.text_hash for text in texts],
            "n_chunks": [text.n_chunks for text in texts],
            "flags": [",".join(text.flags) for text in texts],
        },
    )
    return set(cursor.fetchall())


def _drop_passages(cursor: psycopg.Cursor[Any], kept: Mapping[tuple[str, str], int], model_id: str) -> None:
    """Remove the passages of texts from a position on."""
    cursor.execute(
        """
        DELETE FROM text_passages AS stored USING unnest(%s::text[], %s::text[], %s::int4[]) AS kept(type, id, n)
        WHERE source_type = kept.type AND source_id = kept.id AND model_id = %s AND position >= kept.n
        """,
        ([source_type for source_type, _ in kept], [source_id for _, source_id in kept], [*kept.values()], model_id),
    )


def _upsert_passages(
    cursor: psycopg.Cursor[Any], pieces: Mapping[tuple[str, str], Passages], model_id: str
) -> set[tuple[str, str]]:
    """Return the texts that got a new or another passage."""
    keys = [(*key, position) for key, found in pieces.items() for position in range(len(found))]
    spans = np.concatenate([found.spans for found in pieces.values()])
    vectors = np.concatenate([found.vectors for found in pieces.values()])
    cursor.execute(
        """
        INSERT INTO text_passages AS stored
            (source_type, source_id, model_id, position, first_char, last_char, dim, vector)
        SELECT type, id, %(model)s, position, first_char, last_char, %(dim)s, vector
        FROM unnest(%(types)s::text[], %(ids)s::text[], %(positions)s::int4[], %(firsts)s::int4[], %(lasts)s::int4[],
                    %(vectors)b::bytea[]) AS incoming(type, id, position, first_char, last_char, vector)
        ON CONFLICT (source_type, source_id, model_id, position) DO UPDATE
        SET first_char = excluded.first_char, last_char = excluded.last_char, dim = excluded.dim,
            vector = excluded.vector
        WHERE (stored.first_char, stored.last_char, stored.vector)
           <> (excluded.first_char, excluded.last_char, excluded.vector)
        RETURNING source_type, source_id
        """,
        {
            "model": model_id,
            "dim": vectors.shape[1],
            "types": [source_type for source_type, _, _ in keys],
            "ids": [source_id for _, source_id, _ in keys],
            "positions": [position for _, _, position in keys],
            "firsts": spans[:, 0].tolist(),
            "lasts": spans[:, 1].tolist(),
            "vectors": [encode_vector(vector) for vector in vectors],
        },
    )
    return set(cursor.fetchall())


class TextVectorReader(HistoricalTables):
    """Reads both tables beside the texts they were made of."""

    def dim(self, source: TextSourceType, model_id: str) -> int | None:
        """Return how long a model's vectors of a source are; None if not found."""
        return self._dim("text_embeddings", source, model_id)

    def _dim(self, table: VectorsOfTexts, source: TextSourceType, model_id: str) -> int | None:
        query = sql.SQL("SELECT dim FROM {} WHERE source_type = %s AND model_id = %s LIMIT 1")
        dim: int | None = self._db.value(query.format(sql.Identifier(table)), (source, model_id))
        return dim

    def iter_rows(self, wanted: TextSelection, start: date, end: date) -> Iterator[NDArray[Any]]:
        """Yield the vectors of texts dated `start` to `end`, both included, oldest first, span by span.

        Structured, shape (n,): ``day`` (M8[D]), ``text_id`` (i8) and ``vector`` (bytes), by day and id; never empty.
        """
        yield from self._iter(wanted, start, end, "text_embeddings", [])

    def iter_passages(self, wanted: TextSelection, start: date, end: date) -> Iterator[NDArray[Any]]:
        """Yield the passages of long texts dated `start` to `end` as `iter_rows` does their texts; others have none.

        ``first_char`` and ``last_char`` (i4) are the characters of the text from and up to which it goes, half open.
        """
        yield from self._iter(wanted, start, end, "text_passages", ["first_char", "last_char"])

    def _iter(
        self, wanted: TextSelection, start: date, end: date, table: VectorsOfTexts, places: list[str]
    ) -> Iterator[NDArray[Any]]:
        dim, extent = self._dim(table, wanted.source, wanted.model_id), self._extent(wanted)
        if dim is None or extent is None:
            return
        first, last = max(start, extent[0]), min(end, extent[1])
        spans = [(first, last)] if self._is_small(table, wanted) else _spans(first, last)
        queries = [_query(wanted, first, last, table, [*places, "vector"]) for first, last in spans]
        dtypes = [("day", "M8[D]"), ("text_id", "i8"), *((name, "i4") for name in places), ("vector", f"V{4 * dim}")]
        with ThreadPoolExecutor(SPANS_AT_ONCE, thread_name_prefix="prometheus-texts") as pool:
            for rows in pool.map(lambda query: self._load(query, dtypes, dim), queries):
                if len(rows):
                    yield rows[np.lexsort([rows[name] for name in (*reversed(places), "text_id", "day")])]

    def load(self, wanted: TextSelection, start: date, end: date) -> DailyTexts:
        """Return the mean of each date's texts from `start` to `end`, both included, added in order of their ids."""
        found = [daily_means(rows) for rows in self.iter_rows(wanted, start, end)]
        if not found:
            return DailyTexts(np.empty(0, dtype="M8[D]"), no_vectors(), np.empty(0, dtype=np.int64))
        parts = zip(*((part.dates, part.vectors, part.n_texts) for part in found), strict=True)
        return DailyTexts(*map(np.concatenate, parts))

    def _is_small(self, table: VectorsOfTexts, wanted: TextSelection) -> bool:
        query = "SELECT count(*) FROM (SELECT FROM {} WHERE source_type = %s AND model_id = %s LIMIT %s) AS counted"
        given = (wanted.source, wanted.model_id, ROWS_AT_ONCE + 1)
        return bool(self._db.value(sql.SQL(query).format(sql.Identifier(table)), given) <= ROWS_AT_ONCE)

    def _extent(self, wanted: TextSelection) -> tuple[date, date] | None:
        query = """
            SELECT (min({timestamp}) AT TIME ZONE {zone})::date, (max({timestamp}) AT TIME ZONE {zone})::date
            FROM {table}
        """
        first, last = self._db.rows(compose_text_query(query, wanted.source, zone=wanted.timezone))[0]
        return None if first is None else (first, last)

    def _load(self, query: sql.Composed, dtypes: Sequence[tuple[str, str]], dim: int) -> NDArray[Any]:
        try:
            return self._db.packed(query, dtypes)
        except psycopg.DataError as error:
            fault = f"vectors of one model differ in length, {dim} values expected"
            raise VectorError("text_embeddings", fault) from error


class DailyTextsOfOneRun(TextVectorReader):
    """Keeps the means it has read, so that regions that are joined one after the other read their texts once.

    What is written into the tables later is not seen.
    """

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        super().__init__(db_manager)
        self._kept: dict[str, tuple[date, date, DailyTexts | None]] = {}

    def load(self, wanted: TextSelection, start: date, end: date) -> DailyTexts:
        """Return the mean of each date's texts; see `TextVectorReader`. A date's mean is the same in every span."""
        key = json.dumps(asdict(wanted), sort_keys=True, default=str)
        first, last, means = self._kept.get(key, (date.max, date.min, None))
        if means is None or start < first or end > last:
            first, last = min(start, first), max(end, last)
            means = super().load(wanted, first, last)
            self._kept[key] = (first, last, means)
        days = means.dates
        rows = slice(days.searchsorted(np.datetime64(start)), days.searchsorted(np.datetime64(end), "right"))
        return DailyTexts(means.dates[rows], means.vectors[rows], means.n_texts[rows])


def _spans(start: date, end: date) -> list[tuple[date, date]]:
    firsts = [start + timedelta(days) for days in range(0, (end - start).days + 1, DAYS_PER_QUERY)]
    return [(first, min(end, first + timedelta(DAYS_PER_QUERY - 1))) for first in firsts]


def _query(
    wanted: TextSelection, first: date, last: date, table: VectorsOfTexts, columns: Sequence[str]
) -> sql.Composed:
    own_date = compose_text_query("({timestamp} AT TIME ZONE {zone})::date", wanted.source, zone=wanted.timezone)
    known_by = own_date if wanted.known_by is None else sql.SQL("{}::date").format(wanted.known_by)
    is_known = sql.SQL(_IS_KNOWN).format(zone=wanted.timezone, known_by=known_by)
    return compose_text_query(
        _SPAN,
        wanted.source,
        filters={name: value for name, value in sorted(wanted.filters.items()) if value is not None},
        vectors=sql.Identifier(table),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        own_date=own_date,
        known_by=known_by,
        newest_version=sql.SQL("") if wanted.every_version else newest_version(wanted.source, is_known),
        zone=wanted.timezone,
        model=wanted.model_id,
        first=first,
        last=last,
    )
