"""What a regime is: a label with a confidence, for a region on a date, and the vector it was read from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from numbers import Real
from typing import Any

import numpy as np

from prometheus.arrays import Float32Vector, as_float32, require_finite
from prometheus.errors import InputRefusedError, UsageError, VectorError, unknown_label
from prometheus.protocols import RegimeModel

__all__ = ["DEFAULT_MODEL_ID", "RegimeLabel", "RegimeModel", "RegimePrototype", "RegimeState", "metadata_text"]

DEFAULT_MODEL_ID = "num-regime-core-v1"
MAX_REGION_NAME = 200


class RegimeLabel(StrEnum):
    """The regimes a market can be in; a label equals its name as a string."""

    NEUTRAL = "NEUTRAL"
    CRISIS = "CRISIS"
    RISK_OFF = "RISK_OFF"
    CARRY = "CARRY"

    @property
    def word(self) -> str:
        """The name as sentences have it, such as ``Risk-off``."""
        return self.name.replace("_", "-").capitalize()

    @classmethod
    def parse(cls, name: str) -> RegimeLabel:
        """Return the label of that name; `NotFoundError` names the labels there are."""
        try:
            return cls[name]
        except KeyError:
            raise unknown_label(name, [label.name for label in cls]) from None


@dataclass(frozen=True, slots=True, eq=False)
class RegimeState:
    """The regime of one region on one date.

    Attributes
    ----------
    confidence
        In [0, 1].
    regime_embedding
        Shape (dim,), float32, finite: what was classified.
    metadata
        JSON values; where the state came from (instrument, window, distances).
    model_id, encoder_model_id
        The whole regime model, and whose vector the embedding is: the part before ``@`` unless given.

    Raises
    ------
    InputRefusedError, VectorError
        A confidence outside [0, 1], a vector that is not one-dimensional or not finite.
    """

    as_of_date: date
    region: str
    regime_label: RegimeLabel
    confidence: float
    regime_embedding: Float32Vector
    metadata: Mapping[str, Any] = field(default_factory=dict)
    model_id: str = DEFAULT_MODEL_ID
    encoder_model_id: str = ""

    def __post_init__(self) -> None:
        name = f"{self.region} {self.as_of_date}"
        if not isinstance(self.confidence, (float, Real)) or not 0.0 <= self.confidence <= 1.0:
            raise InputRefusedError(f"{name}: confidence {self.confidence} is not in [0, 1]")
        if self.regime_embedding is None:
            raise VectorError(name, "there is no regime embedding")
        embedding = np.asarray(self.regime_embedding)
        if embedding.ndim != 1 or embedding.size == 0 or embedding.dtype.kind not in "fiu":
            raise VectorError(name, f"{embedding.dtype} of shape {embedding.shape} is not a vector")
        require_finite(embedding, name)
        object.__setattr__(self, "regime_embedding", embedding)
        if type(self.regime_label) is not RegimeLabel:
            object.__setattr__(self, "regime_label", RegimeLabel.parse(str(self.regime_label)))
        object.__setattr__(self, "metadata", dict(self.metadata))
        if not self.encoder_model_id:
            object.__setattr__(self, "encoder_model_id", self.model_id.partition("@")[0])


@dataclass(frozen=True, slots=True, eq=False)
class RegimePrototype:
    """The centre of a regime in an encoder's space, shape (dim,); `VectorError` unless it is a finite vector."""

    label: RegimeLabel
    center: Float32Vector

    def __post_init__(self) -> None:
        center = as_float32(self.center).copy()
        if center.ndim != 1 or center.size == 0:
            raise VectorError(f"prototype {self.label}", f"shape {center.shape} is not that of a vector")
        require_finite(center, f"prototype {self.label}")
        center.flags.writeable = False
        object.__setattr__(self, "center", center)


def metadata_text(state: RegimeState) -> str:
    """Return the metadata of a state as JSON, as stores keep it; `InputRefusedError` if JSON cannot hold it."""
    try:
        return json.dumps(state.metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputRefusedError(f"{state.region} {state.as_of_date}: the metadata is not JSON ({error})") from error


def require_region_name(name: str) -> None:
    """Raise `UsageError` for a name that no address, file or table could hold as it is.

    It is not empty or padded with spaces, has no control characters, and is not ``.`` or ``..``; at most 200
    characters.
    """
    if not name.strip():
        raise UsageError("a region needs a name")
    if name != name.strip():
        raise UsageError(f"region {name!r} begins or ends with a space; write {name.strip()!r}")
    if name in {".", ".."} or not name.isprintable() or len(name) > MAX_REGION_NAME:
        rule = f"use up to {MAX_REGION_NAME} printable characters, not . or .."
        raise UsageError(f"region {name[:60]!r} can be no name; {rule}")
