"""What Python and notebooks are given: small frozen results over the methods of `app` that the commands call, too."""

from prometheus.results.analogs import Analogs
from prometheus.results.embeddings import Embeddings
from prometheus.results.opened import Prometheus, open_databases
from prometheus.results.regimes import Regimes
from prometheus.results.regions import Regions
from prometheus.results.texts import Texts
from prometheus.results.transitions import Transitions

__all__ = ["Analogs", "Embeddings", "Prometheus", "Regimes", "Regions", "Texts", "Transitions", "open_databases"]
