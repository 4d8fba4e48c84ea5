"""Which model an id names, and proof that it still means the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from prometheus.encoders.identity import NUM_REGIME_CORE_V1, NUM_REGIME_CORE_V2, NUMERIC_SIMPLE_V1, model_config
from prometheus.encoders.models_simple_numeric import FlattenNumericEmbeddingModel, PadToDimNumericEmbeddingModel
from prometheus.errors import UnknownNameError, unknown_model
from prometheus.plugins import is_reference, offered_names
from prometheus.protocols import NumericEmbeddingModel

DEFAULT_WINDOW_DAYS = 63


def _scale_free() -> NumericEmbeddingModel:
    from prometheus.encoders.numeric.scale_free import (  # noqa: PLC0415 -- a date of another model waits for none
        ScaleFreeNumericEmbeddingModel,
    )

    return ScaleFreeNumericEmbeddingModel()


NUMERIC_MODELS: Mapping[str, Callable[[], NumericEmbeddingModel]] = {
    NUM_REGIME_CORE_V1: lambda: PadToDimNumericEmbeddingModel(target_dim=384),
    NUM_REGIME_CORE_V2: _scale_free,
    NUMERIC_SIMPLE_V1: FlattenNumericEmbeddingModel,
}


def create_numeric_model(model_id: str) -> NumericEmbeddingModel:
    """Return the numeric model with that id: a new one of ours, or the user's own, also by ``module:Class``."""
    factory = NUMERIC_MODELS.get(model_id)
    if factory is not None:
        return factory()
    from prometheus.encoders.own import ENCODER, open_encoder  # noqa: PLC0415 -- ours need it not

    own = open_encoder(model_id)
    if own is None:
        raise unknown_model(model_id, [*sorted(NUMERIC_MODELS), *offered_names(ENCODER)])
    return own


def is_numeric_model(model_id: str) -> bool:
    """Return whether an id stands for a model of ours, or for one of the user's own that can be opened."""
    try:
        create_numeric_model(model_id)
    except UnknownNameError:
        return False
    return True


def stored_model_id(model_id: str) -> str:
    """Return the id that a model's vectors stand under: the one named, or the ``model_id`` of a ``module:Class``."""
    if not is_reference(model_id):
        return model_id
    return str(getattr(create_numeric_model(model_id), "model_id", model_id))


def default_window_days(model_id: str) -> int:
    """Return how many sessions the windows of a model hold unless a number is given."""
    return int(getattr(create_numeric_model(model_id), "window_days", DEFAULT_WINDOW_DAYS))


def knowledge_end(config: Mapping[str, Any]) -> date | None:
    """Return the last date whose data made a model's constants, means or prototypes (no language model's), or None."""
    encoder = config.get("member_encoder")
    if encoder is not None:
        return knowledge_end(model_config(create_numeric_model(encoder["model_id"])))
    fitted = [(config.get("source"), "end"), (config.get("centres"), "until"), (config.get("calibration"), "end")]
    ends = [str(part[name]) for part, name in fitted if isinstance(part, Mapping) and name in part]
    return max(map(date.fromisoformat, ends), default=None)
