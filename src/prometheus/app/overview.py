"""All regions at a glance, as known on a date: one row each, what changed, and each market as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np

from prometheus.app.histories import Histories
from prometheus.app.run_log import KeepRuns
from prometheus.app.wiring import UseCase
from prometheus.arrays import DateVector, Float64Matrix
from prometheus.core.config import PrometheusConfig
from prometheus.data.instruments import StoredInstrument
from prometheus.data.nightly_runs import NightlyRun
from prometheus.regime.colours import LOOKS
from prometheus.regime.history import LABELS, LabelChange, NewestState, RegimeHistory, RegimeTimeline, preferred_history

N_STRIP = 252
CHANGED_WITHIN = 5
"""Sessions within which a change of label counts as new."""
RECENT_DAYS = 31
WEEKDAYS_UNTIL_OLD = 5
"""A region whose newest session is more weekdays before the date of the overview is stale."""
HORIZON = "21"
"""Sessions over which the chance of leaving is shown."""
NO_MARKET = "-"
LISTED_AT_ONCE = 500
"""Instruments whose newest bars are read together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionRow:
    """One region: its newest state, since when, how it moved, and the labels of its last `N_STRIP` sessions.

    `confidence` is a probability where `is_calibrated`, else a share of distances. Chances and closes are None where
    they are not stored. `strip` has a letter of `LOOKS` for each session, oldest first; `spells` are the same as
    (first session, sessions, label). `n_weekdays_old` counts from the date of the overview.
    """

    region: str
    name: str
    instrument_id: str | None
    market: str
    model_id: str
    as_of_date: date
    label: str
    previous_label: str | None
    since: date
    confidence: float
    is_calibrated: bool
    high_volatility: float | None
    bear: float | None
    change_risk: float | None
    is_changed: bool
    held: str | None
    n_weekdays_old: int
    close: float | None
    close_date: date | None
    move: float | None
    strip: str
    strip_start: date

    @property
    def is_stale(self) -> bool:
        """Whether its newest session is older than it should be."""
        return self.n_weekdays_old > WEEKDAYS_UNTIL_OLD

    @property
    def spells(self) -> list[tuple[int, int, str]]:
        """First session, number of sessions and letter of each spell in the strip."""
        found, begin = [], 0
        for letter, run in groupby(self.strip):
            length = len(list(run))
            found.append((begin, length, letter))
            begin += length
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        plain = (
            "region", "name", "instrument_id", "market", "model_id", "label", "previous_label", "confidence",
            "is_calibrated", "high_volatility", "bear", "change_risk", "is_changed", "held", "n_weekdays_old",
            "is_stale", "close", "move", "strip",
        )  # fmt: skip
        days = {name: getattr(self, name) for name in ("as_of_date", "since", "close_date", "strip_start")}
        said = {name: getattr(self, name) for name in plain}
        return {**said, **{name: None if day is None else str(day) for name, day in days.items()}}


