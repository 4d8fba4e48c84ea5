"""A region on one evening, as a risk desk needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from prometheus.analogs.search import AnalogReport, AnalogRequest
from prometheus.analogs.sound import unsound_vector
from prometheus.app.histories import Histories, TransitionReport, newest_position, transition_report
from prometheus.app.stance import DayStance
from prometheus.app.text_likeness import LikeText, SaidThen
from prometheus.app.text_search import ToldText, tell_once
from prometheus.arrays import DateVector
from prometheus.errors import InputRefusedError, NoRegimesError, UsageError, VectorError, no_regime_on_date
from prometheus.market.bars import Closes
from prometheus.market.findings import Finding
from prometheus.regime.drift import Drift
from prometheus.regime.explanation import Movement, Reason
from prometheus.regime.exposure import EXPOSURES
from prometheus.regime.history import RegimeHistory, RegimeTimeline
from prometheus.regime.record import Statement
from prometheus.regime.transitions import outlook
from prometheus.regime.types import RegimeLabel, RegimeState

if TYPE_CHECKING:
    from prometheus.app import App

N_ANALOGS = 8
N_UNLIKE = 3
"""Dates least like the one shown."""
N_OWN_TEXTS = 48
"""Newest texts about the instruments behind a region, near-copies among them."""
N_COMPARED_TEXTS = 6
"""Texts of a day, near-copies once, whose nearest earlier one is shown."""
N_CHANGES = 12
N_GAPS_SHOWN = 5
_SAID = ("held", "probabilities", "high_volatility", "market_index", "bear", "spell_sessions", "change_risk")
"""Parts of a state's metadata that its detail tells."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """The first session of a spell of one label, and the spell's length up to the date of the briefing."""

    as_of_date: date
    label: str
    previous_label: str | None
    n_sessions: int


@dataclass(frozen=True, slots=True)
class Freshness:
    """The newest bar, the number of bars after the state, and of those before it without one; `gaps` are the newest."""

    newest_bar: date
    n_bars_since: int
    n_gaps: int
    gaps: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class OwnTexts:
    """The newest texts that concern the instruments of a region, newest first."""

    instrument_ids: tuple[str, ...]
    texts: tuple[ToldText, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Briefing:
    """One region on one evening, without later data.

    `as_of_date` is the date asked for, or the last before it with a state; `texts_date` the same for `texts`.
    `own_texts` concern the region's instruments. Of `changes`, newest first, the first one is the present. What
    cannot be told is empty or None: then `no_reasons`, `no_analogs` or `no_like_texts` says why. `stance` is that of
    `texts`. `like_texts` are the first of the `texts`, each with the earlier text nearest to it, `said_then` what was
    said nearest to them in the week up to each analog. `histories` are those of all regions; `findings` are the open
    ones in the region's prices as known on the date, newest first; `said` is what the record has of the date,
    whenever it was said. `before` is the state of the session before, `movements` what moved since, `spell_movements`
    since the present spell began, `outlook` the chances of each regime by number of sessions ahead, by `transitions`,
    `drift` is that from the calibration span, None where it is not watched. `unlike` are the dates least like it,
    None without `analogs`.
    """

    region: str
    as_of_date: date
    history: RegimeHistory
    histories: tuple[RegimeHistory, ...]
    state: RegimeState
    before: RegimeState | None
    reasons: tuple[Reason, ...]
    no_reasons: str
    movements: tuple[Movement, ...]
    spell_movements: tuple[Movement, ...]
    outlook: Mapping[int, Mapping[RegimeLabel, float]]
    changes: tuple[Change, ...]
    transitions: TransitionReport
    instrument_id: str
    analogs: AnalogReport | None
    no_analogs: str
    unlike: AnalogReport | None
    texts_date: date | None
    texts: tuple[ToldText, ...]
    own_texts: OwnTexts
    like_texts: tuple[LikeText, ...]
    no_like_texts: str
    said_then: Mapping[date, SaidThen]
    stance: DayStance | None
    freshness: Freshness
    findings: tuple[Finding, ...]
    said: Statement | None
    previous_session: date | None
    next_session: date | None
    drift: Drift | None


class BriefRegion:
    """Builds briefings; nothing is written."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._histories = lru_cache(1)(lambda _state: Histories(app.wired))

    def of(self, region: str, as_of: date | None = None, model_id: str | None = None) -> Briefing:
        """Return the briefing of a region on a date, or on its newest one.

        NoRegimesError or NotFoundError if the region has no regimes, or none on that date or the week before it.
        """
        asked = self.read()
        history = asked.choose(region, model_id, as_of)
        whole = asked.timeline(region, history.model_id)
        dates = whole.dates
        at = newest_position(dates, as_of or history.last, f"region {region!r}")
        day: date = dates[at].item()
        timeline = whole.until(day)
        instrument_id = asked.instrument_of(region, day)
        bars = asked.closes(instrument_id, as_of or date.max).dates
        previous: date | None = dates[at - 1].item() if at else None
        *earlier, state = self._states(history, previous or day, day)
        reasons, no_reasons = _said_or_why(lambda: tuple(self._app.calibrations.explain([state], asked)[0]))
        movements, _ = _said_or_why(lambda: self._movements(earlier, state, asked))
        changes, transitions = _changes(timeline), transition_report(timeline)
        spell_movements, _ = _said_or_why(lambda: self.moved_in_spell(changes[0], state, asked))
        wanted = AnalogRequest(region, day, k=N_ANALOGS, regime_model_id=history.model_id)
        texts_date = self._app.wired.texts.newest("MACRO", day)
        texts = () if texts_date is None else tell_once(self._app.wired.texts.texts_of("MACRO", texts_date, day))
        compared = texts[:N_COMPARED_TEXTS]
        with ThreadPoolExecutor(1, thread_name_prefix="prometheus-briefing") as pool:  # the two slowest at once
            likeness = pool.submit(_said_or_why, lambda: tuple(self._app.text_search.like_day(compared, day)))
            analogs, no_analogs = _said_or_why(lambda: self._app.analogs.find(wanted, asked))
            far = replace(wanted, k=N_UNLIKE, least=True)
            unlike, _ = _said_or_why(lambda: self._app.analogs.find(far, asked)) if analogs else (None, "")
            checked = self._app.findings.check_known(asked.instruments_behind(region, day), until=day)
            like_texts, no_like_texts = likeness.result()
        said_then = self._said_then(compared, day, analogs)
        return Briefing(
            region=region, as_of_date=day, history=history, histories=tuple(asked.histories(date.max)), state=state,
            before=next(iter(earlier), None), reasons=reasons or (), no_reasons=no_reasons, movements=movements or (),
            spell_movements=spell_movements or (),
            outlook=outlook(transitions.matrix, state.regime_label), changes=changes,
            transitions=transitions, instrument_id=instrument_id, analogs=analogs,
            no_analogs=no_analogs, unlike=unlike, texts_date=texts_date,
            own_texts=self._own_texts(asked.instruments_behind(region, day), day),
            texts=texts, like_texts=like_texts or (), no_like_texts=no_like_texts, said_then=said_then,
            freshness=_freshness(bars, timeline),
            stance=None if texts_date is None else self._app.stance.of_day(texts_date, day),
            findings=tuple(sorted(checked.findings, key=lambda each: each.last, reverse=True)),
            said=self._app.statements.of_session(region, history.model_id, day), previous_session=previous,
            next_session=dates[at + 1].item() if at + 1 < len(dates) else None,
            drift=self._app.drift.on(region, day, history.model_id, asked),
        )  # fmt: skip

    def _states(self, history: RegimeHistory, previous: date, day: date) -> list[RegimeState]:
        """Return the state of a date after that of the session before, if it can be read."""
        read = self._app.regimes.states
        try:
            return read(history.region, previous, day, history.model_id)
        except VectorError:
            try:
                return read(history.region, day, day, history.model_id)
            except VectorError as error:
                raise unsound_vector(f"{history.region} {day}") from error

    def detail(self, history: RegimeHistory, as_of: date | None = None) -> dict[str, Any]:
        """Return as JSON values the state of a date, by default the newest, or of the week before it, and its reasons.

        NotFoundError, which names the span of the history, without a state.
        """
        region, model_id, day = history.region, history.model_id, as_of or history.last
        try:
            state = self._app.regimes.on_or_before(region, day, model_id)
        except NoRegimesError:
            raise no_regime_on_date(region, model_id, day, history.first, history.last) from None
        said = state.metadata
        asked = self.read()
        reasons = self._app.calibrations.explain([state], asked)[0] if "probabilities" in said else []
        drift = self._app.drift.on(region, state.as_of_date, model_id, asked)
        return {
            "region": region, "as_of_date": state.as_of_date, "label": state.regime_label,
            "confidence": state.confidence, "model_id": model_id, "encoder_model_id": state.encoder_model_id,
            "exposure": EXPOSURES[state.regime_label],
            **{name: said.get(name) for name in _SAID},
            "drift": None if drift is None else drift.to_dict(),
            "explanation": [reason.to_dict() for reason in reasons],
        }  # fmt: skip

    def series(self, region: str, as_of: date, model_id: str | None = None) -> tuple[Closes, RegimeTimeline]:
        """Return closes and regimes up to a date."""
        asked = self.read()
        timeline = asked.timeline(region, asked.choose(region, model_id, as_of).model_id).until(as_of)
        return asked.closes(asked.instrument_of(region, as_of), as_of), timeline

    def spells(self, history: RegimeHistory, as_of: date) -> tuple[Change, ...]:
        """Return the last spells of a history up to a date, the present one first."""
        return _changes(self._app.wired.timelines.timeline(history.region, history.model_id, date.min, as_of))

    def moved_in_spell(self, spell: Change, state: RegimeState, asked: Histories | None = None) -> tuple[Movement, ...]:
        """Return what moved from the first session of a state's spell to the state; nothing if no change began it."""
        if spell.previous_label is None or spell.as_of_date == state.as_of_date:
            return ()
        first = self._app.regimes.states(state.region, spell.as_of_date, spell.as_of_date, state.model_id)
        return self._movements(first, state, asked)

    def newest(self, region: str, model_id: str | None = None) -> RegimeState:
        """Return the newest state of a region."""
        history = self._app.regimes.history(region, model_id)
        (state,) = self._app.regimes.states(region, history.last, history.last, history.model_id)
        return state

    def marks(self, start: date, as_of: date) -> list[tuple[date, str]]:
        """Return the dates of macro texts, and their kind, from `start` to a date and known by then."""
        return self._app.wired.texts.kinds_by_day("MACRO", start, as_of)

    def read(self) -> Histories:
        """Return what questions before this one have read, as long as nothing was written since."""
        return self._histories(self._app.db_manager.visible_state())

    def _movements(
        self, earlier: Sequence[RegimeState], state: RegimeState, asked: Histories | None
    ) -> tuple[Movement, ...]:
        return tuple(self._app.calibrations.compare(earlier[0], state, asked)) if earlier else ()

    def _own_texts(self, instrument_ids: Sequence[str], day: date) -> OwnTexts:
        """Return the newest texts that concern some instruments, as known on a day."""
        told = tell_once(self._app.wired.concerned_texts.newest(instrument_ids, day, N_OWN_TEXTS))
        return OwnTexts(tuple(instrument_ids), told[::-1])

    def _said_then(
        self, compared: Sequence[ToldText], day: date, analogs: AnalogReport | None
    ) -> Mapping[date, SaidThen]:
        days = [analog.as_of_date for analog in analogs.analogs] if analogs else []
        found, _ = _said_or_why(lambda: self._app.text_search.said_then(compared, day, days))
        return {each.day: each for each in found or ()}


def _freshness(bars: DateVector, timeline: RegimeTimeline) -> Freshness:
    without_state = np.setdiff1d(bars[bars >= timeline.dates[0]], timeline.dates)
    since = without_state > timeline.dates[-1]
    gaps = without_state[~since]
    newest = tuple(gaps[-N_GAPS_SHOWN:].tolist())
    return Freshness(bars[-1].item(), int(since.sum()), len(gaps), newest)


def _said_or_why(ask: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return ask(), ""
    except (InputRefusedError, UsageError) as refusal:
        return None, str(refusal)


def _changes(timeline: RegimeTimeline) -> tuple[Change, ...]:
    names = timeline.label_names()
    starts = [0, *(np.flatnonzero(np.diff(timeline.labels)) + 1).tolist()]
    spells = list(pairwise([*starts, len(names)]))[-N_CHANGES:]
    return tuple(
        Change(timeline.dates[start].item(), names[start], names[start - 1] if start else None, end - start)
        for start, end in reversed(spells)
    )
