"""Texts that concern instruments: how files name them, what is stored of it, and what is found by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.database import TableDigest
from tests.integration.test_joint import save_regimes

import prometheus
from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.joint import JointModelChoice
from prometheus.app.text_search import TextQuery
from prometheus.arrays import encode_vector
from prometheus.backfill.joint import JointRequest
from prometheus.backfill.plan import DateSpan
from prometheus.data.instruments import InstrumentDefaults, InstrumentRow, upsert_instruments
from prometheus.data.models import ModelRegistry
from prometheus.data.removal import Removal
from prometheus.data.vectors.texts import TextVectorReader
from prometheus.encoders.joint.examples import REGIME_NEWS
from prometheus.encoders.texts.documents import SourceText, TextDoc, TextFilters, TextSelection
from prometheus.errors import InputRefusedError, NotFoundError, UsageError
from prometheus.ingest.concerned import names_in
from prometheus.ingest.report import IngestReport, TextIngestOptions
from prometheus.ingest.texts import TextIngest
from prometheus.memory import DatedText, Memory, MemoryTexts

NOW = datetime(2024, 6, 28, 12, tzinfo=UTC)
DAY = "2024-01-02T10:00:00Z"
Load = Callable[..., IngestReport]
SYMBOLS = {"AAPL.US": "AAPL", "BRK.B.US": "BRK B", "IBM.US": "IBM", "VOD.LSE": "VOD", "VOD.US": "VOD"}


def add_instruments(db_manager: DatabaseManager, symbols: dict[str, str]) -> None:
    rows = [InstrumentRow(each, "US_EQ", None, symbol, None, None, None) for each, symbol in symbols.items()]
    with db_manager.get_runtime_connection() as connection:
        upsert_instruments(connection, rows, InstrumentDefaults("US_EQ", "EQUITY", None))


@pytest.fixture
def load(db_manager: DatabaseManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write objects to ``news.jsonl`` and load them as news; the instruments of `SYMBOLS` are stored."""
    monkeypatch.chdir(tmp_path)
    add_instruments(db_manager, SYMBOLS)

    def write(*objects: dict[str, Any], **options: Any) -> IngestReport:
        Path("news.jsonl").write_text("".join(json.dumps({"published_at": DAY, **each}) + "\n" for each in objects))
        return TextIngest(db_manager).ingest_news([Path("news.jsonl")], TextIngestOptions(now=NOW, **options))

    return write


def links(db_manager: DatabaseManager) -> set[tuple[str, str]]:
    query = """
        SELECT headline, instrument_id FROM text_instruments JOIN news_articles USING (article_id)
        UNION ALL SELECT description, instrument_id FROM text_instruments JOIN macro_events USING (event_id)
    """
    with db_manager.get_historical_connection() as connection:
        found = connection.execute(query).fetchall()
    assert len(found) == len(set(found))
    return {(str(text), str(instrument_id)) for text, instrument_id in found}


COLUMNS = ("instrument_id", "Instruments", "ticker", "Tickers", "symbol", "SYMBOLS")
CELLS: tuple[tuple[object, str], ...] = (
    ("AAPL.US", "AAPL.US"), ("aapl; IBM", "AAPL.US IBM.US"), (["AAPL", "$IBM", "AAPL.US"], "AAPL.US IBM.US"),
    ('["IBM"]', "IBM.US"), ("['IBM', 'AAPL']", "AAPL.US IBM.US"), ("NYSE:IBM|BRK B", "IBM.US"),
    ("BRK.B", "BRK.B.US"), (["BRK B"], "BRK.B.US"), ("VOD", ""), ("n/a", ""), (None, ""), ([], ""),
    ("<IBM>", "IBM.US"), (5, ""), ([{"name": "IBM"}], ""),
)  # fmt: skip


@pytest.mark.parametrize(
    ("column", "cell", "found"),
    [*((column, "aapl; IBM", "AAPL.US IBM.US") for column in COLUMNS), *(("ticker", *each) for each in CELLS)],
)
def test_names_are_read_in_their_usual_spellings(
    load: Load, db_manager: DatabaseManager, column: str, cell: object, found: str
) -> None:
    report = load({"headline": "Up", column: cell})

    assert links(db_manager) == {("Up", each) for each in found.split()}
    assert (report.rows_written, report.links) == (1, len(found.split()))


