"""Which way a text says that a question's subject went: up, down or nowhere, by the words and their order.

English only; where the words do not tell, nothing is said. "The bank did not cut rates" tells ``unchanged`` of rates,
and "spreads tightened" ``down``, though of standards it would tell ``up``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias, cast

Way: TypeAlias = Literal["up", "down", "unchanged"]

_LINES = files(__package__).joinpath("direction_words.txt").read_text(encoding="utf-8").splitlines()
_LISTED = {name: frozenset(words.split()) for name, _, words in (line.partition(": ") for line in _LINES)}
_NEGATION, _BACKGROUND, _BOUNDARY = (_LISTED[name] for name in ("negation", "background", "boundary"))
_FUNCTION_WORDS, _OF, _VERSUS, _LINKING = (_LISTED[name] for name in ("function", "of", "versus", "linking"))
_SKIPPED = _FUNCTION_WORDS | _BOUNDARY | _NEGATION | _BACKGROUND | _OF | _VERSUS
_VALUED = ("improv", "worsen", "deteriorat")
_TOKENS = re.compile(r"[a-z]+(?:'[a-z]+)?|\d[\d.,/]*|[,;:.!?()]")
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
_REACH = 20
_MOST = 0.75
_STRETCH, _WEAK, _DENIED, _PAST, _CLOSE = 4, 8, 3, 6, 1


class _Meaning(NamedTuple):
    way: Way
    kind: str


class _Sign(NamedTuple):
    """A word of direction in a sentence: from which token to which, what it means, and whether it is denied."""

    first: int
    last: int
    meaning: _Meaning
    is_background: bool
    is_denied: bool


class _Subject(NamedTuple):
    head: str
    nouns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a question asks for: which `way` its `head` went; `nouns` are the roots of all that the subject has."""

    way: Way
    head: str
    nouns: frozenset[str]


def asked_direction(question: str) -> Ask | None:
    """Return the direction a question asks for, or None: without one, with two, or without a subject.

    Examples
    --------
    >>> asked = asked_direction("spreads of high-yield bonds widened")
    >>> asked.way, asked.head
    ('up', 'spread')
    >>> asked_direction("credit spreads") is None
    True
    """
    tokens = _tokens(question)
    signs = _signs(tokens)
    found = [(_cost(tokens, sign, at), at, sign) for sign in signs for at in _subjects(tokens, signs)]
    reached = [each for each in found if each[0] <= _REACH]
    if not reached:
        return None
    _, at, _ = min(reached, key=lambda each: (each[0], each[1]))
    nouns = _subjects(tokens, signs)
    at = _head_of(tokens, at, nouns)
    subject = frozenset(_root(tokens[each]) for each in _phrase_of(tokens, at, nouns))
    asked = _Subject(_root(tokens[at]), subject)
    way = _way_of(tokens, asked)
    return None if way is None else Ask(way, *asked)


def told_directions(text: str, ask: Ask) -> list[Way]:
    """Return which way the head went by each sentence that tells, in their order.

    Sentences with the nouns of the subject are asked first; where none of them tells, those that say the head alone:
    "prices fell" in a text on house prices, but not "share prices fell".

    Examples
    --------
    >>> asked = asked_direction("spreads widened")
    >>> told_directions("Spreads on corporate bonds narrowed. Yields rose.", asked)
    ['down']
    """
    least = ask.head.removesuffix("y")  # stands in the plural, too; most sentences lack it and are not looked into
    sentences = [
        tokens
        for written in map(_plain, _SENTENCES.split(text))
        if least in written and ask.head in map(_root, tokens := _TOKENS.findall(written))
    ]
    whole = [each for each in sentences if len(ask.nouns & set(map(_root, each))) >= _MOST * len(ask.nouns)]
    told = [way for tokens in whole if (way := _way_of(tokens, ask)) is not None]
    return told or [way for tokens in sentences if (way := _way_of(tokens, ask, is_alone=True)) is not None]


def main_way(told: Sequence[Way]) -> Way | None:
    """Return what most sentences tell, None where two ways are told as often."""
    counts = Counter(told).most_common(2)
    is_clear = len(counts) == 1 or (len(counts) == 2 and counts[0][1] > counts[1][1])
    return counts[0][0] if is_clear else None


def agreement(told: Sequence[Way], ask: Ask) -> int:
    """Return 1 where most sentences tell the way that was asked for, -2 where they tell another, else 0.

    To be shown the contrary of what was asked is worse than to be shown what does not tell.
    """
    way = main_way(told)
    return 0 if way is None else 1 if way == ask.way else -2


def ways_of(words: Sequence[str]) -> list[str]:
    """Return which way each word by itself tells, empty where none, with ``not`` before where one of four denies it.

    Examples
    --------
    >>> ways_of(["rates", "rose", "and", "did", "not", "fall"])
    ['', 'up', '', '', '', 'not down']
    """
    meanings = [_MEANINGS.get(word) for word in words]
    return [
        "" if found is None else f"not {found.way}" if _NEGATION & set(words[max(0, at - 4) : at]) else found.way
        for at, found in enumerate(meanings)
    ]


