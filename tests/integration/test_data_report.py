from datetime import date
from pathlib import Path

import pytest

from prometheus.app.databases import DatabaseManager
from prometheus.cli.data import HEADER as HEADER_OF_REPORT
from prometheus.cli.data import _row
from prometheus.cli.runner import table
from prometheus.data.report import InstrumentReport, build_data_report
from prometheus.errors import NotFoundError
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions

HEADER = "ticker,date,open,high,low,close,volume\n"


def load(db_manager: DatabaseManager, path: Path, lines: str, **options: object) -> None:
    path.write_text(HEADER + lines)
    chosen = IngestOptions(today=date(2024, 6, 28), **options)  # type: ignore[arg-type]
    PriceIngest(db_manager).ingest_prices([path], chosen)


@pytest.fixture
def two_markets(db_manager: DatabaseManager, tmp_path: Path) -> DatabaseManager:
    """A gap, a Saturday, a dead session, a frozen bar and a jump in New York; two days in London."""
    path = tmp_path / "p.csv"
    load(
        db_manager,
        path,
        "A,2024-01-02,10,11,9,10,100\n"
        "A,2024-01-03,10,11,9,10,0\n"
        "A,2024-01-05,10,10,10,10,100\n"  # 4 January is missing
        "A,2024-01-06,10,16,9,16,100\n"  # a Saturday; +60 %
        "A,2024-01-11,10,11,7,7.9,100\n"  # 8 to 10 January are missing; -51 %
        "B,2024-01-12,1,2,1,2,5\n"
        "B,2024-01-16,1,2,1,2,5\n",  # 15 January is a holiday
    )
    load(db_manager, path, "L,2024-01-12,1,2,1,2,5\nL,2024-01-16,1,2,1,2,5\n", market_id="UK_EQ")
    return db_manager


def test_every_finding_is_counted(two_markets: DatabaseManager) -> None:
    assert build_data_report(two_markets, instrument_ids=["A"]) == [
        InstrumentReport(
            instrument_id="A",
            market_id="US_EQ",
            first_date=date(2024, 1, 2),
            last_date=date(2024, 1, 11),
            ended_on=None,
            n_rows=5,
            n_missing_sessions=4,
            first_missing=(date(2024, 1, 4), date(2024, 1, 8), date(2024, 1, 9), date(2024, 1, 10)),
            n_off_session=1,
            checked_from=None,
            n_zero_volume=1,
            n_flat_bars=1,
            jump_dates=(date(2024, 1, 6), date(2024, 1, 11)),
        )
    ]


def test_each_market_has_its_own_sessions(two_markets: DatabaseManager) -> None:
    missing = {report.instrument_id: report.first_missing for report in build_data_report(two_markets)}
    assert missing["B"] == ()
    assert missing["L"] == (date(2024, 1, 15),)


def test_the_report_keeps_to_what_was_asked(two_markets: DatabaseManager) -> None:
    def ids(**asked: object) -> list[str]:
        return [report.instrument_id for report in build_data_report(two_markets, **asked)]  # type: ignore[arg-type]

    assert ids() == ["A", "B", "L"]
    assert ids(market_id="UK_EQ") == ["L"]
    assert ids(instrument_ids=["L", "B"]) == ["B", "L"]
    assert ids(instrument_ids=["L", "B"], market_id="US_EQ") == ["B"]
    with pytest.raises(NotFoundError, match="'NOPE'"):
        ids(instrument_ids=["A", "NOPE"])
    with pytest.raises(NotFoundError, match="'JP_EQ'"):
        ids(market_id="JP_EQ")


def test_a_history_that_stops_long_before_its_market_has_ended(db_manager: DatabaseManager, tmp_path: Path) -> None:
    lines = "NEW,2024-01-12,1,2,1,2,5\nLAGS,2024-01-05,1,2,1,2,5\nGONE,2024-01-04,1,2,1,2,5\n"  # 0, 5, 6 before
    load(db_manager, tmp_path / "p.csv", lines)
    load(db_manager, tmp_path / "l.csv", "L,2023-12-01,1,2,1,2,5\n", market_id="UK_EQ")
    ended = {report.instrument_id: report.ended_on for report in build_data_report(db_manager)}
    assert ended == {"NEW": None, "LAGS": None, "GONE": date(2024, 1, 4), "L": None}
    (alone,) = build_data_report(db_manager, instrument_ids=["GONE"])
    assert (alone.ended_on, alone.n_missing_sessions) == (date(2024, 1, 4), 0)
    with db_manager.get_runtime_connection() as connection:
        connection.execute("DELETE FROM instruments WHERE instrument_id = 'GONE'")
    (unknown,) = build_data_report(db_manager, instrument_ids=["GONE"])
    assert unknown.ended_on is None


def test_without_prices_there_is_nothing_to_report(db_manager: DatabaseManager) -> None:
    assert build_data_report(db_manager) == []


def test_the_command_shows_where_a_history_ended(db_manager: DatabaseManager, tmp_path: Path) -> None:
    load(db_manager, tmp_path / "p.csv", "NEW,2024-01-12,1,2,1,2,5\nGONE,2024-01-04,1,2,1,2,5\n")
    lines = table([HEADER_OF_REPORT, *map(_row, build_data_report(db_manager))])
    assert [line.split()[:4] for line in lines[1:]] == [
        ["GONE", "2024-01-04", "2024-01-04", "2024-01-04"], ["NEW", "2024-01-12", "2024-01-12", "-"],
    ]  # fmt: skip
    assert "ended on" in lines[0]


def test_bars_without_an_instrument_row_are_reported_without_a_calendar(two_markets: DatabaseManager) -> None:
    with two_markets.get_runtime_connection() as connection:
        connection.execute("DELETE FROM instruments WHERE instrument_id = 'B'")
    (report,) = build_data_report(two_markets, instrument_ids=["B"])
    assert (report.market_id, report.n_missing_sessions, report.n_off_session, report.n_rows) == (None, None, None, 2)


def test_what_lies_before_the_calendar_is_left_unchecked(db_manager: DatabaseManager, tmp_path: Path) -> None:
    load(
        db_manager, tmp_path / "p.csv", "OLD,1920-01-02,1,1,1,1,5\nOLD,1927-01-04,1,1,1,1,5\nOLD,1927-01-06,1,1,1,1,5\n"
    )
    (report,) = build_data_report(db_manager)
    assert report.checked_from is not None
    assert report.checked_from.year == 1927
    assert (report.n_missing_sessions, report.n_off_session) == (1, 0)


@pytest.mark.deep
def test_a_large_real_history(db_manager: DatabaseManager, shared_data: Path) -> None:
    path = shared_data / "prices" / "sp500_a_daily_2000_2020.parquet"
    PriceIngest(db_manager).ingest_prices([path], IngestOptions(today=date(2024, 6, 28)))
    reports = {report.instrument_id: report for report in build_data_report(db_manager)}
    assert len(reports) == 206
    assert sum(report.n_rows for report in reports.values()) == 933_337
    assert all(report.n_missing_sessions == report.n_off_session == 0 for report in reports.values())
    assert (reports["SW"].n_zero_volume, reports["SW"].n_flat_bars) == (2_348, 2_923)
    assert reports["VRTX"].jump_dates == (date(2012, 5, 7), date(2013, 4, 19))
