"""A text loaded again with a language, country or source is the same text: what lacked is filled in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.fixtures.own_databases import FreshDsn, manager_of

from prometheus.app.databases import DatabaseManager
from prometheus.data.migrations import head_revision
from prometheus.ingest.report import IngestReport, TextIngestOptions
from prometheus.ingest.texts import TextIngest

pytest_plugins = ["tests.fixtures.own_server"]

NOW = datetime(2024, 6, 28, tzinfo=UTC)
HEADER = "published_at,headline,language,source"
Load = Callable[..., IngestReport]
Row = tuple[str | None, str | None]


@pytest.fixture
def news(db_manager: DatabaseManager, tmp_path: Path) -> Load:
    """Load rows of one article (language, source), or lines of a whole file; options as keywords."""

    def load(*rows: Row, **options: Any) -> IngestReport:
        return ingest(db_manager, tmp_path, rows, **options)

    return load


def ingest(manager: DatabaseManager, folder: Path, rows: tuple[Row, ...], **options: Any) -> IngestReport:
    lines = [f"2024-01-02T10:00Z,Up,{language or ''},{source or ''}" for language, source in rows]
    (folder / "news.csv").write_text("\n".join([HEADER, *lines, ""]))
    return TextIngest(manager).ingest_news([folder / "news.csv"], TextIngestOptions(now=NOW, **options))


def stored(manager: DatabaseManager) -> set[Row]:
    with manager.get_historical_connection() as connection:
        rows = connection.execute("SELECT language, source FROM news_articles").fetchall()
    assert len(rows) == len(set(rows))
    return {(language, source) for language, source in rows}


def counts(report: IngestReport) -> tuple[int, int, int]:
    return report.rows_written, report.rows_unchanged, report.duplicates


def test_a_language_named_later_is_filled_in(news: Load, db_manager: DatabaseManager) -> None:
    assert counts(news((None, None))) == (1, 0, 0)
    assert counts(news((None, None), language="en")) == (1, 0, 0)
    assert stored(db_manager) == {("en", None)}
    assert counts(news((None, None), language="en", source="wire")) == (1, 0, 0)
    assert counts(news((None, None))) == counts(news((None, None), source="wire")) == (0, 1, 0)
    assert stored(db_manager) == {("en", "wire")}


def test_texts_that_say_different_ones_are_different(news: Load, db_manager: DatabaseManager) -> None:
    news((None, "A"), (None, "B"), ("en", "A"), ("de", None))
    assert stored(db_manager) == {(None, "B"), ("en", "A"), ("de", None)}
    assert counts(news((None, None))) == (0, 1, 0)
    assert counts(news(("fr", "B"))) == (1, 0, 0)
    assert stored(db_manager) == {("fr", "B"), ("en", "A"), ("de", None)}


def test_rows_of_one_file_that_say_less_are_duplicates_and_their_known_at_counts(
    db_manager: DatabaseManager, tmp_path: Path
) -> None:
    path = tmp_path / "news.csv"
    path.write_text(
        "published_at,headline,language,known_at\n2024-01-02T10:00Z,Up,,2024-01-03T00:00Z\n"
        "2024-01-02T10:00Z,Up,en,2024-01-05T00:00Z\n"
    )
    for expected in ((1, 0, 1), (0, 1, 1)):
        assert counts(TextIngest(db_manager).ingest_news([path], TextIngestOptions(now=NOW))) == expected
    with db_manager.get_historical_connection() as connection:
        rows = connection.execute("SELECT language, known_at FROM news_articles").fetchall()
    assert rows == [("en", datetime(2024, 1, 3, tzinfo=UTC))]


def covers(fuller: Row, less: Row) -> bool:
    return all(mine is None or mine == theirs for mine, theirs in zip(less, fuller, strict=True))


ROWS: list[Row] = list(product((None, "en", "de"), (None, "A")))


@pytest.mark.parametrize("first", ROWS)
@pytest.mark.parametrize("second", ROWS)
def test_whatever_was_loaded_a_second_time_writes_nothing(
    news: Load, db_manager: DatabaseManager, first: Row, second: Row
) -> None:
    news(first, (None, None))
    news(second, ("en", None))
    found = stored(db_manager)
    assert all(any(covers(each, said) for each in found) for said in (first, second, ("en", None)))
    assert not any(covers(one, other) for one in found for other in found if one != other)
    for again in ((first, (None, None)), (second, ("en", None))):
        assert news(*again).rows_written == 0
    assert stored(db_manager) == found


def test_runs_at_once_add_no_copies(db_manager: DatabaseManager, tmp_path: Path) -> None:
    languages = [None, "en"] * 4
    folders = [tmp_path / str(number) for number in range(len(languages))]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda each: ingest(db_manager, each[0], ((each[1], None),)), zip(folders, languages, strict=True))
        )
    assert stored(db_manager) == {("en", None)}


def test_an_older_database_keeps_its_copies_and_gets_no_more(fresh_dsn: FreshDsn, tmp_path: Path) -> None:
    dsn = fresh_dsn()
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
        with psycopg.connect(dsn) as connection:
            for table in ("macro_events", "news_articles"):
                connection.execute(f"ALTER TABLE {table} DROP COLUMN identity_hash")
                connection.execute(f"DROP FUNCTION count_words_of_{table} CASCADE")
            connection.execute("ALTER TABLE prices_daily DROP COLUMN written_digest")
            connection.execute("ALTER TABLE price_decisions DROP CONSTRAINT price_decisions_close_is_finite")
            connection.execute("ALTER TABLE text_embeddings DROP CONSTRAINT text_embeddings_vector_is_finite")
            connection.execute("DROP FUNCTION digest_of_written_bar")
            connection.execute("DROP FUNCTION text_configuration, count_stems")
            connection.execute("DROP FUNCTION keep_source_digests, count_outside_write CASCADE")
            connection.execute("DROP FUNCTION digest_of_bar, digest_of_decision")
            connection.execute("DROP TABLE source_digests, outside_writes, numeric_coverage, settled_work")
            dropped = "text_passages, text_stances, stance_heads, text_words, text_instruments"
            connection.execute(f"DROP TABLE series_values, {dropped}")
            connection.execute("UPDATE alembic_version_historical SET version_num = '0005'")
            connection.execute(
                "INSERT INTO news_articles (published_at, headline, language)"
                " VALUES ('2024-01-02T10:00Z', 'Up', NULL), ('2024-01-02T10:00Z', 'Up', 'en')"
            )
        assert manager.upgrade()["historical"] == ("0005", head_revision("historical"))
        assert stored(manager) == {(None, None), ("en", None)}
        assert counts(ingest(manager, tmp_path, ((None, None),), language="en")) == (0, 1, 0)
        assert stored(manager) == {(None, None), ("en", None)}
