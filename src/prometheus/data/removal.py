"""Bars, texts and series out of the databases again, with every row that stands on them.

What was derived goes first, in a transaction of its own, so a removal that fails on the way is finished by the next one
and leaves no label without its bars. A plan does the same and rolls it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, LiteralString

import psycopg

from prometheus.data.coverage import forget_instruments
from prometheus.data.postgres.connections import Databases
from prometheus.data.regimes import rebuild_transitions
from prometheus.data.series import remove_values, told_value
from prometheus.data.text_reader import compose_text_query
from prometheus.encoders.joint.examples import REGIME_MACRO, REGIME_NEWS
from prometheus.encoders.joint.numbers import MAX_AGE, YEAR
from prometheus.encoders.numeric.windows import INSTRUMENT
from prometheus.encoders.texts.documents import TEXT_TABLES, TOLD_VALUES, TextSourceType

Counts = dict[str, int]
"""Rows removed, by table."""

_BARS = "FROM prices_daily WHERE instrument_id = %(id)s AND trade_date BETWEEN %(first)s AND %(last)s"
_STATES = """
    DELETE FROM regimes WHERE (metadata->>'instrument_id' = %(id)s OR metadata->'members' ? %(id)s)
    AND as_of_date >= %(begin)s RETURNING region, model_id
"""
_REGION_VECTORS = """
    DELETE FROM numeric_window_embeddings WHERE as_of_date >= %(begin)s AND
    (entity_type = 'INSTRUMENT' AND entity_id = %(id)s OR entity_type = 'REGION' AND entity_id = ANY(%(regions)s))
    RETURNING model_id
"""
_JOINT = "DELETE FROM joint_embeddings WHERE entity_scope->>'region' = ANY(%(regions)s) AND as_of_date >= %(begin)s"
_REGIONS = """
    SELECT DISTINCT region FROM regimes WHERE metadata->>'instrument_id' = %(id)s OR metadata->'members' ? %(id)s
"""
_CHOOSE = """
    CREATE TEMPORARY TABLE removed_texts ON COMMIT DROP AS
    SELECT {key} AS id, ({timestamp} AT TIME ZONE 'UTC')::date AS day FROM {table} WHERE
"""
_DATED = "({timestamp} AT TIME ZONE 'UTC')::date BETWEEN {first} AND {last} {filters}"
_TELLING = """
    {key} IN (
        SELECT {key} FROM {table}, jsonb_array_elements_text(
            CASE jsonb_typeof(metadata->{told}) WHEN 'array' THEN metadata->{told} ELSE '[]' END
        ) AS stands_on(value) WHERE value = ANY({values}::text[])
    )
"""
# a day on either side: which date a text belongs to is a matter of the zone that it was joined in
_JOINED = """
    DELETE FROM joint_embeddings WHERE joint_type = {joint} AND as_of_date IN (
        SELECT day + shift FROM removed_texts CROSS JOIN generate_series(-1, 1) AS shift
    )
"""
_OF_SERIES = "DELETE FROM joint_embeddings WHERE entity_scope->'series' ? %s AND as_of_date BETWEEN %s AND %s"
_VECTORS = (
    "DELETE FROM text_embeddings WHERE source_type = {source} AND source_id IN (SELECT id::text FROM removed_texts)"
)
_LINKS = "DELETE FROM text_instruments WHERE instrument_id = %(id)s"
_OF_LINKS = """
    DELETE FROM joint_embeddings
    WHERE %(id)s IN (entity_scope->'macro_filters'->>'instrument_id', entity_scope->'news_filters'->>'instrument_id')
