"""What is stored, by name, and how far it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from prometheus.app.wiring import UseCase
from prometheus.data.reader import load_bar_extents
from prometheus.data.series import list_series
from prometheus.encoders.texts.documents import TextSourceType

Rows = Literal["prices", "regimes", "joint", "macro", "news", "texts", "nightly"]
"""Whose dates are asked for; of ``nightly`` the prices of every configured region."""
Names = Literal["regions", "instruments", "markets", "models", "series"]

SOURCES: Mapping[str, Sequence[TextSourceType]] = {"macro": ["MACRO"], "news": ["NEWS"], "texts": ["MACRO", "NEWS"]}
MODEL_KINDS = ("numeric", "regime", "text", "joint")


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows of some kind, of the instruments, the market, the regions or the series named, or of all."""

    rows: Rows
    instruments: Sequence[str] = ()
    market: str | None = None
    regions: Sequence[str] = ()
    model_id: str | None = None
    series: Sequence[str] = ()


class ListStored(UseCase):
    """Lists names, and finds the newest date."""

    def regions(self) -> list[str]:
        """Return the regions that have regimes, in order."""
        return sorted({each.region for each in self._wired.timelines.histories()})

    def names(self, kind: Names) -> list[str]:
        """Return the stored names of a kind in order; of regions also those that are configured."""
        if kind == "regions":
            return sorted({*self.regions(), *self._wired.config.regions})
        if kind == "series":
            return [each.series_id for each in list_series(self._wired.db_manager)]
        if kind == "models":
            return sorted(name for each in MODEL_KINDS for name in self._wired.registry.ids_of_kind(each))
        rows = self._wired.catalog.describe()
        return sorted({row.market_id if kind == "markets" else row.instrument_id for row in rows})

    def newest(self, asked: Asked) -> date | None:
        """Return the newest date of the rows asked for; None without any."""
        if asked.series:
            stored = list_series(self._wired.db_manager)
            return max((each.last for each in stored if each.series_id in asked.series), default=None)
        if asked.rows == "regimes":
            return self._newest_regime(asked)
        if asked.rows == "joint":
            found = (rows for each in asked.regions for rows in self._wired.joint_vectors.stored_rows(each, date.max))
            return max((rows.last for rows in found if asked.model_id in (None, rows.model_id)), default=None)
        if asked.rows in ("prices", "nightly"):
            extents = load_bar_extents(self._wired.db_manager, self._instruments(asked), date.max)
            return max((each.newest for each in extents.values()), default=None)
        today = datetime.now(UTC).date()
        return max(filter(None, (self._wired.texts.newest(each, today) for each in SOURCES[asked.rows])), default=None)

    def _newest_regime(self, asked: Asked) -> date | None:
        found = [
            each for each in self._wired.timelines.histories() if not asked.regions or each.region in asked.regions
        ]
        of_model = [each for each in found if asked.model_id in (each.model_id, each.encoder_model_id)]
        return max((each.last for each in of_model or found), default=None)

    def _instruments(self, asked: Asked) -> list[str]:
        configured = self._wired.config.regions
        if asked.instruments:
            return list(asked.instruments)
        if asked.market is not None:
            return self._wired.catalog.list_instruments(asked.market)
        regions = list(configured) if asked.rows == "nightly" else asked.regions
        members = [name for region in regions if region in configured for name in configured[region].members]
        return members or self.names("instruments")
