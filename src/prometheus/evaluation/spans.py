"""Where a test may begin: after enough to learn from, and after every year that a labeller's constants saw."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np

from prometheus.arrays import DateVector
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.errors import InputRefusedError
from prometheus.evaluation.labeller import DEFAULT_SPAN, Labeller
from prometheus.evaluation.protocol import WARM_UP_START
from prometheus.regime.calibration import DECODE_SESSIONS

LEAST_SESSIONS = WINDOW_DAYS - 1 + 756
"""Before the first session judged: windows of three years, so that scores can be read beside what followed them."""
_WHOLE_SPAN = DEFAULT_SPAN + WINDOW_DAYS + DECODE_SESSIONS


def learned_until(labellers: Iterable[Labeller]) -> tuple[str, date] | None:
    """Return the labeller whose constants saw the latest years, and their last date; None if all learn in the walk."""
    known = [(until, each.name) for each in labellers if (until := getattr(each, "learned_until", None)) is not None]
    until, name = max(known, default=(None, ""))
    return None if until is None else (name, until)


def require_unseen(start: date, labellers: Iterable[Labeller]) -> None:
    """Raise `InputRefusedError` where a labeller would be judged on years that its constants were learned from."""
    seen = learned_until(labellers)
    if seen is not None and start <= seen[1]:
        raise InputRefusedError(
            f"{seen[0]} would be judged from {start} on years its constants were learned from, up to {seen[1]}; give "
            f"--start {seen[1] + timedelta(days=1)} or later, or name other labellers with --labeller"
        )


def first_start(dates: DateVector, labellers: Iterable[Labeller], n_before: int | None = None) -> date:
    """Return the first 1 January on which a test works.

    Before it lie `n_before` sessions since 1960, by default those of a whole fit span or half of a shorter history, and
    always `LEAST_SESSIONS`; after it, no year that a labeller's constants saw. `InputRefusedError` where
    no session is left.
    """
    usable = dates[dates >= np.datetime64(WARM_UP_START)]
    needed = max(min(_WHOLE_SPAN, len(usable) // 2) if n_before is None else n_before, LEAST_SESSIONS)
    if needed >= len(usable):
        raise InputRefusedError(
            f"{len(usable)} sessions are too few to judge: {needed} are needed to learn from; load older bars"
        )
    years = [usable[needed].item().year]
    seen = learned_until(labellers)
    if seen is not None:
        years.append(seen[1].year)
    start = date(max(years) + 1, 1, 1)
    if start > usable[-1].item():
        raise InputRefusedError(
            f"bars up to {usable[-1]} leave nothing to judge: the first start that works is {start}"
        )
    return start
