"""Which passage of a text is shown for a question, and which of its words are marked."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.reference.passages import slow_words

from prometheus.analogs.passages import (
    LONGEST_WORD,
    PASSAGE_CHARACTERS,
    Passage,
    Span,
    cut_to_show,
    places_of,
    shown,
    word_scores,
    words_of,
)

TEXT = "Growth was firm. In July, credit spreads\n\nwidened, and Moody's euro-area spread index rose 2.5 percent."


def marks_of(text: str, *words: str) -> list[Span]:
    return [span for span, word in slow_words(text) if word.lower() in words]


def test_a_word_is_what_postgresql_takes_for_one() -> None:
    assert [word for _, word in slow_words(TEXT)][5:] == [
        "credit", "spreads", "widened", "and", "Moody's", "euro-area", "spread", "index", "rose", "2.5", "percent",
    ]  # fmt: skip
    assert words_of(TEXT) == {word for _, word in slow_words(TEXT)}
    assert words_of("don\u2019t_stop \U0001f600 Zinss\u00e4tze") == {"don\u2019t", "stop", "Zinss\u00e4tze"}


@bounded(150)
@given(text=st.text(st.sampled_from("aAb \u00e9-'.,_2"), max_size=40), data=st.data())
def test_words_are_found_where_they_stand(text: str, data: st.DataObject) -> None:
    words = words_of(text)
    chosen = data.draw(st.sets(st.sampled_from(sorted(words)))) if words else set()
    assert places_of(text, chosen) == [span for span, word in slow_words(text) if word in chosen]


def test_a_passage_is_shown_in_whole_words_with_what_it_says_of_the_question() -> None:
    marks = marks_of(TEXT, "growth", "credit", "spreads")
    passage = shown(TEXT, (TEXT.index("edit"), TEXT.index("ned,")), marks)
    assert TEXT[passage.first_char : passage.last_char] == "credit spreads\n\nwidened"
    assert list(passage.parts(TEXT)) == [
        ("", False), ("credit", True), (" ", False), ("spreads", True), (" widened", False),
    ]  # fmt: skip
    assert passage.to_dict() == {
        "first_char": passage.first_char, "last_char": passage.last_char, "words": [list(each) for each in marks[1:]],
    }  # fmt: skip
    endless = "銀" * 3 * LONGEST_WORD
    assert shown(endless, (LONGEST_WORD + 1, LONGEST_WORD + 3), []) == Passage(LONGEST_WORD + 1, LONGEST_WORD + 3)


def test_a_shortened_passage_has_most_words_of_the_question() -> None:
    whole = shown(TEXT, (0, len(TEXT)), marks_of(TEXT, "firm", "spread", "index", "percent"))
    short = whole.shortened(TEXT, 50)
    assert TEXT[short.first_char : short.last_char] == "Moody's euro-area spread index rose 2.5 percent."
    assert len(short.words) == 3
    assert whole.shortened(TEXT, len(TEXT)) == whole
    plain = Passage(0, len(TEXT)).shortened(TEXT, 20)
    assert TEXT[plain.first_char : plain.last_char] == "Growth was firm. In"


@bounded(80)
@given(text=st.text(st.sampled_from("ab é,\n銀'"), min_size=1, max_size=80), data=st.data())
def test_what_is_shown_lies_in_the_text_and_marks_lie_in_what_is_shown(text: str, data: st.DataObject) -> None:
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    passage = shown(text, (first, last), [span for span, _ in slow_words(text)])
    short = passage.shortened(text, data.draw(st.integers(1, 20)))
    for part in (passage, short):
        assert 0 <= part.first_char <= part.last_char <= len(text)
        assert all(part.first_char <= start < end <= part.last_char for start, end in part.words)
        joined = "".join(piece for piece, _ in part.parts(text))
        assert joined.split() == text[part.first_char : part.last_char].split()


def test_a_text_that_no_model_has_cut_is_cut_before_white_space() -> None:
    text = "the rate of growth rose " * 200
    spans = cut_to_show(text)
    assert "".join(text[a:b] for a, b in spans) == text
    assert all(last - first <= PASSAGE_CHARACTERS for first, last in spans)
    assert cut_to_show("short") == [(0, 5)]


def test_the_passage_with_most_different_words_wins_and_then_the_one_that_says_them_oftener() -> None:
    said = [
        ((0, 1), "rate"),
        ((2, 3), "rate"),
        ((4, 5), "rate"),
        ((10, 11), "rate"),
        ((12, 13), "rise"),
        ((20, 21), "rise"),
    ]
    scores = word_scores([(0, 10), (10, 20), (20, 30), (30, 40)], said)
    assert np.argsort(-scores).tolist() == [1, 0, 2, 3]
    assert scores[3] == 0
