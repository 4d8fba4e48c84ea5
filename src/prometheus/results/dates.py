"""Dates as people write them in Python."""

from __future__ import annotations

from datetime import date, datetime
from typing import TypeAlias

import numpy as np

from prometheus.errors import UsageError

DateLike: TypeAlias = date | str | np.datetime64
"""A date, or ``YYYY-MM-DD``; of a point in time its calendar date."""


def as_date(name: str, given: DateLike | None, default: date | None = None) -> date:
    """Return the calendar date that something names.

    Raises
    ------
    UsageError
        It names none.
    """
    value = given.astype("M8[D]").item() if isinstance(given, np.datetime64) else default if given is None else given
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise UsageError(f"{name}: {given!r} is no date; write YYYY-MM-DD") from None
