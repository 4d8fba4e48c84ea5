"""The nearest-prototype regime model: a window's embedding against the centres of the regimes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector
from prometheus.encoders.identity import NUM_REGIME_CORE_V1, NUMERIC_SIMPLE_V1
from prometheus.encoders.numeric.encoder import EmbeddingBatch, NumericWindowEncoder, numeric_encoder
from prometheus.encoders.numeric.windows import NumericWindowSpec, require_window_days
from prometheus.errors import UsageError, unknown_region
from prometheus.protocols import StoringEncoder
from prometheus.regime.decoding import prototype_distances
from prometheus.regime.prototypes import default_regime_model_id, prototypes_fingerprint, require_prototypes
from prometheus.regime.states import JsonColumns, RegimeStates, json_values
from prometheus.regime.types import RegimeLabel, RegimePrototype, RegimeState

if TYPE_CHECKING:
    from prometheus.regime.market_index import IndexReader, IndexRises


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """Labels of n vectors: positions in `labels`, confidences in [0, 1], Euclidean distances (n, n_labels)."""

    labels: tuple[RegimeLabel, ...]
    nearest: NDArray[np.intp]
    confidences: Float64Vector
    distances: Float64Matrix

    def columns(self) -> JsonColumns:
        """Return JSON values that say how each label came about."""
        return {"distances": self.by_label(self.distances)}

    def details(self, row: int) -> dict[str, Any]:
        """Return those of one label."""
        return json_values(self.columns(), row)

    def by_label(self, values: Float64Matrix) -> dict[str, Float64Vector]:
        """Return values, shape (n, n_labels), by the names of the labels."""
        return dict(zip(map(str, self.labels), values.T, strict=True))


HELD = {"held": "the newest bar is suspect"}
"""What the metadata of a state say whose label is that of the session before, because nothing better is known."""


class EncodingRegimeModel(ABC):
    """What the regime models share: what stands for a region, its window, and states made of embeddings.

    An instrument stands for a region, or the region itself where the encoder's windows are those of regions. A batch
    must begin `warm_up` sessions before the first one to be judged. `index` reads that of the market, where it is
    used.
    """

    warm_up = 0
    index: IndexReader | None = None

    def __init__(
        self,
        *,
        encoder: NumericWindowEncoder | StoringEncoder,
        region_instruments: Mapping[str, str],
        window_days: int,
        model_id: str | None = None,
    ) -> None:
        self.encoder = numeric_encoder(encoder)
        self.region_instruments = dict(region_instruments)
        self.window_days = require_window_days(window_days)
        self._model_id = model_id or self._default_model_id()

    @property
    def model_id(self) -> str:
        """The name the states are stored under."""
        return self._model_id

    def _default_model_id(self) -> str:
        return self.encoder.model_id

    @property
    def config(self) -> dict[str, Any]:
        """What decides a label, beside the encoder's own configuration."""
        return {"encoder_model_id": self.encoder.model_id, "window_days": self.window_days}

    def classify(self, as_of_date: date, region: str) -> RegimeState:
        """Embed and store the region's window, and return its regime.

        `NotFoundError` if nothing stands for the region, `InsufficientHistoryError` or `StaleHistoryError` if its
        window cannot be built.
        """
        spec = self.spec_of(region)
        batch = self.encoder.encode(self.encoder.builder.build_trailing(spec, as_of_date, self.warm_up + 1))
        seen = None if self.index is None else self.index.seen_on(batch.as_of_dates[self.warm_up :])
        state = self.states(batch, region, seen)[0]
        self.encoder.save(batch.take(slice(self.warm_up, None)))
        return state

    def spec_of(self, region: str) -> NumericWindowSpec:
        """Return whose windows a region's labels are read from."""
        return NumericWindowSpec(self.encoder.entity_type, self.instrument_of(region), self.window_days)

    def instrument_of(self, region: str) -> str:
        """Return the instrument, or other entity of the encoder's, that stands for a region."""
        try:
            return self.region_instruments[region]
        except KeyError:
            raise unknown_region(region, sorted(self.region_instruments)) from None

    def states(self, batch: EmbeddingBatch, region: str, seen: IndexRises | None = None) -> RegimeStates:
        """Return the regime of each vector of a batch after the first `warm_up`, in its order.

        `seen` is what a model with an `index` had seen of it on those dates.
        """
        assignment = self.assign(batch.vectors, batch.is_held, seen)
        rows = slice(self.warm_up, None)
        return RegimeStates(
            region=region,
            model_id=self.model_id,
            encoder_model_id=self.encoder.model_id,
            names=assignment.labels,
            dates=batch.as_of_dates[rows],
            labels=assignment.nearest,
            confidences=assignment.confidences,
            vectors=batch.vectors[rows],
            sources=self._sources(batch.take(rows), region),
            details=assignment.columns(),
        )

    def _sources(self, batch: EmbeddingBatch, region: str) -> list[Mapping[str, Any]]:
        owner = {"instrument_id": self.instrument_of(region)} if batch.sources is None else {}
        base: Mapping[str, Any] = {**owner, "window_days": self.window_days}
        sources = [{}] * len(batch) if batch.sources is None else batch.sources
        held = [False] * len(batch) if batch.is_held is None else batch.is_held.tolist()
        keys = [(id(source), is_held) for source, is_held in zip(sources, held, strict=True)]
        made = {
            key: {**base, **source, **(HELD if key[1] else {})}
            for key, source in dict(zip(keys, sources, strict=True)).items()
        }
        return [made[key] for key in keys]

    @abstractmethod
    def assign(
        self, vectors: Float32Matrix, is_held: NDArray[np.bool_] | None = None, seen: IndexRises | None = None, /
    ) -> Assignment:
        """Return labels for vectors of shape (n, dim), from the one after the first `warm_up` on.

        Those that are held, shape (n,), repeat the vector before and add nothing to what is known; `seen`, of the
        market's index, are for the labelled ones.
        """


