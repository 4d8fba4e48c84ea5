"""Prices out of the historical database: as a DataFrame for people, as arrays for windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from prometheus.data.decisions import decisions_on
from prometheus.data.postgres.connections import HistoricalDatabase, HistoricalTables, Transactions
from prometheus.market.bars import ACCEPTED, DECISION, REJECTED, PriceBars

if TYPE_CHECKING:
    import pandas as pd

PRICE_COLUMNS = (
    "instrument_id", "trade_date", "open", "high", "low", "close", "adjusted_close", "volume", "currency",
)  # fmt: skip


class PriceRevision(NamedTuple):
    """A bar as it was: known from (None: since before versions were kept) and until, and what stands there after it.

    `next_close` and `next_adjusted_close` are None if the bar was removed.
    """

    instrument_id: str
    trade_date: date
    close: float
    adjusted_close: float
    volume: float
    known_from: datetime | None
    known_until: datetime
    next_close: float | None
    next_adjusted_close: float | None


class DataReader(HistoricalTables):
    """Reads ``prices_daily`` of the historical database, as it is or, with `known_at`, as it was then."""

    keeps_decisions = True

    def __init__(self, db_manager: HistoricalDatabase, known_at: datetime | None = None) -> None:
        super().__init__(db_manager)
        self._known_at = known_at
        self._prices = _NOW if known_at is None else _KNOWN_THEN.format(known_at=known_at)

    def read_prices(self, instrument_ids: Sequence[str], start_date: date, end_date: date) -> pd.DataFrame:
        """Return all bars of the instruments from `start_date` to `end_date`, both included.

        One row per instrument and date, sorted by both; columns `PRICE_COLUMNS`, ``trade_date`` as dates, missing
        open, high or low as NaN.
        """
        import pandas as pd  # noqa: PLC0415 -- slow, and only this method needs it

        columns = sql.SQL(", ").join(map(sql.Identifier, PRICE_COLUMNS))
        wanted = [instrument_ids] if isinstance(instrument_ids, str) else list(instrument_ids)
        query = sql.SQL(
            "SELECT {} FROM {} AS bars WHERE instrument_id = ANY(%s) AND trade_date BETWEEN %s AND %s "
            "ORDER BY instrument_id, trade_date"
        ).format(columns, self._prices)
        rows = self._db.rows(query, (wanted, start_date, end_date))
        frame = pd.DataFrame(rows, columns=list(PRICE_COLUMNS))
        return frame.astype(dict.fromkeys(PRICE_COLUMNS[2:8], "float64"))

    def load_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        """Return the bars from `first` to `last` and what windows ending there reach back to, in one query.

        `n_before` bars are needed up to and including the newest one at or before `first`. `fields` are numeric columns
        of ``prices_daily``, or `DECISION`; a missing open, high or low becomes NaN.
        """
        ids = tuple(dict.fromkeys(instrument_ids))
        dtypes = [("place", "i4"), ("trade_date", "M8[D]"), *((field, "f8") for field in fields)]
        rows = self._db.packed(self._bars_query(ids, first, last, n_before, fields), dtypes)
        return bars_of_rows(ids, rows, fields)

    def load_revisions(
        self, instrument_ids: Sequence[str] | None, start: date, end: date, limit: int
    ) -> list[PriceRevision]:
        """Return the bars that were replaced or removed, by instrument, date and when they were; `limit` of them."""
        query = """
            SELECT r.instrument_id, r.trade_date, r.close, r.adjusted_close, r.volume, r.known_from, r.known_until,
                   coalesce(next.close, p.close), coalesce(next.adjusted_close, p.adjusted_close)
            FROM price_revisions r
            LEFT JOIN LATERAL (
                SELECT close, adjusted_close FROM price_revisions n WHERE n.instrument_id = r.instrument_id
                AND n.trade_date = r.trade_date AND n.known_until > r.known_until ORDER BY n.known_until LIMIT 1
            ) AS next ON true
            LEFT JOIN prices_daily p ON p.instrument_id = r.instrument_id AND p.trade_date = r.trade_date
            WHERE (%(ids)s::text[] IS NULL OR r.instrument_id = ANY(%(ids)s))
              AND r.trade_date BETWEEN %(start)s AND %(end)s
            ORDER BY r.instrument_id, r.trade_date, r.known_until LIMIT %(limit)s
        """
        ids = None if instrument_ids is None else list(instrument_ids)
        rows = self._db.rows(query, {"ids": ids, "start": start, "end": end, "limit": limit})
        return [PriceRevision(*row) for row in rows]

    def known_instruments(self, instrument_ids: Sequence[str]) -> set[str]:
        """Return those of the instruments that have at least one bar."""
        query = sql.SQL("""
            SELECT wanted.id FROM unnest(%s::text[]) AS wanted(id)
            WHERE EXISTS (SELECT FROM {} AS bars WHERE instrument_id = wanted.id)
        """)
        return set(self._db.column(query.format(self._prices), (list(instrument_ids),)))

    def has_bar_on(self, day: date, instrument_ids: Sequence[str]) -> bool:
        """Return whether any of the instruments has a bar of that date."""
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} AS bars WHERE instrument_id = ANY(%s) AND trade_date = %s)")
        return bool(self._db.value(query.format(self._prices), (list(instrument_ids), day)))

    def _bars_query(
        self, ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> sql.Composed:
        # Each instrument is one walk along the primary key. A plain join would let the server read the whole table
        # instead whenever it misjudges how few of its rows are wanted.
        chosen = [sql.SQL("p.{}").format(sql.Identifier(name)) for name in fields if name != DECISION]
        source = sql.SQL("{} AS p").format(self._prices)
        if DECISION in fields:
            chosen.append(_DECISION)
            source = sql.SQL("{} LEFT JOIN {}").format(source, decisions_on("p", self._known_at))
        return sql.SQL("""
            SELECT wanted.ordinal::int4, bar.trade_date, {columns}
            FROM unnest({ids}::text[]) WITH ORDINALITY AS wanted(instrument_id, ordinal)
            CROSS JOIN LATERAL ({bars}) AS bar
        """).format(
            columns=sql.SQL(", ").join(
                sql.SQL("coalesce(bar.{}, 'NaN')").format(sql.Identifier(name)) for name in fields
            ),
            ids=list(ids),
            bars=(_NEWEST_BARS if first == last else _BARS_OF_A_RANGE).format(
                fields=sql.SQL(", ").join(chosen), source=source, prices=self._prices, first=first, last=last,
                n_before=n_before,
            ),
        )  # fmt: skip


def bars_of_rows(instrument_ids: Sequence[str], rows: NDArray[Any], fields: Sequence[str]) -> PriceBars:
    """Return rows as bars by instrument and date, those of a date that stands twice once.

    `rows` has place, which counts `instrument_ids` from 1, trade_date and the fields, in any order.
    """
    place, day = rows["place"], rows["trade_date"].astype(np.int64)
    key = (place.astype(np.int64) << 32) + day
    if not (key[1:] > key[:-1]).all():
        rows = rows[np.unique(key, return_index=True)[1]]
    return PriceBars(
        instrument_ids=tuple(instrument_ids),
        offsets=np.searchsorted(rows["place"], np.arange(1, len(instrument_ids) + 2)),
        dates=np.ascontiguousarray(rows["trade_date"]),
        fields=tuple(fields),
        values=np.stack([rows[field] for field in fields]).astype(np.float64, copy=False),
    )


_NOW = sql.SQL("prices_daily")
_DECISION = sql.SQL("(CASE d.verdict WHEN 'ACCEPTED' THEN {} WHEN 'REJECTED' THEN {} ELSE 0 END)::float8 AS {}").format(
    ACCEPTED, REJECTED, sql.Identifier(DECISION)
)
# of each bar the version that was known then: an older one, if it was replaced only later
_KNOWN_THEN = sql.SQL("""(
    SELECT DISTINCT ON (instrument_id, trade_date) * FROM (
        SELECT instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency, known_from,
               'infinity'::timestamptz AS known_until FROM prices_daily
        UNION ALL SELECT * FROM price_revisions
    ) AS versions
    WHERE coalesce(known_from, '-infinity') <= {known_at} AND known_until > {known_at}
    ORDER BY instrument_id, trade_date, known_until
)""")
_NEWEST_BARS = sql.SQL("""
    SELECT p.trade_date, {fields} FROM {source}
    WHERE p.instrument_id = wanted.instrument_id AND p.trade_date <= {last}
    ORDER BY p.trade_date DESC LIMIT {n_before}
