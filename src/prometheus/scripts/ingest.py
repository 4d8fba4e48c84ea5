"""Load files of prices or instruments."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.scripts.terminal import Debug, Json, command_app, new_group, print_line, run

if TYPE_CHECKING:
    from prometheus.data.ingest_report import IngestReport

app = new_group("Load files of prices or instruments; running a load twice changes nothing.")


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
    date_format: Annotated[str | None, typer.Option(help="Of dates that are not ISO, such as %d/%m/%Y.")] = None,
    on_error: OnErrorOption = OnError.abort,
    quarantine_path: QuarantinePath = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Load daily bars: instrument, date, open, high, low, close, adjusted close, volume, currency."""
    from prometheus.data.ingest_report import IngestOptions

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
        report = application.ingest_prices(files, options)
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
    from prometheus.data.ingest_report import IngestOptions

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
        report = application.ingest_instruments(file, options)
    return _show(report, as_json=as_json)


def latest_date_on_earth() -> date:
    """Return the date where the day begins first (UTC+14): a row dated after it is of the future everywhere."""
    return (datetime.now(UTC) + timedelta(hours=14)).date()


def _show(report: IngestReport, *, as_json: bool) -> int:
    facts = {**asdict(report), "rejected_by_reason": dict(report.rejected_by_reason)}
    print_line(json.dumps(facts, default=str) if as_json else _summary(report))
    for note in report.notes:
        sys.stderr.write(f"note: {note}\n")
    return report.exit_code


def _summary(report: IngestReport) -> str:
    verb = "to write" if report.dry_run else "written"
    parts = [
        f"{report.rows_read:,} rows read",
        f"{report.rows_written:,} {verb}",
        f"{report.rows_unchanged:,} unchanged",
        f"{report.duplicates:,} duplicates",
        f"{report.rejected:,} rejected",
    ]
    if report.first_date is not None:
        parts.append(f"{report.instruments:,} instruments from {report.first_date} to {report.last_date}")
    if report.rejected:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in report.rejected_by_reason)
        parts.append(f"set aside in {report.quarantine_path}: {reasons}")
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus ingest"))
