"""The newest regimes as gauges for the monitoring system Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool

from prometheus.app import App
from prometheus.errors import PrometheusError
from prometheus.regime.history import NewestState
from prometheus.regime.types import RegimeLabel

KEPT_S = 10.0
"""How old figures may be: the databases are asked once in this time, however often these are."""
PATIENCE_S = 1.0
"""How long an answer waits for new figures; without them it goes out as it is."""


class RegimeFigures(Collector):
    """Gauges of the newest state of each region and of alerts that wait; none while the databases do not answer."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._newest: Sequence[NewestState] = ()
        self._n_pending: int | None = None
        self._reading: asyncio.Task[None] | None = None
        self._due = 0.0

    async def refresh(self) -> None:
        """Read the figures again if they are old and no other request does so."""
        if time.monotonic() < self._due or (self._reading is not None and not self._reading.done()):
            return
        self._reading = asyncio.ensure_future(run_in_threadpool(self._read))
        await asyncio.wait({self._reading}, timeout=PATIENCE_S)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges, labels as a set of states: of each region's one is 1, the others are 0."""
        label = GaugeMetricFamily("prometheus_regime", "Whether a region is in a regime.", labels=("region", "label"))
        sure = GaugeMetricFamily("prometheus_regime_confidence_ratio", "Confidence in the label.", labels=("region",))
        high = GaugeMetricFamily(
            "prometheus_regime_high_volatility_ratio", "P(high volatility) in the next 21 sessions.", labels=("region",)
        )
        bear = GaugeMetricFamily("prometheus_regime_bear_ratio", "P(bear market).", labels=("region",))
        age = GaugeMetricFamily(
            "prometheus_regime_session_age_days", "Days since the newest session that has a label.", labels=("region",)
        )
        waiting = GaugeMetricFamily("prometheus_alerts_pending", "Alerts that were not taken yet.")
        today = datetime.now(UTC).date()
        for newest in self._newest:
            for each in RegimeLabel:
                label.add_metric((newest.region, each.name), float(each is newest.label))
            sure.add_metric((newest.region,), newest.confidence)
            if "high_volatility" in newest.metadata:
                high.add_metric((newest.region,), newest.metadata["high_volatility"]["probability"])
            if "bear" in newest.metadata:
                bear.add_metric((newest.region,), newest.metadata["bear"]["probability"])
            age.add_metric((newest.region,), (today - newest.as_of_date).days)
        if self._n_pending is not None:
            waiting.add_metric((), self._n_pending)
        yield from (label, sure, high, bear, age, waiting)

    def _read(self) -> None:
        try:
            self._newest, self._n_pending = self._app.wired.timelines.newest(), self._app.alerts.outbox.n_pending()
        except PrometheusError:
            self._newest, self._n_pending = (), None
        finally:
            self._due = time.monotonic() + KEPT_S
