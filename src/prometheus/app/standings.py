"""Where the instruments of a night stand: by their bars, those of their markets, and what was told (ADR-0039)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

from prometheus.app.wiring import Wiring, calendar_of
from prometheus.data.reader import BarExtent, load_bar_extents
from prometheus.data.told import Told
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.encoders.numeric.windows import MAX_AGE_SESSIONS
from prometheus.errors import CalendarRangeError, NotFoundError
from prometheus.market.calendar import last_closed_session
from prometheus.market.standings import Seen, Standing, Stands, standing_of

if TYPE_CHECKING:
    from prometheus.app.prices import NightlyRequest

logger = logging.getLogger(__name__)

SURELY_ENOUGH = timedelta(days=2 * WINDOW_DAYS)
"""Calendar days in which every market has more sessions than a window."""


class NightBars:
    """How far the bars of a night's instruments, and of their markets, reach; each date is asked for once."""

    def __init__(self, wired: Wiring, markets: Mapping[str, str]) -> None:
        self._wired, self._markets = wired, markets
        self._extents: dict[date, dict[str, BarExtent]] = {}
        self._of_markets: dict[tuple[str, date], dict[str, BarExtent]] = {}

    def up_to(self, day: date) -> Mapping[str, BarExtent]:
        """Return how far the instruments of the night reach up to a date."""
        if day not in self._extents:
            self._extents[day] = self._load(self._markets, day)
        return self._extents[day]

    def of_market(self, market: str, day: date) -> Mapping[str, BarExtent]:
        """Return the same of every instrument of a market, those that no region has included."""
        if (market, day) not in self._of_markets:
            own = {name: each for name, each in self.up_to(day).items() if self._markets[name] == market}
            try:
                listed = self._wired.catalog.list_instruments(market)
            except NotFoundError:  # its instruments have no reference rows
                listed = []
            others = [name for name in listed if name not in self._markets]
            self._of_markets[market, day] = own | self._load(others, day)
        return self._of_markets[market, day]

    def _load(self, names: Iterable[str], day: date) -> dict[str, BarExtent]:
        chosen = sorted(names)
        return load_bar_extents(self._wired.db_manager, chosen, day) if chosen else {}


