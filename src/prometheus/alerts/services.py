"""Slack, Teams and some hundred other services, by the library Apprise."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

from pydantic import field_validator

from prometheus.alerts.channel import Channel, DeliveryError, Message
from prometheus.core.secrets import SecretSource
from prometheus.errors import MissingExtraError


class Services(Channel):
    """Notifies what one of Apprise's addresses names; they hold tokens, so the address is kept like a password."""

    type: Literal["apprise"]
    address: SecretSource

    @field_validator("address")
    @classmethod
    def _is_known(cls, address: SecretSource) -> SecretSource:
        if find_spec("apprise") is None:
            raise ValueError(str(MissingExtraError("a channel of type apprise", "alerts")))
        if not _notifier().add(address.reveal()):
            raise ValueError("Apprise knows no service by this address")
        return address

    def send(self, message: Message) -> str:
        """Notify once; Apprise says only whether it worked."""
        notifier = _notifier()
        notifier.add(self.address.reveal())
        if not notifier.notify(title=message.text, body=message.describe()):
            raise DeliveryError("the service did not take it, or did not answer")
        return "taken by the service"


def _notifier() -> Any:
    import apprise  # noqa: PLC0415 -- an extra

    return apprise.Apprise()
