"""Stored regimes, read for one request at a time, and the rules of reading by date.

A date without rows uses the newest earlier one, at most a week before it. A model must not have learned from data of
the date or later. A region is shown by its preferred history.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from prometheus.app.wiring import UseCase, Wiring
from prometheus.arrays import DateVector, Float64Matrix
from prometheus.core.files import require_writable
from prometheus.encoders.catalogue import knowledge_end, stored_model_id
from prometheus.encoders.joint.examples import JointRows
from prometheus.errors import (
    NoRegimesError,
    UsageError,
    ambiguous_model,
    model_not_known_yet,
    no_embedding,
    unknown_instrument,
)
from prometheus.market.bars import Closes
from prometheus.regime import transitions
from prometheus.regime.history import (
    LABELS,
    DatedVectors,
    RegimeHistory,
    RegimeTimeline,
    VectorSource,
    preferred_history,
)
from prometheus.regime.types import RegimeLabel, RegimeState
from prometheus.spelling import did_you_mean


@dataclass(frozen=True, slots=True)
class TransitionReport:
    """The transitions of one region under one regime model."""

    region: str
    model_id: str
    n_dates: int
    counts: transitions.TransitionCounts
    matrix: transitions.TransitionMatrix
    mean_durations: dict[RegimeLabel, float]
    exit_hazards: dict[RegimeLabel, tuple[transitions.ExitHazard, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        risks = {label: transitions.hazards_to_dict(hazards) for label, hazards in self.exit_hazards.items()}
        return {
            "region": self.region, "model_id": self.model_id, "n_dates": self.n_dates, "counts": self.counts,
            "matrix": self.matrix, "mean_duration": self.mean_durations, "change_risk": risks,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class RegimeEmbeddings:
    """The vectors behind a region's regimes, of one encoder and one source."""

    region: str
    encoder_model_id: str
    source: VectorSource
    rows: DatedVectors


_N_KEPT = 64
"""Results kept of each query: the dates of a long visit, or the regions of a desk."""


