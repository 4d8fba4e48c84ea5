"""Texts: the tables they are kept in, and the parcels of encoding them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np

from prometheus.arrays import (
    Float32Matrix,
    Float32Vector,
    Int64Matrix,
    as_float32,
    require_finite,
)
from prometheus.errors import InputRefusedError, UsageError, WindowShapeError

TextSourceType = Literal["MACRO", "NEWS"]
TextTableName = Literal["macro_events", "news_articles"]
MainStance = Literal["hawkish", "dovish", "neutral"]

QUESTION = "QUERY"
"""The source type of a question, for models that read questions and texts in two ways."""

VERSION = "version_of_an_event"
"""The name in the metadata of a text that marks it as a version of an event, of which the newest known counts."""
INSTRUMENT = "instrument_id"
"""The filter of the texts that concern an instrument; see the table ``text_instruments``."""
TOLD_VALUES = "told_values"
"""The name in the metadata of a fact on series that lists the values it stands on, ``DGS10 2020-01-31``."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """One table of texts; files, checks, staging, readers and searches all go by this description.

    `columns` stand in the order of writing; a text is dated by `timestamp` and chosen by `filters`; at least one of
    `texts` must say something.
    """

    name: TextTableName
    key: str
    columns: tuple[str, ...]
    timestamp: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    required: frozenset[str]
    filters: tuple[str, ...]


MACRO = TextTable(
    name="macro_events",
    key="event_id",
    columns=("event_type", "timestamp", "known_at", "country", "source", "description"),
    timestamp="timestamp",
    names=("event_type", "country", "source"),
    texts=("description",),
    required=frozenset({"event_type", "timestamp", "description"}),
    filters=("country", "event_type", INSTRUMENT),
)
NEWS = TextTable(
    name="news_articles",
    key="article_id",
    columns=("published_at", "known_at", "language", "source", "headline", "body"),
    timestamp="published_at",
    names=("language", "source"),
    texts=("headline", "body"),
    required=frozenset({"published_at"}),
    filters=("language", INSTRUMENT),
)
TEXT_TABLES: Mapping[TextSourceType, TextTable] = {"MACRO": MACRO, "NEWS": NEWS}


@dataclass(frozen=True, slots=True)
class TextFilters:
    """Which texts a search may find: dated `start` to `end`, both included (UTC), and saying what is named; None: any.

    `publisher` is the source of a text. What its table has no column for, such as `author`, stands in its metadata;
    there a speaker is an author. An author may be named in part; a text that says no language is English. Of several
    instruments, a text must concern one; a single id stands for itself. The `stance` of a text is that of most of its
    sure sentences, as the newest head reads them (ADR-0030).
    """

    start: date | None = None
    end: date | None = None
    country: str | None = None
    publisher: str | None = None
    event_type: str | None = None
    author: str | None = None
    language: str | None = None
    instrument_id: Collection[str] = ()
    stance: str | None = None

    def __post_init__(self) -> None:
        chosen = [self.instrument_id] if isinstance(self.instrument_id, str) else self.instrument_id
        object.__setattr__(self, INSTRUMENT, tuple(sorted(set(chosen or ()))))
        if self.start and self.end and self.end < self.start:
            raise UsageError(f"the texts end ({self.end}) before they start ({self.start})")
        for name, value in (*self.named.items(), *((INSTRUMENT, each) for each in self.instrument_id)):
            if not value.strip() or not value.isprintable():
                raise UsageError(f"{name} {value[:40]!r} names nothing; give a name, or leave it out")
        if self.stance not in (None, *get_args(MainStance)):
            raise UsageError(f"unknown stance {self.stance!r}; choose from {', '.join(get_args(MainStance))}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> TextFilters:
        """Return those given by name; `UsageError` for a name that is no filter."""
        names = [each.name for each in fields(cls)]
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise UsageError(f"texts have no filter {unknown[0]!r}; choose from {', '.join(names)}")
        return cls(**given)

    @property
    def named(self) -> dict[str, str]:
        """What the texts must say, by name."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in said.items() if isinstance(value, str)}

    def __str__(self) -> str:
        dates = [f"{name} {day}" for name, day in (("start", self.start), ("end", self.end)) if day is not None]
        concerned = [f"{INSTRUMENT} {each!r}" for each in self.instrument_id]
        return ", ".join([*dates, *(f"{name} {value!r}" for name, value in self.named.items()), *concerned])


