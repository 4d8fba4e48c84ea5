"""Which spans of an instrument are known to have all their windows stored, so that a run need not look at them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np

from prometheus.arrays import DateVector, Int64Vector
from prometheus.encoders.numeric.features import mixed


@dataclass(frozen=True, slots=True)
class CoveredSpan:
    """Every window of an instrument from `first` to `last` is stored, and no other row of its dates.

    `sources` is the digest of the bars up to `last` and of the decisions on them that the windows are made of,
    `made_by` that of the code and settings that make them. `n_rows` and `digest` tell the rows themselves
    (`digest_of_keys`). `n_outside_writes` counts what others had written into the table. `replaces` is the transaction
    that wrote the stored coverage in whose place this one stands, None for the first one.
    """

    entity_id: str
    first: date
    last: date
    sources: int
    made_by: int
    n_outside_writes: int
    n_rows: int
    digest: int
    replaces: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SpanState:
    """What is known of an instrument for a span asked for, at one moment.

    `sources` is the digest of what windows up to the end of the span are made of, `newest` the date of the newest bar
    of it; `covered` what is covered, if that is
    still true. `n_stored` counts the covered rows in the span, 0 if it begins before them; `has_tail` says whether the
    span goes on behind them with a bar or a row. `transaction` wrote the stored coverage, true or not.
    """

    entity_id: str
    sources: int
    newest: date | None
    made_by: int
    n_outside_writes: int
    transaction: int | None = None
    covered: CoveredSpan | None = None
    n_stored: int = 0
    has_tail: bool = False

    def covers(self, first: date, n_rows: int, digest: int) -> CoveredSpan:
        """Return what is covered once all rows from `first` to the newest bar, by number and digest, are stored, too.

        Both spans if it begins right behind what is covered, else that which reaches further.
        """
        last = self.newest or first
        span = CoveredSpan(
            self.entity_id, first, last, self.sources, self.made_by, self.n_outside_writes, n_rows, digest,
            self.transaction,
        )  # fmt: skip
        covered = self.covered
        if covered is None or first <= covered.first:
            return span
        if first - timedelta(days=1) == covered.last:
            return replace(span, first=covered.first, n_rows=covered.n_rows + n_rows, digest=covered.digest ^ digest)
        is_longer = first > covered.last and last - first > covered.last - covered.first
        return span if is_longer else covered


def digest_of_keys(as_of_dates: DateVector, input_hashes: Int64Vector) -> int:
    """Return a digest, of 64 bits and signed, of distinct dates with the hash of each, shape (n,), in any order.

    The exclusive or of a digest of each, so that the digest of two spans is that of both digests.
    """
    digests = mixed(mixed(as_of_dates.astype("M8[D]").astype(np.int64).view(np.uint64)) ^ input_hashes.view(np.uint64))
    return int(np.bitwise_xor.reduce(digests, initial=np.uint64(0)).view(np.int64))
