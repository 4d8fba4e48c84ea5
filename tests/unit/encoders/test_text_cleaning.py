"""Letters that feeds garble, and near-copies."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.copies import slow_near_copy

from prometheus.encoders.texts.cleaning import mend
from prometheus.encoders.texts.copies import Shingles, is_near_copy

FED = (
    "The Federal Reserve left its target range unchanged on Wednesday, and said that it needs greater confidence first."
)


@pytest.mark.parametrize(
    "text", ["ü", "é à Ü", "£5 \u2013 €6", "“Zins” … \u2018so\u2019", "¿Qué?", "🙂 up", "naïve café"]
)
def test_utf8_read_as_windows_1252_is_mended(text: str) -> None:
    garbled = "".join(
        bytes([byte]).decode("cp1252") if byte not in b"\x81\x8d\x8f\x90\x9d" else chr(byte) for byte in text.encode()
    )
    assert mend(f"{garbled} and {garbled}") == f"{text} and {text}"
    assert mend(text) == text


@given(st.text(st.characters(max_codepoint=0x2FFF, exclude_characters="ÂÃâð&", exclude_categories=["Cs"])))
def test_texts_without_a_fault_stay_as_they_are(text: str) -> None:
    assert mend(text) == text
    assert mend(html.escape(text)) == text


@pytest.mark.parametrize(
    "text", ["São Paulo, MANHÃ", "“IRMÔ e LÃ", "château", "Âge d'or", "R&D; Q&A;", "&nosuchname;", "&#;", "ÃO", "fâché"]
)
def test_what_only_looks_garbled_stays(text: str) -> None:
    assert mend(text) == text


@pytest.mark.parametrize(
    ("other", "is_copy"),
    [
        (FED, True),
        (FED.upper().replace(",", " \u2013"), True),
        (f"Reuters: {FED}", True),
        (FED.replace("greater", "more"), False),
        (f"{FED} It raised rates by 25 basis points in July, its last move for now.", False),
        ("Rates are left alone.", False),
    ],
)
def test_near_copies(other: str, is_copy: bool) -> None:
    assert is_near_copy(Shingles.of(FED), Shingles.of(other)) is is_copy


@given(
    one=st.lists(st.sampled_from(["bank", "rate", "5", "6th", "Oil"]), max_size=14),
    other=st.lists(st.sampled_from(["bank", "rate", "5", "6TH", "oil"]), max_size=14),
)
def test_near_copies_are_those_of_the_twin(one: list[str], other: list[str]) -> None:
    for pair in ((one, other), (one * 3, [*one * 3, *other[:2]]), (one, one)):
        first, second = map(" ".join, pair)
        assert is_near_copy(Shingles.of(first), Shingles.of(second)) is slow_near_copy(first, second)


def test_texts_with_other_numbers_are_no_copies() -> None:
    one, other = (Shingles.of(f"{FED} The rate is {rate} percent.") for rate in ("5.25", "5.50"))
    assert not is_near_copy(one, other)
