"""Whose prices a region stands for, and the closes themselves."""

from __future__ import annotations

from datetime import date

import numpy as np

from prometheus.app.databases import DatabaseManager
from prometheus.data.reader import DataReader
from prometheus.data.timelines import RegimeTimelines
from prometheus.errors import NoRegimesError, UnknownInstrumentError, UsageError
from prometheus.market.bars import Closes
from prometheus.regime.history import RegimeHistory, preferred_history


class RegionPrices:
    """Finds the instrument that a region's regimes are read against, and its closes.

    Parameters
    ----------
    db_manager
        The databases.
    """

    def __init__(self, db_manager: DatabaseManager) -> None:
        self._config = db_manager.config
        self._timelines = RegimeTimelines(db_manager)
        self._reader = DataReader(db_manager=db_manager)

    def instrument_of(self, region: str, until: date) -> str:
        """Return the instrument whose sessions are a region's dates, as its newest state up to a date says.

        Of a region of several instruments it is the configured anchor, or the heaviest member.

        Raises
        ------
        NoRegimesError, UsageError
            There is no state, or it does not say what it was made of.
        """
        histories = [each for each in self._timelines.histories(until) if each.region == region]
        if not histories:
            raise NoRegimesError(region, f"up to {until}")
        found = self._find_instrument(region, preferred_history(histories).encoder_model_id, until)
        if found is None:
            raise UsageError(f"no state of region {region} says whose closes it follows; give --instrument-id")
        return found

    def closes(self, instrument_id: str, until: date) -> Closes:
        """Return all closes of an instrument up to a date.

        Raises
        ------
        UnknownInstrumentError
            There are none.
        """
        found = self._load(instrument_id, date.min, until)
        if not len(found.dates):
            raise UnknownInstrumentError(instrument_id)
        return found

    def behind(self, history: RegimeHistory, start: date, end: date) -> Closes:
        """Return the closes behind a history from `start` to `end`; none where no instrument or no bar is known."""
        return self._load(self._find_instrument(history.region, history.encoder_model_id, history.last), start, end)

    def _find_instrument(self, region: str, encoder_model_id: str, until: date) -> str | None:
        source = self._timelines.vector_source(region, encoder_model_id, until)
        if source is not None and source.instrument_id is not None:
            return source.instrument_id
        members = self._timelines.members_of(region, until)
        configured = self._config.regions.get(region)
        if configured is not None and configured.anchor in members:
            return configured.anchor
        return max(sorted(members), key=lambda name: members[name], default=None)

    def _load(self, instrument_id: str | None, start: date, end: date) -> Closes:
        named = [] if instrument_id is None else [instrument_id]
        bars = self._reader.load_bars(named, start, end, 1, ["adjusted_close"])
        is_asked = bars.dates >= np.datetime64(start, "D")
        return Closes(instrument_id, bars.dates[is_asked], bars.column("adjusted_close")[is_asked])
