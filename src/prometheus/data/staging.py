"""Prices on their way into their table: a temporary one first, looked over there, then one upsert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.arrays import DateVector, Float64Vector, Int64Vector
from prometheus.data.coverage import forget_instruments
from prometheus.data.date_order import DateOrder
from prometheus.data.decisions import decided_bars
from prometheus.data.postgres.binary_copy import copy_in, fetch_packed
from prometheus.data.reader import bars_of_rows
from prometheus.errors import DataCheckError
from prometheus.market.bars import PriceBars

MAX_INSTRUMENTS = 1_000_000

_CREATE = """
    CREATE TEMPORARY TABLE staged_prices (
        file_no integer, row_no bigint, instrument integer, trade_date date, open double precision,
        high double precision, low double precision, close double precision, adjusted_close double precision,
        volume double precision, currency integer
    ) ON COMMIT DROP
"""
_FIND_REPEATS = """
    CREATE TEMPORARY TABLE repeated_prices ON COMMIT DROP AS
    SELECT instrument, trade_date, count(*) AS n_rows,
           (min(open), min(high), min(low), min(close), min(adjusted_close), min(volume), min(currency))
           IS DISTINCT FROM
           (max(open), max(high), max(low), max(close), max(adjusted_close), max(volume), max(currency))
           AS is_conflicting
    FROM staged_prices GROUP BY instrument, trade_date HAVING count(*) > 1
"""
_COUNT_REPEATS = """
    SELECT coalesce(sum(n_rows - 1) FILTER (WHERE NOT is_conflicting), 0)::bigint,
           coalesce(sum(n_rows) FILTER (WHERE is_conflicting), 0)::bigint
    FROM repeated_prices
"""
_REPEATS_OF = """
    SELECT coalesce(sum(n_rows - 1), 0)::bigint FROM repeated_prices WHERE NOT is_conflicting AND instrument = ANY(%s)
"""
_REPEATS_BY_INSTRUMENT = """
    SELECT i.id, sum(r.n_rows - 1)::bigint FROM repeated_prices r
    JOIN unnest(%(ids)s::text[]) WITH ORDINALITY AS i(id, ordinal) ON i.ordinal = r.instrument
    WHERE NOT r.is_conflicting GROUP BY i.id
"""
_CONFLICTING_ROWS = """
    SELECT s.file_no, s.row_no
    FROM staged_prices s JOIN repeated_prices r USING (instrument, trade_date)
    WHERE r.is_conflicting ORDER BY s.file_no, s.row_no
"""
_ROWS_OF = "SELECT file_no, row_no FROM staged_prices WHERE instrument IN ({}) ORDER BY file_no, row_no"
_DROP_CONFLICTS = """
    DELETE FROM staged_prices s USING repeated_prices r
    WHERE r.is_conflicting AND s.instrument = r.instrument AND s.trade_date = r.trade_date
"""
_SUMMARIZE = """
    SELECT i.id, c.code, s.first_date, s.last_date, s.n_rows, s.n_weekend
    FROM (SELECT instrument, min(currency) AS currency, min(trade_date) AS first_date, max(trade_date) AS last_date,
                 count(*) AS n_rows, count(*) FILTER (WHERE extract(isodow FROM trade_date) > 5) AS n_weekend
          FROM staged_prices GROUP BY instrument) s
    JOIN unnest(%(ids)s::text[]) WITH ORDINALITY AS i(id, ordinal) ON i.ordinal = s.instrument
    JOIN unnest(%(currencies)s::text[]) WITH ORDINALITY AS c(code, ordinal) ON c.ordinal = s.currency
    ORDER BY i.ordinal
"""
_TWO_CURRENCIES = """
    SELECT i.id, array_agg(c.code ORDER BY s.first), array_agg(s.first ORDER BY s.first)
    FROM (SELECT instrument, currency, min(trade_date) AS first FROM staged_prices GROUP BY instrument, currency) s
    JOIN unnest(%(ids)s::text[]) WITH ORDINALITY AS i(id, ordinal) ON i.ordinal = s.instrument
    JOIN unnest(%(currencies)s::text[]) WITH ORDINALITY AS c(code, ordinal) ON c.ordinal = s.currency
    GROUP BY i.id HAVING count(*) > 1 ORDER BY i.id
