"""Write `numeric_windows.json` and `scale_free_windows.json`: answers for real windows, without the code under test.

Run from the checkout: ``PYTHONPATH=src python -m tests.golden.make_golden``. It takes the bars of the packaged sample
and does the arithmetic in Python floats (`math.log`). For the first file it rounds with `struct` and hashes the bytes;
the second holds every value to seven decimals.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tests.reference.descriptors import slow_log_prices, slow_scale_free_vector
from tests.reference.windows import Bar, float32_bytes, sample_bars, slow_vector, slow_window

from prometheus.ingest.sample import PRICES

PATH = Path(__file__).with_name("numeric_windows.json")
WINDOWS = (
    ("AAPL.US", date(2025, 1, 31), 63),
    ("AAPL.US", date(2025, 1, 31), 252),
    ("GSPC.INDX", date(2008, 10, 10), 63),
    ("GSPC.INDX", date(2020, 3, 16), 21),
)
DIMS = {"num-regime-core-v1": 384, "numeric-simple-v1": None}
N_SHOWN = 6
SCALE_FREE_PATH = Path(__file__).with_name("scale_free_windows.json")
SCALE_FREE_WINDOWS = (
    ("AAPL.US", date(2025, 1, 31), True),
    ("GSPC.INDX", date(2008, 10, 10), True),
    ("GSPC.INDX", date(2008, 10, 10), False),
    ("GSPC.INDX", date(2017, 11, 3), True),
    ("GSPC.INDX", date(2020, 3, 16), True),
)
"""Instrument, date, and whether its highs and lows are given."""


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


def scale_free_text() -> str:
    """The text of the second file."""
    answers = [scale_free_answer(*window) for window in SCALE_FREE_WINDOWS]
    return "[\n" + ",\n".join(json.dumps(each) for each in answers) + "\n]\n"


def scale_free_answer(instrument_id: str, as_of_date: date, has_highs_and_lows: bool) -> dict[str, Any]:
    """The vector of the last 513 bars up to a date; the packaged constants are read as the data they are."""
    text = (
        resources.files("prometheus.encoders.numeric").joinpath("scale_free_constants.json").read_text(encoding="utf-8")
    )
    rows = slow_log_prices(scale_free_bars(instrument_id, as_of_date, has_highs_and_lows))
    return {
        "instrument_id": instrument_id,
        "as_of_date": str(as_of_date),
        "has_highs_and_lows": has_highs_and_lows,
        "values": [round(value, 7) for value in slow_scale_free_vector(rows, json.loads(text)["mean_and_deviation"])],
    }


def scale_free_bars(instrument_id: str, as_of_date: date, has_highs_and_lows: bool) -> list[Bar]:
    """All bars up to a date."""
    bars = [bar for bar in sample_bars(instrument_id) if bar[0] <= as_of_date]
    return bars if has_highs_and_lows else [(*bar[:4], math.nan, math.nan) for bar in bars]


if __name__ == "__main__":
    PATH.write_text(golden_text(), encoding="utf-8")
    SCALE_FREE_PATH.write_text(scale_free_text(), encoding="utf-8")
