"""Files of levels, such as yields or the VIX, into stored series and into macro events that tell them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.data.removal import remove_facts
from prometheus.data.series import load_facts, load_series, store_series
from prometheus.data.text_staging import TextStaging
from prometheus.encoders.texts.documents import MACRO, TOLD_VALUES
from prometheus.errors import DataCheckError, InputRefusedError, UsageError
from prometheus.files.tables import Reason
from prometheus.ingest.checks import FIRST_DATE, text_fault
from prometheus.ingest.facts import Fact, tell_series
from prometheus.ingest.observations import Observation, open_series
from prometheus.ingest.report import IngestReport, require_files
from prometheus.ingest.revisions import (
    Key,
    Versions,
    changed_versions,
    find_changes,
    is_daily,
    known_at,
    require_lag,
    spell,
    versions_of,
)  # fmt: skip

MAX_OBSERVATIONS = 5_000_000
LONGEST_LAG = 366


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOptions:
    """Options of files of series; values known after `now` are refused.

    A value is known `release_lag` days after its own, at 22:00 UTC, unless the file says when it was released. Without
    either only daily values are taken, as known on their own day. A value that differs from the stored one is a
    revision, known from `now` on; with `replace` it takes the place of what is stored for its day. `series` names the
    one series of a file.
    """

    now: datetime
    release_lag: int | None = None
    series: str | None = None
    country: str | None = None
    source: str | None = None
    date_format: str | None = None
    replace: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.release_lag is not None and not 0 <= self.release_lag <= LONGEST_LAG:
            raise UsageError(f"--release-lag {self.release_lag}: give 0 to {LONGEST_LAG} days")


class SeriesIngest:
    """Loads files of series: all their values and facts, or nothing."""

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._db = db_manager

    def ingest_series(self, paths: Sequence[Path], options: SeriesOptions) -> IngestReport:
        """Store the values in `series_values` and their facts in `macro_events`; loading twice changes nothing.

        Whatever is loaded later, what was known before stays: stored values and facts do, and what a file says of a day
        that is stored already is known by its release, or from the load on.

        Raises
        ------
        DataCheckError
            A cell that is neither a number nor missing, two values of one key, or a day before 1800.
        InputRefusedError
            Values that are not daily, and nothing that says when they became known; or another lag than was stored.
        """
        require_files(paths)
        read = [each for path in paths for each in open_series(path, options.series).observations(options.date_format)]
        if len(read) > MAX_OBSERVATIONS:
            raise DataCheckError(f"more than {MAX_OBSERVATIONS} values; load the files in parts")
        _require_sound(read, options.now)
        with self._db.get_historical_connection() as connection:
            stored = versions_of(load_series(connection, sorted({item.series for item in read})))
            lag = _choose_lag(read, stored, options)
            known = [item for item in read if known_at(item, lag) <= options.now]
            distinct = _distinct(known)
            changes = find_changes(stored, distinct, lag, options.now, replace=options.replace)
            require_lag(
                {key: versions for key, versions in stored.items() if key not in {*changes.replaced}},
                {item.series for item in distinct if item.released is None}, lag,
            )  # fmt: skip
            store_series(connection, changes.dropped, changes.added)
            remove_facts(connection, changes.replaced)
            told = tell_series(spell(changed_versions(stored, changes), distinct), lag)
            n_facts, n_new = _store_facts(connection, list(told), options)
            if options.dry_run:
                connection.rollback()
        notes = [f"{n_facts:,} macro events tell them, {n_new:,} of them new", *changes.notes()]
        if len(known) < len(read):
            notes.append(
                f"{len(read) - len(known):,} values are not known yet by their release lag; load them again then"
            )
        return IngestReport(
            files=tuple(map(str, paths)), rows_read=len(known), rows_written=len(changes.added),
            rows_unchanged=len(distinct) - len(changes.added), duplicates=len(known) - len(distinct), rejected=0,
            rejected_by_reason=(), first_date=min((item.day for item in distinct), default=None),
            last_date=max((item.day for item in distinct), default=None), quarantine_path=None, notes=tuple(notes),
            dry_run=options.dry_run,
        )  # fmt: skip


def _store_facts(connection: psycopg.Connection[Any], told: Sequence[Fact], options: SeriesOptions) -> tuple[int, int]:
    """Store the facts whose value is not told otherwise already; return how many they are, and how many are new."""
    stored = load_facts(connection, sorted({value for fact in told for value in fact.values[:1]}))
    facts = [fact for fact in told if fact.description in stored.get(fact.key, {fact.description})]
    staging = TextStaging(connection, MACRO)
    staging.append(0, (_record(*numbered, options) for numbered in enumerate(facts, 1)))
    n_facts = staging.summarize().n_distinct
    return n_facts, staging.upsert() if n_facts else 0


def _record(number: int, fact: Fact, options: SeriesOptions) -> tuple[Any, ...]:
    metadata = json.dumps({TOLD_VALUES: fact.values}, ensure_ascii=False)
    return number, fact.event_type, fact.instant, None, options.country, options.source, fact.description, metadata


def _distinct(observations: Sequence[Observation]) -> list[Observation]:
    """Return the observations by series, day and release, each once; `DataCheckError` where two of one key disagree."""
    found: dict[tuple[object, ...], Observation] = {}
    for item in sorted(observations, key=lambda each: (each.series, each.day, each.released or date.min)):
        first = found.setdefault((item.series, item.day, item.released), item)
        if first.value != item.value:
            raise DataCheckError(
                f"{item.series} has two values for {item.day}, {first.value:f} and {item.value:f}; take one out, or "
                "say in a column release_date when each became known"
            )
    return list(found.values())


def _choose_lag(read: Sequence[Observation], stored: Mapping[Key, Versions], options: SeriesOptions) -> timedelta:
    if options.release_lag is not None:
        return timedelta(days=options.release_lag)
    undated = {item.series for item in read if item.released is None}
    days: dict[str, list[date]] = {name: [] for name in undated}
    for series, day in (*stored, *((item.series, item.day) for item in read)):
        if series in undated:
            days[series].append(day)
    for name, of_series in days.items():
        if not is_daily(of_series):
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
