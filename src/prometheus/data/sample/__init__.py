"""A small set of real prices that comes with the package; see ``PROVENANCE.md`` beside this file."""

from __future__ import annotations

from pathlib import Path

PRICES = Path(__file__).parent / "prices.parquet"
"""Daily bars of AAPL.US (2000-01-03 to 2025-07-23) and GSPC.INDX (1990-01-02 to 2023-12-28)."""
