"""Builders and encoders, wired to the databases; shared by the tasks that embed."""

from __future__ import annotations

import logging

from prometheus.core.database import DatabaseManager
from prometheus.core.time import US_EQ, TradingCalendar, TradingCalendarConfig
from prometheus.data.catalog import InstrumentCatalog
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder
from prometheus.encoders.features import CLOSE_VOLUME
from prometheus.encoders.protocols import NumericEmbeddingModel, feature_set_of
from prometheus.encoders.registry import create_numeric_model

logger = logging.getLogger(__name__)


class EncoderWiring:
    """Makes what an embedding task needs for a market and a model id.

    Parameters
    ----------
    db_manager
        The databases.
    """

    def __init__(self, db_manager: DatabaseManager) -> None:
        self._db = db_manager
        self.reader = DataReader(db_manager=db_manager)
        self.catalog = InstrumentCatalog(db_manager)

    def market_of(self, instrument_id: str) -> str:
        """Return the market whose calendar an instrument follows; US_EQ where nothing is known."""
        return self.catalog.markets_of([instrument_id]).get(instrument_id, US_EQ)

    def builder(self, market: str, model_id: str) -> NumericWindowBuilder:
        """Return a builder of the windows a model sees."""
        feature_set = feature_set_of(create_numeric_model(model_id))
        return NumericWindowBuilder(self.reader, calendar_of(market), feature_set)

    def encoder(self, builder: NumericWindowBuilder, model_id: str, window_days: int) -> NumericWindowEncoder:
        """Return an encoder that stores under a model id."""
        model = create_numeric_model(model_id)
        _warn_of_cut_windows(model, window_days)
        return NumericWindowEncoder(
            builder=builder,
            model=model,
            store=NumericEmbeddingStore(db_manager=self._db),
            model_id=model_id,
        )


def calendar_of(market: str) -> TradingCalendar:
    """Return the trading calendar of a market."""
    return TradingCalendar(TradingCalendarConfig(market=market))


def _warn_of_cut_windows(model: NumericEmbeddingModel, window_days: int) -> None:
    """Say so when a window is too long for the vector: the part that is cut off is the newest."""
    dim = getattr(model, "target_dim", None)
    if dim is not None and window_days * len(CLOSE_VOLUME.names) > dim:
        longest = dim // len(CLOSE_VOLUME.names)
        logger.warning(
            "a window of %d sessions does not fit into %d values; the model, as specified, cuts off the newest %d "
            "sessions: use at most %d", window_days, dim, window_days - longest, longest,
        )  # fmt: skip
