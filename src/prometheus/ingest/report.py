"""What an ingest is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from prometheus.encoders.texts.documents import load_zone
from prometheus.errors import UsageError
from prometheus.files.tables import Reason, TableFile
from prometheus.ingest.checks import currency_fault, text_fault
from prometheus.market.calendar import US_EQ

OPTIONAL_PRICES = ("open", "high", "low")
_ALL_IN_DATE = datetime(2001, 12, 28, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What every ingest is asked for.

    Parameters
    ----------
    on_error
        ``abort``: one bad row and nothing is written. ``quarantine``: bad rows go to `quarantine_path`, the others in.
    quarantine_path
        Default: the name of the first file + ``.rejected.csv``, in the current directory.
    date_format
        As of `datetime.strptime`, for dates (timestamps of texts included) in another form than YYYY-MM-DD, YYYY/MM/DD
        or YYYYMMDD.
    dry_run
        Read, check and count, but write nothing.
    """

    on_error: Literal["abort", "quarantine"] = "abort"
    quarantine_path: Path | None = None
    date_format: str | None = None
    dry_run: bool = False

    def require_sound(self, names: Mapping[str, str | None]) -> None:
        """Raise `UsageError` for an unknown `on_error`, a format of no whole date, or an option that is no name."""
        for option, text in names.items():
            if text is not None and text_fault(text) is not Reason.NONE:
                raise UsageError(f"{option} {text[:60]!r}: {text_fault(text).label}")
        if self.on_error not in {"abort", "quarantine"}:
            raise UsageError(f"--on-error {self.on_error!r}: choose abort or quarantine")
        if self.date_format is not None and not names_whole_date(self.date_format):
            raise UsageError(f"--date-format {self.date_format[:60]!r}: name year, month and day, such as %d/%m/%Y")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions(RunOptions):
    """How files of prices and instruments are read.

    Parameters
    ----------
    today
        Rows dated after it are refused.
    instrument_id
        Of files without an instrument column.
    market_id, asset_class
        Of instruments that have no reference row yet.
    currency
        Of files without a currency column; default that of the instrument's reference row, then that of the market.
    zero_as_missing
        Of open, high and low: columns in which a zero means "not recorded". They may also be empty or absent, and are
        stored as NULL.
    """

    today: date
    instrument_id: str | None = None
    market_id: str = US_EQ
    currency: str | None = None
    asset_class: str = "EQUITY"
    zero_as_missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.require_sound({"--instrument-id": self.instrument_id, "--asset-class": self.asset_class})
        if self.currency is not None and currency_fault(self.currency) is not Reason.NONE:
            raise UsageError(f"--currency {self.currency[:60]!r}: {currency_fault(self.currency).label}")
        unknown = [name for name in self.zero_as_missing if name not in OPTIONAL_PRICES]
        if unknown:
            raise UsageError(f"--zero-as-missing {unknown[0]!r}: choose from {', '.join(OPTIONAL_PRICES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextIngestOptions(RunOptions):
    """How files of texts are read.

    Parameters
    ----------
    now
        The present instant, with a zone. Texts known after it are refused, and so are those dated after it unless
        they say that they are known already (an event announced ahead).
    assume_timezone
        IANA name of the zone whose clock shows the timestamps that say none. Without it they are refused.
    event_type, country, language, source
        Of texts whose file, or whose cell, names none; the first two of macro events, `language` of news.
    columns
        Which column holds a field, for fields that are not found by name.
    metadata_columns
        Further columns to keep beside the text; every other one is ignored.
    """

    now: datetime
    assume_timezone: str | None = None
    event_type: str | None = None
    country: str | None = None
    language: str | None = None
    source: str | None = None
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
        """What a name is where a row says none."""
        return {name: getattr(self, name) for name in ("event_type", "country", "language", "source")}


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
class RowCounts:
    """What became of the rows of one call: read = written + unchanged + duplicates + rejected.

    `rows_written` counts rows that are new or differ from what was stored; `duplicates` rows that repeat another one of
    the same call; `rejected_by_reason` (reason, rows), most frequent first.
    """

    files: tuple[str, ...]
    rows_read: int
    rows_written: int
    rows_unchanged: int
    duplicates: int
    rejected: int
    rejected_by_reason: tuple[tuple[str, int], ...]

    @property
    def exit_code(self) -> int:
        """3 when rows were set aside, else 0."""
        return 3 if self.rejected else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport(RowCounts):
    """The answer to an ingest of prices or instruments."""

    instruments: int
    instruments_created: int
    first_date: date | None
    last_date: date | None
    quarantine_path: Path | None
    notes: tuple[str, ...]
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TextIngestReport(RowCounts):
    """The answer to an ingest of texts, whose `rows_written` are new or got another `known_at` or metadata.

    `first_date` and `last_date` are calendar dates in UTC.
    """

    first_date: date | None
    last_date: date | None
    quarantine_path: Path | None
    notes: tuple[str, ...]
    dry_run: bool = False


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
        return tuple(f"{_name_files(files)}{remark}" for remark, files in self._files.items())


def _name_files(files: Sequence[str]) -> str:
    if not files:
        return ""
    return f"{files[0]}: " if len(files) == 1 else f"{files[0]} and {len(files) - 1} more: "
