"""Which text is compared with which reading of a question, beside the same told text by text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prometheus.app.text_known import KnownTexts
from prometheus.app.text_readings import LanguageGroup, Reading, readings_of
from prometheus.encoders.texts.documents import TextSourceType

KINDS: tuple[TextSourceType, ...] = ("MACRO", "NEWS")
CHOICES: tuple[tuple[LanguageGroup | None, ...], ...] = ((), (None,), ("english", "others"), ("others",))


def known_texts(texts: list[tuple[TextSourceType, int]]) -> KnownTexts:
    """Return texts of kinds, which stand in order, and configurations; all else is the same for each."""
    n_macro, numbers = sum(kind == "MACRO" for kind, _ in texts), np.arange(len(texts))
    spans: dict[TextSourceType, tuple[int, int]] = {"MACRO": (0, n_macro), "NEWS": (n_macro, len(texts))}
    configurations = np.array([configuration for _, configuration in texts], np.int16)
    return KnownTexts(spans, numbers, numbers.astype("M8[D]"), configurations, numbers, numbers >= 0)


def reads(reading: Reading, kind: str, configuration: int) -> bool:
    """Return whether one text is compared with a reading."""
    wanted = {None: True, "english": configuration == 0, "others": configuration != 0}
    return reading.kind == kind and wanted[reading.group]


@given(
    texts=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3)), max_size=20).map(sorted),
    groups=st.tuples(st.sampled_from(CHOICES), st.sampled_from(CHOICES)),
)
def test_each_text_is_compared_with_the_one_reading_of_its_kind_and_language(
    texts: list[tuple[TextSourceType, int]], groups: tuple[tuple[LanguageGroup | None, ...], ...]
) -> None:
    vector = np.zeros(2, np.float32)
    readings = [
        Reading(kind, f"{kind} {group}", group, vector)
        for kind, chosen in zip(KINDS, groups, strict=True)
        for group in chosen
    ]
    told = [[number for number, each in enumerate(readings) if reads(each, *text)] for text in texts]
    assert all(len(each) <= 1 for each in told)
    assert readings_of(known_texts(texts), readings, np.arange(len(texts))).tolist() == [
        each[0] if each else -1 for each in told
    ]
