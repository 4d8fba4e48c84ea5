"""Backfill of regimes: embed a region's windows, classify them, store both."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus.backfill.numeric import InstrumentSource, Progress, build_windows, name_unknown
from prometheus.backfill.plan import CHUNK_WINDOWS, BackfillReport, DateSpan
from prometheus.encoders import NumericWindowBuilder
from prometheus.encoders.registry import ModelRegistry
from prometheus.regime import NumericRegimeModel, RegimeState, RegimeStorage, SeedRegimeModel


@dataclass(frozen=True, slots=True, eq=False)
class RegimeRun:
    """What a regime backfill did, and the newest state it computed."""

    embeddings: BackfillReport
    regimes: BackfillReport
    latest: RegimeState


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
        builder: NumericWindowBuilder,
        model: NumericRegimeModel | SeedRegimeModel,
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
        InsufficientHistoryError, StaleHistoryError, UnknownInstrumentError
            There is no window to classify.
        """
        instrument_id = self._model.instrument_of(region)
        build = build_windows(self._builder, [instrument_id], span, self._model.window_days)
        if build.failures:
            raise name_unknown(build.failures, self._instruments)[0]
        embeddings = regimes = BackfillReport()
        n_windows = len(build.windows)
        progress(0, n_windows)
        for first in range(0, n_windows, CHUNK_WINDOWS):
            windows = build.windows.take(slice(first, first + CHUNK_WINDOWS))
            batch = self._model.encoder.encode(windows)
            states = self._model.states(batch, region)
            if first == 0 and isinstance(self._model, NumericRegimeModel):
                self._registry.register(self._model.model_id, "regime", self._model.config)
            embeddings += BackfillReport(len(batch), self._model.encoder.save(batch))
            regimes += BackfillReport(len(states), self._storage.save_regimes(states))
            progress(first + len(windows), n_windows)
        return RegimeRun(embeddings, regimes, states[-1])
