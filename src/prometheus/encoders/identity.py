"""What a model is: the ids of ours, what decides its output, and the digest of that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

NUMERIC_SIMPLE_V1 = "numeric-simple-v1"


NUM_REGIME_CORE_V1 = "num-regime-core-v1"


NUM_REGIME_CORE_V2 = "num-regime-core-v2"


def model_config(model: object) -> dict[str, Any]:
    """Return what decides a model's output: its ``config``, or its class where it states none."""
    config = getattr(model, "config", None)
    if config is None:
        return {"class": f"{type(model).__module__}.{type(model).__qualname__}"}
    return dict(config)


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration in canonical JSON, as 64 hex digits.

    Examples
    --------
    >>> fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    True
    """
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