"""
_TEXTS = "DELETE FROM {table} USING removed_texts WHERE {key} = id"


class Removal:
    """Removes rows; with `is_plan` it only counts them."""

    def __init__(self, databases: Databases, *, is_plan: bool) -> None:
        self._db, self._is_plan = databases, is_plan
        self.touched_models: set[str] = set()
        """The numeric models that lost vectors; their indexes are to be brought in step."""

    def bars(self, instrument_id: str, first: date, last: date) -> Counts:
        """Remove the bars of an instrument from `first` to `last`, and from the first one on all that it is part of.

        Vectors, states and joint rows after the last bar removed looked back on it; the next run makes them anew.
        """
        key: dict[str, Any] = {"id": instrument_id, "first": first, "last": last}
        with self._db.get_historical_connection() as connection:
            row = connection.execute(f"SELECT count(*), min(trade_date) {_BARS}", key).fetchone()
        n_bars, begin = row or (0, None)
        is_whole = (first, last) == (date.min, date.max)
        if not n_bars:
            return self._links(key) if is_whole else {}
        key["begin"] = begin
        counts: Counts = {"prices_daily": n_bars}
        with self._transaction(self._db.get_runtime_connection) as connection:
            key["regions"] = [region for (region,) in connection.execute(_REGIONS, key)]
            states = connection.execute(_STATES, key).fetchall()
            counts["regimes"] = len(states)
            for region, model_id in sorted(set(states)):
                with connection.cursor() as cursor:
                    rebuild_transitions(cursor, region, model_id, key["begin"], date.max)
        with self._transaction(self._db.get_historical_connection) as connection:
            forget_instruments(connection, INSTRUMENT, [instrument_id])
            models = connection.execute(_REGION_VECTORS, key).fetchall()
            counts["numeric_window_embeddings"] = len(models)
            counts["joint_embeddings"] = connection.execute(_JOINT, key).rowcount
            connection.execute(f"DELETE {_BARS}", key)
        self.touched_models = {model_id for (model_id,) in models}
        if is_whole:
            for name, n_rows in self._links(key).items():
                counts[name] = counts.get(name, 0) + n_rows
            with self._transaction(self._db.get_runtime_connection) as connection:
                query = "DELETE FROM instruments WHERE instrument_id = %(id)s"
                counts["instruments"] = connection.execute(query, key).rowcount
        return counts

    def _links(self, key: Mapping[str, Any]) -> Counts:
        """Remove what says that texts concern an instrument, and the joint rows of its texts; the texts stay."""
        with self._transaction(self._db.get_historical_connection) as connection:
            n_links = connection.execute(_LINKS, key).rowcount
            n_joint = connection.execute(_OF_LINKS, key).rowcount
        return {"text_instruments": n_links, "joint_embeddings": n_joint} if n_links else {}

    def texts(self, source_type: TextSourceType, first: date, last: date, filters: Mapping[str, str]) -> Counts:
        """Remove texts dated (in UTC) from `first` to `last`, their vectors, and the joint rows of their dates."""
        with self._transaction(self._db.get_historical_connection) as connection:
            return _remove_texts(connection, source_type, _DATED, filters, first=first, last=last)

    def series(self, series_id: str, first: date, last: date) -> Counts:
        """Remove the values of a series for the days from `first` to `last`, and what stands on them."""
        with self._transaction(self._db.get_historical_connection) as connection:
            days = remove_values(connection, series_id, first, last)
            told = remove_dependents(connection, [(series_id, day) for day in days])
        return {"series_values": len(days), **told} if days else {}

    @contextmanager
    def _transaction(self, connect: Callable[[], Any]) -> Iterator[psycopg.Connection[Any]]:
        with connect() as connection:
            yield connection
            if self._is_plan:
                connection.rollback()


def remove_dependents(connection: psycopg.Connection[Any], values: Sequence[tuple[str, date]]) -> Counts:
    """Remove what stands on some values (series, day): facts that tell them or compare with them, and joint rows."""
    if not values:
        return {}
    told = [told_value(*value) for value in values]
    counts = _remove_texts(connection, "MACRO", _TELLING, values=told, told=TOLD_VALUES)
    for series_id in sorted({series_id for series_id, _ in values}):
        days = [day for each, day in values if each == series_id]
        n_rows = connection.execute(_OF_SERIES, (series_id, min(days), max(days) + YEAR + 2 * MAX_AGE)).rowcount
        if n_rows:
            counts["joint_embeddings"] = counts.get("joint_embeddings", 0) + n_rows
    return counts


def _remove_texts(
    connection: psycopg.Connection[Any],
    source_type: TextSourceType,
    which: LiteralString,
    filters: Mapping[str, str] | None = None,
    **parts: Any,
) -> Counts:
    """Remove some texts, their vectors, and the joint rows of their dates; empty without any."""
    if not connection.execute(compose_text_query(_CHOOSE + which, source_type, filters, **parts)).rowcount:
        connection.execute("DROP TABLE removed_texts")
        return {}
    space = REGIME_MACRO if source_type == "MACRO" else REGIME_NEWS
    n_joint, n_vectors, n_texts = (
        connection.execute(compose_text_query(query, source_type, joint=space.joint_type)).rowcount
        for query in (_JOINED, _VECTORS, _TEXTS)
    )
    connection.execute("DROP TABLE removed_texts")
    return {TEXT_TABLES[source_type].name: n_texts, "text_embeddings": n_vectors, "joint_embeddings": n_joint}
