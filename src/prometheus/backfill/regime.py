"""Backfill of regimes: embed a region's windows, classify them, store both."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Int64Vector
from prometheus.backfill.embeddings import name_unknown, vector_bytes
from prometheus.backfill.plan import BackfillReport, DateSpan, RegimeChunk, is_stored, lost_dates
from prometheus.encoders.numeric.encoder import EmbeddingBatch
from prometheus.encoders.numeric.features import digests_of_runs
from prometheus.encoders.numeric.windows import NumericWindowSpec
from prometheus.errors import InputRefusedError, InsufficientHistoryError, RegionMembersError
from prometheus.protocols import (
    HashedWindows,
    InstrumentSource,
    JointVectorStore,
    ModelRegistry,
    RegimeWindowSource,
    StateStore,
)
from prometheus.regime.model_numeric import EncodingRegimeModel, SeedRegimeModel
from prometheus.regime.types import RegimeState

if TYPE_CHECKING:
    from prometheus.encoders.joint.examples import JointGroup

_NONE: DateVector = np.empty(0, dtype="M8[D]")


@dataclass(frozen=True, slots=True, eq=False)
class RegimeReport(BackfillReport):
    """The result for a region's dates; counts are of states, bytes of both tables, and there are no failures by rule.

    `embeddings` are the rows of the vectors, with the sessions of a region that were left out as failures; `newest` and
    `refused` hold per span the state of its newest date, or why it has no state; `joined_anew` counts joint rows
    rewritten because their states changed, by joint model. `without_index` are dates written whose forecast lacks
    an index that was not known.
    """

    embeddings: BackfillReport = field(default_factory=BackfillReport)
    newest: tuple[RegimeState, ...] = ()
    refused: tuple[InputRefusedError, ...] = ()
    joined_anew: Counter[str] = field(default_factory=Counter)
    without_index: tuple[date, ...] = ()

    @property
    def regimes(self) -> BackfillReport:
        """The report of the states alone."""
        return BackfillReport(self.planned, self.written, (), self.n_bytes - self.embeddings.n_bytes)

    def newest_state(self) -> RegimeState:
        """Return the state of the newest date; InputRefusedError with the reason without any."""
        if not self.newest:
            raise self.refused[-1]
        return max(self.newest, key=lambda state: state.as_of_date)


@dataclass(frozen=True, slots=True, eq=False)
class MissingRegimes:
    """The part of a span to compute, and once encoded its rows for both tables.

    `windows` run from the model's warm-up before the first missing date to the last missing one; `input_hashes`, shape
    (n_windows - warm_up,), int64, hash the inputs of each state, warm-up included; `newest` is the last date wanted;
    `lost_states` and `lost_vectors` are stored dates without a window; `is_new`: no vector of the span is stored;
    `index_windows` are of the market's index, where the model reads it; `without_index` are dates on which it was not
    known.
    """

    region: str
    windows: HashedWindows | None
    input_hashes: Int64Vector
    newest: date | None
    n_wanted: int
    lost_states: DateVector
    lost_vectors: DateVector
    is_new: bool = False
    left_out: tuple[InputRefusedError, ...] = ()
    refused: tuple[InputRefusedError, ...] = ()
    index_windows: HashedWindows | None = None
    batch: EmbeddingBatch | None = None
    states: Sequence[RegimeState] = ()
    without_index: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class RegimeBackfill:
    """Fills ``numeric_window_embeddings``, ``regimes`` and ``regime_transitions``; a `ChunkWork` for one region.

    `registry` records or refuses the regime model's id before the first state is stored; `instruments` tells an unknown
    one from one with too little history.
    """

    builder: RegimeWindowSource
    model: EncodingRegimeModel
    storage: StateStore
    registry: ModelRegistry
    instruments: InstrumentSource

    def read(self, chunk: RegimeChunk) -> MissingRegimes:
        """Build the windows of a span, and find dates whose state or embedding is missing or has other inputs."""
        spec, warm_up = self.model.spec_of(chunk.region), self.model.warm_up
        try:
            windows, left_out = self._windows(spec, chunk.span)
        except InputRefusedError as error:
            return MissingRegimes(chunk.region, None, np.empty(0, np.int64), None, 0, _NONE, _NONE, refused=(error,))
        self.model.encoder.require_same()
        if self._is_named:
            self.registry.require_same(self.model.model_id, "regime", self.model.config)
        wanted = windows.take(slice(warm_up, None))
        hashes = _state_hashes(windows.input_hashes, warm_up, f"{spec.entity_type} {spec.entity_id} {spec.window_days}")
        dates = wanted.as_of_dates
        index = self.model.index
        index_windows = None if index is None else index.windows(dates)
        if index_windows is not None:
            hashes = _hashes_with_index(hashes, index_windows, dates)
        reach = np.append(dates, np.datetime64(chunk.span.end, "D")) if chunk.span.is_range else dates
        states = self.storage.load_input_hashes(chunk.region, self.model.model_id, reach)
        vectors = self._stored_vectors(wanted, reach)
        is_there = is_stored(dates, hashes, states["as_of_date"], states["input_hash"])
        is_there &= is_stored(dates, wanted.input_hashes, vectors["as_of_date"], vectors["input_hash"])
        missing = np.flatnonzero(~is_there)
        refused = [failure.as_of for failure in left_out if isinstance(failure, RegionMembersError)]
        lost_states, lost_vectors = (lost_dates(rows["as_of_date"], dates, refused) for rows in (states, vectors))
        found = MissingRegimes(
            chunk.region, None, hashes[:0], dates[-1].item(), len(wanted), lost_states, lost_vectors, not len(vectors),
            left_out,
        )  # fmt: skip
        if not len(missing):
            return found
        first, stop = int(missing[0]), int(missing[-1]) + 1
        return replace(
            found, windows=windows.take(slice(first, stop + warm_up)), input_hashes=hashes[first:stop],
            index_windows=index_windows,
        )  # fmt: skip

    def count(self, wanted: MissingRegimes) -> RegimeReport:
        """Return the number of states to compute; some may prove unchanged."""
        first = None if wanted.windows is None else self.model.encoder.encode(wanted.windows.take(slice(0, 1)))
        n_missing = len(wanted.input_hashes)
        return self._report(replace(wanted, batch=first), n_missing, n_missing, dropped=len(wanted.lost_states))

    def encode(self, wanted: MissingRegimes) -> MissingRegimes:
        """Return the span with its embeddings and states."""
        if wanted.windows is None:
            return wanted
        batch = self.model.encoder.encode(wanted.windows)
        index, seen = self.model.index, None
        if index is not None and wanted.index_windows is not None:
            seen = index.rises(wanted.index_windows, batch.as_of_dates[self.model.warm_up :])
        states = self.model.states(batch, wanted.region, seen)
        batch = batch.take(slice(self.model.warm_up, None))
        unseen = () if seen is None else tuple(batch.as_of_dates[np.isnat(seen.sessions)].tolist())
        return replace(wanted, batch=batch, states=states, without_index=unseen)

    def write(self, encoded: MissingRegimes) -> RegimeReport:
        """Store embeddings, states and transitions; one transaction for each of the two databases."""
        n_embeddings = n_states = 0
        if encoded.batch is not None:
            if self._is_named:
                self.registry.register(self.model.model_id, "regime", self.model.config)
            n_embeddings = self.model.encoder.save(encoded.batch, is_new=encoded.is_new)
            n_states = self.storage.save_regimes(encoded.states, encoded.input_hashes)
        dropped = self._drop_lost(encoded)
        report = self._report(encoded, n_embeddings, n_states, *self._newest(encoded), dropped=dropped)
        return replace(report, without_index=encoded.without_index)

    def _drop_lost(self, found: MissingRegimes) -> int:
        """Delete what stands on bars that are gone; return how many states that were."""
        if len(found.lost_vectors):
            encoder, spec = self.model.encoder, self.model.spec_of(found.region)
            encoder.store.drop(
                encoder.entity_type, spec.entity_id, encoder.model_id, spec.window_days, found.lost_vectors
            )
        if not len(found.lost_states):
            return 0
        return self.storage.drop_regimes(found.region, self.model.model_id, found.lost_states)

    def _report(
        self, regimes: MissingRegimes, n_embeddings: int, n_states: int, *newest: RegimeState, dropped: int
    ) -> RegimeReport:
        each = 0 if regimes.batch is None else vector_bytes(regimes.batch.vectors)
        embeddings = BackfillReport(regimes.n_wanted, n_embeddings, regimes.left_out, n_embeddings * each)
        n_bytes = embeddings.n_bytes + n_states * each
        counts = (regimes.n_wanted, n_states, (), n_bytes, (), dropped)
        return RegimeReport(*counts, embeddings, newest, regimes.refused)

    @property
    def _is_named(self) -> bool:
        """Whether the model's id means more than its encoder."""
        return not isinstance(self.model, SeedRegimeModel)

    def _newest(self, encoded: MissingRegimes) -> Sequence[RegimeState]:
        newest = encoded.newest
        if newest is None or (encoded.states and encoded.states[-1].as_of_date == newest):
            # a copy of its own, as a report outlives the vectors of its chunk
            return [replace(each, regime_embedding=each.regime_embedding.copy()) for each in encoded.states[-1:]]
        return self.storage.get_history(encoded.region, newest, newest, self.model.model_id)

    def _stored_vectors(self, wanted: HashedWindows, reach: DateVector) -> NDArray[Any]:
        encoder = self.model.encoder
        entity_ids = [wanted.entity_ids[int(wanted.entity_index[0])]]
        return encoder.store.load_input_hashes(
            encoder.entity_type, entity_ids, encoder.model_id, wanted.window_days, reach
        )

    def _windows(self, spec: NumericWindowSpec, span: DateSpan) -> tuple[HashedWindows, tuple[InputRefusedError, ...]]:
        """Return the windows wanted, after their warm-up, and the failures of sessions without one."""
        warm_up = self.model.warm_up
        try:
            if not span.is_range:
                return self.builder.build_trailing(spec, span.start, warm_up + 1), ()
            build = self.builder.build_range([spec.entity_id], span.start, span.end, spec.window_days, warm_up)
            if build.failures and not len(build.windows):
                raise build.failures[-1]
        except InputRefusedError as error:
            named = name_unknown([error], self.instruments)[0]
            if span.is_range and isinstance(named, InsufficientHistoryError):
                needed = spec.window_days + warm_up  # of a range the builder asks for one window only
                raise InsufficientHistoryError(named.instrument_id, named.as_of, needed, named.found) from None
            raise named from None
        if len(build.windows) <= warm_up:
            found = len(build.windows) + spec.window_days - 1
            raise InsufficientHistoryError(spec.entity_id, span.end, spec.window_days + warm_up, found)
        return build.windows, build.failures


