"""Files of levels, such as yields or the VIX, into stored series and into macro events that tell them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psycopg

from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.data.removal import remove_dependents
from prometheus.data.series import load_facts, load_series, store_series
from prometheus.data.text_staging import TextStaging
from prometheus.encoders.texts.documents import MACRO, TOLD_VALUES
from prometheus.errors import DataCheckError, InputRefusedError, UsageError
from prometheus.files.columns import cells_as_text
from prometheus.files.price_tables import PriceQuestion
from prometheus.files.tables import RawBatch, TableFile, Written
from prometheus.files.vintages import unread_vintages
from prometheus.ingest.facts import Fact, tell_series
from prometheus.ingest.observations import (
    DATE,
    END,
    RELEASED,
    SERIES,
    SERIES_COLUMNS,
    VALUE,
    Observation,
    ObservationReader,
    open_series,
)
from prometheus.ingest.previews import N_ROWS, describe_cells, describe_columns
from prometheus.ingest.report import IngestReport, IngestRun, RunOptions, require_files
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
)

MAX_OBSERVATIONS = 5_000_000
LONGEST_LAG = 366


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOptions(RunOptions):
    """Options of files of series; values of days after that of `now` are refused.

    A value is known `release_lag` days after its own, at 22:00 UTC, unless the file says when it was released. Without
    either only daily values are taken, as known on their own day. A value that differs from the stored one is a
    revision, known from `now` on; with `replace` it takes the place of what is stored for its day. `series` names the
    one series of a file; `columns` and `decimal_mark` are as in `prometheus.ingest.report.IngestOptions`.
    """

    now: datetime
    release_lag: int | None = None
    series: str | None = None
    country: str | None = None
    source: str | None = None
    replace: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    decimal_mark: Literal["point", "comma"] | None = None

    def __post_init__(self) -> None:
        self.require_sound({"--series": self.series, "--country": self.country, "--source": self.source})
        if self.release_lag is not None and not 0 <= self.release_lag <= LONGEST_LAG:
            raise UsageError(f"--release-lag {self.release_lag}: give 0 to {LONGEST_LAG} days")
        strange = [name for name in self.columns if name not in SERIES_COLUMNS]
        if strange:
            raise UsageError(f"--column {strange[0]}: no such field; known: {', '.join(SERIES_COLUMNS)}")


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
            Columns that do not fit, two values of one key, or, under ``abort``, rows that fail a check.
        InputRefusedError
            Values that are not daily, and nothing that says when they became known; or another lag than was stored.
        """
        require_files(paths)
        written = Written(options.encoding)
        question = PriceQuestion(options.series, options.columns, options.decimal_mark, options.date_format, written)
        run = _SeriesRun([open_series(path, question) for path in paths], options)
        return run.ingest(self._db.get_historical_connection, None)


