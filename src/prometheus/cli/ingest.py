"""Load files of prices, instruments, macro events or news."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from prometheus.cli.parameters import option
from prometheus.cli.runner import Answer, command_app, new_group, subcommand
from prometheus.errors import UsageError

if TYPE_CHECKING:
    from prometheus.files.sources import Sources
    from prometheus.ingest.report import IngestOptions, IngestReport, TextIngestOptions

ingest = new_group("Load files; running a load twice changes nothing.")

Market = Annotated[str, option("Market of instruments that are not known yet.")]
Currency = Annotated[str | None, option("Currency where the file names none.")]
AssetClass = Annotated[str, option("Asset class of instruments that are not known yet.")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, folders, archives, patterns, or - .")]
ColumnByHand = Annotated[
    list[str] | None, option("Which column holds a field; may be repeated.", metavar="FIELD=COLUMN")
]
Encoding = Annotated[str | None, option("Of texts that are not UTF-8, such as cp1252.", metavar="NAME")]
DecimalMark = Annotated[
    Literal["point", "comma"] | None, option("What stands before decimals, where the file leaves it open.")
]
DateFormat = Annotated[str | None, option("Of dates that are not ISO, such as %d/%m/%Y.")]


@dataclass(frozen=True, slots=True)
class Checks:
    """The treatment of rows that fail their checks."""

    on_error: Annotated[
        Literal["abort", "quarantine"], option("abort: write nothing; quarantine: set bad rows aside.")
    ] = "abort"
    quarantine_path: Annotated[Path | None, option("Where bad rows go, with their reasons.", metavar="FILE")] = None
    dry_run: Annotated[bool, option("Read, check and count; write nothing.", "--dry-run")] = False
    encoding: Encoding = None


@dataclass(frozen=True, slots=True)
class TextColumns:
    """The columns of a file of texts, and their format."""

    source: Annotated[str | None, option("Source where the file names none.")] = None
    instrument_id: Annotated[
        str | None, option("Stored instrument that the texts concern, where the file names none.")
    ] = None
    assume_timezone: Annotated[
        str | None, option("Zone of timestamps that say none, such as America/New_York.", metavar="ZONE")
    ] = None
    date_format: DateFormat = None
    column: ColumnByHand = None
    metadata_column: Annotated[
        list[str] | None, option("A further column to keep; may be repeated.", metavar="COLUMN")
    ] = None


@dataclass(frozen=True, slots=True)
class PriceForm:
    """How files of prices are read, and what they do not say."""

    market_id: Market = "US_EQ"
    instrument_id: Annotated[str | None, option("Instrument, for files without such a column.")] = None
    currency: Currency = None
    asset_class: AssetClass = "EQUITY"
    zero_as_missing: Annotated[
        list[str] | None, option("open, high or low: a zero means not recorded.", metavar="COLUMN")
    ] = None
    date_format: DateFormat = None
    calendar: Annotated[
        str | None, option("On whose sessions bars are, such as 24/7; default: the market's.", metavar="CALENDAR")
    ] = None
    replace: Annotated[bool, option("Delete stored bars that the file's history lacks.")] = False
    convert_minor_units: Annotated[
        bool, option("Store prices in GBp, GBX, ZAc, ZAX or ILA in GBP, ZAR or ILS.", "--convert-minor-units")
    ] = False
    column: ColumnByHand = None
    decimal_mark: DecimalMark = None
    header_line: Annotated[
        int | None, option("Line of the columns' names where it is not found; 0 for none.", metavar="NUMBER", min=0)
    ] = None

    def options(self, checks: Checks) -> IngestOptions:
        """Return the options of an ingest."""
        given = asdict(self)
        columns, zeros = given.pop("column"), given.pop("zero_as_missing")
        return _price_options(
            checks, columns=_parse_columns(columns, "close=Last"), zero_as_missing=tuple(zeros or ()), **given
        )


CHECKS, TEXT_COLUMNS, PRICE_FORM = Checks(), TextColumns(), PriceForm()


@subcommand(ingest, "prices.csv", "folder/*.csv.gz --date-format %d/%m/%Y --currency EUR --dry-run")
def prices(files: Files, form: PriceForm = PRICE_FORM, checks: Checks = CHECKS) -> Answer:
    """Load daily bars: a date and a close; if they are there, open, high, low, adjusted close, volume, currency."""
    options = form.options(checks)
    sources = find_files(files)
    with command_app("rows") as application:
        return _answer(application.prices.ingest_prices(sources.paths, options), sources.remarks)


@subcommand(ingest, "instruments.csv --market-id US_EQ")
def instruments(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file, packed or not, or - .")],
    market_id: Market = "US_EQ",
    currency: Currency = None,
    asset_class: AssetClass = "EQUITY",
    checks: Checks = CHECKS,
) -> Answer:
    """Load reference rows: instrument, market, asset class, symbol, currency, status, name."""
    options = _price_options(checks, market_id=market_id, currency=currency, asset_class=asset_class)
    sources = find_files([file])
    if len(sources.paths) > 1:
        raise UsageError(f"{file} holds {len(sources.paths)} tables; name one, such as {sources.paths[0]}")
    with command_app("rows") as application:
        return _answer(application.prices.ingest_instruments(sources.paths[0], options), sources.remarks)


@subcommand(ingest, "events.jsonl --assume-timezone America/New_York")
def macro(
    files: Files,
    country: Annotated[str | None, option("Country where the file names none.")] = None,
    event_type: Annotated[str | None, option("Event type where the file names none.")] = None,
    columns: TextColumns = TEXT_COLUMNS,
    checks: Checks = CHECKS,
) -> Answer:
    """Load macro events: type, timestamp, when it became known, country, text, source."""
    options = _text_options(columns, checks, country=country, event_type=event_type)
    sources = find_files(files)
    with command_app("rows") as application:
        return _answer(application.texts.ingest_macro(sources.paths, options), sources.remarks)


@subcommand(ingest, "articles.jsonl --language en")
def news(
    files: Files,
    language: Annotated[str | None, option("Language where the file names none.")] = None,
    columns: TextColumns = TEXT_COLUMNS,
    checks: Checks = CHECKS,
) -> Answer:
    """Load news: when published, when it became known, language, headline, body, source."""
    options = _text_options(columns, checks, language=language)
    sources = find_files(files)
    with command_app("rows") as application:
        return _answer(application.texts.ingest_news(sources.paths, options), sources.remarks)


@subcommand(ingest, "DGS10.csv", "CPIAUCSL.csv --release-lag 45 --country US")
def series(
    files: Files,
    release_lag: Annotated[
        int | None, option("Days from a value's date to its release; needed unless it is daily.", metavar="DAYS")
    ] = None,
    series: Annotated[str | None, option("Name of the series, for files that do not say it.", metavar="NAME")] = None,
    country: Annotated[str | None, option("Country that the series tell of.")] = None,
    source: Annotated[str | None, option("Source of the series.")] = None,
    date_format: DateFormat = None,
    replace: Annotated[
        bool, option("The stored values were wrong: put the file's in place, and take their facts out.")
    ] = False,
    column: ColumnByHand = None,
    decimal_mark: DecimalMark = None,
    checks: Checks = CHECKS,
) -> Answer:
    """Load levels such as yields, rates or the VIX, and tell them as macro events: date, series, value, release."""
    from prometheus.ingest.series import SeriesOptions

    options = SeriesOptions(
        now=datetime.now(UTC), release_lag=release_lag, series=series, country=country, source=source,
        date_format=date_format, replace=replace, columns=_parse_columns(column, "series_id=KEY"),
        decimal_mark=decimal_mark, **asdict(checks),
    )  # fmt: skip
    sources = find_files(files)
    with command_app("rows") as application:
        return _answer(application.texts.ingest_series(sources.paths, options), sources.remarks)


def latest_date_on_earth() -> date:
    """Return the date in UTC+14, the latest zone: a row dated after it is of the future everywhere."""
    return (datetime.now(UTC) + timedelta(hours=14)).date()


def _price_options(checks: Checks, **given: Any) -> IngestOptions:
    from prometheus.ingest.report import IngestOptions

    return IngestOptions(today=latest_date_on_earth(), **given, **asdict(checks))


def _text_options(columns: TextColumns, checks: Checks, **given: Any) -> TextIngestOptions:
    from prometheus.ingest.report import TextIngestOptions

    named: dict[str, Any] = asdict(columns)
    by_hand, kept = (
        _parse_columns(named.pop("column"), "timestamp=release_date"),
        tuple(named.pop("metadata_column") or ()),
    )
    return TextIngestOptions(
        now=datetime.now(UTC), columns=by_hand, metadata_columns=kept, **named, **given, **asdict(checks)
    )


def _parse_columns(texts: list[str] | None, example: str) -> dict[str, str]:
    return parse_pairs(texts, "--column", "FIELD=COLUMN", example)


def parse_pairs(texts: list[str] | None, option_name: str, form: str, example: str) -> dict[str, str]:
    """Return what an option that may be repeated says by name; UsageError, with the example, for another form."""
    pairs = dict(text.partition("=")[::2] for text in texts or [])
    wrong = [text for text in texts or [] if not all(text.partition("="))]
    if wrong:
        raise UsageError(f"{option_name} {wrong[0]!r} is not {form}, such as {example}")
    return pairs


def find_files(files: list[Path]) -> Sources:
    """Return the tables that files, folders, archives and patterns stand for."""
    from prometheus.files.sources import find_sources

    return find_sources(files)


def _answer(report: IngestReport, remarks: tuple[str, ...] = ()) -> Answer:
    return Answer(report.to_dict, lambda: summary(report), report.exit_code, notes_of(report, remarks))


def notes_of(report: IngestReport, remarks: tuple[str, ...]) -> list[str]:
    """Return the lines for standard error: on the sources, then on what was read."""
    return [f"note: {note}" for note in (*remarks, *report.notes)]


def summary(report: IngestReport) -> str:
    """Return the result of an ingest in words."""
    verb = "to write" if report.dry_run else "written"
    parts = [
        f"{report.rows_read:,} rows read", f"{report.rows_written:,} {verb}", f"{report.rows_unchanged:,} unchanged",
        f"{report.duplicates:,} duplicates", f"{report.rejected:,} rejected",
    ]  # fmt: skip
    if report.links:
        parts.insert(4, f"{report.links:,} links to instruments")
    if report.first_date is not None:
        named = "" if report.instruments is None else f"{report.instruments:,} instruments "
        parts.append(f"{named}from {report.first_date} to {report.last_date}")
    if report.rejected:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in report.rejected_by_reason)
        parts.append(f"set aside in {report.quarantine_path}: {reasons}")
    return "; ".join(parts)
