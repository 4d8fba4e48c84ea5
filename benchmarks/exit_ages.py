"""What the chance of leaving a regime is worth: stated against seen by age of the spell, and by label alone.

    python -m benchmarks.exit_ages GSPC_1927_2020
    python -m benchmarks.exit_ages MARKETS_DEV_TO_2020
    python -m benchmarks.exit_ages SP500_A_DAILY_2000_2020

All are files of ../shared/data/prices. Every year is stated by a calibration on the 3,000 sessions before it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.walked import Walk, walks_of
from prometheus.regime.calibration import ORDER
from prometheus.regime.transitions import HORIZONS, SPELL_AGES


def followed(walks: list[Walk], column: int) -> Walk:
    """Return the sessions of all walks that the horizon of a column has passed, as one, `closes` being 1 if left."""
    horizon = HORIZONS[column]
    parts = []
    for walk in walks:
        known = slice(0, max(0, len(walk.labels) - horizon))
        is_left = (walk.n_to_exit <= horizon).astype(np.float64)
        parts.append([each[known] for each in walk._replace(closes=is_left)])
    return Walk(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def main() -> None:
    """Print a row per horizon, label and age, and the Brier scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    walks = list(walks_of(parser.parse_args().files).values())
    print(f"{len(walks)} markets; sessions, seen, stated by label alone and by age\n")
    for column, horizon in enumerate(HORIZONS):
        rows = followed(walks, column)
        is_left, before, after = rows.closes, rows.said_by_label[:, column], rows.said[:, column]
        ages = np.searchsorted(SPELL_AGES, rows.ages, side="right") - 1
        for at, label in enumerate(ORDER):
            for age, begin in enumerate(SPELL_AGES):
                own = (rows.labels == at) & (ages == age)
                means = " ".join(f"{each[own].mean():6.2f}" for each in (is_left, before, after)) if own.any() else "-"
                print(f"{horizon:2} sessions {label.name:9} from {begin:2} on {int(own.sum()):8,} {means}")
        brier = " ".join(f"{((said - is_left) ** 2).mean():.4f}" for said in (before, after))
        print(f"{horizon:2} sessions, Brier score by label alone and by age: {brier}\n")


if __name__ == "__main__":
    main()
