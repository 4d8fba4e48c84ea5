"""Prototypes found in a market's own past, without being told where its calm and its crises lie.

The calmest and the wildest stretches of the span give an axis; the mean vector of the sessions that fall on one part of
it is a prototype. As one span is partly chance, it is drawn towards that of the pooled markets (`regime.pooled`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from itertools import permutations
from typing import Any

import numpy as np

from prometheus.arrays import DateVector, Float32Matrix, Float64Matrix, Float64Vector, Int64Vector
from prometheus.encoders.numeric.scale_free import standard_scores
from prometheus.errors import InputRefusedError, PrototypeError, UsageError
from prometheus.regime.bear import BearForecast
from prometheus.regime.explanation import EXPLAINED_NAMES
from prometheus.regime.forecasts import BOOSTED_FORECAST, HighVolatilityForecast, volatility_scores
from prometheus.regime.market_index import MarketIndex
from prometheus.regime.pooled import WHOLE_SESSIONS, packaged_pooled
from prometheus.regime.span_decoding import decide_span
from prometheus.regime.transitions import (
    SPELL_AGES,
    ExitHazard,
    StayCounts,
    StaysByAge,
    count_stays_by_age,
    exit_hazards,
)
from prometheus.regime.types import RegimeLabel, RegimePrototype

SPAN_SESSIONS = WHOLE_SESSIONS
MIN_SESSIONS = 252
"""The longest calm stretch, and the shortest span whose prototypes were weighed against the pooled ones."""
PENALTY = 1.0
"""Cost of a change of label, in standard deviations of the encoder's space."""
DECODE_SESSIONS = 126
ORDER = (RegimeLabel.CARRY, RegimeLabel.NEUTRAL, RegimeLabel.RISK_OFF, RegimeLabel.CRISIS)
"""From the calm end of the axis to the wild one."""
RISK_OFF_SIDE = frozenset({RegimeLabel.RISK_OFF, RegimeLabel.CRISIS})

_STRESS_NAMES = ("range_4", "range_16", "down_range_16")
_FALLBACK_PLACES = (0.1, 0.37, 0.62, 0.9)
_FEWEST_IN_GROUP = 20


@dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """How prototypes are found and labels decoded; the defaults were declared on 1990-2018 (ADR-0010).

    The ends of the axis are the stretches, of these lengths in sessions, whose mean stress is least and greatest;
    `cuts` part the four groups, as shares of the way from calm to wild. `penalty` is the cost of a change of label, in
    distance; each label looks back on `decode_sessions`. `forecast` is the version of the forecasts beside the labels:
    the first states no chance of a bear market. Prototypes that are not `is_pooled` are the span's own alone. A member
    of a market has its chance of high volatility from the `market_index`, too. Numbers out of range raise `UsageError`.
    """

    calm_lengths: tuple[int, ...] = (126, 252)
    wild_lengths: tuple[int, ...] = (42, 63, 126)
    cuts: tuple[float, float, float] = (0.25, 0.5, 0.75)
    penalty: float = PENALTY
    decode_sessions: int = DECODE_SESSIONS
    forecast: int = BOOSTED_FORECAST
    market_index: MarketIndex | None = None
    is_pooled: bool = True

    def __post_init__(self) -> None:
        if not (self.penalty >= 0 and math.isfinite(self.penalty)):
            raise UsageError(f"penalty must be finite and not negative, got {self.penalty}")
        if self.decode_sessions < 1:
            raise UsageError(f"decode_sessions must be at least 1, got {self.decode_sessions}")

    @property
    def least_sessions(self) -> int:
        """How many sessions a calibration needs: 252, or what a stretch or a label needs if that is more."""
        return max(MIN_SESSIONS, self.decode_sessions, *self.calm_lengths, *self.wild_lengths)


