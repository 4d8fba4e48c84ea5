"""Market regimes as versioned, point-in-time embeddings and states in PostgreSQL.

Examples
--------
>>> import prometheus as pm
>>> with pm.open() as p:  # doctest: +SKIP
...     p.regimes("US_INDEX", start="2020-01-01").to_pandas()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus.errors import PrometheusError
    from prometheus.results import Analogs, Embeddings, Prometheus, Regimes, Regions, Texts, Transitions
    from prometheus.results import open_databases as open  # noqa: A004 -- as gzip.open, called pm.open

__version__ = "0.1.0"
__all__ = [
    "Analogs",
    "Embeddings",
    "Prometheus",
    "PrometheusError",
    "Regimes",
    "Regions",
    "Texts",
    "Transitions",
    "__version__",
    "open",
]

if not TYPE_CHECKING:

    def __getattr__(name):  # hidden from type checkers, which then find misspelt names
        """Import a public name when it is first asked for, so that ``import prometheus`` stays cheap."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = "errors" if name == "PrometheusError" else "results"
        found = getattr(import_module(f"prometheus.{home}"), "open_databases" if name == "open" else name)
        globals()[name] = found
        return found

    def __dir__():
        """Return the public names, those not imported yet among them."""
        return __all__
