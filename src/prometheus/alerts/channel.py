"""What every channel does alike: a message, attempts with growing pauses, and a deadline for each."""

from __future__ import annotations

import json
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from prometheus.core.files import reason_of
from prometheus.errors import RetryableError
from prometheus.spelling import printable

MOST_ANSWER = 200
"""Characters kept of what a receiver answers."""
FIRST_PAUSE_S = 1.0
"""Before the second attempt; doubled before each later one."""


class DeliveryError(RetryableError, code="delivery"):
    """A channel did not take a message."""


class RefusedMessageError(DeliveryError, code="refused_message"):
    """The receiver answered, and does not want this message; trying at once again is of no use."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel sends: an id that every attempt repeats, one line for people, and JSON values for machines."""

    key: str
    text: str
    payload: Mapping[str, Any]

    def to_json(self) -> bytes:
        """Return the JSON object."""
        return json.dumps(self.payload, allow_nan=False, sort_keys=True).encode()

    def describe(self) -> str:
        """Return the line, and the link where there is one."""
        return "\n".join(filter(None, (self.text, self.payload.get("link"))))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the attempts to deliver a message ended; `was_refused` if the receiver answered that it does not want it."""

    is_sent: bool
    answer: str
    n_attempts: int
    was_refused: bool = False


class Channel(BaseModel):
    """A way out; `attempts` are made one after the other, each of `timeout_s` seconds at most."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    faults: ClassVar[tuple[type[Exception], ...]] = (OSError,)
    """Errors of the outside world, beside `DeliveryError`."""

    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 3

    @abstractmethod
    def send(self, message: Message) -> str:
        """Send once and return what was answered; `DeliveryError`, or one of `faults`."""

    def deliver(self, message: Message) -> Outcome:
        """Send until it is taken, refused, or the attempts are used up."""
        for n_attempts in range(1, self.attempts + 1):
            try:
                return Outcome(True, _shown(self._send_in_time(message)), n_attempts)
            except DeliveryError as error:
                was_refused = isinstance(error, RefusedMessageError)
                if was_refused or n_attempts == self.attempts:
                    return Outcome(False, _shown(str(error)), n_attempts, was_refused)
            time.sleep(FIRST_PAUSE_S * 2 ** (n_attempts - 1))
        raise AssertionError("the last attempt returns")

    def _send_in_time(self, message: Message) -> str:
        try:
            return within(self.timeout_s, lambda: self.send(message))
        except TimeoutError:
            raise DeliveryError(f"no answer within {self.timeout_s:g} s") from None
        except DeliveryError:
            raise
        except self.faults as error:
            reason = reason_of(error) if getattr(error, "strerror", None) else f"{type(error).__name__}: {error}"
            raise DeliveryError(reason) from error


def _shown(answer: str) -> str:
    return printable(answer).strip()[:MOST_ANSWER]


def within(seconds: float, work: Callable[[], str]) -> str:
    """Return what `work` returns; `TimeoutError` if it takes longer, and its thread is left to itself.

    Time-outs of sockets count from byte to byte, and those of name servers cannot be set: neither bounds the whole.
    """
    answer: Future[str] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer.result(seconds)
