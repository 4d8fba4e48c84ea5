"""A program of the user's own that gets each alert on standard input."""

from __future__ import annotations

import shutil
import subprocess
from typing import Annotated, Literal

from pydantic import Field, field_validator

from prometheus.alerts.channel import Channel, DeliveryError, Message
from prometheus.core.config import Name


class Command(Channel):
    """Runs a program, without a shell; exit code 0 means that it has taken the alert."""

    type: Literal["command"]
    command: Annotated[list[Name], Field(min_length=1)]

    @field_validator("command")
    @classmethod
    def _is_a_program(cls, command: list[str]) -> list[str]:
        if shutil.which(command[0]) is None:
            raise ValueError(f"{command[0]!r} is no program that can be run; give its whole path")
        return command

    def send(self, message: Message) -> str:
        """Run it once, and end it if it outlasts the time."""
        try:
            ended = subprocess.run(  # noqa: S603 -- the words are the user's own, and no shell reads them
                self.command, input=message.to_json(), capture_output=True, timeout=self.timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        if ended.returncode == 0:
            return "exit code 0"
        lines = ended.stderr.decode("utf-8", "replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        raise DeliveryError(f"exit code {ended.returncode}{': ' if said else ''}{said}")
