"""What is known of instruments and markets, and what people tell of them: renamed, ended, closed on a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from prometheus.app.wiring import UseCase, calendar_of
from prometheus.data.instruments import StoredInstrument
from prometheus.data.reader import load_bar_extents
from prometheus.data.removal import Removal
from prometheus.data.renaming import CarriedHistories
from prometheus.data.told import Closure, End, Rename, Told
from prometheus.data.vectors.index import WindowIndex
from prometheus.errors import InputRefusedError, NotFoundError, UsageError, unknown_instrument

DATES_NAMED = 3


@dataclass(frozen=True, slots=True)
class KnownInstrument:
    """The reference row of an instrument, how far its bars reach, and what was told of it."""

    instrument: StoredInstrument
    first: date | None
    newest: date | None
    renamed: Rename | None
    ended: End | None

    @property
    def told(self) -> str:
        """What was told, in words; empty if nothing was."""
        if self.renamed is not None:
            return f"goes on as {self.renamed.new_id} from {self.renamed.from_date}"
        return "" if self.ended is None else f"ended on {self.ended.last_date}, {self.ended.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        days = {"first": self.first, "newest": self.newest}
        return {
            **self.instrument._asdict(), **{name: day and str(day) for name, day in days.items()},
            "goes_on_as": self.renamed and self.renamed.new_id, "ended_on": self.ended and str(self.ended.last_date),
        }  # fmt: skip


class KeepInstruments(UseCase):
    """Lists instruments, and keeps what people tell of them and of days on which a market was closed.

    Whatever is told twice changes nothing; whatever was told can be taken back.
    """

    def listed(self, market_id: str | None = None) -> list[KnownInstrument]:
        """Return the instruments of a market or all, in order of id; NotFoundError for an unknown market."""
        if market_id is not None:
            self._wired.catalog.list_instruments(market_id)
        rows = [each for each in self._wired.catalog.describe() if market_id in (None, each.market_id)]
        told = self._wired.told.load()
        extents = load_bar_extents(self._wired.db_manager, [each.instrument_id for each in rows], date.max)
        return [_known(each, extents, told) for each in rows]

    def rename(self, old: str, new: str, from_date: date | None, by: str) -> tuple[Rename, dict[str, int]]:
        """Let the history of `old` go on as `new`, and return that and the rows carried over, by table.

        Bars of `old` before the first one of `new`, and before `from_date` if given, are copied with what was decided
        of them and what they were; the rows of `old` stay. Without `from_date` it is the first bar of `new`, or the day
        after the last one of `old`. NotFoundError for `old` without bars; UsageError for names that go round in a
        circle, or another rename of `old`; InputRefusedError, and nothing changed, where both have bars that differ.
        """
        told, histories = self._wired.told.load(), CarriedHistories(self._wired.db_manager)
        known = told.renames.get(old)
        self._require_new_name(told, old, new)
        theirs, first_own = histories.reach(old), histories.first_own(new, old)
        if theirs.first is None or theirs.newest is None:
            raise unknown_instrument(old)
        day_after = theirs.newest + timedelta(days=1)
        if known is not None:
            return known, {}
        since = from_date or first_own or day_after
        until = min(since, first_own or date.max)
        differing = histories.differing(old, new, until)
        if differing:
            raise InputRefusedError(
                f"{new} lacks bars that {old} has from {until} on, or has them otherwise: {_dates(differing)}; correct "
                f"them, or take those of {old} out: python -m prometheus data remove"
            )
        counts = histories.carry(old, new, until)
        carried = min(until, day_after) - timedelta(days=1) if until > theirs.first else None
        self._wired.told.rename(old, new, since, carried, by)
        return self._wired.told.load().renames[old], counts

    def take_rename_back(self, old: str, new: str) -> dict[str, int]:
        """Undo a rename: take the carried bars of `new` out with all that stands on them; return rows by table.

        Without a bar of its own, `new` loses its reference row, too. NotFoundError for a rename that was not told.
        """
        rename = self._wired.told.load().renames.get(old)
        if rename is None or rename.new_id != new:
            raise NotFoundError(f"{old} was not renamed to {new}; list what was: python -m prometheus instruments list")
        counts: dict[str, int] = {}
        if rename.carried_until is not None:
            removal = Removal(self._wired.db_manager, is_plan=False)
            counts = removal.bars(new, date.min, rename.carried_until)
            for model_id in sorted(removal.touched_models):
                WindowIndex(self._wired.db_manager, model_id).sync()
            CarriedHistories(self._wired.db_manager).forget(new, rename.carried_until)
        is_empty = CarriedHistories(self._wired.db_manager).reach(new).first is None
        self._wired.told.take_rename_back(old, new if is_empty else None)
        return counts

    def end(self, instrument_id: str, last_date: date | None, reason: str, by: str) -> tuple[date, bool]:
        """Tell that an instrument ended, by default with its newest bar; return its last date and whether that is new.

        NotFoundError for an instrument without bars; InputRefusedError if it has bars after the date.
        """
        newest = CarriedHistories(self._wired.db_manager).reach(instrument_id).newest
        if newest is None:
            raise unknown_instrument(instrument_id)
        if last_date is not None and newest > last_date:
            raise InputRefusedError(f"{instrument_id} has bars up to {newest}, after {last_date}; give --on {newest}")
        day = last_date or newest
        return day, bool(self._wired.told.end(instrument_id, day, reason, by))

    def take_end_back(self, instrument_id: str) -> bool:
        """Forget that an instrument ended; return whether it was told."""
        return bool(self._wired.told.take_end_back(instrument_id))

    def closures(self) -> list[Closure]:
        """Return every day that a market was told to be closed on."""
        return list(self._wired.told.load().closures.values())

    def close(self, market_id: str, day: date, reason: str, by: str) -> bool:
        """Tell that a market is closed on a day; return whether that is new.

        NotFoundError for a market without a calendar; UsageError for a day that is no session of it.
        """
        calendar = calendar_of(market_id)
        if not calendar.is_trading_day(day):
            raise UsageError(f"{day} is no session of {market_id} anyway; there is nothing to close")
        return bool(self._wired.told.close(market_id, day, reason, by))

    def reopen(self, market_id: str, day: date) -> bool:
        """Forget that a market was closed on a day; return whether it was told."""
        return bool(self._wired.told.take_closure_back(market_id, day))

    def _require_new_name(self, told: Told, old: str, new: str) -> None:
        known = told.renames.get(old)
        if not new.strip() or old == new or told.follow(new) == old:
            raise UsageError(f"{old} cannot be renamed to {new!r}; give the id under which its history goes on")
        if known is not None and known.new_id != new:
            raise UsageError(
                f"{old} was renamed to {known.new_id} on {known.told_at:%Y-%m-%d}; take that back first: "
                f"python -m prometheus instruments rename {old} {known.new_id} --undo"
            )


def _known(row: StoredInstrument, extents: Any, told: Told) -> KnownInstrument:
    extent = extents.get(row.instrument_id)
    first, newest = (None, None) if extent is None else (extent.first, extent.newest)
    return KnownInstrument(
        row, first, newest, told.renames.get(row.instrument_id), told.ends.get(row.instrument_id)
    )  # fmt: skip


def _dates(days: list[date]) -> str:
    more = f" and {len(days) - DATES_NAMED} more" if len(days) > DATES_NAMED else ""
    return ", ".join(map(str, days[:DATES_NAMED])) + more
