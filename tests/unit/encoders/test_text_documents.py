"""Texts and what is made of them, as parcels; and the rule that flags other languages."""

from __future__ import annotations

import numpy as np
import pytest

from prometheus.encoders.texts.documents import TextDoc, TextEncoding
from prometheus.encoders.texts.service import is_english
from prometheus.errors import InputRefusedError, UsageError, VectorError, WindowShapeError


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_a_blank_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputRefusedError, match="MACRO 7: the text is empty"):
        TextDoc("MACRO", "7", text)


def test_half_a_surrogate_pair_is_refused_with_its_place() -> None:
    with pytest.raises(InputRefusedError, match="NEWS 1: character 3 of the text is no valid Unicode"):
        TextDoc("NEWS", "1", "abc\ud800")


@pytest.mark.parametrize(("source_type", "source_id"), [("", "1"), ("NEWS", ""), ("NEWS", "a\0b")])
def test_a_name_that_cannot_be_stored_is_refused(source_type: str, source_id: str) -> None:
    with pytest.raises(UsageError, match="cannot name a text"):
        TextDoc(source_type, source_id, "text")


def test_the_hash_is_of_the_exact_text() -> None:
    hashes = {TextDoc("A", "1", text).text_hash for text in ("rate", "Rate", "rate ", "rat\u00e9", "rate\u0301")}
    assert len(hashes) == 5
    assert all(len(value) == 32 for value in hashes)
    assert TextDoc("A", "1", "rate").text_hash == TextDoc("B", "2", "rate").text_hash


def test_an_encoding_is_whole_and_finite() -> None:
    vectors = np.ones((2, 3), dtype=np.float32)
    assert len(TextEncoding(vectors, (1, 1), ((), ()))) == 2
    with pytest.raises(WindowShapeError):
        TextEncoding(vectors, (1,), ((),))
    with pytest.raises(VectorError):
        TextEncoding(vectors * np.float32(np.nan), (1, 1), ((), ()))


ENGLISH = [
    "The Committee decided to keep the target range unchanged.",
    "FED RAISES RATES",
    "Shr 34 cts vs 1.19 dlrs; net 807,000 vs 2,858,000; revs 12.9 mln vs 11.1 mln",
    "Banco de la Nacion of Buenos Aires said it will let the peso float.",
    "M. Trichet, président de la BCE, said that the rate is appropriate and that it will not be changed.",
    "2.5 %",
    "Θ = 0.3, Δ = 0.1: the calibration of the model",
]
OTHERS = [
    "Der Rat hat beschlossen, den Leitzins unverändert bei zwei Prozent zu belassen, und wird die Lage beobachten.",
    "Le Conseil des gouverneurs a décidé de maintenir les taux directeurs inchangés dans la zone euro.",
    "El Banco Central decidió mantener la tasa de interés sin cambios por tercera vez en el año.",
    "O Copom decidiu por unanimidade manter a taxa básica de juros em 13,75% ao ano, sem viés.",
    "La Banca centrale ha deciso di mantenere i tassi invariati, ma non esclude nuovi rialzi nel corso dell'anno.",
    "De centrale bank heeft besloten de rente niet te wijzigen, maar zal de inflatie blijven volgen.",
    "Riksbanken har beslutat att lämna räntan oförändrad och den väntas ligga kvar på samma nivå.",
    "Rada Polityki Pieniężnej zdecydowała się nie zmieniać stóp procentowych, które są na poziomie 5,75 procent.",
    "Bank Indonesia memutuskan untuk mempertahankan suku bunga acuan pada level enam persen dan inflasi dalam target.",
    "Банк России принял решение сохранить ключевую ставку.",
    "中国人民银行决定下调存款准备金率。",
    "日本銀行は金融政策の現状維持を決定した。",
    "قرر البنك المركزي تثبيت أسعار الفائدة",
]


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_not_flagged(text: str) -> None:
    assert is_english(text)


@pytest.mark.parametrize("text", OTHERS)
def test_other_languages_are_seen(text: str) -> None:
    assert not is_english(text)


def test_a_long_text_is_judged_by_its_beginning() -> None:
    assert is_english("The rate of the bank is high and it will be so. " * 1000 + OTHERS[0] * 10_000)
