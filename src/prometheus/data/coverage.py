"""The table ``numeric_coverage``: of which spans all windows are stored, written in the transaction of their rows.

It is true as long as the bars and decisions have the digest it was written with (``source_digests``), the same code and
settings make the windows, and no other program wrote into ``numeric_window_embeddings`` (``outside_writes``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import Any, ClassVar, LiteralString, NamedTuple

import numpy as np
import psycopg
from psycopg import sql

from prometheus.arrays import DateVector
from prometheus.data.digests import Disagreement
from prometheus.data.postgres.connections import HistoricalTables
from prometheus.encoders.numeric.coverage import CoveredSpan, SpanState, digest_of_keys
from prometheus.encoders.numeric.windows import INSTRUMENT

_KEEP = "SELECT set_config('prometheus.keeps_coverage', 'on', true)"
# of all bars up to a day: the digests of whole years, less those of the bars that came later in the last of them
_SOURCES_UNTIL = """(
    SELECT hashtextextended(concat_ws(' ', bars.n_rows - later.n_rows, bars.digest # later.digest, decided.n_rows,
                                      decided.digest), 0) AS sources
    FROM (
        SELECT coalesce(sum(n_rows), 0)::bigint AS n_rows, coalesce(bit_xor(digest), 0) AS digest FROM source_digests
        WHERE source = 'prices_daily' AND key = wanted.id AND period <= extract(year FROM {day})
    ) AS bars, (
        SELECT count(*) AS n_rows,
               coalesce(bit_xor(digest_of_bar(
                   trade_date, open, high, low, close, adjusted_close, volume, currency)), 0) AS digest
        FROM prices_daily
        WHERE instrument_id = wanted.id AND trade_date > {day}
          AND trade_date < make_date(extract(year FROM {day})::integer + 1, 1, 1)
    ) AS later, (
        SELECT coalesce(sum(n_rows), 0)::bigint AS n_rows, coalesce(bit_xor(digest), 0) AS digest FROM source_digests
        WHERE source = 'price_decisions' AND key = wanted.id
    ) AS decided
)"""
_STATES = """
    SELECT wanted.id, now.sources, now.newest, outside.n_writes, stored.transaction::text::int8, stored.first_date,
           stored.last_date, stored.sources, stored.n_rows, stored.digest, stored.is_true,
           {n_stored}, {has_tail}
    FROM unnest({ids}::text[]) WITH ORDINALITY AS wanted(id, place)
    CROSS JOIN (
        SELECT coalesce(sum(n_writes), 0)::bigint AS n_writes FROM outside_writes
        WHERE table_name = 'numeric_window_embeddings'
    ) AS outside
    CROSS JOIN LATERAL (
        SELECT sources, (SELECT max(trade_date) FROM prices_daily
                         WHERE instrument_id = wanted.id AND trade_date <= {last}) AS newest
        FROM {until_last} AS sources
    ) AS now
    LEFT JOIN LATERAL (
        SELECT c.*, c.made_by = {made_by} AND c.n_outside_writes = outside.n_writes AND c.sources = before.sources
               AS is_true
        FROM (
            SELECT xmin AS transaction, first_date, last_date, sources, made_by, n_outside_writes, n_rows, digest
            FROM numeric_coverage
            WHERE entity_type = {entity_type} AND entity_id = wanted.id AND model_id = {model_id}
              AND window_days = {window_days}
            OFFSET 0  -- without statistics the planner would compare every covered span with every instrument
        ) AS c CROSS JOIN LATERAL {until_covered} AS before
    ) AS stored ON true
    ORDER BY wanted.place
"""
_N_STORED = """
    CASE WHEN NOT stored.is_true OR stored.first_date > {first} THEN 0
         WHEN stored.first_date = {first} AND stored.last_date <= {last} THEN stored.n_rows
         ELSE (
             SELECT count(*) FROM numeric_window_embeddings
             WHERE entity_type = {entity_type} AND entity_id = wanted.id AND model_id = {model_id}
               AND window_days = {window_days} AND as_of_date BETWEEN {first} AND least({last}, stored.last_date)
               AND input_hash IS NOT NULL
         ) END
"""
_HAS_TAIL = """
    stored.is_true AND stored.last_date < {last} AND (
        EXISTS (SELECT FROM prices_daily WHERE instrument_id = wanted.id
                AND trade_date > stored.last_date AND trade_date <= {last})
        OR EXISTS (SELECT FROM numeric_window_embeddings
                   WHERE entity_type = {entity_type} AND entity_id = wanted.id AND model_id = {model_id}
                     AND window_days = {window_days} AND as_of_date > stored.last_date AND as_of_date <= {last}))
"""
_REPLACE = """
    DELETE FROM numeric_coverage AS c USING unnest(%(ids)s::text[], %(replaced)s::int8[]) AS known(id, transaction)
    WHERE c.entity_type = %(type)s AND c.model_id = %(model)s AND c.window_days = %(days)s
      AND c.entity_id = known.id AND c.xmin::text::int8 = known.transaction RETURNING c.entity_id
