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
    from prometheus.results import (
        Analogs,
        Embeddings,
        Prices,
        Prometheus,
        RegimeClassifier,
        Regimes,
        Regions,
        Texts,
        Transitions,
        embed,
    )
    from prometheus.results import open_databases as open  # noqa: A004 -- as gzip.open, called pm.open
    from prometheus.results.in_memory import analogs

__version__ = "0.1.0"
_ELSEWHERE = {
    "PriceBars": ("market.bars", "PriceBars"),
    "PrometheusError": ("errors", "PrometheusError"),
    "analogs": ("results.in_memory", "analogs"),
    "open": ("results", "open_databases"),
}
__all__ = [
    "Analogs",
    "Embeddings",
    "PriceBars",
    "Prices",
    "Prometheus",
    "PrometheusError",
    "RegimeClassifier",
    "Regimes",
    "Regions",
    "Texts",
    "Transitions",
    "__version__",
    "analogs",
    "embed",
    "open",
]

if not TYPE_CHECKING:

    def __getattr__(name):  # hidden from type checkers, which then find misspelt names
        """Import a public name when it is first asked for, so that ``import prometheus`` stays cheap."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home, own = _ELSEWHERE.get(name, ("results", name))
        found = getattr(import_module(f"prometheus.{home}"), own)
        return globals().setdefault(name, found)  # `analogs` is by now its subpackage, which is called the same way

    def __dir__():
        """Return the public names, those not imported yet among them."""
        return __all__