@dataclass(frozen=True, slots=True, eq=False)
class DescribedSessions:
    """Consecutive sessions of one market, shape (n,), and what is read from their vectors.

    `stress` finds the stretches, `scores` are log odds of high volatility up to a constant, `explained`, shape (n,
    n_explained), standard scores of the descriptors that explain a label.
    """

    dates: DateVector
    vectors: Float32Matrix
    stress: Float64Vector
    scores: Float64Vector
    explained: Float64Matrix

    @classmethod
    def of(cls, dates: DateVector, vectors: Float32Matrix) -> DescribedSessions:
        """Return what vectors of the scale-free encoder, shape (n, 384), say of their sessions."""
        return cls(
            dates=dates,
            vectors=vectors,
            stress=standard_scores(vectors, _STRESS_NAMES).mean(axis=1),
            scores=volatility_scores(vectors),
            explained=standard_scores(vectors, EXPLAINED_NAMES),
        )

    def __len__(self) -> int:
        return len(self.dates)

    def take(self, rows: Int64Vector | slice) -> DescribedSessions:
        """Return some of the sessions."""
        return DescribedSessions(*(getattr(self, each.name)[rows] for each in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class PrototypeSource:
    """Prototypes of an earlier calibration, and where they came from."""

    prototypes: tuple[RegimePrototype, ...]
    source: str


Stretch = tuple[date, date]
"""First and last of consecutive sessions."""


@dataclass(frozen=True, slots=True, eq=False)
class RegimeCalibration:
    """What a label needs beside its prototypes, all of it known at `end`.

    `temperature` makes the costs of the decoding a probability of the label, `norms` are median standard scores by
    descriptor, `calm` and `wild` the first and last dates of the stretches that made the axis, `bear` the bear market
    whose chance is stated, `stays_by_age` the stays of each label by the age of the spell, `own_share` the weight of
    the span's own prototypes beside the pooled ones; the first version has none of the three. Only a member of a market
    has a `market_index`.
    """

    start: date
    end: date
    n_sessions: int
    penalty: float
    decode_sessions: int
    temperature: float
    high_volatility: HighVolatilityForecast
    stays: Mapping[RegimeLabel, StayCounts]
    norms: Mapping[str, float]
    calm: tuple[Stretch, ...]
    wild: tuple[Stretch, ...]
    bear: BearForecast | None = None
    stays_by_age: Mapping[RegimeLabel, StaysByAge] | None = None
    market_index: MarketIndex | None = None
    own_share: float | None = None

    def exit_hazards(self, label: RegimeLabel, age: int) -> tuple[ExitHazard, ...]:
        """Return how likely a label is to be left, its spell being `age` sessions old, or `SPELL_AGES` at most."""
        by_age = None if self.stays_by_age is None else self.stays_by_age.get(label)
        return exit_hazards(self.stays.get(label), by_age, age)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; what an older version did not know has no key."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        if self.stays_by_age is not None:
            values["stays_by_age"] = {
                label.name: {str(begin): asdict(counts) for begin, counts in by_age.items()}
                for label, by_age in self.stays_by_age.items()
            }
        return {
            **values,
            "high_volatility": self.high_volatility.to_dict(),
            "start": str(self.start),
            "end": str(self.end),
            "stays": {label.name: asdict(counts) for label, counts in self.stays.items()},
            "calm": [[str(day) for day in stretch] for stretch in self.calm],
            "wild": [[str(day) for day in stretch] for stretch in self.wild],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], source: str) -> RegimeCalibration:
        """Return the calibration of a JSON object, or raise `PrototypeError` where it is not one."""
        try:
            calibration = cls(
                start=date.fromisoformat(document["start"]),
                end=date.fromisoformat(document["end"]),
                n_sessions=int(document["n_sessions"]),
                penalty=float(document["penalty"]),
                decode_sessions=int(document["decode_sessions"]),
                temperature=float(document["temperature"]),
                high_volatility=HighVolatilityForecast.from_dict(document["high_volatility"]),
                stays={RegimeLabel.parse(name): _counts(counts) for name, counts in document["stays"].items()},
                norms={str(name): float(norm) for name, norm in document["norms"].items()},
                calm=_stretches(document["calm"]),
                wild=_stretches(document["wild"]),
                bear=BearForecast.from_dict(document["bear"]) if "bear" in document else None,
                stays_by_age=_counts_by_age(document["stays_by_age"]) if "stays_by_age" in document else None,
                market_index=_market_index(document["market_index"]) if "market_index" in document else None,
                own_share=float(document["own_share"]) if "own_share" in document else None,
            )
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise PrototypeError(source, f"'calibration' cannot be read ({error!r})") from error
        fault = calibration.fault()
        if fault is not None:
            raise PrototypeError(source, f"'calibration' {fault}")
        return calibration

    def fault(self) -> str | None:
        """Return why labels cannot be decoded or explained by this, None where they can."""
        forecast = self.high_volatility
        numbers = (self.temperature, self.penalty, forecast.threshold, forecast.intercept, forecast.slope)
        weights = () if self.market_index is None else (self.market_index.weight,)
        if not all(map(math.isfinite, (*numbers, *weights, *self.norms.values()))):
            return "holds numbers that are not finite"
        if not (self.temperature > 0 and self.penalty >= 0 and self.decode_sessions >= 1):
            return "needs a positive temperature and no negative penalty"
        fall = None if self.bear is None else self.bear.fall
        for name, share in (("bear market's fall", fall), ("share of the span's own prototypes", self.own_share)):
            if share is not None and not 0 < share < 1:
                return f"needs a {name} between 0 and 1"
        if not all(0 <= counts.n_exits <= counts.n_sessions for counts in self.stays.values()):
            return "counts more exits than sessions"
        if self.stays_by_age is not None and self.stays != {
            label: _added(by_age) for label, by_age in self.stays_by_age.items() if tuple(by_age) == SPELL_AGES
        }:
            return f"counts stays at the ages of {', '.join(map(str, SPELL_AGES))} sessions that do not add to all"
        missing = sorted(set(EXPLAINED_NAMES) - self.norms.keys())
        return f"has no norm of {', '.join(missing)}" if missing else None


def _counts(document: Mapping[str, Any]) -> StayCounts:
    return StayCounts(int(document["n_sessions"]), int(document["n_exits"]))


def _market_index(document: Mapping[str, Any]) -> MarketIndex:
    return MarketIndex(str(document["instrument_id"]), float(document["weight"]))


def _counts_by_age(document: Mapping[str, Any]) -> dict[RegimeLabel, StaysByAge]:
    return {
        RegimeLabel.parse(name): {begin: _counts(by_age[str(begin)]) for begin in sorted(map(int, by_age))}
        for name, by_age in document.items()
    }


def _added(by_age: StaysByAge) -> StayCounts:
    return StayCounts(sum(each.n_sessions for each in by_age.values()), sum(each.n_exits for each in by_age.values()))


def _stretches(pairs: Sequence[Sequence[str]]) -> tuple[Stretch, ...]:
    return tuple((date.fromisoformat(start), date.fromisoformat(end)) for start, end in pairs)


def calibrate(
    sessions: DescribedSessions,
    forward_log_volatility: Float64Vector,
    settings: CalibrationSettings | None = None,
    threshold: float | None = None,
    earlier: PrototypeSource | None = None,
) -> tuple[tuple[RegimePrototype, ...], RegimeCalibration]:
    """Find four prototypes and learn what their labels need, from one span of a market.

    Parameters
    ----------
    forward_log_volatility
        Shape (n,): of the 21 sessions after each, NaN where they are not over within the span.
    threshold
        Annualised volatility that counts as high; the top fifth of the span without it.
    earlier
        Prototypes whose labels the new ones keep.

    Raises
    ------
    InputRefusedError, PrototypeError
        Fewer than 252 sessions, or than each label looks back on; earlier prototypes that `aligned` refuses.
    """
    chosen = CalibrationSettings() if settings is None else settings
    if len(sessions) < chosen.least_sessions:
        raise InputRefusedError(
            f"{len(sessions)} sessions with a vector are too few to calibrate on, {chosen.least_sessions} are needed: "
            "load older bars, calibrate at a later date or label it with prototypes of another instrument"
        )
    prototypes, calm, wild = find_prototypes(sessions, chosen)
    pooled = packaged_pooled() if chosen.is_pooled else None
    if pooled is not None:
        prototypes = pooled.blend(prototypes, len(sessions))
    if earlier is not None:
        prototypes = aligned(prototypes, earlier.prototypes, earlier.source)
    others = [] if pooled is None else pooled.alternatives(prototypes, len(sessions))
    weighted = [(1.0 - sum(weight for weight, _ in others), prototypes), *others]
    decided = decide_span(sessions.vectors, weighted, chosen.penalty, chosen.decode_sessions)
    by_age = count_stays_by_age(
        decided.decoding.nearest, decided.decoding.ages, [prototype.label for prototype in prototypes]
    )
    calibration = RegimeCalibration(
        start=sessions.dates[0].item(),
        end=sessions.dates[-1].item(),
        n_sessions=len(sessions),
        penalty=chosen.penalty,
        decode_sessions=chosen.decode_sessions,
        temperature=decided.temperature,
        high_volatility=HighVolatilityForecast.fit(sessions.scores, forward_log_volatility, threshold, chosen.forecast),
        stays={label: _added(counts) for label, counts in by_age.items()},
        norms={
            name: round(float(median), 6)
            for name, median in zip(EXPLAINED_NAMES, np.median(sessions.explained, axis=0), strict=True)
        },
        calm=tuple(_dated(sessions.dates, stretch) for stretch in calm),
        wild=tuple(_dated(sessions.dates, stretch) for stretch in wild),
        bear=BearForecast.fit(sessions.vectors) if chosen.forecast >= BOOSTED_FORECAST else None,
        stays_by_age=by_age if chosen.forecast >= BOOSTED_FORECAST else None,
        market_index=chosen.market_index,
        own_share=None if pooled is None else pooled.own_share(len(sessions)),
    )
    return prototypes, calibration


def find_prototypes(
    sessions: DescribedSessions, settings: CalibrationSettings
) -> tuple[tuple[RegimePrototype, ...], list[slice], list[slice]]:
    """Return the prototypes from calm to wild, and the stretches that made the axis."""
    calm = [_least_stretch(sessions.stress, length) for length in settings.calm_lengths]
    wild = wild_stretches(sessions, settings)
    vectors = sessions.vectors
    low = np.mean([vectors[stretch].mean(axis=0, dtype=np.float64) for stretch in calm], axis=0)
    high = np.mean([vectors[stretch].mean(axis=0, dtype=np.float64) for stretch in wild], axis=0)
    axis = high - low
    along = np.einsum("ij,j->i", vectors, axis)  # not @, whose order of adding is the library's
    places = (along - (low * axis).sum()) / (axis * axis).sum()
    groups = np.searchsorted(settings.cuts, places, side="right")
    centers = []
    for group, place in enumerate(_FALLBACK_PLACES):
        members = vectors[groups == group]
        centers.append(
            members.mean(axis=0, dtype=np.float64) if len(members) >= _FEWEST_IN_GROUP else low + place * axis
        )
    prototypes = tuple(
        RegimePrototype(label, center.astype(np.float32)) for label, center in zip(ORDER, centers, strict=True)
    )
    return prototypes, calm, wild


def wild_stretches(sessions: DescribedSessions, settings: CalibrationSettings) -> list[slice]:
    """Return the stretches whose mean stress is greatest, one of each length."""
    return [_least_stretch(-sessions.stress, length) for length in settings.wild_lengths]


def aligned(
    prototypes: Sequence[RegimePrototype], earlier: Sequence[RegimePrototype], source: str
) -> tuple[RegimePrototype, ...]:
    """Return the prototypes under the labels that keep them nearest to an earlier set, or raise `PrototypeError`."""
    centers = {prototype.label: prototype.center.astype(np.float64) for prototype in earlier}
    labels = [prototype.label for prototype in prototypes]
    dims = {center.size for center in centers.values()} | {prototype.center.size for prototype in prototypes}
    if set(centers) != set(labels) or len(dims) > 1:
        listed = ", ".join(sorted(label.name for label in centers))
        raise PrototypeError(source, f"cannot be aligned to: it has {listed} of {sorted(dims)} values")

    def moved(names: Sequence[RegimeLabel]) -> float:
        pairs = zip(names, prototypes, strict=True)
        return sum(float(((centers[name] - each.center) ** 2).sum()) for name, each in pairs)

    best = min(permutations(labels), key=moved)
    return tuple(RegimePrototype(label, prototype.center) for label, prototype in zip(best, prototypes, strict=True))


def _least_stretch(stress: Float64Vector, length: int) -> slice:
    sums = np.concatenate([[0.0], np.cumsum(stress)])
    first = int((sums[length:] - sums[:-length]).argmin())
    return slice(first, first + length)


def _dated(dates: DateVector, stretch: slice) -> Stretch:
    return dates[stretch.start].item(), dates[stretch.stop - 1].item()
