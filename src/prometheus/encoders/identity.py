"""What a model is: the ids of ours, what decides its output, and the digest of that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from prometheus.collaborators import offers, require_methods
from prometheus.errors import ModelFingerprintError, VectorError

NUMERIC_SIMPLE_V1 = "numeric-simple-v1"
NUM_REGIME_CORE_V1 = "num-regime-core-v1"
NUM_REGIME_CORE_V2 = "num-regime-core-v2"
NUMERIC_IDS = frozenset({NUMERIC_SIMPLE_V1, NUM_REGIME_CORE_V1, NUM_REGIME_CORE_V2})

PLUGIN = "prometheus_plugin"
"""Key of a configuration that says how a user's own model is found again; it decides no output, so no fingerprint."""

_LONGEST_SHOWN = 120


def model_config(model: object) -> dict[str, Any]:
    """Return what decides a model's output: its ``config``, or its class where it states none."""
    config = getattr(model, "config", None)
    if config is None:
        return {"class": f"{type(model).__module__}.{type(model).__qualname__}"}
    return dict(config)


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration in canonical JSON, but for where a plug-in is found, as 64 hex digits."""
    decisive = {key: value for key, value in config.items() if key != PLUGIN}
    canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def require_same_meaning(
    model_id: str, stored: tuple[str, str, Mapping[str, Any]], kind: str, config: Mapping[str, Any]
) -> None:
    """Raise `ModelFingerprintError`, with what differs, unless (kind, fingerprint, config) is what an id means now."""
    wanted = fingerprint(config)
    stored_kind, stored_print, stored_config = stored
    if (stored_kind, stored_print) != (kind, wanted):
        differences = _differences({"kind": stored_kind, **stored_config}, {"kind": kind, **config})
        raise ModelFingerprintError(model_id, differences or [f"fingerprint: stored {stored_print}, now {wanted}"])


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{key}: stored {_short(stored.get(key))}, now {_short(wanted.get(key))}"
        for key in sorted(stored.keys() | wanted.keys())
        if stored.get(key) != wanted.get(key)
    ]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def repeated_key(model_id: str) -> VectorError:
    """Return the error of a batch that would write one row twice."""
    return VectorError(model_id, "two vectors of one batch have the same key; keep one of them")


class RegisteredModel:
    """A model whose vectors are stored under an id, which must mean this model for ever."""

    kind: str
    model: object
    store: object
    model_id: str
    _is_proven = _is_registered = False

    def require_same(self) -> None:
        """Prove, once, that the model id means this model or nothing yet; nothing is recorded."""
        if not self._is_proven:
            self._ask("require_same")
            self._is_proven = True

    def register(self) -> None:
        """Record the meaning of the model id, or prove that it is unchanged; asked once."""
        if not self._is_registered:
            self._ask("register")
            self._is_registered = self._is_proven = True

    def _ask(self, method: Literal["register", "require_same"]) -> None:
        registry = getattr(self.store, "registry", None)
        if registry is not None:  # else a store that only has its fixed name: no meaning is recorded
            getattr(registry, method)(self.model_id, self.kind, model_config(self.model))


def completed(
    collaborator: object, user: str, role: str, methods: Sequence[str], least: str, adapter: Callable[[Any], Any]
) -> Any:
    """Return a collaborator that has all `methods`, or adapt one that only has its fixed name, `least`."""
    if offers(collaborator, *methods):
        return collaborator
    require_methods(collaborator, user, role, least)
    return adapter(collaborator)
