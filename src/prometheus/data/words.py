"""The table ``text_words``, which the database keeps itself, and the texts of a search with what is known of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.arrays import Int64Vector
from prometheus.data.postgres.connections import HistoricalTables
from prometheus.data.text_reader import compose_text_query, newest_version, passes, said_of
from prometheus.encoders.texts.documents import ANY_TEXT, TextFilters, TextSourceType

FOUND = [("text_id", "i8"), ("day", "M8[D]"), ("configuration", "i2"), ("n_words", "i8"), ("is_wanted", "?")]
WRITTEN = [("text_id", "i8"), ("position", "i4"), ("transaction", "i8")]
"""A row of a table of texts, by id and position, and the transaction that wrote it: what is rewritten has another."""
MOST_SAID = 8
PAGE_ROWS = 8_192
_POSTING = [("asked", "i4"), ("text_id", "i8"), ("count", "i4")]

_KNOWN = """
    SELECT {key}, ({timestamp} AT TIME ZONE 'UTC')::date,
           (array_position({configurations}::text[], words.configuration) - 1)::int2, words.n_words, {is_wanted}
    FROM {table} JOIN text_words AS words ON words.source_type = {source} AND words.source_id = {table}.{key}
    WHERE {timestamp} < {after} AND coalesce(known_at, {timestamp}) < {after} {newest_version}
"""
_HAS_VECTOR = """
    SELECT EXISTS (
        SELECT FROM text_words AS words
        JOIN text_embeddings AS stored
          ON stored.source_type = {source} AND stored.source_id = words.source_id::text AND stored.model_id = {model}
        JOIN {table} ON {table}.{key} = words.source_id
        WHERE words.source_type = {source} AND (words.configuration = 'english') = {is_english}
          AND {timestamp} < {after} AND coalesce(known_at, {timestamp}) < {after}
    )
"""
_SAID = """
    SELECT DISTINCT {said} FROM {table}
    WHERE {timestamp} < {after} AND coalesce(known_at, {timestamp}) < {after} AND {said} <> '' ORDER BY 1 LIMIT {most}
"""
_CONFIGURATIONS = """
    SELECT cfgname::text FROM pg_ts_config WHERE cfgnamespace = 'pg_catalog'::regnamespace
    ORDER BY cfgname <> 'english', cfgname
"""
_STEMS = """
    SELECT configuration, stem, n
    FROM unnest(%s::text[]) AS configuration, count_stems(configuration, %s),
         unnest(stems, counts) AS counted(stem, n)
"""
_DISTINCT_STEMS = "SELECT stems FROM text_words WHERE source_type = %s AND source_id = ANY(%s) ORDER BY source_id"
_STEMS_OF_WORDS = """
    SELECT word, tsvector_to_array(to_tsvector(chosen, word))
    FROM (SELECT ('pg_catalog.' || quote_ident(%s))::regconfig) AS configuration(chosen), unnest(%s::text[]) AS word
    WHERE octet_length(word) < 2047
"""
_WRITTEN = "SELECT source_id, 0, xmin::text::int8 FROM text_words WHERE source_type = {source}"
# all stems of a page come as one value, and all counts as another: a row of arrays costs the client far more to read
_PAGE = """
    SELECT coalesce(string_agg(int8send(source_id) || int8send(transaction) || int4send(cardinality(stems)),
                               ''::bytea), ''::bytea),
           coalesce(string_agg(array_to_string(stems, {end}), {end}) FILTER (WHERE stems <> '{{}}'), ''),
           coalesce(string_agg(array_send(counts), ''::bytea) FILTER (WHERE stems <> '{{}}'), ''::bytea)
    FROM (
        SELECT source_id, xmin::text::int8 AS transaction, stems, counts FROM text_words
        WHERE source_type = {source} AND source_id > {after} AND ({every} OR source_id = ANY({ids}::int8[]))
        ORDER BY source_id LIMIT {most}
    ) AS page
"""
_ROW_OF_PAGE = [("text_id", ">i8"), ("transaction", ">i8"), ("n_stems", ">i4")]
_END = "\x01"  # no letter of a stem
_BEFORE_ALL = 1 - 2**63
_ARRAY_WORDS, _ELEMENT_WORDS = 5, 2
"""What PostgreSQL's binary form of an array of int4 begins with, and what an element takes, in words of four bytes."""
_POSTINGS = """
    SELECT (asked.number - 1)::int4, words.source_id, words.counts[array_position(words.stems, asked.stem)]
    FROM unnest({configurations}::text[], {stems}::text[]) WITH ORDINALITY AS asked(configuration, stem, number)
    JOIN text_words AS words
      ON words.source_type = {source} AND words.configuration = asked.configuration
     AND words.stems @> ARRAY[asked.stem]
"""


@dataclass(frozen=True, slots=True, eq=False)
class WordsPage:
    """What is stored of n texts: `rows`, structured, shape (n,), and the stems and counts of all of them, in a row.

    A row is the number of the text, of the transaction that wrote it, and of its stems.
    """

    rows: NDArray[Any]
    stems: list[str]
    counts: NDArray[np.int32]

    def __post_init__(self) -> None:
        if len(self.stems) != len(self.counts):
            raise psycopg.DataError("text_words: a stem is NULL, or has a letter that no stem has")


