"""Near-copies: one text that several publishers print, with other headlines, datelines or closing words."""

from __future__ import annotations

import re
from dataclasses import dataclass

WORDS_AT_ONCE = 5
MIN_OVERLAP = 0.8
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Shingles:
    """The runs of five words of a text, and its numbers."""

    runs: frozenset[tuple[str, ...]]
    numbers: frozenset[str]

    @classmethod
    def of(cls, text: str) -> Shingles:
        """Return those of a text, whatever its case and punctuation."""
        words = _WORDS.findall(text.casefold())
        n_runs = max(1, len(words) - WORDS_AT_ONCE + 1)
        runs = frozenset(tuple(words[first : first + WORDS_AT_ONCE]) for first in range(n_runs))
        return cls(runs, frozenset(word for word in words if word[0].isdigit()))


def is_near_copy(one: Shingles, other: Shingles) -> bool:
    """Return whether two texts are one, but for a fifth of the runs; a text with other numbers is another one.

    Examples
    --------
    >>> body = "The central bank left its policy rate alone on Wednesday and said that it sees no hurry to lower it"
    >>> near, far = (Shingles.of(f"{body} {end}") for end in ("soon.", "below 5 percent in March."))
    >>> is_near_copy(Shingles.of(body.upper()), near), is_near_copy(near, far)
    (True, False)
    """
    if not (one.numbers <= other.numbers or other.numbers <= one.numbers):
        return False
    return len(one.runs & other.runs) >= MIN_OVERLAP * len(one.runs | other.runs)
