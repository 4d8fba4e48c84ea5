"""E-mail by SMTP."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import format_datetime, localtime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from prometheus.alerts.channel import Channel, DeliveryError, Message, RefusedMessageError
from prometheus.core.config import Name
from prometheus.core.secrets import SecretSource

PORTS = {"starttls": 587, "tls": 465, "none": 25}
MailAddress = Annotated[str, Field(pattern=r"^[!-?A-~]+@[!-?A-~]+$")]


class Mail(Channel):
    """Sends each alert as a mail; the id of the mail is that of the alert, so a second copy can be told.

    `security` is ``starttls``, ``tls`` from the first byte, or ``none``, which sends no password.
    """

    faults: ClassVar[tuple[type[Exception], ...]] = (OSError, smtplib.SMTPException)

    type: Literal["mail"]
    host: Name
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: Name | None = None
    password: SecretSource | None = None
    sender: MailAddress
    recipients: Annotated[list[MailAddress], Field(min_length=1)]

    @field_validator("host")
    @classmethod
    def _is_only_a_host(cls, host: str) -> str:
        if any(letter in host for letter in "@/ \t"):
            raise ValueError("is a host alone, such as smtp.example; user and password have settings of their own")
        return host

    @model_validator(mode="after")
    def _keep_the_password(self) -> Mail:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together; give both or neither")
        if self.security == "none" and self.user is not None:
            raise ValueError('a password is not sent without TLS; set security to "starttls" or "tls"')
        return self

    def send(self, message: Message) -> str:
        """Hand the mail to the server; `RefusedMessageError` if it refuses all recipients for good.

        If it takes the mail for some, that is sent: the answer names the others, as they would get no second one alone.
        """
        port, context = self.port or PORTS[self.security], ssl.create_default_context()
        if self.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, port, timeout=self.timeout_s, context=context)
        else:
            server = smtplib.SMTP(self.host, port, timeout=self.timeout_s)
        with server:
            if self.security == "starttls":
                server.starttls(context=context)
            if self.user is not None and self.password is not None:
                server.login(self.user, self.password.reveal())
            try:
                refused = server.send_message(self._written(message))
            except smtplib.SMTPRecipientsRefused as error:
                kind = (
                    RefusedMessageError if all(code >= 500 for code, _ in error.recipients.values()) else DeliveryError
                )
                raise kind(_listed(error.recipients)) from error
        return f"taken by {self.host}{', but not for ' if refused else ''}{_listed(refused)}"

    def _written(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = message.text[:150]
        mail["From"], mail["To"] = self.sender, ", ".join(self.recipients)
        mail["Date"] = format_datetime(localtime())
        mail["Message-ID"] = f"<{message.key}@{self.sender.partition('@')[2]}>"
        mail.set_content(f"{message.describe()}\n\n{message.to_json().decode()}\n")
        return mail


def _listed(refused: Mapping[str, tuple[int, bytes]]) -> str:
    return "; ".join(f"{name}: {code} {said.decode('ascii', 'replace')}" for name, (code, said) in refused.items())
