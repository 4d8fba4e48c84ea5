"""What was told about an instrument by each session: how much, how new, and in which direction.

A text counts for the first session on or after the date on which it became known, and so for forecasts of the sessions
after that one alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix, Float64Matrix, Float64Vector, Int64Vector
from prometheus.errors import WindowShapeError

N_DIRECTIONS = 8
"""Principal directions of the daily mean vector."""
COMPARED_SESSIONS = 20
"""Sessions before, of which the nearest text says how new a text is."""
USUAL_SESSIONS = 22
"""Sessions before, whose mean is the usual number of texts."""


@dataclass(frozen=True, slots=True, eq=False)
class Stories:
    """Texts about one instrument, oldest first: the date each became known, shape (n,), and its vector, (n, dim).

    A text without a vector has NaN for it; `WindowShapeError` where the two differ in length.
    """

    days: DateVector
    vectors: Float32Matrix

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.days):
            raise WindowShapeError("vectors of texts", self.vectors.shape, (len(self.days), "dim"))


@dataclass(frozen=True, slots=True, eq=False)
class ToldSessions:
    """By session, shape (n,): the number of texts, and of those with a vector the novelty and the mean, (n, dim).

    Novelty is 1 less the largest cosine with a text of the sessions before, averaged over the texts of the session.
    Both are NaN on a session without a vector.
    """

    n_texts: Int64Vector
    novelty: Float64Vector
    means: Float64Matrix

    @classmethod
    def of(cls, stories: Stories, dates: DateVector) -> Self:
        """Return what was told by each session of `dates`, without texts of before the first or after the last."""
        session = np.searchsorted(dates, stories.days)
        is_kept = (stories.days >= dates[0]) & (session < len(dates))
        session, vectors = session[is_kept], stories.vectors[is_kept].astype(np.float64)
        n_texts = np.bincount(session, minlength=len(dates)).astype(np.int64)
        has_vector = np.isfinite(vectors).all(axis=1)
        novelty, means = _novelty_and_means(session[has_vector], vectors[has_vector], len(dates))
        return cls(n_texts, novelty, means)

    def __len__(self) -> int:
        return len(self.n_texts)

    def since(self, first: int, last: int) -> Self:
        """Return the sessions from one position up to, not including, another."""
        rows = slice(first, last)
        return replace(self, n_texts=self.n_texts[rows], novelty=self.novelty[rows], means=self.means[rows])

    def shifted(self, n_sessions: int) -> Self:
        """Return the same, told a number of sessions later; what passes the end comes back at the beginning."""
        return type(self)(
            np.roll(self.n_texts, n_sessions),
            np.roll(self.novelty, n_sessions),
            np.roll(self.means, n_sessions, axis=0),
        )

    def counts(self) -> Float64Matrix:
        """Return log(1 + texts), and its distance from the mean of the sessions before, shape (n, 2)."""
        amount = np.log1p(self.n_texts)
        sums = np.concatenate([[0.0], np.cumsum(amount)])
        ends = np.arange(len(amount))
        begins = np.maximum(ends - USUAL_SESSIONS, 0)
        usual = np.divide(sums[ends] - sums[begins], ends - begins, out=amount.copy(), where=ends > begins)
        return np.column_stack([amount, amount - usual])

    def directions(self, fitted: slice) -> Float64Matrix:
        """Return how far each mean vector lies along the principal directions of the fitted ones, shape (n, 8).

        The directions, centred on the fitted mean, come by falling variance; NaN without a vector, and 0 where fewer
        vectors than directions were fitted.
        """
        has_vector = np.isfinite(self.novelty)
        seen = self.means[fitted][has_vector[fitted]]
        scores = np.full((len(self), N_DIRECTIONS), np.nan)
        scores[has_vector] = 0.0
        if len(seen) > N_DIRECTIONS:
            centre = seen.mean(axis=0)
            _, axes = np.linalg.eigh((seen - centre).T @ (seen - centre))
            chosen = np.ascontiguousarray(axes[:, ::-1][:, :N_DIRECTIONS].T)
            # each score summed alone: a matrix product of more rows may add in another order
            scores[has_vector, : len(chosen)] = np.einsum("td,kd->tk", self.means[has_vector] - centre, chosen)
        return scores


def _novelty_and_means(
    session: Int64Vector, vectors: Float64Matrix, n_sessions: int
) -> tuple[Float64Vector, Float64Matrix]:
    """Return both by session, of texts in order of their sessions."""
    novelty, means = np.full(n_sessions, np.nan), np.full((n_sessions, vectors.shape[1]), np.nan)
    lengths = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    units = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0.0)
    for at in np.unique(session).tolist():
        first, end = np.searchsorted(session, [at, at + 1]).tolist()
        before = units[np.searchsorted(session, at - COMPARED_SESSIONS) : first]
        novelty[at] = float((1.0 - _nearest(units[first:end], before)).mean())
        means[at] = vectors[first:end].mean(axis=0)
    return novelty, means


def _nearest(units: Float64Matrix, before: Float64Matrix) -> Float64Vector:
    """Return the largest cosine of each row with those before, 0 without any."""
    cosines: NDArray[np.float64] = units @ before.T if len(before) else np.zeros((len(units), 1))
    nearest: Float64Vector = cosines.max(axis=1)
    return nearest
