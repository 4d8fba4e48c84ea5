"""Labels of a market year by year, each calibrated on what was known before, and what they say of being left."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.bear_odds import JUDGED_FROM, LEFT_OUT
from benchmarks.described import DescribedMarket, Year, read_markets, years_of
from prometheus.arrays import Float64Matrix, Float64Vector, Int64Vector
from prometheus.market.outcomes import HORIZON_SESSIONS
from prometheus.regime.calibration import ORDER, CalibrationSettings, DescribedSessions, calibrate
from prometheus.regime.model_persistent import decode
from prometheus.regime.transitions import ExitHazard, exit_hazards

SETTINGS = CalibrationSettings()


class Walk(NamedTuple):
    """Of each judged session, oldest first: close, column of its label in `ORDER`, and age of its spell up to 21.

    `said` is the chance of leaving within 5, 21 and 63 sessions from the age on, `said_by_label` from the label alone,
    shape (n, 3) each.
    """

    closes: Float64Vector
    labels: Int64Vector
    ages: Int64Vector
    said: Float64Matrix
    said_by_label: Float64Matrix

    @property
    def n_to_exit(self) -> Int64Vector:
        """Sessions until another label is seen, beyond all that follow where none is."""
        rows = np.arange(len(self.labels))
        changes = np.append(np.flatnonzero(np.diff(self.labels)) + 1, 2 * len(rows))
        found: Int64Vector = changes[np.searchsorted(changes, rows, side="right")] - rows
        return found


def walks_of(files: list[Path]) -> dict[str, Walk]:
    """Return the walks of all markets of some files; ^GSPC is judged from 1990 on."""
    markets = {name: market for file in files for name, market in read_markets(file).items() if name not in LEFT_OUT}
    return {name: _walk(market, JUDGED_FROM if name == "^GSPC" else None) for name, market in markets.items()}


def _walk(market: DescribedMarket, since: np.datetime64 | None) -> Walk:
    sessions = DescribedSessions.of(market.dates, market.vectors)
    parts = [
        _label(market, sessions, year)
        for year in years_of(market.dates)
        if since is None or market.dates[year.sessions][-1] >= since
    ]
    return Walk(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _label(market: DescribedMarket, sessions: DescribedSessions, year: Year) -> Walk:
    followed = market.followed[year.span].copy()
    followed[-HORIZON_SESSIONS:] = np.nan
    prototypes, calibration = calibrate(sessions.take(year.span), followed, SETTINGS)
    looked_at = slice(year.sessions.start - SETTINGS.decode_sessions + 1, year.sessions.stop)
    decoded = decode(market.vectors[looked_at], sessions.scores[looked_at], prototypes, calibration)
    labels = np.array([ORDER.index(label) for label in decoded.labels])[decoded.nearest]
    by_label = {at: exit_hazards(calibration.stays.get(label)) for at, label in enumerate(ORDER)}
    pairs = list(zip(labels.tolist(), decoded.ages.tolist(), strict=True))
    by_age = {(at, age): calibration.exit_hazards(ORDER[at], age) for at, age in set(pairs)}
    return Walk(
        market.closes[year.sessions],
        labels,
        decoded.ages,
        _said([by_age[pair] for pair in pairs]),
        _said([by_label[at] for at in labels.tolist()]),
    )


def _said(hazards: list[tuple[ExitHazard, ...]]) -> Float64Matrix:
    return np.array([[each.probability for each in of_one] for of_one in hazards])
