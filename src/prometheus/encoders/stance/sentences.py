"""The sentences of a text that are about monetary policy, or what it looks at."""

from __future__ import annotations

import re

SENTENCES_VERSION = 1
"""Raised whenever a text would give other sentences; part of every head's fingerprint."""
LEAST_WORDS, MOST_LETTERS = 6, 1_200
"""Shorter ones are headings and greetings, longer ones are tables without full stops."""

# a full stop ends a sentence unless a lower-case letter follows it, or a short form such as "Mr." stands before it
_QUOTES = "\"'\u2018\u2019\u201c\u201d"
_END = re.compile(rf"(?<=[.!?])[{_QUOTES})\]]*\s+(?=[{_QUOTES}(\[]*[A-Z0-9])|\s*\n\s*\n\s*|\s*[\u2022\u25aa]\s*")
_SHORT_FORM = re.compile(
    r"\b(?:[A-Z]|Mr|Ms|Mrs|Dr|Messrs|St|No|Nos|vs|pp|Jan|Feb|Mar|Apr|Aug|Sept|Oct|Nov|Dec|U\.S|i\.e|e\.g)\.$"
)
_ABOUT_POLICY = re.compile(
    r"\b(?:inflation\w*|disinflation\w*|deflation\w*|price (?:stability|pressure)s?|prices?|wages?|labou?r market\w*"
    r"|employment|unemployment|payrolls?|monetary|polic(?:y|ies)|interest rates?|policy rates?|rates?|basis points?"
    r"|federal funds|tighten\w*|eas(?:e|es|ed|ing)|accommodat\w*|restrictive|stimul\w*|asset purchases?|balance sheet"
    r"|econom(?:y|ic|ies)|growth|output|gdp|demand|activity|recovery|recession\w*|slack|capacity|spending|consumption"
    r"|investment|credit|lending|liquidity|financial conditions|outlook|forecasts?|projections?|target\w*)\b",
    re.IGNORECASE,
)


def policy_sentences(text: str) -> list[str]:
    """Return the sentences of a text that are about policy, in order, white space as single spaces.

    Examples
    --------
    >>> policy_sentences("Good morning to all of you here. Inflation is well above the target of the Bank.")
    ['Inflation is well above the target of the Bank.']
    """
    return [each for each in _sentences(text) if _ABOUT_POLICY.search(each) and _is_whole(each)]


def _sentences(text: str) -> list[str]:
    found: list[str] = []
    for part in _END.split(text):
        piece = " ".join(part.split())
        if found and _SHORT_FORM.search(found[-1]):
            found[-1] = f"{found[-1]} {piece}"
        elif piece:
            found.append(piece)
    return found


def _is_whole(sentence: str) -> bool:
    return len(sentence) <= MOST_LETTERS and len(sentence.split()) >= LEAST_WORDS
