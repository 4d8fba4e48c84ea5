"""What stored regimes said around given dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from prometheus.app.histories import Histories
from prometheus.app.wiring import UseCase
from prometheus.core.files import require_writable
from prometheus.encoders.catalogue import knowledge_end
from prometheus.errors import InputRefusedError, NoRegimesError
from prometheus.evaluation.event_report import draw_events
from prometheus.evaluation.events import Event, EventStudy, EventWindow, StatedSessions, study_events
from prometheus.files.pictures import PICTURE, save_figure


@dataclass(frozen=True, slots=True)
class EventsRequest:
    """Regions by name, or those named like the members of a market, and the dates to look around.

    Without `model_id` the model that answers for each region is meant.
    """

    regions: tuple[str, ...]
    events: tuple[Event, ...]
    window: EventWindow
    market_id: str | None = None
    model_id: str | None = None


class StudyEvents(UseCase):
    """Looks at stored statements around dates."""

    def study(self, request: EventsRequest, picture: Path | None = None, *, force: bool = False) -> EventStudy:
        """Return the paths around the events, drawn into a file too if one is given, which replaces a picture of ours.

        A session counts that its model did not learn from. NoRegimesError for a region without regimes, or where no
        such session is left of any; InputRefusedError if no event lies in what is stored, or no member has regimes.
        """
        if picture is not None:
            require_writable(picture, PICTURE, force=force)
        asked = Histories(self._wired)
        stated = [self._stated(asked, name, request.model_id) for name in self._names(asked, request)]
        known = [each for each in stated if len(each.dates)]
        if not known:
            raise NoRegimesError(stated[0].region, "of dates that its model did not learn from")
        study = study_events(known, request.events, request.window, self._wired.progress)
        if picture is not None:
            save_figure(draw_events(study), picture, force=force)
        return study

    def _names(self, asked: Histories, request: EventsRequest) -> Sequence[str]:
        if request.market_id is None:
            return request.regions
        stored = {each.region for each in asked.histories(date.max)}
        found = [name for name in self._wired.catalog.list_instruments(request.market_id) if name in stored]
        if not found:
            raise InputRefusedError(
                f"no member of {request.market_id} has regimes; run calibrate --market-id {request.market_id}, then "
                f"run_numeric_regime --market-id {request.market_id}"
            )
        return found

    def _stated(self, asked: Histories, region: str, model_id: str | None) -> StatedSessions:
        history = asked.choose(region, model_id)
        timeline, bear = self._wired.timelines.bear_chances(region, history.model_id)
        closes = asked.closes_behind(history, date.min, history.last)
        return StatedSessions.of(timeline, bear, closes, knowledge_end(asked.model_config(history.model_id) or {}))
