"""The table ``text_instruments`` read from the side of an instrument: its texts, and when each became known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from psycopg import sql

from prometheus.data.postgres.connections import HistoricalTables
from prometheus.data.text_reader import DatedText, compose_text_query, concerns, newest_version
from prometheus.encoders.texts.cleaning import mend
from prometheus.encoders.texts.codes import load_zone
from prometheus.encoders.texts.documents import TEXT_TABLES, TextSourceType

_NEWEST = """
    SELECT {source}::text, dated.* FROM (
        SELECT {key}, {timestamp}, known_at, {kind}, {place}, coalesce(source, ''), {text} FROM {table}
        WHERE {concerned} AND {timestamp} < {after} AND coalesce(known_at, {timestamp}) < {after} {newest_version}
        ORDER BY {timestamp} DESC, {key} DESC LIMIT {limit}
    ) AS dated
"""
_KNOWN = """
    SELECT {key}, (greatest({timestamp}, known_at) AT TIME ZONE {zone})::date FROM {table} WHERE {concerned}
"""


class ConcernedTexts(HistoricalTables):
    """Reads the texts that concern instruments."""

    def newest(self, instrument_ids: Sequence[str], until: date, limit: int) -> list[DatedText]:
        """Return the newest texts of each kind about some instruments, dated and known up to a date, oldest first."""
        after = sql.SQL("({}::date + 1)::timestamp AT TIME ZONE 'UTC'").format(until)
        is_known = sql.SQL("coalesce(later.known_at, later.timestamp) < {}").format(after)
        parts = [
            compose_text_query(
                _NEWEST, kind, after=after, limit=limit, concerned=concerns(kind, instrument_ids),
                newest_version=newest_version(kind, is_known),
            )
            for kind in TEXT_TABLES
        ]  # fmt: skip
        rows = self._db.rows(sql.SQL(" UNION ALL ").join(parts))
        found = [DatedText(*(*row[:-1], mend(row[-1]))) for row in rows]
        return sorted(found, key=lambda text: (text.timestamp, text.source_type, text.source_id))

    def known_days(self, source_type: TextSourceType, instrument_id: str, timezone: str) -> dict[int, date]:
        """Return the date in a zone on which each text about an instrument became known, by the id of its row."""
        load_zone("--timezone", timezone)
        about = concerns(source_type, [instrument_id])
        return dict(self._db.rows(compose_text_query(_KNOWN, source_type, concerned=about, zone=timezone)))
