"""Which model an id names, and proof that it still means the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from psycopg.types.json import Jsonb

from prometheus.core.connections import HistoricalDatabase
from prometheus.encoders.models_simple_numeric import FlattenNumericEmbeddingModel, PadToDimNumericEmbeddingModel
from prometheus.encoders.protocols import NumericEmbeddingModel
from prometheus.errors import ModelFingerprintError, UnknownModelError

DEFAULT_WINDOW_DAYS = 63
_LONGEST_SHOWN = 120
NUMERIC_SIMPLE_V1 = "numeric-simple-v1"
NUM_REGIME_CORE_V1 = "num-regime-core-v1"
NUM_REGIME_CORE_V2 = "num-regime-core-v2"


def _scale_free() -> NumericEmbeddingModel:
    from prometheus.encoders.models_scale_free import ScaleFreeNumericEmbeddingModel  # noqa: PLC0415 -- reads a file

    return ScaleFreeNumericEmbeddingModel()


NUMERIC_MODELS: Mapping[str, Callable[[], NumericEmbeddingModel]] = {
    NUM_REGIME_CORE_V1: lambda: PadToDimNumericEmbeddingModel(target_dim=384),
    NUM_REGIME_CORE_V2: _scale_free,
    NUMERIC_SIMPLE_V1: FlattenNumericEmbeddingModel,
}


def create_numeric_model(model_id: str) -> NumericEmbeddingModel:
    """Return a new instance of the numeric model with that id.

    Raises
    ------
    UnknownModelError
        The message names the ids there are.
    """
    try:
        factory = NUMERIC_MODELS[model_id]
    except KeyError:
        raise UnknownModelError(model_id, sorted(NUMERIC_MODELS)) from None
    return factory()


def default_window_days(model_id: str) -> int:
    """Return how many sessions the windows of a model hold unless a number is given.

    Raises
    ------
    UnknownModelError
        The message names the ids there are.
    """
    return int(getattr(create_numeric_model(model_id), "window_days", DEFAULT_WINDOW_DAYS))


def model_config(model: object) -> dict[str, Any]:
    """Return what decides a model's output: its ``config``, or its class where it states none."""
    config = getattr(model, "config", None)
    if config is None:
        return {"class": f"{type(model).__module__}.{type(model).__qualname__}"}
    return dict(config)


def knowledge_end(config: Mapping[str, Any]) -> date | None:
    """Return the last date whose data a model's own numbers were taken from; None where they were taken from none.

    Before that date nobody could have had the model: its constants, means or prototypes know what came later. What a
    language model read in its training is not recorded and does not count.
    """
    encoder = config.get("member_encoder")
    if encoder is not None:
        return knowledge_end(model_config(create_numeric_model(encoder["model_id"])))
    fitted = [(config.get("source"), "end"), (config.get("centres"), "until"), (config.get("calibration"), "end")]
    ends = [str(part[name]) for part, name in fitted if isinstance(part, Mapping) and name in part]
    return max(map(date.fromisoformat, ends), default=None)


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration in canonical JSON, as 64 hex digits.

    Examples
    --------
    >>> fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    True
    """
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class ModelRegistry:
    """The table ``models``: a model id means one thing for ever.

    Parameters
    ----------
    db_manager
        Where the historical database is.
    """

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._db = db_manager

    def register(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Record what `model_id` means, or prove that it means the same as before.

        Raises
        ------
        ModelFingerprintError
            The id is taken; the message says what differs.
        """
        wanted = fingerprint(config)
        with self._db.get_historical_connection() as connection:
            row = connection.execute(
                """
                WITH added AS (
                    INSERT INTO models (model_id, kind, fingerprint, config)
                    VALUES (%(id)s, %(kind)s, %(print)s, %(config)s)
                    ON CONFLICT (model_id) DO NOTHING
                    RETURNING kind, fingerprint, config
                )
                SELECT * FROM added UNION ALL SELECT kind, fingerprint, config FROM models WHERE model_id = %(id)s
                LIMIT 1
                """,
                {"id": model_id, "kind": kind, "print": wanted, "config": Jsonb(dict(config))},
            ).fetchone()
        if row is None:  # another process added it between our two looks
            self.register(model_id, kind, config)
        else:
            _require_same(model_id, row, kind, config)

    def require_same(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Prove that `model_id` means this or nothing yet; nothing is recorded.

        Raises
        ------
        ModelFingerprintError
            The id is taken; the message says what differs.
        """
        query = "SELECT kind, fingerprint, config FROM models WHERE model_id = %s"
        with self._db.get_historical_connection() as connection:
            row = connection.execute(query, (model_id,)).fetchone()
        if row is not None:
            _require_same(model_id, row, kind, config)

    def ids_of_kind(self, kind: str) -> list[str]:
        """Return the ids of all models of a kind: ``numeric``, ``text``, ``joint`` or ``regime``."""
        with self._db.get_historical_connection() as connection:
            return [
                row[0] for row in connection.execute("SELECT model_id FROM models WHERE kind = %s ORDER BY 1", (kind,))
            ]

    def load_config(self, model_id: str) -> dict[str, Any] | None:
        """Return what is recorded under an id, None where nothing is."""
        with self._db.get_historical_connection() as connection:
            row = connection.execute("SELECT config FROM models WHERE model_id = %s", (model_id,)).fetchone()
        return None if row is None else dict(row[0])


def _require_same(model_id: str, row: tuple[Any, ...], kind: str, config: Mapping[str, Any]) -> None:
    wanted = fingerprint(config)
    if row[:2] != (kind, wanted):
        stored = {"kind": row[0], **row[2]}
        differences = _differences(stored, {"kind": kind, **config})
        raise ModelFingerprintError(model_id, differences or [f"fingerprint: stored {row[1]}, now {wanted}"])


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    keys = sorted(stored.keys() | wanted.keys())
    return [
        f"{key}: stored {_short(stored.get(key))}, now {_short(wanted.get(key))}"
        for key in keys
        if stored.get(key) != wanted.get(key)
    ]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
