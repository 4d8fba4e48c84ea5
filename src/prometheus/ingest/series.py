"""Files of levels, such as yields or the VIX, into stored series and into macro events that tell them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.data.series import store_series
from prometheus.data.text_staging import TextStaging
from prometheus.encoders.texts.documents import MACRO
from prometheus.errors import DataCheckError, InputRefusedError, UsageError
from prometheus.files.encodings import require_encoding
from prometheus.files.tables import Reason
from prometheus.ingest.checks import FIRST_DATE, text_fault
from prometheus.ingest.facts import is_daily, known_at, tell_series
from prometheus.ingest.observations import Observation, by_series, open_series
from prometheus.ingest.report import IngestReport, require_files

MAX_OBSERVATIONS = 5_000_000
LONGEST_LAG = 366


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOptions:
    """Options of files of series; values known after `now` are refused.

    A value is known `release_lag` days after its own, at 22:00 UTC, unless the file says when it was released. Without
    either only daily values are taken, as known on their own day. `series` names the one series of a file.
    """

    now: datetime
    release_lag: int | None = None
    series: str | None = None
    country: str | None = None
    source: str | None = None
    date_format: str | None = None
    dry_run: bool = False
    encoding: str | None = None

    def __post_init__(self) -> None:
        require_encoding(self.encoding)
        if self.release_lag is not None and not 0 <= self.release_lag <= LONGEST_LAG:
            raise UsageError(f"--release-lag {self.release_lag}: give 0 to {LONGEST_LAG} days")


class SeriesIngest:
    """Loads files of series: all their values and facts, or nothing."""

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._db = db_manager

    def ingest_series(self, paths: Sequence[Path], options: SeriesOptions) -> IngestReport:
        """Store the values in `series_values` and their facts in `macro_events`; loading twice changes nothing.

        Raises
        ------
        DataCheckError
            A cell that is neither a number nor missing, two values of one key, or a day before 1800.
        InputRefusedError
            Values that are not daily, and nothing that says when they became known.
        """
        require_files(paths)
        read = [
            each
            for path in paths
            for each in open_series(path, options.series, options.encoding).observations(options.date_format)
        ]
        if len(read) > MAX_OBSERVATIONS:
            raise DataCheckError(f"more than {MAX_OBSERVATIONS} values; load the files in parts")
        _require_sound(read, options.now)
        lag = _choose_lag(by_series(read), options)
        known = [item for item in read if known_at(item, lag) <= options.now]
        distinct = _distinct(known)
        with self._db.get_historical_connection() as connection:
            rows = ((item.series, item.day, known_at(item, lag), float(item.value)) for item in distinct)
            n_written = store_series(connection, rows)
            staging = TextStaging(connection, MACRO)
            staging.append(0, _records(by_series(distinct), lag, options))
            n_facts = staging.summarize().n_distinct
            n_new = staging.upsert() if n_facts else 0
            if options.dry_run:
                connection.rollback()
        notes = [f"{n_facts:,} macro events tell them, {n_new:,} of them new"]
        if len(known) < len(read):
            notes.append(
                f"{len(read) - len(known):,} values are not known yet by their release lag; load them again then"
            )
        return IngestReport(
            files=tuple(map(str, paths)), rows_read=len(known), rows_written=n_written,
            rows_unchanged=len(distinct) - n_written, duplicates=len(known) - len(distinct), rejected=0,
            rejected_by_reason=(), first_date=min((item.day for item in distinct), default=None),
            last_date=max((item.day for item in distinct), default=None), quarantine_path=None, notes=tuple(notes),
            dry_run=options.dry_run,
        )  # fmt: skip


def _distinct(observations: Sequence[Observation]) -> list[Observation]:
    """Return the observations less repeated ones; `DataCheckError` where two of one key disagree."""
    found: dict[tuple[object, ...], Observation] = {}
    for item in observations:
        first = found.setdefault((item.series, item.day, item.released), item)
        if first.value != item.value:
            raise DataCheckError(
                f"{item.series} has two values for {item.day}, {first.value:f} and {item.value:f}; take one out, or "
                "say in a column release_date when each became known"
            )
    return list(found.values())


def _choose_lag(series: Mapping[str, Sequence[Observation]], options: SeriesOptions) -> timedelta:
    if options.release_lag is not None:
        return timedelta(days=options.release_lag)
    for name, items in series.items():
        if not is_daily(items) and any(item.released is None for item in items):
            raise InputRefusedError(
                f"{name} is not daily, so its values became known later than their dates; say how many days with "
                "--release-lag, such as 45, or add a column release_date (realtime_start of ALFRED)"
            )
    return timedelta(0)


def _require_sound(observations: Sequence[Observation], now: datetime) -> None:
    for item in observations:
        if item.day < FIRST_DATE or item.day > now.astimezone(UTC).date():
            raise DataCheckError(f"{item.series}: a value for {item.day}, before {FIRST_DATE} or in the future")
        if item.released is not None and item.released < item.day:
            raise DataCheckError(f"{item.series}: the value for {item.day} was released on {item.released}, before it")
        if text_fault(item.series) is not Reason.NONE:
            raise DataCheckError(f"series {item.series[:60]!r}: {text_fault(item.series).label}")


def _records(
    series: Mapping[str, Sequence[Observation]], lag: timedelta, options: SeriesOptions
) -> Iterator[tuple[Any, ...]]:
    told = (event for event in tell_series(series, lag) if event.timestamp <= options.now)
    for number, event in enumerate(told, 1):
        yield number, event.event_type, event.timestamp, None, options.country, options.source, event.description, "{}"
