"""A slow, obvious twin of near-copies: all runs of five words of both texts."""

from __future__ import annotations


def slow_near_copy(one: str, other: str) -> bool:
    """Return whether four fifths of all runs are in both texts, and the numbers of one are all in the other."""
    words, others = one.casefold().split(), other.casefold().split()
    numbers, other_numbers = ({word for word in each if word[0].isdigit()} for each in (words, others))
    if numbers - other_numbers and other_numbers - numbers:
        return False
    runs, other_runs = _runs(words), _runs(others)
    shared = [run for run in runs if run in other_runs]
    either = runs + [run for run in other_runs if run not in runs]
    return len(shared) >= 0.8 * len(either)


def _runs(words: list[str]) -> list[list[str]]:
    found: list[list[str]] = []
    for first in range(max(1, len(words) - 4)):
        run = words[first : first + 5]
        if run not in found:
            found.append(run)
    return found