"""
_ADD = """
    INSERT INTO numeric_coverage (entity_type, entity_id, model_id, window_days, first_date, last_date, sources,
                                  made_by, n_outside_writes, n_rows, digest)
    SELECT %(type)s, each.id, %(model)s, %(days)s, first, last, sources, made_by, n_writes, n_rows, digest
    FROM unnest(%(ids)s::text[], %(firsts)s::date[], %(lasts)s::date[], %(sources)s::int8[], %(makers)s::int8[],
                %(writes)s::int8[], %(sizes)s::int8[], %(digests)s::int8[])
         AS each(id, first, last, sources, made_by, n_writes, n_rows, digest)
    ORDER BY each.id COLLATE "C"
    ON CONFLICT DO NOTHING RETURNING entity_id
"""
_FORGET = """
    DELETE FROM numeric_coverage AS c
    WHERE c.entity_type = %(type)s AND c.model_id = %(model)s AND c.window_days = %(days)s
      AND c.entity_id = ANY(%(ids)s) AND c.last_date >= %(first)s AND c.first_date <= %(last)s
"""
_FORGET_ALL = "DELETE FROM numeric_coverage WHERE entity_type = %s AND entity_id = ANY(%s)"
_TRUSTED = """
    SELECT entity_type, entity_id, model_id, window_days, first_date, last_date, n_rows, digest
    FROM numeric_coverage WHERE n_outside_writes = (
        SELECT coalesce(sum(n_writes), 0) FROM outside_writes WHERE table_name = 'numeric_window_embeddings'
    )
    ORDER BY 1, 2, 3, 4
"""
_ROWS_OF = """
    SELECT (c.place - 1)::int4, stored.as_of_date, stored.input_hash
    FROM unnest({types}::text[], {ids}::text[], {models}::text[], {days}::int4[], {firsts}::date[], {lasts}::date[])
         WITH ORDINALITY AS c(entity_type, entity_id, model_id, window_days, first, last, place)
    CROSS JOIN LATERAL (
        SELECT as_of_date, input_hash FROM numeric_window_embeddings AS v
        WHERE v.entity_type = c.entity_type AND v.entity_id = c.entity_id AND v.model_id = c.model_id
          AND v.window_days = c.window_days AND as_of_date BETWEEN c.first AND c.last AND input_hash IS NOT NULL
        OFFSET 0
    ) AS stored
"""
_FORGET_ONE = """
    DELETE FROM numeric_coverage WHERE entity_type = %s AND entity_id = %s AND model_id = %s AND window_days = %s
    AND digest = %s
