"""Write `numeric_windows.json`: answers for real windows, computed without the code under test.

Run from the checkout: ``PYTHONPATH=src python -m tests.golden.make_golden``. It takes the bars of the packaged sample,
does the arithmetic in Python floats (`math.log`), rounds with `struct`, and hashes the bytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tests.reference.windows import float32_bytes, slow_vector, slow_window

from prometheus.data.sample import PRICES

PATH = Path(__file__).with_name("numeric_windows.json")
WINDOWS = (
    ("AAPL.US", date(2025, 1, 31), 63),
    ("AAPL.US", date(2025, 1, 31), 252),
    ("GSPC.INDX", date(2008, 10, 10), 63),
    ("GSPC.INDX", date(2020, 3, 16), 21),
)
DIMS = {"num-regime-core-v1": 384, "numeric-simple-v1": None}
N_SHOWN = 6


def golden_text() -> str:
    """The text of the file."""
    answers = [
        answer(instrument_id, as_of_date, window_days, model_id)
        for instrument_id, as_of_date, window_days in WINDOWS
        for model_id in DIMS
    ]
    return json.dumps(answers, indent=1) + "\n"


def answer(instrument_id: str, as_of_date: date, window_days: int, model_id: str) -> dict[str, Any]:
    """The vector of one window: its digest, and its first values exactly, as hexadecimal floats."""
    table = pq.read_table(PRICES, columns=["instrument_id", "trade_date", "close", "volume"]).to_pylist()
    rows = [(row["trade_date"], row["close"], row["volume"]) for row in table if row["instrument_id"] == instrument_id]
    window = slow_window(rows, as_of_date, window_days)
    assert window is not None
    vector = float32_bytes(slow_vector(window, DIMS[model_id]))
    return {
        "instrument_id": instrument_id,
        "as_of_date": str(as_of_date),
        "window_days": window_days,
        "model_id": model_id,
        "dim": len(vector) // 4,
        "first_values": [value.hex() for value in struct.unpack(f"<{N_SHOWN}f", vector[: 4 * N_SHOWN])],
        "sha256": hashlib.sha256(vector).hexdigest(),
    }


if __name__ == "__main__":
    PATH.write_text(golden_text(), encoding="utf-8")
