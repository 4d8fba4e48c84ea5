"""The passage that each text found is shown by, and which words of the question stand in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from prometheus.analogs.passages import Passage, Span, cut_to_show, places_of, shown, word_scores, words_of
from prometheus.analogs.ranking import cosines, standardised
from prometheus.app.text_scores import QuestionVectors
from prometheus.app.wiring import Wiring
from prometheus.data.text_reader import DatedText
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.data.words import TextWords
from prometheus.encoders.texts.documents import Passages, TextDoc, TextSourceType

Stems: TypeAlias = dict[str, tuple[str, ...]]
"""The stems of words; none of a stop word."""
Found: TypeAlias = tuple[DatedText, int]
"""A text found, and the number of the configuration that its words are stemmed by."""

MAX_WORDS_KEPT = 200_000
LONGEST_WORD_CHARACTERS = 100


class ShownPassages:
    """Chooses passages to show; the stems of words are looked up once."""

    def __init__(self, wired: Wiring) -> None:
        self._words = TextWords(wired.db_manager)
        self._store = TextEmbeddingStore(db_manager=wired.db_manager)
        self._stems: dict[int, Stems] = {}

    def of(
        self, found: Sequence[Found], question: str, vectors: QuestionVectors, *, ranks_words: bool
    ) -> list[Passage]:
        """Return for each text the passage nearest to the question, or that says most of it; by both, the sum decides.

        `vectors` is empty for a search by words, and `ranks_words` false for one by meaning. A text without vectors of
        its passages is cut into some of a thousand characters, and shown by its words.
        """
        asked = self._words.stems(question, sorted({configuration for _, configuration in found}))
        pieces = self._pieces([text for text, _ in found], vectors)
        passages = []
        for (text, configuration), stored in zip(found, pieces, strict=True):
            said = self._said(text.text, configuration, asked.get(configuration, {}))
            spans = (
                cut_to_show(text.text) if stored is None else [(first, last) for first, last in stored.spans.tolist()]
            )
            scores = word_scores(spans, said)
            if stored is not None:
                nearness = cosines(stored.vectors, vectors[text.source_type][1])
                scores = standardised(scores) + standardised(nearness) if ranks_words else nearness
            passages.append(shown(text.text, spans[int(scores.argmax())], [span for span, _ in said]))
        return passages

    def _pieces(self, texts: Sequence[DatedText], vectors: QuestionVectors) -> list[Passages | None]:
        """Return the stored passages of each text; None where it has none, or changed since they were made."""
        stored: dict[tuple[TextSourceType, int], Passages] = {}
        for kind, (model_id, _) in vectors.items():
            own = {str(text.source_id): text for text in texts if text.source_type == kind}
            for name, row in self._store.load_many(kind, list(own), model_id).items():
                doc = TextDoc(kind, name, own[name].text)
                if row.passages is not None and row.text_hash == doc.text_hash:
                    stored[kind, int(name)] = row.passages
        return [stored.get((text.source_type, text.source_id)) for text in texts]

    def _said(self, text: str, configuration: int, asked: Mapping[str, int]) -> list[tuple[Span, str]]:
        """Return where a text says a word of the question, and its stem."""
        if not asked:
            return []
        words = {word for word in words_of(text) if len(word) <= LONGEST_WORD_CHARACTERS}
        stems = self._stems_of(words, configuration)
        meant = {word: next(filter(asked.__contains__, stems[word]), None) for word in words}
        said = {word: stem for word, stem in meant.items() if stem is not None}
        return [((first, last), said[text[first:last]]) for first, last in places_of(text, said)]

    def _stems_of(self, words: set[str], configuration: int) -> Stems:
        known = self._stems.setdefault(configuration, {})
        if len(known) > MAX_WORDS_KEPT:
            known = self._stems[configuration] = {}
        missing = words - known.keys()
        if missing:
            known |= self._words.stems_of(sorted(missing), configuration)
        return known
