"""Markets and instruments: the reference rows of the runtime database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import psycopg

from prometheus.data.postgres.connections import RuntimeDatabase, Transactions
from prometheus.errors import unknown_market
from prometheus.market.calendar import MARKET_CALENDARS, US_EQ, calendar_code

MARKETS: Mapping[str, tuple[str, str]] = {
    US_EQ: ("United States equities", "USD"),
    "UK_EQ": ("United Kingdom equities", "GBP"),
    "DE_EQ": ("German equities", "EUR"),
    "JP_EQ": ("Japanese equities", "JPY"),
    "HK_EQ": ("Hong Kong equities", "HKD"),
    "CRYPTO": ("Crypto assets", "USD"),
}
"""Name and currency of the markets `prometheus.market.calendar` knows by an id of ours."""

_INSERT_MARKET = """
    INSERT INTO markets (market_id, name, calendar, currency) VALUES (%s, %s, %s, %s)
    ON CONFLICT (market_id) DO NOTHING
"""
_REGISTER = """
    INSERT INTO instruments (instrument_id, market_id, asset_class, symbol, currency)
    SELECT id, %(market_id)s, %(asset_class)s, id, currency
    FROM unnest(%(ids)s::text[], %(currencies)s::text[]) AS new(id, currency)
    ORDER BY id
    ON CONFLICT (instrument_id) DO NOTHING
"""
# a cell the file leaves empty keeps what is stored, or takes the default where nothing is
_UPSERT = """
    INSERT INTO instruments AS known (instrument_id, market_id, asset_class, symbol, name, currency, status)
    SELECT given.id, m.market_id, coalesce(given.asset_class, old.asset_class, %(default_asset_class)s),
           coalesce(given.symbol, old.symbol, given.id),
           coalesce(given.name, old.name),
           coalesce(given.currency, old.currency, %(default_currency)s, m.currency, 'USD'),
           coalesce(given.status, old.status, 'ACTIVE')
    FROM unnest(%(instrument_id)s::text[], %(market_id)s::text[], %(asset_class)s::text[], %(symbol)s::text[],
                %(name)s::text[], %(currency)s::text[], %(status)s::text[])
         AS given(id, market_id, asset_class, symbol, name, currency, status)
    LEFT JOIN instruments old ON old.instrument_id = given.id
    JOIN markets m ON m.market_id = coalesce(given.market_id, old.market_id, %(default_market_id)s)
    ORDER BY given.id
    ON CONFLICT (instrument_id) DO UPDATE
    SET market_id = excluded.market_id, asset_class = excluded.asset_class, symbol = excluded.symbol,
        name = excluded.name, currency = excluded.currency, status = excluded.status
    WHERE (known.market_id, known.asset_class, known.symbol, known.name, known.currency, known.status)
          IS DISTINCT FROM
          (excluded.market_id, excluded.asset_class, excluded.symbol, excluded.name, excluded.currency, excluded.status)
"""

_PRESENT = """
    WITH RECURSIVE present (name, id) AS (
        SELECT name, name FROM unnest(%s::text[]) AS name
        UNION ALL SELECT p.name, r.new_id FROM present p JOIN instrument_renames r ON r.old_id = p.id
    )
    SELECT p.name, p.id, i.market_id FROM present p LEFT JOIN instruments i ON i.instrument_id = p.id
    WHERE NOT EXISTS (SELECT FROM instrument_renames r WHERE r.old_id = p.id)
