"""Databases for the Python face: evidence, bars, and saving."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import numpy as np

from prometheus.app.text_models import TextModels
from prometheus.app.wiring import UseCase
from prometheus.backfill.plan import DateSpan, regime_chunks
from prometheus.backfill.regime import RegimeBackfill, RegimeReport
from prometheus.data.instruments import StoredInstrument
from prometheus.data.report import InstrumentReport
from prometheus.data.series import StoredSeries, list_series
from prometheus.data.vectors.index import WindowIndex
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.encoders.numeric.encoder import NumericWindowEncoder
from prometheus.encoders.numeric.features import LOG_PRICES
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import NumericWindowBuilder
from prometheus.encoders.texts.daily import DailyTexts
from prometheus.encoders.texts.documents import INSTRUMENT, TEXT_TABLES, TextSelection, TextSourceType
from prometheus.errors import InputRefusedError, no_text_embeddings
from prometheus.market.bars import DECISION, PriceBars
from prometheus.market.calendar import TradingCalendar
from prometheus.market.frames import FIELDS
from prometheus.regime.explanation import Evidence
from prometheus.regime.history import RegimeTimeline
from prometheus.regime.model_persistent import PersistentRegimeModel, explainer_of
from prometheus.regime.prototypes import PrototypeSet
from prometheus.spelling import did_you_mean

__all__ = ["InstrumentReport", "Notebook", "Saved", "StoredInstrument", "StoredSeries"]


class Saved(NamedTuple):
    """The counts of new or changed rows, and whether the instrument has prices."""

    region: str
    instrument_id: str
    model_id: str
    n_states: int
    n_embeddings: int
    has_prices: bool


class Notebook(UseCase):
    """Reads what a notebook looks at, and stores what it computed."""

    def evidence(self, region: str, model_id: str, span: DateSpan) -> tuple[RegimeTimeline, Evidence]:
        """Return a stored timeline and the evidence for its labels."""
        found, probabilities, vectors = self._wired.timelines.evidence(region, model_id, span.start, span.end)
        return found, Evidence(probabilities, vectors, explainer_of(self._wired.registry.load_config(model_id)))

    def instruments(self) -> list[StoredInstrument]:
        """Return the reference rows of all instruments."""
        return self._wired.catalog.describe()

    def series(self) -> list[StoredSeries]:
        """Return which series are stored, from when to when."""
        return list_series(self._wired.db_manager)

    def prices(self, instrument_id: str, span: DateSpan, known_at: datetime | None = None) -> PriceBars:
        """Return the stored bars of an instrument, as they are or were known at an instant.

        InputRefusedError, with similar names, if it is unknown.
        """
        reader = self._wired.reader if known_at is None else self._wired.as_known_at(known_at).reader
        if not reader.known_instruments([instrument_id]):
            known = did_you_mean(instrument_id, [row.instrument_id for row in self.instruments()], "instruments")
            raise InputRefusedError(f"unknown instrument {instrument_id!r}; {known}")
        bars = reader.load_bars([instrument_id], span.start, span.end, 1, (*FIELDS, DECISION))
        return bars.take(slice(int(np.searchsorted(bars.dates, np.datetime64(span.start))), None))

    def text_means(
        self, instrument_id: str, source_type: TextSourceType, span: DateSpan, model_id: str | None
    ) -> tuple[str, DailyTexts]:
        """Return the mean vector of each date's texts that concern an instrument, and whose vectors they are.

        InputRefusedError for an instrument that no such text concerns; NotFoundError without vectors.
        """
        self._wired.texts.require_known(TEXT_TABLES[source_type].name, {INSTRUMENT: instrument_id})
        chosen = model_id or TextModels(self._wired).newest(source_type)
        wanted = TextSelection(source_type, chosen or "", {INSTRUMENT: instrument_id})
        found = self._wired.daily_texts.load(wanted, span.start, span.end)
        if chosen is None or not len(found.dates):
            raise no_text_embeddings([source_type], chosen)
        return chosen, found

    def save(
        self, bars: PriceBars, prototype_set: PrototypeSet, region: str, instrument_id: str, span: DateSpan
    ) -> Saved:
        """Store embeddings, states and transitions of a span as ``run_numeric_regime`` would of the same bars."""
        named = PriceBars((instrument_id,), bars.offsets, bars.dates, bars.fields, bars.values)
        builder = NumericWindowBuilder(named, TradingCalendar(), LOG_PRICES)
        numeric, store = ScaleFreeNumericEmbeddingModel(), self._wired.vectors
        encoder = NumericWindowEncoder(builder=builder, model=numeric, store=store, model_id=NUM_REGIME_CORE_V2)
        anchors = {region: instrument_id}
        model = PersistentRegimeModel(encoder=encoder, region_instruments=anchors, prototype_set=prototype_set)
        work = RegimeBackfill(builder, model, self._wired.storage, self._wired.registry, named)
        report = RegimeReport()
        for chunk in regime_chunks(region, span):
            report += work.write(work.encode(work.read(chunk)))
        if report.embeddings.written:
            WindowIndex(self._wired.db_manager, NUM_REGIME_CORE_V2).sync()
        has_prices = bool(self._wired.reader.known_instruments([instrument_id]))
        written = (report.regimes.written, report.embeddings.written)
        return Saved(region, instrument_id, model.model_id, *written, has_prices)
