"""Which stored vectors can be compared: others are left out of a search and named, so that one does not end it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix
from prometheus.errors import VectorError

logger = logging.getLogger(__name__)

WAY_OUT = "python -m prometheus db verify --repair"
_FAULT = "is not finite, has no direction or has another length"


def unsound_rows(vectors: Float32Matrix) -> NDArray[np.bool_] | None:
    """Return which rows hold NaN or infinity, shape (n,); None where no row does.

    Rows of another length than expected are read as NaN.

    Examples
    --------
    >>> unsound_rows(np.array([[1, 2], [3, np.nan]], dtype=np.float32)).tolist()
    [False, True]
    >>> unsound_rows(np.ones((2, 3), dtype=np.float32)) is None
    True
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(vectors.sum()):  # neither NaN nor infinity leaves a sum finite; huge values are looked at
            return None
    is_bad = np.logical_not(np.isfinite(vectors).all(axis=1), dtype=bool)
    return np.asarray(is_bad) if is_bad.any() else None


@dataclass(frozen=True, slots=True, eq=False)
class SoundVectors:
    """The vectors that can be compared, one per date, ascending; shapes (n,) and (n, dim).

    `left_out` are the dates of the others, and `zeros` those of zero vectors, which have a distance and no direction.
    """

    dates: DateVector
    vectors: Float32Matrix
    left_out: DateVector
    zeros: DateVector

    @classmethod
    def of(cls, dates: DateVector, vectors: Float32Matrix) -> SoundVectors:
        """Return what can be compared of stored vectors."""
        left_out, is_bad = dates[:0], unsound_rows(vectors)
        if is_bad is not None:
            left_out, dates, vectors = dates[is_bad], dates[~is_bad], vectors[~is_bad]
        return cls(dates, vectors, left_out, dates[~vectors.any(axis=1)])

    def directions(self) -> SoundVectors:
        """Return the vectors that have a direction."""
        if not len(self.zeros):
            return self
        is_zero = np.isin(self.dates, self.zeros)
        left_out = np.sort(np.concatenate([self.left_out, self.zeros]))
        return SoundVectors(self.dates[~is_zero], self.vectors[~is_zero], left_out, self.zeros[:0])

    def left_out_until(self, day: date) -> tuple[date, ...]:
        """Return the dates left out up to one, ascending."""
        return tuple(self.left_out[: np.searchsorted(self.left_out, np.datetime64(day, "D"), side="right")].tolist())

    def require_own(self, day: date, days_back: int, owner: str) -> None:
        """Raise `VectorError` if the newest vector up to a date, at most some days before it, is left out."""
        bad = self.left_out_until(day)
        n_known = int(np.searchsorted(self.dates, np.datetime64(day, "D"), side="right"))
        newest = self.dates[n_known - 1].item() if n_known else date.min
        if bad and bad[-1] > newest and day - bad[-1] <= timedelta(days=days_back):
            raise unsound_vector(f"{owner} {bad[-1]}")


def unsound_vector(name: str) -> VectorError:
    """Return the refusal of a search whose own vector cannot be compared."""
    return VectorError(name, f"the stored vector {_FAULT}; run: {WAY_OUT}")


def warn_left_out(owner: str, names: Sequence[object]) -> None:
    """Say once which vector is left out of a search and how many more are; nothing where none is."""
    if names:
        more = f" (and {len(names) - 1:,} more)" if len(names) > 1 else ""
        logger.warning(
            "%s: the stored vector of %s%s %s and is left out; run: %s", owner, names[0], more, _FAULT, WAY_OUT
        )
