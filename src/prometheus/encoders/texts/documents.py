"""The parcels of text encoding: texts to encode, what is stored of them, what a model made of them, what came of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from prometheus.arrays import Float32Matrix, Float32Vector, as_float32, require_finite
from prometheus.errors import InputRefusedError, UsageError, WindowShapeError

HASH_BYTES = 16

TextSourceType = Literal["MACRO", "NEWS"]


@dataclass(frozen=True, slots=True)
class TextDoc:
    """One text and the name it is stored under.

    Attributes
    ----------
    source_type, source_id
        Such as ``MACRO`` and the event id; with a model id they are the key of the stored row.
    text
        Not blank, and valid Unicode.

    Raises
    ------
    InputRefusedError
        The text is blank or holds half of a surrogate pair.
    UsageError
        A part of the name is empty or holds a NUL character.
    """

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
        """The 128-bit BLAKE2b digest of the exact text, as 32 hex digits."""
        return hash_text(self.text)


@dataclass(frozen=True, slots=True)
class TextKey:
    """One stored text by the id of its row, and how long it is."""

    source_id: int
    n_characters: int


@dataclass(frozen=True, slots=True)
class SourceText:
    """One stored text; `source_id` is the id of its row, `language` None where nobody said it."""

    source_type: TextSourceType
    source_id: str
    text: str
    language: str | None


@dataclass(frozen=True, slots=True, eq=False)
class TextEncoding:
    """What a model made of n texts, in their order.

    Attributes
    ----------
    vectors
        Shape (n, dim), float32, finite.
    n_chunks
        Pieces each text was embedded in.
    flags
        What a reader of each vector should know, sorted; mostly nothing.
    """

    vectors: Float32Matrix
    n_chunks: tuple[int, ...]
    flags: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        n_texts = len(self.n_chunks)
        if self.vectors.ndim != 2 or len(self.vectors) != n_texts or len(self.flags) != n_texts:
            raise WindowShapeError("text vectors", self.vectors.shape, (n_texts, "dim"))
        require_finite(self.vectors, "text vectors")

    def __len__(self) -> int:
        return len(self.n_chunks)


@dataclass(frozen=True, slots=True, eq=False)
class StoredText:
    """A vector as it is stored, or as it will be, and what is known about it.

    Attributes
    ----------
    text_hash
        Of the text it was made of, None where that is unknown.
    vector
        Shape (dim,), float32.
    n_chunks
        Pieces the text was embedded in, None where that is unknown.
    """

    text_hash: str | None
    vector: Float32Vector
    n_chunks: int | None
    flags: tuple[str, ...]

    def is_same(self, other: StoredText) -> bool:
        """Return whether two rows say the same, the vectors byte for byte."""
        said, others = ((each.text_hash, each.n_chunks, each.flags) for each in (self, other))
        return said == others and self.vector.tobytes() == other.vector.tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class WantedTexts:
    """Texts, and what is stored of them under a model id.

    Attributes
    ----------
    docs, hashes
        The texts in the order wanted, and the hash of each.
    current
        Positions of those whose own row was made of this very text.
    known
        Vectors by text hash: of those rows, and of rows of other names that hold an equal text.
    """

    docs: tuple[TextDoc, ...]
    hashes: tuple[str, ...]
    current: frozenset[int]
    known: Mapping[str, StoredText]

    @property
    def fresh(self) -> dict[str, TextDoc]:
        """The texts that no stored vector was made of, each once, by hash."""
        pairs = zip(self.hashes, self.docs, strict=True)
        return {text_hash: doc for text_hash, doc in pairs if text_hash not in self.known}


@dataclass(frozen=True, slots=True, eq=False)
class EncodedTexts:
    """Texts with their vectors.

    Attributes
    ----------
    fresh
        What the model made, by text hash.
    failures
        One error per text that has no vector.
    """

    wanted: WantedTexts
    fresh: Mapping[str, StoredText]
    failures: tuple[InputRefusedError, ...] = ()

    @property
    def found(self) -> dict[int, StoredText]:
        """What each text has, by its position; those that failed are left out."""
        every = {**self.wanted.known, **self.fresh}
        return {at: every[text_hash] for at, text_hash in enumerate(self.wanted.hashes) if text_hash in every}


@dataclass(frozen=True, slots=True)
class TextCounts:
    """What came of a number of texts.

    Attributes
    ----------
    texts
        How many there were, without those that failed.
    encoded
        How many times the model made a vector; the other texts were stored already, or equal to another one.
    written
        How many rows were new or changed.
    flags
        How many texts carry each flag.
    flagged
        How many carry any.
    n_bytes
        Of the vectors in the rows written.
    failures
        One error per text that has no vector.
    """

    texts: int = 0
    encoded: int = 0
    written: int = 0
    flags: Mapping[str, int] = field(default_factory=dict)
    flagged: int = 0
    n_bytes: int = 0
    failures: tuple[InputRefusedError, ...] = ()

    @property
    def planned(self) -> int:
        """Rows wanted that could be computed: one per text."""
        return self.texts

    def __add__(self, other: TextCounts) -> TextCounts:
        return TextCounts(
            self.texts + other.texts,
            self.encoded + other.encoded,
            self.written + other.written,
            Counter(self.flags) + Counter(other.flags),
            self.flagged + other.flagged,
            self.n_bytes + other.n_bytes,
            self.failures + other.failures,
        )


def hash_text(text: str) -> str:
    """Return the digest that says whether a text is the one a stored vector was made of.

    Examples
    --------
    >>> hash_text("The policy rate is high.")
    'f9e2825eb8b6538053611bc5e35f14de'
    """
    return hashlib.blake2b(text.encode(), digest_size=HASH_BYTES).hexdigest()


def no_vectors() -> Float32Matrix:
    """Return the vectors of no texts, shape (0, 0)."""
    return np.empty((0, 0), dtype=np.float32)


def text_rows(
    docs: Sequence[TextDoc],
    model_id: str,
    vectors: Float32Matrix,
    n_chunks: Sequence[int | None] | None = None,
    flags: Sequence[Sequence[str]] | None = None,
) -> dict[tuple[str, str], StoredText]:
    """Return what a store keeps of texts, by source type and id, sorted: two writers never wait in a circle.

    Raises
    ------
    VectorError, WindowShapeError
        The vectors are not finite, or not one per text.
    UsageError
        One name stands for two different texts.
    """
    values = as_float32(vectors)
    if values.ndim != 2 or len(values) != len(docs) or (docs and not values.shape[1]):
        raise WindowShapeError(f"{model_id} vectors", values.shape, (len(docs), "dim"))
    rows: dict[tuple[str, str], StoredText] = {}
    said = zip(n_chunks or [None] * len(docs), flags or [()] * len(docs), strict=True)
    for doc, vector, (count, names) in zip(docs, values, said, strict=True):
        require_finite(vector, f"{model_id} vector of {doc.name}")
        row = StoredText(doc.text_hash, vector, count, tuple(sorted(names)))
        first = rows.setdefault((doc.source_type, doc.source_id), row)
        if first is not row and not first.is_same(row):
            raise UsageError(f"{doc.name} stands for two different texts")
    return dict(sorted(rows.items()))
