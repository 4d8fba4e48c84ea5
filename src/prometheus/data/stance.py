"""The tables ``stance_heads`` and ``text_stances``: fitted heads, and what they say of each text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.types.json import Jsonb

from prometheus.data.models import VectorTable
from prometheus.data.text_reader import compose_text_query, newest_version, passes
from prometheus.encoders.stance.head import KIND, StanceFit, StanceHead
from prometheus.encoders.stance.labels import STANCES
from prometheus.encoders.stance.meaning import MeaningHead
from prometheus.encoders.stance.shares import DocumentStance, StanceCounts, StanceText
from prometheus.encoders.stance.softmax import SoftmaxWeights
from prometheus.encoders.stance.words import Vocabulary
from prometheus.encoders.texts.cleaning import mend
from prometheus.encoders.texts.documents import TextFilters, TextKey, TextSourceType

PAGE_TEXTS = 2_048
_HEAD = """
    SELECT terms, rarity, word_weights, landmarks, meaning_weights, temperature, sureness, labels_until, figures
    FROM stance_heads WHERE model_id = %s
"""
_ADD_HEAD = """
    INSERT INTO stance_heads
        (model_id, terms, rarity, word_weights, landmarks, meaning_weights, temperature, sureness, labels_until,
         figures)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (model_id) DO NOTHING
"""
_HEADS = "SELECT model_id FROM stance_heads ORDER BY created_at DESC, model_id"
# texts that are there and have no row, oldest first; blank texts, which only rows written by hand can be, are read too
_MISSING = """
    SELECT {key}, {timestamp}, {length} FROM {table}
    WHERE ({timestamp} AT TIME ZONE 'UTC')::date BETWEEN {start} AND {end}
      AND NOT EXISTS (
        SELECT FROM text_stances AS stored
        WHERE stored.source_type = {source} AND stored.source_id = {table}.{key} AND stored.model_id = {model}
      ) AND ({timestamp}, {key}) > (%(after)s, %(after_id)s)
    ORDER BY {timestamp}, {key} LIMIT %(n_rows)s
"""
_COUNT = """
    SELECT count(*) FROM {table} WHERE ({timestamp} AT TIME ZONE 'UTC')::date BETWEEN {start} AND {end}
"""
_TEXTS = """
    SELECT {key}, {text}, words.configuration FROM {table}
    JOIN text_words AS words ON words.source_type = {source} AND words.source_id = {table}.{key}
    WHERE {key} = ANY(%s::bigint[]) ORDER BY {key}
"""
# a text that was removed or rewritten since it was read has no words, or other ones: then nothing is stored of it
_SAVE = """
    INSERT INTO text_stances AS stored
        (source_type, source_id, model_id, is_read, hawkish, dovish, neutral, not_sure)
    SELECT words.source_type, words.source_id, %(model)s, is_read, hawkish, dovish, neutral, not_sure
    FROM unnest(%(ids)s::int8[], %(is_read)s::bool[], %(hawkish)s::int4[], %(dovish)s::int4[], %(neutral)s::int4[],
                %(not_sure)s::int4[]) AS incoming(id, is_read, hawkish, dovish, neutral, not_sure)
    JOIN text_words AS words ON words.source_type = %(source)s AND words.source_id = incoming.id
    ON CONFLICT (source_type, source_id, model_id) DO UPDATE
    SET is_read = excluded.is_read, hawkish = excluded.hawkish, dovish = excluded.dovish, neutral = excluded.neutral,
        not_sure = excluded.not_sure, created_at = now()
    WHERE (stored.is_read, stored.hawkish, stored.dovish, stored.neutral, stored.not_sure)
       IS DISTINCT FROM
          (excluded.is_read, excluded.hawkish, excluded.dovish, excluded.neutral, excluded.not_sure)
"""
_KNOWN = """
    SELECT ({timestamp} AT TIME ZONE 'UTC')::date, {key}, {kind}, {place}, coalesce(source, ''),
           stance.hawkish, stance.dovish, stance.neutral, stance.not_sure
    FROM {table} JOIN text_stances AS stance
      ON stance.source_type = {source} AND stance.source_id = {table}.{key} AND stance.model_id = {model}
    WHERE stance.is_read AND {timestamp} < {after} AND coalesce(known_at, {timestamp}) < {after} AND {passing}
      {newest_version}
    ORDER BY 1, {key}
