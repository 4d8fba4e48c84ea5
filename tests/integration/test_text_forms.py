"""Texts and calendars in the forms of vendors and tools, by their documentation, beside a twin in our own form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from prometheus.app.databases import DatabaseManager
from prometheus.errors import DataCheckError, FileAccessError
from prometheus.ingest.report import IngestReport, TextIngestOptions
from prometheus.ingest.texts import TextIngest

NOW = datetime(2024, 6, 28, 12, tzinfo=UTC)
MACRO_HEADER = "event_type,timestamp,known_at,country,source,description"
NEWS_HEADER = "published_at,known_at,language,source,headline,body"
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """A file, the options it needs, the rows of its twin, and each refusal with the options that follow it."""

    text: str
    twin: str
    options: Options = field(default_factory=dict)
    refusals: tuple[tuple[str, Options], ...] = ()
    name: str = "texts.csv"


UTC_ZONE = {"assume_timezone": "UTC"}
NO_ZONE = r"name their zone with --assume-timezone, such as UTC or America/New_York"

NEWS: dict[str, Form] = {
    "ABC headlines of Kaggle": Form(
        "publish_date,headline_text\n20030219,aba decides against community broadcasting licence\n"
        "20030220,act fire witnesses must be aware of defamation\n",
        "2003-02-19T00:00Z,,,,aba decides against community broadcasting licence,\n"
        "2003-02-20T00:00Z,,,,act fire witnesses must be aware of defamation,\n",
        refusals=((NO_ZONE, UTC_ZONE),),
    ),
    "All the News of Kaggle": Form(
        ",id,title,publication,author,date,year,month,url,content\n"
        '0,17283,House Fret,New York Times,Carl Hulse,2016-12-31,2016.0,12.0,,"WASHINGTON, a day\nlater."\n',
        '2016-12-31T05:00Z,,,New York Times,House Fret,"WASHINGTON, a day\nlater."\n',
        refusals=((NO_ZONE, {"assume_timezone": "America/New_York"}),),
    ),
    "All the News 2": Form(
        "date,year,month,day,author,title,article,url,section,publication\n"
        "2016-12-09 18:31:00,2016,12.0,9,Lee Drutman,Take it seriously,This post is part of Polyarchy,u,,Vox\n",
        "2016-12-09T18:31Z,,,Vox,Take it seriously,This post is part of Polyarchy\n",
        UTC_ZONE,
    ),
    "Reuters headlines of Kaggle": Form(
        'Headlines,Time,Description\nTikTok moves,Jul 18 2020,It may move.\nStocks end up,"Jul 2, 2020",A rally.\n',
        "2020-07-18T00:00Z,,,,TikTok moves,It may move.\n2020-07-02T00:00Z,,,,Stocks end up,A rally.\n",
        UTC_ZONE,
    ),
    "CNBC headlines of Kaggle": Form(
        'Headlines,Time,Description\nJim Cramer,"7:51  PM ET Fri, 17 July 2020",He charts.\n',
        "2020-07-17T23:51Z,,,,Jim Cramer,He charts.\n",
        {"assume_timezone": "America/New_York"},
        refusals=((r"name the format with --date-format", {"date_format": "%I:%M  %p ET %a, %d %B %Y"}),),
    ),
    "FNSPID of Hugging Face": Form(
        ",Date,Article_title,Stock_symbol,Url,Publisher,Author,Article,Lsa_summary\n"
        "0,2023-12-16 23:00:00 UTC,Interesting A Put Options,A,u,BNK,,Investors saw new options.,Investors.\n",
        "2023-12-16T23:00Z,,,BNK,Interesting A Put Options,Investors saw new options.\n",
    ),
    "a feed as CSV": Form(
        "title,link,description,pubDate,guid\n"
        '"Rates held",http://a,"The Board left rates alone.","Wed, 31 Jan 2024 14:00:00 EST",1\n'
        '"Minutes","http://b","Of January.","Wed, 21 Feb 2024 19:00:00 GMT",2\n',
        "2024-01-31T19:00Z,,,,Rates held,The Board left rates alone.\n2024-02-21T19:00Z,,,,Minutes,Of January.\n",
    ),
    "GDELT's list of articles": Form(
        "\ufeffURL,MobileURL,Date,Title\nhttps://a.com/1,,2024-01-31 19:15:00,Fed holds\n",
        "2024-01-31T19:15Z,,,,Fed holds,\n",
        UTC_ZONE,
    ),
    "GDELT's articles as JSON lines": Form(
        '{"url": "https://a.com/1", "title": "Fed holds", "seendate": "20240131T191500Z", "domain": "a.com", '
        '"language": "English", "sourcecountry": "United States"}\n',
        "2024-01-31T19:15Z,,English,a.com,Fed holds,\n",
        name="texts.jsonl",
    ),
    "GDELT's times": Form(
        "DATE\ttitle\n20240131190500\tFed holds\n20240201120000\tBank of England holds\n",
        "2024-01-31T19:05Z,,,,Fed holds,\n2024-02-01T12:00Z,,,,Bank of England holds,\n",
        UTC_ZONE,
    ),
    "Event Registry": Form(
        '{"uri": "1", "lang": "eng", "date": "2024-01-31", "time": "19:05:00", "dateTime": "2024-01-31T19:05:00Z", '
        '"title": "Fed holds", "body": "It waits."}\n',
        "2024-01-31T19:05Z,,eng,,Fed holds,It waits.\n",
        refusals=((r"--column published_at=dateTime", {"columns": {"published_at": "dateTime"}}),),
        name="texts.jsonl",
    ),
    "a terminal's export": Form(
        'Date,Time,Time Zone,Headline,Source\n01/31/2024,7:05 PM,America/New_York,"Fed ""on hold""",BN\n'
        "07/03/2024,8:05 a.m.,UTC,Later,BN\n",
        '2024-02-01T00:05Z,,,BN,"Fed ""on hold""",\n2024-07-03T08:05Z,,,BN,Later,\n',
        {"now": datetime(2024, 8, 1, tzinfo=UTC)},
    ),
    "days before months, every one up to the 12th": Form(
        "Published;Title\n01/02/2024 19:05;Held\n",
        "2024-02-01T19:05Z,,,,Held,\n",
        UTC_ZONE,
        refusals=((r"1 February 2024 \(%d/%m/%Y\) or 2 January 2024 \(%m/%d/%Y\)", {"date_format": "%d/%m/%Y"}),),
    ),
}  # fmt: skip
MACRO: dict[str, Form] = {
    "Investing.com by investpy": Form(
        "id,date,time,zone,currency,importance,event,actual,forecast,previous\n"
        "1,01/02/2024,All Day,brazil,,,Holiday,,,\n"
        "2,01/02/2024,12:00,united kingdom,GBP,high,BoE Interest Rate Decision,5.25%,5.25%,5.25%\n"
        "3,13/02/2024,13:30,united states,USD,high,CPI (MoM)  (Jan),0.3%,0.2%,\n"
        "4,30/08/2024,13:30,united states,USD,high,Core PCE,,0.2%,0.2%\n",
        '"BoE Interest Rate Decision",2024-02-01T12:00Z,,GBP,,'
        '"BoE Interest Rate Decision (GBP): 5.25%, forecast 5.25%, previous 5.25%"\n'
        'CPI (MoM)  (Jan),2024-02-13T13:30Z,,USD,,"CPI (MoM)  (Jan) (USD): 0.3%, forecast 0.2%"\n',
        UTC_ZONE,
    ),
    "Forex Factory": Form(
        "DateTime,Currency,Impact,Event,Actual,Forecast,Previous,Detail\n"
        "2024-01-31T22:30:00+03:30,USD,High Impact Expected,Fed Funds Rate,5.50%,5.50%,5.50%,\n"
        "2024-01-31T23:00:00+03:30,USD,High Impact Expected,FOMC Press Conference,,,,\n",
        'Fed Funds Rate,2024-01-31T19:00Z,,USD,,"Fed Funds Rate (USD): 5.50%, forecast 5.50%, previous 5.50%"\n',
    ),
    "Trading Economics": Form(
        "CalendarId,Date,Country,Category,Event,Reference,Source,SourceURL,Actual,Previous,Forecast,TEForecast,Importance\n"
        "1,2024-02-13T13:30:00,United States,Inflation Rate,Inflation Rate YoY,Jan,BLS,u,3.1%,3.4%,2.9%,3%,3\n",
        "Inflation Rate YoY,2024-02-13T13:30Z,,United States,BLS,"
        '"Inflation Rate YoY (United States, Jan): 3.1%, forecast 2.9%, previous 3.4%"\n',
        UTC_ZONE,
    ),
    "Bloomberg's ECO": Form(
        "Date Time,Country Code,Event,Period,Survey,Actual,Prior,Revised,Relevance\n"
        "01/31/24 08:15,US,ADP Employment Change,Jan,150k,107k,164k,158k,86.9\n"
        "02/02/24 08:30,US,Change in Nonfarm Payrolls,Jan,185k,353k,216k,333k,99.2\n",
        "ADP Employment Change,2024-01-31T13:15Z,,US,,"
        '"ADP Employment Change (US, Jan): 107k, forecast 150k, previous 164k"\n'
        "Change in Nonfarm Payrolls,2024-02-02T13:30Z,,US,,"
        '"Change in Nonfarm Payrolls (US, Jan): 353k, forecast 185k, previous 216k"\n',
        refusals=((NO_ZONE, {"assume_timezone": "America/New_York"}),),
    ),
    "FRED's calendar of releases": Form(
        "release_id,release_name,date\n10,Consumer Price Index,2024-02-13\n",
        "Consumer Price Index,2024-02-13T00:00Z,,,,Consumer Price Index\n",
        UTC_ZONE,
        refusals=(
            (
                r"no column event_type, description; found .*'release_name'.* --column event_type=NAME",
                {"columns": {"event_type": "release_name", "description": "release_name"}},
            ),
        ),
    ),
    "ALFRED's vintages told": Form(
        "event_type,date,realtime_start,realtime_end,text\nGDP,2020-07-30,2020-07-30,2020-08-26,Fell 32.9 percent.\n"
        "GDP,2020-07-30,2020-08-27,9999-12-31,Fell 31.7 percent.\n",
        "GDP,2020-07-30T00:00Z,2020-07-30T12:00Z,,,Fell 32.9 percent.\n"
        "GDP,2020-07-30T00:00Z,2020-08-27T12:00Z,,,Fell 31.7 percent.\n",
        UTC_ZONE,
    ),
    "the ECB's speeches": Form(
        "date|speakers|title|subtitle|contents\n2024-01-31|Christine Lagarde|Rates|Speech|Inflation fell.\n",
        "SPEECH,2024-01-30T23:00Z,,,,Inflation fell.\n",
        {"assume_timezone": "Europe/Berlin"},
        refusals=((r"name the type with --event-type", {"event_type": "SPEECH"}),),
    ),
    "the BIS's speeches": Form(
        'date,url,title,speaker,text\n2024-01-31,u,Rates,Agustín Carstens,"Inflation fell,\nand more."\n',
        'SPEECH,2024-01-31T00:00Z,,,Agustín Carstens,"Inflation fell,\nand more."\n',
        {**UTC_ZONE, "event_type": "SPEECH", "columns": {"source": "speaker"}},
    ),
    "the FOMC's statements and minutes": Form(
        "Date,Release Date,Type,Text\n2023-12-13,2024-01-03,Minute,Members saw progress.\n"
        "2023-12-13,2023-12-13,Statement,Rates were held.\n",
        "Minute,2023-12-13T05:00Z,2024-01-03T17:00Z,,,Members saw progress.\n"
        "Statement,2023-12-13T05:00Z,2023-12-13T17:00Z,,,Rates were held.\n",
        {"assume_timezone": "America/New_York"},
    ),
}  # fmt: skip