@dataclass(frozen=True, slots=True)
class MembersBackfill:
    """The regimes of many regions, each by the steps that `open_member` gives for its name; a `ChunkWork`.

    A region that cannot be opened is refused and stops no other.
    """

    open_member: Callable[[str], RegimeBackfill]

    def read(self, chunk: RegimeChunk) -> tuple[RegimeBackfill, MissingRegimes] | RegimeReport:
        """Open a region and read what is missing of it."""
        try:
            steps = self.open_member(chunk.region)
        except InputRefusedError as error:
            return RegimeReport(refused=(error,))
        return steps, steps.read(chunk)

    def count(self, wanted: tuple[RegimeBackfill, MissingRegimes] | RegimeReport) -> RegimeReport:
        """Return the number of states to compute."""
        return wanted if isinstance(wanted, RegimeReport) else wanted[0].count(wanted[1])

    def encode(
        self, wanted: tuple[RegimeBackfill, MissingRegimes] | RegimeReport
    ) -> tuple[RegimeBackfill, MissingRegimes] | RegimeReport:
        """Return the chunk with its embeddings and states."""
        return wanted if isinstance(wanted, RegimeReport) else (wanted[0], wanted[0].encode(wanted[1]))

    def write(self, encoded: tuple[RegimeBackfill, MissingRegimes] | RegimeReport) -> RegimeReport:
        """Store the chunk, in one transaction for each of the two databases."""
        return encoded if isinstance(encoded, RegimeReport) else encoded[0].write(encoded[1])


