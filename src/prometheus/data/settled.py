"""Digests of what work reads, and the table ``settled_work``: work that was found to have nothing left to do.

Triggers keep the digests (``source_digests``, ``state_digests``) in step with every row, however it is changed; the few
transitions are digested when they are asked for. Work is settled while the digest of all it reads, and of the rows it
wants, is the one it was found with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from prometheus.core.code import digest_of_code
from prometheus.data.postgres.connections import Databases, HistoricalTables, Transactions

EVERY_PERIOD = 0
DIGEST_BYTES = 16
# bars and decisions are those of all instruments there are, of which a night reads a few
_SOURCES = """
    SELECT source, key, bit_xor(hash_record_extended(ROW(period, n_rows, digest), 0)) FROM source_digests
    WHERE n_rows <> 0 AND (source NOT IN ('prices_daily', 'price_decisions') OR key = ANY(%s)) GROUP BY 1, 2
    UNION ALL SELECT 'outside_writes', table_name, n_writes FROM outside_writes
"""
_STATES = """
    SELECT source, key, bit_xor(hash_record_extended(ROW(period, n_rows, digest), 0)) FROM state_digests
    WHERE n_rows <> 0 GROUP BY 1, 2
    UNION ALL SELECT 'regime_transitions', region, bit_xor(hash_record_extended(
        ROW(model_id, as_of_date, previous_date, from_label, to_label), 0))
    FROM regime_transitions GROUP BY 2
"""
_SAVE = """
    INSERT INTO settled_work AS stored (kind, key, period, sources, account)
    SELECT %(kind)s, * FROM unnest(%(keys)s::text[], %(periods)s::int4[], %(sources)b::bytea[], %(accounts)s::jsonb[])
    ON CONFLICT (kind, key, period) DO UPDATE
    SET sources = excluded.sources, account = excluded.account, settled_at = now()
    WHERE (stored.sources, stored.account) IS DISTINCT FROM (excluded.sources, excluded.account)
"""

Key = tuple[str, int]
"""What a piece of work is named, and its period; `EVERY_PERIOD` of work that has none."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a piece of work was found with, and what it said: JSON values."""

    sources: bytes
    account: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Marks:
    """One mark of the rows of each source and key, as they were at one time; equal marks, equal rows."""

    of_keys: Mapping[tuple[str, str], int]

    def of(self, source: LiteralString, key: str = "") -> int | None:
        """Return the mark of a source's rows of a key; None without a row."""
        return self.of_keys.get((source, key))

    def of_sources(self, sources: Collection[str]) -> list[tuple[str, str, int]]:
        """Return the marks of all rows of some sources, in order."""
        return sorted((*pair, mark) for pair, mark in self.of_keys.items() if pair[0] in sources)


def digest_of(*facts: Any) -> bytes:
    """Return a digest, 16 bytes, of facts that can be written as JSON, and of the code of this program.

    Examples
    --------
    >>> digest_of("US", [1, None]) == digest_of("US", [1, None]), digest_of("US", [1]) == digest_of("US", 1)
    (True, False)
    """
    text = json.dumps([digest_of_code(), *facts], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


def load_marks(databases: Databases, instrument_ids: Iterable[str]) -> Marks:
    """Return the marks of everything that nights read; of bars and decisions those of some instruments."""
    historical = Transactions(databases.get_historical_connection).rows(_SOURCES, (sorted(instrument_ids),))
    runtime = Transactions(databases.get_runtime_connection).rows(_STATES)
    return Marks({(source, key): mark for source, key, mark in (*historical, *runtime)})


class SettledWork(HistoricalTables):
    """The table ``settled_work``."""

    def load(self, kind: str, keys: Collection[str]) -> dict[Key, Settled]:
        """Return what is known of pieces of work of a kind."""
        query = "SELECT key, period, sources, account FROM settled_work WHERE kind = %s AND key = ANY(%s)"
        rows = self._db.rows(query, (kind, list(keys)))
        return {(key, period): Settled(bytes(sources), account) for key, period, sources, account in rows}

    def save(self, kind: str, found: Mapping[Key, Settled]) -> None:
        """Store what pieces of work were found with; equal rows stay as they are."""
        if not found:
            return
        given = {
            "kind": kind, "keys": [key for key, _ in found], "periods": [period for _, period in found],
            "sources": [each.sources for each in found.values()],
            "accounts": [Jsonb(dict(each.account)) for each in found.values()],
        }  # fmt: skip
        self._db.write(lambda cursor: cursor.execute(_SAVE, given))
