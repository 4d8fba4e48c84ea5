"""Windows in the memory of a process that asks again, as true as the table they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np

from prometheus.analogs.sound import warn_left_out
from prometheus.analogs.window_rows import WindowRows
from prometheus.app.caches import Cache
from prometheus.app.wiring import Wiring
from prometheus.arrays import VECTOR_DTYPE
from prometheus.data.vectors.scan import FEW_WINDOWS, WindowScan, WindowSpace


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """Windows, and those that cannot be compared, by entity and date."""

    blocks: list[WindowRows]
    left_out: list[tuple[str, date]]


class KeptWindows:
    """Reads the windows of a space; of the last one asked for they are kept where they are few (147 MiB at most)."""

    def __init__(self, wired: Wiring) -> None:
        self._wired = wired
        self._kept: Cache[_Kept | None] = Cache(1)

    def blocks(self, space: WindowSpace, before: date) -> Iterator[WindowRows]:
        """Yield all windows of a space dated before a date, and maybe later ones, block by block.

        Those before the date that cannot be compared are left out; one warning names them after the last block.
        """
        scan = WindowScan(self._wired.db_manager, space)
        # the mark is taken before the rows: what is written meanwhile changes the next one
        kept = self._kept.get((self._wired.visible_state(), space), lambda: self._read(scan))
        yield from scan.blocks(before) if kept is None else kept.blocks
        left_out = sorted(each for each in (scan if kept is None else kept).left_out if each[1] < before)
        warn_left_out(f"windows of {space.model_id}", [f"{name} {day}" for name, day in left_out])

    def _read(self, scan: WindowScan) -> _Kept | None:
        most_bytes = self._wired.config.search_memory_mib << 20
        most = min(FEW_WINDOWS, most_bytes // (VECTOR_DTYPE.itemsize * max(1, scan.dim())))
        if scan.n_windows(most + 1) > most:
            return None
        blocks = list(scan.blocks())
        if not blocks:
            return _Kept([], [])
        columns = [(each.entities, each.dates, each.rows.vectors) for each in blocks]
        entities, dates, vectors = (np.concatenate(column) for column in zip(*columns, strict=True))
        return _Kept([WindowRows.of(blocks[0].names, entities, dates, vectors)], scan.left_out)
