"""Near-copies: one text that several publishers print, with other headlines, datelines or closing words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, cached_property, partial
from typing import Protocol

WORDS_AT_ONCE = 5
MIN_OVERLAP = 0.8
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class Shingles:
    """The words of a text; its numbers, and its runs of five words, are made when they are first asked for."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Shingles:
        """Return those of a text, whatever its case and punctuation."""
        return cls(tuple(_WORDS.findall(text.casefold())))

    @cached_property
    def numbers(self) -> frozenset[str]:
        """The words that begin with a digit."""
        # of letters in ASCII only digits stand before a colon: few words are left to ask
        return frozenset([word for word in set(self.words) if word < ":" or (word > "\x7f" and word[0].isdigit())])

    @cached_property
    def runs(self) -> frozenset[tuple[str, ...]]:
        """The different runs of five words; of a shorter text the whole."""
        if len(self.words) < WORDS_AT_ONCE:
            return frozenset([self.words])
        return frozenset(zip(*(self.words[first:] for first in range(WORDS_AT_ONCE)), strict=False))


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
    n_one, n_other = len(one.runs), len(other.runs)
    # at most the runs of the shorter text are shared, and all together are at least those of the longer one
    if min(n_one, n_other) < MIN_OVERLAP * max(n_one, n_other):
        return False
    n_shared = len(one.runs & other.runs)
    return n_shared >= MIN_OVERLAP * (n_one + n_other - n_shared)


class Told(Protocol):
    """A text, whether it is of news or a macro event, and when it was told."""

    @property
    def source_type(self) -> str:
        """``NEWS`` or ``MACRO``."""

    @property
    def timestamp(self) -> datetime:
        """The instant it belongs to."""

    @property
    def text(self) -> str:
        """Its words."""


class Stories:
    """Texts in order, of which those that tell one story are counted with the first of them, in `n_copies`.

    Equal texts of one source are one story, and so are near-copies: of news whenever they were printed, of macro events
    on one date, for the statements of two meetings say nearly the same. A story stands on the texts given alone, so one
    of those known on a date is not changed by what became known later.
    """

    def __init__(self) -> None:
        self.n_copies: list[int] = []
        self._equal: dict[tuple[str, str], int] = {}
        self._near: dict[tuple[str, date | None], list[tuple[int, Callable[[], Shingles]]]] = {}

    def add(self, told: Told, *, may_open: bool = True) -> bool:
        """Return whether a text opens a story, which it does only where it `may_open` one; else count it as a copy."""
        rivals = self._near.setdefault((told.source_type, _day_of(told)), [])
        shingles = cache(partial(Shingles.of, told.text))  # of a long text they take a while, and most have no rival
        near = (at for at, each in rivals if is_near_copy(each(), shingles()))
        story = self._equal.get((told.source_type, told.text), next(near, None))
        if story is not None:
            self.n_copies[story] += 1
        elif may_open:
            story = self._equal[told.source_type, told.text] = len(self.n_copies)
            rivals.append((story, shingles))
            self.n_copies.append(0)
            return True
        return False


def _day_of(told: Told) -> date | None:
    return None if told.source_type == "NEWS" else told.timestamp.date()


def describe_copies(n_copies: int) -> str:
    """Return how many near-copies a text stands for, nothing for none.

    Examples
    --------
    >>> describe_copies(0), describe_copies(1), describe_copies(3)
    ('', 'and 1 near-copy', 'and 3 near-copies')
    """
    return f"and {n_copies} near-{'copy' if n_copies == 1 else 'copies'}" if n_copies else ""
