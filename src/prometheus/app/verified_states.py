"""Stored regimes and transitions compared with what bars, prototypes and labels give again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prometheus.app.verified import Sample, TableReport, WrongRow, describe_vectors, is_sound, shorten
from prometheus.app.verified_windows import NO_WAY
from prometheus.arrays import VECTOR_DTYPE
from prometheus.backfill.plan import DateSpan, regime_chunks
from prometheus.backfill.regime import RegimeBackfill
from prometheus.data.verification import StateRow, StoredStates, TransitionRow
from prometheus.encoders.numeric.regions import NUM_REGIME_REGION_V1
from prometheus.errors import PrometheusError, PrototypeError
from prometheus.files.prototypes import read_prototypes
from prometheus.memory.stores import MemoryStates
from prometheus.regime.model_numeric import EncodingRegimeModel, NumericRegimeModel, SeedRegimeModel
from prometheus.regime.model_persistent import PersistentRegimeModel, calibrated_of
from prometheus.regime.prototypes import PrototypeSet, prototypes_fingerprint
from prometheus.regime.types import RegimeState

if TYPE_CHECKING:
    from prometheus.app.wiring import Subject, Wiring

TABLE, TRANSITIONS = "regimes", "regime_transitions"


@dataclass(frozen=True, slots=True)
class _Again:
    """A state made again, and the hash of its inputs."""

    state: RegimeState
    input_hash: int


class VerifyStates:
    """Labels the dates of stored states again and compares all they say; then transitions with labels.

    `prototypes` are files of models that were not calibrated: of those the database keeps a fingerprint alone.
    """

    def __init__(self, wired: Wiring, sample: Sample, prototypes: Sequence[Path], *, repair: bool) -> None:
        self._wired, self._sample, self._repair = wired, sample, repair
        self._stored = StoredStates(wired.db_manager)
        self._files = prototypes
        self._labels: dict[tuple[str, str], dict[date, str]] = {}
        """Of wrong states, what their label should be."""

    def verify(self, regions: Sequence[str] | None, told: Callable[[int], None]) -> list[TableReport]:
        """Return the sums over the states of some regions, or of all, and over their transitions."""
        histories = self._stored.histories(regions)
        report = TableReport(TABLE, sum(n_rows for *_, n_rows in histories))
        chosen = self._sample.choose(TABLE, [n_rows for *_, n_rows in histories])
        for (region, model_id, _), places in zip(histories, chosen, strict=True):
            rows = [] if places == [] else self._stored.rows(region, model_id, places)
            self._compare(region, model_id, rows, report)
            told(len(rows))
        return [report, self._verify_transitions(regions, [each[:2] for each in histories])]

    def _compare(self, region: str, model_id: str, rows: Sequence[StateRow], report: TableReport) -> None:
        """Compare the states of a history with those of each source that they name, the one most often named first."""
        left, wrong, healed = {row.as_of_date: row for row in rows}, list[WrongRow](), list[_Again]()
        reasons: list[str] = []
        for encoder_id, instrument_id, window_days in self._stored.sources(region, model_id) if rows else ():
            try:
                work = self._work(region, model_id, encoder_id, instrument_id, window_days)
                made = self._made_again(work, region, sorted(left))
            except (PrometheusError, ValueError) as error:
                reasons.append(f"{region} ({model_id}): {error}")
                continue
            for day, again in made.items():
                row = left[day]
                if again.input_hash != row.input_hash and is_sound(row.regime_embedding):
                    continue
                del left[day]
                report.n_compared += 1
                found = _differences(region, model_id, row, again.state)
                wrong += found
                healed += [again] if found else []
            if not left:
                break
        broken = [row for row in left.values() if not is_sound(row.regime_embedding)]
        report.found([_unsound(region, model_id, row) for row in broken], are_healed=False)
        is_unread = len(left) == len(rows) and bool(reasons)
        report.unread += reasons if is_unread else []
        n_unknown = sum(row.input_hash is None for row in left.values())
        report.n_unread += len(rows) * is_unread
        report.n_unknown += n_unknown * (not is_unread)
        report.n_stale += (len(left) - n_unknown) * (not is_unread)
        report.found(wrong, are_healed=self._repair)
        self._labels[region, model_id] = {each.state.as_of_date: each.state.regime_label.value for each in healed}
        if healed and self._repair:
            hashes = np.array([each.input_hash for each in healed], np.int64)
            self._wired.storage.save_regimes([each.state for each in healed], hashes)

    def _work(
        self, region: str, model_id: str, encoder_id: str, instrument_id: str | None, window_days: str | None
    ) -> RegimeBackfill:
        """Return the steps that made the states of a source; what they make stays in memory."""
        is_region = encoder_id.startswith(NUM_REGIME_REGION_V1)
        days = None if window_days is None else int(window_days)
        name = None if is_region else instrument_id
        subject = self._wired.subject_of(region, name, encoder_id, days, encoder_id)
        model = self._model(region, model_id, subject)
        return RegimeBackfill(subject.builder, model, MemoryStates(), self._wired.registry, self._wired.reader)

    def _model(self, region: str, model_id: str, subject: Subject) -> EncodingRegimeModel:
        config = self._wired.registry.load_config(model_id)
        own: dict[str, Any] = {
            "encoder": subject.encoder, "region_instruments": {region: subject.entity_id}, "model_id": model_id,
        }  # fmt: skip
        known = calibrated_of(config, model_id)
        if known is not None:
            of_model = PrototypeSet(region, known[0], {}, subject.encoder.model_id, subject.window_days, known[1])
            return PersistentRegimeModel(**own, prototype_set=of_model)
        if config is None or "prototypes" not in config:
            return SeedRegimeModel(**own, window_days=subject.window_days)
        for path in self._prototype_files():
            found = read_prototypes(path).prototypes
            if prototypes_fingerprint(found) == config["prototypes"]:
                return NumericRegimeModel(
                    **own, window_days=subject.window_days, prototypes=found, temperature=config["temperature"]
                )
        raise PrototypeError(model_id, "its prototypes are in a file of yours; name that with --prototypes FILE")

    def _prototype_files(self) -> Iterator[Path]:
        yield from self._files
        for definition in self._wired.config.regions.values():
            if definition.prototypes is not None and definition.prototypes.is_file():
                yield definition.prototypes

    def _made_again(self, work: RegimeBackfill, region: str, dates: Sequence[date]) -> dict[date, _Again]:
        """Return the states that bars and prototypes give for some dates, ascending; others are left out."""
        wanted = set(dates)
        made: dict[date, _Again] = {}
        for chunk in regime_chunks(region, DateSpan.of_range(dates[0], dates[-1])):
            made |= {day: again for day, again in _of_span(work, chunk).items() if day in wanted}
        for day in dates:
            if day not in made:  # a date that had no bar of its own when it was asked for alone
                (chunk,) = regime_chunks(region, DateSpan.of_date(day))
                made |= _of_span(work, chunk)
        return made

    def _verify_transitions(self, regions: Sequence[str] | None, histories: Sequence[Any]) -> TableReport:
        """Compare the transitions of whole histories with their labels, wrong ones of these taken for right."""
        report = TableReport(TRANSITIONS)
        for region, model_id in [*histories, *self._stored.without_states(regions)]:
            labels = self._stored.labels(region, model_id)
            said = labels | {
                day: label for day, label in self._labels.get((region, model_id), {}).items() if day in labels
            }
            wanted, stored = _transitions_of(said), self._stored.transitions(region, model_id)
            report.n_rows += len(stored)
            report.n_compared += len(wanted.keys() | stored.keys())
            wrong = [
                _wrong_transition(region, model_id, day, stored.get(day), wanted.get(day))
                for day in sorted(wanted.keys() | stored.keys())
                if stored.get(day) != wanted.get(day)
            ]
            if wrong and self._repair:
                self._wired.storage.mend_transitions(region, model_id)
            report.found(wrong, are_healed=self._repair)
        return report


def _of_span(work: RegimeBackfill, chunk: Any) -> dict[date, _Again]:
    encoded = work.encode(work.read(chunk))
    hashes = encoded.input_hashes.tolist()
    return {state.as_of_date: _Again(state, made_of) for state, made_of in zip(encoded.states, hashes, strict=True)}


def _differences(region: str, model_id: str, row: StateRow, state: RegimeState) -> list[WrongRow]:
    """Return what a stored state says and should not, as one row: its first column that differs."""
    wanted: Mapping[str, Any] = {
        "regime_embedding": state.regime_embedding.astype(VECTOR_DTYPE).tobytes(),
        "regime_label": state.regime_label.value,
        "confidence": float(state.confidence),
        "encoder_model_id": str(state.encoder_model_id),
        "metadata": dict(state.metadata),
    }
    columns = [name for name, value in wanted.items() if getattr(row, name) != value]
    if not columns:
        return []
    stored, should = getattr(row, columns[0]), wanted[columns[0]]
    if columns[0] == "regime_embedding":
        stored, should = describe_vectors(stored, should)
    elif columns[0] == "metadata":
        stored, should = _first_difference(stored, should)
    code = "row_differs" if is_sound(row.regime_embedding) else "not_finite"
    key = f"{region} ({model_id}) {row.as_of_date}"
    return [WrongRow(TABLE, key, ", ".join(columns), shorten(stored), shorten(should), code)]


def _first_difference(stored: Any, wanted: Mapping[str, Any]) -> tuple[str, str]:
    have = stored if isinstance(stored, Mapping) else {}
    name = next(each for each in sorted({*have, *wanted}) if have.get(each) != wanted.get(each))
    return f"{name}: {have.get(name)}", f"{wanted.get(name)}"


def _unsound(region: str, model_id: str, row: StateRow) -> WrongRow:
    key = f"{region} ({model_id}) {row.as_of_date}"
    return WrongRow(TABLE, key, "regime_embedding", "not finite", "a vector", "not_finite", NO_WAY)


def _transitions_of(labels: Mapping[date, str]) -> dict[date, TransitionRow]:
    """Return the transitions that labels, by ascending date, make."""
    days = list(labels)
    return {
        day: TransitionRow(day, before, labels[before], labels[day])
        for before, day in pairwise(days)
        if labels[before] != labels[day]
    }


def _wrong_transition(
    region: str, model_id: str, day: date, stored: TransitionRow | None, wanted: TransitionRow | None
) -> WrongRow:
    said, should = (
        "absent" if each is None else f"{each.from_label} ({each.previous_date}) to {each.to_label}"
        for each in (stored, wanted)
    )
    return WrongRow(TRANSITIONS, f"{region} ({model_id}) {day}", "the change", said, should, "transition_differs")
