"""The two tables of texts: which columns they have, and what is needed of a row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextTable:
    """One table of texts.

    `timestamp` is the column a text is dated by; `names` are short fields that say what it is; of `texts`, at least one
    must say something; `required` are the fields a row cannot do without.
    """

    name: str
    key: str
    columns: tuple[str, ...]
    timestamp: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    required: frozenset[str]


MACRO = TextTable(
    name="macro_events",
    key="event_id",
    columns=("event_type", "timestamp", "known_at", "country", "source", "description"),
    timestamp="timestamp",
    names=("event_type", "country", "source"),
    texts=("description",),
    required=frozenset({"event_type", "timestamp", "description"}),
)
NEWS = TextTable(
    name="news_articles",
    key="article_id",
    columns=("published_at", "known_at", "language", "source", "headline", "body"),
    timestamp="published_at",
    names=("language", "source"),
    texts=("headline", "body"),
    required=frozenset({"published_at"}),
)
