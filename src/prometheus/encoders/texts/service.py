"""Text encoders at work: texts in, vectors out, stored under a model id; texts that are not English are flagged."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files

import numpy as np

from prometheus.arrays import Float32Matrix, as_float32
from prometheus.collaborators import require_methods
from prometheus.encoders.identity import RegisteredModel, completed, model_config
from prometheus.encoders.texts.documents import EncodedTexts, StoredText, TextDoc, TextEncoding, WantedTexts
from prometheus.encoders.texts.languages import ENGLISH, languages_read
from prometheus.encoders.texts.portions import portions_of
from prometheus.errors import InputRefusedError, VectorError
from prometheus.protocols import ChunkingTextEmbeddingModel, TextEmbeddingModel, TextVectorSink, TextVectorStore

__all__ = ["StoredText", "TextCounts", "TextDoc", "TextEmbeddingService"]

KIND = "text"

SAMPLE_CHARACTERS = 20_000
MIN_FOREIGN_LETTERS = 0.3
MIN_FOREIGN_WORDS = 3
NON_ENGLISH = "non-english"

ALSO_ENGLISH = "do die am i o a y e s k v w z er man men me var"
"""Words of the lists that English texts hold too: as words, as initials, or in tables."""

_LINES = files(__package__).joinpath("function_words.txt").read_text(encoding="utf-8").splitlines()
_LISTS = {language: frozenset(words.split()) for language, _, words in (line.partition(": ") for line in _LINES)}
_ENGLISH = _LISTS.pop("English")
_FOREIGN = [words - _ENGLISH - frozenset(ALSO_ENGLISH.split()) for words in _LISTS.values()]
_WORDS = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class TextCounts:
    """Numbers of a run without failed texts; `flags` counts the texts that carry each, `flagged` those with any.

    `passages` are those of the texts written; before anything is encoded, the ones known to be lacking. `unread` counts
    the texts that say a language which the model does not read.
    """

    texts: int = 0
    encoded: int = 0
    written: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    flagged: int = 0
    n_bytes: int = 0
    failures: tuple[InputRefusedError, ...] = ()
    passages: int = 0
    unread: Counter[str] = field(default_factory=Counter)

    @property
    def planned(self) -> int:
        """Rows wanted that could be computed: one per text."""
        return self.texts

    def __add__(self, other: TextCounts) -> TextCounts:
        return TextCounts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


class TextEmbeddingService(RegisteredModel):
    """Encodes texts and stores the vectors under `model_id`; what is stored already is not encoded again.

    `embed_and_store` and `embed_and_count` do it all; `read`, `encode` and `write` are their steps. `embed_batch` and
    `save_embeddings` are enough: then every text is encoded again.
    """

    kind = KIND

    def __init__(self, *, model: TextEmbeddingModel, store: TextVectorStore | TextVectorSink, model_id: str) -> None:
        require_methods(model, type(self).__name__, "model", "embed_batch")
        methods = ("save_embeddings", "load_many", "load_same_texts")
        self.model: TextEmbeddingModel = model
        self.store: TextVectorStore = completed(
            store, "TextEmbeddingService", "store", methods, "save_embeddings", _WriteOnly
        )
        self.model_id = model_id

    @property
    def stated_dim(self) -> int | None:
        """Length of the model's vectors, None where it does not state it."""
        dim = model_config(self.model).get("dim")
        return dim if isinstance(dim, int) else None

    def embed_and_store(self, docs: Iterable[TextDoc]) -> Float32Matrix:
        """Return the vectors of texts, shape (n, dim), and store them, chunk by chunk; (0, 0) for no texts."""
        vectors = [np.stack([text.vector for text in encoded.found.values()]) for encoded, _ in self._run(docs)]
        return np.concatenate(vectors) if vectors else np.empty((0, 0), dtype=np.float32)

    def embed_and_count(self, docs: Iterable[TextDoc]) -> TextCounts:
        """Store the vectors of any number of texts, keep none of them in memory, and return the counts."""
        return sum((counts for _, counts in self._run(docs)), start=TextCounts())

    def read(self, docs: Sequence[TextDoc]) -> WantedTexts:
        """Return texts with what is stored of them: their own rows, and rows of equal texts."""
        self.require_same()
        hashes = tuple(doc.text_hash for doc in docs)
        own = self._load_own(docs, hashes)
        current = {position: text for position, text in own.items() if not self._lacks_passages(text)}
        known = {hashes[position]: text for rows in (own, current) for position, text in rows.items()}
        elsewhere = sorted(set(hashes) - known.keys())
        if elsewhere:
            known |= self.store.load_same_texts(elsewhere, self.model_id)
        lacking = frozenset(text_hash for text_hash, text in known.items() if self._lacks_passages(text))
        return WantedTexts(tuple(docs), hashes, frozenset(current), known, lacking)

    def encode(self, fresh: Mapping[str, TextDoc]) -> dict[str, StoredText]:
        """Return what the model makes of texts, by text hash; `InputRefusedError` if it makes no vector of one."""
        if not fresh:
            return {}
        docs = list(fresh.values())
        if isinstance(self.model, ChunkingTextEmbeddingModel):
            encoding = self.model.encode(docs)
        else:
            encoding = TextEncoding(as_float32(self.model.embed_batch(docs)), (1,) * len(docs), ((),) * len(docs))
        passages = encoding.passages or (None,) * len(docs)
        texts = zip(fresh.items(), encoding.vectors, encoding.n_chunks, encoding.flags, passages, strict=True)
        return {
            text_hash: StoredText(text_hash, vector, n_chunks, self._all_flags(doc, flags), pieces)
            for (text_hash, doc), vector, n_chunks, flags, pieces in texts
        }

    def write(self, encoded: EncodedTexts) -> TextCounts:
        """Store, in one transaction, the rows that are not stored as they should be, and return the counts."""
        found = encoded.found
        self._require_one_dim(found.values())
        current, docs = encoded.wanted.current, encoded.wanted.docs
        missing = [(docs[at], text) for at, text in found.items() if at not in current]
        n_written = self._save(missing)
        n_passages = sum(len(text.passages) for _, text in missing if text.passages) if n_written else 0
        n_bytes = (n_written + n_passages) * next((text.vector.nbytes for text in found.values()), 0)
        return replace(count_texts(encoded, n_written, n_bytes), passages=n_passages)

    def _run(self, docs: Iterable[TextDoc]) -> Iterator[tuple[EncodedTexts, TextCounts]]:
        for portion in portions_of(docs, lambda doc: len(doc.text)):
            self.register()
            wanted = self.read(portion)
            encoded = EncodedTexts(wanted, self.encode(wanted.fresh))
            yield encoded, self.write(encoded)

    def _lacks_passages(self, text: StoredText) -> bool:
        """Return whether passages of a stored text could be stored, too, and are not."""
        can_have = getattr(self.model, "makes_passages", False) and getattr(self.store, "keeps_passages", False)
        return bool(can_have) and text.passages is None and (text.n_chunks or 1) > 1

    def _all_flags(self, doc: TextDoc, flags: Iterable[str]) -> tuple[str, ...]:
        """Return the flags of a text; that it is not English says nothing of a model that reads other languages."""
        reads_others = (languages_read(model_config(self.model)) or ENGLISH) != ENGLISH
        return tuple(sorted({*flags, *([] if reads_others or is_english(doc.text) else [NON_ENGLISH])}))

    def _load_own(self, docs: Sequence[TextDoc], hashes: Sequence[str]) -> dict[int, StoredText]:
        by_type: dict[str, list[str]] = {}
        for doc in docs:
            by_type.setdefault(doc.source_type, []).append(doc.source_id)
        stored = {
            (source_type, source_id): text
            for source_type, source_ids in by_type.items()
            for source_id, text in self.store.load_many(source_type, source_ids, self.model_id).items()
        }
        found = [(at, stored.get((doc.source_type, doc.source_id))) for at, doc in enumerate(docs)]
        return {at: text for at, text in found if text is not None and text.text_hash == hashes[at]}

    def _require_one_dim(self, texts: Iterable[StoredText]) -> None:
        dims = {len(text.vector) for text in texts}
        if self.stated_dim is not None:
            dims.add(self.stated_dim)
        if len(dims) > 1:
            listed = " and ".join(map(str, sorted(dims)))
            raise VectorError(self.model_id, f"vectors of {listed} values stand under one model id; choose a new one")

    def _save(self, texts: Sequence[tuple[TextDoc, StoredText]]) -> int:
        if not texts:
            return 0
        self.register()
        keeps_passages = getattr(self.store, "keeps_passages", False)
        further = {"passages": [text.passages for _, text in texts]} if keeps_passages else {}
        return self.store.save_embeddings(
            [doc for doc, _ in texts],
            self.model_id,
            np.stack([text.vector for _, text in texts]),
            n_chunks=[text.n_chunks for _, text in texts],
            flags=[text.flags for _, text in texts],
            **further,
        )


