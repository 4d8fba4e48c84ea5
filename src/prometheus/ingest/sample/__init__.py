"""Real prices and macro levels that come with the package; see ``PROVENANCE.md`` beside this file."""

from __future__ import annotations

from pathlib import Path

PRICES = Path(__file__).parent / "prices.parquet"
"""Daily bars of AAPL.US (2000-01-03 to 2025-07-23) and GSPC.INDX (1990-01-02 to 2023-12-28)."""

MACRO_LEVELS = Path(__file__).parent / "macro_levels_daily.csv.gz"
"""Daily US rates, credit spreads and VIX, 1999-01-01 to 2025-06-25; `macro_events` tells them in sentences."""
