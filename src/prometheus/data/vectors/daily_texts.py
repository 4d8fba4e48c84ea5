"""Stored text vectors with the dates of their texts, span by span, and their means by date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.data.postgres.binary_copy import fetch_packed
from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.encoders.texts.documents import (
    TEXT_TABLES,
    DailyTexts,
    TextSelection,
    TextSourceType,
    daily_means,
    no_vectors,
)
from prometheus.errors import VectorError

ROWS_AT_ONCE = 20_000
DAYS_PER_QUERY = 366
"""Texts read at once where there are more; a year of a hundred thousand articles is 150 MiB of vectors."""

SPANS_AT_ONCE = 2


class TextVectorReader:
    """Reads ``text_embeddings`` beside the texts they were made of."""

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._db = db_manager

    def dim(self, source: TextSourceType, model_id: str) -> int | None:
        """Return how long a model's vectors of a source are; None if not found."""
        query = "SELECT dim FROM text_embeddings WHERE source_type = %s AND model_id = %s LIMIT 1"
        with self._db.get_historical_connection() as connection:
            row = connection.execute(query, (source, model_id)).fetchone()
        return None if row is None else int(row[0])

    def iter_rows(self, wanted: TextSelection, start: date, end: date) -> Iterator[NDArray[Any]]:
        """Yield the vectors of texts dated `start` to `end`, both included, oldest first, span by span.

        Yields
        ------
        Structured, shape (n,): ``day`` (M8[D]), ``text_id`` (i8) and ``vector`` (bytes), by day and id; never empty.
        """
        dim, extent = self.dim(wanted.source, wanted.model_id), self._extent(wanted)
        if dim is None or extent is None:
            return
        first, last = max(start, extent[0]), min(end, extent[1])
        spans = [(first, last)] if self._is_small(wanted) else _spans(first, last)
        queries = [_query(wanted, first, last) for first, last in spans]
        with ThreadPoolExecutor(SPANS_AT_ONCE, thread_name_prefix="prometheus-texts") as pool:
            for rows in pool.map(lambda query: self._load(query, dim), queries):
                if len(rows):
                    yield rows[np.lexsort((rows["text_id"], rows["day"]))]

    def _is_small(self, wanted: TextSelection) -> bool:
        """Return whether all vectors of the model may be read at once."""
        query = """
            SELECT count(*) FROM (
                SELECT FROM text_embeddings WHERE source_type = %s AND model_id = %s LIMIT %s
            ) AS counted
        """
        with self._db.get_historical_connection() as connection:
            row = connection.execute(query, (wanted.source, wanted.model_id, ROWS_AT_ONCE + 1)).fetchone()
        return row is not None and row[0] <= ROWS_AT_ONCE

    def _extent(self, wanted: TextSelection) -> tuple[date, date] | None:
        """Return the first and the last date that have texts at all; no query is spent outside them."""
        table = TEXT_TABLES[wanted.source]
        query = sql.SQL("SELECT (min({time}) AT TIME ZONE %s)::date, (max({time}) AT TIME ZONE %s)::date FROM {table}")
        composed = query.format(time=sql.Identifier(table.timestamp), table=sql.Identifier(table.name))
        with self._db.get_historical_connection() as connection:
            row = connection.execute(composed, (wanted.timezone, wanted.timezone)).fetchone()
        return None if row is None or row[0] is None else (row[0], row[1])

    def _load(self, query: sql.Composed, dim: int) -> NDArray[Any]:
        dtypes = [("day", "M8[D]"), ("text_id", "i8"), ("vector", f"V{4 * dim}")]
        try:
            with self._db.get_historical_connection() as connection, connection.cursor() as cursor:
                return fetch_packed(cursor, query, dtypes)
        except psycopg.DataError as error:
            raise VectorError(
                "text_embeddings", f"vectors of one model differ in length, {dim} values expected"
            ) from error


class DailyTextReader:
    """Averages stored text embeddings by calendar date, set-wise."""

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._reader = TextVectorReader(db_manager)

    def load(
        self,
        source: TextSourceType,
        model_id: str,
        start: date,
        end: date,
        filters: Mapping[str, str | None],
        timezone: str = "UTC",
    ) -> DailyTexts:
        """Return the mean of each date's texts from `start` to `end`, both included.

        A text belongs to the calendar date of its timestamp in `timezone`, whatever the session's time zone is, and
        counts only if it was known on that date. Vectors are added in float64 in order of the texts' ids.

        Raises
        ------
        UsageError
            `timezone` is no IANA name; a filter the source does not have.
        """
        wanted = TextSelection(source, model_id, filters, timezone)
        found = [daily_means(rows) for rows in self._reader.iter_rows(wanted, start, end)]
        if not found:
            return DailyTexts(np.empty(0, dtype="M8[D]"), no_vectors(), np.empty(0, dtype=np.int64))
        return DailyTexts(
            np.concatenate([part.dates for part in found]),
            np.concatenate([part.vectors for part in found]),
            np.concatenate([part.n_texts for part in found]),
        )


def _spans(start: date, end: date) -> Iterator[tuple[date, date]]:
    first = start
    while first <= end:
        last = min(end, first + timedelta(days=DAYS_PER_QUERY - 1))
        yield first, last
        first = last + timedelta(days=1)


def _query(wanted: TextSelection, first: date, last: date) -> sql.Composed:
    """Compose the query of one span; the instants around it let the index on time be used.

    The vector of each text is looked up by its whole key: a server that has not seen the rows of a fresh load counted
    yet would else walk through all vectors of the model, fifty times slower.
    """
    table = TEXT_TABLES[wanted.source]
    given = [
        sql.SQL("AND {} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in sorted(wanted.filters.items())
        if value is not None
    ]
    own_date = sql.SQL("({} AT TIME ZONE {})::date").format(
        sql.Identifier(table.timestamp), sql.Literal(wanted.timezone)
    )
    return sql.SQL("""
        SELECT {own_date}, {id}, embedding.vector
        FROM {table} CROSS JOIN LATERAL (
            SELECT vector FROM text_embeddings
            WHERE source_type = {source} AND source_id = {table}.{id}::text AND model_id = {model} LIMIT 1
        ) AS embedding
        WHERE {time} >= ({first}::date)::timestamp AT TIME ZONE {zone}
          AND {time} < ({last}::date + 1)::timestamp AT TIME ZONE {zone}
          AND (coalesce(known_at, {time}) AT TIME ZONE {zone})::date <= {known_by}
          {filters}
    """).format(
        own_date=own_date,
        known_by=own_date if wanted.known_by is None else sql.SQL("{}::date").format(wanted.known_by),
        table=sql.Identifier(table.name),
        id=sql.Identifier(table.key),
        time=sql.Identifier(table.timestamp),
        zone=sql.Literal(wanted.timezone),
        source=sql.Literal(wanted.source),
        model=sql.Literal(wanted.model_id),
        first=sql.Literal(first),
        last=sql.Literal(last),
        filters=sql.SQL(" ").join(given),
    )