"""
# of each instrument the stored bars next to the span of the staged ones: a full history has none
_SEAMS = """
    SELECT s.id, s.n_rows, coalesce(before.currency, after.currency)
    FROM unnest(%(spanned)s::text[], %(firsts)s::date[], %(lasts)s::date[], %(sizes)s::bigint[])
         AS s(id, first, last, n_rows)
    LEFT JOIN LATERAL (SELECT currency FROM prices_daily WHERE instrument_id = s.id AND trade_date < s.first
                       ORDER BY trade_date DESC LIMIT 1) before ON true
    LEFT JOIN LATERAL (SELECT currency FROM prices_daily WHERE instrument_id = s.id AND trade_date > s.last
                       ORDER BY trade_date LIMIT 1) after ON true
    WHERE before.currency IS NOT NULL OR after.currency IS NOT NULL
"""
_OVERLAPS = """
    SELECT i.id, count(*), min(s.close / p.close), max(s.close / p.close),
           min(s.adjusted_close / p.adjusted_close), max(s.adjusted_close / p.adjusted_close)
    FROM staged_prices s
    JOIN unnest(%(ids)s::text[]) WITH ORDINALITY AS i(id, ordinal) ON i.ordinal = s.instrument
    JOIN prices_daily p ON p.instrument_id = i.id AND p.trade_date = s.trade_date
    WHERE i.id = ANY(%(partial)s) GROUP BY i.id ORDER BY i.id
"""
_STAGED_BARS = (
    "SELECT instrument, trade_date, {columns} FROM staged_prices WHERE instrument = ANY({ordinals}::integer[])"
)
_DIVIDE_CLOSES = """
    UPDATE staged_prices s SET adjusted_close = s.close / d.factor
    FROM unnest(%(instruments)s::integer[], %(firsts)s::date[], %(untils)s::date[], %(factors)s::double precision[])
         AS d(instrument, first, until, factor)
    WHERE s.instrument = d.instrument AND s.trade_date >= d.first AND s.trade_date < d.until
"""
_STORED_BARS = """
    SELECT s.place::int4, bar.*
    FROM unnest({ids}::text[], {firsts}::date[]) WITH ORDINALITY AS s(id, first, place)
    CROSS JOIN LATERAL (
        SELECT trade_date, {columns} FROM prices_daily WHERE instrument_id = s.id AND trade_date >= coalesce(
            (SELECT trade_date FROM prices_daily WHERE instrument_id = s.id AND trade_date < s.first
             ORDER BY trade_date DESC OFFSET {n_before} LIMIT 1), '-infinity') OFFSET 0) AS bar
"""
_WITHDRAWN = """
    SELECT s.id, s.n_rows, array_agg(p.trade_date ORDER BY p.trade_date)
    FROM unnest(%(spanned)s::text[], %(firsts)s::date[], %(lasts)s::date[], %(sizes)s::bigint[])
         AS s(id, first, last, n_rows)
    JOIN unnest(%(ids)s::text[]) WITH ORDINALITY AS i(id, ordinal) USING (id)
    JOIN prices_daily p ON p.instrument_id = s.id AND p.trade_date BETWEEN s.first AND s.last
    WHERE NOT EXISTS (SELECT FROM staged_prices t WHERE t.instrument = i.ordinal AND t.trade_date = p.trade_date)
    GROUP BY s.id, s.n_rows ORDER BY s.id
"""
# a table, for of an array the planner does not know that its elements differ, and hashes the staged rows instead
_NAME_INSTRUMENTS = """
    CREATE TEMPORARY TABLE staged_instruments ON COMMIT DROP AS
    SELECT id, rank, ordinal::integer
    FROM unnest(%(ids)s::text[], %(ranks)s::integer[]) WITH ORDINALITY AS i(id, rank, ordinal)
"""
_IS_STORED = """
    SELECT EXISTS (SELECT FROM staged_instruments i WHERE EXISTS (SELECT FROM prices_daily WHERE instrument_id = i.id))
