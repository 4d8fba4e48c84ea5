"""What a night is to do, and whether the prices for it are there; nothing is written here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from prometheus.app.databases import DatabaseManager
from prometheus.app.encoding import calendar_of
from prometheus.core.config import RegionDefinition
from prometheus.data.instruments import InstrumentCatalog
from prometheus.data.reader import BarExtent, load_bar_extents
from prometheus.errors import UsageError
from prometheus.market.calendar import US_EQ
from prometheus.market.session_close import last_closed_session

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NightlyRequest:
    """What is wanted of a night.

    Attributes
    ----------
    now_utc
        When it is, with a time zone.
    as_of_date
        Up to which date; None for each region's last session whose close has passed.
    since
        First date wanted; None for the first one stored or, where nothing is, the first one possible: after the
        calibration of the prototypes, else from the first bar on.
    max_age_sessions
        How many sessions may be missing before prices are stale.
    skip_stale
        Leave regions with stale prices out, instead of doing nothing at all.

    Raises
    ------
    UsageError
        The dates or the age make no sense.
    """

    now_utc: datetime
    as_of_date: date | None = None
    since: date | None = None
    max_age_sessions: int = 0
    skip_stale: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.max_age_sessions < 0:
            raise UsageError(f"--max-age-sessions {self.max_age_sessions}: name a number from 0 on")
        end = self.as_of_date or self.now_utc.date()
        if self.since is not None and self.since > end:
            raise UsageError(f"--since {self.since} lies after {end}")


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """One region, the session it is to be brought up to, and what its prices lack for that.

    Attributes
    ----------
    first_bar
        Of the anchor; None without any.
    stale
        One phrase for each instrument whose bars are too old.
    """

    region: str
    definition: RegionDefinition
    as_of_date: date
    first_bar: date | None
    stale: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.region} as of {self.as_of_date} lacks {', '.join(self.stale)}"


class NightlyPlanner:
    """Chooses each region's session, and looks at its prices.

    Parameters
    ----------
    db_manager
        The databases.
    """

    def __init__(self, db_manager: DatabaseManager) -> None:
        self._db = db_manager
        self._catalog = InstrumentCatalog(db_manager)

    def plan(self, regions: Mapping[str, RegionDefinition], request: NightlyRequest) -> list[RegionPlan]:
        """Return one plan per region, in their order.

        Raises
        ------
        UnknownMarketError, CalendarRangeError
            A date that no calendar knows.
        """
        names = sorted({name for definition in regions.values() for name in definition.members})
        markets = {**dict.fromkeys(names, US_EQ), **self._catalog.markets_of(names)}
        return [self._plan_region(region, definition, markets, request) for region, definition in regions.items()]

    def _plan_region(
        self, region: str, definition: RegionDefinition, markets: Mapping[str, str], request: NightlyRequest
    ) -> RegionPlan:
        market = markets[definition.anchor]
        asked = request.as_of_date or _last_closed(region, market, request.now_utc)
        extents = load_bar_extents(self._db, list(definition.members), asked)
        anchor = extents.get(definition.anchor)
        # a bar proves a session; the whole calendar, slow to load, is not needed then
        is_session = anchor is not None and anchor.newest == asked
        session = asked if is_session else _session_of(region, market, asked)
        stale = [
            phrase
            for name in definition.members
            if (phrase := describe_staleness(name, extents.get(name), markets[name], session, request)) is not None
        ]
        return RegionPlan(region, definition, session, None if anchor is None else anchor.first, tuple(stale))


def describe_staleness(
    instrument_id: str, extent: BarExtent | None, market: str, as_of_date: date, request: NightlyRequest
) -> str | None:
    """Return what an instrument lacks for a session of its region; None where its bars are new enough.

    A market that was closed on that date, or that is still open at `NightlyRequest.now_utc` while the region's has
    closed, owes the bar of its session before.
    """
    if extent is None:
        return f"{instrument_id} (no bars)"
    if extent.newest >= as_of_date:
        return None
    calendar = calendar_of(market)
    owed = calendar.last_session(as_of_date)
    if request.as_of_date is None:
        owed = min(owed, last_closed_session(market, request.now_utc))
    n_missing = calendar.n_sessions_after(extent.newest, owed)
    if n_missing <= request.max_age_sessions:
        return None
    sessions = "session" if n_missing == 1 else "sessions"
    return f"{instrument_id} (last bar {extent.newest}, {n_missing} {sessions} missing)"


def first_date_wanted(
    *, since: date | None, first_stored: date | None, calibrated_until: date | None, first_bar: date
) -> date:
    """Return where to begin.

    What is stored is gone through again: unchanged, it costs a comparison of digests, and old prices that were
    corrected are made good. Labels of dates that prototypes were calibrated on know their own future, so no night
    begins there by itself.
    """
    if since is not None:
        return since
    if first_stored is not None:
        return first_stored
    return first_bar if calibrated_until is None else calibrated_until + timedelta(days=1)


def _last_closed(region: str, market: str, now_utc: datetime) -> date:
    session = last_closed_session(market, now_utc)
    logger.info("%s: as of %s, the last session of %s whose close has passed", region, session, market)
    return session


def _session_of(region: str, market: str, asked: date) -> date:
    session = calendar_of(market).last_session(asked)
    if session != asked:
        logger.warning("%s: %s is no session of %s; using the last one, %s", region, asked, market, session)
    return session
