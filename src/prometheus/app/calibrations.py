"""Prototypes and constants learned from the past, and what labels are made of."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from prometheus.app.histories import Histories
from prometheus.app.judged_markets import SetAside, load_judged_market
from prometheus.app.wiring import Subject, UseCase, Wiring, warn_of_sessions_left_out
from prometheus.arrays import Float64Vector
from prometheus.backfill.embeddings import name_unknown
from prometheus.core.files import FileKind, require_writable, write_if_changed
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.encoders.numeric.descriptors import describe
from prometheus.encoders.numeric.regions import RegionWindowBatch
from prometheus.encoders.numeric.scale_free import RECOMPUTE_COMMAND, ScaleFreeConstants, ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import WindowBatch
from prometheus.encoders.numeric.without import without_bar
from prometheus.errors import InputRefusedError, UsageError
from prometheus.evaluation.bears import find_bear_markets
from prometheus.files.prototypes import PROTOTYPE_FILE, read_prototypes, write_prototypes
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.calibration import (
    CalibrationSettings,
    DescribedSessions,
    PrototypeSource,
    RegimeCalibration,
    calibrate,
    wild_stretches,
)
from prometheus.regime.doubts import LoudestBar, find_doubts, loudest_row
from prometheus.regime.explanation import Explainer, Movement, Reason
from prometheus.regime.forecasts import fit_score_weights
from prometheus.regime.market_index import MAX_AGE
from prometheus.regime.model_persistent import explainer_of
from prometheus.regime.prototypes import PrototypeSet
from prometheus.regime.types import RegimeState, require_region_name

logger = logging.getLogger(__name__)

CONSTANTS_FILE = FileKind("a file of constants", lambda content: b'"mean_and_deviation"' in content)


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """Prototypes wanted of a market's own past: its last `span` sessions up to `until`.

    Without `instrument_id` the region's configured members are meant; `align_to` is an earlier prototype file whose
    labels the new ones keep. A file at `output` that is no prototype file is replaced only by `force`.
    """

    region: str
    instrument_id: str | None
    until: date
    output: Path
    span: int
    settings: CalibrationSettings
    align_to: Path | None = None
    model_id: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        require_region_name(self.region)
        if self.instrument_id is not None and self.model_id not in (None, NUM_REGIME_CORE_V2):
            raise UsageError(
                f"calibrate reads vectors of {NUM_REGIME_CORE_V2}, not of {self.model_id}; "
                "for others average windows with compute_regime_prototypes"
            )


@dataclass(frozen=True, slots=True)
class Learned:
    """The prototypes written, their calibration, whether the file changed, and each reason to doubt them.

    `n_bear_markets` are those of the calibration's fall among the sessions learned from.
    """

    prototype_set: PrototypeSet
    calibration: RegimeCalibration
    is_changed: bool
    warnings: tuple[str, ...]
    n_bear_markets: int


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """The prototypes written, whether the file changed, each reason to doubt them, and what the judge set aside.

    `set_aside` is by instrument, over the sessions that the calibration's windows reach back to; `n_bear_markets` as in
    `Learned`.
    """

    prototype_set: PrototypeSet
    is_changed: bool
    warnings: tuple[str, ...]
    set_aside: Mapping[str, SetAside]
    n_bear_markets: int


class Calibrate(UseCase):
    """Learns prototypes and constants from the past, and explains labels."""

    def calibrate(self, request: CalibrationRequest) -> CalibrationResult:
        """Write prototypes and their calibration to a file, and warn of each reason to doubt them.

        InputRefusedError for too few sessions.
        """
        subject, learned = self.learn(request)
        calibration = learned.calibration
        if calibration.n_sessions < request.span:
            logger.warning(
                "%s has %d sessions with a window up to %s; calibrating on those instead of %d",
                subject.entity_id, calibration.n_sessions, request.until, request.span,
            )  # fmt: skip
        for warning in learned.warnings:
            logger.warning("%s: %s", subject.entity_id, warning)
        set_aside = self._set_aside(subject, calibration)
        return CalibrationResult(
            learned.prototype_set, learned.is_changed, learned.warnings, set_aside, learned.n_bear_markets
        )

    def learn(self, request: CalibrationRequest) -> tuple[Subject, Learned]:
        """Do as `calibrate` does without a warning; return of whom and what was learned."""
        require_writable(request.output, PROTOTYPE_FILE, force=request.force)
        earlier = None
        if request.align_to is not None:
            earlier = PrototypeSource(read_prototypes(request.align_to).prototypes, str(request.align_to))
        subject = self._wired.subject_of(
            request.region, request.instrument_id, request.model_id, None, NUM_REGIME_CORE_V2
        )
        windows = all_windows(self._wired, subject, date.min, request.until)
        if request.settings.market_index is not None:
            self._require_index(request.settings.market_index.instrument_id, subject, windows.as_of_dates[-1].item())
        windows = windows.take(slice(max(0, len(windows) - request.span), None))
        sessions = describe_windows(subject, windows)
        prototypes, calibration = calibrate(sessions, followed_by(windows), request.settings, earlier=earlier)
        loudest = _loudest(subject, windows, sessions, request.settings)
        warnings = tuple(find_doubts(sessions, prototypes, calibration, request.settings, loudest))
        ordered = tuple(sorted(prototypes, key=lambda each: each.label.name))
        prototype_set = PrototypeSet(
            region=request.region, prototypes=ordered, windows={}, encoder_model_id=subject.encoder.model_id,
            window_days=subject.window_days, calibration=calibration,
        )  # fmt: skip
        is_changed = write_prototypes(prototype_set, request.output, force=request.force)
        return subject, Learned(prototype_set, calibration, is_changed, warnings, _count_bears(windows, calibration))

    def _require_index(self, instrument_id: str, subject: Subject, last: date) -> None:
        """Raise `UsageError` for what is no index of a subject, InputRefusedError where it is not known on a day."""
        if subject.members != (subject.entity_id,):
            raise UsageError(
                f"region {subject.entity_id} stands on several instruments, --market-index is for one; "
                "give --instrument-id, or leave the index away"
            )
        if instrument_id == subject.entity_id:
            raise UsageError(f"{instrument_id} is itself the --market-index; leave that away")
        build = subject.builder.build_range([instrument_id], last - MAX_AGE.item(), last, subject.window_days)
        if build.failures:
            raise name_unknown(build.failures, self._wired.reader)[0]

    def _set_aside(self, subject: Subject, calibration: RegimeCalibration) -> dict[str, SetAside]:
        found = {}
        for name in subject.members:
            market = load_judged_market(self._wired, name)
            dates = market.bars.dates
            begin = int(np.searchsorted(dates, np.datetime64(calibration.start, "D"))) - subject.window_days + 1
            found[name] = SetAside.of(market, dates[max(begin, 0)].item(), calibration.end)
        return found

    def explain(self, states: Sequence[RegimeState], asked: Histories | None = None) -> list[list[Reason]]:
        """Return for each state its reasons against the next likely label; InputRefusedError without prototypes."""
        asked = asked or Histories(self._wired)
        return [
            _explainer(state, asked).explain(state.regime_embedding, *_decided(state), is_held="held" in state.metadata)
            for state in states
        ]

    def compare(self, before: RegimeState, now: RegimeState, asked: Histories | None = None) -> list[Movement]:
        """Return what moved from one state to a later one of the same model; see `explain` for the error."""
        explainer = _explainer(now, asked or Histories(self._wired))
        return explainer.compare(before.regime_embedding, now.regime_embedding, *_decided(now))

    def fit_constants(
        self, instrument_id: str, start: date, end: date, output: Path, *, force: bool = False
    ) -> tuple[ScaleFreeConstants, dict[str, float], bool]:
        """Recompute the scale-free encoder's frozen constants and the volatility score's weights.

        Return the constants, the weights, and whether the file changed.
        """
        require_writable(output, CONSTANTS_FILE, force=force)
        subject = self._wired.subject_of("", instrument_id, NUM_REGIME_CORE_V2, None, NUM_REGIME_CORE_V2)
        windows = all_windows(self._wired, subject, start, end)
        source = {
            "instrument_id": instrument_id, "start": str(start), "end": str(end), "command": RECOMPUTE_COMMAND,
        }  # fmt: skip
        constants = ScaleFreeConstants.fit(describe(windows.features, windows.ends), source)
        model = ScaleFreeNumericEmbeddingModel(constants)
        vectors = model.encode_table(windows.features, windows.ends, windows.window_days)
        weights = fit_score_weights(vectors, followed_by(windows))
        return constants, weights, write_if_changed(output, constants.to_json())


def all_windows(wired: Wiring, subject: Subject, start: date, end: date) -> WindowBatch | RegionWindowBatch:
    """Return the windows of a subject from `start` to `end`, with a warning of sessions left out.

    InputRefusedError where there is no window.
    """
    build = subject.builder.build_range([subject.entity_id], start, end, subject.window_days)
    if build.failures and not len(build.windows):
        raise name_unknown(build.failures, wired.reader)[-1]
    warn_of_sessions_left_out(build.failures)
    return build.windows


def describe_windows(subject: Subject, windows: WindowBatch | RegionWindowBatch) -> DescribedSessions:
    """Return what the subject's encoder says of windows."""
    return DescribedSessions.of(windows.as_of_dates, subject.encoder.encode(windows).vectors)


