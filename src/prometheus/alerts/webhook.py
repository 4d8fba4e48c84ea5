"""Webhooks: a signed POST of JSON, as the specification Standard Webhooks has it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import ssl
import time
from typing import ClassVar, Literal
from urllib.parse import SplitResult

from pydantic import field_validator, model_validator

from prometheus import __version__
from prometheus.alerts.addresses import connect, parse_address, resolve
from prometheus.alerts.channel import Channel, DeliveryError, Message, RefusedMessageError
from prometheus.core.secrets import SecretSource

SECRET_PREFIX = "whsec_"  # noqa: S105 -- what secrets begin with, not one
MIN_KEY_BYTES = 24
AGAIN = frozenset({408, 425, 429})
"""Refusals by the moment, not of the message."""


class Webhook(Channel):
    """POSTs each alert to an address, signed with HMAC-SHA256 by a key that both sides have.

    The address is refused, when configured and at each connection, where it leads to a private network, unless
    `allow_private`; redirects are not followed.
    """

    faults: ClassVar[tuple[type[Exception], ...]] = (OSError, http.client.HTTPException)

    type: Literal["webhook"]
    address: str
    secret: SecretSource
    allow_private: bool = False

    @field_validator("address")
    @classmethod
    def _is_a_webhook(cls, address: str) -> str:
        parse_address(address)
        return address

    @field_validator("secret")
    @classmethod
    def _is_a_key(cls, secret: SecretSource) -> SecretSource:
        key_of(secret.reveal())
        return secret

    @model_validator(mode="after")
    def _leads_outside(self) -> Webhook:
        try:
            resolve(self._parts, allow_private=self.allow_private)
        except PermissionError as error:
            raise ValueError(error.strerror) from None
        except OSError:  # the name server may know it when there is something to send
            pass
        return self

    @property
    def _parts(self) -> SplitResult:
        return parse_address(self.address)

    def send(self, message: Message) -> str:
        """POST once and return the status; `RefusedMessageError` for one that trying again does not change."""
        body = message.to_json()
        headers = {
            "Content-Type": "application/json", "User-Agent": f"prometheus-regime/{__version__}",
            "Idempotency-Key": message.key, "Connection": "close",
            **signature_headers(self.secret.reveal(), message.key, int(time.time()), body),
        }  # fmt: skip
        status, reason = self._post(body, headers)
        answer = f"{status} {reason}".strip()
        if 200 <= status < 300:
            return answer
        if status >= 500 or status in AGAIN:
            raise DeliveryError(answer)
        raise RefusedMessageError(f"{answer}; redirects are not followed" if 300 <= status < 400 else answer)

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        parts = self._parts
        is_secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=self.timeout_s)
        try:
            link = connect(parts, self.timeout_s, allow_private=self.allow_private)
            connection.sock = link
            if is_secure:
                connection.sock = ssl.create_default_context().wrap_socket(link, server_hostname=parts.hostname)
            connection.request("POST", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.reason
        finally:
            connection.close()


def key_of(secret: str) -> bytes:
    """Return the key that a secret stands for: base64, ``whsec_`` before it or not; `ValueError` for anything else."""
    way_out = "make one with: openssl rand -base64 32"
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"the secret is not base64; {way_out}") from None
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"the secret has {len(key)} bytes, {MIN_KEY_BYTES} or more are wanted; {way_out}")
    return key


def signature_headers(secret: str, key: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of Standard Webhooks, whose signature covers all that a receiver must trust."""
    signed = b".".join((key.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": key, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}
