"""The regime model with a price on changing its mind, and with probabilities that were checked against the past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector, Int64Vector, as_float32
from prometheus.encoders.numeric.encoder import NumericWindowEncoder
from prometheus.errors import PrototypeError
from prometheus.protocols import StoringEncoder
from prometheus.regime.bear import BearChances
from prometheus.regime.calibration import RegimeCalibration
from prometheus.regime.decoding import forward_costs_and_ages, posterior, prototype_distances
from prometheus.regime.explanation import Explainer
from prometheus.regime.forecasts import volatility_scores
from prometheus.regime.market_index import IndexReader, IndexRises, MarketIndex
from prometheus.regime.model_numeric import Assignment, EncodingRegimeModel
from prometheus.regime.prototypes import PrototypeSet
from prometheus.regime.states import JsonColumns
from prometheus.regime.transitions import SPELL_AGES, hazards_to_dict
from prometheus.regime.types import RegimeLabel, RegimePrototype

FAMILY = "persistent"


@dataclass(frozen=True, slots=True, eq=False)
class DecodedAssignment(Assignment):
    """Labels of a decoding, with what is said beside them.

    `posteriors`, shape (n, n_labels), add to 1 in each row; `high_volatility`, shape (n,), is the probability that the
    volatility of the next 21 sessions exceeds `threshold`; `ages`, shape (n,), are those of the present spells in
    sessions, up to the oldest of `SPELL_AGES`; `exit_hazards` are, by column of the label and age, JSON values of the
    probability of leaving it. Of bear markets and of ages a calibration of the first version says nothing;
    `index_rises`, shape (n,), are what was seen of the `index`, where there is one.
    """

    posteriors: Float64Matrix
    high_volatility: Float64Vector
    threshold: float
    ages: Int64Vector
    exit_hazards: Mapping[tuple[int, int], Mapping[str, Any]]
    says_age: bool
    bear: BearChances | None = None
    index: MarketIndex | None = None
    index_rises: IndexRises | None = None

    def columns(self) -> JsonColumns:
        """Return JSON values that say how each label came about."""
        spells = zip(self.nearest.tolist(), self.ages.tolist(), strict=True)
        return {
            **super(DecodedAssignment, self).columns(),
            "probabilities": self.by_label(self.posteriors),
            "high_volatility": {"probability": self.high_volatility, "threshold": self.threshold},
            **({} if self.bear is None else {"bear": self.bear.columns()}),
            **({"spell_sessions": self.ages} if self.says_age else {}),
            **self._index_columns(),
            "change_risk": [self.exit_hazards[spell] for spell in spells],
        }

    def _index_columns(self) -> JsonColumns:
        if self.index is None or self.index_rises is None:
            return {}
        return {"market_index": self.index.said(self.index_rises.sessions)}


class PersistentRegimeModel(EncodingRegimeModel):
    """Labels decoded online with a penalty on every change, over a stated number of trailing sessions.

    A label depends on those sessions' windows and on the calibration alone: it never changes once given, and one date
    alone gets the label of the whole run. The encoder's vectors must be those the prototypes were found among.
    `PrototypeError` if the set has no calibration or window length. The default `model_id` is ``<encoder id>@<first 8
    hex digits of the set's fingerprint>``.
    """

    def __init__(
        self,
        *,
        encoder: NumericWindowEncoder | StoringEncoder,
        region_instruments: Mapping[str, str],
        prototype_set: PrototypeSet,
        model_id: str | None = None,
    ) -> None:
        if prototype_set.calibration is None or prototype_set.window_days is None:
            raise PrototypeError(
                prototype_set.region, "has no calibration; write one with: python -m prometheus calibrate"
            )
        self.calibration = prototype_set.calibration
        self.prototype_set = prototype_set
        self.warm_up = self.calibration.decode_sessions - 1
        super().__init__(
            encoder=encoder,
            region_instruments=region_instruments,
            window_days=prototype_set.window_days,
            model_id=model_id,
        )
        if self.calibration.market_index is not None:
            self.index = IndexReader(self.calibration.market_index.instrument_id, self.encoder, self.window_days)

    def _default_model_id(self) -> str:
        return self.prototype_set.regime_model_id(self.encoder.model_id)

    @property
    def config(self) -> dict[str, Any]:
        """What decides a label, beside the encoder's own configuration; enough to explain it later."""
        return {
            **super().config,
            "family": FAMILY,
            "code_version": 1,
            "centers": {each.label.name: each.center.tolist() for each in self.prototype_set.prototypes},
            "calibration": self.calibration.to_dict(),
        }

    def assign(
        self, vectors: Float32Matrix, is_held: NDArray[np.bool_] | None = None, seen: IndexRises | None = None, /
    ) -> DecodedAssignment:
        """Return labels for vectors of consecutive sessions, shape (n, dim), after the first `warm_up`."""
        scores = volatility_scores(vectors)
        return decode(vectors, scores, self.prototype_set.prototypes, self.calibration, is_held, seen)


