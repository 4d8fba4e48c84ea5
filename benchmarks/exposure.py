"""The declared grid of what may be left in the market on the risk-off side: from nothing out to all of it.

    python -m benchmarks.exposure GSPC_1927_2020 MARKETS_DEV_TO_2020

Both are files of ../shared/data/prices. Every year is labelled by a calibration on the 3,000 sessions before it; labels
of one close are traded at the next at 10 basis points, cash earns nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.walked import Walk, walks_of
from prometheus.evaluation.figures import max_drawdown, sharpe_ratio, trade
from prometheus.regime.calibration import ORDER, RISK_OFF_SIDE

OUT = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares out of the market on the risk-off side."""


def judged(walk: Walk) -> list[list[float]]:
    """Return for each share out: Sharpe ratio less holding, drawdown less holding's, and round trips a year."""
    is_risk_off = np.array([label in RISK_OFF_SIDE for label in ORDER])[walk.labels]
    returns = np.concatenate([[0.0], walk.closes[1:] / walk.closes[:-1] - 1.0])
    whole = trade(is_risk_off, returns)
    sharpe, drawdown = sharpe_ratio(returns), max_drawdown(returns)
    rows = []
    for out in OUT:
        mixed = whole.share_out(out)
        rows.append([sharpe_ratio(mixed) - sharpe, max_drawdown(mixed) - drawdown, out * whole.turnover])
    return rows


def main() -> None:
    """Print the grid of ^GSPC, and the medians and shares won of the others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    grids = {name: np.array(judged(walk)) for name, walk in walks_of(parser.parse_args().files).items()}
    own = grids.pop("^GSPC")
    others = np.array(list(grids.values()))
    print(
        f"{'':18}   ^GSPC from 1990                  | median of {len(others)} markets            | better than holding"
    )
    print("share out, exposure   Sharpe drawdown turnover |   Sharpe drawdown turnover |  Sharpe drawdown")
    for at, out in enumerate(OUT):
        cells = " ".join(f"{value:+8.3f}" for value in own[at])
        medians = " ".join(f"{value:+8.3f}" for value in np.median(others[:, at], axis=0))
        won = " ".join(f"{share:8.0%}" for share in (others[:, at, :2] > 0).mean(axis=0))
        print(f"{out:9.2f} {1 - out:9.2f}   {cells} | {medians} | {won}")


if __name__ == "__main__":
    main()
