"""Alerts of the nightly run: sent, tried out and listed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from prometheus.cli.parameters import option
from prometheus.cli.runner import Answer, command_app, new_group, subcommand, table
from prometheus.spelling import spell_instant

if TYPE_CHECKING:
    from prometheus.app.alerts import AlertReport
    from prometheus.data.outbox import Delivery

COLUMNS = ("written", "channel", "state", "attempts", "answer", "alert")

alerts = new_group("Send, test and list alerts of the nightly run.")


@subcommand(alerts, "", "--channel desk", name="test")
def try_out(
    channel: Annotated[str | None, option("Only this one.", metavar="NAME")] = None,
) -> Answer:
    """Send a test message to each channel now; nothing is stored."""
    with command_app("alerts") as application:
        outcomes = application.alerts.test(channel)
    facts = {
        name: {"sent": each.is_sent, "answer": each.answer, "attempts": each.n_attempts}
        for name, each in outcomes.items()
    }
    lines = [f"{name}: {'sent' if each.is_sent else 'failed'}, {each.answer}" for name, each in outcomes.items()]
    return Answer(lambda: facts, lambda: "\n".join(lines), 0 if all(each.is_sent for each in outcomes.values()) else 3)


@subcommand(alerts, "", "--dry-run")
def send(
    dry_run: Annotated[bool, option("Say what would be sent; send nothing.", "--dry-run", "--plan")] = False,
) -> Answer:
    """Send all alerts that wait, those that failed before included."""
    with command_app("alerts") as application:
        report = application.alerts.send(datetime.now(UTC), dry_run=dry_run)
    return Answer(
        lambda: {**report.to_dict(), **({"messages": list(report.messages)} if dry_run else {})},
        lambda: "\n".join(_sent_lines(report)),
        report.exit_code,
        [f"failed: {failure}" for failure in report.failures],
    )


@subcommand(alerts, "--pending", name="list")
def list_alerts(
    pending: Annotated[bool, option("Only those that wait to be sent.", "--pending")] = False,
    limit: Annotated[int, option("The newest of them.", min=1, max=100_000)] = 50,
) -> Answer:
    """Print the log of deliveries, oldest first."""
    with command_app("alerts") as application:
        found = application.alerts.log(limit, only_pending=pending)
    rows = [_row(each) for each in found]
    return Answer(
        lambda: [_facts(each) for each in found],
        lambda: "\n".join(table([COLUMNS, *rows])) if rows else "no alerts are stored",
    )


def _sent_lines(report: AlertReport) -> Sequence[str]:
    shown = [f"{each['channel']}: {each['text']}" for each in report.messages]
    return [*shown, f"{report.n_sent} sent, {report.n_pending} pending, {len(report.failed)} channels failed"]


def _row(delivery: Delivery) -> tuple[str, ...]:
    return (
        spell_instant(delivery.created_at), delivery.channel, delivery.state.lower(), str(delivery.attempts),
        delivery.answer or "-", delivery.alert.text,
    )  # fmt: skip


def _facts(delivery: Delivery) -> dict[str, Any]:
    tried_at = delivery.tried_at
    return {
        "channel": delivery.channel, "rule": delivery.rule, "state": delivery.state.lower(),
        "attempts": delivery.attempts, "answer": delivery.answer,
        "tried_at": None if tried_at is None else tried_at.isoformat(), "created_at": delivery.created_at.isoformat(),
        "alert": delivery.alert.to_dict(),
    }  # fmt: skip