def test_a_parquet_file_may_hold_lists(load: Load, db_manager: DatabaseManager) -> None:
    table = pa.table({"date": [DAY, DAY], "title": ["Up", "Down"], "tickers": [["AAPL", "IBM"], None]})
    pq.write_table(table, "news.parquet")
    report = TextIngest(db_manager).ingest_news([Path("news.parquet")], TextIngestOptions(now=NOW))

    assert report.rows_written == 2
    assert links(db_manager) == {("Up", "AAPL.US"), ("Up", "IBM.US")}


def test_what_is_not_known_is_told_and_linked_once_it_is(load: Load, db_manager: DatabaseManager) -> None:
    rows = [{"headline": "Up", "ticker": "XOM, VOD"}, {"headline": "Down", "ticker": "XOM"}]
    report = load(*rows)
    assert report.rows_written == 2
    assert links(db_manager) == set()
    assert "VOD (VOD.LSE or VOD.US): names that fit several instruments" in "\n".join(report.notes)
    assert "1 name of no stored instrument: 'XOM' (2 texts)" in "\n".join(report.notes)
    assert "ingest prices FILE" in "\n".join(report.notes)

    add_instruments(db_manager, {"XOM.US": "XOM"})
    again, third = load(*rows), load(*rows)
    assert (again.rows_written, again.links, again.rows_unchanged) == (2, 2, 0)
    assert (third.rows_written, third.links, third.rows_unchanged) == (0, 0, 2)
    assert links(db_manager) == {("Up", "XOM.US"), ("Down", "XOM.US")}


