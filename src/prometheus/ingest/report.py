"""One ingest: its options, its run inside one transaction, and its report."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import psycopg

from prometheus.encoders.texts.codes import load_zone
from prometheus.encoders.texts.documents import INSTRUMENT
from prometheus.errors import UsageError
from prometheus.files.columns import MAX_CELL_LENGTH, PRICE_FILE_FIELDS
from prometheus.files.encodings import require_encoding
from prometheus.files.rejects import QuarantineFile, RejectLog, choose_quarantine_path
from prometheus.files.tables import RawBatch, Reason, TableFile
from prometheus.ingest.checks import currency_fault, text_fault
from prometheus.market.calendar import US_EQ

Progress: TypeAlias = Callable[[int, int | None], None]
"""Receives the number of rows read so far, and how many there are if the files say so."""
Connect: TypeAlias = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]

DEFAULT_CLASS = "EQUITY"
OPTIONAL_PRICES = ("open", "high", "low")
_ALL_IN_DATE = datetime(2001, 12, 28, tzinfo=UTC)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of every ingest.

    On error ``abort``: one bad row and nothing is written; or ``quarantine``: bad rows go to `quarantine_path`, by
    default the name of the first file + ``.rejected.csv``, and the others in. `date_format` is a `strptime` one, for
    dates and timestamps in another form than YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD. `encoding` is that of files of text
    which no mark says and which are not UTF-8.
    """

    on_error: Literal["abort", "quarantine"] = "abort"
    quarantine_path: Path | None = None
    date_format: str | None = None
    dry_run: bool = False
    encoding: str | None = None

    def require_sound(self, names: Mapping[str, str | None]) -> None:
        """Raise `UsageError` for an unknown `on_error`, a format of no whole date, or an option that is no name."""
        for option, text in names.items():
            if text is not None and text_fault(text) is not Reason.NONE:
                raise UsageError(f"{option} {text[:60]!r}: {text_fault(text).label}")
        require_encoding(self.encoding)
        if self.on_error not in {"abort", "quarantine"}:
            raise UsageError(f"--on-error {self.on_error!r}: choose abort or quarantine")
        if self.date_format is not None and not names_whole_date(self.date_format):
            raise UsageError(f"--date-format {self.date_format[:60]!r}: name year, month and day, such as %d/%m/%Y")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions(RunOptions):
    """Options of files of prices and instruments; rows dated after `today` are refused.

    Market and asset class are those of instruments without a reference row, `currency` that of files without such a
    column (default: of the reference row, then of the market). `zero_as_missing` names columns among open, high and low
    in which a zero means "not recorded"; they may also be empty or absent, and are stored as NULL. Bars must be on
    sessions of `calendar`, by default the market's; `replace` deletes stored bars that a whole history lacks;
    `convert_minor_units` stores prices in pence, cents or agorot in pounds, rand or shekels. `columns` says which
    column holds a field that is not found by name, `decimal_mark` what stands before decimals where the file leaves it
    open, `header_line` on which line the names of the columns stand, 0 for none.
    """

    today: date
    instrument_id: str | None = None
    market_id: str = US_EQ
    currency: str | None = None
    asset_class: str = DEFAULT_CLASS
    zero_as_missing: tuple[str, ...] = ()
    calendar: str | None = None
    replace: bool = False
    convert_minor_units: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    decimal_mark: Literal["point", "comma"] | None = None
    header_line: int | None = None

    def __post_init__(self) -> None:
        self.require_sound({"--instrument-id": self.instrument_id, "--asset-class": self.asset_class})
        if self.currency is not None and currency_fault(self.currency) is not Reason.NONE:
            raise UsageError(f"--currency {self.currency[:60]!r}: {currency_fault(self.currency).label}")
        fields = [known.name for known in PRICE_FILE_FIELDS]
        strange = [name for name in self.columns if name not in fields]
        if strange:
            raise UsageError(f"--column {strange[0]}: no such field; known: {', '.join(fields)}")
        unknown = [name for name in self.zero_as_missing if name not in OPTIONAL_PRICES]
        if unknown:
            raise UsageError(f"--zero-as-missing {unknown[0]!r}: choose from {', '.join(OPTIONAL_PRICES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextIngestOptions(RunOptions):
    """Options of files of texts.

    Texts known after `now` are refused, and so are those dated after it unless they say that they are known already (an
    event announced ahead), and timestamps without a zone unless `assume_timezone` names the zone of their clock. Event
    type, country, language, source and instrument are those of texts that name none. `columns` says which column holds
    a field that is not found by name; `metadata_columns` are kept beside the text, every other one is ignored.
    """

    now: datetime
    assume_timezone: str | None = None
    event_type: str | None = None
    country: str | None = None
    language: str | None = None
    source: str | None = None
    instrument_id: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    metadata_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise UsageError(f"now {self.now}: the present instant needs a zone")
        self.require_sound({f"--{name.replace('_', '-')}": value for name, value in self.defaults.items()})
        if self.assume_timezone is not None:
            load_zone("--assume-timezone", self.assume_timezone)
        if self.date_format is not None and "%Z" in self.date_format.replace("%%", ""):
            raise UsageError(f"--date-format {self.date_format[:60]!r}: %Z names no offset; use %z")
        repeated = [name for name in self.metadata_columns if self.metadata_columns.count(name) > 1]
        if repeated:
            raise UsageError(f"--metadata-column {repeated[0]!r} stands twice")

    @property
    def defaults(self) -> Mapping[str, str | None]:
        """The value of a name where a row says none."""
        return {name: getattr(self, name) for name in ("event_type", "country", "language", "source", INSTRUMENT)}


def names_whole_date(date_format: str) -> bool:
    """Return whether a `strptime` format names year, month and day.

    Examples
    --------
    >>> names_whole_date("%d.%m.%Y"), names_whole_date("%d.%m.")
    (True, False)
    """
    try:
        read = datetime.strptime(_ALL_IN_DATE.strftime(date_format), date_format)  # noqa: DTZ007 -- only the date counts
    except ValueError:
        return False
    return read.date() == _ALL_IN_DATE.date()


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """The answer to an ingest: read = written + unchanged + duplicates + rejected.

    `rows_written` counts rows that are new or differ from what was stored, of texts in `known_at`, metadata or a name
    that was lacking or in their instruments; `duplicates` rows that repeat another one of the same call;
    `rejected_by_reason` (reason, rows), most frequent first. Dates of texts are those of UTC, their `instruments` are
    None, and `links` counts the new links of texts to instruments, None for what is no text.
    """

    files: tuple[str, ...]
    rows_read: int
    rows_written: int
    rows_unchanged: int
    duplicates: int
    rejected: int
    rejected_by_reason: tuple[tuple[str, int], ...]
    instruments: int | None = None
    instrument_ids: tuple[str, ...] = ()
    instruments_created: int | None = None
    links: int | None = None
    first_date: date | None = None
    last_date: date | None = None
    quarantine_path: Path | None
    notes: tuple[str, ...]
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """3 when rows were set aside, else 0."""
        return 3 if self.rejected else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields; those of instruments only where there are any."""
        facts = {**asdict(self), "rejected_by_reason": dict(self.rejected_by_reason)}
        del facts["instrument_ids"]
        if self.instruments is None:
            del facts["instruments"], facts["instruments_created"]
        if self.links is None:
            del facts["links"]
        return facts


class Notes:
    """Remarks for the user, each said once however many files it holds for."""

    def __init__(self) -> None:
        self._files: dict[str, list[str]] = {}

    def add(self, remark: str, file: str = "") -> None:
        """Remember a remark on a file, or on the run."""
        files = self._files.setdefault(remark, [])
        if file and file not in files:
            files.append(file)

    def add_ignored(self, file: TableFile) -> None:
        """Remember which columns of a file are not read."""
        names = file.columns.ignored
        if names:
            cut = [name[:40] for name in names[:30]]
            shown = ", ".join((name if name.isprintable() else repr(name)) or "(no name)" for name in cut)
            self.add(f"ignored columns {shown}{', …' if len(names) > 30 else ''}", str(file.path))

    def lines(self) -> tuple[str, ...]:
        """Return the remarks in order of appearance."""
        return tuple(
            f"{files[0]}{f' and {len(files) - 1} more' if files[1:] else ''}: {remark}" if files else remark
            for remark, files in self._files.items()
        )


class IngestRun(ABC):
    """Files on their way into one transaction: all are read, checked row by row and staged, then stored all or nothing.

    If nothing forbids it, the staged rows are upserted, the file of refused rows is put into place, and the transaction
    is committed. A subclass says what is done with one kind of rows, whose `fields` the file of refused rows holds.
    """

    max_cell_length: ClassVar[int | None] = MAX_CELL_LENGTH

    def __init__(self, files: Sequence[TableFile], fields: Sequence[str], options: RunOptions) -> None:
        self.files, self._fields, self._run = files, fields, options
        self.rejects = RejectLog(fields, None)
        self.notes = Notes()
        self.n_read = self.file_no = 0

    @abstractmethod
    def begin(self, connection: psycopg.Connection[Any]) -> None:
        """Prepare the transaction for rows."""

    @abstractmethod
    def read_file(self, file: TableFile) -> Iterator[RawBatch]:
        """Check and stage the rows of a file, number `file_no`, and yield each batch that is done."""

    @abstractmethod
    def store(self) -> dict[str, Any]:
        """Write what was staged; return what the report says of it. The caller commits."""

    @abstractmethod
    def compare(self) -> None:
        """Refuse rows that contradict each other, once all are read."""

    def ingest(self, connect: Connect, progress: Progress | None) -> IngestReport:
        """Take the files through one transaction."""
        options, quarantine = self._run, None
        with ExitStack() as stack:
            if options.on_error == "quarantine":
                target = choose_quarantine_path([file.path for file in self.files], options.quarantine_path)
                quarantine = stack.enter_context(QuarantineFile(target, self._fields))
            self.rejects = RejectLog(self._fields, quarantine, self.max_cell_length)
            connection = stack.enter_context(connect())
            self.begin(connection)
            self._read(progress or (lambda _done, _total: None))
            stored = self.store()
            published = None if quarantine is None or options.dry_run else quarantine.publish()
            if options.dry_run:
                connection.rollback()
        logger.debug("ingested %d rows of %d files, %d written", self.n_read, len(self.files), stored["rows_written"])
        return IngestReport(
            files=tuple(str(file.path) for file in self.files),
            rows_read=self.n_read,
            rejected=self.rejects.n_rejected,
            rejected_by_reason=self.rejects.counts(),
            quarantine_path=published,
            notes=self.notes.lines(),
            dry_run=options.dry_run,
            **stored,
        )

    def _read(self, progress: Progress) -> None:
        sizes = [file.n_rows for file in self.files]
        total = sum(size for size in sizes if size is not None) if None not in sizes else None
        for file_no, file in enumerate(self.files):
            self.file_no = file_no
            self.notes.add_ignored(file)
            n_before = self.n_read
            for batch in self.read_file(file):
                self.n_read += batch.n_rows
                for remark in batch.remarks:
                    self.notes.add(remark, str(file.path))
                progress(self.n_read, total)
            if self.n_read == n_before:
                self.notes.add("holds no rows", str(file.path))
        self.compare()
        if self.rejects.stops_the_run:
            raise self.rejects.refusal(self.n_read)


def require_files(paths: Sequence[Path]) -> None:
    """Raise `UsageError` where no file is named."""
    if not paths:
        raise UsageError("no file named")
