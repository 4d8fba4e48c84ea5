"""The newest regimes and the last nights as gauges for the monitoring system Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool

from prometheus.app import App
from prometheus.app.overview import instrument_of
from prometheus.app.run_log import NightlyRun, RunResult
from prometheus.errors import DatabaseError, PrometheusError
from prometheus.market.calendar import US_EQ
from prometheus.regime.history import NewestState
from prometheus.regime.types import RegimeLabel
from prometheus.web.session_closes import SessionAges

KEPT_S = 10.0
"""How old figures may be: the databases are asked once in this time, however often these are."""
PATIENCE_S = 1.0
"""How long an answer waits for new figures; without them it goes out as it is."""
MOST_REGIONS = 1_000
"""Regions with figures of their own; those of further ones, in order of name, are only counted."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the databases said at one time; without `newest_ended`, no night did its work yet."""

    states: Sequence[NewestState]
    ages: Sequence[int | None]
    n_alerts_pending: int
    newest: NightlyRun | None
    newest_ended: NightlyRun | None
    night_ages: Sequence[tuple[str, int]]


class StoredFigures(Collector):
    """Gauges of the newest state of each region, of nights, and of alerts that wait.

    There are no such gauges while the databases do not answer.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._reading: Reading | None = None
        self._answered: Callable[[], object] = lambda: None
        self._failed: Callable[[DatabaseError], object] = lambda _error: None
        self._task: asyncio.Task[None] | None = None
        self._due = 0.0
        self._ages = SessionAges()

    def tell(self, answered: Callable[[], object], failed: Callable[[DatabaseError], object]) -> None:
        """Call one of these, on a thread of its own, whenever the databases were asked."""
        self._answered, self._failed = answered, failed

    async def refresh(self) -> None:
        """Read the figures again if they are old and no other request does so."""
        if time.monotonic() < self._due or (self._task is not None and not self._task.done()):
            return
        self._task = asyncio.ensure_future(run_in_threadpool(self._read))
        await asyncio.wait({self._task}, timeout=PATIENCE_S)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        reading = self._reading
        if reading is None:
            yield from gauges_of_regimes((), ())
            return
        yield from gauges_of_regimes(reading.states, reading.ages)
        yield _one("prometheus_alerts_pending", "Alerts that were not taken yet.", reading.n_alerts_pending)
        yield from gauges_of_nights(reading.newest, reading.newest_ended, reading.night_ages)

    def _read(self) -> None:
        try:
            self._reading = self._ask()
        except PrometheusError as error:
            self._reading = None
            if isinstance(error, DatabaseError):
                self._failed(error)
        finally:
            self._due = time.monotonic() + KEPT_S

    def _ask(self) -> Reading:
        app, now = self._app, datetime.now(UTC)
        states = app.wired.timelines.newest()
        instruments = [instrument_of(app.wired.config, each.region, each.metadata) for each in states]
        markets = app.wired.catalog.markets_of(sorted({name for name in instruments if name is not None}))
        days = [
            (markets.get(name or "", US_EQ), each.as_of_date) for each, name in zip(states, instruments, strict=True)
        ]
        newest = next(iter(app.runs.newest(1)), None)
        ended = app.runs.newest_that_ended()
        of_night = [] if ended is None else [(name, date.fromisoformat(day)) for name, day in ended.sessions.items()]
        self._answered()  # calendars come from elsewhere, and the first time take seconds
        ages = self._ages.of([*days, *of_night], now)
        of_markets = zip((market for market, _ in of_night), ages[len(days) :], strict=True)
        night_ages = [(market, age) for market, age in of_markets if age is not None]
        return Reading(states, ages[: len(days)], app.alerts.outbox.n_pending(), newest, ended, night_ages)


def gauges_of_regimes(states: Sequence[NewestState], ages: Sequence[int | None]) -> Iterator[GaugeMetricFamily]:
    """Yield the gauges of regions, labels as a set of states: of each region's one is 1, the others are 0.

    `ages` are in sessions, None where no calendar says.
    """
    label = GaugeMetricFamily("prometheus_regime", "Whether a region is in a regime.", labels=("region", "label"))
    sure, high, bear, days, sessions = (
        GaugeMetricFamily(f"prometheus_regime_{name}", told, labels=("region",))
        for name, told in (
            ("confidence_ratio", "Confidence in the label."),
            ("high_volatility_ratio", "P(high volatility) in the next 21 sessions."),
            ("bear_ratio", "P(bear market)."),
            ("session_age_days", "Days since the newest session that has a label."),
            ("session_age_sessions", "Sessions that have closed since the newest one that has a label."),
        )
    )
    today = datetime.now(UTC).date()
    for newest, age in zip(states[:MOST_REGIONS], ages, strict=False):
        for each in RegimeLabel:
            label.add_metric((newest.region, each.name), float(each is newest.label))
        sure.add_metric((newest.region,), newest.confidence)
        for gauge, name in ((high, "high_volatility"), (bear, "bear")):
            if name in newest.metadata:
                gauge.add_metric((newest.region,), newest.metadata[name]["probability"])
        days.add_metric((newest.region,), (today - newest.as_of_date).days)
        if age is not None:
            sessions.add_metric((newest.region,), age)
    yield from (label, sure, high, bear, days, sessions)
    if states:
        yield _one(
            "prometheus_regimes_left_out", "Regions without figures of their own.", max(0, len(states) - MOST_REGIONS)
        )


def gauges_of_nights(
    newest: NightlyRun | None, ended: NightlyRun | None, ages: Sequence[tuple[str, int]]
) -> Iterator[GaugeMetricFamily]:
    """Yield the gauges of the newest night, and of the newest one that `ended` with its work done, in whole or in part.

    `ages` are of the second: sessions that have closed since its own, by market.
    """
    if newest is not None:
        result = GaugeMetricFamily("prometheus_night_result", "Whether the newest night ended so.", labels=("result",))
        for each in RunResult:
            result.add_metric((each.words.replace(" ", "_"),), float(each is newest.result))
        yield result
        yield _one(
            "prometheus_night_started_timestamp_seconds", "When the newest night began.", newest.started_at.timestamp()
        )
    if ended is None:
        return
    yield _one("prometheus_night_seconds", "How long the newest night that did its work took.", ended.seconds or 0.0)
    yield _one("prometheus_night_exit_code", "The exit code of it.", ended.exit_code or 0)
    yield _one("prometheus_night_failures", "What failed in it.", len(ended.failures))
    yield _one("prometheus_night_skipped", "What it skipped.", len(ended.skipped))
    yield _one("prometheus_findings_open", "Faults of prices that were open at its end.", ended.findings.get("open", 0))
    for name, told, of_each, label in (
        ("rows_written", "Rows it wrote.", ended.rows_written.items(), "table"),
        ("age_sessions", "Sessions that have closed since those it was asked for.", ages, "market"),
    ):
        gauge = GaugeMetricFamily(f"prometheus_night_{name}", told, labels=(label,))
        for key, value in of_each:
            gauge.add_metric((key,), value)
        yield gauge
    stands = GaugeMetricFamily(
        "prometheus_night_standings", "Regions and instruments by where they stood.", labels=("kind", "standing")
    )
    for kind, counts in ended.standings.items():
        for standing, number in counts.items():
            stands.add_metric((kind, standing), number)
    yield stands


def _one(name: str, told: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, told, value=value)