class NumericRegimeModel(EncodingRegimeModel):
    """The label of the nearest prototype; confidence is the softmax of minus distance over temperature.

    Of the encoder, `embed_and_store` is enough; `temperature` is in units of distance. `PrototypeError` or `UsageError`
    for prototypes that cannot classify (none, mixed dimensions, a label twice) and for a temperature that is not
    positive and finite. The default `model_id` is ``<encoder id>@<first 8 hex digits of the prototypes' fingerprint>``.
    """

    def __init__(
        self,
        *,
        encoder: NumericWindowEncoder | StoringEncoder,
        region_instruments: Mapping[str, str],
        window_days: int,
        prototypes: Sequence[RegimePrototype],
        temperature: float = 1.0,
        model_id: str | None = None,
    ) -> None:
        require_prototypes(prototypes, "prototypes")
        if not (temperature > 0 and np.isfinite(temperature)):
            raise UsageError(f"temperature must be positive and finite, got {temperature}")
        self.prototypes = tuple(prototypes)
        self.temperature = float(temperature)
        super().__init__(
            encoder=encoder, region_instruments=region_instruments, window_days=window_days, model_id=model_id
        )

    def _default_model_id(self) -> str:
        return default_regime_model_id(self.encoder.model_id, self.prototypes)

    @property
    def config(self) -> dict[str, Any]:
        """What decides a label, beside the encoder's own configuration."""
        fingerprint = prototypes_fingerprint(self.prototypes)
        return {**super().config, "prototypes": fingerprint, "temperature": self.temperature}

    def assign(self, vectors: Float32Matrix, *_: Any) -> Assignment:
        """Return labels for vectors of shape (n, dim); those that are held have the label of the one before."""
        distances = prototype_distances(vectors, self.prototypes)
        return Assignment(
            labels=tuple(prototype.label for prototype in self.prototypes),
            nearest=distances.argmin(axis=1),
            confidences=nearest_confidence(distances, self.temperature),
            distances=distances,
        )


class SeedRegimeModel(EncodingRegimeModel):
    """The bootstrap model: every embedding is NEUTRAL, for sure; prototypes are made of what it stores."""

    def assign(self, vectors: Float32Matrix, *_: Any) -> Assignment:
        """Return NEUTRAL at distance 0 for every vector."""
        n_vectors = len(vectors)
        return Assignment(
            labels=(RegimeLabel.NEUTRAL,),
            nearest=np.zeros(n_vectors, dtype=np.intp),
            confidences=np.ones(n_vectors),
            distances=np.zeros((n_vectors, 1)),
        )


def default_temperature(encoder_model_id: str, prototypes: Sequence[RegimePrototype]) -> float:
    """Return the temperature that is used when none is given: a quarter of the smallest distance of two prototypes.

    At a prototype its label is then 98 % sure against the nearest other one, half-way between them 50 %. The encoders
    of the first version keep their 1, as specified.
    """
    if encoder_model_id in {NUM_REGIME_CORE_V1, NUMERIC_SIMPLE_V1} or len(prototypes) < 2:
        return 1.0
    distances = prototype_distances(np.stack([prototype.center for prototype in prototypes]), prototypes)
    smallest = float(distances[~np.eye(len(prototypes), dtype=bool)].min())
    return smallest / 4.0 if smallest > 0 else 1.0


def nearest_confidence(distances: Float64Matrix, temperature: float) -> Float64Vector:
    """Return softmax(-distance / temperature) of the nearest centre, shape (n,), in (0, 1]."""
    excess = distances - distances.min(axis=1, keepdims=True)
    with np.errstate(over="ignore"):  # a tiny temperature: exp(-inf) is 0, as it should be
        weights = np.exp(-excess / temperature)
    confidences: Float64Vector = 1.0 / weights.sum(axis=1)
    return confidences