@dataclass(frozen=True, slots=True, eq=False)
class MarketShares:
    """The regions of one market: how many are in each regime now, and the share in each over the last sessions.

    `shares` has shape (sessions, 4), in the order of `LABELS`; regions without a state on a date do not count there.
    """

    market: str
    n_regions: int
    counts: Mapping[str, int]
    dates: DateVector
    shares: Float64Matrix

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        over_time = {label.name: self.shares[:, at].round(4).tolist() for at, label in enumerate(LABELS)}
        return {
            "market": self.market, "n_regions": self.n_regions, "counts": dict(self.counts),
            "dates": [str(day) for day in self.dates.tolist()], "shares": over_time,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListedInstrument:
    """An instrument, its newest bar up to a date, and the move of the adjusted close into that, None for the first."""

    instrument: StoredInstrument
    close_date: date
    close: float
    move: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; no status, which may be of a later day."""
        names = ("instrument_id", "name", "market_id", "asset_class", "currency")
        said = {name: getattr(self.instrument, name) for name in names}
        return {**said, "close_date": str(self.close_date), "close": self.close, "move": self.move}


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """Every region on a date, the changes of the month up to it, and the instruments that no region stands on.

    `night` is the newest one that ended, None where that began after the date; it says where regions and instruments
    stand.
    """

    as_of: date
    rows: tuple[RegionRow, ...]
    changes: tuple[LabelChange, ...]
    markets: tuple[MarketShares, ...]
    without_region: tuple[StoredInstrument, ...]
    night: NightlyRun | None = None

    @property
    def counts(self) -> dict[str, int]:
        """The number of regions in each regime."""
        return _counts(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        names = ("instrument_id", "name", "market_id")
        return {
            "as_of": str(self.as_of), "counts": self.counts, "items": [row.to_dict() for row in self.rows],
            "changes": [each.to_dict() for each in self.changes],
            "markets": [each.to_dict() for each in self.markets],
            "without_region": [{name: getattr(each, name) for name in names} for each in self.without_region],
            "standings": {} if self.night is None else {kind: dict(n) for kind, n in self.night.standings.items()},
            "left_out": [] if self.night is None else [dict(each) for each in self.night.skipped],
        }  # fmt: skip


class ViewRegions(UseCase):
    """Reads what the overview shows, in a number of queries that does not grow with the regions."""

    def on(self, as_of: date | None = None, *, is_strict: bool = False) -> Overview:
        """Return the overview of a date, by default today; nothing later counts.

        If `is_strict`, no model that learned from data of the date or later counts either.
        """
        until = as_of or datetime.now(UTC).date()
        timelines, chosen = self._wired.timelines, self._chosen(until, is_strict=is_strict)
        states, recent = timelines.newest_states(chosen, until), timelines.recent(chosen, until, N_STRIP)
        known = {each.instrument_id: each for each in self._wired.catalog.describe()}
        instruments = [self._instrument_of(state) for state in states]
        closes = self._closes([name for name in instruments if name is not None], until)
        rows = [
            _row(state, timeline, history.first, known.get(name or ""), name, closes.get(name or ""), until)
            for state, timeline, history, name in zip(states, recent, chosen, instruments, strict=True)
        ]
        rows.sort(key=lambda row: (row.is_stale, not row.is_calibrated, row.region))
        changes = timelines.changes(chosen, until - timedelta(days=RECENT_DAYS), until)
        of_region = {each.region: each for each in recent}
        behind = {name for state in states for name in self._behind(state)}
        return Overview(
            until, tuple(rows), tuple(changes), tuple(_markets(rows, of_region)),
            tuple(each for name, each in known.items() if name not in behind), KeepRuns(self._wired).told_by(until),
        )  # fmt: skip

    def changes(self, since: date, until: date, *, is_strict: bool = False) -> list[LabelChange]:
        """Return the changes of label of all regions, each by its preferred model, newest first; see `on`."""
        return self._wired.timelines.changes(self._chosen(until, is_strict=is_strict), since, until)

    def newest_session(self) -> date | None:
        """Return the newest date with a state of any region; None if nothing is stored."""
        return max((each.last for each in self._wired.timelines.histories()), default=None)

    def behind(self, until: date) -> dict[str, set[str]]:
        """Return by region the instruments that its newest state up to a date stands on."""
        states = self._wired.timelines.newest_states(self._chosen(until, is_strict=False), until)
        return {state.region: self._behind(state) for state in states}

    def instruments(self, until: date, market_id: str | None = None, first_id: str = "") -> Iterator[ListedInstrument]:
        """Yield the instruments, or those of a market, that have a bar up to a date, in order of id from one on."""
        known = sorted(self._wired.catalog.describe())
        rows = [each for each in known if each.instrument_id >= first_id and market_id in (None, each.market_id)]
        for first in range(0, len(rows), LISTED_AT_ONCE):
            chosen = rows[first : first + LISTED_AT_ONCE]
            closes = self._closes([each.instrument_id for each in chosen], until)
            for each in chosen:
                if each.instrument_id in closes:
                    yield ListedInstrument(each, *closes[each.instrument_id])

    def _chosen(self, until: date, *, is_strict: bool) -> list[RegimeHistory]:
        asked = Histories(self._wired)
        found = asked.known(until) if is_strict else asked.histories(until)
        by_region = groupby(found, key=lambda each: each.region)
        return [preferred_history(list(histories)) for _, histories in by_region]

    def _instrument_of(self, state: NewestState) -> str | None:
        return instrument_of(self._wired.config, state.region, state.metadata)

    def _behind(self, state: NewestState) -> set[str]:
        named = {self._instrument_of(state), *(state.metadata.get("members") or ())}
        return {name for name in named if name is not None}

    def _closes(self, names: Sequence[str], until: date) -> dict[str, tuple[date, float, float | None]]:
        """Return date and close of each instrument's newest bar up to a date, and its adjusted return."""
        bars = self._wired.following(names).load_bars(names, until, until, 2, ["close", "adjusted_close"])
        found: dict[str, tuple[date, float, float | None]] = {}
        for each in (part for part in bars.each() if len(part)):
            adjusted = each.column("adjusted_close")
            move = float(adjusted[-1] / adjusted[-2] - 1.0) if len(adjusted) > 1 else None
            found[each.instrument_ids[0]] = each.dates[-1].item(), float(each.column("close")[-1]), move
        return found


def instrument_of(config: PrometheusConfig, region: str, metadata: Mapping[str, Any]) -> str | None:
    """Return the instrument whose closes a region follows: its own, its anchor, or its heaviest member."""
    own = metadata.get("instrument_id")
    if own is not None:
        return str(own)
    members: Mapping[str, float] = metadata.get("members") or {}
    configured = config.regions.get(region)
    if configured is not None and configured.anchor in members:
        return configured.anchor
    return max(sorted(members), key=lambda name: members[name], default=None)


def _row(
    state: NewestState, timeline: RegimeTimeline, first: date, instrument: StoredInstrument | None,
    instrument_id: str | None, closed: tuple[date, float, float | None] | None, until: date,
) -> RegionRow:  # fmt: skip
    said = state.metadata
    turned = np.datetime64(state.changed_on or date.min, "D")
    close_date, close, move = closed or (None, None, None)
    return RegionRow(
        region=state.region, name=(instrument and instrument.name) or "", instrument_id=instrument_id,
        market=instrument.market_id if instrument else NO_MARKET, model_id=state.model_id,
        as_of_date=state.as_of_date, label=state.label.name,
        previous_label=None if state.previous_label is None else state.previous_label.name,
        since=state.changed_on or first, confidence=state.confidence,
        is_calibrated="probabilities" in said, high_volatility=_probability(said.get("high_volatility")),
        bear=_probability(said.get("bear")), change_risk=_probability(said.get("change_risk", {}).get(HORIZON)),
        is_changed=state.changed_on is not None and bool(turned >= timeline.dates[-CHANGED_WITHIN:][0]),
        held=said.get("held"),
        n_weekdays_old=int(np.busday_count(np.datetime64(state.as_of_date, "D"), np.datetime64(until, "D"))),
        close=close, close_date=close_date, move=move,
        strip="".join(LOOKS[LABELS[number]].letter for number in timeline.labels.tolist()),
        strip_start=timeline.dates[0].item(),
    )  # fmt: skip


def _probability(said: Mapping[str, Any] | None) -> float | None:
    return None if said is None else float(said["probability"])


def _counts(rows: Sequence[RegionRow]) -> dict[str, int]:
    return {label.name: sum(row.label == label.name for row in rows) for label in LABELS}


def _markets(rows: Sequence[RegionRow], recent: Mapping[str, RegimeTimeline]) -> list[MarketShares]:
    found = []
    for market in sorted({row.market for row in rows}):
        members = [row for row in rows if row.market == market]
        timelines = [recent[row.region] for row in members]
        dates = np.unique(np.concatenate([each.dates for each in timelines]))[-N_STRIP:]
        n_in = np.zeros((len(dates), len(LABELS)))
        for each in timelines:
            is_shown = each.dates >= dates[0]
            n_in[np.searchsorted(dates, each.dates[is_shown]), each.labels[is_shown]] += 1
        shares = n_in / n_in.sum(axis=1, keepdims=True)
        found.append(MarketShares(market, len(members), _counts(members), dates, shares))
    return found
