"""Daily text vectors: the mean of all texts of a calendar date that were known on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
from psycopg import sql

from prometheus.arrays import DateVector, Float32Matrix, Int64Vector
from prometheus.core.binary_copy import fetch_packed
from prometheus.core.connections import HistoricalDatabase
from prometheus.encoders.joint import TextSourceType
from prometheus.errors import UsageError, VectorError

DAYS_PER_QUERY = 366
"""Texts read at once; a year of a hundred thousand articles is 150 MiB of vectors."""

SPANS_AT_ONCE = 2

_TABLES = {
    "MACRO": ("macro_events", "event_id", "timestamp", ("country", "event_type")),
    "NEWS": ("news_articles", "article_id", "published_at", ("language",)),
}


@dataclass(frozen=True, slots=True, eq=False)
class DailyTexts:
    """One mean vector per date that has texts.

    Attributes
    ----------
    dates
        Shape (n_dates,), ascending.
    vectors
        Shape (n_dates, dim), float32; (0, 0) without dates.
    n_texts
        Shape (n_dates,): how many texts each mean is over.
    """

    dates: DateVector
    vectors: Float32Matrix
    n_texts: Int64Vector


class DailyTextReader:
    """Averages stored text embeddings by calendar date, set-wise.

    Parameters
    ----------
    db_manager
        Where the historical database is.
    """

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._db = db_manager

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
        require_timezone(timezone)
        unknown = sorted(set(filters) - set(_TABLES[source][3]))
        if unknown:
            raise UsageError(f"{source} texts have no filter {unknown[0]!r}")
        dim, extent = self._dim(source, model_id), self._extent(source, timezone)
        if dim is None or extent is None:
            return _no_texts()
        queries = [
            _query(source, model_id, first, last, filters, timezone)
            for first, last in _spans(max(start, extent[0]), min(end, extent[1]))
        ]
        with ThreadPoolExecutor(SPANS_AT_ONCE, thread_name_prefix="prometheus-texts") as pool:
            parts = list(pool.map(lambda query: self._load_span(query, dim), queries))
        found = [part for part in parts if len(part.dates)]
        if not found:
            return _no_texts()
        return DailyTexts(
            np.concatenate([part.dates for part in found]),
            np.concatenate([part.vectors for part in found]),
            np.concatenate([part.n_texts for part in found]),
        )

    def _dim(self, source: TextSourceType, model_id: str) -> int | None:
        query = "SELECT dim FROM text_embeddings WHERE source_type = %s AND model_id = %s LIMIT 1"
        with self._db.get_historical_connection() as connection:
            row = connection.execute(query, (source, model_id)).fetchone()
        return None if row is None else int(row[0])

    def _extent(self, source: TextSourceType, timezone: str) -> tuple[date, date] | None:
        """Return the first and the last date that have texts at all; no query is spent outside them."""
        table, _, time_column, _ = _TABLES[source]
        query = sql.SQL("SELECT (min({time}) AT TIME ZONE %s)::date, (max({time}) AT TIME ZONE %s)::date FROM {table}")
        composed = query.format(time=sql.Identifier(time_column), table=sql.Identifier(table))
        with self._db.get_historical_connection() as connection:
            row = connection.execute(composed, (timezone, timezone)).fetchone()
        return None if row is None or row[0] is None else (row[0], row[1])

    def _load_span(self, query: sql.Composed, dim: int) -> DailyTexts:
        dtypes = [("day", "M8[D]"), ("text_id", "i8"), ("vector", f"V{4 * dim}")]
        try:
            with self._db.get_historical_connection() as connection, connection.cursor() as cursor:
                rows = fetch_packed(cursor, query, dtypes)
        except psycopg.DataError as error:
            raise VectorError(
                "text_embeddings", f"vectors of one model differ in length, {dim} values expected"
            ) from error
        if not len(rows):
            return _no_texts()
        rows = rows[np.lexsort((rows["text_id"], rows["day"]))]
        vectors = np.ascontiguousarray(rows["vector"]).view("<f4").reshape(len(rows), dim)
        dates, starts, n_texts = np.unique(rows["day"], return_index=True, return_counts=True)
        sums = np.add.reduceat(vectors, starts, axis=0, dtype=np.float64)
        means = (sums / n_texts[:, np.newaxis]).astype(np.float32)
        return DailyTexts(dates, means, n_texts.astype(np.int64))


def require_timezone(name: str) -> str:
    """Return `name` if it is an IANA time zone, else raise `UsageError`."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(f"unknown time zone {name!r}; write an IANA name such as America/New_York") from None
    return name


def _spans(start: date, end: date) -> Iterator[tuple[date, date]]:
    first = start
    while first <= end:
        last = min(end, first + timedelta(days=DAYS_PER_QUERY - 1))
        yield first, last
        first = last + timedelta(days=1)


def _query(
    source: TextSourceType, model_id: str, first: date, last: date, filters: Mapping[str, str | None], timezone: str
) -> sql.Composed:
    """Compose the query of one span; the instants around it let the index on time be used.

    The vector of each text is looked up by its whole key: a server that has not seen the rows of a fresh load counted
    yet would else walk through all vectors of the model, fifty times slower.
    """
    table, id_column, time_column, _ = _TABLES[source]
    given = [
        sql.SQL("AND {} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in sorted(filters.items())
        if value is not None
    ]
    return sql.SQL("""
        SELECT ({time} AT TIME ZONE {zone})::date, {id}, embedding.vector
        FROM {table} CROSS JOIN LATERAL (
            SELECT vector FROM text_embeddings
            WHERE source_type = {source} AND source_id = {table}.{id}::text AND model_id = {model} LIMIT 1
        ) AS embedding
        WHERE {time} >= ({first}::date)::timestamp AT TIME ZONE {zone}
          AND {time} < ({last}::date + 1)::timestamp AT TIME ZONE {zone}
          AND (coalesce(known_at, {time}) AT TIME ZONE {zone})::date <= ({time} AT TIME ZONE {zone})::date
          {filters}
    """).format(
        table=sql.Identifier(table),
        id=sql.Identifier(id_column),
        time=sql.Identifier(time_column),
        zone=sql.Literal(timezone),
        source=sql.Literal(source),
        model=sql.Literal(model_id),
        first=sql.Literal(first),
        last=sql.Literal(last),
        filters=sql.SQL(" ").join(given),
    )


def _no_texts() -> DailyTexts:
    return DailyTexts(np.empty(0, dtype="M8[D]"), np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64))