"""
# the order of the keys is that of Python's sort in every run, so that two runs at once wait instead of deadlocking
_UPSERT = """
    INSERT INTO prices_daily AS p
           (instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency, known_from,
            written_digest)
    SELECT {distinct}
           i.id, s.trade_date, nullif(s.open, 'NaN'), nullif(s.high, 'NaN'), nullif(s.low, 'NaN'), s.close,
           s.adjusted_close, s.volume, c.code, now(),
           digest_of_written_bar(i.id, s.trade_date, nullif(s.open, 'NaN'), nullif(s.high, 'NaN'),
                                 nullif(s.low, 'NaN'), s.close, s.adjusted_close, s.volume, c.code, now())
    FROM staged_prices s
    JOIN staged_instruments i ON i.ordinal = s.instrument
    JOIN unnest(%(currencies)s::text[]) WITH ORDINALITY AS c(code, ordinal) ON c.ordinal = s.currency
    {changed}
    ORDER BY i.rank, s.trade_date
    ON CONFLICT (instrument_id, trade_date) DO UPDATE
    SET open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
        adjusted_close = excluded.adjusted_close, volume = excluded.volume, currency = excluded.currency,
        known_from = excluded.known_from, written_digest = excluded.written_digest
    WHERE (p.open, p.high, p.low, p.close, p.adjusted_close, p.volume, p.currency)
          IS DISTINCT FROM
          (excluded.open, excluded.high, excluded.low, excluded.close, excluded.adjusted_close, excluded.volume,
           excluded.currency)
"""
# rows that are stored just so: ON CONFLICT alone would lock, and so write, each of them
_CHANGED = """
    LEFT JOIN prices_daily o ON o.instrument_id = i.id AND o.trade_date = s.trade_date
    WHERE (o.open, o.high, o.low, o.close, o.adjusted_close, o.volume, o.currency)
          IS DISTINCT FROM
          (nullif(s.open, 'NaN'), nullif(s.high, 'NaN'), nullif(s.low, 'NaN'), s.close, s.adjusted_close, s.volume,
           c.code)
