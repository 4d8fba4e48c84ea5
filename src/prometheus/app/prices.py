"""Prices: loading, reports, ended or stale histories, and the plan of a night."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus.app.standings import NightBars, NightStandings
from prometheus.app.wiring import UseCase, calendar_of
from prometheus.backfill.plan import Skipped
from prometheus.core.config import RegionDefinition
from prometheus.core.runs import retry_lost_connection
from prometheus.data.reader import BarExtent, load_bar_extents
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.encoders.numeric.windows import MAX_AGE_SESSIONS
from prometheus.errors import CalendarRangeError, NotFoundError, UsageError
from prometheus.market.calendar import US_EQ, last_closed_session
from prometheus.market.standings import Standing, Stands

if TYPE_CHECKING:
    from prometheus.data.report import InstrumentReport
    from prometheus.ingest.prices import PriceIngest
    from prometheus.ingest.report import IngestOptions, IngestReport

logger = logging.getLogger(__name__)


class LoadPrices(UseCase):
    """Loads files of prices and instruments, and reports on what is stored."""

    def ingest_prices(self, files: Sequence[Path], options: IngestOptions) -> IngestReport:
        """Load files of daily bars."""
        return retry_lost_connection(lambda: self._ingest().ingest_prices(files, options))

    def ingest_instruments(self, file: Path, options: IngestOptions) -> IngestReport:
        """Load a file of reference rows."""
        return retry_lost_connection(lambda: self._ingest().ingest_instruments(file, options))

    def report(self, instrument_ids: Sequence[str] | None, market_id: str | None) -> list[InstrumentReport]:
        """Return what is stored of each instrument, and what looks wrong with it."""
        from prometheus.data.report import build_data_report  # noqa: PLC0415 -- no other command needs it

        return build_data_report(self._wired.db_manager, instrument_ids=instrument_ids, market_id=market_id)

    def _ingest(self) -> PriceIngest:
        from prometheus.ingest.prices import PriceIngest  # noqa: PLC0415 -- pyarrow is slow to import

        return PriceIngest(self._wired.db_manager, self._wired.progress)


class PriceHistories(UseCase):
    """Tells histories that have ended, or not begun, which are skipped, from gaps and unloaded prices, which fail."""

    def skipped(self, instrument_ids: Sequence[str], market: str, start: date, end: date) -> Skipped:
        """Return the instruments of a market without any window from `start` to `end` by rule.

        Ended: the last bar is before `start` and more than five sessions older than `end`, while the market goes on.
        Not begun: all bars are after `end`.
        """
        extents = self._extents(instrument_ids, end)
        absent = [
            name for name in instrument_ids if name not in extents or self._is_over(extents[name], market, start, end)
        ]
        whole = self._extents(absent, date.max)
        not_begun = {name: whole[name].first for name in absent if name in whole and name not in extents}
        ended = {name: whole[name].newest for name in absent if name in extents and whole[name].newest < start}
        if ended and not self._goes_on(market, extents.values(), end):
            ended = {}
        return Skipped(ended, not_begun)

    def too_short(self, needed: Mapping[str, tuple[date, int]], market: str) -> Skipped:
        """Return the instruments whose life up to a day is shorter than a window: begun too late, or ended too soon."""
        not_begun, ended = {}, {}
        for day in {day for day, _ in needed.values()}:
            extents = self._extents([name for name in needed if needed[name][0] == day], day)
            over = {name for name, extent in extents.items() if self._is_over(extent, market, day, day)}
            if over and not self._goes_on(market, extents.values(), day):
                over = set()
            for name, extent in extents.items():
                n_after = _n_sessions(market, extent.first, extent.newest if name in over else day)
                if n_after is None or n_after + 1 >= needed[name][1]:
                    continue
                if name in over:
                    ended[name] = extent.newest
                else:
                    not_begun[name] = extent.first
        return Skipped(ended, not_begun)

    def _is_over(self, extent: BarExtent, market: str, start: date, end: date) -> bool:
        return extent.newest < start and (_n_sessions(market, extent.newest, end) or 0) > MAX_AGE_SESSIONS

    def _goes_on(self, market: str, extents: Iterable[BarExtent], day: date) -> bool:
        """Return whether any instrument of a market has a bar of the five sessions up to a day."""
        try:
            listed = self._wired.catalog.list_instruments(market)
        except NotFoundError:  # its instruments have no reference rows
            listed = []
        newest = max(each.newest for each in (*extents, *self._extents(listed, day).values()))
        age = _n_sessions(market, newest, day)
        return age is not None and age <= MAX_AGE_SESSIONS

    def _extents(self, instrument_ids: Sequence[str], until: date) -> dict[str, BarExtent]:
        return load_bar_extents(self._wired.db_manager, instrument_ids, until) if instrument_ids else {}


def _n_sessions(market: str, start: date, end: date) -> int | None:
    """Return the number of sessions in (`start`, `end`], or of days, if few; None before all calendars."""
    n_days = (end - start).days
    if n_days <= MAX_AGE_SESSIONS:  # the calendar, slow to load, is not needed then
        return n_days
    try:
        return calendar_of(market).n_sessions_after(start, end)
    except CalendarRangeError:  # a bar from before all calendars
        return None


@dataclass(frozen=True, slots=True)
class NightlyRequest:
    """The request of a nightly run; `now_utc` has a time zone.

    By default it goes on to each region's last session whose close has passed, from the first date stored or, without
    any, the first after the prototypes' calibration, else the first bar. Prices are late if more than
    `max_age_sessions` are missing; with `skip_stale` such a region is left out for good, otherwise the night waits for
    it. If it `is_strict`, someone should act on every standing that is not usual.
    """

    now_utc: datetime
    as_of_date: date | None = None
    since: date | None = None
    max_age_sessions: int = 0
    skip_stale: bool = False
    dry_run: bool = False
    is_strict: bool = False

    def __post_init__(self) -> None:
        if self.max_age_sessions < 0:
            raise UsageError(f"--max-age-sessions {self.max_age_sessions}: name a number from 0 on")
        end = self.as_of_date or self.now_utc.date()
        if self.since is not None and self.since > end:
            raise UsageError(f"--since {self.since} lies after {end}")


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """One region, its last session, where its instruments stand, and the region itself if it is not to be computed.

    `stale` has a phrase for each late instrument, `skipped` those that have ended or not begun. `present` has the id
    of each member under which its history goes on; `skipped` and `members` name that. `closed` is the standing of a
    region whose market had no session on the day asked for.
    """

    region: str
    definition: RegionDefinition
    market: str
    as_of_date: date
    first_bar: date | None
    stale: tuple[str, ...]
    skipped: Skipped = field(default_factory=Skipped)
    members: tuple[Stands, ...] = ()
    present: Mapping[str, str] = field(default_factory=dict)
    closed: Stands | None = None

    @property
    def instruments(self) -> tuple[str, ...]:
        """The present ids of its members, each once."""
        return tuple(dict.fromkeys(self.present.get(name, name) for name in self.definition.members))

    @property
    def stood(self) -> Stands | None:
        """Where the region stands if nothing is to be computed: ended, young, missing or late; else None."""
        if self.stands_on(self.skipped):
            return stands_skipped(self.region, self.skipped)
        missing = [str(each) for each in self.members if each.standing is Standing.MISSING]
        if missing:
            return Stands(self.region, Standing.MISSING, None, f"it lacks {', '.join(missing)}")
        if self.stale:
            return Stands(self.region, Standing.LATE, self.as_of_date, f"it lacks {', '.join(self.stale)}")
        return None

    def stands_on(self, skipped: Skipped) -> bool:
        """Return whether the region depends on these instruments: its anchor, or most of its weight."""
        from prometheus.encoders.numeric.regions import LEAST_SHARE  # noqa: PLC0415 -- slow, and for regions alone

        if not skipped:
            return False
        members, present = self.definition.members, self.present
        share = sum(weight for name, weight in members.items() if present.get(name, name) not in skipped)
        anchor = present.get(self.definition.anchor, self.definition.anchor)
        return anchor in skipped or share / sum(members.values()) < LEAST_SHARE

    def __str__(self) -> str:
        return f"{self.region} as of {self.as_of_date} lacks {', '.join(self.stale)}"


def stands_skipped(region: str, skipped: Skipped) -> Stands:
    """Return the standing of a region that depends on instruments that have ended, else on those that are young."""
    if skipped.ended:
        day = max(skipped.ended.values())
        return Stands(region, Standing.ENDED, day, f"the history of what it stands on ended on {day}")
    day = max(skipped.not_begun.values())
    return Stands(region, Standing.YOUNG, day, f"the history of what it stands on begins on {day}")


class NightlyPlanner(PriceHistories):
    """Chooses each region's last session, and judges where its instruments stand."""

    def plan(self, regions: Mapping[str, RegionDefinition], request: NightlyRequest) -> list[RegionPlan]:
        """Return one plan per region, in order."""
        told = self._wired.told.load()
        stated = {name for definition in regions.values() for name in definition.members}
        names = sorted({told.follow(name) for name in stated})
        markets = {**dict.fromkeys(names, US_EQ), **self._wired.catalog.markets_of(names)}
        night = NightStandings(NightBars(self._wired, markets), markets, told, request)
        return [self._plan_region(region, each, night, request) for region, each in regions.items()]

    def _asked(self, region: str, market: str, request: NightlyRequest) -> date:
        """Return up to which date a region is asked for: without one, its last session whose close has passed."""
        if request.as_of_date is not None:
            return request.as_of_date
        asked = last_closed_session(market, request.now_utc)
        logger.info("%s: as of %s, the last session of %s whose close has passed", region, asked, market)
        return asked

    def _plan_region(
        self, region: str, definition: RegionDefinition, night: NightStandings, request: NightlyRequest
    ) -> RegionPlan:
        present = night.told.followed(definition.members)
        anchor = present.get(definition.anchor, definition.anchor)
        market = night.markets[anchor]
        asked = self._asked(region, market, request)
        session, closed = night.session(region, anchor, asked)
        ids = dict.fromkeys(present.get(name, name) for name in definition.members)
        stands = [night.of(name, session) for name in ids]
        ended = {each.name: each.since for each in stands if each.standing is Standing.ENDED and each.since}
        not_begun = {each.name: each.since for each in stands if each.n_sessions == WINDOW_DAYS and each.since}
        plan = RegionPlan(
            region, definition, market, session, night.first_bar(anchor, session), (), Skipped(ended, not_begun),
            tuple(night.with_old_ids(stands, present)), present, closed,
        )  # fmt: skip
        if plan.stands_on(plan.skipped):  # what else it lacks makes no difference
            return plan
        return replace(plan, stale=tuple(str(each) for each in stands if each.standing is Standing.LATE))


def first_date_wanted(
    since: date | None, first_stored: date | None, calibrated_until: date | None, first_bar: date
) -> date:
    """Return the first date of a nightly run: none of the calibration span, whose labels are in-sample, by itself."""
    return since or first_stored or (calibrated_until + timedelta(days=1) if calibrated_until else first_bar)
