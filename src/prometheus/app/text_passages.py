"""The passage that each text found is shown by, and which words of the question stand in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from prometheus.analogs.passages import Passage, Span, cut_to_show, places_of, shown, word_scores, words_of
from prometheus.analogs.ranking import cosines, directions, standardised
from prometheus.app.text_readings import QuestionVectors
from prometheus.app.text_scores import Asked
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float32Vector
from prometheus.data.text_reader import DatedText
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.data.words import TextWords
from prometheus.encoders.texts.documents import Passages, TextDoc, TextSourceType

Found: TypeAlias = tuple[DatedText, int]
"""A text found, and the number of the configuration that its words are stemmed by."""

MAX_WORDS_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words whose stems were looked up, and those that have each stem."""

    words: set[str]
    by_stem: dict[str, set[str]]


class ShownPassages:
    """Chooses passages to show; the stems of words are looked up once."""

    def __init__(self, wired: Wiring) -> None:
        self._words = TextWords(wired.db_manager)
        self._store = TextEmbeddingStore(db_manager=wired.db_manager)
        self._known: dict[int, Vocabulary] = {}

    def of(self, found: Sequence[Found], asked: Asked, vectors: QuestionVectors, *, ranks_words: bool) -> list[Passage]:
        """Return for each text the passage nearest to the question, or that says most of it; by both, the sum decides.

        `asked` are the stems of the question; `vectors` is empty for a search by words, and `ranks_words` false for one
        by meaning. A text without vectors of its passages is cut into some of a thousand characters, and shown by its
        words.
        """
        pieces = self._pieces(found, vectors)
        passages = []
        for (text, configuration), stored in zip(found, pieces, strict=True):
            said = self._said(text.text, configuration, asked.get(configuration, {}))
            spans = (
                cut_to_show(text.text)
                if stored is None
                else [(first, last) for first, last in stored[0].spans.tolist()]
            )
            best = 0
            if len(spans) > 1:
                scores = word_scores(spans, said)
                if stored is not None:
                    nearness = cosines(directions(stored[0].vectors), stored[1])
                    scores = standardised(scores) + standardised(nearness) if ranks_words else nearness
                best = int(scores.argmax())
            passages.append(shown(text.text, spans[best], [span for span, _ in said]))
        return passages

    def _pieces(self, found: Sequence[Found], vectors: QuestionVectors) -> list[tuple[Passages, Float32Vector] | None]:
        """Return the stored passages of each text, and the question's vector that they are compared with.

        None where a text has none, or changed since they were made.
        """
        stored: dict[tuple[TextSourceType, int], tuple[Passages, Float32Vector]] = {}
        configurations = np.array([configuration for _, configuration in found], dtype=np.int64)
        for reading in vectors:
            read = [text for (text, _), is_read in zip(found, reading.reads(configurations), strict=True) if is_read]
            own = {str(text.source_id): text for text in read if text.source_type == reading.kind}
            for name, row in self._store.load_many(reading.kind, list(own), reading.model_id, is_search=True).items():
                doc = TextDoc(reading.kind, name, own[name].text)
                if row.passages is not None and row.text_hash == doc.text_hash:
                    stored[reading.kind, int(name)] = row.passages, reading.vector
        return [stored.get((text.source_type, text.source_id)) for text, _ in found]

    def _said(self, text: str, configuration: int, asked: Mapping[str, int]) -> list[tuple[Span, str]]:
        """Return where a text says a word of the question, and its stem."""
        if not asked:
            return []
        words = words_of(text)
        known = self._learned(words, configuration)
        said = {word: stem for stem in asked for word in known.by_stem.get(stem, set()) & words}
        return [((first, last), said[text[first:last]]) for first, last in places_of(text, said)]

    def _learned(self, words: set[str], configuration: int) -> Vocabulary:
        """Return what is known of words, after a look at the stems of new ones."""
        known = self._known.get(configuration)
        if known is None or len(known.words) > MAX_WORDS_KEPT:
            known = self._known[configuration] = Vocabulary(set(), {})
        missing = words - known.words
        for word, stems in self._words.stems_of(sorted(missing), configuration) if missing else ():
            for stem in stems:
                known.by_stem.setdefault(stem, set()).add(word)
        known.words.update(missing)
        return known
