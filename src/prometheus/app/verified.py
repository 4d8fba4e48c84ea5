"""What `db verify` looks at and what it says: a sample of rows, rows that are wrong, and the sums of a table."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prometheus.arrays import VECTOR_DTYPE
from prometheus.errors import UsageError

LAST_DIGITS = 1e-4
"""How far a value of a unit vector of a text may be off on another processor or runtime."""
SHOWN = 40
"""Characters of a value in a line for people."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Which rows of a table are looked at: all, a number or a share of them, drawn by a seed."""

    n_rows: int | None = None
    share: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_rows is not None and self.share is not None:
            raise UsageError("give --sample or --share, not both")
        if self.share is not None and not 0.0 < self.share <= 1.0:
            raise UsageError(f"--share {self.share:g}: choose a number above 0, up to 1")

    def choose(self, name: str, sizes: Sequence[int]) -> list[list[int] | None]:
        """Return of each series of rows the places that are looked at, ascending; None for all of them.

        Every row of a table is as likely as any other; the same name, sizes and seed give the same rows.

        Examples
        --------
        >>> sum(len(places) for places in Sample(n_rows=5).choose("regimes", [90, 10]))
        5
        >>> Sample().choose("regimes", [90, 10])
        [None, None]
        """
        total = sum(sizes)
        wanted = total if self.share is None else round(self.share * total)
        wanted = wanted if self.n_rows is None else min(self.n_rows, total)
        if wanted == total:
            return [None] * len(sizes)
        drawn = np.random.default_rng([self.seed, zlib.crc32(name.encode())]).choice(total, wanted, replace=False)
        ends = np.cumsum([0, *sizes])
        parts = np.split(np.sort(drawn), np.searchsorted(np.sort(drawn), ends[1:-1]))
        return [(part - begin).tolist() for part, begin in zip(parts, ends[:-1], strict=True)]


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A row that is not what its inputs give: where it stands, what is stored there and what it should be.

    `way_out` says what to do where `--repair` cannot help.
    """

    table: str
    key: str
    column: str
    stored: str
    wanted: str
    code: str = "row_differs"
    way_out: str = ""

    def __str__(self) -> str:
        line = f"{self.table}: {self.key}: {self.column} is {self.stored}, not {self.wanted}"
        return f"{line}{f'; {self.way_out}' if self.way_out else ''} [{self.code}]"

    def to_dict(self) -> dict[str, str]:
        """Return JSON values."""
        return {
            "table": self.table, "key": self.key, "column": self.column, "stored": self.stored,
            "recomputed": self.wanted, "code": self.code, "way_out": self.way_out,
        }  # fmt: skip


@dataclass(slots=True)
class TableReport:
    """The sums of one table: rows, those compared, those that stand on other inputs now, wrong ones, reasons.

    `n_stale` rows are not wrong: a run over their dates would write them anew. `n_unknown` rows do not say what they
    were made of. `n_unread` could not be made again, and `unread` says why. `n_healed` of the `wrong` ones were put
    right, and `left` are the others. `n_adopted` of the unknown ones are from now on held to what they are.
    """

    table: str
    n_rows: int = 0
    n_compared: int = 0
    n_stale: int = 0
    n_unknown: int = 0
    n_unread: int = 0
    n_adopted: int = 0
    wrong: list[WrongRow] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    n_healed: int = 0
    left: list[WrongRow] = field(default_factory=list)

    def found(self, rows: Sequence[WrongRow], *, are_healed: bool) -> None:
        """Count wrong rows, and whether they were put right."""
        self.wrong += rows
        if are_healed:
            self.n_healed += len(rows)
        else:
            self.left += rows

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "table": self.table, "rows": self.n_rows, "compared": self.n_compared, "stale": self.n_stale,
            "unknown": self.n_unknown, "adopted": self.n_adopted, "unread": self.n_unread, "reasons": self.unread,
            "wrong": len(self.wrong), "healed": self.n_healed,
        }  # fmt: skip


def is_sound(vector: bytes) -> bool:
    """Return whether stored bytes are a vector of finite float32 values."""
    is_whole = len(vector) > 0 and len(vector) % VECTOR_DTYPE.itemsize == 0
    return is_whole and bool(np.isfinite(np.frombuffer(vector, VECTOR_DTYPE)).all())


def is_otherwise_rounded(stored: bytes, wanted: bytes) -> bool:
    """Return whether two vectors differ as two processors or runtimes do: in most values, and in the last digits alone.

    Examples
    --------
    >>> made, edited = np.linspace(0.1, 0.9, 8, dtype="<f4"), np.linspace(0.1, 0.9, 8, dtype="<f4")
    >>> edited[3] += np.float32(1e-6)
    >>> is_otherwise_rounded((made + np.float32(1e-6)).tobytes(), made.tobytes())
    True
    >>> is_otherwise_rounded(edited.tobytes(), made.tobytes())
    False
    """
    if len(stored) != len(wanted) or not is_sound(stored):
        return False
    have, want = np.frombuffer(stored, VECTOR_DTYPE), np.frombuffer(wanted, VECTOR_DTYPE)
    is_other = have != want
    return bool(2 * np.count_nonzero(is_other) > is_other.size and np.abs(have - want).max() <= LAST_DIGITS)


def describe_vectors(stored: bytes, wanted: bytes) -> tuple[str, str]:
    """Return what differs in two vectors, as people read it: the first value, and how many more.

    Examples
    --------
    >>> describe_vectors(np.array([1, 2, 3], "<f4").tobytes(), np.array([1, 5, 6], "<f4").tobytes())
    ('value 1 = 2 (and 1 more)', '5')
    """
    if len(stored) != len(wanted) or len(stored) % VECTOR_DTYPE.itemsize:
        return f"{len(stored)} bytes", f"{len(wanted)}"
    have, want = np.frombuffer(stored, "<u4"), np.frombuffer(wanted, "<u4")
    places = np.flatnonzero(have != want)
    first = int(places[0])
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    values = (np.frombuffer(each, VECTOR_DTYPE)[first] for each in (stored, wanted))
    was, should = (f"{value:.9g}" for value in values)
    return f"value {first} = {was}{more}", should


def shorten(value: object) -> str:
    """Return a value for one line: printable, and not long."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