"""


@dataclass(frozen=True, slots=True, eq=False)
class CodedTexts:
    """Texts of many rows, each distinct one once: `codes`, shape (n,), point into `values`."""

    codes: Int64Vector
    values: Sequence[str]


@dataclass(frozen=True, slots=True, eq=False)
class PriceColumns:
    """Sound rows of prices, shape (n,) each: place in the file, session, prices and volume by name.

    A price that is not recorded is NaN.
    """

    row_numbers: Int64Vector
    instruments: CodedTexts
    trade_dates: DateVector
    numbers: Mapping[str, Float64Vector]
    currencies: CodedTexts


@dataclass(frozen=True, slots=True)
class StagedInstrument:
    """What the staged rows say of one instrument."""

    instrument_id: str
    currency: str
    first_date: date
    last_date: date
    n_rows: int
    n_weekend: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """How staged bars of an instrument compare with the stored ones of the same dates: least and largest ratios."""

    instrument_id: str
    n_bars: int
    close_ratios: tuple[float, float]
    adjusted_ratios: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Seam:
    """An instrument of which bars are stored outside the span of the staged ones, and their currency."""

    instrument_id: str
    n_staged: int
    currency: str


class PriceStaging:
    """The rows of one run, in a temporary table of the transaction that will store them.

    `n_duplicates`, known after `count_conflicts`, is how many rows repeat an equal one.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._instruments: dict[str, int] = {}
        self._currencies: dict[str, int] = {}
        self._order = DateOrder()
        self.n_duplicates = 0
        connection.execute("SET LOCAL work_mem = '128MB'")
        connection.execute(_CREATE)

    @property
    def has_steps_back(self) -> bool:
        """Whether the dates of some instrument do not ascend."""
        return self._order.has_steps_back

    def append(self, file_no: int, rows: PriceColumns) -> None:
        """Add rows."""
        if not len(rows.row_numbers):
            return
        instruments = _number(self._instruments, rows.instruments)
        if len(self._instruments) > MAX_INSTRUMENTS:
            raise DataCheckError(f"more than {MAX_INSTRUMENTS} instruments in one run; load the files in several runs")
        currencies = _number(self._currencies, rows.currencies)
        self._order.watch(instruments, rows.trade_dates.astype(np.int64))
        columns: dict[str, NDArray[Any]] = {
            "file_no": np.full(len(instruments), file_no, np.int32),
            "row_no": rows.row_numbers,
            "instrument": instruments,
            "trade_date": rows.trade_dates,
            **{name: values + 0.0 for name, values in rows.numbers.items()},  # + 0.0 turns -0.0 into 0.0
            "currency": currencies,
        }
        with self._connection.cursor() as cursor:
            copy_in(cursor, "staged_prices", columns)

    def count_conflicts(self) -> int:
        """Look for keys that stand more than once; return how many rows contradict another of their key."""
        if not self._order.has_repeats_or_steps_back:
            return 0
        self._connection.execute("ANALYZE staged_prices")
        self._connection.execute(_FIND_REPEATS)
        self.n_duplicates, n_conflicting = self._connection.execute(_COUNT_REPEATS).fetchall()[0]
        return int(n_conflicting)

    def conflicting_rows(self) -> NDArray[Any]:
        """Return file_no and row_no of the contradicting rows, in that order; needs `count_conflicts`."""
        with self._connection.cursor() as cursor:
            return fetch_packed(cursor, sql.SQL(_CONFLICTING_ROWS), [("file_no", "i4"), ("row_no", "i8")])

    def rows_of(self, instrument_ids: Sequence[str]) -> NDArray[Any]:
        """Return file_no and row_no of the rows of some instruments, in that order."""
        chosen = sql.SQL(", ").join(sql.Literal(self._instruments[name]) for name in instrument_ids)
        query = sql.SQL(_ROWS_OF).format(chosen)
        with self._connection.cursor() as cursor:
            return fetch_packed(cursor, query, [("file_no", "i4"), ("row_no", "i8")])

    def drop(self, instrument_ids: Sequence[str]) -> None:
        """Remove the rows of some instruments, those that repeat another one included."""
        ordinals = [self._instruments[name] for name in instrument_ids]
        if self.n_duplicates:
            self.n_duplicates -= self._connection.execute(_REPEATS_OF, (ordinals,)).fetchall()[0][0]
        self._connection.execute("DELETE FROM staged_prices WHERE instrument = ANY(%s)", (ordinals,))

    def drop_conflicts(self) -> None:
        """Remove every row that contradicts another: which of them is right cannot be told."""
        self._connection.execute(_DROP_CONFLICTS)

    def summarize(self) -> tuple[StagedInstrument, ...]:
        """Return what is staged, by instrument."""
        self._connection.execute("ANALYZE staged_prices")
        known = {"ids": list(self._instruments), "currencies": list(self._currencies)}
        return tuple(StagedInstrument(*row) for row in self._connection.execute(_SUMMARIZE, known))

    def currencies(self) -> list[tuple[str, list[str], list[date]]]:
        """Return the instruments with more than one currency, their currencies and since when each."""
        if len(self._currencies) < 2:
            return []
        return self._rows(_TWO_CURRENCIES)

    def seams(self, staged: Sequence[StagedInstrument]) -> list[Seam]:
        """Return the instruments of which more is stored than the span of the staged rows."""
        return [Seam(*row) for row in self._rows(_SEAMS, **_spans(staged))]

    def overlaps(self, partial: Sequence[str]) -> list[Overlap]:
        """Return of some instruments how the staged rows compare with stored ones of the same dates."""
        rows = self._rows(_OVERLAPS, partial=list(partial)) if partial else []
        return [Overlap(name, n, (low, high), (least, most)) for name, n, low, high, least, most in rows]

    def withdrawn(self, staged: Sequence[StagedInstrument]) -> list[tuple[str, int, list[date]]]:
        """Return of each instrument how many bars are staged, and the stored dates between them that are not."""
        found = self._rows(_WITHDRAWN, **_spans(staged))
        repeats = dict(self._rows(_REPEATS_BY_INSTRUMENT)) if found and self.n_duplicates else {}
        return [(name, n_rows - repeats.get(name, 0), days) for name, n_rows, days in found]

    def staged_bars(self, instrument_ids: Sequence[str], fields: Sequence[str]) -> PriceBars:
        """Return the staged bars of some instruments, those that repeat another one once."""
        ordinals = np.array([self._instruments[name] for name in instrument_ids], np.int32)
        query = sql.SQL(_STAGED_BARS).format(columns=_columns(fields), ordinals=ordinals.tolist())
        rows = self._packed_bars(query, fields)
        by_ordinal = np.argsort(ordinals)
        rows["place"] = 1 + by_ordinal[np.searchsorted(ordinals[by_ordinal], rows["place"])]
        return decided_bars(self._connection, bars_of_rows(instrument_ids, rows, fields))

    def stored_bars(self, staged: Sequence[StagedInstrument], n_before: int, fields: Sequence[str]) -> PriceBars:
        """Return the stored bars of some instruments from the first staged date of each on, and some before."""
        query = sql.SQL(_STORED_BARS).format(
            columns=_columns(fields),
            ids=[item.instrument_id for item in staged],
            firsts=[item.first_date for item in staged],
            n_before=n_before,
        )
        rows = self._packed_bars(query, fields)
        return decided_bars(self._connection, bars_of_rows([item.instrument_id for item in staged], rows, fields))

    def _packed_bars(self, query: sql.Composed, fields: Sequence[str]) -> NDArray[Any]:
        dtypes = [("place", "i4"), ("trade_date", "M8[D]"), *((name, "f8") for name in fields)]
        with self._connection.cursor() as cursor:
            return fetch_packed(cursor, query, dtypes)

    def divide_closes(self, divided: Sequence[tuple[str, date, date, float]]) -> None:
        """Make adjusted closes the closes divided by a factor: by instrument, first date and date behind the last."""
        names, firsts, untils, factors = zip(*divided, strict=True)
        spans = {"firsts": list(firsts), "untils": list(untils), "factors": list(factors)}
        self._connection.execute(_DIVIDE_CLOSES, {"instruments": [self._instruments[name] for name in names], **spans})

    def remove(self, instrument_id: str, days: Sequence[date]) -> None:
        """Delete stored bars, and the embeddings of their dates."""
        key = {"id": instrument_id, "days": list(days)}
        forget_instruments(self._connection, "INSTRUMENT", [instrument_id])
        self._connection.execute(
            "DELETE FROM prices_daily WHERE instrument_id = %(id)s AND trade_date = ANY(%(days)s)", key
        )
        self._connection.execute(
            "DELETE FROM numeric_window_embeddings WHERE entity_type = 'INSTRUMENT' AND entity_id = %(id)s "
            "AND as_of_date = ANY(%(days)s)",
            key,
        )

    def _rows(self, query: LiteralString, **parameters: Any) -> list[Any]:
        known = {"ids": list(self._instruments), "currencies": list(self._currencies), **parameters}
        return self._connection.execute(query, known).fetchall()

    def upsert(self) -> int:
        """Store the rows; return how many were new or changed."""
        ids = list(self._instruments)
        rank = {name: place for place, name in enumerate(sorted(ids))}
        self._connection.execute(_NAME_INSTRUMENTS, {"ids": ids, "ranks": [rank[name] for name in ids]})
        self._connection.execute("ANALYZE staged_instruments")
        is_stored = self._connection.execute(_IS_STORED).fetchall()[0][0]
        query = sql.SQL(_UPSERT).format(
            distinct=sql.SQL("DISTINCT ON (i.rank, s.trade_date)" if self._order.has_repeats_or_steps_back else ""),
            changed=sql.SQL(_CHANGED if is_stored else ""),
        )
        return self._connection.execute(query, {"currencies": list(self._currencies)}).rowcount


def _columns(fields: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("coalesce({}, 'NaN')").format(sql.Identifier(name)) for name in fields)


def _spans(staged: Sequence[StagedInstrument]) -> dict[str, Any]:
    return {
        "spanned": [item.instrument_id for item in staged],
        "firsts": [item.first_date for item in staged],
        "lasts": [item.last_date for item in staged],
        "sizes": [item.n_rows for item in staged],
    }


def _number(ordinals: dict[str, int], column: CodedTexts) -> NDArray[np.int32]:
    """Return the ordinal of each row's text, from 1 in order of first appearance; texts of no row get none."""
    present, inverse = np.unique(column.codes, return_inverse=True)
    texts = [column.values[code] for code in present]
    return np.array([ordinals.setdefault(text, len(ordinals) + 1) for text in texts], np.int32)[inverse]
