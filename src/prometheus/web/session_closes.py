"""Sessions and closes of markets, loaded by a process of their own.

Calendars need pandas, which takes 70 MB for as long as a process lives; a server needs a few numbers of them a month.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector
from prometheus.errors import PrometheusError

logger = logging.getLogger(__name__)

PATIENCE_S = 60.0
Span = tuple[str, date, date]
"""A market, a first day, and a day in the month up to which at least its closes are wanted."""


@dataclass(frozen=True, slots=True, eq=False)
class Closes:
    """The sessions of a market, shape (n,), ascending, and when each closes, datetime64[us] in UTC."""

    sessions: DateVector
    closes: NDArray[np.datetime64]

    def n_closed_since(self, day: date, now_utc: datetime) -> int:
        """Return how many sessions after a day have closed by an instant, the instant of a close included."""
        now = np.datetime64(now_utc.astimezone(UTC).replace(tzinfo=None))
        return int(((self.sessions > np.datetime64(day)) & (self.closes <= now)).sum())


def load_closes(spans: Collection[Span]) -> dict[Span, Closes | None]:
    """Return the closes of each span, None of a market without a calendar; `OSError` if the process fails."""
    asked = json.dumps([(market, str(first), str(last)) for market, first, last in spans])
    command = [sys.executable, "-m", "prometheus.web.session_closes", asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)  # noqa: S603
    except subprocess.SubprocessError as error:
        raise OSError(f"the calendars could not be loaded: {error}") from error
    return {span: _read(row) for span, row in zip(spans, json.loads(done.stdout), strict=True)}


class SessionAges:
    """Tells how many sessions have closed since days of markets; calendars of a month are loaded once."""

    def __init__(self) -> None:
        self._known: dict[Span, Closes | None] = {}

    def of(self, days: Sequence[tuple[str, date]], now_utc: datetime) -> list[int | None]:
        """Return the age of each day of a market, None where no calendar says."""
        month = now_utc.date().replace(day=1)
        spans = [(market, min(date(day.year, 1, 1), month), month) for market, day in days]
        missing = sorted(set(spans) - set(self._known))
        if missing:
            try:
                loaded = load_closes(missing)
                self._known = loaded | {span: self._known[span] for span in spans if span in self._known}
            except OSError as error:
                logger.warning("%s; ages in sessions are left out", error)
        found = [self._known.get(span) for span in spans]
        return [
            None if closes is None else closes.n_closed_since(day, now_utc)
            for closes, (_, day) in zip(found, days, strict=True)
        ]


def _read(row: Sequence[Sequence[int]] | None) -> Closes | None:
    return None if row is None else Closes(np.array(row[0], "M8[D]"), np.array(row[1], "M8[us]"))


def _rows(asked: Iterable[Sequence[str]]) -> Iterable[tuple[list[int], list[int]] | None]:
    from prometheus.market.calendar import session_closes  # noqa: PLC0415 -- in the process that loads calendars alone

    for market, first, last in asked:
        try:
            sessions, closes = session_closes(market, date.fromisoformat(first), date.fromisoformat(last))
        except PrometheusError:
            yield None
        else:
            yield sessions.astype(int).tolist(), closes.astype(int).tolist()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(list(_rows(json.loads(sys.argv[1])))))
