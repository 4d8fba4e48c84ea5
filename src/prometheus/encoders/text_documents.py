"""The parcels of text encoding: a text to encode, and what a model made of several."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float32Matrix, require_finite
from prometheus.errors import InputRefusedError, UsageError, WindowShapeError

HASH_BYTES = 16


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
