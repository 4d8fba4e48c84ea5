"""Backfill of regimes: embed a region's windows, classify them, store both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from prometheus.backfill.numeric import InstrumentSource, Progress, name_unknown
from prometheus.backfill.plan import CHUNK_WINDOWS, BackfillReport, DateSpan
from prometheus.encoders import NumericWindowSpec
from prometheus.encoders.numeric import EncodableWindows
from prometheus.encoders.registry import ModelRegistry
from prometheus.errors import InputRefusedError, InsufficientHistoryError
from prometheus.regime import RegimeState, RegimeStorage, SeedRegimeModel
from prometheus.regime.model_numeric import EncodingRegimeModel


@dataclass(frozen=True, slots=True, eq=False)
class RegimeRun:
    """What a regime backfill did, and the newest state it computed.

    The failures of `embeddings` are the sessions of a region that were left out, each with the reason.
    """

    embeddings: BackfillReport
    regimes: BackfillReport
    latest: RegimeState


class RangeBuild(Protocol):
    """The windows that could be built, and why the others could not."""

    @property
    def windows(self) -> EncodableWindows:
        """By date."""

    @property
    def failures(self) -> tuple[InputRefusedError, ...]:
        """One per session, or per entity, without any."""


class RegimeWindowSource(Protocol):
    """What a backfill needs of a builder, of instruments' windows or of regions'."""

    def build_trailing(self, spec: NumericWindowSpec, as_of_date: date, n_windows: int) -> EncodableWindows:
        """Return the windows of the last sessions up to a date, oldest first, or raise."""

    def build_range(
        self, entity_ids: Sequence[str], start: date, end: date, window_days: int, n_lead: int, /
    ) -> RangeBuild:
        """Return the windows of a range, and those of as many sessions before it."""


class RegimeBackfill:
    """Fills ``numeric_window_embeddings``, ``regimes`` and ``regime_transitions`` for one region.

    Parameters
    ----------
    builder
        Makes windows.
    model
        Classifies; its encoder embeds and stores.
    storage
        Receives the states.
    registry
        Records what the regime model's id means, or refuses it, before the first state is stored.
    instruments
        Tells an unknown instrument from one with too little history.
    """

    def __init__(
        self,
        builder: RegimeWindowSource,
        model: EncodingRegimeModel,
        storage: RegimeStorage,
        registry: ModelRegistry,
        instruments: InstrumentSource,
    ) -> None:
        self._builder = builder
        self._model = model
        self._storage = storage
        self._registry = registry
        self._instruments = instruments

    def run(self, region: str, span: DateSpan, progress: Progress) -> RegimeRun:
        """Compute and store the regimes of one date or of every session observed in a range.

        Raises
        ------
        InsufficientHistoryError, StaleHistoryError, UnknownInstrumentError, RegionMembersError
            There is no window to classify.
        """
        windows, left_out = self._windows(self._model.spec_of(region), span)
        embeddings, regimes = BackfillReport(failures=left_out), BackfillReport()
        n_lead = self._model.n_lead
        n_wanted = len(windows) - n_lead
        progress(0, n_wanted)
        for first in range(0, n_wanted, CHUNK_WINDOWS):
            chunk = windows.take(slice(first, first + CHUNK_WINDOWS + n_lead))
            batch = self._model.encoder.encode(chunk)
            states = self._model.states(batch, region)
            if first == 0 and not isinstance(self._model, SeedRegimeModel):
                self._registry.register(self._model.model_id, "regime", self._model.config)
            wanted = batch.take(slice(n_lead, None))
            embeddings += BackfillReport(len(wanted), self._model.encoder.save(wanted))
            regimes += BackfillReport(len(states), self._storage.save_regimes(states))
            progress(first + len(wanted), n_wanted)
        return RegimeRun(embeddings, regimes, states[-1])

    def _windows(
        self, spec: NumericWindowSpec, span: DateSpan
    ) -> tuple[EncodableWindows, tuple[InputRefusedError, ...]]:
        """Return the windows of the sessions wanted, after those of as many sessions as the model looks back on.

        And the sessions wanted that have none.
        """
        n_lead = self._model.n_lead
        try:
            if not span.is_range:
                return self._builder.build_trailing(spec, span.start, n_lead + 1), ()
            build = self._builder.build_range([spec.entity_id], span.start, span.end, spec.window_days, n_lead)
            if build.failures and not len(build.windows):
                raise build.failures[-1]
        except InputRefusedError as error:
            named = name_unknown([error], self._instruments)[0]
            if span.is_range and isinstance(named, InsufficientHistoryError):
                needed = spec.window_days + n_lead  # of a range the builder asks for one window only
                raise InsufficientHistoryError(named.instrument_id, named.as_of, needed, named.found) from None
            raise named from None
        if len(build.windows) <= n_lead:
            found = len(build.windows) + spec.window_days - 1
            raise InsufficientHistoryError(spec.entity_id, span.end, spec.window_days + n_lead, found)
        return build.windows, build.failures
