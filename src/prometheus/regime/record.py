"""The forward record: what was said of a date, chained by hash, and whether the chain still holds.

The hash of a statement is SHA-256 over the hash of the one before it (32 zero bytes before the first) and the fields
of `FIELDS` as the binary COPY of PostgreSQL writes them, each with its length. The number of a statement is its place
in the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from hashlib import sha256
from sys import float_info
from typing import Any

from numpy.typing import NDArray

from prometheus.arrays import Coded, Float64Vector, Int64Vector
from prometheus.regime.history import LABELS
from prometheus.regime.states import RegimeStates
from prometheus.regime.types import RegimeState

FIELDS = (
    "region", "model_id", "as_of_date", "regime_label", "confidence", *(label.name.lower() for label in LABELS),
    "high_volatility", "threshold", "is_held", "instruments", "input_hash", "said_at",
)  # fmt: skip
"""What a statement says, by column."""
_NUMBERS = (int, float)


@dataclass(frozen=True, slots=True)
class Head:
    """How many statements there are, and the hash of the last."""

    n_statements: int
    hash: bytes

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"statements": self.n_statements, "hash": self.hash.hex()}


EMPTY = Head(0, bytes(32))


@dataclass(frozen=True, slots=True)
class Link:
    """A statement, its fields as bytes; in a stored one that was changed these may be anything."""

    number: int
    said: bytes
    hash: bytes

    def follows(self, before: bytes) -> bool:
        """Return whether this was said after the statement with that hash."""
        return self.hash == link(before, self.said)


@dataclass(frozen=True, slots=True)
class Statement:
    """What was said of a region and a date, once and for all, and what the tables say of them today.

    `probabilities` are by label, `high_volatility` is the probability that the volatility of the 21 sessions after the
    date, annualised, exceeds `threshold`: None where the model says none. `instruments` are those it was made of, the
    heaviest first. `label_today` is None where the regime is gone, or unless `is_compared`.
    """

    number: int
    region: str
    model_id: str
    as_of_date: date
    label: str
    confidence: float
    probabilities: Mapping[str, float | None]
    high_volatility: float | None
    threshold: float | None
    is_held: bool
    instruments: tuple[str, ...]
    input_hash: int | None
    said_at: datetime
    hash: bytes
    label_today: str | None
    is_compared: bool = True

    @property
    def today(self) -> str | None:
        """Whether the tables say the ``same`` today, ``changed`` it, or it is ``gone``; None unless compared."""
        if not self.is_compared:
            return None
        if self.label_today is None:
            return "gone"
        return "same" if self.label_today == self.label else "changed"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = {name: getattr(self, name) for name in type(self).__slots__ if name != "is_compared"}
        return {
            **values, "as_of_date": str(self.as_of_date), "instruments": list(self.instruments),
            "said_at": self.said_at.isoformat(), "hash": self.hash.hex(), "today": self.today,
        }  # fmt: skip


def link(before: bytes, said: bytes) -> bytes:
    """Return the hash of a statement that is said after the one with the hash `before`."""
    return sha256(before + said).digest()


def fields_of(state: RegimeState, input_hash: int | None, said_at: datetime) -> tuple[Any, ...]:
    """Return what a state says, at an instant, in the order of `FIELDS`.

    Probabilities, threshold and instruments are read from the metadata that our models write; what other metadata has
    in their place is no statement.
    """
    metadata = state.metadata
    probabilities, high = metadata.get("probabilities"), metadata.get("high_volatility")
    return (
        str(state.region), str(state.model_id), date.fromordinal(state.as_of_date.toordinal()),
        state.regime_label.value, float(state.confidence),
        *[_number(probabilities, label.value, 1.0) for label in LABELS],
        _number(high, "probability", 1.0), _number(high, "threshold", float_info.max),
        "held" in metadata, _instruments(metadata), input_hash, said_at,
    )  # fmt: skip


def columns_of(
    states: Sequence[RegimeState], input_hashes: Sequence[int | None] | Int64Vector, said_at: datetime
) -> list[Sequence[Any] | NDArray[Any]]:
    """Return what `fields_of` does of each state, by field; as columns where the states are."""
    if not isinstance(states, RegimeStates):
        pairs = zip(states, input_hashes, strict=True)
        return list(zip(*(fields_of(state, made_of, said_at) for state, made_of in pairs), strict=True))
    n, details = len(states), states.details
    probabilities, high = details.get("probabilities", {}), details.get("high_volatility", {})
    region, model_id, threshold, instant = (
        Coded.of_one(value, n)
        for value in (states.region, states.model_id, _number(high, "threshold", float_info.max), said_at)
    )
    return [
        region, model_id, states.dates, Coded([label.value for label in states.names], states.labels),
        states.confidences, *[_numbers(probabilities.get(label.value), n) for label in LABELS],
        _numbers(high.get("probability"), n), threshold,
        Coded.of_shared(states.sources, lambda source: "held" in source),
        Coded.of_shared(states.sources, _instruments), input_hashes, instant,
    ]  # fmt: skip


def _numbers(values: Float64Vector | None, n: int) -> Sequence[float | None] | Float64Vector:
    if values is None:
        return Coded.of_one(None, n)
    is_share = (values >= 0.0) & (values <= 1.0)
    return values if is_share.all() else [value if 0.0 <= value <= 1.0 else None for value in values.tolist()]


def _number(values: Any, name: str, most: float) -> float | None:
    value = values.get(name) if isinstance(values, dict) else None
    return float(value) if isinstance(value, _NUMBERS) and 0 <= value <= most else None


def _instruments(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    name, members = metadata.get("instrument_id"), metadata.get("members")
    if isinstance(name, str):
        return (str(name),)
    if not isinstance(members, dict):
        return ()
    return tuple(sorted(map(str, members), key=lambda each: (-(_number(members, each, float_info.max) or 0.0), each)))


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a record; the number of the row that shows it first, None if no row does, and whose it is."""

    number: int | None
    reason: str
    name: str | None = None

    def __str__(self) -> str:
        if self.number is None:
            return self.reason
        return f"statement {self.number}{f' ({self.name})' if self.name else ''} {self.reason}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found: the head that sound statements lead to, and the first fault, None if all are sound."""

    head: Head
    fault: Fault | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self.head.to_dict(), "fault": None if self.fault is None else asdict(self.fault)}


