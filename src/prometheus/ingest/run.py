"""One run of files into a database, whatever their rows are: read, checked row by row, stored all or nothing.

Every file is read, checked and staged; then, if nothing forbids it, the staged rows are upserted, the file of refused
rows is put into place, and the transaction is committed.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from prometheus.errors import UsageError
from prometheus.files.rejects import QuarantineFile, RejectLog, choose_quarantine_path
from prometheus.files.tables import RawBatch, TableFile
from prometheus.ingest.report import Notes, RunOptions

Progress: TypeAlias = Callable[[int, int | None], None]
"""Receives the number of rows read so far, and how many there are if the files say so."""

Connect: TypeAlias = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the rows of a run became; `n_unchanged` were stored before, `n_duplicates` repeat another of the run."""

    n_written: int
    n_unchanged: int
    n_duplicates: int
    first_date: date | None = None
    last_date: date | None = None
    n_instruments: int = 0
    n_created: int = 0


class IngestRun(ABC):
    """What one kind of rows adds to a run, inside its transaction."""

    def __init__(self, files: Sequence[TableFile], rejects: RejectLog) -> None:
        self.files, self.rejects = files, rejects
        self.notes = Notes()
        self.n_read = self.file_no = 0

    @abstractmethod
    def read_file(self, file: TableFile) -> Iterator[RawBatch]:
        """Check and stage the rows of a file, number `file_no`, and yield each batch that is done."""

    @abstractmethod
    def store(self) -> Stored:
        """Write what was staged; the caller commits."""

    @abstractmethod
    def compare(self) -> None:
        """Refuse rows that contradict each other, once all are read."""

    def read(self, progress: Progress) -> None:
        """Check and stage every row; raise if one of them forbids to go on."""
        sizes = [file.n_rows for file in self.files]
        total = sum(size for size in sizes if size is not None) if None not in sizes else None
        for file_no, file in enumerate(self.files):
            self.file_no = file_no
            self.notes.add_ignored(file)
            n_before = self.n_read
            for batch in self.read_file(file):
                self.n_read += batch.n_rows
                progress(self.n_read, total)
            if self.n_read == n_before:
                self.notes.add("holds no rows", str(file.path))
        self.compare()
        if self.rejects.stops_the_run:
            raise self.rejects.refusal(self.n_read)

    def facts(self, stored: Stored, quarantine_path: Path | None) -> dict[str, Any]:
        """Return what every report says."""
        return {
            "files": tuple(str(file.path) for file in self.files),
            "rows_read": self.n_read,
            "rows_written": stored.n_written,
            "rows_unchanged": stored.n_unchanged,
            "duplicates": stored.n_duplicates,
            "rejected": self.rejects.n_rejected,
            "rejected_by_reason": self.rejects.counts(),
            "first_date": stored.first_date,
            "last_date": stored.last_date,
            "quarantine_path": quarantine_path,
            "notes": self.notes.lines(),
        }


def run_ingest(
    connect: Connect,
    files: Sequence[TableFile],
    fields: Sequence[str],
    options: RunOptions,
    begin: Callable[[psycopg.Connection[Any], QuarantineFile | None], IngestRun],
    progress: Progress | None,
) -> tuple[Stored, dict[str, Any]]:
    """Take files through one transaction; return the counts of their rows, and what every report says of it.

    `begin` makes the run, inside the transaction and with the file of refused rows, and their `fields`, where they are
    set aside.
    """
    with ExitStack() as stack:
        quarantine = None
        if options.on_error == "quarantine":
            target = choose_quarantine_path([file.path for file in files], options.quarantine_path)
            quarantine = stack.enter_context(QuarantineFile(target, fields))
        connection = stack.enter_context(connect())
        run = begin(connection, quarantine)
        run.read(progress or (lambda _done, _total: None))
        stored = run.store()
        published = None if quarantine is None or options.dry_run else quarantine.publish()
        if options.dry_run:
            connection.rollback()
    logger.debug("ingested %d rows of %d files, %d written", run.n_read, len(files), stored.n_written)
    return stored, {**run.facts(stored, published), "dry_run": options.dry_run}


def require_files(paths: Sequence[Path]) -> None:
    """Raise `UsageError` where no file is named."""
    if not paths:
        raise UsageError("no file named")
