"""Why a session got its label, in units people use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prometheus.arrays import Float32Vector
from prometheus.encoders.numeric.descriptors import GROUPS, NAMES, RISK_NAMES, TREND_NAMES
from prometheus.encoders.numeric.scale_free import packaged_constants

_SESSIONS_PER_YEAR = 252
EXPLAINED_NAMES = (
    "volatility_32", "volatility_64", "down_range_16", "downside_32", "sortino_64", "average_128", "drawdown_128",
    "momentum_128", "drawdown_512",
)  # fmt: skip
"""Descriptors whose norm a calibration keeps."""
_RANGE_RATIO = "range_ratio"


@dataclass(frozen=True, slots=True)
class Reason:
    """One line of an explanation.

    Attributes
    ----------
    text
        What was seen, against its norm, in plain units.
    share
        Its part of the decision for the label against the runner-up: above 0 speaks for the label, below against; the
        shares of all lines add to 1, or to -1 where the runner-up is nearer and only the price of a change keeps the
        label. NaN for a line that only informs.
    """

    text: str
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"text": self.text, "share": None if math.isnan(self.share) else round(self.share, 4)}


def explain(
    vector: Float32Vector, center: Float32Vector, runner_up: Float32Vector, norms: Mapping[str, float]
) -> list[Reason]:
    """Return what moved the decision between two prototypes, strongest first.

    Parameters
    ----------
    vector, center, runner_up
        Shape (384,), of the scale-free encoder: the session, the prototype of its label, and that of the next label.
    norms
        Median standard scores of the calibration span, by descriptor.
    """
    wide, own, other = (np.asarray(each, dtype=np.float64) for each in (vector, center, runner_up))
    pulls = (wide - other) ** 2 - (wide - own) ** 2
    size = abs(float(pulls.sum())) or 1.0
    raw = _raw_of_vector(wide)
    range_ratio = math.exp(raw[_RANGE_RATIO])
    plain, usual = _plain_values(raw, range_ratio), _plain_values(_raw_of_norms(norms), range_ratio)
    reasons = [
        Reason(family.text(plain, usual), float(pulls[[NAMES.index(name) for name in family.names]].sum()) / size)
        for family in _FAMILIES
    ]
    context = [name for group in GROUPS[2:] for name in group.names]
    reasons.append(
        Reason(
            "other horizons and the path that led here",
            float(pulls[[NAMES.index(name) for name in context]].sum()) / size,
        )
    )
    ranked = sorted(reasons, key=lambda reason: -abs(reason.share))
    return [*(Reason(family.text(plain, usual), math.nan) for family in _INFORMING), *ranked]


@dataclass(frozen=True, slots=True)
class _Family:
    """Descriptors that say the same at several horizons, and how to put it."""

    names: tuple[str, ...]
    text: Callable[[Mapping[str, float], Mapping[str, float]], str]


def _raw_of_vector(vector: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    constants = packaged_constants()
    weights = {name: group.share / len(group.names) for group in GROUPS for name in group.names}
    return {
        name: float(vector[at] / math.sqrt(weights[name]) * constants.deviations[at] + constants.means[at])
        for name in (*EXPLAINED_NAMES, _RANGE_RATIO)
        for at in [NAMES.index(name)]
    }


def _raw_of_norms(norms: Mapping[str, float]) -> dict[str, float]:
    constants = packaged_constants()
    return {
        name: norms[name] * float(constants.deviations[at]) + float(constants.means[at])
        for name in EXPLAINED_NAMES
        for at in [NAMES.index(name)]
    }


def _plain_values(raw: Mapping[str, float], range_ratio: float) -> dict[str, float]:
    """Return shares of 1: volatilities per year, moves as simple returns.

    The encoder divides dips by the market's ratio of ranges to absolute returns; `range_ratio` undoes that.
    """
    year = math.sqrt(_SESSIONS_PER_YEAR)
    unit = math.exp(raw["volatility_64"]) * math.sqrt(128)
    return {
        "volatility": math.exp(raw["volatility_32"]) * year,
        "downside": math.exp(raw["downside_32"]) * year,
        "fall": math.exp(raw["down_range_16"]) * range_ratio,
        "sortino": raw["sortino_64"],
        "average": math.expm1(raw["average_128"] * unit),
        "drawdown": -math.expm1(raw["drawdown_128"]),
        "long_drawdown": -math.expm1(raw["drawdown_512"]),
        "momentum": math.expm1(raw["momentum_128"] * unit),
    }


def _percent(value: float, digits: int = 0) -> str:
    return f"{value * 100:.{digits}f} %"


def _signed(value: float, digits: int = 0) -> str:
    return f"{value * 100:+.{digits}f} %"


_FAMILIES: Sequence[_Family] = (
    _Family(
        tuple(name for name in RISK_NAMES if name.startswith("down_range")),
        lambda now, norm: (
            f"sessions dip {_percent(now['fall'], 2)} on average against a norm of {_percent(norm['fall'], 2)}"
        ),
    ),
    _Family(
        tuple(name for name in RISK_NAMES if name.startswith("downside")),
        lambda now, norm: (
            f"downside volatility {_percent(now['downside'])} a year against a norm of {_percent(norm['downside'])}"
        ),
    ),
    _Family(
        tuple(name for name in TREND_NAMES if name.startswith("sortino")),
        lambda now, norm: (
            f"return per unit of downside {now['sortino']:+.2f} a session against a norm of {norm['sortino']:+.2f}"
        ),
    ),
    _Family(
        ("average_128",),
        lambda now, norm: (
            f"{_signed(now['average'])} from the 128-session average against a norm of {_signed(norm['average'])}"
        ),
    ),
    _Family(
        ("drawdown_128",),
        lambda now, norm: (
            f"{_percent(now['drawdown'])} below the 128-session high against a norm of {_percent(norm['drawdown'])}"
        ),
    ),
    _Family(
        ("momentum_128",),
        lambda now, norm: f"{_signed(now['momentum'])} over 128 sessions against a norm of {_signed(norm['momentum'])}",
    ),
)
_INFORMING: Sequence[_Family] = (
    _Family(
        ("volatility_32",),
        lambda now, norm: (
            f"volatility {_percent(now['volatility'])} a year against a norm of {_percent(norm['volatility'])}"
        ),
    ),
    _Family(
        ("drawdown_512",),
        lambda now, norm: (
            f"{_percent(now['long_drawdown'])} below the two-year high against a norm of "
            f"{_percent(norm['long_drawdown'])}"
        ),
    ),
)