class _SeriesRun(IngestRun):
    _connection: psycopg.Connection[Any]

    def __init__(self, files: Sequence[TableFile], options: SeriesOptions) -> None:
        has_ends = any(END in file.columns.source for file in files)
        super().__init__(files, (*SERIES_COLUMNS, END) if has_ends else SERIES_COLUMNS, options)
        self._options = options
        self._read_items: list[tuple[Observation, int, int]] = []  # with the numbers of file and row

    def begin(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def read_file(self, file: TableFile) -> Iterator[RawBatch]:
        options, path = self._options, str(file.path)
        for remark in (*file.remarks, *(_describe(file, options) if options.dry_run else ())):
            self.notes.add(remark, path)
        for name in unread_vintages(file.columns.ignored):
            self.notes.add(f"{name} may say when a value became known; choose it: --column release_date={name}", path)
        reader = ObservationReader(options.date_format, options.now.astimezone(UTC).date())
        for batch in file.batches():
            faults, items = reader.read(batch)
            self.rejects.take(file, batch, faults)
            rows = batch.rows[faults.is_good].tolist()
            self._read_items += zip(items, [self.file_no] * len(rows), rows, strict=True)
            if len(self._read_items) > MAX_OBSERVATIONS:
                raise DataCheckError(f"more than {MAX_OBSERVATIONS} values; load the files in parts")
            yield batch

    def compare(self) -> None:
        """Refuse the values of one key that contradict each other."""
        first: dict[tuple[object, ...], tuple[Observation, int, int]] = {}
        contradicting = set()
        for each in self._read_items:
            item, other = each[0], first.setdefault(_key(each[0]), each)
            if other[0].value != item.value:
                contradicting.add(_key(item))
                if self._options.on_error == "abort":
                    places = [self._place(file_no, row) for _, file_no, row in (other, each)]
                    raise DataCheckError(f"{' and '.join(places)}: {_describe_two(other[0], item)}")
        if not contradicting:
            return
        for number, file in enumerate(self.files):
            rows = [row for item, file_no, row in self._read_items if file_no == number and _key(item) in contradicting]
            if rows:
                self.rejects.take_rows(file, np.array(rows, np.int64), VALUE)
        self._read_items = [each for each in self._read_items if _key(each[0]) not in contradicting]

    def _place(self, file_no: int, row: int) -> str:
        file = self.files[file_no]
        return f"{file.path} {file.row_word} {file.row_of(row)}, column {VALUE}"

    def store(self) -> dict[str, Any]:
        options, connection = self._options, self._connection
        read = [item for item, _, _ in self._read_items]
        stored = versions_of(load_series(connection, sorted({item.series for item in read})))
        lag = _choose_lag(read, stored, options, ", ".join(str(file.path) for file in self.files[:3]))
        known = [item for item in read if known_at(item, lag) <= options.now]
        distinct = sorted({_key(item): item for item in known}.values(), key=_key)
        changes = find_changes(stored, distinct, lag, options.now, replace=options.replace)
        replaced = set(changes.replaced)
        kept = {key: versions for key, versions in stored.items() if key not in replaced}
        require_lag(kept, {item.series for item in distinct if item.released is None}, lag)
        store_series(connection, changes.dropped, changes.added)
        remove_dependents(connection, changes.replaced)
        told = tell_series(spell(changed_versions(stored, changes), distinct), lag)
        n_facts, n_new = _store_facts(connection, list(told), options)
        for remark in (f"{n_facts:,} macro events tell them, {n_new:,} of them new", *changes.notes()):
            self.notes.add(remark)
        n_waiting = len(read) - len(known)
        if n_waiting:
            self.notes.add(f"{n_waiting:,} values are not known yet by their release lag; load them again then")
            self.n_read -= n_waiting
        return {
            "rows_written": changes.n_written,
            "rows_unchanged": len(distinct) - changes.n_written,
            "duplicates": len(known) - len(distinct),
            "first_date": min((item.day for item in distinct), default=None),
            "last_date": max((item.day for item in distinct), default=None),
        }


def _key(item: Observation) -> tuple[str, date, date]:
    return item.series, item.day, item.released or date.min


def _describe(file: TableFile, options: SeriesOptions) -> Iterator[str]:
    """Yield how a file was understood, and its first values."""
    yield describe_columns(file)
    yield describe_cells(file, options, None)
    first = next(iter(file.batches()), None)
    names = (SERIES, DATE, RELEASED, VALUE)
    shown = [] if first is None else cells_as_text(first.columns, names, np.arange(min(N_ROWS, len(first.rows))))
    for row in shown:
        yield f"to be stored: {' '.join(filter(None, row))}"


def _describe_two(first: Observation, second: Observation) -> str:
    return (
        f"{first.series} has two values for {first.day}, {first.value:f} and {second.value:f}; take one out, or say in "
        "a column release_date when each became known; where the file holds several series, name the column that tells "
        "them apart with --column series_id=NAME"
    )


def _store_facts(connection: psycopg.Connection[Any], told: Sequence[Fact], options: SeriesOptions) -> tuple[int, int]:
    """Store the facts whose value is not told otherwise already; return how many they are, and how many are new."""
    stored = load_facts(connection, sorted({value for fact in told for value in fact.values[:1]}))
    facts = [fact for fact in told if fact.description in stored.get(fact.key, {fact.description})]
    staging = TextStaging(connection, MACRO)
    staging.append(0, (_record(*numbered, options) for numbered in enumerate(facts, 1)))
    n_facts = staging.summarize().n_distinct
    return n_facts, staging.upsert()[0] if n_facts else 0


def _record(number: int, fact: Fact, options: SeriesOptions) -> tuple[Any, ...]:
    metadata = json.dumps({TOLD_VALUES: fact.values}, ensure_ascii=False)
    return number, fact.event_type, fact.instant, None, options.country, options.source, fact.description, metadata


def _choose_lag(
    read: Sequence[Observation], stored: Mapping[Key, Versions], options: SeriesOptions, files: str
) -> timedelta:
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
                f"{files}: {name} is not daily, so its values became known later than their dates; say how many days "
                "with --release-lag, such as 45, or add a column release_date (realtime_start of ALFRED)"
            )
    return timedelta(0)