def calibrated_of(
    config: Mapping[str, Any] | None, source: str
) -> tuple[tuple[RegimePrototype, ...], RegimeCalibration] | None:
    """Return prototypes and calibration of a recorded configuration; None if its model was not calibrated."""
    if config is None or config.get("family") != FAMILY:
        return None
    centers = config["centers"].items()
    prototypes = tuple(RegimePrototype(RegimeLabel.parse(name), as_float32(values)) for name, values in centers)
    return prototypes, RegimeCalibration.from_dict(config["calibration"], source)


def explainer_of(config: Mapping[str, Any] | None) -> Explainer | None:
    """Return what explains the labels of a model with a recorded configuration; None if it was not calibrated."""
    if config is None or config.get("family") != FAMILY:
        return None
    said = config["calibration"]
    centers = {name: as_float32(values) for name, values in config["centers"].items()}
    return Explainer(centers, said["norms"], said["temperature"], said["penalty"], said["decode_sessions"])


def decode(
    vectors: Float32Matrix,
    scores: Float64Vector,
    prototypes: Sequence[RegimePrototype],
    calibration: RegimeCalibration,
    is_held: NDArray[np.bool_] | None = None,
    seen: IndexRises | None = None,
) -> DecodedAssignment:
    """Return the labels of all sessions but the first ``decode_sessions - 1``, which are only looked back on.

    Vectors, shape (n, dim), and scores of high volatility, shape (n,), are of consecutive sessions, oldest first; one
    that is held says nothing for or against any label. `seen` of the market's index, where the calibration has one, are
    the rises known on each labelled session; without them it was never seen. `PrototypeError` if vectors and prototypes
    differ in dimension.
    """
    distances = prototype_distances(vectors, prototypes)
    warm_up = calibration.decode_sessions - 1
    labels = tuple(prototype.label for prototype in prototypes)
    costs = distances if is_held is None else np.where(is_held[:, np.newaxis], 0.0, distances)
    values, ages = forward_costs_and_ages(costs, calibration.penalty, calibration.decode_sessions, max(SPELL_AGES))
    posteriors = posterior(values, calibration.temperature)
    nearest = values.argmin(axis=1)
    index, added = calibration.market_index, None
    if index is not None:
        seen = seen or IndexRises.nothing(len(nearest))
        added = index.log_odds(vectors[warm_up:], seen)
    return DecodedAssignment(
        labels=labels,
        nearest=nearest,
        confidences=posteriors[np.arange(len(nearest)), nearest],
        distances=distances[warm_up:],
        posteriors=posteriors,
        high_volatility=calibration.high_volatility.probabilities(scores[warm_up:], vectors[warm_up:], added),
        threshold=calibration.high_volatility.threshold,
        ages=ages,
        exit_hazards={
            (label, age): hazards_to_dict(calibration.exit_hazards(labels[label], age))
            for label, age in set(zip(nearest.tolist(), ages.tolist(), strict=True))
        },
        says_age=calibration.stays_by_age is not None,
        bear=None if calibration.bear is None else calibration.bear.chances(vectors, calibration.decode_sessions),
        index=index,
        index_rises=seen,
    )
