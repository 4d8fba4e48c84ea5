"""Alerts: what a night writes into the outbox, and the outbox sent, tested and listed."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from prometheus.alerts.channel import Message, Outcome
from prometheus.app.wiring import UseCase, Wiring
from prometheus.core.config import PrometheusConfig
from prometheus.data.outbox import Delivery, DeliveryState, Outbox, note_saved
from prometheus.data.postgres.locks import only_run
from prometheus.data.regimes import RegimeStorage
from prometheus.errors import DatabaseError, PrometheusError, RetryableError, UnknownNameError, UsageError
from prometheus.market.findings import Finding
from prometheus.market.quality import DEFECTS
from prometheus.regime.alerts import (
    Alert,
    AlertKind,
    Reading,
    RegimeChange,
    RoutedAlert,
    alerts_in,
    changes_in,
)
from prometheus.spelling import did_you_mean

if TYPE_CHECKING:
    from prometheus.alerts.settings import AlertSettings
    from prometheus.app.prices import NightlyRequest, RegionPlan

logger = logging.getLogger(__name__)

LOCK = "alerts"


@dataclass(frozen=True, slots=True)
class AlertReport:
    """How many alerts were sent and still wait, and by channel why; `messages` are what a dry run would send."""

    n_sent: int = 0
    n_pending: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[Mapping[str, Any], ...] = ()

    @property
    def failures(self) -> tuple[str, ...]:
        """A phrase for each channel that failed."""
        return tuple(f"channel {name}: {answer}" for name, answer in self.failed.items())

    @property
    def exit_code(self) -> int:
        """0, or 3 if a channel failed."""
        return 3 if self.failed else 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"sent": self.n_sent, "pending": self.n_pending, "failed": dict(self.failed)}


class SendAlerts(UseCase):
    """Sends what waits in the outbox, through the channels that are configured."""

    def __init__(self, wired: Wiring) -> None:
        super().__init__(wired)
        self.outbox = Outbox(wired.db_manager)

    @property
    def wired(self) -> Wiring:
        """The readers and stores that it shares."""
        return self._wired

    @cached_property
    def settings(self) -> AlertSettings | None:
        """Channels and rules, None where no file is configured; UsageError for a wrong one."""
        path = self._wired.config.alerts_file
        if path is None:
            return None
        from prometheus.alerts.settings import read_alert_settings  # noqa: PLC0415 -- only for those who have alerts

        return read_alert_settings(path)

    def send(self, now_utc: datetime, *, dry_run: bool = False) -> AlertReport:
        """Send all that waits, in order; what a channel does not take waits for the next time.

        UsageError without channels; RetryableError while another process sends.
        """
        self._configured()
        if dry_run:
            return self.planned()
        with only_run(self._wired.db_manager, LOCK, now_utc):
            return _Round(self).run()

    def planned(self) -> AlertReport:
        """Return what waits, each with its channel."""
        waiting = self.outbox.deliveries(DeliveryState.PENDING)
        messages = tuple({"channel": each.channel, **self.message_of(each.alert).payload} for each in waiting)
        return AlertReport(n_pending=len(waiting), messages=messages)

    def test(self, channel: str | None = None) -> dict[str, Outcome]:
        """Send a message of the kind ``test`` to one channel or each, and return how that ended; nothing is stored."""
        channels = self._configured().channels
        if channel is not None and channel not in channels:
            known = did_you_mean(channel, channels, "channels")
            raise UnknownNameError(f"there is no channel {channel!r} in the file of alerts; {known}")
        key, text = uuid.uuid4().hex, "This is a test: alerts of Prometheus arrive here"
        message = Message(key, text, {"id": key, "kind": "test", "text": text, "link": self._config.page_address})
        return {name: each.deliver(message) for name, each in channels.items() if channel in (None, name)}

    def log(self, limit: int, *, only_pending: bool = False) -> list[Delivery]:
        """Return the newest alerts and how their delivery went, oldest first."""
        return self.outbox.deliveries(DeliveryState.PENDING if only_pending else None, limit)

    def message_of(self, alert: Alert) -> Message:
        """Return an alert as it is sent."""
        return Message(alert.key, alert.text, alert.to_dict(self._config.page_address))

    @property
    def _config(self) -> PrometheusConfig:
        return self._wired.config

    def _configured(self) -> AlertSettings:
        if self.settings is None:
            raise UsageError(
                "no alerts are configured; set PROMETHEUS_ALERTS_FILE to a TOML file of channels and rules"
            )
        return self.settings


class _Round:
    """One pass over the outbox. A channel that fails is left alone, one that refuses a message only for its region."""

    def __init__(self, alerts: SendAlerts) -> None:
        self._alerts, self._outbox = alerts, alerts.outbox
        self._channels = {} if alerts.settings is None else alerts.settings.channels
        self._blocked: set[tuple[str, str | None]] = set()
        self._failed: dict[str, str] = {}
        self._n_sent = 0

    def run(self) -> AlertReport:
        while waiting := [
            each for each in self._outbox.deliveries(DeliveryState.PENDING) if not self._is_blocked(each)
        ]:
            for delivery in waiting:
                if not self._is_blocked(delivery):
                    self._deliver(delivery)
        return AlertReport(self._n_sent, self._outbox.n_pending(), self._failed)

    def _is_blocked(self, delivery: Delivery) -> bool:
        name, region = delivery.channel, delivery.alert.region
        return not self._blocked.isdisjoint({(name, None), (name, region)})

    def _deliver(self, delivery: Delivery) -> None:
        name = delivery.channel
        channel = self._channels.get(name)
        if channel is None:
            self._outbox.record(delivery, DeliveryState.DROPPED, "the channel is not configured any longer", 0)
            return
        try:
            outcome = channel.deliver(self._alerts.message_of(delivery.alert))
        except DEFECTS as error:  # of one channel must cost neither the others nor the night
            logger.exception("a defect of this program")
            outcome = Outcome(False, f"unexpected {type(error).__name__}: {error}", 1)
        state = DeliveryState.SENT if outcome.is_sent else DeliveryState.PENDING
        self._outbox.record(delivery, state, outcome.answer, outcome.n_attempts)
        if outcome.is_sent:
            self._n_sent += 1
            return
        self._blocked.add((name, delivery.alert.region if outcome.was_refused else None))
        self._failed.setdefault(name, outcome.answer)


class NightAlerts:
    """What one night tells: changes of label since the last night that ended, and alerts by the rules configured."""

    def __init__(self, alerts: SendAlerts, request: NightlyRequest) -> None:
        self._alerts, self._outbox, self._settings = alerts, alerts.outbox, alerts.settings
        self._request = request
        self._told: dict[tuple[str, str], date] = {}
        self._late: set[str] = set()

    def storage(self, region: str, model_id: str, end: date) -> RegimeStorage:
        """Return a storage of states that writes their alerts in the same transaction."""
        wired, dry_run = self._alerts.wired, self._request.dry_run
        if dry_run:
            return wired.storage
        self._outbox.open_mark(region, model_id, end)
        if self._settings is None:
            return wired.storage
        return RegimeStorage(wired.db_manager, on_saved=partial(note_saved, judge=self._judge))

    def changes(self, region: str, model_id: str) -> tuple[RegimeChange, ...]:
        """Return the changes that no ended night has told, of states that other commands have stored, too."""
        if self._settings is not None and not self._request.dry_run:
            self._outbox.note_states(region, model_id, self._judge)
        readings = self._outbox.readings(region, model_id)
        if readings:
            self._told[region, model_id] = readings[-1].as_of_date
        return tuple(changes_in(region, model_id, readings))

    def end(self) -> None:
        """Note that all changes returned are told."""
        if not self._request.dry_run:
            self._outbox.advance_marks(self._told)

    def late(self, plans: Sequence[RegionPlan]) -> None:
        """Tell of regions whose prices lack sessions."""
        self._late = {plan.region for plan in plans if plan.stale}
        self._tell(
            Alert(
                AlertKind.LATE, plan.region, "", plan.as_of_date, ", ".join(plan.stale), f"prices are late: {plan}",
                {"lacking": list(plan.stale)},
            )
            for plan in plans if plan.stale
        )  # fmt: skip

    def found(self, region: str, findings: Sequence[Finding]) -> None:
        """Tell of faults in the prices of a region that the night came to first."""
        self._tell(
            Alert(
                AlertKind.FINDING, region, "", each.first, f"{each.instrument_id} {each.kind}", f"{region}: {each}",
                {"finding": each.to_dict()},
            )
            for each in findings
        )  # fmt: skip

    def failed(self, failures: Mapping[str, Iterable[str]]) -> None:
        """Tell of the regions and texts that failed, but for late prices."""
        regions = self._alerts.wired.config.regions
        for name, reasons in failures.items():
            if name not in self._late:
                self._tell(self._failure(name if name in regions else "", f"{name}: {each}") for each in reasons)

    def send(self) -> AlertReport:
        """Send what waits; a dry run only counts it."""
        if self._settings is None:
            return AlertReport()
        if self._request.dry_run:
            return self._alerts.planned()
        try:
            return self._alerts.send(self._request.now_utc)
        except RetryableError as error:
            if isinstance(error, DatabaseError):
                raise
            logger.info("alerts are left to a process that sends them already (%s)", error)
            return AlertReport(n_pending=self._outbox.n_pending())

    @contextmanager
    def of_failure(self) -> Iterator[None]:
        """Tell of an error that ends the night, and raise it; without a database straight to the channels."""
        try:
            yield
        except Exception as error:
            code = error.code if isinstance(error, PrometheusError) else ""
            if self._settings is None or self._request.dry_run or code == "run_under_way":
                raise
            alert = self._failure("", str(error) if code else f"unexpected {type(error).__name__}: {error}")
            try:
                if code != "stale_prices":
                    self._tell([alert])
                report = self.send()
            except DatabaseError:
                report = self._send_unstored(alert)
            for failure in report.failures:
                logger.warning("alerts: %s", failure)
            raise

    def _failure(self, region: str, reason: str) -> Alert:
        day = self._request.as_of_date or self._request.now_utc.date()
        return Alert(AlertKind.FAILED, region, "", day, reason, f"the night up to {day} failed: {reason}")

    def _send_unstored(self, alert: Alert) -> AlertReport:
        failed = {}
        if self._settings is not None:
            for _, route in self._settings.routed([alert]):
                outcome = self._settings.channels[route.channel].deliver(self._alerts.message_of(alert))
                if not outcome.is_sent:
                    failed[route.channel] = outcome.answer
        return AlertReport(failed=failed)

    def _judge(self, region: str, model_id: str, readings: Sequence[Reading]) -> Iterable[RoutedAlert]:
        if self._settings is None:
            return ()
        return self._settings.routed(alerts_in(region, model_id, readings, self._settings.levels(region)))

    def _tell(self, alerts: Iterable[Alert]) -> None:
        if self._settings is not None and not self._request.dry_run:
            self._outbox.add(self._settings.routed(alerts))
