"""From embeddings to regimes: labels, prototypes, models and the engine."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus.data.regimes import RegimeStorage
    from prometheus.protocols import RegimeModel
    from prometheus.regime.engine import RegimeEngine
    from prometheus.regime.model_numeric import NumericRegimeModel, SeedRegimeModel
    from prometheus.regime.model_persistent import PersistentRegimeModel
    from prometheus.regime.prototypes import PrototypeSet
    from prometheus.regime.types import RegimeLabel, RegimePrototype, RegimeState

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

# the storage brings psycopg: asking for a name imports its module, and no other
_HOMES = {
    "NumericRegimeModel": "regime.model_numeric",
    "PersistentRegimeModel": "regime.model_persistent",
    "PrototypeSet": "regime.prototypes",
    "RegimeEngine": "regime.engine",
    "RegimeLabel": "regime.types",
    "RegimeModel": "protocols",
    "RegimePrototype": "regime.types",
    "RegimeState": "regime.types",
    "RegimeStorage": "data.regimes",
    "SeedRegimeModel": "regime.model_numeric",
}


def __getattr__(name: str) -> object:
    """Import the module of a name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"prometheus.{_HOMES[name]}"), name)
