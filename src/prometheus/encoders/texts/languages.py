"""Which languages a text model reads, by what its configuration says of its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus.encoders.texts.codes import language_of
from prometheus.encoders.texts.pinned import PINNED

ENGLISH = frozenset({"en"})
MULTILINGUAL_FAMILY = "multilingual-e5"
_XLM_ROBERTA = """
    af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fil fr fy ga gd gl gu ha he hi hr hu hy id
    is it ja jv ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr ms my nb ne nl nn no om or pa pl ps pt ro ru sa sd
    si sk sl so sq sr su sv sw ta te th tl tr ug uk ur uz vi xh yi zh
"""
MULTILINGUAL = frozenset(_XLM_ROBERTA.split())
"""The hundred languages of XLM-RoBERTa, which multilingual-e5-small was made from (ISO 639)."""


def languages_read(config: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the languages that a model reads, as ISO 639 codes; None where its configuration does not tell.

    Examples
    --------
    >>> sorted(languages_read({"family": "multilingual-e5"}) or ())[:3], languages_read({"family": "sentence-bert"})
    (['af', 'am', 'ar'], None)
    """
    if config.get("family") == MULTILINGUAL_FAMILY:
        return MULTILINGUAL
    is_english = config.get("weights_sha256") in {each.weights_sha256 for each in PINNED.values()}
    return ENGLISH if is_english else None


def count_unread(said: Iterable[str | None], config: Mapping[str, Any]) -> Counter[str]:
    """Return how many texts say each language that a model does not read; one that says none is taken to be read.

    Examples
    --------
    >>> count_unread(["de-AT", "German", None, "tlh"], {"family": "multilingual-e5"})
    Counter({'tlh': 1})
    """
    read = languages_read(config)
    if read is None:
        return Counter()
    return Counter(found for each in said if (found := language_of(each)) is not None and found not in read)