def _way_of(tokens: Sequence[str], ask: _Subject | Ask, *, is_alone: bool = False) -> Way | None:
    """Return which way a sentence tells of a head: by the sign nearest to it, None where two tell as near.

    A head after "against" is not what moved; where it `is_alone`, no noun may stand before it.
    """
    signs = _signs(tokens)
    barred = set(_subjects(tokens, signs)) if is_alone else set()
    heads = [
        at
        for at, token in enumerate(tokens)
        if _root(token) == ask.head and at - 1 not in barred and _VERSUS.isdisjoint(tokens[max(0, at - 2) : at])
    ]
    heads = _nearest(heads, [at for at, token in enumerate(tokens) if _root(token) in ask.nouns - {ask.head}])
    heads += [at for at, token in enumerate(tokens) if heads and at > heads[0] and token in _LISTED["pronoun"]]
    best: dict[Way, int] = {}
    for sign in signs:
        way = _meant(sign, tokens, ask.head)
        cost = min((_cost(tokens, sign, at) for at in heads), default=_REACH + 1)
        if way is not None and cost <= _REACH:
            cost += _DENIED * sign.is_denied + _PAST * sign.is_background
            best[way] = min(cost, best.get(way, cost))
    ranked = sorted(best.items(), key=lambda each: each[1])
    if not ranked or (len(ranked) > 1 and ranked[1][1] - ranked[0][1] < _CLOSE):
        return None
    return ranked[0][0]


def _nearest(heads: list[int], others: Sequence[int]) -> list[int]:
    """Return the heads that stand nearest to the other nouns of the subject; all without such nouns."""
    away = {at: min((abs(at - other) for other in others), default=0) for at in heads}
    return [at for at in heads if away[at] == min(away.values())]


def _meant(sign: _Sign, tokens: Sequence[str], head: str) -> Way | None:
    way, word = sign.meaning.way, tokens[sign.first]
    if sign.is_denied:
        return None if way == "unchanged" else "unchanged"
    is_turned = (head in _LISTED["better is less"] and word.startswith(_VALUED)) or (
        head in _LISTED["tight is less"] and word.startswith("tight")
    )
    return ("down" if way == "up" else "up") if is_turned and way != "unchanged" else way


def _cost(tokens: Sequence[str], sign: _Sign, at: int) -> int:
    """Return how far a sign is from a subject, more than the reach where it cannot belong to it."""
    if sign.first <= at <= sign.last:
        return _REACH + 1
    is_before = sign.last < at
    between = tokens[sign.last + 1 : at] if is_before else tokens[at + 1 : sign.first]
    may_belong = _governs(tokens, sign, between) if is_before else _predicates(tokens, sign, between)
    if not may_belong:
        return _REACH + 1
    n_boundaries = sum(token in _BOUNDARY or not token[0].isalnum() for token in between)
    return len(between) + _STRETCH * n_boundaries + _WEAK * (sign.meaning.kind == "kept")


def _governs(tokens: Sequence[str], sign: _Sign, between: Sequence[str]) -> bool:
    """Return whether a sign before a subject may belong to it: "cut rates", "a rise in rates", "falling rates"."""
    if between and between[0] in _OF:
        return True
    if _VERSUS & set(between):
        return False
    if sign.meaning.kind == "intransitive":
        is_adjective = tokens[sign.last].endswith(("ing", "er", "ward"))
        return is_adjective and len(between) <= 2 and not set(between) & (_BOUNDARY | _OF)
    return not set(between) & (_BOUNDARY | _LINKING)


def _predicates(tokens: Sequence[str], sign: _Sign, between: Sequence[str]) -> bool:
    """Return whether a sign after a subject may belong to it: "rates fell", "rates were cut", "a rate cut"."""
    if sign.meaning.way == "unchanged":
        return True
    if _is_noun_of_another(tokens, sign, between):
        return False
    if sign.meaning.kind == "intransitive":
        return True
    if _has_object(tokens, sign):
        return False
    return sign.meaning.kind == "either" or not between or bool(set(between) & (_LINKING | _NEGATION))


def _is_noun_of_another(tokens: Sequence[str], sign: _Sign, between: Sequence[str]) -> bool:
    """Return whether a sign is a noun with a subject of its own, as in "gains in income"; or the rate "of increase"."""
    is_bare = (
        sign.first == sign.last
        and not tokens[sign.last].endswith(("ed", "ing", "er"))
        and tokens[sign.last] not in _LISTED["past"]
    )
    is_verb = not between or between[-1] in _LISTED["auxiliary"]
    return (between[-1:] == ["of"]) or (is_bare and not is_verb and _has_complement(tokens, sign))


def _has_complement(tokens: Sequence[str], sign: _Sign) -> bool:
    """Return whether a noun says of what it is, as "a rise in rates" does and "a rise of 5 percent" does not."""
    after = [*tokens[sign.last + 1 : sign.last + 3], "", ""]
    return after[0] in ("in", "of") and not after[1][:1].isdigit()


