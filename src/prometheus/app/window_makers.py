"""What makes windows of bars, as a digest: covered spans are trusted only as long as it is the same."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version

from prometheus.core.code import digest_of_code
from prometheus.encoders.identity import fingerprint, model_config
from prometheus.encoders.numeric.features import feature_set_of
from prometheus.protocols import NumericEmbeddingModel

_LIBRARIES = ("numpy", "exchange_calendars")


def digest_of_maker(model: NumericEmbeddingModel, market: str) -> int:
    """Return a digest, of 64 bits and signed, of all that decides the windows of a model in a market but the bars.

    Of the code that judges bars and cuts windows every byte counts.
    """
    seen = feature_set_of(model)
    facts = (_code(), fingerprint(model_config(model)), seen.names, seen.bar_fields, seen.is_judged, market)
    return int.from_bytes(hashlib.sha256(repr(facts).encode()).digest()[:8], "big", signed=True)


@cache
def _code() -> str:
    return " ".join([digest_of_code("market", "encoders/numeric"), *map(version, _LIBRARIES)])
