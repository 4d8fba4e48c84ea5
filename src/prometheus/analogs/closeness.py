"""What the score of a text means: its rank among the best scores of random questions of the same length.

A random question is made of stems that texts known on the date have, drawn without regard to what goes together. It
finds texts, too, but none that answers it: a text that scores no higher than most such findings is not close. The
scores compared are shares of the most that the question could score at all, so that a question of rare words, or of
words that no text has, counts as what it is.

Everything is drawn from the known texts with fixed seeds: the same texts and question give the same rank.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from prometheus.analogs.words import Collection as Texts
from prometheus.analogs.words import Postings, most_possible, parts_of
from prometheus.arrays import Float64Vector, Int64Vector

N_TEXTS, N_STEMS, N_QUESTIONS = 200, 30, 100
"""Texts that stems are drawn from, stems that questions are made of, and questions of a length."""
LEAST_RANK = 0.75
"""A text below this rank is not close. Over central banks and Reuters it keeps 99 % of real questions and refuses 94 %
and more of nonsense (``python -m benchmarks.text_search``)."""


def drawn_texts(n_texts: int) -> Int64Vector:
    """Return the positions, in order, of the texts that stems are drawn from: all of a few, 200 of many.

    Examples
    --------
    >>> drawn_texts(3).tolist(), len(drawn_texts(10_000))
    ([0, 1, 2], 200)
    """
    return np.sort(np.random.default_rng(n_texts).permutation(n_texts)[:N_TEXTS])


def random_questions(texts: Iterable[Collection[str]], n_stems: int) -> list[list[str]]:
    """Return 100 questions of `n_stems` distinct stems of the texts drawn, or of fewer where they have fewer.

    They are made of up to 30 stems in all, each as likely as any other, however many texts have it, and the same for
    questions of every length: few, because all texts that have one are read.

    Examples
    --------
    >>> questions = random_questions([["rate", "rise"], ["rate", "fall", "bond"]], 2)
    >>> len(questions), questions == random_questions([["bond", "rate", "fall"], ["rise"]], 2)
    (100, True)
    """
    distinct = sorted({stem for text in texts for stem in text})
    pool = [distinct[at] for at in np.random.default_rng(N_STEMS).permutation(len(distinct))[:N_STEMS]]
    generator = np.random.default_rng(n_stems)
    return [[pool[at] for at in generator.permutation(len(pool))[:n_stems]] for _ in range(N_QUESTIONS)]


def best_shares(
    questions: Sequence[Sequence[str]], postings: Mapping[str, Postings], n_words: Int64Vector, collection: Texts
) -> Float64Vector:
    """Return the best score of each question among the texts, as a share of the most it could be, (n_questions,).

    The scores are those of `bm25`, to the last bit; what each stem adds is worked out once for all questions.
    """
    adds = {stem: parts_of(each, n_words, collection) for stem, each in postings.items()}
    best, scores = np.zeros(len(questions)), np.zeros(len(n_words))
    for number, stems in enumerate(questions):
        for stem in stems:
            scores[postings[stem].positions] += adds[stem]
        highest = max((scores[postings[stem].positions].max(initial=0.0) for stem in stems), default=0.0)
        for stem in stems:
            scores[postings[stem].positions] = 0.0
        most = most_possible([postings[stem] for stem in stems], collection)
        best[number] = highest / most if most else 0.0
    return best


def rank_among(shares: Float64Vector, best_of_random: Float64Vector) -> Float64Vector:
    """Return for each share, shape (n,), how many of the random questions' best are below it, as a share of them.

    Examples
    --------
    >>> rank_among(np.array([0.1, 0.5]), np.array([0.2, 0.3, 0.4, 0.6])).tolist()
    [0.0, 0.75]
    """
    ranks: Float64Vector = np.searchsorted(np.sort(best_of_random), shares) / len(best_of_random)
    return ranks