def load(db_manager: DatabaseManager, kind: str, path: Path, options: Options) -> IngestReport:
    ingest = TextIngest(db_manager)
    given = TextIngestOptions(**{"now": NOW, **options})
    return ingest.ingest_news([path], given) if kind == "news" else ingest.ingest_macro([path], given)


def stored(db_manager: DatabaseManager, kind: str) -> list[tuple[Any, ...]]:
    table, columns = ("news_articles", NEWS_HEADER) if kind == "news" else ("macro_events", MACRO_HEADER)
    with db_manager.get_historical_connection() as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY {columns}").fetchall()


def empty(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM news_articles")
        connection.execute("DELETE FROM macro_events")


FORMS = [*(("news", name) for name in NEWS), *(("macro", name) for name in MACRO)]


@pytest.mark.parametrize(("kind", "name"), FORMS)
def test_a_file_stores_what_its_twin_says(db_manager: DatabaseManager, tmp_path: Path, kind: str, name: str) -> None:
    form, header = (NEWS[name], NEWS_HEADER) if kind == "news" else (MACRO[name], MACRO_HEADER)
    path, twin = tmp_path / form.name, tmp_path / "twin.csv"
    path.write_text(form.text, newline="")
    twin.write_text(f"{header}\n{form.twin}", newline="")
    options = form.options
    for refusal, way_out in form.refusals:
        with pytest.raises(DataCheckError, match=refusal):
            load(db_manager, kind, path, options)
        assert stored(db_manager, kind) == []
        options = {**options, **way_out}
    load(db_manager, kind, path, options)
    found = stored(db_manager, kind)
    assert len(found) > 0
    now = {"now": form.options.get("now", NOW)}
    again = load(db_manager, kind, twin, now)
    assert (again.rows_written, again.rows_unchanged) == (0, len(found))
    empty(db_manager)
    load(db_manager, kind, twin, now)
    assert found == stored(db_manager, kind)


def test_a_dry_run_shows_how_a_calendar_was_understood(db_manager: DatabaseManager, tmp_path: Path) -> None:
    form = MACRO["Investing.com by investpy"]
    path = tmp_path / "calendar.csv"
    path.write_text(form.text)
    report = load(db_manager, "macro", path, {**form.options, "dry_run": True})
    columns = (
        "event_type = 'event', timestamp = 'date', country = 'currency', description = 'actual', clock = 'time', "
        "forecast = 'forecast', previous = 'previous'"
    )
    rates, prices = report.notes[3:5]
    assert report.notes == (
        f"{path}: ignored columns id, zone, importance",
        f"{path}: understood columns: {columns}",
        f"{path}: dates of date are read as day first",
        rates,
        prices,
        f"{path}: 2 rows of events without an actual figure tell no fact and are left out",
    )
    assert rates.startswith("to be stored: 'BoE Interest Rate Decision', 2024-02-01 12:00:00 UTC, 'GBP', 'BoE Interest")
    assert prices.endswith("2024-02-13 13:30:00 UTC, 'USD', 'CPI (MoM)  (Jan) (USD): 0.3%, forecast 0.2%'")
    assert stored(db_manager, "macro") == []


def test_one_array_of_articles_is_refused_with_the_way_to_lines(db_manager: DatabaseManager, tmp_path: Path) -> None:
    articles = [{"source": {"id": None, "name": "Wire"}, "title": "Held", "publishedAt": "2024-01-31T19:05:00Z"}]
    path = tmp_path / "news.json"
    path.write_text(json.dumps(articles))
    with pytest.raises(FileAccessError, match=r"is one JSON array; write one object per line .*jq -c '\.\[\]'"):
        load(db_manager, "news", path, {})
    path.write_text("".join(json.dumps({**article, "source": "Wire"}) + "\n" for article in articles))
    assert load(db_manager, "news", path, {}).rows_written == 1
