"""Is a text English? A cheap rule that only flags; nothing is left out because of it.

The model was trained on English. A text counts as not English when

* at least `MIN_FOREIGN_LETTERS` of its letters are of another script than the Latin one, or
* it holds at least `MIN_FOREIGN_WORDS` of the most frequent words of one other language and more of them than of
  English ones. The lists of ``function_words.txt``, a language a line, count without their English words.

What it cannot see: a language in Latin letters without a list, and a text of a few words. A table of figures has no
function words at all, and passes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from importlib.resources import files

SAMPLE_CHARACTERS = 20_000
MIN_FOREIGN_LETTERS = 0.3
MIN_FOREIGN_WORDS = 3
NON_ENGLISH = "non-english"

ALSO_ENGLISH = "do die am i o a y e s k v w z er man men me var"
"""Words of the lists that English texts hold too: as words, as initials, or in tables."""

_LISTS = {
    language: frozenset(words.split())
    for language, _, words in (
        line.partition(": ")
        for line in files(__package__).joinpath("function_words.txt").read_text(encoding="utf-8").splitlines()
    )
}
_ENGLISH = _LISTS.pop("English")
_FOREIGN = [words - _ENGLISH - frozenset(ALSO_ENGLISH.split()) for words in _LISTS.values()]
_WORDS = re.compile(r"[^\W\d_]+")


def is_english(text: str) -> bool:
    """Return False for a text that is visibly in another language; its first 20,000 characters are looked at.

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