def verify(read: Callable[[], Iterable[Link]], head: Head, kept: bytes | None = None) -> Verdict:
    """Compute every hash of the record again, in constant memory; name the first statement that does not fit.

    `read` gives all rows by number, and is called again to look for where a row that does not fit would. `head` is the
    stored head, `kept` one that was noted earlier, None for none.
    """
    rows, reached = iter(read()), EMPTY
    is_met = kept in (None, EMPTY.hash)
    for row in rows:
        if row.number != reached.n_statements + 1 or not row.follows(reached.hash):
            return Verdict(reached, _misfit(row, rows, read, reached, head))
        reached = Head(row.number, row.hash)
        is_met = is_met or row.hash == kept
    n_rows = reached.n_statements
    if n_rows > head.n_statements:
        fault = Fault(head.n_statements + 1, f"was inserted: the head counts {head.n_statements} statements")
    elif n_rows < head.n_statements:
        fault = Fault(n_rows + 1, f"is missing, and all after it up to {head.n_statements}")
    elif reached != head:
        fault = Fault(None, "the stored head was altered: it is not the hash of the last statement")
    elif not is_met:
        fault = Fault(None, "no statement has the hash that you kept: the record was written anew")
    else:
        return Verdict(reached, None)
    return Verdict(reached, fault)


def _misfit(row: Link, rest: Iterator[Link], read: Callable[[], Iterable[Link]], reached: Head, head: Head) -> Fault:
    """Return what is wrong with the first row that does not follow on what was reached; all rows are read."""
    place = reached.n_statements + 1
    following = next(rest, None)
    n_rows = place + (following is not None) + sum(1 for _ in rest)
    if row.number > place:
        return Fault(place, f"is missing; the next one is {row.number}")
    if row.number < place:
        reason = "was inserted: its number is taken, or none"
    elif any(row.follows(each.hash) for each in read()):
        reason = "was re-ordered: it stood at another place"
    elif following is not None and following.follows(reached.hash):
        reason = "was inserted: the one after it follows on the one before it"
    elif n_rows < head.n_statements:
        reason = f"was altered, or what stood before it is missing: {n_rows} of {head.n_statements} are left"
    else:
        reason = "was altered: its hash is not that of what it says after the one before it"
    return Fault(row.number, reason)