"""
_DESCRIBE = "SELECT instrument_id, market_id, asset_class, symbol, name, currency, status FROM instruments"


@dataclass(frozen=True, slots=True)
class InstrumentDefaults:
    """What a new instrument gets where nothing is said; `currency` None means that of its market."""

    market_id: str
    asset_class: str
    currency: str | None


@dataclass(frozen=True, slots=True)
class InstrumentRow:
    """A reference row as a file gives it; None means the file does not say."""

    instrument_id: str
    market_id: str | None
    asset_class: str | None
    symbol: str | None
    name: str | None
    currency: str | None
    status: str | None


class StoredInstrument(NamedTuple):
    """The reference row of an instrument."""

    instrument_id: str
    market_id: str
    asset_class: str
    symbol: str
    name: str | None
    currency: str
    status: str


def load_instruments(connection: psycopg.Connection[Any], instrument_ids: Sequence[str]) -> list[StoredInstrument]:
    """Return the reference rows of some instruments, those that have one, in order of id."""
    query = f"{_DESCRIBE} WHERE instrument_id = ANY(%s) ORDER BY instrument_id"
    return [StoredInstrument(*row) for row in connection.execute(query, (list(instrument_ids),))]


def load_market_currency(connection: psycopg.Connection[Any], market_id: str) -> str | None:
    """Return the currency of a market, stored or known; None where it is neither."""
    row = connection.execute("SELECT currency FROM markets WHERE market_id = %s", (market_id,)).fetchone()
    if row is not None and row[0] is not None:
        return str(row[0])
    return MARKETS[market_id][1] if market_id in MARKETS else None


def ensure_markets(connection: psycopg.Connection[Any], market_ids: Collection[str]) -> None:
    """Create the markets that are missing; known ones stay as they are, ids without a calendar are refused."""
    with connection.cursor() as cursor:
        for market_id in sorted(market_ids):
            name, currency = MARKETS.get(market_id, (market_id, None))
            calendar = MARKET_CALENDARS.get(market_id) or calendar_code(market_id)
            cursor.execute(_INSERT_MARKET, (market_id, name, calendar, currency))


def register_instruments(
    connection: psycopg.Connection[Any], currency_of: Mapping[str, str], defaults: InstrumentDefaults
) -> int:
    """Create the instruments that have no reference row yet; return how many."""
    if not currency_of:
        return 0
    ensure_markets(connection, {defaults.market_id})
    given = {"ids": list(currency_of), "currencies": list(currency_of.values())}
    return connection.execute(_REGISTER, {**given, **asdict(defaults)}).rowcount


def upsert_instruments(
    connection: psycopg.Connection[Any], rows: Iterable[InstrumentRow], defaults: InstrumentDefaults
) -> tuple[int, int]:
    """Store reference rows; return how many were new or changed, and how many of these were new."""
    rows = tuple(rows)
    if not rows:
        return 0, 0
    ensure_markets(connection, {row.market_id or defaults.market_id for row in rows})
    n_known = len(load_instruments(connection, [row.instrument_id for row in rows]))
    given = {name: [getattr(row, name) for row in rows] for name in InstrumentRow.__slots__}
    otherwise = {f"default_{name}": value for name, value in asdict(defaults).items()}
    return connection.execute(_UPSERT, {**given, **otherwise}).rowcount, len(rows) - n_known


def require_market(connection: psycopg.Connection[Any], market_id: str) -> None:
    """Raise `NotFoundError` unless the market has a row."""
    markets = [row[0] for row in connection.execute("SELECT market_id FROM markets ORDER BY market_id")]
    if market_id not in markets:
        raise unknown_market(market_id, markets)


class InstrumentCatalog:
    """Reads ``markets`` and ``instruments`` of the runtime database."""

    def __init__(self, db_manager: RuntimeDatabase) -> None:
        self._db = Transactions(db_manager.get_runtime_connection)

    def list_instruments(self, market_id: str, limit: int | None = None, offset: int = 0) -> list[str]:
        """Return instrument ids of a market in order, delisted ones too: they existed on past dates.

        Of a renamed one the present id has the whole history; the old one is left out.
        """
        query = (
            "SELECT instrument_id FROM instruments WHERE market_id = %s"
            " AND instrument_id NOT IN (SELECT old_id FROM instrument_renames)"
            " ORDER BY instrument_id LIMIT %s OFFSET %s"
        )

        def read(connection: psycopg.Connection) -> list[str]:
            require_market(connection, market_id)
            return [row[0] for row in connection.execute(query, (market_id, limit, offset))]

        return self._db.read(read)

    def markets_of(self, instrument_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the market of each instrument that has a row."""
        query = "SELECT instrument_id, market_id FROM instruments WHERE instrument_id = ANY(%s)"
        return dict(self._db.rows(query, (list(instrument_ids),)))

    def present(self, instrument_ids: Collection[str]) -> Mapping[str, tuple[str, str | None]]:
        """Return the id under which each instrument goes on, and the market of that; None where it has no row."""
        return {name: (now, market) for name, now, market in self._db.rows(_PRESENT, (list(instrument_ids),))}

    def describe(self) -> list[StoredInstrument]:
        """Return the rows of all instruments, in order of id."""
        return [StoredInstrument(*row) for row in self._db.rows(f"{_DESCRIBE} ORDER BY instrument_id")]
