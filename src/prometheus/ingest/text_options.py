"""What an ingest of texts is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from prometheus.core.zones import load_zone
from prometheus.errors import UsageError
from prometheus.ingest.report import require_date_format, require_names, require_on_error


@dataclass(frozen=True, slots=True, kw_only=True)
class TextIngestOptions:
    """How files of texts are read and what happens to bad rows.

    Parameters
    ----------
    now
        The present instant, with a zone. Texts known after it are refused, and so are those dated after it unless
        they say that they are known already (an event announced ahead).
    on_error
        ``abort``: one bad row and nothing is written. ``quarantine``: bad rows go to `quarantine_path`, the others in.
    quarantine_path
        Default: the name of the first file + ``.rejected.csv``, in the current directory.
    assume_timezone
        IANA name of the zone whose clock shows the timestamps that say none. Without it they are refused.
    date_format
        As of `datetime.strptime`, for timestamps (known_at included) written otherwise than ISO 8601 has it.
    event_type, country
        Of macro events whose file, or whose cell, names none.
    language
        Of news whose file, or whose cell, names none.
    source
        Of texts whose file, or whose cell, names none.
    columns
        Which column holds a field, for fields that are not found by name.
    metadata_columns
        Further columns to keep beside the text; every other one is ignored.
    dry_run
        Read, check and count, but write nothing.
    """

    now: datetime
    on_error: Literal["abort", "quarantine"] = "abort"
    quarantine_path: Path | None = None
    assume_timezone: str | None = None
    date_format: str | None = None
    event_type: str | None = None
    country: str | None = None
    language: str | None = None
    source: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    metadata_columns: tuple[str, ...] = ()
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise UsageError(f"now {self.now}: the present instant needs a zone")
        require_on_error(self.on_error)
        require_names({
            "--event-type": self.event_type, "--country": self.country, "--language": self.language,
            "--source": self.source,
        })  # fmt: skip
        if self.assume_timezone is not None:
            load_zone("--assume-timezone", self.assume_timezone)
        require_date_format(self.date_format)
        if self.date_format is not None and "%Z" in self.date_format.replace("%%", ""):
            raise UsageError(f"--date-format {self.date_format[:60]!r}: %Z names no offset; use %z")
        repeated = [name for name in self.metadata_columns if self.metadata_columns.count(name) > 1]
        if repeated:
            raise UsageError(f"--metadata-column {repeated[0]!r} stands twice")


@dataclass(frozen=True, slots=True)
class TextIngestReport:
    """What became of the rows of one call: read = written + unchanged + duplicates + rejected.

    `rows_written` counts texts that are new, or whose `known_at` or metadata changed; `rows_unchanged` those stored
    before; `duplicates` rows that repeat another one of the same call; `rejected_by_reason` (reason, rows), most
    frequent first. `first_date` and `last_date` are calendar dates in UTC.
    """

    files: tuple[str, ...]
    rows_read: int
    rows_written: int
    rows_unchanged: int
    duplicates: int
    rejected: int
    rejected_by_reason: tuple[tuple[str, int], ...]
    first_date: date | None
    last_date: date | None
    quarantine_path: Path | None
    notes: tuple[str, ...]
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """3 when rows were set aside, else 0."""
        return 3 if self.rejected else 0
