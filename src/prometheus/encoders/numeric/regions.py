"""``num-regime-region-v1``: a region seen through several instruments, as the weighted mean of what each one says.

Weights are rescaled over the members that can be seen on a date; `region_windows` says which those
are (ADR-0011).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prometheus.arrays import DateVector, FeatureTable, Float32Matrix, Float64Matrix, Int64Vector, as_float32
from prometheus.encoders.identity import NUM_REGIME_CORE_V2, fingerprint
from prometheus.encoders.numeric.features import FeatureSet
from prometheus.encoders.numeric.scale_free import ScaleFreeConstants, ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import MAX_AGE_SESSIONS
from prometheus.errors import UsageError
from prometheus.protocols import NumericEmbeddingModel, RegionMembers, TableNumericEmbeddingModel

REGION = "REGION"
NUM_REGIME_REGION_V1 = "num-regime-region-v1"
LEAST_SHARE = 0.5
"""Part of the total weight that the members present must carry."""
ABSENT = -1
"""Stands for the end of a window that is not there."""


def region_model_id(region: RegionMembers) -> str:
    """Return the id of a region's embeddings: the family, and eight hex digits of members, weights and anchor.

    Examples
    --------
    >>> from prometheus.core.config import RegionDefinition
    >>> region_model_id(RegionDefinition(members={"GSPC.INDX": 0.6, "TLT": 0.4}))
    'num-regime-region-v1:52b5fc8f'
    """
    return f"{NUM_REGIME_REGION_V1}:{fingerprint(_identity(region))[:8]}"


def _identity(region: RegionMembers) -> dict[str, Any]:
    return {"members": dict(region.members), "anchor": region.anchor}


class RegionMeanModel(ScaleFreeNumericEmbeddingModel):
    """Encodes the members of a region as ``num-regime-core-v2`` does; `RegionWindowBatch` takes their mean.

    Parameters
    ----------
    region
        Members, weights and anchor: part of what the vectors mean.
    constants
        As for the scale-free encoder.
    """

    def __init__(self, region: RegionMembers, constants: ScaleFreeConstants | None = None) -> None:
        super().__init__(constants)
        self.region = region

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {
            "family": NUM_REGIME_REGION_V1,
            "code_version": 1,
            "window_days": self.window_days,
            **_identity(self.region),
            "least_share": LEAST_SHARE,
            "max_age_sessions": MAX_AGE_SESSIONS,
            "member_encoder": {"model_id": NUM_REGIME_CORE_V2, "fingerprint": fingerprint(super().config)},
        }


@dataclass(frozen=True, slots=True, eq=False)
class RegionWindowBatch:
    """Windows of one region, by date: those of its members over a shared feature table.

    Attributes
    ----------
    member_ids
        Sorted: the order of adding up.
    as_of_dates
        Shape (n,), ascending.
    ends
        Shape (n,): one past the newest row of the anchor's window. The anchor's rows come first in the table.
    member_ends
        Shape (n_members, n): the same for each member, -1 where it takes no part.
    weights
        Shape (n_members, n): adding to 1 over the members that take part, 0 for the others.
    features
        Shape (n_rows, n_features), in the terms of `feature_set`.
    input_hashes
        Shape (n,): of the bars of all windows that take part, by member.
    """

    region_id: str
    member_ids: tuple[str, ...]
    window_days: int
    as_of_dates: DateVector
    ends: Int64Vector
    member_ends: Int64Vector
    weights: Float64Matrix
    features: FeatureTable
    input_hashes: Int64Vector
    feature_set: FeatureSet

    def __len__(self) -> int:
        return len(self.as_of_dates)

    @property
    def entity_ids(self) -> tuple[str, ...]:
        """The region alone."""
        return (self.region_id,)

    @property
    def entity_index(self) -> Int64Vector:
        """Shape (n,), all 0."""
        return np.zeros(len(self), dtype=np.int64)

    @property
    def sources(self) -> Sequence[Mapping[str, Any]]:
        """For each date the weights of the members that take part, and the names of those that do not."""
        if not len(self):
            return []
        is_present = self.member_ends != ABSENT
        patterns, first, which = np.unique(is_present, axis=1, return_index=True, return_inverse=True)
        described = [
            {
                "members": {
                    name: float(self.weights[row, at])
                    for row, name in enumerate(self.member_ids)
                    if patterns[row, number]
                },
                "absent": [name for row, name in enumerate(self.member_ids) if not patterns[row, number]],
            }
            for number, at in enumerate(first)
        ]
        return [described[number] for number in which.reshape(-1)]

    def take(self, chosen: Int64Vector | slice, /) -> RegionWindowBatch:
        """Return some of the dates, over the same feature table."""
        return replace(
            self,
            as_of_dates=self.as_of_dates[chosen],
            ends=self.ends[chosen],
            member_ends=self.member_ends[:, chosen],
            weights=self.weights[:, chosen],
            input_hashes=self.input_hashes[chosen],
        )

    def vectors(self, model: NumericEmbeddingModel) -> Float32Matrix:
        """Return the weighted mean of a model's vectors of the members, shape (n, dim), added up in float64.

        Members are added one after another in order of their ids, so no number of dates changes the rounding.

        Raises
        ------
        UsageError
            The model does not read windows from a table.
        """
        if not isinstance(model, TableNumericEmbeddingModel):
            raise UsageError(f"{type(model).__name__} cannot encode the members of region {self.region_id}")
        dim = model.encode_table(self.features, self.ends[:0], self.window_days).shape[1]
        means = np.zeros((len(self), dim))
        for ends, weights in zip(self.member_ends, self.weights, strict=True):
            rows = np.flatnonzero(ends != ABSENT)
            distinct, place = np.unique(ends[rows], return_inverse=True)  # a holiday repeats a window
            vectors = model.encode_table(self.features, distinct, self.window_days)
            means[rows] += weights[rows, np.newaxis] * vectors[place]
        return as_float32(means)
