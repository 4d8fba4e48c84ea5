"""Stance in the real database, by the real text model: fitted, read, told as of a date, removed with its text."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest
from tests.fixtures.labelled import FORMS, labelled_rows, write_labels
from tests.fixtures.text_models import needs_minilm

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.stance import FitRequest
from prometheus.app.text_search import TextQuery
from prometheus.data.stance import StanceTable
from prometheus.encoders.stance.shares import DESCRIBES
from prometheus.encoders.texts.documents import TextFilters
from prometheus.errors import ModelFingerprintError, NotFoundError, UsageError
from prometheus.mcp import tools
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app

pytestmark = needs_minilm

START = datetime(2024, 1, 2, 12, tzinfo=UTC)
AS_OF = date(2024, 1, 31)
HAWKISH, DOVISH, NEUTRAL = (" ".join(form.format("Inflation") for form in FORMS[name]) for name in FORMS)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "labels.csv")


def write(connection: psycopg.Connection[Any], text: str, day: int, **columns: Any) -> int:
    values = {"event_type": "NOTE", "timestamp": START + timedelta(days=day), "description": text, **columns}
    names, places = ", ".join(values), ", ".join(f"%({name})s" for name in values)
    query = f"INSERT INTO macro_events ({names}) VALUES ({places}) RETURNING event_id"
    ((key,),) = connection.execute(query, values).fetchall()
    return int(key)


@pytest.fixture
def filled(db_manager: DatabaseManager, labels: Path) -> App:
    app = App(db_manager)
    app.stance.fit(FitRequest((labels,), "stance-v1"))
    with db_manager.get_historical_connection() as connection:
        write(connection, f"Welcome to all who came today. {DOVISH}", 0, source="Bank A")
        write(connection, HAWKISH, 1, source="Bank B")
        write(connection, "Der Rat hat beschlossen, die Leitzinsen nicht zu ändern und nicht zu senken.", 2)
        write(connection, "We thank everyone who came to see the new building.", 3)
        write(connection, NEUTRAL, 4, known_at=START + timedelta(days=60))
    app.stance.backfill("MACRO", None, date.min, date.max)
    return app


def counted(db_manager: DatabaseManager) -> list[tuple[Any, ...]]:
    with db_manager.get_historical_connection() as connection:
        return connection.execute(
            "SELECT source_id, is_read, hawkish, dovish, neutral, not_sure FROM text_stances ORDER BY 1"
        ).fetchall()


def test_a_head_is_stored_once_and_means_one_thing_for_ever(
    db_manager: DatabaseManager, labels: Path, tmp_path: Path, table_digests: TableDigest
) -> None:
    app = App(db_manager)
    first = app.stance.fit(FitRequest((labels,), "stance-v1"))
    before = table_digests()
    again = app.stance.fit(FitRequest((labels,), "stance-v1"))
    assert (first.is_new, again.is_new, again.figures) == (True, False, first.figures)
    assert first.labels_until == date(2009, 12, 31)
    other = write_labels(tmp_path / "other.csv", labelled_rows()[1:])
    with pytest.raises(ModelFingerprintError, match="labels_sha256"):
        app.stance.fit(FitRequest((other,), "stance-v1"))
    assert table_digests() == before
    head = StanceTable(db_manager).load_head("stance-v1")
    assert head is not None
    assert head.config["encoder"] == db_manager.config.hf_model_name


def test_texts_are_read_once_and_those_of_other_languages_are_counted(
    filled: App, db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    rows = counted(db_manager)
    assert [row[1] for row in rows] == [True, True, False, True, True]
    assert [max(range(4), key=row[2:].__getitem__) for row in (rows[0], rows[1])] == [1, 0]
    assert rows[3][2:] == (0, 0, 0, 0)
    before = table_digests()
    again = filled.stance.backfill("MACRO", None, date.min, date.max)
    assert (again.report.planned, again.report.written) == (5, 0)
    assert {name: digest for name, digest in table_digests().items() if "runs" not in name} == {
        name: digest for name, digest in before.items() if "runs" not in name
    }


def test_a_text_alone_and_among_others_gets_the_same_row(filled: App, db_manager: DatabaseManager) -> None:
    before = counted(db_manager)
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM text_stances")
    for day in range(5):
        only = (START + timedelta(days=day)).date()
        filled.stance.backfill("MACRO", "stance-v1", only, only)
    assert counted(db_manager) == before


def test_what_is_told_of_a_date_does_not_change_with_later_texts(filled: App, db_manager: DatabaseManager) -> None:
    before, day = filled.stance.series(AS_OF), filled.stance.of_day(START.date(), AS_OF)
    assert [row.origin for row in before.rows] == ["Bank A", "Bank B", ""]
    with db_manager.get_historical_connection() as connection:
        write(connection, HAWKISH, 40)
        write(connection, HAWKISH, 0, known_at=START + timedelta(days=45), event_type="LATE")
    filled.stance.backfill("MACRO", None, date.min, date.max)
    assert filled.stance.series(AS_OF) == before
    assert filled.stance.of_day(START.date(), AS_OF) == day
    assert day is not None
    assert "dovish" in day.describe() and DESCRIBES in day.describe()  # noqa: PT018 -- one line


def test_a_removed_text_loses_its_stance_and_a_corrected_one_is_read_anew(
    filled: App, db_manager: DatabaseManager
) -> None:
    first = counted(db_manager)[0][0]
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE macro_events SET description = %s WHERE event_id = %s", (HAWKISH, first))
        connection.execute("DELETE FROM macro_events WHERE source = 'Bank B'")
    assert first not in [row[0] for row in counted(db_manager)]
    assert [night.n_written for night in filled.stance.nightly(date.max, dry_run=False)] == [1]
    assert counted(db_manager)[0][2] > 0
    assert [night.n_written for night in filled.stance.nightly(date.max, dry_run=False)] == [0]


def test_a_night_goes_on_without_the_text_model_of_a_head(
    filled: App, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = counted(db_manager)[0][0]
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE macro_events SET description = %s WHERE event_id = %s", (HAWKISH, first))
    monkeypatch.setattr("prometheus.encoders.texts.sources.PINNED", {})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (night,) = filled.stance.nightly(date.max, dry_run=False)
    assert (night.n_written, len(night.failures)) == (0, 1)
    assert "all-MiniLM-L6-v2" in night.failures[0]


def test_a_search_finds_texts_of_a_stance_only(filled: App) -> None:
    query = TextQuery("inflation", AS_OF, by="words", filters=TextFilters(stance="hawkish"))
    assert [hit.text.origin for hit in filled.text_search.find(query).hits] == ["Bank B"]
    with pytest.raises(UsageError, match="choose from hawkish, dovish, neutral"):
        TextFilters(stance="angry")
    assert filled.stance.remark(query.filters).startswith("stance by stance-v1, texts up to 2009-12-31 are in-sample")


def test_without_a_head_the_way_out_is_said(db_manager: DatabaseManager) -> None:
    app = App(db_manager)
    with db_manager.get_historical_connection() as connection:
        write(connection, HAWKISH, 0)
    with pytest.raises(NotFoundError, match="there is no head; fit one on labelled sentences"):
        app.stance.series(AS_OF)
    with pytest.raises(NotFoundError, match="fit a head with fit_stance"):
        app.text_search.find(TextQuery("inflation", AS_OF, by="words", filters=TextFilters(stance="dovish")))
    assert app.stance.of_day(START.date(), AS_OF) is None
    assert app.stance.nightly(AS_OF, dry_run=False) == ()


def test_http_and_language_models_are_told_the_same(filled: App) -> None:
    client = TestClient(create_app(filled, AccessRules(LOOPBACK_HOSTS | {"testserver"})))
    told = client.get("/v1/texts/stance", params={"as_of": str(AS_OF), "stance": "dovish"}).json()
    assert [(row["origin"], row["main"], row["in_sample"]) for row in told["items"]] == [("Bank A", "dovish", False)]
    found = client.get(
        "/v1/texts/search", params={"as_of": str(AS_OF), "q": "inflation", "by": "words", "stance": "dovish"}
    )
    assert [hit["origin"] for hit in found.json()["hits"]] == ["Bank A"]
    by_tool, is_answer = tools.call(filled, "tell_stance", {"as_of": str(AS_OF)})
    assert (is_answer, len(by_tool["items"])) == (True, 3)
    refused, is_answer = tools.call(filled, "tell_stance", {"as_of": "2009-12-31"})
    assert (is_answer, refused["error"]) == (False, "no_stance_head")


def test_commands_fit_read_and_show(run: Run, labels: Path, tmp_path: Path, db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection:
        write(connection, DOVISH, 0, source="Bank A")
    fitted = run("fit_stance", str(labels), "--model-id", "stance-v1")
    assert "108 sentences: 36 hawkish" in fitted.stdout
    assert "judged on what it was not fitted on: 2000-2001" in fitted.stdout
    assert "1 written" in run("backfill_stance").stdout
    shown = run("show_stance", "--as-of", str(AS_OF)).stdout
    assert "Bank A" in shown
    assert DESCRIBES in shown
    numbered = write_labels(
        tmp_path / "numbers.csv", [(text, str(len(label) % 3), year) for text, label, year in labelled_rows()]
    )
    refused = run("fit_stance", str(numbered), "--model-id", "stance-v2")
    assert refused.exit_code == 5
    assert "say what it means with --label" in refused.stderr
