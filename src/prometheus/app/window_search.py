"""Windows of any instrument near to one instrument's window, and what followed them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from prometheus.analogs.search import MAX_ANALOGS, MAX_EXCLUDED_SESSIONS
from prometheus.analogs.sound import unsound_rows, unsound_vector, warn_left_out
from prometheus.analogs.window_rows import NearestWindows, NearWindow, WindowQuery
from prometheus.app.histories import Histories, newest_position
from prometheus.app.window_memory import KeptWindows
from prometheus.app.wiring import UseCase, Wiring
from prometheus.arrays import Float32Vector
from prometheus.data.vectors.index import IndexStatus, WindowIndex
from prometheus.data.vectors.scan import WindowScan, WindowSpace
from prometheus.encoders.catalogue import default_window_days, stored_model_id
from prometheus.encoders.numeric.windows import INSTRUMENT
from prometheus.errors import UsageError, no_embedding
from prometheus.market.outcomes import ForwardReturn, ForwardReturns

logger = logging.getLogger(__name__)

DEFAULT_MODEL_ID = "num-regime-core-v2"
FIRST_ROWS = 256
MOST_ROWS = 16_384
"""An index is asked for more and more rows until enough of them are no neighbours of each other, up to this number."""


@dataclass(frozen=True, slots=True)
class WindowRequest:
    """A search for windows near to an instrument's on a date; by default of the model's own number of sessions.

    `exclude_sessions` is the minimum gap in weekdays to the date, and between two windows of one instrument.
    """

    instrument_id: str
    as_of: date
    k: int = 10
    exclude_sessions: int = 63
    model_id: str = DEFAULT_MODEL_ID
    window_days: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_ANALOGS:
            raise UsageError(f"--k {self.k}: name a number from 1 to {MAX_ANALOGS}")
        if not 0 <= self.exclude_sessions <= MAX_EXCLUDED_SESSIONS:
            name = f"--exclude-sessions {self.exclude_sessions}"
            raise UsageError(f"{name}: name a number from 0 to {MAX_EXCLUDED_SESSIONS}")

    @property
    def space(self) -> WindowSpace:
        """The vectors compared."""
        window_days = default_window_days(self.model_id) if self.window_days is None else self.window_days
        return WindowSpace(stored_model_id(self.model_id), INSTRUMENT, window_days)

    @property
    def before(self) -> date:
        """Only windows dated before this one count: a gap of `exclude_sessions`."""
        day = np.busday_offset(np.datetime64(self.as_of, "D"), -self.exclude_sessions, roll="backward")
        return date.fromisoformat(str(day))


@dataclass(frozen=True, slots=True)
class SimilarWindow:
    """One window found."""

    instrument_id: str
    as_of_date: date
    distance: float
    outcomes: tuple[ForwardReturn, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "instrument_id": self.instrument_id, "as_of_date": str(self.as_of_date), "distance": self.distance,
            "followed_by": [outcome.to_dict() for outcome in self.outcomes],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class WindowReport:
    """The windows found, nearest first; `is_exact` if all were compared rather than an index used."""

    request: WindowRequest
    as_of_date: date
    is_exact: bool
    windows: tuple[SimilarWindow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        request = self.request
        return {
            "instrument_id": request.instrument_id, "as_of_date": str(self.as_of_date), "model_id": request.model_id,
            "window_days": request.space.window_days, "is_exact": self.is_exact,
            "windows": [window.to_dict() for window in self.windows],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class RecallReport:
    """The index against the exact search: share of true neighbours found over all queries, and the worst query's."""

    model_id: str
    n_queries: int
    k: int
    n_windows: int
    recall: float
    worst: float


