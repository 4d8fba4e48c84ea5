"""The page as the server writes it: the figures of the app, as text, with a way out of every error."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient
from tests.integration.test_forward_record import state
from tests.web.serving import FIRST, LAST, REGION, client_of, config_of

from prometheus.analogs.worth import WORTH
from prometheus.app import App, open_app
from prometheus.app.briefings import N_COMPARED_TEXTS, N_UNLIKE
from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig
from prometheus.mcp.tools import call
from prometheus.regime import RegimeState, RegimeStorage
from prometheus.regime.types import RegimeLabel
from prometheus.spelling import spell_chance
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.rendering import _age
from prometheus.web.server import create_app, open_reading_app

pytest_plugins = ["tests.web.fixtures"]

DAY = "2020-03-16"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}


LATE_TEXT = """
    INSERT INTO macro_events (event_type, timestamp, known_at, country, description, source)
    VALUES ('LATE', {}, {}, 'US', 'known too late', 'test')
"""


@pytest.fixture
def empty_client(db_manager: DatabaseManager) -> Iterator[TestClient]:
    """Asks a server over databases without a row."""
    with client_of(create_app(App(db_manager), AccessRules(LOOPBACK_HOSTS))) as client:
        yield client


def text_of(client: TestClient, path: str, status: int = 200) -> str:
    """Return what a reader sees of a page: its text, with single spaces."""
    response = client.get(path, headers=BROWSER)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    visible = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", response.text, flags=re.DOTALL)
    return " ".join(html.unescape(visible).split())


def test_a_drift_from_the_calibration_is_told_once_a_night_has_kept_its_limits(changeable_home: Path) -> None:
    config = config_of(changeable_home)
    early, wild = f"/regions/{REGION}/2019-02-28", f"/regions/{REGION}/2020-04-30"
    with open_app(config) as writing:
        assert writing.drift.on(REGION, date(2020, 4, 30), only_kept=True) is None
        history = writing.regimes.history(REGION)
        writing.drift.keep_norms(REGION, history.model_id, history.last)
        drift = writing.drift.on(REGION, date(2020, 4, 30))

    assert drift is not None
    with open_reading_app(config) as app, client_of(create_app(app, AccessRules(LOOPBACK_HOSTS))) as client:
        assert f"C{str(drift.advice)[1:]}. The calibration knows sessions up to 2007-12-31." in text_of(client, wild)
        assert "Calibrate again" not in text_of(client, early)
        told, too_early = (
            client.get(f"/v1/regions/{REGION}/regimes/{path[-10:]}").json()["drift"] for path in (wild, early)
        )
        assert told == drift.to_dict()
        assert too_early is None
        for tool in ("get_regime", "explain_regime"):
            answer, is_answer = call(app, tool, {"region": REGION, "as_of": wild[-10:]})
            assert is_answer
            assert answer["drift"] == told


def test_the_overview_says_each_regions_regime(client: TestClient, reading_app: App) -> None:
    (state,) = reading_app.regimes.states(REGION, date.fromisoformat(LAST), date.fromisoformat(LAST), None)

    text = text_of(client, "/")

    word = state.regime_label.name.replace("_", "-").capitalize()
    assert re.search(rf"{REGION} GSPC.INDX {word}( changed)? {spell_chance(state.confidence, unit=' %')}", text)
    assert "Old: the newest session is more than 5 weekdays before" in text
    assert re.search(r"These are the newest data, \d+ years old\.", text_of(client, f"/regions/{REGION}"))


@pytest.mark.parametrize(
    ("days", "age"),
    [
        (0, "0 days"),
        (13, "13 days"),
        (14, "2 weeks"),
        (60, "9 weeks"),
        (61, "2 months"),
        (520, "17 months"),
        (1100, "3 years"),
    ],
)
def test_ages_are_in_units_that_people_use(days: int, age: str) -> None:
    assert _age(datetime.now(UTC).date() - timedelta(days)) == age


def test_a_date_shows_what_the_app_says_of_it(client: TestClient, reading_app: App) -> None:
    briefing = reading_app.briefings.of(REGION, date.fromisoformat(DAY))

    text = text_of(client, f"/regions/{REGION}/{DAY}")

    assert "Crisis 9" in text
    assert f"Since {briefing.changes[0].as_of_date}" in text
    for reason in briefing.reasons:
        assert " ".join(reason.text.split()) in text
    assert briefing.analogs is not None
    for analog in briefing.analogs.analogs:
        assert f"{analog.as_of_date} " in text
        assert f"{analog.distance:.3f}" in text
    for told in briefing.texts:
        assert told.text.text in text
    assert briefing.before is not None
    assert (
        f"Risk-off, as on {briefing.before.as_of_date}" in text or f"Crisis, as on {briefing.before.as_of_date}" in text
    )
    for moved in briefing.movements:
        assert f"{moved.driver[0].upper()}{moved.driver[1:]}" in text
    for sessions, chances in briefing.outlook.items():
        assert f"In {sessions} sessions" in text
        assert f"Crisis {spell_chance(chances[RegimeLabel.CRISIS], unit=' %')}" in text


def test_what_moved_since_a_regime_began_is_shown_from_its_third_session_on(
    client: TestClient, reading_app: App
) -> None:
    briefing = reading_app.briefings.of(REGION, date(2020, 3, 31))
    began = briefing.changes[0].as_of_date
    first, *_, last = reading_app.regimes.states(REGION, began, briefing.as_of_date, None)
    assert list(briefing.spell_movements) == reading_app.calibrations.compare(first, last)
    assert f"Since Crisis began, on {began} Pull Driver Before Now" in text_of(client, f"/regions/{REGION}/2020-03-31")
    assert "began, on" not in text_of(client, f"/regions/{REGION}/{began}")


def test_each_text_of_a_day_is_shown_with_the_earlier_one_nearest_to_it(client: TestClient, reading_app: App) -> None:
    briefing = reading_app.briefings.of(REGION, date.fromisoformat(DAY))
    assert [like.told for like in briefing.like_texts] == list(briefing.texts[:N_COMPARED_TEXTS])
    body = client.get(f"/regions/{REGION}/{DAY}", headers=BROWSER).text
    text = text_of(client, f"/regions/{REGION}/{DAY}")
    for like in briefing.like_texts:
        assert like.hit is not None
        assert like.hit.text.timestamp.date() < like.told.text.timestamp.date()
        assert f"{like.hit.text.timestamp:%Y-%m-%d} {like.hit.text.kind}" in text
        assert "".join(part for part, _ in like.hit.excerpt(300)).split()[-1] in text
        assert like.hit.passage is not None
        first, last = like.hit.passage.words[0]
        assert f"<mark>{like.hit.text.text[first:last]}</mark>" in body
    kinds = {like.told.text.kind: like for like in briefing.like_texts}
    assert kinds["VIX"].hit is not None
    assert kinds["VIX"].hit.text.kind == "VIX"


def test_what_was_said_on_days_like_this_one_is_of_the_week_that_ends_with_each(
    client: TestClient, reading_app: App
) -> None:
    briefing = reading_app.briefings.of(REGION, date.fromisoformat(DAY))
    assert briefing.analogs is not None
    assert list(briefing.said_then) == sorted(each.as_of_date for each in briefing.analogs.analogs)
    text = text_of(client, f"/regions/{REGION}/{DAY}")
    for day, then in briefing.said_then.items():
        said = then.hit.text.timestamp.date()
        assert timedelta(0) <= day - said <= timedelta(6)
        assert f"{day} : {said} {then.hit.text.kind}" in text


def test_nothing_later_than_the_date_is_on_its_page(client: TestClient) -> None:
    body = client.get(f"/regions/{REGION}/{DAY}", headers=BROWSER).text
    known = re.sub(r"(?s)<form.*?</form>", "", body)
    series = client.get(f"/regions/{REGION}/{DAY}/series.json").json()
    marks = client.get(f"/regions/{REGION}/{DAY}/marks.json").json()

    assert max(re.findall(r"\b20\d\d-\d\d-\d\d\b", known)) == DAY
    last = (np.datetime64(DAY) - np.datetime64("1970-01-01")).astype(int)
    assert sum(series["regimeDays"]) == sum(series["closeDays"]) == last
    assert last - 7 < sum(marks["days"]) <= last
    assert len(marks["days"]) == len(marks["of"]) > len(marks["kinds"]) > 1


def test_a_page_of_a_date_does_not_change_when_more_days_come(
    client: TestClient, filled_config: PrometheusConfig
) -> None:
    """Poison closes, regimes and texts after the date; every byte of its page but the way onward stays.

    The series, as they also lie over those of another region, the marks and the drawing stay, too.
    """
    address, form = f"/regions/{REGION}/{DAY}", r"(?s)<form.*?</form>"
    drawn = ("series.json", "marks.json", "chart.svg", f"chart.svg?compare={REGION}")

    def said() -> list[str]:
        page = re.sub(form, "", client.get(address, headers=BROWSER).text)
        return [page, *(client.get(f"{address}/{name}").text for name in drawn)]

    before = said()
    writing = DatabaseManager(filled_config)
    poisons = [
        ("historical", "UPDATE prices_daily SET adjusted_close = 3 * adjusted_close WHERE trade_date > %s"),
        ("historical", "UPDATE prices_daily SET adjusted_close = adjusted_close / 3 WHERE trade_date > %s"),
        ("runtime", "UPDATE regimes SET confidence = 1 - confidence WHERE as_of_date > %s"),
        ("runtime", "UPDATE regimes SET confidence = 1 - confidence WHERE as_of_date > %s"),
        ("historical", LATE_TEXT.format("timestamp '2020-03-13 12:00'", "%s::date + 1")),
        ("historical", LATE_TEXT.format("%s::date + 1", "NULL")),
        ("historical", "DELETE FROM macro_events WHERE event_type = 'LATE' AND %s <> ''"),
    ]
    try:
        for database, statement in poisons:
            connect = writing.get_historical_connection if database == "historical" else writing.get_runtime_connection
            with connect() as connection:
                connection.execute(statement, (DAY,))
            assert said() == before
    finally:
        writing.close_all()


def test_a_held_label_says_so(client: TestClient, filled_config: PrometheusConfig) -> None:
    writing = DatabaseManager(filled_config)
    held = """UPDATE regimes SET metadata = {} WHERE as_of_date = %s"""
    try:
        for change, is_said in (
            ('metadata || \'{"held": "the newest bar is suspect"}\'', True),
            ("metadata - 'held'", False),
        ):
            with writing.get_runtime_connection() as connection:
                connection.execute(held.format(change), (DAY,))
            text = client.get(f"/regions/{REGION}/{DAY}", headers=BROWSER).text
            assert ("Held: the newest bar is suspect" in text) == is_said
            told = client.get(f"/v1/regions/{REGION}/regimes/{DAY}").json()
            assert told["held"] == ("the newest bar is suspect" if is_said else None)
            (row,) = client.get(f"/v1/regions/{REGION}/regimes", params={"start": DAY, "end": DAY}).json()["items"]
            assert row["held"] == is_said
    finally:
        writing.close_all()


def test_open_findings_stand_on_the_page_of_their_date_and_not_on_earlier_ones(
    client: TestClient, filled_config: PrometheusConfig
) -> None:
    writing = DatabaseManager(filled_config)
    change = "UPDATE prices_daily SET close = close {0}, adjusted_close = adjusted_close {0} WHERE trade_date = %s"
    try:
        for step, is_said in (("* 100", True), ("/ 100", False)):
            with writing.get_historical_connection() as connection:
                connection.execute(change.format(step), (DAY,))
            text = client.get(f"/regions/{REGION}/{DAY}", headers=BROWSER).text
            assert ("open finding" in text) == is_said
            before = client.get(f"/regions/{REGION}/{date.fromisoformat(DAY) - timedelta(7)}", headers=BROWSER)
            assert before.status_code == 200
            assert "open finding" not in before.text
    finally:
        writing.close_all()


def test_a_text_is_marked_from_the_date_on_which_it_was_known(
    client: TestClient, filled_config: PrometheusConfig
) -> None:
    writing = DatabaseManager(filled_config)
    try:
        with writing.get_historical_connection() as connection:
            connection.execute(LATE_TEXT.format("'2020-03-12 12:00+00'", "'2020-03-17 12:00+00'"))
        for day, is_marked in ((DAY, False), ("2020-03-17", True)):
            assert ("LATE" in client.get(f"/regions/{REGION}/{day}/marks.json").json()["kinds"]) is is_marked
    finally:
        with writing.get_historical_connection() as connection:
            connection.execute("DELETE FROM macro_events WHERE event_type = 'LATE'")
        writing.close_all()


def test_the_newest_session_is_asked_for_at_the_price_of_a_tag(client: TestClient) -> None:
    first = client.get(f"/regions/{REGION}/newest.json")
    again = client.get(f"/regions/{REGION}/newest.json", headers={"If-None-Match": first.headers["etag"]})

    assert first.json() == {"session": LAST, "label": "RISK_OFF"}
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/regions/MARS/newest.json", headers=BROWSER).json()["error"] == "no_regimes"


def test_the_series_are_those_of_the_app(client: TestClient, reading_app: App) -> None:
    closes, timeline = reading_app.briefings.series(REGION, date.fromisoformat(LAST))

    series = client.get(f"/regions/{REGION}/{LAST}/series.json").json()

    assert [series["labels"][code] for code in series["regimes"]] == timeline.label_names()
    np.testing.assert_allclose(np.array(series["confidences"]) / 100, timeline.confidences, atol=5e-3)
    np.testing.assert_allclose(series["closes"], closes.values[-len(series["closes"]) :], rtol=1e-4)
    assert len(series["closeDays"]) == len(series["regimeDays"]) + 252


def test_the_paths_of_analogs_lie_in_the_page_as_data(client: TestClient, reading_app: App) -> None:
    body = client.get(f"/regions/{REGION}/{DAY}", headers=BROWSER).text
    match = re.search(r'<script type="application/json" id="analog-paths">(.*?)</script>', body, re.DOTALL)
    assert match is not None
    paths: dict[str, Any] = json.loads(match[1])
    report = reading_app.briefings.of(REGION, date.fromisoformat(DAY)).analogs
    assert report is not None

    assert [each["day"] for each in paths["analogs"]] == [str(each.as_of_date) for each in report.analogs]
    assert len(paths["today"]["path"]) == paths["today"]["before"] + 1  # nothing after the day
    assert paths["today"]["path"][-1] == 0


def test_the_days_least_alike_and_what_analogs_are_worth_are_told(client: TestClient, reading_app: App) -> None:
    briefing = reading_app.briefings.of(REGION, date.fromisoformat(DAY))
    assert briefing.analogs is not None
    assert briefing.unlike is not None
    days = [str(each.as_of_date) for each in briefing.unlike.analogs]
    assert len(days) == N_UNLIKE
    assert min(each.distance for each in briefing.unlike.analogs) > briefing.analogs.analogs[-1].distance

    text = text_of(client, f"/regions/{REGION}/{DAY}")

    told = text[text.index("Least like this day:") :]
    assert all(day in told[:200] for day in days)
    assert WORTH in told


def test_a_weekend_shows_the_friday_and_says_so(client: TestClient) -> None:
    assert "Friday 2020-03-13 (the last session up to 2020-03-15)" in text_of(client, f"/regions/{REGION}/2020-03-15")


def test_a_region_may_have_a_slash_in_its_name(db_manager: DatabaseManager) -> None:
    states = [
        RegimeState(day, "EUR/USD", RegimeLabel.NEUTRAL, 1.0, np.ones(4, dtype=np.float32), {}, "m", "m")
        for day in (date(2024, 1, 2), date(2024, 1, 3))
    ]
    RegimeStorage(db_manager=db_manager).save_regimes(states)
    with client_of(create_app(App(db_manager), AccessRules(LOOPBACK_HOSTS))) as client:
        assert 'href="/regions/EUR%2FUSD"' in client.get("/").text
        found = client.get("/v1/regions/EUR%2FUSD/regimes/2024-01-02").json()
        assert (found["region"], found["as_of_date"]) == ("EUR/USD", "2024-01-02")
        assert client.get("/v1/regions/EUR%2fGBP/regimes").json()["error"] == "no_regimes"
        assert client.get("/v1/regions/EUR/USD/regimes").status_code == 404


def test_nothing_stored_says_what_to_run(empty_client: TestClient) -> None:
    text = text_of(empty_client, "/")

    assert "Nothing is stored yet" in text
    assert "python -m prometheus quick FILE" in text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/regions/MARS", 404, f"Region 'MARS' has no regimes at all (regions that have: {REGION})"),
        (f"/regions/{REGION}/1990-01-02", 404, f"there are some from {FIRST} to {LAST}"),
        (f"/regions/{REGION}/2031-01-02", 404, f"there are some from {FIRST} to {LAST}"),
        (f"/regions/{REGION}/yesterday", 422, "'yesterday' is no date; write YYYY-MM-DD"),
        (f"/regions/{REGION}?model_id=nobody", 404, "of nobody (models that have: num-regime-core-v2@"),
        ("/nowhere", 404, "There is nothing at this address"),
    ],
)
def test_what_cannot_be_shown_gets_a_page_with_the_way_out(
    client: TestClient, path: str, status: int, words: str
) -> None:
    text = text_of(client, path, status)

    assert words in text
    assert "All regions" in text


def test_machines_get_their_errors_as_json(client: TestClient) -> None:
    response = client.get(f"/regions/{REGION}/1990-01-02/series.json", headers=BROWSER)

    assert (response.status_code, response.json()["error"]) == (404, "no_regimes")
    assert client.get("/v1/regions/MARS/regimes", headers=BROWSER).json()["error"] == "no_regimes"


def test_a_database_that_does_not_answer_gets_a_page_that_tries_again(filled_config: PrometheusConfig) -> None:
    nowhere = SecretStr("host=127.0.0.1 port=1 dbname=nothing")
    config = filled_config.model_copy(
        update={"historical_dsn": nowhere, "runtime_dsn": nowhere, "connect_timeout_s": 1}
    )
    manager = DatabaseManager(config, read_only=True)
    with client_of(create_app(App(manager), AccessRules(LOOPBACK_HOSTS))) as client:
        response = client.get("/", headers=BROWSER)
    manager.close_all()

    assert response.status_code == 503
    assert "/static/retry.js" in response.text
    assert "python -m prometheus db status" in response.text
    assert "127.0.0.1" not in response.text  # whoever looks on learns nothing of the server


def test_pages_read_anew_only_what_was_written_since(db_manager: DatabaseManager) -> None:
    briefings, storage = App(db_manager).briefings, RegimeStorage(db_manager=db_manager)
    storage.save_regimes([state(day) for day in (1, 2)])

    reads = briefings.read()
    assert briefings.read() is reads
    assert len(reads.timeline("US", "m@1").dates) == 2
    storage.save_regime(state(3))
    assert len(briefings.read().timeline("US", "m@1").dates) == 3


def test_the_form_leads_on_without_scripts(client: TestClient) -> None:
    response = client.get(f"/go?region={REGION}&day={DAY}", follow_redirects=False)

    assert (response.status_code, response.headers["location"]) == (303, f"/regions/{REGION}/{DAY}")
    evil = client.get("/go?region=//evil.example&day=", follow_redirects=False)
    assert evil.headers["location"] == "/regions/%2F%2Fevil.example"
