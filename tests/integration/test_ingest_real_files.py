from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prometheus.app.databases import DatabaseManager
from prometheus.errors import DataCheckError
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions

TODAY = date(2026, 1, 1)


@pytest.mark.parametrize(
    ("name", "n_rows", "n_instruments"),
    [
        ("sample/prices_sample.parquet", 14_991, 2),
        ("prices/m6_etf_stock_raw_adj_2017_2020.parquet", 90_473, 99),
        pytest.param("prices/sp500_a_daily_2000_2020.parquet", 933_337, 206, marks=pytest.mark.deep),
    ],
)
def test_clean_files_load_whole_and_only_once(
    db_manager: DatabaseManager, shared_data: Path, name: str, n_rows: int, n_instruments: int
) -> None:
    ingest = PriceIngest(db_manager)
    report = ingest.ingest_prices([shared_data / name], IngestOptions(today=TODAY))
    assert (report.rows_read, report.rows_written, report.rejected) == (n_rows, n_rows, 0)
    assert (report.instruments, report.instruments_created) == (n_instruments, n_instruments)
    again = ingest.ingest_prices([shared_data / name], IngestOptions(today=TODAY))
    assert (again.rows_written, again.rows_unchanged, again.instruments_created) == (0, n_rows, 0)


def test_prices_are_widened_from_float32_exactly(db_manager: DatabaseManager, shared_data: Path) -> None:
    path = shared_data / "prices" / "gspc_1927_2020.parquet"
    PriceIngest(db_manager).ingest_prices([path], IngestOptions(today=TODAY, zero_as_missing=("open",)))
    table = pq.read_table(path)
    opens = [value or None for value in table["open"].to_pylist()]
    with db_manager.get_historical_connection() as connection:
        found = connection.execute("SELECT trade_date, open, close FROM prices_daily ORDER BY trade_date").fetchall()
    assert found == sorted(zip(table["trade_date"].to_pylist(), opens, table["close"].to_pylist(), strict=True))
    assert opens.count(None) == 5_075


def test_the_old_index_is_refused_with_the_way_out(db_manager: DatabaseManager, shared_data: Path) -> None:
    path = shared_data / "prices" / "gspc_1927_2020.parquet"
    with pytest.raises(DataCheckError, match=r"5075 of 23362 rows .* row 8510, column open: .*--zero-as-missing open"):
        PriceIngest(db_manager).ingest_prices([path], IngestOptions(today=TODAY))


def test_faulty_vendor_histories(db_manager: DatabaseManager, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "prices" / "price_repair_pairs_a.parquet"
    with pytest.raises(DataCheckError, match="19983 of 32183 rows refused"):
        PriceIngest(db_manager).ingest_prices([path], IngestOptions(today=TODAY))
    target = tmp_path / "bad.csv"
    options = IngestOptions(today=TODAY, on_error="quarantine", quarantine_path=target)
    report = PriceIngest(db_manager).ingest_prices([path], options)
    assert report.rejected_by_reason == (
        ("conflicting duplicate", 16_154),
        ("negative price", 2_733),
        ("infinite value", 600),
        ("future date", 254),
        ("missing value", 242),
        ("refused history", 180),  # Tel Aviv trades on Sundays, New York does not
    )
    assert (report.rows_written, report.duplicates, report.rejected) == (8_970, 3_050, 20_163)
    assert report.rows_unchanged == 0
    assert f"{path}: 252 cells or rows without any number are days without a bar" in report.notes
    # each of its 90 bars stands twice
    assert any("KEN-TA: left out, 18 of 90 bars on no session of US_EQ" in note for note in report.notes)
    first = target.read_bytes()
    assert first.count(b"\n") == 20_164
    assert PriceIngest(db_manager).ingest_prices([path], options).rows_written == 0
    assert target.read_bytes() == first
