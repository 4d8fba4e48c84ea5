"""What `db verify` reads of the tables: which series of rows there are, rows as they are stored, and edited bars.

Nothing here decodes a row: bytes that are no sound vector must be told, not raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from prometheus.data.postgres.connections import Databases, HistoricalDatabase, HistoricalTables, Transactions
from prometheus.data.reader import DataReader

_AS_WRITTEN = """
    FROM prices_daily AS p LEFT JOIN LATERAL (
        SELECT * FROM price_revisions AS r
        WHERE r.instrument_id = p.instrument_id AND r.trade_date = p.trade_date
          AND digest_of_written_bar(r.instrument_id, r.trade_date, r.open, r.high, r.low, r.close, r.adjusted_close,
                                    r.volume, r.currency, r.known_from) = p.written_digest
        ORDER BY known_until LIMIT 1
    ) AS written ON true
    WHERE p.written_digest IS NOT NULL AND (%(ids)s::text[] IS NULL OR p.instrument_id = ANY(%(ids)s))
      AND p.written_digest <> digest_of_written_bar(p.instrument_id, p.trade_date, p.open, p.high, p.low, p.close,
                                                    p.adjusted_close, p.volume, p.currency, p.known_from)
"""
_EDITED = """
    SELECT p.instrument_id, p.trade_date, written.known_until,
           ARRAY[p.open, p.high, p.low, p.close, p.adjusted_close, p.volume], p.currency, p.known_from::text,
           ARRAY[written.open, written.high, written.low, written.close, written.adjusted_close, written.volume],
           written.currency, written.known_from::text
    {as_written} ORDER BY 1, 2
"""
# as it was written, and nothing of the edit among the revisions: a question about an earlier instant finds that bar
_RESTORE = """
    WITH edited AS (
        SELECT p.instrument_id AS id, p.trade_date AS day, written.* {as_written} AND written.known_until IS NOT NULL
    ), restored AS (
        UPDATE prices_daily AS p
        SET open = e.open, high = e.high, low = e.low, close = e.close, adjusted_close = e.adjusted_close,
            volume = e.volume, currency = e.currency, known_from = e.known_from
        FROM edited AS e WHERE p.instrument_id = e.id AND p.trade_date = e.day
    )
    SELECT id, day, known_until FROM edited
"""
_FORGET_EDITS = """
    DELETE FROM price_revisions AS r USING unnest(%s::text[], %s::date[], %s::timestamptz[]) AS edited(id, day, since)
    WHERE r.instrument_id = edited.id AND r.trade_date = edited.day AND r.known_until >= edited.since
"""
_MENDED = """(
    SELECT instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency FROM prices_daily AS p
    WHERE NOT EXISTS (
        SELECT FROM unnest({ids}::text[], {days}::date[]) AS edited(id, day)
        WHERE edited.id = p.instrument_id AND edited.day = p.trade_date
    )
    UNION ALL
    SELECT instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency
    FROM price_revisions AS r JOIN unnest({ids}::text[], {days}::date[], {edits}::timestamptz[]) AS edited(id, day, at)
    ON edited.id = r.instrument_id AND edited.day = r.trade_date AND edited.at = r.known_until
)"""
_COUNT_BARS = """
    SELECT count(*), count(*) - count(written_digest) FROM prices_daily
    WHERE %(ids)s::text[] IS NULL OR instrument_id = ANY(%(ids)s)
"""
_ADOPT = """
    UPDATE prices_daily SET written_digest = digest_of_written_bar(
        instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency, known_from
    ) WHERE written_digest IS NULL AND (%(ids)s::text[] IS NULL OR instrument_id = ANY(%(ids)s))
"""
_WINDOWS = """
    SELECT entity_type, entity_id, model_id, window_days, count(*) FROM numeric_window_embeddings
    WHERE %(ids)s::text[] IS NULL OR entity_id = ANY(%(ids)s) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""
