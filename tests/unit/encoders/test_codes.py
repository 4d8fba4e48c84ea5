"""Spellings of languages and countries."""

from __future__ import annotations

import pytest

from prometheus.encoders.texts.codes import _COUNTRIES, _LANGUAGES, is_alike


@pytest.mark.parametrize("listed", [_LANGUAGES, _COUNTRIES])
def test_no_spelling_means_two_things(listed: str) -> None:
    spellings = [each.strip() for entry in " ".join(listed.split()).split(",") for each in entry.split("/")]
    assert len(spellings) == len(set(spellings))
    assert all(each == each.lower() for each in spellings)


@pytest.mark.parametrize(
    ("column", "said", "wanted", "is_found"),
    [
        ("language", "en-US", "en", True), ("language", "en-US", "en-GB", False), ("language", "en", "en-US", False),
        ("language", "ger", "de", True), ("language", "Français", "fr", False), ("country", "GBR", "uk", True),
        ("country", "US", "UA", False), ("country", None, "US", False), ("event_type", "cpi", "CPI", False),
        ("event_type", "CPI", "CPI", True), ("source", "A.B", "AB", False),
    ],
)  # fmt: skip
def test_what_is_alike(column: str, said: str | None, wanted: str, is_found: bool) -> None:
    assert is_alike(column, said, wanted) is is_found
