"""What an ingest is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from prometheus.errors import UsageError
from prometheus.files.rejects import Reason
from prometheus.files.tables import TableFile
from prometheus.ingest.checks import currency_fault, text_fault
from prometheus.market.calendar import US_EQ

OPTIONAL_PRICES = ("open", "high", "low")
_ALL_IN_DATE = datetime(2001, 12, 28, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """How files are read and what happens to bad rows.

    Parameters
    ----------
    today
        Rows dated after it are refused.
    on_error
        ``abort``: one bad row and nothing is written. ``quarantine``: bad rows go to `quarantine_path`, the others in.
    quarantine_path
        Default: the name of the first file + ``.rejected.csv``, in the current directory.
    instrument_id
        Of files without an instrument column.
    market_id, asset_class
        Of instruments that have no reference row yet.
    currency
        Of files without a currency column; default that of the instrument's reference row, then that of the market.
    zero_as_missing
        Of open, high and low: columns in which a zero means "not recorded". They may also be empty or absent, and are
        stored as NULL.
    date_format
        As of `datetime.strptime`, for dates written otherwise than YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD.
    dry_run
        Read, check and count, but write nothing.
    """

    today: date
    on_error: Literal["abort", "quarantine"] = "abort"
    quarantine_path: Path | None = None
    instrument_id: str | None = None
    market_id: str = US_EQ
    currency: str | None = None
    asset_class: str = "EQUITY"
    zero_as_missing: tuple[str, ...] = ()
    date_format: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        require_names({"--instrument-id": self.instrument_id, "--asset-class": self.asset_class})
        if self.currency is not None and currency_fault(self.currency) is not Reason.NONE:
            raise UsageError(f"--currency {self.currency[:60]!r}: {currency_fault(self.currency).label}")
        require_on_error(self.on_error)
        unknown = [name for name in self.zero_as_missing if name not in OPTIONAL_PRICES]
        if unknown:
            raise UsageError(f"--zero-as-missing {unknown[0]!r}: choose from {', '.join(OPTIONAL_PRICES)}")
        require_date_format(self.date_format)


def require_names(names: Mapping[str, str | None]) -> None:
    """Raise `UsageError` for an option, by its name, that is no name of anything."""
    for option, text in names.items():
        if text is not None and text_fault(text) is not Reason.NONE:
            raise UsageError(f"{option} {text[:60]!r}: {text_fault(text).label}")


def require_on_error(on_error: str) -> None:
    """Raise `UsageError` if nobody knows what to do with a bad row."""
    if on_error not in {"abort", "quarantine"}:
        raise UsageError(f"--on-error {on_error!r}: choose abort or quarantine")


def require_date_format(date_format: str | None) -> None:
    """Raise `UsageError` for a format that names no whole date."""
    if date_format is not None and not names_whole_date(date_format):
        raise UsageError(f"--date-format {date_format[:60]!r}: name year, month and day, such as %d/%m/%Y")


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


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of the rows of one call: read = written + unchanged + duplicates + rejected.

    `rows_written` counts rows that are new or differ from what was stored; `duplicates` rows equal to another of the
    same key; `rejected_by_reason` (reason, rows), most frequent first.
    """

    files: tuple[str, ...]
    rows_read: int
    rows_written: int
    rows_unchanged: int
    duplicates: int
    rejected: int
    rejected_by_reason: tuple[tuple[str, int], ...]
    instruments: int
    instruments_created: int
    first_date: date | None
    last_date: date | None
    quarantine_path: Path | None
    notes: tuple[str, ...]
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """3 when rows were set aside, else 0."""
        return 3 if self.rejected else 0


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
        """Remember which columns of a file nobody reads."""
        names = file.columns.ignored
        if names:
            shown = ", ".join(_show_name(name[:40]) for name in names[:30])
            self.add(f"ignored columns {shown}{', …' if len(names) > 30 else ''}", str(file.path))

    def lines(self) -> tuple[str, ...]:
        """Return the remarks in order of appearance."""
        return tuple(f"{_name_files(files)}{remark}" for remark, files in self._files.items())


def _show_name(name: str) -> str:
    return (name if name.isprintable() else repr(name)) or "(no name)"


def _name_files(files: Sequence[str]) -> str:
    if not files:
        return ""
    return f"{files[0]}: " if len(files) == 1 else f"{files[0]} and {len(files) - 1} more: "