class Histories:
    """The reads of one state of the databases, such as those of one request: a query runs once while this is kept."""

    def __init__(self, wired: Wiring) -> None:
        self._wired = wired
        timelines, cache = wired.timelines, lru_cache(_N_KEPT)
        self.histories = cache(timelines.histories)
        """Of dates up to one, by region and regime model."""
        self.timeline = cache(lambda region, model_id: timelines.timeline(region, model_id, date.min, date.max))
        """All labels and confidences of a region and regime model."""
        self.source = cache(timelines.vector_source)
        """The source of the newest vector of a region and encoder up to a date; None without a vector."""
        self.written = cache(timelines.written)
        """What changes with any state that a region's vectors of an encoder are in."""
        self.model_config = cache(wired.registry.load_config)
        """The recorded configuration of a model id; None if not recorded."""
        self.joint_rows = cache(self._read_joint_rows)
        """What is stored of a region's joint rows up to a date, the most rows first."""
        self.state = object()
        """Stands for this state of the databases in the keys of what is kept."""
        self._members = cache(timelines.members_of)
        self._all_closes = cache(lambda instrument_id: self.closes_between(instrument_id, date.min, date.max))

    def of_region(self, region: str, until: date = date.max) -> list[RegimeHistory]:
        """Return the histories of a region, by regime model; NoRegimesError if it has none on any date."""
        found = [each for each in self.histories(until) if each.region == region]
        if not found and region not in (every := {each.region for each in self.histories(date.max)}):
            known = did_you_mean(region, sorted(every), "regions that have")
            raise NoRegimesError(region, f"at all ({known})")
        return found

    def known(self, as_of: date) -> list[RegimeHistory]:
        """Return the histories of dates up to one, of models that learned from nothing of that date or later."""
        return [
            each
            for each in self.histories(as_of)
            if not any(self.learned_until(model_id, as_of) for model_id in (each.model_id, each.encoder_model_id))
        ]

    def choose_known(self, region: str, as_of: date, model_id: str | None = None) -> RegimeHistory:
        """Return a region's history of those known on a date; NoRegimesError, which names no other, without one."""
        known = self.known(as_of)
        of_region = [each for each in known if each.region == region and model_id in (None, each.model_id)]
        if of_region:
            return preferred_history(of_region)
        names = did_you_mean(region, sorted({each.region for each in known} - {region}), "regions that have")
        models = ", ".join(each.model_id for each in known if each.region == region)
        raise NoRegimesError(region, f"known on {as_of} ({f'models that have: {models}' if models else names})")

    def choose(self, region: str, model_id: str | None = None, as_of: date | None = None) -> RegimeHistory:
        """Return a region's history: of the model named, or by `preferred_history`.

        With `as_of` the choice is by dates up to then, if there are any. NoRegimesError if there is no such history.
        """
        found = self.of_region(region)
        if model_id is None:
            model_id = preferred_history((as_of and self.of_region(region, as_of)) or found).model_id
        for each in found:
            if each.model_id == model_id:
                return each
        raise NoRegimesError(region, f"of {model_id} (models that have: {', '.join(each.model_id for each in found)})")

    def _read_joint_rows(self, region: str, until: date) -> list[JointRows]:
        return self._wired.joint_vectors.stored_rows(region, until)

    def learned_until(self, model_id: str, as_of: date) -> date | None:
        """Return the last date a model learned from, if that is `as_of` or later; else None."""
        known_from = knowledge_end(self.model_config(model_id) or {})
        return known_from if known_from is not None and known_from >= as_of else None

    def require_known(self, model_id: str, as_of: date) -> None:
        """Raise NotFoundError if a model learned from data of `as_of` or later."""
        known_from = self.learned_until(model_id, as_of)
        if known_from is not None:
            raise model_not_known_yet(model_id, known_from, as_of)

    def instrument_of(self, region: str, until: date) -> str:
        """Return the instrument whose sessions are a region's dates, by its newest state up to a date.

        For a region of several instruments: the configured anchor, or the heaviest member. NoRegimesError without a
        state; UsageError if no state has a recorded instrument.
        """
        histories = [each for each in self.histories(until) if each.region == region]
        if not histories:
            raise NoRegimesError(region, f"up to {until}")
        found = self._find_instrument(region, preferred_history(histories).encoder_model_id, until)
        if found is None:
            raise UsageError(f"no state of region {region} says whose closes it follows; give --instrument-id")
        return found

    def instruments_behind(self, region: str, until: date) -> list[str]:
        """Return the members of a region by its newest state up to a date, or the one instrument it follows."""
        return sorted(self._members(region, until)) or [self.instrument_of(region, until)]

    def closes(self, instrument_id: str, until: date) -> Closes:
        """Return all closes of an instrument up to a date; NotFoundError without any."""
        loaded = self._all_closes(instrument_id)
        n_known = int(np.searchsorted(loaded.dates, np.datetime64(until, "D"), side="right"))
        if not n_known:
            raise unknown_instrument(instrument_id)
        return Closes(instrument_id, loaded.dates[:n_known], loaded.values[:n_known])

    def closes_behind(self, history: RegimeHistory, start: date, end: date) -> Closes:
        """Return the closes behind a history from `start` to `end`; empty if no instrument or no bar is known."""
        name = self._find_instrument(history.region, history.encoder_model_id, history.last)
        return self.closes_between(name, start, end)

    def _find_instrument(self, region: str, encoder_model_id: str, until: date) -> str | None:
        source = self.source(region, encoder_model_id, until)
        if source is not None and source.instrument_id is not None:
            return source.instrument_id
        members = self._members(region, until)
        configured = self._wired.config.regions.get(region)
        if configured is not None and configured.anchor in members:
            return configured.anchor
        return max(sorted(members), key=lambda name: members[name], default=None)

    def closes_between(self, instrument_id: str | None, start: date, end: date) -> Closes:
        """Return the adjusted closes of an instrument from `start` to `end`; empty for None or without a bar."""
        named = [] if instrument_id is None else [instrument_id]
        bars = self._wired.following(named).load_bars(named, start, end, 1, ["adjusted_close"])
        is_asked = bars.dates >= np.datetime64(start, "D")
        return Closes(instrument_id, bars.dates[is_asked], bars.column("adjusted_close")[is_asked])