class SearchWindows(UseCase):
    """Searches the stored windows of instruments."""

    def __init__(self, wired: Wiring) -> None:
        super().__init__(wired)
        self._memory = KeptWindows(wired)

    def find(self, request: WindowRequest) -> WindowReport:
        """Return the windows nearest to an instrument's, by the model's index, or by comparing all without one.

        NotFoundError without a vector on the date or in the week before, or if the model learned from later data.
        VectorError if that vector cannot be compared; other such ones are left out, with a warning.
        """
        space = request.space
        request = replace(request, model_id=space.model_id, window_days=space.window_days)
        Histories(self._wired).require_known(request.model_id, request.as_of)
        as_of_date, vector = self._asked(request)
        index = WindowIndex(self._wired.db_manager, request.model_id)
        chosen: list[NearWindow] = []
        if index.exists():
            chosen = _grow(lambda n: index.nearest(request.space, vector, request.before, n), request)
        is_exact = len(chosen) < request.k
        if is_exact:  # no index, or one that gave up before it had seen enough windows as old as that
            logger.info("comparing every window of %s; similar_index build makes an index", request.model_id)
            query = WindowQuery(vector, request.before)
            (nearest,) = self._nearest_of_all(request.space, [query], _row_counts(request)[-1])
            chosen = _spread_out(nearest, request)
        else:
            warn_left_out(f"windows of {space.model_id}", [f"{name} {day}" for name, day in sorted(index.left_out)])
        return WindowReport(request, as_of_date, is_exact, self._with_outcomes(chosen, as_of_date))

    def build_index(self, model_id: str) -> tuple[int, IndexStatus]:
        """Build or update a model's index; return the number of vectors copied, and its status."""
        index = WindowIndex(self._wired.db_manager, stored_model_id(model_id))
        n_copied = index.build(self._wired.progress)
        return n_copied, index.status()

    def drop_index(self, model_id: str) -> bool:
        """Remove a model's index; return whether it existed."""
        return WindowIndex(self._wired.db_manager, stored_model_id(model_id)).drop()

    def index_status(self, model_id: str) -> IndexStatus:
        """Return the size of a model's index, and its lag."""
        return WindowIndex(self._wired.db_manager, stored_model_id(model_id)).status()

    def check_index(self, model_id: str, n_queries: int, k: int, window_days: int | None = None) -> RecallReport:
        """Compare the index with the exact search, for queries spread evenly over the stored windows.

        Each query asks for windows dated before itself. NotFoundError if there is no index, or nothing stored.
        """
        days = default_window_days(model_id) if window_days is None else window_days
        model_id = stored_model_id(model_id)
        space = WindowSpace(model_id, INSTRUMENT, days)
        scan, index = WindowScan(self._wired.db_manager, space), WindowIndex(self._wired.db_manager, model_id)
        n_windows = scan.n_windows()
        if not n_windows:
            raise no_embedding(f"{model_id} with {days} sessions", None, None)
        queries = _spread_queries(scan, n_queries, n_windows)
        found = [index.nearest(space, query.vector, query.before, k) for query in queries]
        truth = self._nearest_of_all(space, queries, k)
        pairs = [({*map(_key, hits)}, {*map(_key, exact)}) for hits, exact in zip(found, truth, strict=True) if exact]
        shares = [len(hits & exact) / len(exact) for hits, exact in pairs]
        return RecallReport(model_id, len(shares), k, n_windows, float(np.mean(shares)), float(min(shares)))

    def _asked(self, request: WindowRequest) -> tuple[date, Float32Vector]:
        windows = WindowScan(self._wired.db_manager, request.space).load(request.instrument_id)
        at = newest_position(windows.dates, request.as_of, f"{request.instrument_id} by {request.model_id}")
        found: date = windows.dates[at].item()
        if unsound_rows(windows.vectors[at : at + 1]) is not None:
            raise unsound_vector(f"{request.instrument_id} {found} by {request.model_id}")
        if found != request.as_of:
            logger.warning("%s has no embedding on %s; using that of %s", request.instrument_id, request.as_of, found)
        return found, windows.vectors[at]

    def _nearest_of_all(
        self, space: WindowSpace, queries: Sequence[WindowQuery], n_rows: int
    ) -> list[list[NearWindow]]:
        """Return for each query the nearest windows dated before its date, by comparing every one."""
        nearest = NearestWindows(queries, n_rows)
        for windows in self._memory.blocks(space, max(query.before for query in queries)):
            nearest.offer(windows)
        return nearest.found()

    def _with_outcomes(self, chosen: Sequence[NearWindow], as_of_date: date) -> tuple[SimilarWindow, ...]:
        ids = list(dict.fromkeys(window.entity_id for window in chosen))
        bars = self._wired.reader.load_bars(ids, date.min, as_of_date, 1, ["adjusted_close"])
        closes = bars.column("adjusted_close")
        spans = {name: slice(bars.offsets[at], bars.offsets[at + 1]) for at, name in enumerate(ids)}
        followed = {name: ForwardReturns(bars.dates[span], closes[span]) for name, span in spans.items()}
        return tuple(
            SimilarWindow(*_key(window), window.distance, followed[window.entity_id].outcomes(window.as_of_date))
            for window in chosen
        )


def _row_counts(request: WindowRequest) -> list[int]:
    """Return how many of the nearest windows are looked at, at first and each time that too few of them are apart."""
    counts = [max(FIRST_ROWS, request.k)]
    while counts[-1] < MOST_ROWS:
        counts.append(4 * counts[-1])
    return counts


def _grow(candidates: Callable[[int], list[NearWindow]], request: WindowRequest) -> list[NearWindow]:
    """Ask for more rows until enough windows keep the minimum gap, or all were seen."""
    chosen: list[NearWindow] = []
    for n_rows in _row_counts(request):
        found = candidates(n_rows)
        chosen = _spread_out(found, request)
        if len(chosen) == request.k or len(found) < n_rows:
            break
    return chosen


def _spread_out(found: Sequence[NearWindow], request: WindowRequest) -> list[NearWindow]:
    """Return the first windows that are a minimum gap apart within each instrument."""
    chosen: list[NearWindow] = []
    days_of: dict[str, list[date]] = {}
    for window in found:
        if len(chosen) == request.k:
            break
        taken = days_of.setdefault(window.entity_id, [])
        gaps = np.abs(np.busday_count(taken, window.as_of_date)) if taken else np.empty(0)
        if (gaps > request.exclude_sessions).all():
            taken.append(window.as_of_date)
            chosen.append(window)
    return chosen


def _spread_queries(scan: WindowScan, n_queries: int, n_windows: int) -> list[WindowQuery]:
    wanted = np.unique(np.linspace(0, n_windows - 1, n_queries).astype(np.int64))
    queries, n_before = [], 0
    for entity_id, n_rows in scan.n_by_entity().items():
        rows = wanted[(wanted >= n_before) & (wanted < n_before + n_rows)] - n_before
        n_before += n_rows
        if len(rows):
            windows = scan.load(entity_id)
            is_bad = unsound_rows(windows.vectors)
            rows = rows if is_bad is None else rows[~is_bad[rows]]
            queries += [WindowQuery(windows.vectors[row], windows.dates[row].item()) for row in rows.tolist()]
    return queries


def _key(window: NearWindow) -> tuple[str, date]:
    return window.entity_id, window.as_of_date
