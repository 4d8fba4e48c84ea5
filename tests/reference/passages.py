"""Slow, obvious twins of passages: where the chunks of a text lie, and which passage of each text is nearest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Vector = Sequence[float]
Span = tuple[int, int]


def slow_spans(tokenizer: Tokenizer, text: str, body_length: int) -> list[Span]:
    """Return the first character, and the one after the last, of each run of `body_length` tokens of the whole text."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    places = tokenizer.encode(text, add_special_tokens=False).offsets
    runs = [places[first : first + body_length] for first in range(0, len(places), body_length)]
    return [(run[0][0], run[-1][1]) for run in runs]


def slow_words(text: str) -> list[tuple[Span, str]]:
    """Return each word of a text, letters and digits with single joints between them, and where it stands."""
    found: list[tuple[Span, str]] = []
    at = 0
    while at < len(text):
        end = at
        while end < len(text) and (
            text[end].isalnum()
            or (end > at and text[end] in "'\u2019./-" and end + 1 < len(text) and text[end + 1].isalnum())
        ):
            end += 1
        if end > at:
            found.append(((at, end), text[at:end]))
        at = end + 1
    return found


def slow_best(
    question: Vector, texts: Mapping[str, Vector], passages: Mapping[str, Sequence[tuple[Span, Vector]]]
) -> dict[str, tuple[float, Span | None]]:
    """Return for each text the highest cosine of its passages and where that is; of one without any, its own cosine."""
    found: dict[str, tuple[float, Span | None]] = {}
    for name, vector in texts.items():
        best: tuple[float, Span | None] | None = None
        for span, piece in passages.get(name, ()):
            cosine = slow_cosine(question, piece)
            if best is None or cosine > best[0]:
                best = (cosine, span)
        found[name] = best or (slow_cosine(question, vector), None)
    return found


def slow_cosine(one: Vector, other: Vector) -> float:
    """Return the cosine of two vectors; 0 where one has no direction."""
    product = sum(a * b for a, b in zip(one, other, strict=True))
    lengths = math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(b * b for b in other))
    return product / lengths if lengths else 0.0