def _loudest(
    subject: Subject, windows: WindowBatch | RegionWindowBatch, sessions: DescribedSessions,
    settings: CalibrationSettings,
) -> LoudestBar | None:  # fmt: skip
    """Return the loudest bar of an instrument; None for a region, whose members' bars are many."""
    if isinstance(windows, RegionWindowBatch):
        return None
    log_returns = np.diff(np.log(windows.closes), prepend=np.nan)[windows.close_ends - 1]
    row = loudest_row(sessions, log_returns, settings)
    stretches = wild_stretches(sessions, settings)
    wild = np.unique(np.concatenate([np.arange(each.start, each.stop) for each in stretches]))
    stress = sessions.stress.copy()
    stress[wild] = describe_windows(subject, without_bar(windows, row).take(wild)).stress
    return LoudestBar(row, float(log_returns[row]), stress)


def _count_bears(windows: WindowBatch | RegionWindowBatch, calibration: RegimeCalibration) -> int:
    if calibration.bear is None:
        return 0
    closes = windows.closes[int(windows.close_ends[0]) - 1 : int(windows.close_ends[-1])]
    return len(find_bear_markets(closes, calibration.bear.fall, calibration.bear.fall)[0])


def followed_by(windows: WindowBatch | RegionWindowBatch) -> Float64Vector:
    """Return the forward log volatility of each window's last session, of the instrument or the region's anchor."""
    closes = windows.closes[: int(windows.close_ends[-1])]
    return forward_log_volatility(closes)[windows.close_ends - 1]


def _explainer(state: RegimeState, asked: Histories) -> Explainer:
    """Return what explains a state; InputRefusedError without a calibration."""
    found = explainer_of(asked.model_config(state.model_id))
    if found is None:
        raise InputRefusedError(
            f"{state.region} {state.as_of_date}: {state.model_id} has no calibration to explain labels by; run "
            "calibrate, then run_numeric_regime with its file"
        )
    return found


def _decided(state: RegimeState) -> tuple[str, dict[str, float]]:
    """Return the label of a state and the probability of each."""
    return state.regime_label.name, {name: float(each) for name, each in state.metadata["probabilities"].items()}
