"""Calibrated prototypes, why a label was given, and the constants of the scale-free encoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from prometheus.app.databases import DatabaseManager
from prometheus.app.encoding import EncoderWiring, Subject, warn_of_sessions_left_out
from prometheus.arrays import Float64Vector
from prometheus.backfill.numeric import name_unknown
from prometheus.core.files import require_writable, write_if_changed
from prometheus.data.models import ModelRegistry
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.encoders.numeric.descriptors import describe
from prometheus.encoders.numeric.regions import RegionWindowBatch
from prometheus.encoders.numeric.scale_free import RECOMPUTE_COMMAND, ScaleFreeConstants, ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import WindowBatch
from prometheus.errors import InputRefusedError, UsageError
from prometheus.files.prototypes import read_prototypes, write_prototypes
from prometheus.market.forward_volatility import forward_log_volatility
from prometheus.regime.calibration import CalibrationSettings, DescribedSessions, PrototypeSource, calibrate
from prometheus.regime.explanation import Reason, explain
from prometheus.regime.forecasts import fit_score_weights
from prometheus.regime.model_persistent import FAMILY
from prometheus.regime.prototypes import PrototypeSet
from prometheus.regime.types import RegimeState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """Prototypes wanted of a market's own past.

    Attributes
    ----------
    instrument_id
        What stands for the region; None for the members it is configured with.
    until
        Last date that may be used.
    span
        Sessions up to then that are.
    align_to
        An earlier prototype file whose labels the new ones keep.
    """

    region: str
    instrument_id: str | None
    until: date
    output: Path
    span: int
    settings: CalibrationSettings
    align_to: Path | None = None
    model_id: str | None = None

    def __post_init__(self) -> None:
        if self.instrument_id is not None and self.model_id not in (None, NUM_REGIME_CORE_V2):
            raise UsageError(
                f"calibrate reads vectors of {NUM_REGIME_CORE_V2}, not of {self.model_id}; "
                "for others average windows with compute_regime_prototypes"
            )


class CalibrationTasks:
    """What is learned from the past once in a while, and told again later."""

    def __init__(self, db_manager: DatabaseManager) -> None:
        self._db = db_manager
        self._wiring = EncoderWiring(db_manager)

    def calibrate(self, request: CalibrationRequest) -> tuple[PrototypeSet, bool]:
        """Find prototypes and their calibration, and write both to a file; return them, and whether it changed.

        Raises
        ------
        InputRefusedError
            There are too few sessions, or none at all.
        """
        require_writable(request.output)
        earlier = None
        if request.align_to is not None:
            earlier = PrototypeSource(read_prototypes(request.align_to).prototypes, str(request.align_to))
        subject = self._wiring.subject_of(
            request.region, request.instrument_id, request.model_id, None, NUM_REGIME_CORE_V2
        )
        windows = self._windows(subject, date.min, request.until)
        windows = windows.take(slice(max(0, len(windows) - request.span), None))
        if len(windows) < request.span:
            logger.warning(
                "%s has %d sessions with a window up to %s; calibrating on those instead of %d",
                subject.entity_id, len(windows), request.until, request.span,
            )  # fmt: skip
        vectors = subject.encoder.encode(windows).vectors
        prototypes, calibration = calibrate(
            DescribedSessions.of(windows.as_of_dates, vectors), _followed(windows), request.settings, earlier=earlier
        )
        prototype_set = PrototypeSet(
            region=request.region,
            prototypes=tuple(sorted(prototypes, key=lambda each: each.label.name)),
            windows={},
            encoder_model_id=subject.encoder.model_id,
            window_days=subject.window_days,
            calibration=calibration,
        )
        return prototype_set, write_prototypes(prototype_set, request.output)

    def explain(self, states: Sequence[RegimeState]) -> list[list[Reason]]:
        """Return for each state what moved its label against the next likely one.

        Raises
        ------
        InputRefusedError
            A state's model kept no prototypes to explain it by.
        """
        registry = ModelRegistry(self._db)
        configs = {model_id: registry.load_config(model_id) for model_id in {state.model_id for state in states}}
        return [_explain_state(state, configs[state.model_id]) for state in states]

    def fit_constants(
        self, instrument_id: str, start: date, end: date, output: Path
    ) -> tuple[ScaleFreeConstants, dict[str, float], bool]:
        """Recompute the frozen constants of the scale-free encoder and the weights of its volatility score.

        Returns
        -------
        The constants, the weights, and whether the file changed.
        """
        require_writable(output)
        subject = self._wiring.subject_of("", instrument_id, NUM_REGIME_CORE_V2, None, NUM_REGIME_CORE_V2)
        windows = self._windows(subject, start, end)
        source = {
            "instrument_id": instrument_id, "start": str(start), "end": str(end), "command": RECOMPUTE_COMMAND,
        }  # fmt: skip
        constants = ScaleFreeConstants.fit(describe(windows.features, windows.ends), source)
        model = ScaleFreeNumericEmbeddingModel(constants)
        vectors = model.encode_table(windows.features, windows.ends, windows.window_days)
        weights = fit_score_weights(vectors, _followed(windows))
        return constants, weights, write_if_changed(output, constants.to_json())

    def _windows(self, subject: Subject, start: date, end: date) -> WindowBatch | RegionWindowBatch:
        build = subject.builder.build_range([subject.entity_id], start, end, subject.window_days)
        if build.failures and not len(build.windows):
            raise name_unknown(build.failures, self._wiring.reader)[-1]
        warn_of_sessions_left_out(build.failures)
        return build.windows


def _followed(windows: WindowBatch | RegionWindowBatch) -> Float64Vector:
    """Return the forward log volatility of each window's last session, known from sessions of the same table only.

    The table begins with the instrument, or the anchor of the region, whose volatility is meant.
    """
    closes = np.exp(windows.features[: int(windows.ends[-1]), 0])
    return forward_log_volatility(closes)[windows.ends - 1]


def _explain_state(state: RegimeState, config: dict[str, Any] | None) -> list[Reason]:
    if config is None or config.get("family") != FAMILY:
        raise InputRefusedError(
            f"{state.region} {state.as_of_date}: {state.model_id} has no calibration to explain labels by; run "
            "calibrate, then run_numeric_regime with its file"
        )
    probabilities = {name: float(value) for name, value in state.metadata["probabilities"].items()}
    label = state.regime_label.name
    runner_up = max((name for name in probabilities if name != label), key=lambda name: probabilities[name])
    centers = {name: np.array(config["centers"][name], dtype=np.float32) for name in (label, runner_up)}
    return explain(state.regime_embedding, centers[label], centers[runner_up], config["calibration"]["norms"])
