import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded

from prometheus.analogs.closeness import (
    N_QUESTIONS,
    N_STEMS,
    N_TEXTS,
    best_shares,
    drawn_texts,
    random_questions,
    rank_among,
)
from prometheus.analogs.words import Collection, Postings, bm25, most_possible

TEXTS = [[f"stem{number}" for number in range(start, start + 30)] for start in range(0, 600, 20)]


def test_texts_are_drawn_from_all_of_them_and_each_once() -> None:
    drawn = drawn_texts(5_000)

    assert len(set(drawn.tolist())) == N_TEXTS
    assert drawn.min() < 500
    assert 4_500 < drawn.max() < 5_000
    assert (np.diff(drawn) > 0).all()
    assert drawn_texts(0).tolist() == []
    assert drawn_texts(1).tolist() == [0]


def test_random_questions_are_made_of_the_stems_of_the_texts() -> None:
    questions = random_questions(TEXTS, 4)

    assert len(questions) == N_QUESTIONS
    assert {len(set(question)) for question in questions} == {4}
    assert len({stem for question in questions for stem in question}) <= N_STEMS
    assert {stem for question in questions for stem in question} <= {stem for text in TEXTS for stem in text}
    assert len(set(map(tuple, questions))) == N_QUESTIONS


def test_random_questions_depend_on_the_stems_and_the_length_alone() -> None:
    shuffled = [list(reversed(text)) for text in reversed(TEXTS)]

    assert random_questions(TEXTS, 3) == random_questions(shuffled, 3)
    assert random_questions(TEXTS, 3) != random_questions(TEXTS[1:], 3)


def test_a_question_longer_than_the_texts_has_all_their_stems() -> None:
    assert {len(question) for question in random_questions([["rate", "fall"]], 7)} == {2}
    assert random_questions([], 7) == [[]] * N_QUESTIONS


def test_a_rank_counts_what_lies_below() -> None:
    best = np.array([0.3, 0.1, 0.2, 0.2])

    assert rank_among(np.array([0.0, 0.1, 0.2, 0.25, 0.3, 0.9]), best).tolist() == [0.0, 0.0, 0.25, 0.75, 0.75, 1.0]


@bounded(60)
@given(
    texts=st.lists(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9)), min_size=1, max_size=8),
    questions=st.lists(st.lists(st.sampled_from("abcdef"), max_size=4, unique=True), min_size=1, max_size=6),
)
def test_the_best_shares_are_those_of_questions_asked_one_by_one(
    texts: list[dict[str, int]], questions: list[list[str]]
) -> None:
    n_words = np.array([sum(text.values()) for text in texts])
    collection = Collection(len(texts), int(n_words.sum()))
    postings = {}
    for stem in "abcdef":
        positions = [at for at, text in enumerate(texts) if stem in text]
        counts = [texts[at][stem] for at in positions]
        postings[stem] = Postings(np.array(positions, dtype=np.int64), np.array(counts, dtype=np.int64))
    expected = []
    for question in questions:
        asked = [postings[stem] for stem in question]
        most = most_possible(asked, collection)
        expected.append(float(bm25(asked, n_words, collection).max()) / most if most else 0.0)
    assert best_shares(questions, postings, n_words, collection).tolist() == expected