class _WriteOnly:
    def __init__(self, store: TextVectorSink) -> None:
        self._store = store
        self.registry = getattr(store, "registry", None)

    def save_embeddings(self, docs: Sequence[TextDoc], model_id: str, vectors: Float32Matrix, **_said: object) -> int:
        self._store.save_embeddings(docs, model_id, vectors)
        return len(docs)

    def load_many(self, *_key: object) -> dict[str, StoredText]:
        return {}

    def load_same_texts(self, *_key: object) -> dict[str, StoredText]:
        return {}


def count_texts(encoded: EncodedTexts, n_written: int, n_bytes: int) -> TextCounts:
    """Return the counts of texts, given the number of rows written."""
    found = encoded.found.values()
    return TextCounts(
        texts=len(found),
        encoded=len(encoded.fresh),
        written=n_written,
        flags=Counter(flag for text in found for flag in text.flags),
        flagged=sum(bool(text.flags) for text in found),
        n_bytes=n_bytes,
        failures=encoded.failures,
        unread=encoded.wanted.unread,
    )


def is_english(text: str) -> bool:
    """Return False for a text that is visibly in another language; its first 20,000 characters are looked at.

    The rule counts letters of another script, and the most frequent words (``function_words.txt``) of one other
    language against the English ones. It misses a language in Latin letters without a list, and a text of a few words.

    Examples
    --------
    >>> is_english("The Committee decided to raise the policy rate.")
    True
    >>> is_english("Der Rat hat beschlossen, die Leitzinsen nicht zu ändern.")
    False
    """
    sample = text[:SAMPLE_CHARACTERS]
    return not (_is_of_another_script(sample) or _is_of_another_language(sample))


def _is_of_another_script(sample: str) -> bool:
    letters = Counter(character for character in sample if character.isalpha())
    n_foreign = sum(count for letter, count in letters.items() if not _is_latin(letter))
    return n_foreign >= max(1.0, MIN_FOREIGN_LETTERS * letters.total())


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith(("LATIN", "FEMININE", "MASCULINE", "MICRO"))


def _is_of_another_language(sample: str) -> bool:
    words = Counter(_WORDS.findall(sample.lower()))
    n_english = sum(words[word] for word in _ENGLISH)
    n_foreign = max(sum(words[word] for word in listed) for listed in _FOREIGN)
    return n_foreign >= MIN_FOREIGN_WORDS and n_foreign > n_english