_NUMBERED = """
    SELECT {columns} FROM (
        SELECT *, row_number() OVER (ORDER BY {order}) - 1 AS place FROM {table} WHERE {key}
    ) AS numbered WHERE %(places)s::int8[] IS NULL OR place = ANY(%(places)s) ORDER BY {order}
"""
_OF_WINDOWS = "entity_type = %(type)s AND entity_id = %(id)s AND model_id = %(model)s AND window_days = %(days)s"
_TEXT_ROWS = """
    SELECT source_id, text_hash, vector, n_chunks, flags, passages.*
    FROM text_embeddings AS stored LEFT JOIN LATERAL (
        SELECT array_agg(first_char ORDER BY position), array_agg(last_char ORDER BY position),
               string_agg(vector, ''::bytea ORDER BY position)
        FROM text_passages AS passage
        WHERE passage.source_type = stored.source_type AND passage.source_id = stored.source_id
          AND passage.model_id = stored.model_id
    ) AS passages ON true
    WHERE source_type = %s AND model_id = %s AND source_id = ANY(%s)
"""
_HISTORIES = """
    SELECT region, model_id, count(*) FROM regimes
    WHERE %(regions)s::text[] IS NULL OR region = ANY(%(regions)s) GROUP BY 1, 2 ORDER BY 1, 2
"""
_SOURCES = """
    SELECT encoder_model_id, metadata->>'instrument_id', metadata->>'window_days', count(*) FROM regimes
    WHERE region = %s AND model_id = %s GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3
"""
_LABELS = """
    SELECT as_of_date, regime_label FROM regimes WHERE region = %s AND model_id = %s ORDER BY as_of_date
"""
_TRANSITIONS = """
    SELECT as_of_date, previous_date, from_label, to_label FROM regime_transitions
    WHERE region = %s AND model_id = %s ORDER BY as_of_date
"""
_ONLY_TRANSITIONS = """
    SELECT DISTINCT region, model_id FROM regime_transitions AS t
    WHERE (%(regions)s::text[] IS NULL OR region = ANY(%(regions)s)) AND NOT EXISTS (
        SELECT FROM regimes AS r WHERE r.region = t.region AND r.model_id = t.model_id
    ) ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class EditedBar:
    """A bar that is not what ingest wrote; `written` is that, by field, None where no revision holds it.

    `edited_at` is when the revision that holds it was replaced.
    """

    instrument_id: str
    trade_date: date
    stored: dict[str, Any]
    written: dict[str, Any] | None
    edited_at: datetime | None

    @property
    def edits(self) -> list[str]:
        """The fields that differ; empty where it is not known what was written."""
        return [] if self.written is None else [name for name, was in self.written.items() if was != self.stored[name]]


BAR_FIELDS = ("open", "high", "low", "close", "adjusted_close", "volume", "currency", "known_from")


class WrittenReader(DataReader):
    """Reads bars as ingest wrote them, where a revision holds that."""

    def __init__(self, db_manager: HistoricalDatabase, edited: Sequence[EditedBar]) -> None:
        super().__init__(db_manager)
        kept = [each for each in edited if each.written is not None]
        self._prices = sql.SQL(_MENDED).format(
            ids=[each.instrument_id for each in kept], days=[each.trade_date for each in kept],
            edits=[each.edited_at for each in kept],
        )  # fmt: skip


class WrittenBars(HistoricalTables):
    """The bars that are not what ingest wrote, by the digest that it left beside each."""

    def counts(self, instrument_ids: Sequence[str] | None) -> tuple[int, int]:
        """Return how many bars there are, and of how many nothing says what ingest wrote."""
        n_bars, n_unknown = self._db.rows(_COUNT_BARS, {"ids": _listed(instrument_ids)})[0]
        return int(n_bars), int(n_unknown)

    def edited(self, instrument_ids: Sequence[str] | None) -> list[EditedBar]:
        """Return the bars whose digest is not that of what stands there, by instrument and date."""
        found = []
        with self._db.connect() as connection:
            connection.execute("SET LOCAL statement_timeout = 0")
            rows = connection.execute(
                _EDITED.format(as_written=_AS_WRITTEN), {"ids": _listed(instrument_ids)}
            ).fetchall()
        for name, day, edited_at, stored, currency, known_from, *written in rows:
            values = dict(zip(BAR_FIELDS, (*stored, currency, known_from), strict=True))
            was = None if edited_at is None else dict(zip(BAR_FIELDS, (*written[0], *written[1:]), strict=True))
            found.append(EditedBar(name, day, values, was, edited_at))
        return found

    def restore(self, instrument_ids: Sequence[str] | None = None) -> None:
        """Put back what ingest wrote where a revision holds it, in one transaction, and forget the edits."""
        with self._db.connect() as connection:
            connection.execute("SET LOCAL statement_timeout = 0")
            edited = connection.execute(
                _RESTORE.format(as_written=_AS_WRITTEN), {"ids": _listed(instrument_ids)}
            ).fetchall()
            if edited:
                connection.execute(_FORGET_EDITS, [list(column) for column in zip(*edited, strict=True)])

    def adopt(self, instrument_ids: Sequence[str] | None = None) -> int:
        """Take bars of which nothing says what ingest wrote for what they are now; return how many there were."""
        with self._db.connect() as connection:
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute("SELECT set_config('prometheus.adopts_bars', 'on', true)")
            return connection.execute(_ADOPT, {"ids": _listed(instrument_ids)}).rowcount


@dataclass(frozen=True, slots=True)
class WindowSeries:
    """The numeric vectors of one entity by one model and length of window, and how many there are."""

    entity_type: str
    entity_id: str
    model_id: str
    window_days: int
    n_rows: int


class VectorRow(NamedTuple):
    """A numeric vector as it is stored."""

    as_of_date: date
    input_hash: int | None
    vector: bytes


class StoredWindows(HistoricalTables):
    """The table ``numeric_window_embeddings``, series by series."""

    def series(self, entity_ids: Sequence[str] | None) -> list[WindowSeries]:
        """Return what series there are, of some entities or of all."""
        return [WindowSeries(*row) for row in self._db.rows(_WINDOWS, {"ids": _listed(entity_ids)})]

    def rows(self, series: WindowSeries, places: Sequence[int] | None) -> list[VectorRow]:
        """Return the rows of a series, by date: all, or those of some places in that order."""
        key = {
            "type": series.entity_type, "id": series.entity_id, "model": series.model_id, "days": series.window_days,
            "places": _listed(places),
        }  # fmt: skip
        query = _numbered("numeric_window_embeddings", "as_of_date, input_hash, vector", _OF_WINDOWS, "as_of_date")
        return [VectorRow(*row) for row in self._db.rows(query, key, binary=True)]


class TextRow(NamedTuple):
    """A text's vector as it is stored, and its passages: first and last characters, and vectors one after the other."""

    source_id: str
    text_hash: str | None
    vector: bytes
    n_chunks: int | None
    flags: list[str]
    firsts: list[int] | None
    lasts: list[int] | None
    passages: bytes | None