def _has_object(tokens: Sequence[str], sign: _Sign) -> bool:
    following = [*tokens[sign.last + 1 : sign.last + 3], "", ""]
    if following[0] in _LISTED["determiner"]:
        return following[1] not in _LISTED["amount"]
    return following[0].isalpha() and following[0] not in _SKIPPED and not following[0].endswith(("ly", "ed"))


def _signs(tokens: Sequence[str]) -> list[_Sign]:
    found = []
    at = 0
    while at < len(tokens):
        pair = "-".join(tokens[at : at + 2])
        last = at + 1 if "-" in pair and (pair in _MEANINGS or pair in _NEGATION) else at
        meaning = _MEANINGS.get(pair) or (None if pair in _NEGATION else _MEANINGS.get(tokens[at]))
        if meaning is not None and not _says_otherwise(tokens, at, last, meaning):
            before = _before(tokens, at)
            is_past = not _BACKGROUND.isdisjoint(before) or "had" in before[-2:]
            found.append(_Sign(at, last, meaning, is_past, _is_denied(before)))
        at = last + 1
    return found


def _says_otherwise(tokens: Sequence[str], at: int, last: int, meaning: _Meaning) -> bool:
    """Return whether a word is one of no direction here: "up to", "gave rise", "remained weak", "is narrow"."""
    if meaning.kind == "kept":
        return "at" not in tokens[last + 1 : last + 7]
    if tokens[at] in _LISTED["level"] and not _LISTED["level of"].isdisjoint(tokens[max(0, at - 1) : at]):
        return True
    around = ("-".join(tokens[max(0, at - 1) : at + 1]), "-".join(tokens[at : last + 2]))
    return not _LISTED["elsewhere"].isdisjoint(around)


def _before(tokens: Sequence[str], at: int, n_words: int = 5) -> list[str]:
    """Return the words before a sign, and pairs of them, back to a boundary."""
    found: list[str] = []
    for token in reversed(tokens[max(0, at - n_words) : at]):
        if token in _BOUNDARY - {"or"} or not token[0].isalnum():
            break
        found.insert(0, token)
    return [*map("-".join, pairwise(found)), *found]


def _is_denied(before: Sequence[str]) -> bool:
    return not _NEGATION.isdisjoint(before) and "not-only" not in before


def _subjects(tokens: Sequence[str], signs: Iterable[_Sign]) -> list[int]:
    """Return where the nouns of a question may be: words that neither join others nor tell a direction."""
    taken = {at for sign in signs for at in range(sign.first, sign.last + 1)}
    return [
        at
        for at, token in enumerate(tokens)
        if at not in taken and token.isalpha() and token not in _SKIPPED and not token.endswith("ly")
    ]


def _head_of(tokens: Sequence[str], at: int, nouns: Sequence[int]) -> int:
    """Return the noun that another belongs to: of "spreads of risky bonds" the spreads, of "house prices" prices."""
    while at + 1 in nouns:
        at += 1
    for earlier in reversed([each for each in nouns if each < at]):
        between = tokens[earlier + 1 : at]
        if between and between[0] in _OF:
            return earlier
        if between and not between[0].isalpha():
            break
    return at


def _phrase_of(tokens: Sequence[str], at: int, nouns: Sequence[int]) -> list[int]:
    """Return a head with the nouns right before it, and those that it is said to be of."""
    first, last = at, at
    while first - 1 in nouns:
        first -= 1
    while tokens[last + 1 : last + 2] and tokens[last + 1] in _OF:
        after = [each for each in nouns if each > last + 1]
        if not after or not _FUNCTION_WORDS.issuperset(tokens[last + 2 : after[0]]):
            break
        last = after[0]
        while last + 1 in nouns:
            last += 1
    return [each for each in nouns if first <= each <= last]


def _tokens(text: str) -> list[str]:
    return _TOKENS.findall(_plain(text))


def _plain(text: str) -> str:
    """Return a text in small letters, with one kind of apostrophe and without the ending of the possessive."""
    return text.lower().replace("\u2019", "'").replace("'s ", " ")


@lru_cache(maxsize=20_000)
def _root(word: str) -> str:
    """Return a noun without the ending of the plural."""
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _forms(verb: str) -> Iterator[str]:
    """Yield the regular forms of a verb, with its particle: pick-up, picks-up, picked-up, picking-up."""
    base, _, particle = verb.partition("-")
    stem = base.removesuffix("e")
    if re.fullmatch(r"[^aeiou]*[aeiou][bdgmnpt]", base):
        stem = base + base[-1]
    for form in (base, f"{base}s", f"{base}es", f"{stem}ed", f"{stem}ing"):
        yield f"{form}-{particle}" if particle else form


def _meanings() -> Mapping[str, _Meaning]:
    return {
        form: _Meaning(cast("Way", way), kind)
        for name, words in _LISTED.items()
        for way, _, kind in [name.partition(" ")]
        if way in ("up", "down", "unchanged")
        for word in words
        for form in _forms(word)
    }


_MEANINGS = _meanings()
