"""What speaks against a calibration: labels that are missing, one bar that made the wild end, two sayings that differ.

A bar that the judge of prices does not notice, or that an encoder believes, shows in what is learned from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Vector
from prometheus.regime.calibration import (
    ORDER,
    CalibrationSettings,
    DescribedSessions,
    RegimeCalibration,
    wild_stretches,
)
from prometheus.regime.decoding import forward_costs, prototype_distances
from prometheus.regime.types import RegimeLabel, RegimePrototype

MAX_SHARE_OF_ONE_BAR = 0.4
"""Of a wild stretch's stress above the median of the span. In 1 of 504 clean calibrations one bar made more of it, a
fall of 37 % in a day; a bar of the S&P 500 that is wrong by a factor of 1.9 or more, and lies there, makes half."""
SURELY_HIGH, SURELY_LOW = 0.9, 0.1
"""Probabilities of high volatility that no calm label, and no CRISIS, should stand beside."""
MAX_SHARE_CONTRADICTING = 0.05
"""Labels change later than the volatility does: on 99 % of 504 clean calibrations for at most .022 of the sessions."""
_CALM = (RegimeLabel.CARRY, RegimeLabel.NEUTRAL)


@dataclass(frozen=True, slots=True, eq=False)
class LoudestBar:
    """The bar of the largest log return in the shortest wild stretch, and the stress in those as it is without it.

    `stress` has shape (n_sessions,); outside the wild stretches it does not count.
    """

    row: int
    log_return: float
    stress: Float64Vector


def find_doubts(
    sessions: DescribedSessions,
    prototypes: Sequence[RegimePrototype],
    calibration: RegimeCalibration,
    settings: CalibrationSettings,
    loudest: LoudestBar | None = None,
) -> Iterator[str]:
    """Yield one line for each reason to doubt what was learned from some sessions."""
    costs = prototype_distances(sessions.vectors, prototypes)
    n_back = calibration.decode_sessions
    nearest = forward_costs(costs, calibration.penalty, n_back).argmin(axis=1)
    labels = tuple(prototype.label for prototype in prototypes)
    # The first sessions of a span, which labels only look back on, have no label: the nearest prototype stands for it.
    yield from _missing_labels(sessions, labels, np.append(costs[: n_back - 1].argmin(axis=1), nearest))
    if loudest is not None:
        yield from _one_bar(sessions, settings, loudest)
    labelled = sessions.take(slice(n_back - 1, None))
    stated = calibration.high_volatility.probabilities(labelled.scores, labelled.vectors)
    yield from _contradictions(labelled.dates, labels, nearest, stated)


def loudest_row(sessions: DescribedSessions, log_returns: Float64Vector, settings: CalibrationSettings) -> int:
    """Return the row of the bar behind the largest log return of the shortest wild stretch; returns have shape (n,).

    Where the return before is as large and the other way round, that bar came and this return takes it back.
    """
    shortest = min(wild_stretches(sessions, settings), key=lambda stretch: stretch.stop - stretch.start)
    row: int = shortest.start + int(np.abs(np.nan_to_num(log_returns[shortest])).argmax())
    before, here = log_returns[max(row - 1, 0)], log_returns[row]
    return row - 1 if before * here < 0 and 2 * abs(before) > abs(here) else row


def _missing_labels(
    sessions: DescribedSessions, labels: Sequence[RegimeLabel], nearest: NDArray[np.intp]
) -> Iterator[str]:
    found = {labels[at] for at in np.unique(nearest).tolist()}
    missing = [label.name for label in ORDER if label not in found]
    if missing:
        yield f"no session from {sessions.dates[0]} to {sessions.dates[-1]} is labelled {' or '.join(missing)}"


def _one_bar(sessions: DescribedSessions, settings: CalibrationSettings, loudest: LoudestBar) -> Iterator[str]:
    stretches = wild_stretches(sessions, settings)
    usual = float(np.median(sessions.stress))
    lost = sessions.stress - loudest.stress
    shares = [float(lost[each].mean() / max(sessions.stress[each].mean() - usual, 1e-9)) for each in stretches]
    n_hanging = sum(share > MAX_SHARE_OF_ONE_BAR for share in shares)
    if n_hanging:
        yield (
            f"the bar of {sessions.dates[loudest.row]} ({np.expm1(loudest.log_return):+.1%}) makes more than "
            f"{MAX_SHARE_OF_ONE_BAR:.0%} of the stress of {n_hanging} of the {len(stretches)} wildest stretches; "
            "see that it is right"
        )


def _contradictions(
    dates: DateVector, labels: Sequence[RegimeLabel], nearest: NDArray[np.intp], stated: Float64Vector
) -> Iterator[str]:
    is_calm, is_crisis = (
        np.isin(nearest, [at for at, label in enumerate(labels) if label in chosen])
        for chosen in (_CALM, (RegimeLabel.CRISIS,))
    )
    yield from _contradiction(dates, is_calm & (stated > SURELY_HIGH), f"CARRY or NEUTRAL, but above {SURELY_HIGH}")
    yield from _contradiction(dates, is_crisis & (stated < SURELY_LOW), f"CRISIS, but below {SURELY_LOW}")


def _contradiction(dates: DateVector, contradicts: NDArray[np.bool_], what: str) -> Iterator[str]:
    share = float(contradicts.mean())
    if share > MAX_SHARE_CONTRADICTING:
        rows = np.flatnonzero(contradicts)
        example = dates[rows[len(rows) // 2]]
        yield f"{share:.1%} of the labels are {what} is the probability of high volatility, as on {example}"
