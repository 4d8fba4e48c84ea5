"""Labels, sentences, features and heads of stance, each by itself."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from tests.fixtures.labelled import labelled_rows
from tests.reference.softmax import slow_softmax

from prometheus.arrays import Float32Matrix
from prometheus.encoders.stance.head import fit_heads
from prometheus.encoders.stance.judged import calibration_error, folds_of, judge, macro_f1
from prometheus.encoders.stance.labels import STANCES, LabelledRow, fold, sentences_of
from prometheus.encoders.stance.meaning import nearness
from prometheus.encoders.stance.sentences import policy_sentences
from prometheus.encoders.stance.shares import StanceCounts, stances_of
from prometheus.encoders.stance.softmax import DenseRows, fit_softmax, fit_temperature, softmax, tempered
from prometheus.encoders.stance.words import terms_of, vocabulary_of
from prometheus.errors import InputRefusedError

ROWS = [LabelledRow(text, stance, date(year, 12, 31), "Bank") for text, stance, year in labelled_rows()]


def vectors_of(n: int, seed: int = 1) -> Float32Matrix:
    drawn = np.random.default_rng(seed).standard_normal((n, 8))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), dtype=np.float32)


def test_copies_count_once_conflicts_and_rows_without_a_stance_are_left_out_and_counted() -> None:
    twice = [LabelledRow(ROWS[0].text.upper(), "Hawk", date(1999, 1, 1)), LabelledRow(ROWS[1].text, "dovish")]
    found = sentences_of([*ROWS, *twice, LabelledRow("Prices rose.", "irrelevant")], {})
    assert (len(found), found.n_copies, found.n_skipped, found.conflicts) == (107, 1, 1, (fold(ROWS[1].text),))
    assert found.counts == {"hawkish": 35, "dovish": 36, "neutral": 36}
    assert found.days.min() == np.datetime64("1999-01-01")
    assert "1 with several labels" in found.describe()


def test_what_is_learned_from_does_not_depend_on_the_order_of_rows() -> None:
    assert sentences_of(ROWS[::-1], {}).digest == sentences_of(ROWS, {}).digest
    other = [*ROWS[:-1], LabelledRow(ROWS[-1].text, "neutral", date(2020, 1, 1))]
    assert sentences_of(other, {}).digest != sentences_of(ROWS, {}).digest


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*ROWS, LabelledRow("Prices rose.", "2")], "label '2' is no stance (hawkish, dovish, neutral); say what"),
        (ROWS[:72], "too few labelled sentences: 0 neutral; 20 of each"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_in_one_line(rows: list[LabelledRow], said: str) -> None:
    with pytest.raises(InputRefusedError, match=said.replace("(", r"\(").replace(")", r"\)")) as error:
        sentences_of(rows, {})
    assert "\n" not in str(error.value)


def test_numbers_are_labels_where_it_is_said_what_they_mean() -> None:
    numbered = [LabelledRow(row.text, str(STANCES.index(row.label)), row.day) for row in ROWS]
    by_hand = {str(at): name for at, name in enumerate(STANCES)}
    assert sentences_of(numbered, by_hand).digest == sentences_of(ROWS, {}).digest


def test_years_long_after_a_sentences_own_are_doubted() -> None:
    late = LabelledRow("Inflation of 2021 was higher than in 2019.", "hawkish", date(2003, 12, 31))
    assert "1 sentences name a year more than 5 after their own" in sentences_of([*ROWS, late], {}).doubt_of_dates()
    assert not sentences_of(ROWS, {}).doubt_of_dates()


def test_sentences_about_policy_are_found_between_abbreviations_and_headings() -> None:
    text = (
        "Minutes\n\nMr. Smith and the U.S. Treasury noted that inflation rose by 2.5 percent. Thank you all.\n\n"
        "Growth fell a lot in the past quarter."
    )
    assert policy_sentences(text) == [
        "Mr. Smith and the U.S. Treasury noted that inflation rose by 2.5 percent.",
        "Growth fell a lot in the past quarter.",
    ]


def test_a_direction_is_a_term_with_what_it_tells_of() -> None:
    assert {"unemployment~up", "=up"} <= terms_of("Unemployment increased").keys()
    assert "inflation~not up" in terms_of("Inflation did not rise")


def test_features_of_words_are_those_of_plain_loops() -> None:
    texts = [row.text for row in ROWS[:40]]
    vocabulary = vocabulary_of(texts)
    rows = vocabulary.rows([*texts, "Nothing known"])
    weights = np.random.default_rng(2).standard_normal((len(vocabulary), 3))
    dense = np.zeros((len(rows), len(vocabulary)))
    dense[rows.rows, rows.columns] = rows.values
    np.testing.assert_allclose(rows.times(weights), dense @ weights, atol=1e-12)
    values = np.random.default_rng(3).standard_normal((len(rows), 3))
    np.testing.assert_allclose(rows.transposed_times(values), dense.T @ values, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(dense[:-1], axis=1), 1.0)
    assert not dense[-1].any()


def test_weights_are_those_of_the_slow_twin_and_of_scikit_learn() -> None:
    generator = np.random.default_rng(4)
    features, classes = generator.standard_normal((60, 3)), generator.integers(0, 3, 60)
    found = fit_softmax(DenseRows(features), classes, 3, 2.0)
    slow = np.array(slow_softmax(features.tolist(), classes.tolist(), 3, 2.0))
    np.testing.assert_allclose(
        softmax(found.log_odds(DenseRows(features))), softmax(features @ slow[:-1] + slow[-1]), atol=2e-4
    )
    theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=2_000).fit(features, classes)
    np.testing.assert_allclose(softmax(found.log_odds(DenseRows(features))), theirs.predict_proba(features), atol=2e-4)


def test_a_temperature_makes_overstated_probabilities_honest() -> None:
    generator = np.random.default_rng(5)
    honest = softmax(2.0 * generator.standard_normal((4_000, 3)))
    classes = np.array([generator.choice(3, p=row) for row in honest])
    assert fit_temperature(tempered(honest, 0.5), classes) == pytest.approx(2.0, rel=0.1)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
@settings(max_examples=25, deadline=None)
def test_f1_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    said, true = np.array(pairs).T
    assert macro_f1(said, true) == pytest.approx(f1_score(true, said, average="macro", zero_division=0.0))


def test_calibration_error_is_the_mean_distance_of_stated_from_observed() -> None:
    sure = np.array([0.95] * 10 + [0.55] * 10)
    is_right = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5)
    assert calibration_error(sure, is_right) == pytest.approx(0.05)


def test_folds_are_blocks_of_whole_years_or_of_hashes_where_dates_are_missing() -> None:
    folds, named = folds_of(sentences_of(ROWS, {}))
    assert named == ("2000-2001", "2002-2003", "2004-2005", "2006-2007", "2008-2009")
    years = np.array([row.day.year for row in sorted(ROWS, key=lambda row: fold(row.text)) if row.day])
    for number in range(5):
        assert set(years[folds == number]) == {2000 + 2 * number, 2001 + 2 * number}
    undated, told = folds_of(sentences_of([*ROWS[1:], LabelledRow(ROWS[0].text, "hawkish")], {}))
    assert told == ("5 folds by a hash of the text",)
    assert len(np.unique(undated)) == 5


def test_no_sentence_is_judged_by_a_head_that_was_fitted_on_it() -> None:
    sentences = sentences_of(ROWS, {})
    vectors, fitted = vectors_of(len(sentences)), []

    def fit(texts, vectors, stances):  # type: ignore[no-untyped-def]
        fitted.append(set(texts))
        return fit_heads(texts, vectors, stances)

    judged = judge(sentences, vectors, fit=fit)
    for number, texts in enumerate(fitted):
        own = {text for text, at in zip(sentences.texts, judged.folds, strict=True) if at == number}
        assert own and texts == set(sentences.texts) - own  # noqa: PT018 -- one statement about one fold
    assert judged.figures.coverage >= 0.5
    np.testing.assert_allclose(judged.probabilities.sum(axis=1), 1.0)


def test_a_row_alone_and_among_others_has_the_same_bits() -> None:
    sentences = sentences_of(ROWS, {})
    vectors = vectors_of(len(sentences))
    fit = fit_heads(sentences.texts, vectors, sentences.stances)
    together = fit.probabilities(sentences.texts, vectors)
    for at in (0, 50, 107):
        alone = fit.probabilities(sentences.texts[at : at + 1], vectors[at : at + 1])
        assert alone.tobytes() == together[at : at + 1].tobytes()
    assert nearness(vectors[:1], vectors[:1])[0, 0] == pytest.approx(1.0)


def test_what_is_below_the_sureness_is_not_sure() -> None:
    probabilities = np.array([[0.6, 0.2, 0.2], [0.1, 0.5, 0.4], [0.0, 0.1, 0.9]])
    assert stances_of(probabilities, 0.6) == ["hawkish", "not sure", "neutral"]


def test_a_document_has_shares_a_net_and_a_main_stance_or_abstains() -> None:
    counts = StanceCounts(hawkish=1, dovish=6, neutral=2, not_sure=1)
    assert counts.net == pytest.approx(-5 / 9)
    assert counts.main == "dovish"
    assert sum(counts.shares.values()) == pytest.approx(1.0)
    assert (StanceCounts(not_sure=4).net, StanceCounts(1, 1, 0).main, StanceCounts().shares) == (None, None, {})
