"""Windows as they would be had one bar never been: what hangs on that bar is what differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from prometheus.encoders.numeric.windows import WindowBatch


def without_bar(windows: WindowBatch, row: int) -> WindowBatch:
    """Return windows of `LOG_PRICES` in which the newest bar of window `row` neither moved nor had a range.

    Nor did the bars beside it: a wrong bar makes two returns. The windows are of one instrument; those on several
    scales lie in several places of the table, and are all changed.
    """
    table = windows.features.copy()
    n_sessions_later = windows.close_ends - windows.close_ends[row]
    holds_it = (n_sessions_later >= 0) & (n_sessions_later < windows.window_days)
    for position in np.unique((windows.ends - 1 - n_sessions_later)[holds_it]).tolist():
        for still in range(max(position - 1, 1), min(position + 2, len(table))):
            table[still:, 0] -= table[still, 0] - table[still - 1, 0]
            table[still, 1:] = 0.0
    return replace(windows, features=table)
