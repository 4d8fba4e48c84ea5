"""Labels further sessions of three regions, a few in each transaction, until it is ended.

``python -m tests.faults.speaker`` goes on from what is stored.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import count

import numpy as np

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import load_config
from prometheus.regime import RegimeLabel, RegimeState, RegimeStorage

FIRST = date(2000, 1, 3)
PER_TRANSACTION = 7
MODEL_ID = "m@1"


def main() -> None:
    """Label until somebody ends this process."""
    storage = RegimeStorage(DatabaseManager(load_config()), MODEL_ID)
    labels, vector = list(RegimeLabel), np.ones(384, dtype=np.float32)
    newest = storage.get_latest_regime("R0")
    begin = 0 if newest is None else (newest.as_of_date - FIRST).days + 1
    for first in count(begin, PER_TRANSACTION):
        days = range(first, first + PER_TRANSACTION)
        storage.save_regimes([
            RegimeState(FIRST + timedelta(days=day), f"R{region}", labels[day % 4], 0.5, vector, {}, MODEL_ID)
            for day in days for region in range(3)
        ])  # fmt: skip


if __name__ == "__main__":
    main()
