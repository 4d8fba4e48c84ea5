"""Make the packaged trees of the forecast of high volatility again, from ^GSPC 1927-1989.

    python -m benchmarks.boosted_trees ../shared/data/prices/gspc_1927_2020.parquet --check

Each session from 1933 on is shown seven times, against thresholds that were known then: quantiles of the forward
volatility of the 3,000 sessions before its year. Each threshold's sessions are weighted so that it was exceeded as
often as its quantile says: that volatility fell from the 1930s on is not to be learned. Needs the extra ``evaluation``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.described import read_markets, years_of
from prometheus.regime.boosted import (
    NAMES,
    RISK_NAMES,
    SPLITS,
    BoostedTrees,
    packaged_trees,
    relative_features,
)

UNTIL = "1989-12-31"
QUANTILES = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
SETTINGS: dict[str, Any] = {
    "max_iter": 150, "max_leaf_nodes": SPLITS + 1, "learning_rate": 0.05, "l2_regularization": 1.0,
    "min_samples_leaf": 1_000, "max_features": 0.3, "random_state": 0,
}  # fmt: skip


def training_rows(file: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return features, outcomes and weights of all sessions and thresholds."""
    market = read_markets(file, UNTIL)["^GSPC"]
    followed = market.followed
    rows, outcomes, weights = [], [], []
    for quantile in QUANTILES:
        is_high = []
        for year in years_of(market.dates):
            threshold = float(np.exp(np.quantile(year.known(followed), quantile)))
            came = followed[year.sessions]
            rows.append(relative_features(market.vectors[year.sessions][np.isfinite(came)], threshold))
            is_high.append(came[np.isfinite(came)] > np.log(threshold))
        highs_of = np.concatenate(is_high)
        rate = highs_of.mean()
        outcomes.append(highs_of)
        weights.append(np.where(highs_of, (1 - quantile) / rate, quantile / (1 - rate)))
    return np.concatenate(rows), np.concatenate(outcomes), np.concatenate(weights)


def fit_trees(file: Path) -> BoostedTrees:
    """Return the trees of a file of ^GSPC."""
    rows, outcomes, weights = training_rows(file)
    rising = [1 if name in RISK_NAMES else 0 for name in NAMES]
    model = HistGradientBoostingClassifier(**SETTINGS, early_stopping=False, monotonic_cst=rising)
    model.fit(rows, outcomes, sample_weight=weights)
    inner = vars(model)  # scikit-learn shows the trees nowhere else
    found = [_as_questions(predictors[0].nodes) for predictors in inner["_predictors"]]
    features, limits, values = (np.array(column) for column in zip(*found, strict=True))
    source = {"instrument_id": "^GSPC", "until": UNTIL, "n_rows": len(rows), "quantiles": list(QUANTILES), **SETTINGS}
    base = round(float(np.asarray(inner["_baseline_prediction"]).item()) * 1e6)
    return BoostedTrees(features, limits, np.rint(values * 1e6).astype(np.int64), base, source)


def _as_questions(nodes: Any) -> tuple[list[int], list[float], list[float]]:
    """Return features, limits and the value of each of the eight ways to answer."""
    asked = [at for at, node in enumerate(nodes) if not node["is_leaf"]]
    features = [int(nodes[at]["feature_idx"]) for at in asked]
    limits = [round(float(nodes[at]["num_threshold"]), 6) for at in asked]
    values = []
    for answers in range(2**SPLITS):
        at = 0
        while not nodes[at]["is_leaf"]:
            is_above = answers >> asked.index(at) & 1
            at = int(nodes[at]["right" if is_above else "left"])
        values.append(float(nodes[at]["value"]))
    missing = SPLITS - len(asked)
    return features + [0] * missing, limits + [0.0] * missing, values


def main() -> None:
    """Print the file's text, or whether it is the packaged one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="say whether these are the packaged trees")
    arguments = parser.parse_args()
    trees = fit_trees(arguments.file)
    if not arguments.check:
        print(trees.to_json(), end="")
        return
    print("equal to the packaged trees" if trees.to_json() == packaged_trees().to_json() else "other trees")


if __name__ == "__main__":
    main()
