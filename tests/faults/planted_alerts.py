"""The nightly run with a bug planted in it: an alert counts as sent before it is.

``python -m tests.faults.planted_alerts OPTIONS`` takes the options of the real command. It exists to show that the kill
test would see such a bug.
"""

from __future__ import annotations

import sys

from prometheus.app import alerts
from prometheus.cli.runner import application_of, run
from prometheus.data.outbox import Delivery, DeliveryState, Outbox


class CountsTooEarly(Outbox):
    """Notes as sent what it only hands out."""

    def deliveries(self, state: DeliveryState | None = None, newest: int | None = None) -> list[Delivery]:
        """Mark the first of what waits before it goes out."""
        found = super().deliveries(state, newest)[:1]
        for each in found:
            self.record(each, DeliveryState.SENT, "planted", 1)
        return found


def main() -> int:
    """Run the command with the bug in it."""
    vars(alerts)["Outbox"] = CountsTooEarly
    return run(application_of("nightly"), sys.argv[1:], prog_name="planted")


if __name__ == "__main__":
    sys.exit(main())
