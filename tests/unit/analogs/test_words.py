"""BM25 and standardised sums against their slow twins."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import words as reference

from prometheus.analogs.ranking import best_first, cosines, directions, standardised, standardised_by
from prometheus.analogs.words import Collection, Postings, WordIndex, bm25

STEMS = st.sampled_from("abcdefgh")
COUNTS = st.dictionaries(STEMS, st.integers(1, 9), max_size=6)
SCORES = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda value: round(value, 6))


@given(question=COUNTS, texts=st.lists(COUNTS, min_size=1, max_size=12).filter(any))
def test_bm25_is_what_its_twin_says(question: dict[str, int], texts: list[dict[str, int]]) -> None:
    asked = []
    for stem in sorted(question):
        there = [at for at, text in enumerate(texts) if stem in text]
        counts = np.array([texts[at][stem] for at in there], dtype=np.int64)
        asked.append(Postings(np.array(there, dtype=np.int64), counts, question[stem]))
    lengths = np.array([sum(text.values()) for text in texts])

    scores = bm25(asked, lengths, Collection(len(texts), int(lengths.sum())))

    np.testing.assert_allclose(scores, [reference.bm25(question, text, texts) for text in texts], rtol=1e-12)
    assert all((score > 0) == bool(set(text) & set(question)) for score, text in zip(scores, texts, strict=True))


@given(rows=st.lists(st.tuples(SCORES, st.none() | SCORES), min_size=1, max_size=20))
def test_the_sum_is_what_its_twin_says(rows: list[tuple[float, float | None]]) -> None:
    words, nearness = [word for word, _ in rows], [near for _, near in rows]

    found = standardised(np.array(words)) + standardised(np.array(nearness, dtype=np.float64))

    np.testing.assert_allclose(found, reference.z_sum(words, nearness), rtol=1e-6, atol=1e-6)


@given(texts=st.lists(COUNTS, max_size=12), size=st.integers(1, 5))
def test_an_index_finds_the_texts_of_each_stem(texts: list[dict[str, int]], size: int) -> None:
    pages = (texts[first : first + size] for first in range(0, len(texts), size))
    index = WordIndex(
        (
            np.array([len(text) for text in page]),
            [stem for text in page for stem in text],
            np.array([count for text in page for count in text.values()], dtype=np.int64),
        )
        for page in pages
    )
    for stem in "abcdefghi":
        found, counts = index.texts_with(stem)
        expected = {at: text[stem] for at, text in enumerate(texts) if stem in text}
        assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == expected
    assert index.n_bytes >= 5 * sum(map(len, texts))


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=80), n_rows=st.integers(1, 3))
def test_the_best_come_first_whether_or_not_all_are_sorted_at_once(rows: list[tuple[int, int]], n_rows: int) -> None:
    scores, days = np.array([each[0] for each in rows], float), np.array([each[1] for each in rows]).astype("M8[D]")
    pages = list(best_first(scores, days, np.arange(len(rows)), n_rows))
    expected = sorted(range(len(rows)), key=lambda at: (-rows[at][0], rows[at][1], at))
    assert [at for page in pages for at in page.tolist()] == expected
    assert all(0 < len(page) <= n_rows for page in pages)


def test_empty_texts_and_no_stems_score_nothing() -> None:
    assert bm25([], np.zeros(2, dtype=np.int64), Collection(2, 0)).tolist() == [0.0, 0.0]
    assert standardised(np.full(3, np.nan)).tolist() == standardised(np.full(3, 0.1)).tolist() == [0.0] * 3


def test_each_group_is_standardised_alone() -> None:
    groups, scores = np.array([0, 1, 0, 1, 2]), np.array([1.0, 10.0, 3.0, 30.0, 7.0])
    assert standardised_by(groups, scores).tolist() == [-1.0, -1.0, 1.0, 1.0, 0.0]


@given(seed=st.integers(0, 2**32 - 1), n_rows=st.integers(1, 600), scale=st.sampled_from([1e-30, 1.0, 1e30]))
def test_the_cosine_of_a_row_is_the_same_bytes_whatever_stands_beside_it(seed: int, n_rows: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    vectors = (generator.normal(size=(n_rows, 24)) * scale).astype(np.float32)
    vectors[generator.integers(n_rows)] = 0.0
    asked = generator.normal(size=24).astype(np.float32)

    found = cosines(directions(vectors), asked)

    alone = [cosines(directions(vectors[row : row + 1]), asked)[0] for row in range(n_rows)]
    assert found.tolist() == alone
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1) * np.linalg.norm(asked.astype(np.float64))
    exact = np.divide(vectors.astype(np.float64) @ asked, lengths, out=np.zeros(n_rows), where=lengths > 0)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6)
