"""From embeddings to regimes: labels, prototypes, models, storage and the engine."""

from prometheus.regime.engine import RegimeEngine
from prometheus.regime.model_numeric import NumericRegimeModel, SeedRegimeModel
from prometheus.regime.model_persistent import PersistentRegimeModel
from prometheus.regime.prototypes import PrototypeSet
from prometheus.regime.storage import RegimeStorage
from prometheus.regime.types import RegimeLabel, RegimeModel, RegimePrototype, RegimeState

__all__ = [
    "NumericRegimeModel",
    "PersistentRegimeModel",
    "PrototypeSet",
    "RegimeEngine",
    "RegimeLabel",
    "RegimeModel",
    "RegimePrototype",
    "RegimeState",
    "RegimeStorage",
    "SeedRegimeModel",
]