class NightStandings:
    """Judges the sessions of markets and the instruments of one night, each once."""

    def __init__(self, bars: NightBars, markets: Mapping[str, str], told: Told, request: NightlyRequest) -> None:
        self.markets, self.told = markets, told
        self._bars, self._request = bars, request
        self._judged: dict[tuple[str, date], Stands] = {}

    def session(self, region: str, anchor: str, asked: date) -> tuple[date, Stands | None]:
        """Return the last session of a region up to the date asked for, and its standing if that day was closed."""
        if self._has_bar(anchor, asked):  # a bar proves a session; the calendar, slow to load, is not needed then
            return asked, None
        market = self.markets[anchor]
        calendar, closed = calendar_of(market), None
        session = calendar.last_session(asked)
        if session != asked:
            logger.warning("%s: %s is no session of %s; using the last one, %s", region, asked, market, session)
        while not self._has_bar(anchor, session) and (reason := self._closed_on(market, session)) is not None:
            closed = closed or Stands(region, Standing.CLOSED, session, f"{market} was closed: {reason}")
            session = calendar.get_prev_trading_day(session)
        return session, closed

    def first_bar(self, name: str, session: date) -> date | None:
        """Return the date of an instrument's first bar, None without one up to a session."""
        extent = self._bars.up_to(session).get(name)
        return None if extent is None else extent.first

    def of(self, name: str, session: date) -> Stands:
        """Return where an instrument, by its present id, stands on a session."""
        if (name, session) not in self._judged:
            self._judged[name, session] = self._judge(name, session)
        return self._judged[name, session]

    def with_old_ids(self, stands: Iterable[Stands], present: Mapping[str, str]) -> Iterator[Stands]:
        """Yield the standings of a region's instruments; one that goes on as usual under a new id has its old name."""
        old = {now: name for name, now in present.items()}
        for each in stands:
            if each.standing.is_usual and each.name in old:
                since = self.told.renames[old[each.name]].from_date
                yield Stands(old[each.name], Standing.RENAMED, since, f"it goes on as {each.name}")
            else:
                yield each

    def _has_bar(self, name: str, day: date) -> bool:
        extent = self._bars.up_to(day).get(name)
        return extent is not None and extent.newest == day

    def _closed_on(self, market: str, day: date) -> str | None:
        """Return why a market had no session on a day of its calendar, None if nothing says so.

        Somebody told it, or none of its instruments, at least two, has a bar of that day and one has a later bar.
        """
        told = self.told.closures.get((market, day))
        if told is not None:
            return told.reason
        known = self._bars.of_market(market, day)
        if len(known) < 2 or any(each.newest == day for each in known.values()):  # one may have a gap
            return None
        if not any(each.newest > day for each in self._bars.of_market(market, date.max).values()):
            return None
        return "none of its instruments has a bar of that day, and later ones are there"

    def _judge(self, name: str, session: date) -> Stands:
        market, extent = self.markets[name], self._bars.up_to(session).get(name)
        if extent is not None and extent.newest == session and extent.first + SURELY_ENOUGH <= session:
            return Stands(name, Standing.OPEN, session)
        begins = extent or self._bars.up_to(date.max).get(name)
        if extent is None:
            seen = Seen(None if begins is None else begins.first, None, 0, 0, None, False)
        else:
            seen = self._seen(name, market, extent, session)
        return standing_of(name, seen, WINDOW_DAYS, self._request.max_age_sessions, MAX_AGE_SESSIONS)

    def _seen(self, name: str, market: str, extent: BarExtent, session: date) -> Seen:
        n_missing = n_sessions_owed(extent.newest, market, session, self._request, self.told)
        is_old = extent.first + SURELY_ENOUGH <= session
        n_known = WINDOW_DAYS if is_old else _n_sessions(market, extent.first, session) + 1
        end = self.told.ends.get(name)
        ended_on = end.last_date if end is not None and end.last_date <= session else None
        goes_on = n_missing > MAX_AGE_SESSIONS and self._market_goes_on(market, extent.newest, session)
        return Seen(extent.first, extent.newest, n_missing, n_known, ended_on, goes_on)

    def _market_goes_on(self, market: str, newest: date, session: date) -> bool:
        """Return whether a market has new bars, and half of those who had bars as long went on for sessions more."""
        try:
            later = calendar_of(market).trading_days_between(newest + timedelta(days=1), session)
        except CalendarRangeError:  # a bar from before all calendars
            return True
        if len(later) <= MAX_AGE_SESSIONS:
            return False
        of_all = [each.newest for each in self._bars.of_market(market, session).values() if each.newest >= newest]
        n_late = sum(day > max(of_all) for day in later)
        n_on = sum(day >= later[MAX_AGE_SESSIONS] for day in of_all)
        return n_late <= max(MAX_AGE_SESSIONS, self._request.max_age_sessions) and 2 * n_on >= len(of_all)


def n_sessions_owed(newest: date, market: str, session: date, request: NightlyRequest, told: Told) -> int:
    """Return how many bars an instrument owes after its newest one, for a session of its region.

    A market closed on that date, or still open at `NightlyRequest.now_utc`, owes only the bar of its session before; no
    day on which it was told to be closed counts.
    """
    if newest >= session:
        return 0
    calendar = calendar_of(market)
    owed = calendar.last_session(session)
    if request.as_of_date is None:
        owed = min(owed, last_closed_session(market, request.now_utc))
    n_owed = calendar.n_sessions_after(newest, owed)
    return n_owed - sum(map(calendar.is_trading_day, told.closed_days(market, newest, owed))) if n_owed else 0


def _n_sessions(market: str, start: date, end: date) -> int:
    try:
        return calendar_of(market).n_sessions_after(start, end)
    except CalendarRangeError:  # a bar from before all calendars
        return WINDOW_DAYS
