"""What Python and notebooks are given: small frozen results, and the estimator that needs no database.

Names are imported when they are first asked for: a classifier in a notebook never loads the driver of PostgreSQL.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus.results.analogs import Analogs
    from prometheus.results.classifier import RegimeClassifier
    from prometheus.results.in_memory import embed
    from prometheus.results.opened import Prometheus, open_databases
    from prometheus.results.regimes import Regimes
    from prometheus.results.stored import Embeddings, Prices, Regions, Texts, Transitions

_HOMES = {
    "Analogs": "analogs", "Embeddings": "stored", "Prices": "stored", "Prometheus": "opened",
    "RegimeClassifier": "classifier", "Regimes": "regimes", "Regions": "stored", "Texts": "stored",
    "Transitions": "stored", "embed": "in_memory", "open_databases": "opened",
}  # fmt: skip
__all__ = [
    "Analogs", "Embeddings", "Prices", "Prometheus", "RegimeClassifier", "Regimes", "Regions", "Texts", "Transitions",
    "embed", "open_databases",
]  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name):  # hidden from type checkers, which then find misspelt names
        """Import a name when it is first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