ANY_TEXT = TextFilters()


@dataclass(frozen=True, slots=True)
class TextDoc:
    """One text and the name it is stored under; `InputRefusedError` if it is blank or no valid Unicode."""

    source_type: str
    source_id: str
    text: str

    def __post_init__(self) -> None:
        for part in (self.source_type, self.source_id):
            if not part or "\0" in part:
                raise UsageError(f"{part!r} cannot name a text")
        if not self.text or self.text.isspace():
            raise InputRefusedError(f"{self.name}: the text is empty")
        try:
            self.text.encode()
        except UnicodeEncodeError as error:
            raise InputRefusedError(f"{self.name}: character {error.start} of the text is no valid Unicode") from error

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.source_type} {self.source_id}"

    @property
    def text_hash(self) -> str:
        """The 128-bit BLAKE2b digest of the exact text, as 32 hex digits.

        Examples
        --------
        >>> TextDoc("MACRO", "1", "The policy rate is high.").text_hash
        'f9e2825eb8b6538053611bc5e35f14de'
        """
        return hashlib.blake2b(self.text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class TextKey:
    """One stored text by the id of its row, and how long it is."""

    source_id: int
    n_characters: int


@dataclass(frozen=True, slots=True)
class SourceText:
    """One stored text; `source_id` is the id of its row, `language` None if not stated."""

    source_type: TextSourceType
    source_id: str
    text: str
    language: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Passages:
    """The n pieces that a model read a long text in, in order: `spans`, shape (n, 2), and `vectors`, shape (n, dim).

    A span is the first character and the one after the last, of the text as readers give it and hits show it.
    """

    spans: Int64Matrix
    vectors: Float32Matrix

    def __post_init__(self) -> None:
        if self.spans.shape != (len(self.vectors), 2) or self.vectors.ndim != 2:
            raise WindowShapeError("passages", self.spans.shape, (len(self.vectors), 2))
        require_finite(self.vectors, "passages")

    def __len__(self) -> int:
        return len(self.spans)

    def is_same(self, other: Passages | None) -> bool:
        """Return whether both say the same, the vectors byte for byte."""
        return (
            other is not None
            and self.spans.tolist() == other.spans.tolist()
            and self.vectors.tobytes() == other.vectors.tobytes()
        )


@dataclass(frozen=True, slots=True, eq=False)
class TextEncoding:
    """What a model made of n texts, in their order: `vectors`, shape (n, dim), number of chunks, and flags, sorted.

    `passages` are those of each text, None for a text of one chunk; they may be absent.
    """

    vectors: Float32Matrix
    n_chunks: tuple[int, ...]
    flags: tuple[tuple[str, ...], ...]
    passages: tuple[Passages | None, ...] = ()

    def __post_init__(self) -> None:
        n_texts = len(self.n_chunks)
        if self.vectors.ndim != 2 or len(self.vectors) != n_texts or len(self.flags) != n_texts:
            raise WindowShapeError("text vectors", self.vectors.shape, (n_texts, "dim"))
        require_finite(self.vectors, "text vectors")

    def __len__(self) -> int:
        return len(self.n_chunks)


@dataclass(frozen=True, slots=True, eq=False)
class StoredText:
    """A vector, shape (dim,), as it is stored, or as it will be; None stands for what is not known about it.

    `passages` are None, too, of a text of one chunk.
    """

    text_hash: str | None
    vector: Float32Vector
    n_chunks: int | None
    flags: tuple[str, ...]
    passages: Passages | None = None

    def is_same(self, other: StoredText) -> bool:
        """Return whether two rows say the same, the vectors byte for byte."""
        said, others = ((each.text_hash, each.n_chunks, each.flags) for each in (self, other))
        return said == others and self.vector.tobytes() == other.vector.tobytes() and self.has_passages_of(other)

    def has_passages_of(self, other: StoredText) -> bool:
        """Return whether two rows have the same passages, or none."""
        return other.passages is None if self.passages is None else self.passages.is_same(other.passages)

    def added_to(self, stored: StoredText | None) -> StoredText:
        """Return what stands after this was made: of a vector that is stored already only the passages are new."""
        return self if stored is None else replace(stored, passages=self.passages)


@dataclass(frozen=True, slots=True, eq=False)
class WantedTexts:
    """Texts in the order wanted, the hash of each, and what is stored of them under a model id.

    The rows at the `current` positions were made of these very texts; `known` holds all their vectors by hash. Of those
    of `lacking` the passages are wanted, too. `unread` counts the texts of each language that the model does not read.
    """

    docs: tuple[TextDoc, ...]
    hashes: tuple[str, ...]
    current: frozenset[int]
    known: Mapping[str, StoredText]
    lacking: frozenset[str] = frozenset()
    unread: Counter[str] = field(default_factory=Counter)

    @property
    def fresh(self) -> dict[str, TextDoc]:
        """The texts to encode: no stored vector was made of them, or they lack passages; each once, by hash."""
        pairs = zip(self.hashes, self.docs, strict=True)
        return {text_hash: doc for text_hash, doc in pairs if text_hash not in self.known or text_hash in self.lacking}


@dataclass(frozen=True, slots=True, eq=False)
class EncodedTexts:
    """Texts with what the model made of them, by text hash, and one error per text that has no vector."""

    wanted: WantedTexts
    fresh: Mapping[str, StoredText]
    failures: tuple[InputRefusedError, ...] = ()

    @property
    def found(self) -> dict[int, StoredText]:
        """What each text has, by its position; those that failed are left out."""
        known = self.wanted.known
        every = {**known, **{text_hash: made.added_to(known.get(text_hash)) for text_hash, made in self.fresh.items()}}
        return {at: every[text_hash] for at, text_hash in enumerate(self.wanted.hashes) if text_hash in every}


@dataclass(frozen=True, slots=True)
class TextSelection:
    """Which texts' vectors are wanted; `filters` maps a column to its value, None for any.

    A text has the calendar date of its timestamp in `timezone`; it counts if known on `known_by`, or on its own date;
    of the versions of an event the newest known, or `every_version`.
    """

    source: TextSourceType
    model_id: str
    filters: Mapping[str, str | None]
    timezone: str = "UTC"
    known_by: date | None = None
    every_version: bool = False

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            message = f"unknown time zone {self.timezone!r}; write an IANA name such as America/New_York"
            raise UsageError(message) from None
        unknown = sorted(set(self.filters) - set(TEXT_TABLES[self.source].filters))
        if unknown:
            raise UsageError(f"{self.source} texts have no filter {unknown[0]!r}")


def no_vectors() -> Float32Matrix:
    """Return the vectors of no texts, shape (0, 0)."""
    return np.empty((0, 0), dtype=np.float32)


def text_rows(
    docs: Sequence[TextDoc],
    model_id: str,
    vectors: Float32Matrix,
    n_chunks: Sequence[int | None] | None = None,
    flags: Sequence[Sequence[str]] | None = None,
    passages: Sequence[Passages | None] | None = None,
) -> dict[tuple[str, str], StoredText]:
    """Return what a store keeps of texts, by source type and id, sorted: two writers never wait in a circle."""
    values = as_float32(vectors)
    if values.ndim != 2 or len(values) != len(docs) or (docs and not values.shape[1]):
        raise WindowShapeError(f"{model_id} vectors", values.shape, (len(docs), "dim"))
    rows: dict[tuple[str, str], StoredText] = {}
    nothing = [None] * len(docs)
    said = zip(n_chunks or nothing, flags or [()] * len(docs), passages or nothing, strict=True)
    for doc, vector, (count, names, pieces) in zip(docs, values, said, strict=True):
        require_finite(vector, f"{model_id} vector of {doc.name}")
        if pieces is not None and pieces.vectors.shape != (count, len(vector)):
            raise WindowShapeError(
                f"{model_id} passages of {doc.name}", pieces.vectors.shape, (count or 0, len(vector))
            )
        row = StoredText(doc.text_hash, vector, count, tuple(sorted(names)), pieces)
        first = rows.setdefault((doc.source_type, doc.source_id), row)
        if first is not row and not first.is_same(row):
            raise UsageError(f"{doc.name} stands for two different texts")
    return dict(sorted(rows.items()))