def _state_hashes(window_hashes: Int64Vector, warm_up: int, source: str) -> Int64Vector:
    """Return the hash of each state's inputs, shape (n,): its window, the warm-up windows, and their owner.

    `window_hashes` have shape (warm_up + n,) and are of consecutive sessions.
    """
    owner = int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest(), "little")
    starts = np.arange(len(window_hashes) - warm_up, dtype=np.int64)
    return digests_of_runs(window_hashes.view(np.uint64) ^ np.uint64(owner), starts, starts + warm_up + 1)


def _hashes_with_index(hashes: Int64Vector, index: HashedWindows, days: DateVector) -> Int64Vector:
    """Return the hashes of states, shape (n,), that stand on what was known of the market's index on their days, too.

    A day on which nothing was known is told from all others.
    """
    from prometheus.regime.market_index import newest_rows  # noqa: PLC0415 -- most models read no index

    known = np.append(index.input_hashes, np.int64(0))[newest_rows(index.as_of_dates, days)]
    starts = np.arange(0, 2 * len(hashes), 2, dtype=np.int64)
    return digests_of_runs(np.column_stack([hashes, known]).ravel().view(np.uint64), starts, starts + 2)


def stale_joins(
    store: JointVectorStore, storage: StateStore, region: str, numeric_model_id: str, start: date, end: date
) -> list[tuple[JointGroup, frozenset[date]]]:
    """Return the joint rows of a region, by group and date, that were written before their regimes.

    They are to be joined again; so a run killed in between is repaired by the next. Clocks of two database servers must
    agree. Rows without a recorded source are left alone.
    """
    groups = store.groups(region, numeric_model_id, start, end)
    if not groups:
        return []
    regimes = storage.written(region, numeric_model_id, start, end)
    found = [
        (group, frozenset(day for day, at in group.written.items() if day in regimes and regimes[day] > at))
        for group in groups
    ]
    return [(group, dates) for group, dates in found if dates]
