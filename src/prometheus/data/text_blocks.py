"""Blocks of texts, by their ids: what each holds, and whether a model has a vector of every text of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date

from prometheus.data.postgres.connections import HistoricalTables
from prometheus.data.settled import digest_of
from prometheus.data.text_reader import compose_text_query
from prometheus.encoders.texts.documents import TEXT_TABLES, TextSourceType

BLOCK_TEXTS = 2_048
"""Ids in a block, as the triggers of the digests cut them."""
MADE = ("text_embeddings", "text_passages")

_DIGESTS = """
    SELECT period, source, n_rows, digest FROM source_digests
    WHERE n_rows <> 0 AND (source = %(texts)s AND key = '' OR source = ANY(%(made)s) AND key = %(key)s)
    ORDER BY period, source
"""
_OUTSIDE = "SELECT table_name, n_writes FROM outside_writes WHERE table_name = ANY(%s)"
# blank texts, which only rows written by hand can be, never get a vector
_EMBEDDED = """
    SELECT ({key} / {size} % 2147483648)::integer, {language}, embedding.flags, count(*), count(embedding.source_id),
           (min({timestamp}) AT TIME ZONE 'UTC')::date, (max({timestamp}) AT TIME ZONE 'UTC')::date
    FROM {table} LEFT JOIN text_embeddings AS embedding
      ON embedding.source_type = {source} AND embedding.source_id = {table}.{key}::text
     AND embedding.model_id = {model} AND embedding.text_hash IS NOT NULL
    WHERE ({key} / {size} % 2147483648)::integer = ANY({blocks}::int4[]) AND ({written}) ~ '[^[:space:]]'
    GROUP BY 1, 2, 3 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class BlockDigests:
    """Digests of a block's texts, and of what a model has made of them."""

    texts: bytes
    made: bytes


@dataclass(slots=True)
class EmbeddedBlock:
    """The texts of a block with anything in them: how many, from when to when (UTC), by language and by flags."""

    first: date
    last: date
    n_texts: int = 0
    n_embedded: int = 0
    languages: Counter[str | None] = field(default_factory=Counter)
    flags: Counter[tuple[str, ...]] = field(default_factory=Counter)


class TextBlocks(HistoricalTables):
    """Reads digests of blocks of one source, and what they stand for."""

    def digests(self, source_type: TextSourceType, model_id: str) -> dict[int, BlockDigests]:
        """Return the digests of each block that has texts."""
        texts = TEXT_TABLES[source_type].name
        given = {"texts": texts, "made": list(MADE), "key": f"{source_type} {model_id}"}
        found: dict[int, dict[str, tuple[int, int]]] = {}
        for block, source, n_rows, digest in self._db.rows(_DIGESTS, given):
            found.setdefault(block, {})[source] = (n_rows, digest)
        return {
            block: BlockDigests(digest_of(each.pop(texts)), digest_of(each))
            for block, each in found.items() if texts in each
        }  # fmt: skip

    def outside_writes(self) -> dict[str, int]:
        """Return how many statements but those of backfills have written vectors of texts, by table."""
        return dict(self._db.rows(_OUTSIDE, (list(MADE),)))

    def embedded(self, source_type: TextSourceType, model_id: str, blocks: Collection[int]) -> dict[int, EmbeddedBlock]:
        """Return what some blocks hold, and of how many of their texts a model has a vector."""
        query = compose_text_query(
            _EMBEDDED, source_type, model=model_id, size=BLOCK_TEXTS, blocks=sorted(blocks)
        )  # fmt: skip
        found: dict[int, EmbeddedBlock] = {}
        for block, language, flags, n_texts, n_embedded, first, last in self._db.rows(query):
            each = found.setdefault(block, EmbeddedBlock(first, last))
            each.first, each.last = min(each.first, first), max(each.last, last)
            each.n_texts += n_texts
            each.n_embedded += n_embedded
            each.languages[language] += n_texts
            each.flags[tuple(flags or ())] += n_texts
        return found
