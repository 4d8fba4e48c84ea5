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
from prometheus.regime.decoding import prototype_distances
from prometheus.regime.model_persistent import DecodedAssignment, decode
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
    """The bar of the largest log return in the shortest wild stretch, and the sessions as they are without it."""

    row: int
    log_return: float
    without: DescribedSessions


def find_doubts(
    sessions: DescribedSessions,
    prototypes: Sequence[RegimePrototype],
    calibration: RegimeCalibration,
    settings: CalibrationSettings,
    loudest: LoudestBar | None = None,
) -> Iterator[str]:
    """Yield one line for each reason to doubt what was learned from some sessions."""
    decoded = decode(sessions.vectors, sessions.scores, prototypes, calibration)
    yield from _missing_labels(sessions, prototypes, decoded)
    if loudest is not None:
        yield from _one_bar(sessions, settings, loudest)
    yield from _contradictions(sessions, decoded)


def loudest_row(sessions: DescribedSessions, log_returns: Float64Vector, settings: CalibrationSettings) -> int:
    """Return the row of the bar behind the largest log return of the shortest wild stretch; returns have shape (n,).

    Where the return before is as large and the other way round, that bar came and this return takes it back.
    """
    shortest = min(wild_stretches(sessions, settings), key=lambda stretch: stretch.stop - stretch.start)
    row: int = shortest.start + int(np.abs(np.nan_to_num(log_returns[shortest])).argmax())
    before, here = log_returns[max(row - 1, 0)], log_returns[row]
    return row - 1 if before * here < 0 and 2 * abs(before) > abs(here) else row


def _missing_labels(
    sessions: DescribedSessions, prototypes: Sequence[RegimePrototype], decoded: DecodedAssignment
) -> Iterator[str]:
    # The first sessions of a span, which labels only look back on, have no label: the nearest prototype stands for it.
    unlabelled = sessions.vectors[: len(sessions) - len(decoded.nearest)]
    nearest = np.concatenate([prototype_distances(unlabelled, prototypes).argmin(axis=1), decoded.nearest])
    found = {decoded.labels[at] for at in np.unique(nearest).tolist()}
    missing = [label.name for label in ORDER if label not in found]
    if missing:
        yield f"no session from {sessions.dates[0]} to {sessions.dates[-1]} is labelled {' or '.join(missing)}"


def _one_bar(sessions: DescribedSessions, settings: CalibrationSettings, loudest: LoudestBar) -> Iterator[str]:
    stretches = wild_stretches(sessions, settings)
    usual = float(np.median(sessions.stress))
    lost = sessions.stress - loudest.without.stress
    shares = [float(lost[each].mean() / max(sessions.stress[each].mean() - usual, 1e-9)) for each in stretches]
    n_hanging = sum(share > MAX_SHARE_OF_ONE_BAR for share in shares)
    if n_hanging:
        yield (
            f"the bar of {sessions.dates[loudest.row]} ({np.expm1(loudest.log_return):+.1%}) makes more than "
            f"{MAX_SHARE_OF_ONE_BAR:.0%} of the stress of {n_hanging} of the {len(stretches)} wildest stretches; "
            "see that it is right"
        )


def _contradictions(sessions: DescribedSessions, decoded: DecodedAssignment) -> Iterator[str]:
    dates, stated = sessions.dates[len(sessions) - len(decoded.nearest) :], decoded.high_volatility
    is_calm, is_crisis = (
        np.isin(decoded.nearest, [at for at, label in enumerate(decoded.labels) if label in labels])
        for labels in (_CALM, (RegimeLabel.CRISIS,))
    )
    yield from _contradiction(dates, is_calm & (stated > SURELY_HIGH), f"CARRY or NEUTRAL, but above {SURELY_HIGH}")
    yield from _contradiction(dates, is_crisis & (stated < SURELY_LOW), f"CRISIS, but below {SURELY_LOW}")


def _contradiction(dates: DateVector, contradicts: NDArray[np.bool_], what: str) -> Iterator[str]:
    share = float(contradicts.mean())
    if share > MAX_SHARE_CONTRADICTING:
        rows = np.flatnonzero(contradicts)
        example = dates[rows[len(rows) // 2]]
        yield f"{share:.1%} of the labels are {what} is the probability of high volatility, as on {example}"