def test_a_text_loaded_again_is_filled_in_and_loses_nothing(
    load: Load, db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    load({"headline": "Up"})
    second = load({"headline": "Up", "language": "en", "ticker": "AAPL"}, {"headline": "Up", "ticker": "IBM"})
    before = table_digests()
    third = load({"headline": "Up", "source": None}, {"headline": "Up", "ticker": "AAPL"})

    assert (second.rows_written, second.links, second.duplicates) == (1, 2, 1)
    assert (third.rows_written, third.rows_unchanged) == (0, 1)
    assert table_digests() == before
    assert links(db_manager) == {("Up", "AAPL.US"), ("Up", "IBM.US")}


def test_a_whole_file_may_concern_one_stored_instrument(load: Load, db_manager: DatabaseManager) -> None:
    with pytest.raises(NotFoundError, match=r"unknown instrument 'AAPL'.*ingest prices FILE"):
        load({"headline": "Up"}, instrument_id="AAPL")
    assert links(db_manager) == set()
    load({"headline": "Up"}, {"headline": "Down", "ticker": "IBM"}, instrument_id="AAPL.US")
    assert links(db_manager) == {("Up", "AAPL.US"), ("Down", "IBM.US")}
    Path("macro.csv").write_text("type,date,text,paper\nNOTE,2024-01-02T10:00Z,Held,IBM\n")
    options = TextIngestOptions(now=NOW, columns={"instrument_id": "paper"}, metadata_columns=("paper",))
    TextIngest(db_manager).ingest_macro([Path("macro.csv")], options)
    assert ("Held", "IBM.US") in links(db_manager)


def test_a_dry_run_links_nothing(load: Load, db_manager: DatabaseManager) -> None:
    assert load({"headline": "Up", "ticker": "AAPL"}, dry_run=True).links == 1
    assert links(db_manager) == set()


def test_removing_an_instrument_or_a_text_removes_its_links_alone(load: Load, db_manager: DatabaseManager) -> None:
    load({"headline": "Up", "ticker": "AAPL IBM"}, {"headline": "Down", "ticker": "IBM"})
    for is_plan in (True, False):
        removal = Removal(db_manager, is_plan=is_plan)
        assert removal.bars("AAPL.US", date.min, date.max) == {"text_instruments": 1, "joint_embeddings": 0}
    assert links(db_manager) == {("Up", "IBM.US"), ("Down", "IBM.US")}
    assert Removal(db_manager, is_plan=False).bars("AAPL.US", date.min, date.max) == {}
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM news_articles WHERE headline = 'Up'")
    assert links(db_manager) == {("Down", "IBM.US")}


def embed(db_manager: DatabaseManager, vectors: dict[str, list[float]]) -> None:
    """Give each headline a vector of a text model."""
    ModelRegistry(db_manager).register("text-a", "text", {"family": "test"})
    with db_manager.get_historical_connection() as connection:
        for headline, vector in vectors.items():
            connection.execute(
                "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
                " SELECT 'NEWS', article_id::text, 'text-a', %s, %s FROM news_articles WHERE headline = %s",
                (len(vector), encode_vector(np.array(vector, np.float32)), headline),
            )


def test_searches_and_means_choose_by_instrument(load: Load, db_manager: DatabaseManager) -> None:
    later = {"published_at": "2024-01-02T11:00:00Z", "known_at": "2024-01-04T00:00:00Z"}
    load(
        {"headline": "Profit rose", "ticker": "AAPL"}, {"headline": "Profit fell", "ticker": "IBM"},
        {"headline": "Profit known late", "ticker": "AAPL,VOD.US", **later}, {"headline": "Profit of nobody"},
    )  # fmt: skip
    embed(db_manager, {"Profit rose": [1, 0], "Profit fell": [0, 1], "Profit known late": [0.5, 0.5]})

    def found(day: date, *instruments: str) -> set[str]:
        filters = TextFilters(instrument_id=instruments)
        asked = TextQuery("profit", day, by="words", filters=filters)
        return {hit.text.text for hit in App(db_manager).text_search.find(asked).hits}

    assert found(date(2024, 1, 3), "AAPL.US") == {"Profit rose"}
    assert found(date(2024, 1, 3), "IBM.US", "AAPL.US") == {"Profit rose", "Profit fell"}
    assert found(date(2024, 1, 4), "AAPL.US") == {"Profit rose", "Profit known late"}
    for unknown in ("VOD.US", "AAPL"):
        with pytest.raises(NotFoundError, match=rf"no .*NEWS text concerns '{unknown}'.*: AAPL.US, IBM.US$"):
            found(date(2024, 1, 3), "IBM.US", unknown)
    assert found(date(2024, 1, 4), "VOD.US") == {"Profit known late"}

    about = App(db_manager).wired.concerned_texts.newest(["AAPL.US"], date(2024, 1, 3), 5)
    assert [each.text for each in about] == ["Profit rose"]
    _, means = App(db_manager).face.text_means("AAPL.US", "NEWS", DateSpan.of_range(date.min, date.max), None)
    assert means.vectors.tolist() == [[1.0, 0.0]]  # what was known later belongs to no date
    with pytest.raises(InputRefusedError, match=r"no NEWS text concerns 'MSFT.US'; .*AAPL.US, IBM.US"):
        App(db_manager).face.text_means("MSFT.US", "NEWS", DateSpan.of_range(date.min, date.max), None)
    scope = REGIME_NEWS.entity_scope("US", {"language": None, "instrument_id": "AAPL.US"})
    assert scope["news_filters"] == {"instrument_id": "AAPL.US"}


def test_a_joint_space_takes_the_texts_of_an_instrument(load: Load, db_manager: DatabaseManager) -> None:
    load({"headline": "Profit", "ticker": "AAPL"}, {"headline": "Loss", "ticker": "IBM"})
    embed(db_manager, {"Profit": [1, 0], "Loss": [0, 1]})
    save_regimes(db_manager, [date(2024, 1, 2)], dim=2)
    app, span = App(db_manager), DateSpan.of_date(date(2024, 1, 2))
    choice = JointModelChoice("num-regime-core-v1", "text-a", "joint-regime-core-v1", 0.0, 1.0)

    def join(**filters: str | None) -> int:
        request = JointRequest(REGIME_NEWS, "US", span, "num-regime-core-v1", "text-a", filters)
        return app.joint.backfill([request], choice).report.written

    assert [join(instrument_id="AAPL.US"), join(instrument_id="AAPL.US"), join(language=None)] == [1, 0, 1]
    rows = app.joint.rows(REGIME_NEWS, "US", "joint-regime-core-v1", date.min, date.max, None)
    texts = {row.entity_scope["news_filters"].get("instrument_id"): row.vector.tolist() for row in rows}
    assert texts == {"AAPL.US": [1.0, 0.0], None: [0.5, 0.5]}
    with pytest.raises(InputRefusedError, match=r"no NEWS text concerns 'MSFT.US'; .*AAPL.US, IBM.US"):
        join(instrument_id="MSFT.US")
    removed = Removal(db_manager, is_plan=False).bars("AAPL.US", date.min, date.max)
    assert removed == {"text_instruments": 1, "joint_embeddings": 1}


def test_memory_chooses_as_the_database_does(load: Load, db_manager: DatabaseManager) -> None:
    told = {"Profit": ("AAPL.US",), "Loss": ("IBM.US", "AAPL.US"), "Nothing": ()}
    load(*({"headline": headline, "instrument_id": list(ids)} for headline, ids in told.items()))
    vectors = {"Profit": [1.0, 0.0], "Loss": [0.0, 1.0], "Nothing": [5.0, 5.0]}
    embed(db_manager, vectors)
    memory = Memory()
    docs = [TextDoc("NEWS", str(at), headline) for at, headline in enumerate(told)]
    memory.texts.save_embeddings(docs, "text-a", np.array([*vectors.values()], np.float32))
    at = datetime(2024, 1, 2, 10, tzinfo=UTC)
    source = MemoryTexts(
        memory.texts,
        (
            DatedText(SourceText("NEWS", doc.source_id, doc.text, None), at, instrument_ids=told[doc.text])
            for doc in docs
        ),
    )
    for instrument_id in ("AAPL.US", "IBM.US", "VOD.US", None):
        wanted = TextSelection("NEWS", "text-a", {"instrument_id": instrument_id})
        both = [each.load(wanted, date.min, date.max) for each in (source, TextVectorReader(db_manager))]
        assert both[0].vectors.tolist() == both[1].vectors.tolist()
        assert both[0].n_texts.tolist() == both[1].n_texts.tolist()


def test_python_reads_the_means_of_an_instrument(load: Load, db_manager: DatabaseManager) -> None:
    load({"headline": "Profit", "ticker": "AAPL"}, {"headline": "Loss", "ticker": "AAPL"})
    embed(db_manager, {"Profit": [1, 0], "Loss": [0, 1]})
    with prometheus.open() as opened:
        means = opened.text_means("AAPL.US")
        assert (len(means), means.encoder_model_id, means.to_numpy().tolist()) == (1, "text-a", [[0.5, 0.5]])
        assert "1 dates with texts" in repr(means)
        (hit,) = opened.texts("profit", "2024-01-31", by="words", instrument_id="AAPL.US")
        assert hit.text.text == "Profit"


def test_an_instrument_that_is_no_name_is_refused() -> None:
    with pytest.raises(UsageError, match="instrument_id ' ' names nothing"):
        TextFilters(instrument_id=" ")
    assert TextFilters(instrument_id="B").instrument_id == ("B",)
    assert TextFilters(instrument_id=["B", "A", "B"]).instrument_id == ("A", "B")


names = st.text(st.characters(min_codepoint=33, max_codepoint=1_000, exclude_characters=",;|[](){}<>\"'$"), min_size=1)


@given(st.lists(names.filter(lambda name: names_in(name) == (name,)), unique=True), st.sampled_from([", ", ";", " | "]))
def test_however_names_are_listed_they_are_the_same(listed: list[str], between: str) -> None:
    assert names_in(between.join(listed)) == tuple(listed)
    assert names_in(json.dumps(listed)) == tuple(listed)
    assert names_in(str(listed).replace("\\\\", "\\")) == names_in(" ".join(listed)) or "\\" in str(listed)


def test_later_texts_change_no_earlier_answer(load: Load, db_manager: DatabaseManager) -> None:
    load({"headline": "Profit rose", "ticker": "AAPL"})
    asked = TextQuery("profit", date(2024, 1, 3), by="words", filters=TextFilters(instrument_id="AAPL.US"))
    before = App(db_manager).text_search.find(asked).to_dict()
    for days in (2, 3):
        day = (datetime(2024, 1, 2, 10, tzinfo=UTC) + timedelta(days)).isoformat()
        load({"headline": "Profit fell", "ticker": "AAPL", "published_at": day})
        load({"headline": "Profit rose again", "ticker": "AAPL", "known_at": day})
    assert App(db_manager).text_search.find(asked).to_dict() == before