""")
_BARS_OF_A_RANGE = sql.SQL("""
    SELECT p.trade_date, {fields} FROM {source}
    WHERE p.instrument_id = wanted.instrument_id AND p.trade_date <= {last} AND p.trade_date >= coalesce((
        SELECT b.trade_date FROM {prices} AS b
        WHERE b.instrument_id = wanted.instrument_id AND b.trade_date <= {first}
        ORDER BY b.trade_date DESC OFFSET {n_before} - 1 LIMIT 1
    ), '-infinity')
    OFFSET 0
""")


@dataclass(frozen=True, slots=True)
class BarExtent:
    """The first and the newest bar of an instrument, of those up to a date."""

    first: date
    newest: date


def load_bar_extents(
    db_manager: HistoricalDatabase, instrument_ids: Sequence[str], as_of_date: date
) -> dict[str, BarExtent]:
    """Return how far the bars of each instrument reach up to a date; those without any are left out."""
    query = """
        SELECT wanted.id, reach.first, reach.newest
        FROM unnest(%s::text[]) AS wanted(id) CROSS JOIN LATERAL (
            SELECT min(trade_date) AS first, max(trade_date) AS newest FROM prices_daily
            WHERE instrument_id = wanted.id AND trade_date <= %s
        ) AS reach
        WHERE reach.newest IS NOT NULL
    """
    rows = Transactions(db_manager.get_historical_connection).rows(query, (list(instrument_ids), as_of_date))
    return {name: BarExtent(first, newest) for name, first, newest in rows}
