"""Series as a user loads them: the packaged levels again, release lags, releases and revisions, and refusals."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest

import prometheus as pm
from prometheus.app.databases import DatabaseManager
from prometheus.ingest.sample import MACRO_LEVELS
from prometheus.ingest.sample.macro_events import SOURCE, sample_macro_events

AS_THE_SAMPLE = ("--country", "US", "--source", SOURCE)
FRED = {
    "fed_funds_effective_pct": "DFF", "treasury_2y_pct": "DGS2", "treasury_10y_pct": "DGS10", "vix": "VIXCLS",
    "us_hy_oas_pct": "BAMLH0A0HYM2", "us_ig_oas_pct": "BAMLC0A0CM",
}  # fmt: skip


def events(db_manager: DatabaseManager) -> list[tuple[Any, ...]]:
    with db_manager.get_historical_connection() as connection:
        return connection.execute(
            "SELECT event_type, timestamp, coalesce(known_at, timestamp), country, source, description "
            "FROM macro_events ORDER BY timestamp, event_type, description"
        ).fetchall()


def values(db_manager: DatabaseManager) -> list[tuple[Any, ...]]:
    with db_manager.get_historical_connection() as connection:
        return connection.execute(
            "SELECT series_id, observation_date, known_at, value FROM series_values ORDER BY 1, 2, 3"
        ).fetchall()


def packaged(lag: timedelta = timedelta(0)) -> list[tuple[Any, ...]]:
    return sorted(
        (each.event_type, each.timestamp + lag, each.known_at + lag, each.country, each.source, each.description)
        for each in sample_macro_events()
    )


def levels() -> pd.DataFrame:
    return pd.read_csv(MACRO_LEVELS, dtype=str)


@pytest.mark.parametrize(
    "form",
    ["packaged", *(pytest.param(form, marks=pytest.mark.deep) for form in ("fred long", "fred wide", "parquet"))],
)
def test_the_packaged_levels_give_the_packaged_events_byte_for_byte(
    run: Run, db_manager: DatabaseManager, form: str
) -> None:
    path = Path("levels.csv")
    if form == "packaged":
        path = MACRO_LEVELS
    elif form == "parquet":
        frame = levels().set_index("obs_date").astype(float).reset_index()
        path = Path("levels.parquet")
        frame.to_parquet(path)
    elif form == "fred wide":
        levels().rename(columns={"obs_date": "observation_date", **FRED}).fillna(".").to_csv(path, index=False)
    else:
        long = levels().rename(columns=FRED).melt("obs_date", var_name="series_id")
        long.rename(columns={"obs_date": "date"}).fillna(".").to_csv(path, index=False)

    first = run("ingest", "series", str(path), *AS_THE_SAMPLE)
    again = run("ingest", "series", str(path), *AS_THE_SAMPLE)

    assert first.exit_code == again.exit_code == 0, first.stderr
    assert sorted(events(db_manager)) == packaged()
    assert " 0 written; " in again.stdout
    stored = values(db_manager)
    assert len(stored) == int(levels().drop(columns="obs_date").notna().to_numpy().sum())
    (vix,) = [row for row in stored if row[0] in {"vix", "VIXCLS"} and str(row[1]) == "2020-03-16"]
    assert (vix[2].isoformat(), vix[3]) == ("2020-03-16T22:00:00+00:00", 82.69)


def test_a_release_lag_moves_each_fact_by_it(run: Run, db_manager: DatabaseManager) -> None:
    run("ingest", "series", str(MACRO_LEVELS), "--release-lag", "45", *AS_THE_SAMPLE)
    assert sorted(events(db_manager)) == packaged(timedelta(days=45))
    first = values(db_manager)[0]
    assert first[2] - datetime.combine(first[1], first[2].timetz()) == timedelta(days=46)  # fed funds are out next day


MONTHLY = "observation_date,UNRATE\n2019-01-01,4.0\n2019-02-01,3.8\n2019-03-01,.\n2019-04-01,3.8\n"


def test_what_is_not_daily_asks_for_its_lag(run: Run, db_manager: DatabaseManager, table_digests: TableDigest) -> None:
    Path("UNRATE.csv").write_text(MONTHLY)
    before = table_digests()
    asked = run("ingest", "series", "UNRATE.csv")
    assert asked.exit_code == 5
    assert len(asked.stderr.splitlines()) == 1
    assert "UNRATE is not daily" in asked.stderr
    assert "--release-lag, such as 45" in asked.stderr
    assert table_digests() == before

    told = run("ingest", "series", "UNRATE.csv", "--release-lag", "45")

    assert "3 rows read; 3 written" in told.stdout
    assert [(row[1].date().isoformat(), row[5]) for row in events(db_manager)] == [
        ("2019-03-18", "UNRATE for 2019-02-01 is 3.8, down from 4.0 for 2019-01-01."),
        ("2019-05-16", "UNRATE for 2019-04-01 is 3.8, unchanged from 3.8 for 2019-02-01."),
    ]


def test_vintages_are_known_from_their_release_and_told_as_revisions(run: Run, db_manager: DatabaseManager) -> None:
    rows = [
        ("2018-04-01", "2018-07-27", "4.1"), ("2018-04-01", "2018-08-29", "4.2"), ("2018-04-01", "2018-09-27", "4.2"),
        ("2018-07-01", "2018-10-26", "3.5"),
    ]  # fmt: skip
    with Path("GDP.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("date", "realtime_start", "realtime_end", "value"), *[(d, r, "", v) for d, r, v in rows]])
    outcome = run("ingest", "series", "GDP.csv", "--series", "GDP", "--country", "US")
    assert outcome.exit_code == 0, outcome.stderr
    assert [(str(day), known.date().isoformat(), value) for _, day, known, value in values(db_manager)] == [
        (day, released, float(value)) for day, released, value in rows
    ]
    assert [(row[1].date().isoformat(), row[5]) for row in events(db_manager)] == [
        ("2018-08-29", "GDP for 2018-04-01 was revised to 4.2 from 4.1."),
        ("2018-10-26", "GDP for 2018-07-01 is 3.5, down from 4.2 for 2018-04-01."),
    ]


def test_other_daily_series_are_told_once_a_week(run: Run, db_manager: DatabaseManager) -> None:
    days = pd.bdate_range("2024-01-01", "2024-03-01")
    pd.DataFrame({"DATE": days.strftime("%d/%m/%Y"), "DGS30": [4 + at / 100 for at in range(len(days))]}).to_csv(
        "DGS30.csv", index=False
    )
    outcome = run("ingest", "series", "DGS30.csv", "--date-format", "%d/%m/%Y", "--dry-run")
    assert "to write" in outcome.stdout
    assert values(db_manager) == []
    assert run("ingest", "series", "DGS30.csv", "--date-format", "%d/%m/%Y").exit_code == 0
    told = events(db_manager)
    assert {row[1].weekday() for row in told} == {4}
    assert told[-1][5] == "DGS30 for 2024-02-23 is 4.39, up from 4.19 for 2024-01-26."


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "date,A\n2024-01-02,x\n",
            "line 2, column value: 'x' is refused as not a number; nothing was written",
        ),
        ("date,A\n2024-01-02,inf\n", "'inf' is refused as infinite value"),
        ("date,A\n03/04/2024,1\n", "line 2, column date: '03/04/2024' may be 3 April 2024 (%d/%m/%Y) or 4 March 2024"),
        ("date,A\n,1\n", "line 2, column observation_date: '' is refused as missing value"),
        ("day_of,A\n2024-01-02,1\n", "no column observation_date"),
        ("date\n2024-01-02\n", "no column of values"),
        ("date,value\n2024-01-02,1\n", "names no series; name it with --series"),
        ("date,A\n2024-01-02,1\n2024-01-02,2\n", "A has two values for 2024-01-02, 1 and 2"),
        ("date,A\n2999-01-02,1\n", "'2999-01-02' is refused as future date"),
        (
            "date,release_date,A\n2024-01-02,2024-01-01,1\n",
            "column release_date: '2024-01-01' is refused as date before its start",
        ),
        (
            "date,realtime_start,realtime_end,A\n2024-01-02,2024-02-02,2024-02-01,1\n",
            "column realtime_end: '2024-02-01' is refused as date before its start",
        ),
        ("series_id,date,value\n,2024-01-02,1\n", "line 2, column series_id: '' is refused as missing value"),
        ("date,A\n2024-01-02,1,2\n", "line 2: '2024-01-02,1,2' is refused as wrong number of cells"),
        ("Country Name,Time,1960,1961\nChad,x,1,2\n", "columns 1960 to 1961 are years; write a row for each value"),
        (
            "REF_AREA,TIME_PERIOD,OBS_VALUE\nDE,2024-01-02,1\n",
            "the column that says it with --column series_id=NAME",
        ),
    ],
)
def test_a_bad_file_is_refused_in_one_line(run: Run, table_digests: TableDigest, text: str, says: str) -> None:
    Path("s.csv.gz").write_bytes(gzip.compress(text.encode()))
    before = table_digests()
    outcome = run("ingest", "series", "s.csv.gz")
    assert (outcome.exit_code, len(outcome.stderr.splitlines())) == (5, 1), outcome
    assert says in outcome.stderr
    assert table_digests() == before


def test_values_not_known_yet_wait(run: Run, db_manager: DatabaseManager) -> None:
    days = pd.bdate_range(end=pd.Timestamp.now("UTC").tz_localize(None).normalize(), periods=60)
    pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "X": 1.5}).to_csv("x.csv", index=False)
    outcome = run("ingest", "series", "x.csv", "--release-lag", "30", "--json")
    assert json.loads(outcome.stdout)["rows_written"] < 60
    assert "not known yet by their release lag" in outcome.stderr
    assert run("ingest", "series", "x.csv", "--release-lag", "400").exit_code == 2


def test_a_span_of_a_series_goes_out_with_the_facts_that_stand_on_it(run: Run, db_manager: DatabaseManager) -> None:
    Path("UNRATE.csv").write_text(MONTHLY.replace("2019-03-01,.", "2019-03-01,3.8"))
    Path("OTHER.csv").write_text(MONTHLY.replace("UNRATE", "OTHER"))
    for name in ("UNRATE.csv", "OTHER.csv"):
        assert run("ingest", "series", name, "--release-lag", "45").exit_code == 0
    before = values(db_manager), events(db_manager)
    listed = run("data", "series").stdout.splitlines()
    assert listed[-1].split() == ["UNRATE", "2019-01-01", "2019-04-01", "4", "4", "2019-05-16", "22:00:00", "UTC"]

    with pm.open() as stored:
        assert [(each.series_id, each.n_values) for each in stored.series()] == [("OTHER", 3), ("UNRATE", 4)]

    february = ("data", "remove", "--series", "UNRATE", "--start", "2019-02-01", "--end", "2019-02-01")
    planned = run(*february, "--plan")
    assert planned.stdout.startswith("UNRATE: 1 series_values, 2 macro_events, 0 text_embeddings")
    assert (values(db_manager), events(db_manager)) == before
    assert run(*february).exit_code == 0
    left = [row for row in before[1] if "UNRATE" not in row[5] or "for 2019-04-01" in row[5]]
    assert (values(db_manager), events(db_manager)) == (
        [row for row in before[0] if row[:2] != ("UNRATE", date(2019, 2, 1))],
        left,
    )

    assert run("ingest", "series", "UNRATE.csv", "--release-lag", "45").exit_code == 0
    assert (values(db_manager), events(db_manager)) == before
    assert run("data", "remove", "--series", "UNRATE", "--series", "OTHER").exit_code == 0
    assert (values(db_manager), events(db_manager)) == ([], [])
    assert run("data", "series").stdout == "no series\n"


def long_rows(db_manager: DatabaseManager) -> list[tuple[str, str, str, float]]:
    return [(name, str(day), f"{known:%Y-%m-%d}", value) for name, day, known, value in values(db_manager)]


GDP = [
    ("GDP", "2018-04-01", "2018-07-27", 4.1), ("GDP", "2018-04-01", "2018-09-27", 4.2),
    ("GDP", "2018-07-01", "2018-10-26", 3.5),
]  # fmt: skip
QUARTERS = [("GDP", "2018-04-01", "2018-06-30", 4.1), ("GDP", "2018-07-01", "2018-09-29", 3.5)]
DAYS = [("EUR", "2024-01-02", "2024-01-02", 1.0956), ("EUR", "2024-01-03", "2024-01-03", 1.0919)]
FORMS: dict[str, tuple[list[str], tuple[str, ...], list[tuple[str, str, str, float]]]] = {
    "ALFRED, a column for each vintage": (
        ["observation_date,GDP_20181026,GDP_20180727,GDP_20180829,GDP_20180927", "2018-04-01,4.2,4.1,4.1,4.2",
         "2018-07-01,3.5,.,,"],
        (), GDP,
    ),
    "ALFRED, a row for each vintage": (
        ["date,realtime_start,realtime_end,value", "2018-04-01,2018-07-27,2018-09-26,4.1",
         "2018-04-01,2018-09-27,9999-12-31,4.2", "2018-07-01,2018-10-26,9999-12-31,3.5"],
        ("--series", "GDP"), GDP,
    ),
    "ECB": (
        ["KEY,FREQ,CURRENCY,TIME_PERIOD,OBS_VALUE,OBS_STATUS", "EUR,D,USD,2024-01-02,1.0956,A",
         "EUR,D,USD,2024-01-03,1.0919,A"],
        (), DAYS,
    ),
    "BIS": (
        ["FREQ:Frequency,REF_AREA:Area,TIME_PERIOD:Time period or range,OBS_VALUE:Observation Value",
         "D: Daily,EUR,2024-01-02,1.0956", "D: Daily,EUR,2024-01-03,1.0919"],
        ("--column", "series_id=REF_AREA"), DAYS,
    ),
    "Bundesbank": (
        [";EUR;EUR_FLAGS", ";Referenzkurs;", "Einheit;USD;", "Stand vom;15.11.2023 17:13:58 Uhr;",
         "2024-01-01;.;Kein Wert vorhanden", "2024-01-02;1,0956;", "2024-01-03;1,0919;"],
        (), DAYS,
    ),
    "OECD": (
        ["LOCATION,INDICATOR,FREQUENCY,TIME,Value,Flag Codes", "USA,GDP,Q,2018-Q2,4.1,", "USA,GDP,Q,2018-Q3,3.5,"],
        ("--column", "series_id=INDICATOR", "--release-lag", "90"), QUARTERS,
    ),
    "periods": (["quarter;GDP", "2018Q2;4,1", "2018Q3;3,5"], ("--release-lag", "90"), QUARTERS),
    "days first": (["date;EUR", "02.01.2024;1,0956", "03.01.2024;1,0919", "31.12.2023;", "13.12.2023;."], (), DAYS),
    "decimal mark by hand": (
        ["date,EUR", '2024-01-02,"1,095"'], ("--decimal-mark", "comma"), [("EUR", "2024-01-02", "2024-01-02", 1.095)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_files_of_other_places_give_the_same_values(run: Run, db_manager: DatabaseManager, form: str) -> None:
    lines, options, wanted = FORMS[form]
    Path("s.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcome = run("ingest", "series", "s.csv", *options)
    assert outcome.exit_code == 0, outcome.stderr
    assert long_rows(db_manager) == wanted
    assert " 0 written; " in run("ingest", "series", "s.csv", *options).stdout


def test_bad_cells_are_set_aside_and_load_once_mended(run: Run, db_manager: DatabaseManager) -> None:
    days = pd.bdate_range("2024-01-01", periods=20).strftime("%Y-%m-%d")
    rows = [f"{day},{at}.5,{at}.25" for at, day in enumerate(days)]
    rows[3], rows[7], rows[9] = f"{days[3]},x,3.25", "soon,7.5,7.25", f"{days[8]},9.5,8.25"
    Path("s.csv").write_text("\n".join(["date,A,B", *rows]) + "\n")
    refused = run("ingest", "series", "s.csv")
    assert (refused.exit_code, values(db_manager)) == (5, [])

    outcome = run("ingest", "series", "s.csv", "--on-error", "quarantine", "--quarantine-path", "bad.csv")

    assert outcome.exit_code == 3
    assert "40 rows read; 34 written; 0 unchanged; 1 duplicates; 5 rejected" in outcome.stdout
    bad = Path("bad.csv").read_text()
    assert bad.splitlines() == [
        "file,row,column,reason,series_id,observation_date,release_date,value,line",
        f"s.csv,5,value,not a number,A,{days[3]},,x,",
        "s.csv,9,observation_date,not a date,A,soon,,7.5,",
        "s.csv,9,observation_date,not a date,B,soon,,7.25,",
        f"s.csv,10,value,conflicting duplicate,A,{days[8]},,8.5,",
        f"s.csv,11,value,conflicting duplicate,A,{days[8]},,9.5,",
    ]
    mended = bad.replace(",x,", ",3.5,").replace("soon", days[7]).replace(f"{days[8]},,9.5", f"{days[9]},,9.5")
    Path("bad.csv").write_text(mended)
    assert "5 rows read; 5 written" in run("ingest", "series", "bad.csv").stdout
    assert len(values(db_manager)) == 39


def test_a_dry_run_shows_how_a_file_is_understood(run: Run, db_manager: DatabaseManager) -> None:
    Path("s.csv").write_text("date;EUR\n31.12.2023;1,0956\n")
    outcome = run("ingest", "series", "s.csv", "--dry-run")
    assert "understood columns: observation_date = 'date'" in outcome.stderr
    assert "understood cells: dates day first; numbers decimal comma" in outcome.stderr
    assert "to be stored: EUR 2023-12-31 1.0956" in outcome.stderr
    assert values(db_manager) == []