"""
CHECKED_SPANS = 500


def keep_coverage(connection: psycopg.Connection[Any] | psycopg.Cursor[Any]) -> None:
    """Say that the writes of this transaction keep what is covered true: without that they end all of it."""
    connection.execute(_KEEP)


def forget_instruments(connection: psycopg.Connection[Any], entity_type: str, entity_ids: Sequence[str]) -> None:
    """Forget what is covered of some entities, by all models, as their rows are about to be removed."""
    keep_coverage(connection)
    connection.execute(_FORGET_ALL, (entity_type, list(entity_ids)))


def forget_dates(
    cursor: psycopg.Cursor[Any], entity_type: str, entity_ids: Iterable[str], model_id: str, window_days: int,
    dates: DateVector,
) -> None:  # fmt: skip
    """Forget the covered spans of some entities that reach into `dates`, whose rows were written or removed."""
    key = {"type": entity_type, "model": model_id, "days": window_days, "ids": sorted(entity_ids)}
    cursor.execute(_FORGET, {**key, "first": dates.min().item(), "last": dates.max().item()})


def record_spans(
    cursor: psycopg.Cursor[Any], entity_type: str, model_id: str, window_days: int, spans: Sequence[CoveredSpan]
) -> set[str]:
    """Remember what is covered now; return the entities of which it was, the others were written meanwhile."""
    key = {"type": entity_type, "model": model_id, "days": window_days}
    old = sorted((span.entity_id, span.replaces) for span in spans if span.replaces is not None)
    names = {"ids": [name for name, _ in old], "replaced": [transaction for _, transaction in old]}
    free = {name for (name,) in cursor.execute(_REPLACE, {**key, **names}).fetchall()} if old else set()
    new = [span for span in spans if span.replaces is None or span.entity_id in free]
    columns = {
        "ids": [span.entity_id for span in new],
        "firsts": [span.first for span in new],
        "lasts": [span.last for span in new],
        "sources": [span.sources for span in new],
        "makers": [span.made_by for span in new],
        "writes": [span.n_outside_writes for span in new],
        "sizes": [span.n_rows for span in new],
        "digests": [span.digest for span in new],
    }
    return {name for (name,) in cursor.execute(_ADD, {**key, **columns}).fetchall()}


class NumericCoverage(HistoricalTables):
    """Reads and writes ``numeric_coverage`` of instruments; a `prometheus.backfill.coverage.WindowCoverage`."""

    _n_stored: ClassVar[LiteralString] = _N_STORED
    _has_tail: ClassVar[LiteralString] = _HAS_TAIL

    def states(
        self, instrument_ids: Sequence[str], model_id: str, window_days: int, made_by: int, first: date, last: date
    ) -> list[SpanState]:
        """Return what is known of each instrument, in order, for a span: all of one moment."""
        key: dict[str, Any] = {
            "entity_type": INSTRUMENT, "model_id": model_id, "window_days": window_days,
            "first": sql.SQL("{}::date").format(first), "last": sql.SQL("{}::date").format(last),
        }  # fmt: skip
        query = sql.SQL(_STATES).format(
            ids=list(instrument_ids), made_by=made_by, **key,
            n_stored=sql.SQL(self._n_stored).format(**key), has_tail=sql.SQL(self._has_tail).format(**key),
            until_last=sql.SQL(_SOURCES_UNTIL).format(day=sql.SQL("{}::date").format(last)),
            until_covered=sql.SQL(_SOURCES_UNTIL).format(day=sql.SQL("c.last_date")),
        )  # fmt: skip
        return [_Row(*row).state(made_by) for row in self._db.rows(query)]

    def record(self, model_id: str, window_days: int, spans: Sequence[CoveredSpan]) -> set[str]:
        """Remember spans, but for those of which something else was written since `SpanState` was asked for."""
        return self._db.write(lambda cursor: record_spans(cursor, INSTRUMENT, model_id, window_days, spans))

    def check(self) -> list[Disagreement]:
        """Return the covered spans whose rows are not the ones that were stored, by entity and model.

        What no run trusts any more is not compared.
        """
        return [found for found, _ in self._disagreeing()]

    def repair(self) -> None:
        """Forget the covered spans that disagree with their rows: the next run looks at every row of them."""
        wrong = [key for _, key in self._disagreeing()]
        self._db.write(lambda cursor: [cursor.execute(_FORGET_ONE, key) for key in wrong])

    def _disagreeing(self) -> Iterator[tuple[Disagreement, tuple[Any, ...]]]:
        spans = self._db.rows(_TRUSTED)
        for start in range(0, len(spans), CHECKED_SPANS):
            part = spans[start : start + CHECKED_SPANS]
            for (kind, name, model_id, days, first, last, n_rows, digest), found in zip(
                part, self._found(part), strict=True
            ):
                if found != (n_rows, digest):
                    where = f"{name} ({model_id}, {days} sessions, {first}..{last})"
                    reason = f"has {found[0]:,} rows that are not the {n_rows:,} known to be stored"
                    disagreement = Disagreement("numeric_window_embeddings", where, reason, "coverage_disagrees")
                    yield disagreement, (kind, name, model_id, days, digest)

    def _found(self, spans: Sequence[tuple[Any, ...]]) -> list[tuple[int, int]]:
        """Return number and digest of the rows of each span."""
        columns = [list(column) for column in zip(*spans, strict=True)][:6]
        names = ("types", "ids", "models", "days", "firsts", "lasts")
        query = sql.SQL(_ROWS_OF).format(**dict(zip(names, columns, strict=True)))
        rows = self._db.packed(query, [("place", "i4"), ("as_of_date", "M8[D]"), ("input_hash", "i8")])
        rows = rows[np.argsort(rows["place"], kind="stable")]
        bounds = np.searchsorted(rows["place"], np.arange(len(spans) + 1)).tolist()
        parts = [rows[begin:end] for begin, end in pairwise(bounds)]
        return [(len(part), digest_of_keys(part["as_of_date"], part["input_hash"])) for part in parts]


class UnfilledCoverage(NumericCoverage):
    """That of a table that was empty when a run began to fill it: it asks the table nothing, as the run may hold it."""

    _n_stored = "0"
    _has_tail = "false"

    def states(
        self, instrument_ids: Sequence[str], model_id: str, window_days: int, made_by: int, first: date, last: date
    ) -> list[SpanState]:
        """Return what is known of each instrument, in order: nothing of it is covered."""
        found = super().states(instrument_ids, model_id, window_days, made_by, first, last)
        return [replace(state, covered=None) for state in found]


class _Row(NamedTuple):
    """A row of `_STATES`; of an instrument without coverage all behind `n_writes` are None."""

    entity_id: str
    sources: int
    newest: date | None
    n_writes: int
    transaction: int | None
    first: date
    last: date
    covered_sources: int
    n_rows: int
    digest: int
    is_true: bool | None
    n_stored: int | None
    has_tail: bool | None

    def state(self, made_by: int) -> SpanState:
        covered = CoveredSpan(
            self.entity_id, self.first, self.last, self.covered_sources, made_by, self.n_writes, self.n_rows,
            self.digest, self.transaction,
        )  # fmt: skip
        return SpanState(
            self.entity_id, self.sources, self.newest, made_by, self.n_writes, self.transaction,
            covered if self.is_true else None, self.n_stored or 0, bool(self.has_tail),
        )  # fmt: skip