class ReadRegimes(UseCase):
    """Reads stored regimes and their inputs."""

    def states(self, region: str, start: date, end: date, model_id: str | None) -> list[RegimeState]:
        """Return states of one regime model, or of all, by date and model; NoRegimesError without any."""
        chosen = [model_id] if model_id else self._wired.storage.list_models(region)
        states = [state for each in chosen for state in self._wired.storage.get_history(region, start, end, each)]
        if not states:
            raise NoRegimesError(region, f"of {model_id}" if model_id else f"from {start} to {end}")
        return sorted(states, key=lambda state: (state.as_of_date, state.model_id))

    def histories(self) -> list[RegimeHistory]:
        """Return all histories, by region and model."""
        return self._wired.timelines.histories()

    def history(self, region: str, model_id: str | None = None, as_of: date | None = None) -> RegimeHistory:
        """Return a region's history; see `Histories.choose`."""
        return Histories(self._wired).choose(region, model_id, as_of)

    def timeline(
        self, region: str, start: date, end: date, model_id: str | None = None, limit: int | None = None
    ) -> RegimeTimeline:
        """Return labels and confidences from `start` to `end`, both included, or the first `limit` of them.

        NoRegimesError if the region has no regimes of that model; a span without dates is no error.
        """
        chosen = self.history(region, model_id).model_id
        return self._wired.timelines.timeline(region, chosen, start, end, limit)

    def probabilities(
        self, region: str, start: date, end: date, model_id: str | None = None, limit: int | None = None
    ) -> tuple[RegimeTimeline, Float64Matrix]:
        """Return what `timeline` does, and the probabilities of `EVIDENCE_LABELS`, NaN where the model says none."""
        chosen = self.history(region, model_id).model_id
        return self._wired.timelines.probabilities(region, chosen, start, end, limit)

    def on_or_before(self, region: str, as_of: date, model_id: str) -> RegimeState:
        """Return the state of a date, or the newest of the week before it; NoRegimesError without any."""
        return self.all_on_or_before(region, as_of, model_id)[-1]

    def all_on_or_before(self, region: str, as_of: date, model_id: str | None) -> list[RegimeState]:
        """Return the states, of one model or of all, of a date or of the last with any in the week before it."""
        from prometheus.analogs.search import MAX_DAYS_BACK  # noqa: PLC0415 -- labelling looks for no analogs

        first = date.fromordinal(max(1, as_of.toordinal() - MAX_DAYS_BACK))
        states = self.states(region, first, as_of, model_id)
        return [state for state in states if state.as_of_date == states[-1].as_of_date]

    def embeddings(self, region: str, start: date, end: date, model_id: str | None = None) -> RegimeEmbeddings:
        """Return the vectors from `start` to `end`, both included; see `timeline` for the errors.

        `model_id` is an encoder, or a regime model for its encoder; see `Histories.choose` for the default.
        """
        asked, timelines = Histories(self._wired), self._wired.timelines
        model_id = None if model_id is None else stored_model_id(model_id)
        encoders = {each.encoder_model_id for each in asked.of_region(region)}
        encoder = model_id if model_id in encoders else asked.choose(region, model_id).encoder_model_id
        until = (end, date.max)  # a span before the first vector has no vectors, but they have a known length
        found = (timelines.vector_source(region, encoder, each) for each in until)
        source = next((each for each in found if each is not None), None)
        if source is None:
            raise NoRegimesError(region, f"of {encoder}")
        rows = timelines.load_vectors(region, encoder, source)
        first = int(np.searchsorted(rows.dates, np.datetime64(start, "D"), side="left"))
        last = int(np.searchsorted(rows.dates, np.datetime64(end, "D"), side="right"))
        return RegimeEmbeddings(region, encoder, source, DatedVectors(rows.dates[first:last], rows.vectors[first:last]))

    def closes(self, history: RegimeHistory, start: date, end: date) -> Closes:
        """Return the closes behind a history; see `Histories.closes_behind`."""
        return Histories(self._wired).closes_behind(history, start, end)

    def transitions(self, region: str, model_id: str | None, until: date = date.max) -> list[TransitionReport]:
        """Return matrix and mean durations per regime model, up to a date; NoRegimesError if there are no rows."""
        chosen = [model_id] if model_id else self._wired.storage.list_models(region)
        timelines = [self._wired.timelines.timeline(region, each, date.min, until) for each in chosen]
        reports = [transition_report(each) for each in timelines if len(each.dates)]
        if not reports:
            raise NoRegimesError(region, f"of {model_id}" if model_id else "at all")
        return reports

    def plot(
        self, region: str, instrument_id: str, start: date, end: date, model_id: str | None, output: Path,
        *, force: bool = False,
    ) -> int:  # fmt: skip
        """Write a PNG of an instrument's adjusted closes over a region's regimes; return the number of dates."""
        from prometheus.files.pictures import PICTURE, save_figure  # noqa: PLC0415 -- no other reader draws
        from prometheus.regime.picture import draw_regimes  # noqa: PLC0415 -- no other reader draws

        require_writable(output, PICTURE, force=force)
        models = [model_id] if model_id else self._wired.storage.list_models(region)
        if len(models) > 1:
            raise ambiguous_model(region, models)
        found = [self._wired.timelines.timeline(region, each, start, end) for each in models]
        if not found or not len(found[0].dates):
            raise NoRegimesError(region, f"from {start} to {end}")
        (timeline,) = found
        first, last = timeline.dates[[0, -1]].tolist()
        closes = Histories(self._wired).closes_between(instrument_id, first, last)
        if not len(closes.dates):
            raise unknown_instrument(instrument_id)
        title = f"{instrument_id}, regimes of {region} by {timeline.model_id}"
        save_figure(draw_regimes(title, closes.dates, closes.values, timeline.labelled_dates()), output, force=force)
        return len(timeline.dates)


def transition_report(timeline: RegimeTimeline) -> TransitionReport:
    """Return how the regimes of a timeline follow each other."""
    labels = [LABELS[number] for number in timeline.labels.tolist()]
    counts, stays = transitions.transition_counts(labels), transitions.count_stays(labels)
    return TransitionReport(
        timeline.region, timeline.model_id, len(labels), counts, transitions.transition_matrix(counts),
        transitions.mean_durations(labels), {label: transitions.exit_hazards(stays.get(label)) for label in counts},
    )  # fmt: skip


def newest_position(dates: DateVector, as_of: date, name: str) -> int:
    """Return the position of the newest date, `as_of` or one of the week before it; else NotFoundError."""
    from prometheus.analogs.search import MAX_DAYS_BACK  # noqa: PLC0415 -- labelling looks for no analogs

    at = int(np.searchsorted(dates, np.datetime64(as_of, "D"), side="right")) - 1
    if at < 0 or as_of - dates[at].item() > timedelta(days=MAX_DAYS_BACK):
        raise no_embedding(name, as_of, (dates[0].item(), dates[-1].item()) if len(dates) else None)
    return at
