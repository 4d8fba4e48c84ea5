"""The two tables of texts: which fields they have, and what is needed of a row."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus.data.columns import MACRO_FIELDS, NEWS_FIELDS, Field


@dataclass(frozen=True, slots=True)
class TextTable:
    """One table of texts.

    `timestamp` is the field a text is dated by; `names` are short fields that say what it is; of `texts`, at least one
    must say something; `required` are the fields a row cannot do without.
    """

    name: str
    key: str
    fields: tuple[Field, ...]
    timestamp: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    required: frozenset[str]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all fields."""
        return tuple(field.name for field in self.fields)


MACRO = TextTable(
    name="macro_events",
    key="event_id",
    fields=MACRO_FIELDS,
    timestamp="timestamp",
    names=("event_type", "country", "source"),
    texts=("description",),
    required=frozenset({"event_type", "timestamp", "description"}),
)
NEWS = TextTable(
    name="news_articles",
    key="article_id",
    fields=NEWS_FIELDS,
    timestamp="published_at",
    names=("language", "source"),
    texts=("headline", "body"),
    required=frozenset({"published_at"}),
)
