"""What regions and instruments are: what they stand on, which models label them, how far their prices reach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from prometheus.app.histories import Histories
from prometheus.app.overview import ListedInstrument
from prometheus.data.reader import load_bar_extents
from prometheus.errors import UsageError, unknown_instrument
from prometheus.regime.history import RegimeHistory, preferred_history

if TYPE_CHECKING:
    from prometheus.app import App

VECTORS = ("centers", "prototypes")
"""Parts of a model's recorded configuration that are vectors, or their digest."""


@dataclass(frozen=True, slots=True)
class LabellingModel:
    """A regime model of a region: its history, and its recorded configuration without vectors, empty if unrecorded."""

    history: RegimeHistory
    config: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, and dates."""
        config = {name: value for name, value in self.config.items() if name not in VECTORS}
        return {**asdict(self.history), "has_prototypes": self.history.has_prototypes, "config": config}


@dataclass(frozen=True, slots=True)
class RegionDefinition:
    """What a region stands on, as its states say it, and the models that label it; `weights` are by member.

    `instrument_id` is whose sessions are its dates, `market` None if that has no reference row. `texts` are country and
    language of the texts joined with it, as the settings are now; None of a past date, or if it is not configured.
    """

    region: str
    instrument_id: str
    market: str | None
    weights: Mapping[str, float]
    models: Sequence[LabellingModel]
    texts: Mapping[str, str | None] | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, and dates."""
        default = preferred_history([each.history for each in self.models])
        return {
            "region": self.region, "instrument_id": self.instrument_id, "market": self.market,
            "members": dict(self.weights), "default_model_id": default.model_id,
            "models": [each.to_dict() for each in self.models], "texts": self.texts,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class DefinedInstrument:
    """An instrument with its first bar, and the regions that stand on it."""

    listed: ListedInstrument
    first: date
    regions: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self.listed.to_dict(), "first": str(self.first), "regions": list(self.regions)}


class Define:
    """Reads definitions as of a date; nothing later counts."""

    def __init__(self, app: App) -> None:
        self._app = app

    def region(self, region: str, as_of: date | None = None) -> RegionDefinition:
        """Return the definition of a region, now or as of a date, by models that had learned from nothing later.

        NoRegimesError without any regime.
        """
        wired = self._app.wired
        asked, until = Histories(wired), as_of or date.max
        if as_of is None:
            asked.choose(region)
        else:
            asked.choose_known(region, as_of)
        instrument_id = asked.instrument_of(region, until)
        configured = wired.config.regions.get(region) if as_of is None else None
        return RegionDefinition(
            region, instrument_id, wired.catalog.markets_of([instrument_id]).get(instrument_id),
            wired.timelines.members_of(region, until) or {instrument_id: 1.0},
            [
                LabellingModel(each, asked.model_config(each.model_id) or {})
                for each in asked.known(until) if each.region == region
            ],
            None if configured is None else {"country": configured.country, "language": configured.language},
        )  # fmt: skip

    def instruments(
        self, as_of: date | None = None, market_id: str | None = None, first_id: str = "", limit: int | None = None
    ) -> list[DefinedInstrument]:
        """Return the instruments with a bar up to a date, today without one, in order of id from one on."""
        until = as_of or datetime.now(UTC).date()
        found = list(islice(self._app.overview.instruments(until, market_id, first_id), limit))
        names = [each.instrument.instrument_id for each in found]
        extents = load_bar_extents(self._app.db_manager, names, until)
        regions: defaultdict[str, list[str]] = defaultdict(list)
        for region, behind in self._app.overview.behind(until).items():
            for name in behind:
                regions[name].append(region)
        return [
            DefinedInstrument(each, extents[name].first, sorted(regions[name]))
            for each, name in zip(found, names, strict=True)
        ]

    def subjects(
        self, region: str | None, instrument_id: str | None, market_id: str | None, as_of: date | None = None
    ) -> list[str]:
        """Return the instruments behind a region, the one named, or all, perhaps of one market, in order of id.

        NoRegimesError or NotFoundError if the one named is unknown, by a date if that is given.
        """
        wired, until = self._app.wired, as_of or date.max
        if (region, instrument_id, market_id).count(None) < 2:
            raise UsageError("give one of region, instrument and market")
        if region is not None:
            return sorted(self.region(region, as_of).weights)
        if instrument_id is None:
            return sorted(
                each.instrument_id for each in wired.catalog.describe() if market_id in (None, each.market_id)
            )
        if not len(wired.reader.load_bars([instrument_id], until, until, 1, ["close"])):
            raise unknown_instrument(instrument_id)
        return [instrument_id]
