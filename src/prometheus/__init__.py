"""Market regimes as versioned, point-in-time embeddings and states; in memory, or kept in PostgreSQL.

Examples
--------
>>> import prometheus as pm
>>> regimes = pm.RegimeClassifier().fit(prices[:"2007"]).label(prices["2008":])  # doctest: +SKIP
>>> with pm.open() as p:  # doctest: +SKIP
...     p.save(regimes, region="US")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus.errors import PrometheusError
    from prometheus.market.bars import PriceBars
    from prometheus.results.analogs import Analogs
    from prometheus.results.classifier import RegimeClassifier
    from prometheus.results.in_memory import analogs, embed
    from prometheus.results.opened import Prometheus
    from prometheus.results.opened import open_databases as open  # noqa: A004 -- as gzip.open, called pm.open
    from prometheus.results.regimes import Regimes
    from prometheus.results.stored import Embeddings, Prices, Regions, Texts, Transitions

__version__ = "0.1.0"
__distribution__ = "prometheus-regime"
_HOMES = {
    "Analogs": "results.analogs", "Embeddings": "results.stored", "PriceBars": "market.bars",
    "Prices": "results.stored", "Prometheus": "results.opened", "PrometheusError": "errors",
    "RegimeClassifier": "results.classifier", "Regimes": "results.regimes", "Regions": "results.stored",
    "Texts": "results.stored", "Transitions": "results.stored", "analogs": "results.in_memory",
    "embed": "results.in_memory", "open": "results.opened",
}  # fmt: skip
__all__ = [
    "Analogs", "Embeddings", "PriceBars", "Prices", "Prometheus", "PrometheusError", "RegimeClassifier", "Regimes",
    "Regions", "Texts", "Transitions", "__version__", "analogs", "embed", "open",
]  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name):  # hidden from type checkers, which then find misspelt names
        """Import a public name when it is first asked for, so that ``import prometheus`` stays cheap."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"prometheus.{_HOMES[name]}"), "open_databases" if name == "open" else name)
        return globals().setdefault(name, found)  # `analogs` is by now its subpackage, which is called the same way

    def __dir__():
        """Return the public names, those not imported yet among them."""
        return __all__
