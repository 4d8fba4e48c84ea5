"""A real MCP client asks as of past dates: its answers are right, and nothing later is in any byte of them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

pytest.importorskip("mcp")

from tests.web.mcp_clients import Conversation, Question, Said, ask, ask_with_token, converse, stdio_of
from tests.web.serving import ENVIRONMENT, FIRST, LAST, REGION, TOKEN, Served, config_of, serving

from prometheus.analogs.search import AnalogRequest
from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.histories import Histories
from prometheus.app.text_search import TextQuery
from prometheus.ingest.sample import PRICES
from prometheus.mcp import tools

pytest_plugins = ["tests.web.fixtures"]

CRASH, WEEKEND, CALM, TEXTS = "2020-03-16", "2020-03-21", "2019-06-03", "2025-01-15"
SOME_DAY = "2099-12-31"
"""When all that the home holds was said."""
Truth = Callable[[App], Any]
Read = Callable[[dict[str, Any]], Any]


def _label(app: App, day: str) -> str:
    (label,) = app.regimes.timeline(REGION, date.fromisoformat(day), date.fromisoformat(day)).label_names()
    return label


def _turns(app: App, until: str, since: str = FIRST) -> list[str]:
    """Return the first sessions of new labels, the newest first."""
    timeline = app.regimes.timeline(REGION, date.min, date.fromisoformat(until))
    days = timeline.dates[1:][np.diff(timeline.labels) != 0].astype(str).tolist()
    return [day for day in days[::-1] if day >= since]


def _said_on(app: App, day: str) -> dict[str, Any]:
    (state,) = app.regimes.states(REGION, date.fromisoformat(day), date.fromisoformat(day), None)
    return dict(state.metadata)


def _labels(app: App, since: str, until: str) -> list[str]:
    timeline = app.regimes.timeline(REGION, date.fromisoformat(since), date.fromisoformat(until))
    return timeline.label_names()[::-1]


def _closes(day: str) -> dict[str, Any]:
    """Return the closes of a day by instrument, out of the packaged file."""
    table = pq.read_table(PRICES, filters=[("trade_date", "=", date.fromisoformat(day))])
    names, closes = (table.column(name).to_pylist() for name in ("instrument_id", "close"))
    return {name: pytest.approx(close, rel=1e-5) for name, close in zip(names, closes, strict=True)}


def _reasons(app: App, day: str) -> list[str]:
    states = app.regimes.states(REGION, date.fromisoformat(day), date.fromisoformat(day), None)
    return [reason.text for reason in app.calibrations.explain(states)[0]]


def _observed_share(app: App, until: str) -> float:
    """Return how often the 21 sessions after a stated probability were wild, computed from the closes anew."""
    day = date.fromisoformat(until)
    history = app.regimes.history(REGION)
    config = Histories(app.wired).model_config(history.model_id) or {}
    limit = config["calibration"]["high_volatility"]["threshold"]
    closes = app.regimes.closes(history, date.fromisoformat(FIRST), day)
    steps = np.log(closes.values[1:] / closes.values[:-1]) ** 2
    wild = [np.sqrt(252 * steps[at : at + 21].mean()) > limit for at in range(len(steps) - 20)]
    return float(np.mean(wild))


def _recorded(app: App, n: int) -> tuple[int, list[str], int]:
    said = app.statements.statements(REGION)
    return len(said), [each.hash.hex() for each in said[: -n - 1 : -1]], len(said)


def _analogs(app: App, day: str, k: int) -> list[str]:
    found = app.analogs.find(AnalogRequest(REGION, date.fromisoformat(day), k=k))
    return [str(each.as_of_date) for each in found.analogs]


def _texts(app: App, question: str, day: str, k: int) -> list[str]:
    named = app.db_manager.config.hf_model_name
    found = app.text_search.find(TextQuery(question, date.fromisoformat(day), k, hf_model_name=named))
    return [hit.text.text for hit in found.hits]


def _of_region(told: dict[str, Any]) -> dict[str, Any]:
    (row,) = (each for each in told["items"] if each["region"] == REGION)
    return dict(row)


def _q(name: str, as_of: str, **more: Any) -> Question:
    return name, {"as_of": as_of, **more}


ASKED: dict[str, tuple[Question, Read, Truth]] = {
    "label in the crash": (
        _q("list_regions", CRASH), lambda told: _of_region(told)["label"], lambda app: _label(app, CRASH)),
    "since when": (
        _q("list_regions", CRASH), lambda told: _of_region(told)["since"], lambda app: _turns(app, CRASH)[0]),
    "close": (
        _q("list_regions", CRASH), lambda told: _of_region(told)["close"],
        lambda _app: _closes(CRASH)["GSPC.INDX"]),
    "who is in a crisis": (
        _q("list_regions", CRASH, label="CRISIS"), lambda told: told["n_items"],
        lambda app: int(_label(app, CRASH) == "CRISIS")),
    "calm label": (
        _q("get_regime", CALM, region=REGION), lambda told: told["label"], lambda app: _label(app, CALM)),
    "probabilities": (
        _q("get_regime", CRASH, region=REGION), lambda told: told["probabilities"],
        lambda app: pytest.approx(_said_on(app, CRASH)["probabilities"], rel=1e-5)),
    "high volatility": (
        _q("get_regime", CALM, region=REGION), lambda told: told["high_volatility"]["probability"],
        lambda app: pytest.approx(_said_on(app, CALM)["high_volatility"]["probability"], rel=1e-5)),
    "a Saturday": (
        _q("get_regime", WEEKEND, region=REGION), lambda told: (told["as_of"], told["as_of_date"]),
        lambda _app: (WEEKEND, "2020-03-20")),
    "spells": (
        _q("get_regime", "2020-06-15", region=REGION), lambda told: [each["as_of_date"] for each in told["spells"]],
        lambda app: [*_turns(app, "2020-06-15"), FIRST][:5]),
    "latest": (
        _q("get_regime", "latest", region=REGION), lambda told: (told["as_of"], told["label"]),
        lambda app: (LAST, _label(app, LAST))),
    "why": (
        _q("explain_regime", CRASH, region=REGION), lambda told: [each["text"] for each in told["explanation"]],
        lambda app: _reasons(app, CRASH)),
    "what moved": (
        _q("explain_regime", CRASH, region=REGION), lambda told: (told["session_before"], len(told["moved_since"]) > 0),
        lambda _app: ("2020-03-13", True)),
    "what moved in a regime": (
        _q("explain_regime", "2020-03-31", region=REGION),
        lambda told: (told["spell_began"], len(told["moved_in_spell"]) > 0),
        lambda app: (_turns(app, "2020-03-31")[0], True)),
    "ten sessions": (
        _q("regime_history", "2020-03-31", region=REGION, limit=10),
        lambda told: [each["label"] for each in told["items"]],
        lambda app: _labels(app, FIRST, "2020-03-31")[:10]),
    "sessions of a month": (
        _q("regime_history", "2020-02-28", region=REGION, start="2020-02-03"), lambda told: told["n_items"],
        lambda app: len(_labels(app, "2020-02-03", "2020-02-28"))),
    "changes of a spring": (
        _q("list_changes", "2020-04-30", since="2020-01-01"),
        lambda told: [each["as_of_date"] for each in told["items"]],
        lambda app: _turns(app, "2020-04-30", "2020-01-01")),
    "changes of a year": (
        _q("list_changes", "2019-12-31", since=FIRST, region=REGION, limit=1), lambda told: told["n_items"],
        lambda app: len(_turns(app, "2019-12-31"))),
    "how long it lasts": (
        _q("regime_statistics", "2020-03-31", region=REGION), lambda told: (told["n_dates"], told["mean_duration"]),
        lambda app: (len(_labels(app, FIRST, "2020-03-31")), pytest.approx(
            app.regimes.transitions(REGION, None, date(2020, 3, 31))[0].mean_durations, rel=1e-5))),
    "were forecasts right": (
        _q("score_forecasts", "2020-02-28", region=REGION), lambda told: told["observed_share"],
        lambda app: pytest.approx(_observed_share(app, "2020-02-28"), rel=1e-5)),
    "what was said so far": (
        _q("read_record", SOME_DAY, region=REGION, limit=3),
        lambda told: (told["n_items"], [each["hash"] for each in told["items"]], told["score"][0]["n_statements"]),
        lambda app: _recorded(app, 3)),
    "nothing was said yet": (
        _q("read_record", CRASH, region=REGION), lambda told: (told["items"], told["score"]), lambda _app: ([], [])),
    "what it stands on": (
        _q("define_region", CRASH, region=REGION),
        lambda told: (told["members"], told["models"][0]["last"], told["models"][0]["config"]["calibration"]["end"]),
        lambda _app: ({"GSPC.INDX": 1.0}, CRASH, "2007-12-31")),
    "days like the crash": (
        _q("find_analogs", CRASH, region=REGION, k=3), lambda told: [each["as_of_date"] for each in told["analogs"]],
        lambda app: _analogs(app, CRASH, 3)),
    "days like a calm one": (
        _q("find_analogs", "2019-11-01", region=REGION), lambda told: [each["as_of_date"] for each in told["analogs"]],
        lambda app: _analogs(app, "2019-11-01", 5)),
    "texts of rates": (
        _q("search_texts", TEXTS, question="interest rates are high", k=4),
        lambda told: [each["text"] for each in told["hits"]],
        lambda app: _texts(app, "interest rates are high", TEXTS, 4)),
    "texts of fear": (
        _q("search_texts", "2025-01-24", question="fear in the options market", source="macro"),
        lambda told: [each["text"] for each in told["hits"]],
        lambda app: _texts(app, "fear in the options market", "2025-01-24", 5)),
    "instruments": (
        _q("list_instruments", CALM), lambda told: {each["instrument_id"]: each["close"] for each in told["items"]},
        lambda _app: _closes(CALM)),
    "no instruments yet": (_q("list_instruments", "1900-01-01"), lambda told: told["items"], lambda _app: []),
    "faults of prices": (
        _q("list_findings", "2019-12-31", region=REGION), lambda told: told["n_items"],
        lambda app: len(app.findings.check_known(["GSPC.INDX"], until=date(2019, 12, 31)).findings)),
}  # fmt: skip
QUESTIONS = [question for question, _, _ in ASKED.values()]
assert len(ASKED) >= 20


def latest_date(text: str) -> str:
    found: list[str] = re.findall(r"\d{4}-\d\d-\d\d", text)
    return max(found)


@pytest.fixture(scope="module")
def conversation(filled_home: Path) -> Conversation:
    """All questions of this module and those that are refused, over one connection."""
    return converse(stdio_of(filled_home), [*QUESTIONS, *(question for question, _, _ in REFUSED.values())])


@pytest.fixture(scope="module")
def said(conversation: Conversation) -> dict[str, Said]:
    return dict(zip(ASKED, conversation.said[: len(ASKED)], strict=True))


@pytest.fixture(scope="module")
def served(filled_home: Path) -> Iterator[Served]:
    with serving(filled_home, "--mcp") as served:
        yield served


@pytest.mark.parametrize("name", ASKED)
def test_a_client_is_told_what_was_known(name: str, said: dict[str, Said], reading_app: App) -> None:
    _, read, truth = ASKED[name]
    assert said[name].is_answer, said[name].text
    assert read(said[name].values) == truth(reading_app), said[name].text


@pytest.mark.parametrize("name", ASKED)
def test_no_byte_is_of_a_later_day(name: str, said: dict[str, Said]) -> None:
    assert latest_date(said[name].text) == said[name].values["as_of"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_http_says_the_same(mode: str, served: Served, said: dict[str, Said]) -> None:
    assert ask(f"{served.address}/mcp", QUESTIONS, mode) == list(said.values())


def test_answers_are_short(said: dict[str, Said]) -> None:
    assert max(len(each.text) for each in said.values()) < 10_000


def _poison(manager: DatabaseManager, day: str, until: str) -> None:
    """Change everything after a day, and add what was not there yet on it; what is after `until` is changed already."""
    # before the first label only an empty answer is asked for: to change decades of rows would prove no more of it
    span = {"day": day, "since": max(day, FIRST), "until": until, "region": REGION}
    with manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE prices_daily SET open = open * 3, high = high * 3, low = low * 3, close = close * 3, "
            "adjusted_close = adjusted_close * 3 WHERE trade_date > %(since)s AND trade_date <= %(until)s", span,
        )  # fmt: skip
        connection.execute(
            "INSERT INTO prices_daily SELECT 'LATER.X', %(day)s::date + 1, 1, 1, 1, 1, 1, 0, 'USD' "
            "ON CONFLICT DO NOTHING", span,
        )  # fmt: skip
        connection.execute(
            "UPDATE macro_events SET description = 'it is ' || event_id WHERE timestamp >= %(since)s::date + 1 "
            "AND timestamp < %(until)s::date + 1", span,
        )  # fmt: skip
        connection.execute(
            "DELETE FROM text_embeddings WHERE source_type = 'MACRO' AND source_id IN "
            "(SELECT event_id::text FROM macro_events WHERE timestamp >= %(day)s::date + 1)", span,
        )  # fmt: skip
        connection.execute(
            "INSERT INTO models (model_id, kind, fingerprint, config) SELECT 'zz-learned-later', kind, 'other', "
            "jsonb_set(config, '{calibration,end}', to_jsonb('2099-12-31'::text)) FROM models "
            "WHERE config ? 'calibration' LIMIT 1 ON CONFLICT DO NOTHING"
        )
    with manager.get_runtime_connection() as connection:
        connection.execute(
            "INSERT INTO instruments (instrument_id, market_id, symbol, currency) "
            "SELECT 'LATER.X', market_id, 'LATER', currency FROM instruments LIMIT 1 ON CONFLICT DO NOTHING"
        )
        connection.execute(
            "UPDATE regimes SET confidence = 1 - confidence, metadata = metadata - 'probabilities', regime_label = "
            "CASE regime_label WHEN 'CRISIS' THEN 'CARRY' ELSE 'CRISIS' END WHERE as_of_date > %(day)s "
            "AND as_of_date <= %(until)s", span,
        )  # fmt: skip
        connection.execute("DELETE FROM regime_transitions WHERE as_of_date > %(day)s", span)
        connection.execute(
            "INSERT INTO forward_record SELECT number + 1000000, region, 'zz-said-later', as_of_date, 'CRISIS', 0.5, "
            "0.1, 0.2, 0.3, 0.4, 0.5, 0.1, false, instruments, input_hash, %(day)s::date + interval '1 day', hash "
            "FROM forward_record WHERE number < 1000000 ON CONFLICT DO NOTHING", span,
        )  # fmt: skip
        copied = (
            "INSERT INTO regimes (region, model_id, as_of_date, regime_label, confidence, encoder_model_id, dim, "
            "regime_embedding, metadata) SELECT {region}, {model}, as_of_date, 'CRISIS', 0.5, encoder_model_id, dim, "
            "regime_embedding, metadata FROM regimes WHERE region = %(region)s AND as_of_date > {after} AND model_id "
            "<> 'zz-learned-later' ON CONFLICT DO NOTHING"
        )
        connection.execute(copied.format(region="'LATER'", model="model_id", after="%(day)s"), span)
        connection.execute(copied.format(region="region", model="'zz-learned-later'", after="'-infinity'"), span)


def test_whatever_happens_later_changes_no_byte(changeable_home: Path, said: dict[str, Said]) -> None:
    dated = {name: each for name, each in said.items() if ASKED[name][0][1]["as_of"] != "latest"}
    manager = DatabaseManager(config_of(changeable_home))
    names = sorted(dated, key=lambda name: dated[name].values["as_of"], reverse=True)
    days = [dated[name].values["as_of"] for name in names]
    questions = [ASKED[name][0] for name in names]

    def poison(at: int) -> None:
        if days[at] not in days[:at]:
            _poison(manager, days[at], days[at - 1] if at else str(date.max))

    again = converse(stdio_of(changeable_home), questions, before=poison).said
    manager.close_all()
    assert dict(zip(names, again, strict=True)) == dated


REFUSED: dict[str, tuple[Question, str, str]] = {
    "no date": (("list_regions", {}), "invalid_parameter", "as_of"),
    "no such day": (_q("list_regions", "2020-02-30"), "invalid_parameter", "2020-02-30"),
    "unknown parameter": (_q("list_regions", CRASH, colour="red"), "invalid_parameter", "colour"),
    "too many": (_q("find_analogs", CRASH, region=REGION, k=21), "invalid_parameter", "20"),
    "misspelt": (_q("get_regime", CRASH, region="US_INDX"), "no_regimes", f"did you mean {REGION}?"),
    "before all": (_q("get_regime", "2018-06-01", region=REGION), "no_regimes", "2018-06-01"),
    "after all": (_q("get_regime", "2021-01-04", region=REGION), "no_regime_on_date", LAST),
    "no such model": (_q("get_regime", CRASH, region=REGION, model_id="other"), "no_regimes", "models that have"),
    "backwards": (_q("list_changes", CRASH, since="2020-04-01"), "usage", "earlier"),
    "no texts yet": (_q("search_texts", "1990-01-02", question="rates"), "no_texts", "1990-01-02"),
    "no head": (_q("tell_stance", CRASH), "no_stance_head", CRASH),
    "blank": (_q("search_texts", CRASH, question=" "), "invalid_parameter", "question"),
    "no instrument yet": (_q("list_findings", "1900-01-01", instrument_id="GSPC.INDX"), "unknown_instrument", "GSPC"),
    "neither": (_q("list_findings", CRASH), "usage", "region or instrument_id"),
    "no such tool": (("drop_tables", {}), "unknown_tool", "list_regions"),
}  # fmt: skip


@pytest.fixture(scope="module")
def refusals(conversation: Conversation) -> dict[str, Said]:
    return dict(zip(REFUSED, conversation.said[len(ASKED) :], strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_thing_and_no_command(name: str, refusals: dict[str, Said]) -> None:
    (_, arguments), code, named = REFUSED[name]
    assert not refusals[name].is_answer
    assert refusals[name].values["error"] == code, refusals[name].text
    assert named in refusals[name].values["detail"]
    assert "python -m" not in refusals[name].text
    if code not in {"invalid_parameter", "usage", "unknown_tool"}:
        assert latest_date(f"{arguments['as_of']} {refusals[name].text}") == arguments["as_of"]


def test_each_tool_says_what_it_is_for(conversation: Conversation) -> None:
    assert [each.name for each in conversation.tools] == list(tools.TOOLS)
    for tool in conversation.tools:
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert "as_of" in tool.input_schema["required"]
        assert tool.input_schema["additionalProperties"] is False
        assert all(each.get("description") for each in tool.input_schema["properties"].values()), tool.name


def test_every_tool_is_asked() -> None:
    assert {name for name, _ in QUESTIONS} == set(tools.TOOLS) - {"tell_stance"}  # asked in test_stance, with a head


def _post(served: Served, **headers: str) -> int:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accepted = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    return httpx.post(f"{served.address}/mcp", json=asked, headers=accepted | headers, timeout=15).status_code


def test_http_keeps_the_rules_of_the_page(served: Served) -> None:
    assert _post(served) == 200
    assert _post(served, Host="evil.example") == 400
    assert _post(served, Origin="http://evil.example") == 400
    assert _post(served, Origin=served.address) == 200
    assert served.get("/mcp").status_code == 405
    assert served.get("/v1/regions").status_code == 200
    assert httpx.post(f"{served.address}/v1/regions", timeout=15).status_code == 405


def test_a_token_is_needed_where_one_is_set(filled_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(TOKEN, encoding="ascii")
    with serving(filled_home, "--mcp", "--token-file", str(file)) as served:
        assert _post(served) == 401
        said = ask_with_token(f"{served.address}/mcp", TOKEN, _q("get_regime", CRASH, region=REGION))
        assert said.is_answer
        exit_code, stdout, stderr = served.stop()
    assert (exit_code, stdout, stderr) == (0, "stopped\n", "")


@pytest.mark.parametrize("ending", ["input", signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.deep)])
def test_it_ends_with_its_input_or_when_told_to(filled_home: Path, ending: signal.Signals | str) -> None:
    parameters = stdio_of(filled_home)
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    command = [parameters.command, *parameters.args]
    with subprocess.Popen(command, env=parameters.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(hello).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "prometheus-regime"
        if isinstance(ending, signal.Signals):
            process.send_signal(ending)
        else:
            process.stdin.close()
        assert process.wait(timeout=30) == (-ending if isinstance(ending, signal.Signals) else 0)
        assert process.stdout.read() == b""


def test_without_the_extra_one_line_names_it(tmp_path: Path) -> None:
    blocked = (
        "import sys; sys.modules['mcp'] = None; from prometheus.cli import main; "
        "print(main(['mcp']), main(['serve', '--port', '0', '--mcp']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", blocked], env=ENVIRONMENT | {"PROMETHEUS_HOME": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert ended.stdout == "1 1\n"
    assert ended.stderr == 2 * (
        "error: the MCP server needs an optional package; install it with: pip install 'prometheus-regime[mcp]'\n"
    )
