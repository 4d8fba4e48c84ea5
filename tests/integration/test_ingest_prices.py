import csv
import gzip
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prometheus.app.databases import DatabaseManager
from prometheus.errors import DataCheckError, FileAccessError, NotFoundError, UsageError
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions, IngestReport

TODAY = date(2024, 6, 28)
HEADER = "ticker,date,open,high,low,close,adj_close,volume,currency"
GOOD = "A,2024-01-02,10,11,9,10.5,10.1,100,USD"

Ingest = Callable[..., IngestReport]


@pytest.fixture
def ingest(db_manager: DatabaseManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Write lines to ``prices.csv`` and load them; options as keywords."""
    monkeypatch.chdir(tmp_path)

    def load(*lines: str, header: str = HEADER, name: str = "prices.csv", **options: object) -> IngestReport:
        path = Path(name)
        path.write_text("\n".join((header, *lines)) + "\n")
        return PriceIngest(db_manager).ingest_prices([path], IngestOptions(today=TODAY, **options))  # type: ignore[arg-type]

    return load


def stored(db_manager: DatabaseManager) -> list[tuple[object, ...]]:
    with db_manager.get_historical_connection() as connection:
        return connection.execute(
            "SELECT instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency "
            "FROM prices_daily ORDER BY 1, 2"
        ).fetchall()


def instruments(db_manager: DatabaseManager) -> list[tuple[object, ...]]:
    with db_manager.get_runtime_connection() as connection:
        return connection.execute(
            "SELECT instrument_id, market_id, asset_class, symbol, currency, status FROM instruments ORDER BY 1"
        ).fetchall()


def files_here() -> list[str]:
    return sorted(path.name for path in Path.cwd().iterdir())


def quarantined(path: str = "prices.csv.rejected.csv") -> list[tuple[str, str, str]]:
    with Path(path).open(newline="") as file:
        return [(row["row"], row["column"], row["reason"]) for row in csv.DictReader(file)]


def test_rows_are_stored_with_their_instrument_and_market(ingest: Ingest, db_manager: DatabaseManager) -> None:
    report = ingest(GOOD, "B.L,2024-01-03,1,1,1,1,1,0,GBp")
    assert (report.rows_read, report.rows_written, report.exit_code, report.notes) == (2, 2, 0, ())
    assert (report.first_date, report.last_date) == (date(2024, 1, 2), date(2024, 1, 3))
    assert stored(db_manager) == [
        ("A", date(2024, 1, 2), 10.0, 11.0, 9.0, 10.5, 10.1, 100.0, "USD"),
        ("B.L", date(2024, 1, 3), 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, "GBp"),
    ]
    assert instruments(db_manager) == [
        ("A", "US_EQ", "EQUITY", "A", "USD", "ACTIVE"),
        ("B.L", "US_EQ", "EQUITY", "B.L", "GBp", "ACTIVE"),
    ]
    with db_manager.get_runtime_connection() as connection:
        row = connection.execute("SELECT market_id, calendar, currency FROM markets").fetchall()
    assert row == [("US_EQ", "XNYS", "USD")]


def test_a_second_run_writes_nothing(ingest: Ingest, table_digests: Callable[[], object]) -> None:
    ingest(GOOD)
    before = table_digests()
    report = ingest(GOOD)
    assert (report.rows_written, report.rows_unchanged, report.instruments_created) == (0, 1, 0)
    assert table_digests() == before


def test_only_changed_rows_count_as_written(ingest: Ingest, db_manager: DatabaseManager) -> None:
    ingest(GOOD, GOOD.replace("-02", "-03"))
    report = ingest(GOOD, GOOD.replace("-02", "-03").replace("10.1", "10.2"), GOOD.replace("-02", "-04"))
    assert (report.rows_written, report.rows_unchanged) == (2, 1)
    assert [row[6] for row in stored(db_manager)] == [10.1, 10.2, 10.1]


def test_one_bad_row_and_nothing_is_written(ingest: Ingest, table_digests: Callable[[], object]) -> None:
    before = table_digests()
    with pytest.raises(DataCheckError) as caught:
        ingest(GOOD, "B,2024-01-02,0,11,9,10.5,10.1,100,USD", "C,2024-01-02,10,11,9,n/a,10.1,100,USD")
    assert str(caught.value) == (
        "prices.csv: 2 of 3 rows refused (1 missing value, 1 zero price); first: line 3, column open: '0' is refused "
        "as zero price; nothing was written; set such rows aside with --on-error quarantine, or read zeros as missing "
        "with --zero-as-missing open"
    )
    assert caught.value.exit_code == 5
    assert table_digests() == before
    assert files_here() == ["prices.csv"]


def test_quarantine_sets_bad_rows_aside(ingest: Ingest, db_manager: DatabaseManager) -> None:
    bad = ["B,2024-01-02,0,11,9,10.5,10.1,100,USD", "ragged,1", "C,2024-01-02,10,11,9,n/a,10.1,100,USD"]
    report = ingest(GOOD, *bad, on_error="quarantine")
    assert (report.exit_code, report.rejected, report.rows_written) == (3, 3, 1)
    assert dict(report.rejected_by_reason) == {"zero price": 1, "wrong number of cells": 1, "missing value": 1}
    assert quarantined() == [
        ("3", "open", "zero price"), ("4", "", "wrong number of cells"), ("5", "close", "missing value"),
    ]  # fmt: skip
    assert [row[0] for row in stored(db_manager)] == ["A"]
    assert [row[0] for row in instruments(db_manager)] == ["A"]
    first = Path("prices.csv.rejected.csv").read_bytes()
    assert ingest(GOOD, *bad, on_error="quarantine").rows_written == 0
    assert Path("prices.csv.rejected.csv").read_bytes() == first
    assert files_here() == ["prices.csv", "prices.csv.rejected.csv"]


def test_a_corrected_quarantine_file_loads_as_it_is(ingest: Ingest, db_manager: DatabaseManager) -> None:
    ingest("B,2024-01-02,0,11,9,10.5,10.1,100,USD", on_error="quarantine", quarantine_path=Path("bad.csv"))
    Path("bad.csv").write_text(Path("bad.csv").read_text().replace(",0,11,", ",10,11,"))
    report = PriceIngest(db_manager).ingest_prices([Path("bad.csv")], IngestOptions(today=TODAY))
    assert report.rows_written == 1


def test_without_bad_rows_there_is_no_quarantine_file(ingest: Ingest) -> None:
    report = ingest(GOOD, on_error="quarantine")
    assert (report.exit_code, report.quarantine_path) == (0, None)
    assert files_here() == ["prices.csv"]


def test_a_quarantine_file_that_cannot_be_written_stops_the_run(
    ingest: Ingest, table_digests: Callable[[], object]
) -> None:
    before = table_digests()
    with pytest.raises(FileAccessError, match=r"no/where\.csv: its folder does not exist"):
        ingest(GOOD, "B,1", on_error="quarantine", quarantine_path=Path("no/where.csv"))
    with pytest.raises(UsageError, match="is one of the files to read"):
        ingest(GOOD, "B,1", on_error="quarantine", quarantine_path=Path("../" + Path.cwd().name + "/prices.csv"))
    assert table_digests() == before


def test_equal_duplicates_are_stored_once_and_counted(ingest: Ingest, db_manager: DatabaseManager) -> None:
    report = ingest(GOOD, GOOD, GOOD.replace("10.1", "10.10"))
    assert (report.rows_written, report.duplicates, len(stored(db_manager))) == (1, 2, 1)


def test_of_conflicting_duplicates_none_is_stored(ingest: Ingest, db_manager: DatabaseManager) -> None:
    lines = [GOOD, "B,2024-01-02,10,11,9,10.5,10.1,100,USD", GOOD.replace("10.5", "10.6"), GOOD]
    with pytest.raises(DataCheckError, match=r"3 of 4 rows refused \(3 conflicting duplicate\); first: line 2"):
        ingest(*lines)
    report = ingest(*lines, on_error="quarantine")
    assert (report.rejected, report.duplicates, report.rows_written) == (3, 0, 1)
    assert [row for row, _, _ in quarantined()] == ["2", "4", "5"]
    assert [row[0] for row in stored(db_manager)] == ["B"]


def test_duplicates_are_found_across_files(db_manager: DatabaseManager, tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text(f"{HEADER}\n{GOOD}\n")
    two.write_text(f"{HEADER}\n{GOOD}\n{GOOD.replace('A,', 'B,')}\n")
    options = IngestOptions(today=TODAY)
    report = PriceIngest(db_manager).ingest_prices([one, two], options)
    assert (report.rows_read, report.rows_written, report.duplicates) == (3, 2, 1)
    two.write_text(f"{HEADER}\n{GOOD.replace('10.5', '10.6')}\n")
    with pytest.raises(DataCheckError, match=r"one\.csv and 1 more: 2 of 2 rows refused \(2 conflicting"):
        PriceIngest(db_manager).ingest_prices([one, two], options)


def test_rows_out_of_order_are_accepted_and_noted(ingest: Ingest, db_manager: DatabaseManager) -> None:
    report = ingest(GOOD.replace("-02", "-05"), GOOD)
    assert report.notes == ("rows are not in order of date; they are stored all the same",)
    assert len(stored(db_manager)) == 2


def test_zero_as_missing_is_stored_as_null(ingest: Ingest, db_manager: DatabaseManager) -> None:
    ingest("A,2024-01-02,0,11,9,10.5,10.1,100,USD", zero_as_missing=("open",))
    assert stored(db_manager)[0][2:5] == (None, 11.0, 9.0)
    report = ingest("A,2024-01-02,0,11,9,10.5,10.1,100,USD", zero_as_missing=("open",))
    assert report.rows_written == 0


def test_a_file_of_one_instrument_needs_its_name(ingest: Ingest, db_manager: DatabaseManager) -> None:
    header, line = "Date,Open,High,Low,Close,Volume,Dividends", "20240102,10,11,9,10.5,100,0"
    with pytest.raises(DataCheckError, match="--instrument-id"):
        ingest(line, header=header)
    report = ingest(line, header=header, instrument_id="A")
    assert report.notes == (
        "prices.csv: ignored columns Dividends",
        "prices.csv: no adjusted close; the close is taken for it",
    )
    assert stored(db_manager) == [("A", date(2024, 1, 2), 10.0, 11.0, 9.0, 10.5, 10.5, 100.0, "USD")]


def test_options_that_a_file_answers_itself_are_noted(ingest: Ingest, db_manager: DatabaseManager) -> None:
    report = ingest(GOOD, instrument_id="Z", currency="EUR")
    assert report.notes == (
        "prices.csv: has a column ticker; Z is not used",
        "prices.csv: has a column currency; EUR is not used",
    )
    assert stored(db_manager)[0][-1] == "USD"


def test_the_currency_is_that_of_the_option_the_instrument_or_the_market(
    ingest: Ingest, db_manager: DatabaseManager
) -> None:
    ingest("OLD,2024-01-02,10,11,9,10.5,10.1,100,GBp")
    header, line = HEADER.removesuffix(",currency"), "2024-01-03,10,11,9,10.5,10.1,100"
    ingest(f"OLD,{line}", f"NEW,{line}", header=header, market_id="JP_EQ")
    ingest(f"GIVEN,{line}", header=header, currency="CHF")
    assert {row[0]: row[-1] for row in stored(db_manager)} == {"OLD": "GBp", "NEW": "JPY", "GIVEN": "CHF"}
    assert {row[0]: (row[1], row[4]) for row in instruments(db_manager)} == {
        "OLD": ("US_EQ", "GBp"), "NEW": ("JP_EQ", "JPY"), "GIVEN": ("US_EQ", "CHF"),
    }  # fmt: skip


def test_a_reload_that_says_another_market_says_that_the_stored_one_stays(
    ingest: Ingest, db_manager: DatabaseManager
) -> None:
    tokyo = ("7203.T,2024-01-04,10,11,9,10.5,10.1,100", "6758.T,2024-01-04,10,11,9,10.5,10.1,100")
    header = HEADER.removesuffix(",currency")
    ingest(*tokyo, header=header)
    before = instruments(db_manager)

    report = ingest(*tokyo, header=header, market_id="JP_EQ", currency="JPY", asset_class="INDEX")

    assert instruments(db_manager) == before
    assert [note.partition("; where")[0].removeprefix("6758.T and 1 more: stored with ") for note in report.notes] == [
        "market_id US_EQ, which stays, though this load says JP_EQ, by which it dated and checked them",
        "asset_class EQUITY, which stays, though this load says INDEX",
        "currency USD, which stays, though this load says JPY",
    ]
    way_out = "python -m prometheus ingest instruments FILE, with columns instrument_id,market_id"
    assert report.notes[0].endswith(f"; where US_EQ is wrong: {way_out}")

    lines = [f"{name},JP_EQ,INDEX,JPY" for name in ("7203.T", "6758.T")]
    Path("instruments.csv").write_text("\n".join(["instrument_id,market_id,asset_class,currency", *lines]) + "\n")
    PriceIngest(db_manager).ingest_instruments(Path("instruments.csv"), IngestOptions(today=TODAY))
    assert ingest(*tokyo, header=header, market_id="JP_EQ", currency="JPY", asset_class="INDEX").notes == ()
    (note,) = ingest(*tokyo, header=header).notes
    assert note.startswith("6758.T and 1 more: stored with market_id JP_EQ, which stays, though this load says US_EQ")


def test_a_market_without_known_currency_asks_for_it(ingest: Ingest) -> None:
    header, line = HEADER.removesuffix(",currency"), "N,2024-01-03,10,11,9,10.5,10.1,100"
    with pytest.raises(UsageError, match="--currency"):
        ingest(line, header=header, market_id="XSWX")
    assert ingest(line, header=header, market_id="XSWX", currency="CHF").rows_written == 1
    with pytest.raises(NotFoundError):
        ingest(line, header=header, market_id="MOON", currency="CHF")


def test_dates_of_a_named_format_are_read(ingest: Ingest, db_manager: DatabaseManager) -> None:
    line = GOOD.replace("2024-01-02", "02.01.2024")
    with pytest.raises(
        DataCheckError, match=r"line 2, column date: '02\.01\.2024' may be .*--date-format '%d\.%m\.%Y'"
    ):
        ingest(line)
    ingest(line, date_format="%d.%m.%Y")
    assert stored(db_manager)[0][1] == date(2024, 1, 2)


def test_a_dry_run_counts_and_writes_nothing(ingest: Ingest, table_digests: Callable[[], object]) -> None:
    before = table_digests()
    report = ingest(GOOD, "B,1", on_error="quarantine", dry_run=True)
    assert (report.rows_written, report.rejected, report.instruments_created) == (1, 1, 1)
    assert table_digests() == before
    assert files_here() == ["prices.csv"]


def test_a_header_alone_is_no_error(ingest: Ingest) -> None:
    report = ingest()
    assert (report.rows_read, report.exit_code, report.notes) == (0, 0, ("prices.csv: holds no rows",))


def test_compressed_csv_and_every_parquet_type_give_the_same_rows(
    ingest: Ingest, db_manager: DatabaseManager, tmp_path: Path
) -> None:
    ingest(GOOD)
    expected = stored(db_manager)
    packed = tmp_path / "p.csv.gz"
    packed.write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n".encode()))
    table = pa.table(
        {
            "Ticker": pa.array(["A"]).dictionary_encode(),
            "Date": pa.array([np.datetime64("2024-01-02", "ms")]),
            "Open": pa.array([10], pa.uint8()),
            "High": pa.array([11], pa.float32()),
            "Low": pa.array([9], pa.int32()),
            "Close": pa.array(["10.5"], pa.large_string()),
            "Adj Close": pa.array([10.1]),
            "Volume": pa.array([100], pa.decimal128(20, 4)),
            "Currency": pa.array(["USD"], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    for path in (packed, tmp_path / "p.parquet"):
        report = PriceIngest(db_manager).ingest_prices([path], IngestOptions(today=TODAY))
        assert report.rows_unchanged == 1
    assert stored(db_manager) == expected


def test_progress_reports_rows_and_total(db_manager: DatabaseManager, tmp_path: Path) -> None:
    n_rows = 70_000
    columns = {name: np.ones(n_rows) for name in ("open", "high", "low", "close", "volume")}
    dates = np.tile(np.arange(7_000).astype("M8[D]"), 10)
    table = pa.table({"ticker": np.repeat(list("ABCDEFGHIJ"), 7_000), "date": dates, **columns})
    pq.write_table(table, tmp_path / "p.parquet")
    seen: list[tuple[int, int | None]] = []
    ingest = PriceIngest(db_manager, progress=lambda done, total: seen.append((done, total)))
    report = ingest.ingest_prices([tmp_path / "p.parquet"], IngestOptions(today=TODAY, calendar="24/7"))
    assert seen == [(65_536, n_rows), (n_rows, n_rows)]
    assert (report.rows_written, report.instruments) == (n_rows, 10)


def test_a_failure_in_the_runtime_database_leaves_no_price(
    ingest: Ingest, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> int:
        raise psycopg.errors.UniqueViolation("on purpose")

    monkeypatch.setattr("prometheus.ingest.prices.reference.register_instruments", fail)
    with pytest.raises(psycopg.errors.UniqueViolation):
        ingest(GOOD)
    assert stored(db_manager) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"zero_as_missing": ("close",)}, "--zero-as-missing 'close': choose from open, high, low"),
        ({"on_error": "ignore"}, "--on-error 'ignore'"),
        ({"currency": "dollar"}, "--currency 'dollar'"),
        ({"instrument_id": ""}, "--instrument-id"),
        ({"date_format": "%d.%m."}, "--date-format"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        IngestOptions(today=TODAY, **options)  # type: ignore[arg-type]


def test_two_runs_at_once_agree(ingest: Ingest, db_manager: DatabaseManager) -> None:
    lines = [GOOD.replace("A,", f"{name},") for name in "ZYXWV"]
    ingest(*lines)
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily")
    options = IngestOptions(today=TODAY)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(PriceIngest(db_manager).ingest_prices, [Path("prices.csv")], options) for _ in range(8)]
        assert sum(run.result().rows_written for run in runs) == len(lines)


def test_no_file_named_is_a_usage_error(db_manager: DatabaseManager) -> None:
    paths: Sequence[Path] = []
    with pytest.raises(UsageError, match="no file"):
        PriceIngest(db_manager).ingest_prices(paths, IngestOptions(today=TODAY))
