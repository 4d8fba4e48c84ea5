"""The passage of a text that answers a question, and which words of the question stand in it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from prometheus.arrays import Float64Vector
from prometheus.encoders.texts.chunks import cut_into_segments

Span: TypeAlias = tuple[int, int]
"""The first character of a text that is meant, and the one after the last."""

PASSAGE_CHARACTERS = 1_000
"""How long passages are of texts that no model has cut."""
LONGEST_WORD = 40
_LETTER, _JOINT = r"[^\W_]", r"['\u2019./-]"
_WORD = re.compile(f"{_LETTER}+(?:{_JOINT}{_LETTER}+)*")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text, and where words of a question stand in it; all as characters of the text, half open."""

    first_char: int
    last_char: int
    words: tuple[Span, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "first_char": self.first_char,
            "last_char": self.last_char,
            "words": [list(each) for each in self.words],
        }

    def shortened(self, text: str, n_characters: int) -> Passage:
        """Return the part of it, of at most `n_characters` and of whole words, that says most words of the question.

        Examples
        --------
        >>> text = "Spreads were stable until June. In July credit spreads widened."
        >>> part = Passage(0, len(text), ((0, 7), (43, 50), (51, 58))).shortened(text, 30)
        >>> text[part.first_char : part.last_char]
        'July credit spreads widened.'
        """
        if self.last_char - self.first_char <= n_characters:
            return self
        starts = [first for first, _ in self.words] or [self.first_char]
        near = {
            start: [each for each in self.words if start <= each[0] and each[1] <= start + n_characters]
            for start in starts
        }
        start = max(starts, key=lambda each: len(near[each]))
        n_spare = n_characters - (near[start][-1][1] - start if near[start] else 0)
        first = max(self.first_char, min(start - n_spare // 2, self.last_char - n_characters))
        return shown(text, _whole_words(text, first, first + n_characters, self), self.words)

    def parts(self, text: str) -> Iterator[tuple[str, bool]]:
        """Yield the text of it in pieces, white space made single, and whether each is a word of the question."""
        at = self.first_char
        for first, last in self.words:
            yield _SPACE.sub(" ", text[at:first]), False
            yield text[first:last], True
            at = last
        yield _SPACE.sub(" ", text[at : self.last_char]), False


def words_of(text: str) -> set[str]:
    """Return the different words of a text, as they are written."""
    return set(_WORD.findall(text))


def places_of(text: str, words: Collection[str]) -> list[Span]:
    """Return where a text says some of its `words_of`, in order.

    Examples
    --------
    >>> places_of("Rates: the rate of euro-rate swaps at 2.5", {"rate", "5"})
    [(11, 15)]
    """
    return [each.span() for each in _WORD.finditer(text) if each[0] in words] if words else []


def cut_to_show(text: str) -> list[Span]:
    """Return the passages of a text that no model has cut."""
    ends = np.cumsum([0, *(len(each) for each in cut_into_segments(text, PASSAGE_CHARACTERS))]).tolist()
    return list(pairwise(ends))


def word_scores(spans: Sequence[Span], said: Sequence[tuple[Span, str]]) -> Float64Vector:
    """Return for each passage how many different words of the question it says and, by less than one, how often.

    `said` are the words of the question in the text, in order, with their stems.
    """
    scores, starts = np.zeros(len(spans)), [start for (start, _), _ in said]
    for at, (first, last) in enumerate(spans):
        stems = [stem for _, stem in said[bisect_left(starts, first) : bisect_left(starts, last)]]
        scores[at] = len(set(stems)) + len(stems) / (1 + len(stems))
    return scores


def shown(text: str, span: Span, words: Sequence[Span]) -> Passage:
    """Return a passage, widened to whole words and without white space around it, with those of the words in it."""
    first, last = _word_end(text, span[0], -1), _word_end(text, span[1], 1)
    part = text[first:last]
    if part.strip():
        first, last = first + len(part) - len(part.lstrip()), last - (len(part) - len(part.rstrip()))
    return Passage(first, last, tuple(each for each in words if first <= each[0] and each[1] <= last))


def _word_end(text: str, at: int, step: Literal[-1, 1]) -> int:
    """Return where the word ends that goes on to both sides of a place; the place, if it is too long for a word."""
    end = at
    while 0 < end < len(text) and text[end - 1].isalnum() and text[end].isalnum():
        end += step
        if abs(end - at) > LONGEST_WORD:
            return at
    return end


def _whole_words(text: str, first: int, last: int, whole: Passage) -> Span:
    """Return a part of a passage without the words that it would cut, unless it is all one word."""
    start, end = first, last
    while whole.first_char < start < last and not text[start - 1].isspace():
        start += 1
    while start < end < whole.last_char and not text[end].isspace():
        end -= 1
    return (start, end) if start < end else (first, last)