class TextWords(HistoricalTables):
    """Reads ``text_words``: the stems of each text and how often it has each.

    A stem is of a configuration, PostgreSQL's word for how a language is stemmed; configurations go by their number.
    """

    _names: tuple[str, ...] = ()

    @property
    def configurations(self) -> tuple[str, ...]:
        """All configurations of the server, in the order of their numbers."""
        if not self._names:
            self._names = tuple(self._db.column(_CONFIGURATIONS))
        return self._names

    def known(self, source_type: TextSourceType, as_of: date, filters: TextFilters = ANY_TEXT) -> NDArray[Any]:
        """Return the texts dated up to a date and known on it (UTC), of versions of an event the newest, by id.

        Structured, shape (n,), as `FOUND`: its number, date, number of its configuration, length in words, and
        whether it passes the filters.
        """
        after = _end_of(as_of)
        is_known = sql.SQL("coalesce(later.known_at, later.timestamp) < {}").format(after)
        query = compose_text_query(
            _KNOWN,
            source_type,
            configurations=list(self.configurations),
            after=after,
            is_wanted=passes(source_type, filters),
            newest_version=newest_version(source_type, is_known),
        )
        rows = self._db.packed(query, FOUND)
        return rows[np.argsort(rows["text_id"])]

    def has_vector(self, source_type: TextSourceType, model_id: str, as_of: date, *, is_english: bool) -> bool:
        """Return whether a model has a vector of a text known on a date that is stemmed as English, or as another."""
        query = compose_text_query(
            _HAS_VECTOR, source_type, model=model_id, after=_end_of(as_of), is_english=is_english
        )
        return bool(self._db.value(query))

    def said(self, source_type: TextSourceType, name: str, as_of: date) -> list[str]:
        """Return what texts known on a date say of a filter, in order, at most `MOST_SAID`."""
        said, after = said_of(source_type, name), _end_of(as_of)
        return self._db.column(compose_text_query(_SAID, source_type, said=said, after=after, most=MOST_SAID))

    def stems(self, question: str, configurations: Sequence[int]) -> dict[int, dict[str, int]]:
        """Return how often a question has each stem, by configuration, the stems in order; stop words have none."""
        names = [self.configurations[number] for number in configurations]
        found: dict[int, dict[str, int]] = {}
        for name, stem, n in sorted(self._db.rows(_STEMS, (names, question))):
            found.setdefault(self.configurations.index(name), {})[stem] = n
        return found

    def distinct_stems(self, source_type: TextSourceType, text_ids: Sequence[int]) -> list[list[str]]:
        """Return the stems that each of some texts has, by id."""
        return self._db.column(_DISTINCT_STEMS, (source_type, list(text_ids)))

    def stems_of(self, words: Sequence[str], configuration: int) -> list[tuple[str, list[str]]]:
        """Return each word with its stems: several of a compound one, none of a stop word or an endless one."""
        return self._db.rows(_STEMS_OF_WORDS, (self.configurations[configuration], list(words)))

    def written(self, source_type: TextSourceType) -> NDArray[Any]:
        """Return which texts have words, as `WRITTEN`, by id."""
        rows = self._db.packed(sql.SQL(_WRITTEN).format(source=source_type), WRITTEN)
        return rows[np.argsort(rows["text_id"])]

    def pages(self, source_type: TextSourceType, text_ids: Sequence[int] | None) -> Iterator[WordsPage]:
        """Yield all that is stored of some texts, or of every one, by id and page by page.

        Each page is one short query that takes up where the last one ended.
        """
        after, is_last = _BEFORE_ALL, False
        while not is_last:
            query = sql.SQL(_PAGE).format(
                source=source_type, after=after, every=text_ids is None, ids=list(text_ids or ()), most=PAGE_ROWS,
                end=_END,
            )  # fmt: skip
            ((packed, stems, counts),) = self._db.rows(query, binary=True)
            rows = np.frombuffer(packed, _ROW_OF_PAGE)
            is_last = len(rows) < PAGE_ROWS
            if len(rows):
                after = int(rows["text_id"].max())
                yield WordsPage(rows, stems.split(_END) if stems else [], _elements(counts, rows["n_stems"]))

    def postings(
        self, source_type: TextSourceType, asked: Sequence[tuple[int, str]]
    ) -> list[tuple[Int64Vector, Int64Vector]]:
        """Return for each stem of a configuration the texts that have it, by id, and how often; both shape (n,)."""
        names, stems = [self.configurations[number] for number, _ in asked], [stem for _, stem in asked]
        query = sql.SQL(_POSTINGS).format(source=source_type, configurations=names, stems=stems)
        rows = self._db.packed(query, _POSTING)
        rows = rows[np.lexsort((rows["text_id"], rows["asked"]))]
        firsts = np.searchsorted(rows["asked"], np.arange(len(asked) + 1)).tolist()
        parts = [rows[first:last] for first, last in pairwise(firsts)]
        return [(part["text_id"], part["count"].astype(np.int64)) for part in parts]


def _elements(arrays: bytes, sizes: NDArray[Any]) -> NDArray[np.int32]:
    """Return the elements of PostgreSQL's binary arrays of int4, in a row; of empty ones there is no array."""
    words, filled = np.frombuffer(arrays, ">i4"), sizes[sizes > 0].astype(np.int64)
    lengths = _ARRAY_WORDS + _ELEMENT_WORDS * filled
    if len(words) != lengths.sum():
        raise psycopg.DataError("text_words: there are more stems than counts, or fewer")
    firsts = np.cumsum(lengths) - lengths + _ARRAY_WORDS
    within = np.arange(filled.sum()) - np.repeat(np.cumsum(filled) - filled, filled)
    elements: NDArray[np.int32] = words[np.repeat(firsts, filled) + _ELEMENT_WORDS * within + 1].astype(np.int32)
    return elements


def _end_of(day: date) -> sql.Composed:
    return sql.SQL("({}::date + 1)::timestamp AT TIME ZONE 'UTC'").format(day)
