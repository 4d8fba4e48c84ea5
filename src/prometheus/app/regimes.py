"""Regimes computed and stored, and prototypes averaged from them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from prometheus.app.backfills import BackfillCase
from prometheus.app.findings import CheckPrices
from prometheus.app.histories import ReadRegimes
from prometheus.app.wiring import Subject, warn_of_sessions_left_out
from prometheus.backfill.plan import DateSpan, regime_chunks
from prometheus.backfill.regime import MembersBackfill, RegimeBackfill, RegimeReport, stale_joins
from prometheus.backfill.work import BackfillRun
from prometheus.core.files import require_writable
from prometheus.encoders.catalogue import is_numeric_model, stored_model_id
from prometheus.encoders.identity import NUM_REGIME_CORE_V1, NUM_REGIME_CORE_V2
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.errors import NotFoundError, PrototypeError, UsageError
from prometheus.files.prototypes import PROTOTYPE_FILE, read_prototypes, write_prototypes
from prometheus.regime.model_numeric import (
    EncodingRegimeModel,
    NumericRegimeModel,
    SeedRegimeModel,
    default_temperature,
)
from prometheus.regime.prototypes import CalibrationWindow, PrototypeSet, mean_prototype
from prometheus.regime.types import RegimeLabel, RegimeState, require_region_name

logger = logging.getLogger(__name__)

DAYS_PER_SESSION = 2
"""Calendar days that a session takes at most, over a window."""


@dataclass(frozen=True, slots=True)
class RegimeRequest:
    """A region's regimes wanted, on one date or over a range; None means the default.

    By default the region's configured members stand for it, and the encoder is the region's, or num-regime-core-v1 for
    an instrument; states are stored under a name made of encoder and prototypes. Without a file of `prototypes` the
    seed model labels everything NEUTRAL. A calibrated file has its own decoding; `temperature` softens the confidence
    of others.
    """

    region: str
    instrument_id: str | None
    span: DateSpan
    window_days: int | None
    model_id: str | None
    prototypes: Path | None = None
    temperature: float | None = None
    regime_model_id: str | None = None

    def __post_init__(self) -> None:
        require_region_name(self.region)


@dataclass(frozen=True, slots=True)
class MembersRequest:
    """Regimes wanted of instruments of a market, each a region of its own name, by its own file of `prototypes`."""

    market_id: str
    span: DateSpan
    prototypes: Mapping[str, Path]

    def of_member(self, name: str) -> RegimeRequest:
        """Return the request of one instrument alone."""
        return RegimeRequest(name, name, self.span, None, None, self.prototypes[name])


class LabelRegimes(BackfillCase, ReadRegimes):
    """Computes and stores numeric embeddings and regimes."""

    kind = "regime"

    def run(self, request: RegimeRequest, *, dry_run: bool = False) -> BackfillRun[RegimeReport]:
        """Compute and store the regimes of a request; a date that is not a session becomes the previous session.

        InsufficientHistoryError, StaleHistoryError, NotFoundError or RegionMembersError without a window to classify.
        """
        work, subject, span = self._work(request)
        model = work.model
        self._warn_of_other_sources(request, model)
        _warn_in_sample(request.span, [model])
        chunks = regime_chunks(request.region, span)
        done = self._run_here(model.model_id, work, chunks, RegimeReport(), dry_run=dry_run)
        if not done.report.planned:
            raise done.report.refused[-1]
        _warn_without_prototypes(request)
        warn_of_sessions_left_out(done.report.embeddings.failures)
        _warn_without_index([model], done.report)
        market = subject.market if subject.members == (subject.anchor,) else None
        self._tell_findings(subject.members, subject.window_days, span, market)
        if dry_run:
            return done
        self._mend_transitions([(request.region, model.model_id)])
        return self._bring_in_step(done, [request.region], model.encoder.model_id, span)

    def run_members(self, request: MembersRequest, *, dry_run: bool = False) -> BackfillRun[RegimeReport]:
        """Compute and store the regimes of instruments of one market, each a region of its own name.

        A member without a window to classify is among the report's `refused` and stops no other.
        """
        names = list(request.prototypes)
        span = self._wired.at_session(request.span, request.market_id, names)
        opened: dict[str, EncodingRegimeModel] = {}

        def open_member(name: str) -> RegimeBackfill:
            own = replace(request.of_member(name), span=span)
            work = self._work(own)[0]
            self._warn_of_other_sources(own, work.model)
            opened[name] = work.model
            return work

        def tell(done: int, total: int | None) -> None:
            n_regions = done * len(names) // (total or 1)  # every region has as many days
            self._wired.progress(n_regions, len(names), next(reversed(opened), ""))

        chunks = [chunk for name in names for chunk in regime_chunks(name, span)]
        work, nothing = MembersBackfill(open_member), RegimeReport()
        done = self._run_here(NUM_REGIME_CORE_V2, work, chunks, nothing, dry_run=dry_run, progress=tell)
        models = list(opened.values())
        _warn_in_sample(span, models)
        _warn_without_index(models, done.report)
        self._tell_findings(names, WINDOW_DAYS, span, request.market_id)
        if dry_run:
            return done
        self._mend_transitions([(name, model.model_id) for name, model in opened.items()])
        return self._bring_in_step(done, names, NUM_REGIME_CORE_V2, span)

    def _mend_transitions(self, histories: Sequence[tuple[str, str]]) -> None:
        """Make transitions anew that another program removed or changed, and name the history."""
        for region, model_id in histories:
            n_wrong = self._wired.storage.mend_transitions(region, model_id)
            if n_wrong:
                logger.warning(
                    "%s: %d transitions of %s did not say what its labels say; mended", region, n_wrong, model_id
                )

    def _bring_in_step(
        self, done: BackfillRun[RegimeReport], regions: Sequence[str], encoder_model_id: str, span: DateSpan
    ) -> BackfillRun[RegimeReport]:
        """Bring in step what is made of the regimes of a run: the index of windows, and joint rows."""
        if done.report.embeddings.written:
            self._wired.sync_window_index(encoder_model_id)
        joined_anew = done.report.joined_anew
        for region in regions:
            branch = (region, encoder_model_id)
            stale = stale_joins(self._wired.joint_vectors, self._wired.storage, *branch, span.start, span.end)
            if stale:
                from prometheus.app.joint import JoinTexts  # noqa: PLC0415 -- most runs have nothing to join

                joined_anew = joined_anew + JoinTexts(self._wired).join_anew(*branch, stale)
        return replace(done, report=replace(done.report, joined_anew=joined_anew))

    def as_known(self, request: RegimeRequest, known_at: datetime) -> list[RegimeState]:
        """Return the regimes that the prices known at an instant give, oldest first; nothing is stored."""
        then = LabelRegimes(self._wired.as_known_at(known_at))
        work, subject, span = then._work(request)
        _warn_in_sample(request.span, [work.model])
        if not then._wired.reader.known_instruments([subject.anchor]):
            raise NotFoundError(f"no bar of {subject.anchor} was stored at {known_at.isoformat(timespec='seconds')}")
        report = RegimeReport()
        for chunk in regime_chunks(request.region, span):
            report += work.write(work.encode(work.read(chunk)))
        if not report.planned:
            raise report.refused[-1]
        _warn_without_prototypes(request)
        _warn_without_index([work.model], report)
        return work.storage.get_history(request.region, date.min, date.max, work.model.model_id)

    def _work(self, request: RegimeRequest) -> tuple[RegimeBackfill, Subject, DateSpan]:
        """Return the steps of a request, whom it is of, and its dates."""
        prototype_set = None if request.prototypes is None else read_prototypes(request.prototypes)
        subject = self._wired.subject_of(
            request.region, request.instrument_id, request.model_id, request.window_days,
            _default_encoder(request, prototype_set),
        )  # fmt: skip
        span = self._wired.at_session(request.span, subject.market, [subject.anchor])
        model = self._regime_model(request, subject, prototype_set)
        stores = (self._wired.storage, self._wired.registry, self._wired.reader)
        return RegimeBackfill(subject.builder, model, *stores), subject, span

    def _tell_findings(self, names: Sequence[str], window_days: int, span: DateSpan, market: str | None) -> None:
        """Warn of open findings in the prices that the labels of a span stand on."""
        since = max(span.start.toordinal() - window_days * DAYS_PER_SESSION, 1)
        found = CheckPrices(self._wired).check_known(names, date.fromordinal(since), span.end, market).findings
        if found:
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            logger.warning(
                "in the prices behind these labels: %s%s; see: python -m prometheus data check", found[0], more
            )

    def compute_prototypes(
        self,
        region: str,
        windows: Sequence[CalibrationWindow],
        encoder_model_id: str,
        output: Path,
        *,
        force: bool = False,
    ) -> tuple[PrototypeSet, dict[RegimeLabel, int], bool]:
        """Write the mean embedding of each calibration window to a prototype file.

        Return the set, the number of dates per label, and whether the file changed.
        """
        require_writable(output, PROTOTYPE_FILE, force=force)
        encoder_model_id = stored_model_id(encoder_model_id)
        prototypes, n_dates, window_days = [], {}, set()
        for window in windows:
            loaded = self._wired.storage.load_embeddings(region, encoder_model_id, window.start_date, window.end_date)
            prototypes.append(mean_prototype(window.label, loaded.vectors))
            n_dates[window.label] = len(loaded.vectors)
            window_days.add((loaded.instrument_id, loaded.window_days))
        if len(window_days) > 1:
            listed = " and ".join(f"{name}/{days} sessions" for name, days in sorted(window_days, key=str))
            raise PrototypeError(f"region {region}", f"the calibration windows hold embeddings of {listed}")
        prototype_set = PrototypeSet(
            region=region,
            prototypes=tuple(prototypes),
            windows={window.label: window for window in windows},
            encoder_model_id=encoder_model_id,
            window_days=next(iter(window_days))[1],
        )
        return prototype_set, n_dates, write_prototypes(prototype_set, output, force=force)

    def _regime_model(
        self, request: RegimeRequest, subject: Subject, prototype_set: PrototypeSet | None
    ) -> EncodingRegimeModel:
        common: dict[str, Any] = {
            "encoder": subject.encoder, "region_instruments": {request.region: subject.entity_id},
            "model_id": request.regime_model_id,
        }  # fmt: skip
        if prototype_set is None:
            return SeedRegimeModel(**common, window_days=subject.window_days)
        prototype_set.require_space(str(request.prototypes), subject.encoder.model_id, subject.window_days)
        temperature = request.temperature
        if prototype_set.calibration is None:
            if temperature is None:
                temperature = default_temperature(subject.encoder.model_id, prototype_set.prototypes)
            return NumericRegimeModel(
                **common, window_days=subject.window_days, prototypes=prototype_set.prototypes, temperature=temperature
            )
        if temperature is not None:
            raise UsageError(f"{request.prototypes} brings its own temperature; leave --temperature away")
        from prometheus.regime.model_persistent import PersistentRegimeModel  # noqa: PLC0415 -- for calibrated files

        return PersistentRegimeModel(**common, prototype_set=prototype_set)

    def _warn_of_other_sources(self, request: RegimeRequest, model: EncodingRegimeModel) -> None:
        source = (model.spec_of(request.region).entity_id, str(model.window_days))
        stored = self._wired.storage.load_sources(request.region, model.model_id)
        for (instrument_id, window_days), n_rows in stored.items():
            if (instrument_id, window_days) == source:
                continue
            logger.warning(
                "region %s already holds %d rows of %s made from %s with %s sessions; a history of two sources cannot "
                "be compared with itself: use another --region or --regime-model-id",
                request.region, n_rows, model.model_id, instrument_id, window_days,
            )  # fmt: skip


def _warn_in_sample(span: DateSpan, models: Iterable[EncodingRegimeModel]) -> None:
    """Warn of dates that calibrated prototypes were learned from, once for all models."""
    calibrations = [found for each in models if (found := getattr(each, "calibration", None)) is not None]
    learned = [each.end for each in calibrations if span.start <= each.end]
    if learned:
        of_members = f" of {len(learned)} members" if len(calibrations) > 1 else ""
        logger.warning(
            "the prototypes%s were calibrated on sessions up to %s; labels of dates up to then are in-sample",
            of_members, max(learned),
        )  # fmt: skip


def _warn_without_prototypes(request: RegimeRequest) -> None:
    if request.prototypes is None:
        logger.warning(
            "no prototypes: always NEUTRAL; run: python -m prometheus calibrate, then give --prototypes FILE"
        )


def _warn_without_index(models: Sequence[EncodingRegimeModel], report: RegimeReport) -> None:
    days = report.without_index
    if days:
        logger.warning(
            "%s was not known in the week before %d of the dates, the first %s: their chance of high volatility is "
            "stated without it; load its bars and run again",
            ", ".join(sorted({model.index.instrument_id for model in models if model.index})), len(days), min(days),
        )  # fmt: skip


def _default_encoder(request: RegimeRequest, prototype_set: PrototypeSet | None) -> str:
    made_by = None if prototype_set is None else prototype_set.encoder_model_id
    is_asked = request.model_id is None and request.instrument_id is not None
    return made_by if made_by and is_asked and is_numeric_model(made_by) else NUM_REGIME_CORE_V1
