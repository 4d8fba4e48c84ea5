"""BM25 and the sum of standardised scores, slowly: over the words of texts and plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Text = Mapping[str, int]
"""How often a text has each stem."""


def bm25(question: Mapping[str, int], text: Text, texts: Sequence[Text]) -> float:
    """Score one text of a collection."""
    mean = sum(sum(each.values()) for each in texts) / len(texts)
    score = 0.0
    for stem in sorted(question):
        n_with = sum(1 for each in texts if stem in each)
        if stem in text:
            rarity = math.log(1 + (len(texts) - n_with + 0.5) / (n_with + 0.5))
            length = 1 - 0.75 + 0.75 * sum(text.values()) / mean
            score += question[stem] * rarity * text[stem] * (1.2 + 1) / (text[stem] + 1.2 * length)
    return score


def z_sum(*kinds: Sequence[float | None]) -> list[float]:
    """Add the scores of each kind in standard deviations from their mean; None counts as the mean."""
    sums = [0.0] * len(kinds[0])
    for scores in kinds:
        there = [score for score in scores if score is not None]
        mean = math.fsum(there) / len(there) if there else 0.0
        deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in there) / len(there)) if there else 0.0
        if len(set(there)) > 1:
            sums = [
                total + (0.0 if score is None else (score - mean) / deviation)
                for total, score in zip(sums, scores, strict=True)
            ]
    return sums
