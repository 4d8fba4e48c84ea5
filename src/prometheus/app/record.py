"""The forward record: whether it is whole, what was said of a region, and what that was worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from prometheus.app.judged_markets import load_judged_market
from prometheus.app.wiring import UseCase, Wiring, instant_of
from prometheus.arrays import Float64Vector
from prometheus.data.record import ForwardRecord
from prometheus.errors import CalendarRangeError, NotFoundError, UsageError
from prometheus.evaluation.labeller import BoolVector
from prometheus.evaluation.statements import ForecastScore, measure_lateness, outcomes_of, score_forecasts
from prometheus.market.calendar import US_EQ, session_closes
from prometheus.regime.record import Head, Statement, Verdict
from prometheus.spelling import did_you_mean

HEX_DIGITS = 64
_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RecordScore:
    """The score of one model's statements of a region: of those said on time, or of those said afterwards.

    `lag_hours` is the median time from the close of a session to the statement, `longest_lag_hours` the longest.
    `n_changed` labels are other ones in the tables today, `n_gone` are no longer there; None of a past date.
    """

    region: str
    model_id: str
    is_on_time: bool
    n_statements: int
    first: date
    last: date
    lag_hours: float
    longest_lag_hours: float
    n_changed: int | None
    n_gone: int | None
    high_volatility: ForecastScore

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "first": str(self.first), "last": str(self.last)}


class ReadRecord(UseCase):
    """Verifies the forward record, and holds what it says against what followed."""

    def head(self) -> Head:
        """Return how many statements there are and the hash of the last."""
        return self._record.head()

    def verify(self, kept_head: str | None = None) -> Verdict:
        """Compute all hashes again; with a head that was kept elsewhere, prove that the record still leads through it.

        UsageError if that is no hash.
        """
        if kept_head is None:
            return self._record.verify()
        try:
            kept = bytes.fromhex(kept_head)
        except ValueError:
            kept = b""
        if len(kept_head) != HEX_DIGITS or len(kept) * 2 != HEX_DIGITS:
            raise UsageError(
                f"--head {kept_head!r} is no hash of {HEX_DIGITS} hexadecimal digits, as record verify --json prints it"
            )
        return self._record.verify(kept)

    def statements(
        self, region: str, as_of: date | None = None, first_number: int = 1, limit: int | None = None
    ) -> list[Statement]:
        """Return what was said of a region, oldest first, from a number on; the first `limit` of them.

        With `as_of` nothing that was said after it, and nothing of what the tables say today. NotFoundError if nothing
        was ever said of the region.
        """
        until = _END if as_of is None else instant_of(as_of)
        found = self._record.statements(region, until, first_number, limit, is_compared=as_of is None)
        if not found and region not in (known := self._record.regions()):
            raise NotFoundError(
                f"nothing was said of region {region!r} yet ({did_you_mean(region, known, 'regions in the record')}); "
                "new sessions are recorded as they are labelled",
                code="no_statements",
            )
        return found

    def score(self, region: str, as_of: date | None = None) -> list[RecordScore]:
        """Return the scores of a region's statements by model, those said on time before the rest.

        With `as_of` nothing that was said, followed or was corrected after it counts. NotFoundError as in `statements`.
        """
        return [each for each, _ in self._scores(self.statements(region, as_of), as_of)]

    def score_beside_tables(self, region: str) -> list[tuple[RecordScore, float | None]]:
        """Return each score, and the Brier score of what the tables say of the same dates today."""
        said = self.statements(region)
        timelines = [self._wired.timelines.timeline(region, each, date.min, date.max) for each in _models(said)]
        today = {
            (each.model_id, day): share
            for each in timelines
            for day, share in zip(each.dates.tolist(), each.high_volatilities.tolist(), strict=True)
        }
        return self._scores(said, None, _floats([today.get((each.model_id, each.as_of_date)) for each in said]))

    def of_session(self, region: str, model_id: str, day: date) -> Statement | None:
        """Return what was said by a model of one date of a region; None if nothing was."""
        found = self._record.statements(region, _END, day=day, is_compared=True)
        return next((each for each in found if each.model_id == model_id), None)

    def _scores(
        self, said: Sequence[Statement], as_of: date | None, today: Float64Vector | None = None
    ) -> list[tuple[RecordScore, float | None]]:
        wired = self._wired if as_of is None else self._wired.as_known_at(instant_of(as_of))
        lags, is_on_time = _timing(wired, said)
        followed, base = _outcomes(wired, said, as_of or date.max)
        probabilities = _floats([each.high_volatility for each in said])
        scores = []
        for model_id in _models(said):
            of_model = np.array([each.model_id == model_id for each in said])
            for on_time in (True, False):
                rows = np.flatnonzero(of_model & (is_on_time == on_time))
                if len(rows):
                    forecasts = score_forecasts(probabilities[rows], followed[rows], base[rows])
                    now = None if today is None else score_forecasts(today[rows], followed[rows], base[rows]).brier
                    chosen = [said[row] for row in rows.tolist()]
                    scores.append((_score(chosen, lags[rows], forecasts, is_on_time=on_time), now))
        return scores

    @property
    def _record(self) -> ForwardRecord:
        return ForwardRecord(self._wired.db_manager)


def _models(said: Sequence[Statement]) -> list[str]:
    return sorted({each.model_id for each in said})


def _score(
    said: Sequence[Statement], lags: Float64Vector, forecasts: ForecastScore, *, is_on_time: bool
) -> RecordScore:  # fmt: skip
    days, today = sorted(each.as_of_date for each in said), [each.today for each in said]
    n_changed, n_gone = (None if None in today else today.count(word) for word in ("changed", "gone"))
    return RecordScore(
        said[0].region, said[0].model_id, is_on_time, len(said), days[0], days[-1], float(np.median(lags)),
        float(lags.max()), n_changed, n_gone, forecasts,
    )  # fmt: skip


def _timing(wired: Wiring, said: Sequence[Statement]) -> tuple[Float64Vector, BoolVector]:
    dates = np.array([each.as_of_date for each in said], dtype="M8[D]")
    instants = np.array([each.said_at.replace(tzinfo=None) for each in said], dtype="M8[us]")
    names = {each.instruments[0] for each in said if each.instruments}
    markets = wired.catalog.markets_of(sorted(names))
    lags, is_on_time = np.zeros(len(said)), np.zeros(len(said), dtype=np.bool_)
    by_market = np.array([markets.get(each.instruments[0], US_EQ) if each.instruments else US_EQ for each in said])
    for market in np.unique(by_market).tolist():
        rows = by_market == market
        try:
            sessions, closes = session_closes(market, dates[rows].min().item(), dates[rows].max().item())
        except (NotFoundError, CalendarRangeError):
            sessions, closes = np.empty(0, dtype="M8[D]"), np.empty(0, dtype="M8[us]")
        lags[rows], is_on_time[rows] = measure_lateness(dates[rows], instants[rows], sessions, closes)
    return lags, is_on_time


def _outcomes(wired: Wiring, said: Sequence[Statement], until: date) -> tuple[Float64Vector, Float64Vector]:
    """Return what followed each statement, and the base rate known before it; NaN without prices of its instrument."""
    dates = np.array([each.as_of_date for each in said], dtype="M8[D]")
    thresholds = _floats([each.threshold for each in said])
    names = np.array([each.instruments[0] if each.instruments else "" for each in said])
    followed, base = np.full(len(said), np.nan), np.full(len(said), np.nan)
    for name in np.unique(names[np.isfinite(thresholds)]).tolist():
        rows = names == name
        try:
            history = load_judged_market(wired, name).known_on(np.datetime64(until, "D"))
        except NotFoundError:  # removed since
            continue
        followed[rows], base[rows] = outcomes_of(history, dates[rows], thresholds[rows])
    return followed, base


def _floats(values: Sequence[float | None]) -> Float64Vector:
    return np.array([np.nan if each is None else each for each in values], dtype=np.float64)
