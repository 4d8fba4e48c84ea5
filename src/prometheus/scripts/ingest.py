"""Load files of prices, instruments, macro events or news."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.errors import UsageError
from prometheus.scripts.terminal import Debug, Json, command_app, new_group, print_line, run

if TYPE_CHECKING:
    from prometheus.ingest.report import IngestReport, TextIngestReport

app = new_group("Load files; running a load twice changes nothing.")


class OnError(StrEnum):
    """What to do with rows that fail their checks."""

    abort = "abort"
    quarantine = "quarantine"


Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV (also .csv.gz) or Parquet files.")]
Market = Annotated[str, typer.Option(help="Market of instruments that are not known yet.")]
Currency = Annotated[str | None, typer.Option(help="Currency where the file names none.")]
AssetClass = Annotated[str, typer.Option(help="Asset class of instruments that are not known yet.")]
OnErrorOption = Annotated[OnError, typer.Option(help="abort: write nothing; quarantine: set bad rows aside.")]
QuarantinePath = Annotated[Path | None, typer.Option(metavar="FILE", help="Where bad rows go, with their reasons.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read, check and count; write nothing.")]
TextFiles = Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV, Parquet or JSON lines files.")]
Source = Annotated[str | None, typer.Option(help="Source where the file names none.")]
AssumeTimezone = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Zone of timestamps that say none, such as America/New_York.")
]
DateFormat = Annotated[str | None, typer.Option(help="Of dates that are not ISO, such as %d/%m/%Y.")]
Columns = Annotated[
    list[str] | None, typer.Option(metavar="FIELD=COLUMN", help="Which column holds a field; may be repeated.")
]
MetadataColumns = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN", help="A further column to keep; may be repeated.")
]


@app.command()
def prices(
    files: Files,
    market_id: Market = "US_EQ",
    instrument_id: Annotated[str | None, typer.Option(help="Instrument, for files without such a column.")] = None,
    currency: Currency = None,
    asset_class: AssetClass = "EQUITY",
    zero_as_missing: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="open, high or low: a zero means not recorded.")
    ] = None,
    date_format: DateFormat = None,
    on_error: OnErrorOption = OnError.abort,
    quarantine_path: QuarantinePath = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Load daily bars: instrument, date, open, high, low, close, adjusted close, volume, currency."""
    from prometheus.ingest.report import IngestOptions

    options = IngestOptions(
        today=latest_date_on_earth(),
        on_error=on_error.value,
        quarantine_path=quarantine_path,
        instrument_id=instrument_id,
        market_id=market_id,
        currency=currency,
        asset_class=asset_class,
        zero_as_missing=tuple(zero_as_missing or ()),
        date_format=date_format,
        dry_run=dry_run,
    )
    with command_app("rows") as application:
        report = application.prices.ingest_prices(files, options)
    return _show(report, as_json=as_json)


@app.command()
def instruments(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV (also .csv.gz) or Parquet file.")],
    market_id: Market = "US_EQ",
    currency: Currency = None,
    asset_class: AssetClass = "EQUITY",
    on_error: OnErrorOption = OnError.abort,
    quarantine_path: QuarantinePath = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Load reference rows: instrument, market, asset class, symbol, currency, status, name."""
    from prometheus.ingest.report import IngestOptions

    options = IngestOptions(
        today=latest_date_on_earth(),
        on_error=on_error.value,
        quarantine_path=quarantine_path,
        market_id=market_id,
        currency=currency,
        asset_class=asset_class,
        dry_run=dry_run,
    )
    with command_app("rows") as application:
        report = application.prices.ingest_instruments(file, options)
    return _show(report, as_json=as_json)


@app.command()
def macro(
    files: TextFiles,
    country: Annotated[str | None, typer.Option(help="Country where the file names none.")] = None,
    event_type: Annotated[str | None, typer.Option(help="Event type where the file names none.")] = None,
    source: Source = None,
    assume_timezone: AssumeTimezone = None,
    date_format: DateFormat = None,
    column: Columns = None,
    metadata_column: MetadataColumns = None,
    on_error: OnErrorOption = OnError.abort,
    quarantine_path: QuarantinePath = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Load macro events: type, timestamp, when it became known, country, text, source."""
    from prometheus.ingest.report import TextIngestOptions

    options = TextIngestOptions(
        now=datetime.now(UTC), on_error=on_error.value, quarantine_path=quarantine_path, dry_run=dry_run,
        country=country, event_type=event_type, source=source, assume_timezone=assume_timezone,
        date_format=date_format, columns=_parse_columns(column), metadata_columns=tuple(metadata_column or ()),
    )  # fmt: skip
    with command_app("rows") as application:
        report = application.texts.ingest_macro(files, options)
    return _show(report, as_json=as_json)


@app.command()
def news(
    files: TextFiles,
    language: Annotated[str | None, typer.Option(help="Language where the file names none.")] = None,
    source: Source = None,
    assume_timezone: AssumeTimezone = None,
    date_format: DateFormat = None,
    column: Columns = None,
    metadata_column: MetadataColumns = None,
    on_error: OnErrorOption = OnError.abort,
    quarantine_path: QuarantinePath = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Load news: when published, when it became known, language, headline, body, source."""
    from prometheus.ingest.report import TextIngestOptions

    options = TextIngestOptions(
        now=datetime.now(UTC), on_error=on_error.value, quarantine_path=quarantine_path, dry_run=dry_run,
        language=language, source=source, assume_timezone=assume_timezone,
        date_format=date_format, columns=_parse_columns(column), metadata_columns=tuple(metadata_column or ()),
    )  # fmt: skip
    with command_app("rows") as application:
        report = application.texts.ingest_news(files, options)
    return _show(report, as_json=as_json)


def latest_date_on_earth() -> date:
    """Return the date where the day begins first (UTC+14): a row dated after it is of the future everywhere."""
    return (datetime.now(UTC) + timedelta(hours=14)).date()


def _parse_columns(texts: list[str] | None) -> dict[str, str]:
    columns = dict(text.partition("=")[::2] for text in texts or [])
    wrong = [text for text in texts or [] if not all(text.partition("="))]
    if wrong:
        raise UsageError(f"--column {wrong[0]!r} is not FIELD=COLUMN, such as timestamp=release_date")
    return columns


def _show(report: IngestReport | TextIngestReport, *, as_json: bool) -> int:
    facts = {**asdict(report), "rejected_by_reason": dict(report.rejected_by_reason)}
    print_line(json.dumps(facts, default=str) if as_json else _summary(report))
    for note in report.notes:
        sys.stderr.write(f"note: {note}\n")
    return report.exit_code


def _summary(report: IngestReport | TextIngestReport) -> str:
    verb = "to write" if report.dry_run else "written"
    parts = [
        f"{report.rows_read:,} rows read",
        f"{report.rows_written:,} {verb}",
        f"{report.rows_unchanged:,} unchanged",
        f"{report.duplicates:,} duplicates",
        f"{report.rejected:,} rejected",
    ]
    if report.first_date is not None:
        instruments = getattr(report, "instruments", None)
        named = "" if instruments is None else f"{instruments:,} instruments "
        parts.append(f"{named}from {report.first_date} to {report.last_date}")
    if report.rejected:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in report.rejected_by_reason)
        parts.append(f"set aside in {report.quarantine_path}: {reasons}")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus ingest"))