"""


class StanceTable(VectorTable):
    """Reads and writes both tables; a head never changes, and a stance goes with its text."""

    def add_head(self, model_id: str, head: StanceHead) -> bool:
        """Store a head; False where it is stored already. `ModelFingerprintError` where the id means another one."""
        self.registry.register(model_id, KIND, head.config)
        fit = head.fit
        row = (
            model_id, list(fit.vocabulary.terms), _packed(fit.vocabulary.rarity, "<f8"), _packed_head(fit.words),
            _packed(fit.meaning.landmarks, "<f4"), _packed_head(fit.meaning.weights), head.temperature, head.sureness,
            head.labels_until, Jsonb(dict(head.figures)),
        )  # fmt: skip
        return self._db.write(lambda cursor: cursor.execute(_ADD_HEAD, row).rowcount) > 0

    def load_head(self, model_id: str) -> StanceHead | None:
        """Return a stored head, byte for byte as it was fitted; None without one."""
        row = self._db.row(_HEAD, (model_id,), binary=True)
        if row is None:
            return None
        terms, rarity, words, landmarks, meaning, temperature, sureness, until, figures = row
        config = self.registry.load_config(model_id) or {}
        points = np.frombuffer(landmarks, "<f4").reshape(-1, int(config["dim"]))
        fit = StanceFit(
            Vocabulary(tuple(terms), np.frombuffer(rarity, "<f8").astype(np.float64)),
            _head_of(words),
            MeaningHead(points.astype(np.float32), _head_of(meaning)),
        )
        return StanceHead(fit, temperature, sureness, until, config, figures)

    def heads(self) -> list[str]:
        """Return the ids of all heads, the newest first."""
        return self._db.column(_HEADS)

    def begun(self) -> list[tuple[str, TextSourceType]]:
        """Return the heads, and the kinds of text that each has read some of, in order."""
        query = """
            SELECT model_id, source_type FROM stance_heads, (VALUES ('MACRO'), ('NEWS')) AS sources(source_type)
            WHERE EXISTS (
                SELECT FROM text_stances AS stored
                WHERE stored.model_id = stance_heads.model_id AND stored.source_type = sources.source_type
            ) ORDER BY 1, 2
        """
        return self._db.rows(query)

    def labels_until(self, model_id: str) -> date | None:
        """Return the newest date of the labels of a head."""
        until: date | None = self._db.value("SELECT labels_until FROM stance_heads WHERE model_id = %s", (model_id,))
        return until

    def iter_missing(
        self, source_type: TextSourceType, model_id: str, start: date, end: date
    ) -> Iterator[list[TextKey]]:
        """Yield the texts dated `start` to `end` (UTC) that a head has not read, oldest first, page by page."""
        query = compose_text_query(_MISSING, source_type, model=model_id, start=start, end=end)
        after, after_id = datetime.min.replace(tzinfo=UTC), -1
        while rows := self._db.rows(query, {"after": after, "after_id": after_id, "n_rows": PAGE_TEXTS}):
            after_id, after = rows[-1][:2]
            yield [TextKey(key, n_characters) for key, _, n_characters in rows]

    def n_texts(self, source_type: TextSourceType, start: date, end: date) -> int:
        """Return how many texts are dated `start` to `end` (UTC)."""
        return int(self._db.value(compose_text_query(_COUNT, source_type, start=start, end=end)))

    def load_texts(self, source_type: TextSourceType, source_ids: Sequence[int]) -> list[StanceText]:
        """Return texts by id, and whether what they say of their language is English; removed ones are left out."""
        rows = self._db.rows(compose_text_query(_TEXTS, source_type), (list(source_ids),))
        return [StanceText(key, mend(text), configuration == "english") for key, text, configuration in rows]

    def save(self, source_type: TextSourceType, model_id: str, found: Mapping[int, StanceCounts | None]) -> int:
        """Store what a head says of texts, None for one of another language; return how many rows changed."""
        counts = [each or StanceCounts() for each in found.values()]
        given = {
            "source": source_type, "model": model_id, "ids": [*found],
            "is_read": [each is not None for each in found.values()],
            **{name: [getattr(each, name) for each in counts] for name in (*STANCES, "not_sure")},
        }  # fmt: skip
        return self._db.write(lambda cursor: cursor.execute(_SAVE, given).rowcount)

    def known(
        self, source_type: TextSourceType, model_id: str, as_of: date, filters: TextFilters
    ) -> list[DocumentStance]:
        """Return the stance of texts dated up to a date and known on it (UTC) that pass filters, by date and id."""
        after = sql.SQL("({}::date + 1)::timestamp AT TIME ZONE 'UTC'").format(as_of)
        is_known = sql.SQL("coalesce(later.known_at, later.timestamp) < {}").format(after)
        query = compose_text_query(
            _KNOWN, source_type, model=model_id, after=after, passing=passes(source_type, filters),
            newest_version=newest_version(source_type, is_known),
        )  # fmt: skip
        return [
            DocumentStance(source_type, day, key, kind, place, origin, StanceCounts(*counts))
            for day, key, kind, place, origin, *counts in self._db.rows(query)
        ]


def _packed(values: NDArray[Any], dtype: str) -> bytes:
    return np.ascontiguousarray(values, dtype=dtype).tobytes()


def _packed_head(head: SoftmaxWeights) -> bytes:
    return _packed(np.vstack([head.weights, head.intercepts]), "<f4")


def _head_of(packed: bytes) -> SoftmaxWeights:
    both = np.frombuffer(packed, "<f4").astype(np.float64).reshape(-1, len(STANCES))
    return SoftmaxWeights(both[:-1], both[-1])
