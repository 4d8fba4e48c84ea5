"""Sentences that people have labelled: the usual spellings of a stance, and what is left out of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, TypeAlias

import numpy as np

from prometheus.arrays import DateVector, Int64Vector
from prometheus.encoders.texts.cleaning import mend
from prometheus.errors import InputRefusedError, UsageError

Stance: TypeAlias = Literal["hawkish", "dovish", "neutral"]
STANCES: tuple[Stance, ...] = ("hawkish", "dovish", "neutral")
"""In the order of every array of probabilities and shares."""
SKIPPED = "skip"
LEAST_OF_A_CLASS = 20
"""Fewer labelled sentences of one stance say nothing about it."""
N_NAMED = 3
MOST_YEARS_AHEAD = 5
_YEARS = re.compile(r"\b(?:19|20)\d\d\b")

_PLACES: Mapping[str, int] = {name: at for at, name in enumerate(STANCES)}
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "hawkish": ("hawkish", "hawk", "tightening", "tight", "restrictive"),
    "dovish": ("dovish", "dove", "easing", "loose", "accommodative"),
    "neutral": ("neutral", "none of both", "neither"),
    SKIPPED: ("", "irrelevant", "unlabelled", "unlabeled", "nan", "none", "null", "na", "n/a", "unknown"),
}
_MEANINGS = {spelling: meaning for meaning, spellings in _SPELLINGS.items() for spelling in spellings}


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One row of a file: a sentence, its label as written, its date and its bank where the file says them."""

    text: str
    label: str
    day: date | None = None
    bank: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSentences:
    """n distinct sentences, sorted by their folded text, with one stance each.

    `stances`, shape (n,), are positions in `STANCES`; `days`, shape (n,), are NaT where no date is told. The counts say
    what was left out: copies, `n_conflicting` sentences with several labels, `n_skipped` rows of no stance.
    """

    texts: tuple[str, ...]
    stances: Int64Vector
    days: DateVector
    banks: tuple[str, ...]
    n_rows: int
    n_copies: int = 0
    n_skipped: int = 0
    conflicts: tuple[str, ...] = field(default_factory=tuple)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def are_dated(self) -> bool:
        """Whether every sentence has a date."""
        return not bool(np.isnat(self.days).any())

    @property
    def until(self) -> date | None:
        """The newest date of a label; None where some have none."""
        newest: date | None = self.days.max().item() if self.are_dated else None
        return newest

    @property
    def counts(self) -> dict[str, int]:
        """How many sentences have each stance."""
        return dict(zip(STANCES, np.bincount(self.stances, minlength=len(STANCES)).tolist(), strict=True))

    @property
    def digest(self) -> str:
        """The SHA-256 of all that is learned from, as 64 hex digits: a fitted head is named by it."""
        rows = list(zip(self.texts, self.stances.tolist(), self.days.astype(str).tolist(), strict=True))
        return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()

    def doubt_of_dates(self) -> str:
        """Return a warning where sentences name years long after their own, empty without any.

        A text may speak of the `MOST_YEARS_AHEAD` years ahead of it; more of them are signs of wrong dates.
        """
        wrong = [
            text
            for text, day in zip(self.texts, self.days.tolist(), strict=True)
            if day is not None and max(map(int, _YEARS.findall(text)), default=0) > day.year + MOST_YEARS_AHEAD
        ]
        if not wrong:
            return ""
        return (
            f"{len(wrong):,} sentences name a year more than {MOST_YEARS_AHEAD} after their own, such as "
            f"{wrong[0][:80]!r}: their dates look wrong, and with them the blocks of years and the in-sample marks"
        )

    def describe(self) -> str:
        """Return in words what was read and what was left out."""
        shares = ", ".join(f"{n:,} {name}" for name, n in self.counts.items())
        left_out = [(self.n_copies, "copies"), (self.n_skipped, "without a stance")]
        parts = [f"{n:,} {what}" for n, what in left_out if n]
        if self.conflicts:
            named = "; ".join(f"{text[:60]!r}" for text in self.conflicts[:N_NAMED])
            more = "; …" if len(self.conflicts) > N_NAMED else ""
            parts.append(f"{len(self.conflicts):,} with several labels ({named}{more})")
        rest = f"; left out: {', '.join(parts)}" if parts else ""
        return f"{self.n_rows:,} rows, {len(self):,} sentences: {shares}{rest}"


