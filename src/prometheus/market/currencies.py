"""Currencies that exchanges quote in hundredths: pence, South African cents, agorot."""

from __future__ import annotations

MINOR_UNITS = {"GBp": "GBP", "GBX": "GBP", "ZAc": "ZAR", "ZAC": "ZAR", "ZAX": "ZAR", "ILA": "ILS"}
"""The currency of each unit that is a hundredth of one."""
MINOR_PER_MAJOR = 100


def major_currency(code: str) -> str:
    """Return the currency of a minor unit, any other code as it is.

    >>> major_currency("GBp"), major_currency("USD")
    ('GBP', 'USD')
    """
    return MINOR_UNITS.get(code, code)
