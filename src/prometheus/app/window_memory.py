"""Windows in the memory of a process that asks again, as true as the table they come from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np

from prometheus.analogs.window_rows import WindowRows
from prometheus.app.caches import Cache
from prometheus.app.wiring import Wiring
from prometheus.arrays import VECTOR_DTYPE
from prometheus.data.vectors.scan import FEW_WINDOWS, WindowScan, WindowSpace


class KeptWindows:
    """Reads the windows of a space; of the last one asked for they are kept where they are few (147 MiB at most)."""

    def __init__(self, wired: Wiring) -> None:
        self._wired = wired
        self._kept: Cache[list[WindowRows] | None] = Cache(1)

    def blocks(self, space: WindowSpace, before: date) -> Iterator[WindowRows]:
        """Yield all windows of a space dated before a date, and maybe later ones, block by block."""
        scan = WindowScan(self._wired.db_manager, space)
        # the mark is taken before the rows: what is written meanwhile changes the next one
        kept = self._kept.get((self._wired.visible_state(), space), lambda: self._read(scan))
        return scan.blocks(before) if kept is None else iter(kept)

    def _read(self, scan: WindowScan) -> list[WindowRows] | None:
        most_bytes = self._wired.config.search_memory_mib << 20
        most = min(FEW_WINDOWS, most_bytes // (VECTOR_DTYPE.itemsize * max(1, scan.dim())))
        if scan.n_windows(most + 1) > most:
            return None
        blocks = list(scan.blocks())
        if not blocks:
            return []
        columns = [(each.entities, each.dates, each.rows.vectors) for each in blocks]
        entities, dates, vectors = (np.concatenate(column) for column in zip(*columns, strict=True))
        return [WindowRows.of(blocks[0].names, entities, dates, vectors)]