class StoredTexts(HistoricalTables):
    """The tables ``text_embeddings`` and ``text_passages``, kind of text by kind of text and model by model."""

    def series(self) -> list[tuple[str, str, int]]:
        """Return source type, model and number of vectors."""
        query = "SELECT source_type, model_id, count(*) FROM text_embeddings GROUP BY 1, 2 ORDER BY 1, 2"
        return self._db.rows(query)

    def ids(self, source_type: str, model_id: str) -> list[str]:
        """Return the ids of the texts that have a vector, in order."""
        query = "SELECT source_id FROM text_embeddings WHERE source_type = %s AND model_id = %s ORDER BY 1"
        return self._db.column(query, (source_type, model_id))

    def rows(self, source_type: str, model_id: str, source_ids: Sequence[str]) -> list[TextRow]:
        """Return the rows of some texts."""
        key = (source_type, model_id, list(source_ids))
        return [TextRow(*row) for row in self._db.rows(_TEXT_ROWS, key, binary=True)]

    def drop_passages(self, source_type: str, source_ids: Sequence[str], model_id: str) -> None:
        """Delete the passages of some texts, which are to be stored again."""
        query = "DELETE FROM text_passages WHERE source_type = %s AND source_id = ANY(%s) AND model_id = %s"

        def drop(cursor: psycopg.Cursor[Any]) -> None:
            cursor.execute("SET LOCAL prometheus.keeps_coverage = 'on'")
            cursor.execute(query, (source_type, list(source_ids), model_id))

        self._db.write(drop)


class StateRow(NamedTuple):
    """A regime as it is stored."""

    as_of_date: date
    input_hash: int | None
    regime_label: str
    confidence: float
    encoder_model_id: str
    regime_embedding: bytes
    metadata: Any


class TransitionRow(NamedTuple):
    """A change of label."""

    as_of_date: date
    previous_date: date
    from_label: str
    to_label: str


class StoredStates:
    """The tables ``regimes`` and ``regime_transitions``, history by history."""

    def __init__(self, db_manager: Databases) -> None:
        self._db = Transactions(db_manager.get_runtime_connection)

    def histories(self, regions: Sequence[str] | None) -> list[tuple[str, str, int]]:
        """Return region, regime model and number of states of each history, of some regions or of all."""
        return self._db.rows(_HISTORIES, {"regions": _listed(regions)})

    def without_states(self, regions: Sequence[str] | None) -> list[tuple[str, str]]:
        """Return region and regime model of transitions that no state at all stands behind."""
        return self._db.rows(_ONLY_TRANSITIONS, {"regions": _listed(regions)})

    def sources(self, region: str, model_id: str) -> list[tuple[str, str | None, str | None]]:
        """Return what the states of a history say they were made of: encoder, instrument and window, the most first."""
        return [row[:3] for row in self._db.rows(_SOURCES, (region, model_id))]

    def rows(self, region: str, model_id: str, places: Sequence[int] | None) -> list[StateRow]:
        """Return the states of a history, by date: all, or those of some places in that order."""
        columns = (
            "as_of_date, input_hash, regime_label, confidence, encoder_model_id, regime_embedding, "
            "metadata"
        )  # fmt: skip
        query = _numbered("regimes", columns, "region = %(region)s AND model_id = %(model)s", "as_of_date")
        key = {"region": region, "model": model_id, "places": _listed(places)}
        return [StateRow(*row) for row in self._db.rows(query, key, binary=True)]

    def labels(self, region: str, model_id: str) -> dict[date, str]:
        """Return the label of each date, ascending."""
        return dict(self._db.rows(_LABELS, (region, model_id)))

    def transitions(self, region: str, model_id: str) -> dict[date, TransitionRow]:
        """Return the transitions of a history, by date."""
        rows = [TransitionRow(*row) for row in self._db.rows(_TRANSITIONS, (region, model_id))]
        return {row.as_of_date: row for row in rows}


def _listed(values: Sequence[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)


def _numbered(table: LiteralString, columns: LiteralString, key: LiteralString, order: LiteralString) -> LiteralString:
    """Return the query of rows of a key in an order, all or those of some places."""
    return _NUMBERED.format(table=table, columns=columns, key=key, order=order)
