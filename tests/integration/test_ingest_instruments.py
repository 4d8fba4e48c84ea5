from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from prometheus.app.databases import DatabaseManager
from prometheus.errors import DataCheckError
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions, IngestReport

Load = Callable[..., IngestReport]


@pytest.fixture
def load(db_manager: DatabaseManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write text to ``instruments.csv`` and load it."""
    monkeypatch.chdir(tmp_path)

    def ingest(text: str, **options: object) -> IngestReport:
        Path("instruments.csv").write_text(text)
        chosen = IngestOptions(today=date(2024, 6, 28), **options)  # type: ignore[arg-type]
        return PriceIngest(db_manager).ingest_instruments(Path("instruments.csv"), chosen)

    return ingest


def stored(db_manager: DatabaseManager) -> dict[str, tuple[object, ...]]:
    query = "SELECT instrument_id, market_id, asset_class, symbol, name, currency, status FROM instruments ORDER BY 1"
    with db_manager.get_runtime_connection() as connection:
        return {row[0]: row[1:] for row in connection.execute(query).fetchall()}


def test_reference_rows_and_their_markets_are_stored(load: Load, db_manager: DatabaseManager) -> None:
    report = load(
        "Ticker,Market,Asset Class,Symbol,Name,Currency,Status\n"
        'VOD.L,UK_EQ,EQUITY,VOD,"Vodafone, plc",GBp,ACTIVE\n'
        "7203.T,JP_EQ,EQUITY,7203,,,DELISTED\n"
    )
    assert (report.rows_read, report.rows_written, report.instruments_created, report.exit_code) == (2, 2, 2, 0)
    assert stored(db_manager) == {
        "7203.T": ("JP_EQ", "EQUITY", "7203", None, "JPY", "DELISTED"),
        "VOD.L": ("UK_EQ", "EQUITY", "VOD", "Vodafone, plc", "GBp", "ACTIVE"),
    }


def test_a_second_run_writes_nothing(load: Load, table_digests: Callable[[], object]) -> None:
    load("ticker,market\nA,US_EQ\nB,UK_EQ\n")
    before = table_digests()
    report = load("ticker,market\nA,US_EQ\nB,UK_EQ\n")
    assert (report.rows_written, report.rows_unchanged, report.instruments_created) == (0, 2, 0)
    assert table_digests() == before


def test_what_a_file_leaves_out_stays_as_it_is(load: Load, db_manager: DatabaseManager) -> None:
    load("ticker,market,name,currency\nA,UK_EQ,Alpha,GBp\n")
    report = load("ticker,status,name\nA,DELISTED,\nB,,Beta\n")
    assert (report.rows_written, report.instruments_created) == (2, 1)
    assert stored(db_manager) == {
        "A": ("UK_EQ", "EQUITY", "A", "Alpha", "GBp", "DELISTED"),
        "B": ("US_EQ", "EQUITY", "B", "Beta", "USD", "ACTIVE"),
    }


def test_duplicates_count_once_and_contradictions_are_set_aside(load: Load, db_manager: DatabaseManager) -> None:
    text = "ticker,name\nA,x\nA,x\nB,x\nB,y\n"
    with pytest.raises(DataCheckError, match=r"2 of 4 rows refused \(2 conflicting duplicate\); first: line 4, column"):
        load(text)
    report = load(text, on_error="quarantine")
    assert (report.duplicates, report.rejected, report.rows_written, report.exit_code) == (1, 2, 1, 3)
    assert list(stored(db_manager)) == ["A"]
    assert Path("instruments.csv.rejected.csv").read_text() == (
        "file,row,column,reason,instrument_id,market_id,asset_class,symbol,name,currency,status,line\n"
        "instruments.csv,4,instrument_id,conflicting duplicate,B,,,,x,,,\n"
        "instruments.csv,5,instrument_id,conflicting duplicate,B,,,,y,,,\n"
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("A,MOON,USD", "column market_id: 'MOON' is refused as unknown market"),
        ("A,US_EQ,US", "column currency: 'US' is refused as currency not three letters"),
        (",US_EQ,USD", "column instrument_id: '' is refused as empty text"),
        ("A ,US_EQ,USD", "column instrument_id: 'A ' is refused as text with outer spaces"),
    ],
)
def test_bad_reference_rows_are_named(load: Load, table_digests: Callable[[], object], line: str, says: str) -> None:
    before = table_digests()
    with pytest.raises(DataCheckError, match=says):
        load(f"ticker,market,currency\nGOOD,US_EQ,USD\n{line}\n")
    assert table_digests() == before


def test_a_dry_run_writes_nothing(load: Load, table_digests: Callable[[], object]) -> None:
    before = table_digests()
    assert load("ticker\nA\n", dry_run=True).rows_written == 1
    assert table_digests() == before