def fold(text: str) -> str:
    """Return a sentence as it is compared with others: mended, lower case, white space as single spaces.

    Examples
    --------
    >>> fold(" Rates  ROSE &amp; fell")
    'rates rose & fell'
    """
    return " ".join(mend(text).lower().split())


def meaning_of(label: str, by_hand: Mapping[str, str]) -> str:
    """Return the stance that a label means, or `SKIPPED`; `InputRefusedError` names one that means nothing.

    Examples
    --------
    >>> meaning_of("Hawk", {}), meaning_of("1", {"1": "dovish"}), meaning_of("irrelevant", {})
    ('hawkish', 'dovish', 'skip')
    """
    plain = label.strip()
    found = by_hand.get(plain) or _MEANINGS.get(plain.lower())
    if found is None:
        raise InputRefusedError(
            f"label {plain[:40]!r} is no stance ({', '.join(STANCES)}); say what it means with "
            f"--label {plain[:40]}=STANCE, or {plain[:40]}={SKIPPED}"
        )
    return found


def checked_meanings(given: Mapping[str, str]) -> dict[str, str]:
    """Return a user's meanings of labels; `UsageError` for one that is neither a stance nor `SKIPPED`."""
    for label, meaning in given.items():
        if meaning not in (*STANCES, SKIPPED):
            raise UsageError(f"--label {label}={meaning}: choose from {', '.join((*STANCES, SKIPPED))}")
    return dict(given)


def sentences_of(rows: Sequence[LabelledRow], by_hand: Mapping[str, str]) -> LabelledSentences:
    """Return the distinct sentences of rows, whatever their order, without those that have several stances.

    Of copies the earliest date counts. `InputRefusedError` for a label that means nothing, or too few of a stance.
    """
    found: dict[str, list[tuple[str, LabelledRow]]] = {}
    n_skipped = 0
    for row in rows:
        meaning, folded = meaning_of(row.label, by_hand), fold(row.text)
        if meaning == SKIPPED or not folded:
            n_skipped += 1
        else:
            found.setdefault(folded, []).append((meaning, row))
    conflicts = tuple(sorted(text for text, said in found.items() if len({meaning for meaning, _ in said}) > 1))
    kept = {text: found[text] for text in sorted(found.keys() - set(conflicts))}
    n_kept = sum(map(len, kept.values()))
    sentences = LabelledSentences(
        texts=tuple(kept),
        stances=np.array([_PLACES[said[0][0]] for said in kept.values()], dtype=np.int64),
        days=np.array([_earliest(row.day for _, row in said) for said in kept.values()], dtype="M8[D]"),
        banks=tuple(min(row.bank for _, row in said) for said in kept.values()),
        n_rows=len(rows), n_copies=n_kept - len(kept), n_skipped=n_skipped, conflicts=conflicts,
    )  # fmt: skip
    _require_enough(sentences)
    return sentences


def _earliest(days: Iterable[date | None]) -> date | None:
    return min((day for day in days if day is not None), default=None)


def _require_enough(sentences: LabelledSentences) -> None:
    few = [f"{n} {name}" for name, n in sentences.counts.items() if n < LEAST_OF_A_CLASS]
    if few:
        raise InputRefusedError(
            f"too few labelled sentences: {', '.join(few)}; {LEAST_OF_A_CLASS} of each of {', '.join(STANCES)} are "
            "needed"
        )
