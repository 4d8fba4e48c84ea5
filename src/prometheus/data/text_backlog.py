"""Which stored texts have no embedding yet, told by keys alone: no text is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from psycopg import sql

from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.encoders.texts.documents import TextSourceType

_TABLES = {
    "MACRO": ("macro_events", "event_id", "timestamp", "description"),
    "NEWS": ("news_articles", "article_id", "published_at", "headline || body"),
}
# a text never changes under its id, so a row that is there is the right one; blank texts, which only rows written by
# hand can be, never get one
_BACKLOG = """
    SELECT count(*), count(*) FILTER (WHERE embedding.source_id IS NULL),
           (min({time}) FILTER (WHERE embedding.source_id IS NULL) AT TIME ZONE 'UTC')::date
    FROM {table} LEFT JOIN text_embeddings AS embedding
      ON embedding.source_type = {source} AND embedding.source_id = {table}.{id}::text AND embedding.model_id = {model}
    WHERE {time} < ({as_of}::date + 1)::timestamp AT TIME ZONE 'UTC' AND {text} ~ '[^[:space:]]'
"""


@dataclass(frozen=True, slots=True)
class TextBacklog:
    """Texts up to a date, and those of them that a model has not embedded.

    Attributes
    ----------
    first_missing
        Date, in UTC, of the oldest one without an embedding; None where every text has one.
    """

    n_texts: int
    n_missing: int
    first_missing: date | None


def load_text_backlog(
    db_manager: HistoricalDatabase, source_type: TextSourceType, model_id: str, as_of_date: date
) -> TextBacklog:
    """Return what a model has still to embed of the texts dated up to `as_of_date` in UTC."""
    table, key, time, text = _TABLES[source_type]
    query = sql.SQL(_BACKLOG).format(
        table=sql.Identifier(table),
        id=sql.Identifier(key),
        time=sql.Identifier(time),
        text=sql.SQL(f"({text})"),
        source=sql.Literal(source_type),
        model=sql.Literal(model_id),
        as_of=sql.Literal(as_of_date),
    )
    with db_manager.get_historical_connection() as connection:
        n_texts, n_missing, first_missing = connection.execute(query).fetchone() or (0, 0, None)
    return TextBacklog(n_texts, n_missing, first_missing)
