"""Alerts from a night to a receiver: told once, in order, whatever the receiver does meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.commands import Outcome, Prepare, Run, run_all
from tests.fixtures.database import TableDigest
from tests.fixtures.receivers import SECRET, Fault, Receiver, drip, garbage, receiving, silence, status

from prometheus.app.databases import DatabaseManager

REGIONS = {name: {"instrument_id": "GSPC.INDX", "prototypes": "p.json"} for name in ("US", "EU")}
CALM, STORM, LATER = "2008-08-29", "2008-09-30", "2010-12-31"
RULE = '[[rules]]\nname = "all"\nkinds = ["change"]\n'
CHANGES = ["2008-09-18 change"]
"""Between `CALM` and `STORM`, of each region."""
LATER_CHANGES = 7
"""Between `STORM` and `LATER`."""

pytestmark = pytest.mark.usefixtures("labelled")


@pytest.fixture
def labelled(run: Run, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two regions labelled up to a calm day."""
    monkeypatch.setenv("PROMETHEUS_REGIONS", json.dumps(REGIONS))
    index = ["--region", "US", "--instrument-id", "GSPC.INDX"]
    calibrate = ["calibrate", *index, "--until", "2007-12-31", "--output", "p.json"]
    prepare("alerts", lambda: run_all(run, calibrate, ["nightly", "--as-of", CALM]), after="sample")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def configure(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    Path("key").write_text(SECRET)
    Path("key").chmod(0o600)
    Path("alerts.toml").write_text(text)
    monkeypatch.setenv("PROMETHEUS_ALERTS_FILE", "alerts.toml")


def webhook(address: str, **settings: Any) -> str:
    facts = {"attempts": 1, "allow_private": True} | settings
    lines = [f"{name} = {json.dumps(value)}" for name, value in facts.items()]
    return "\n".join(
        ['[channels.desk]\ntype = "webhook"', f'address = "{address}"', 'secret = {file = "key"}', *lines, ""]
    )


def summary(outcome: Outcome) -> Any:
    return json.loads(outcome.stdout)


def test_a_change_is_told_once_and_the_night_lists_it(
    run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, table_digests: TableDigest
) -> None:
    configure(monkeypatch, webhook(receiver.address) + RULE)
    monkeypatch.setenv("PROMETHEUS_PAGE_ADDRESS", "https://desk.example/")
    assert receiver.n_requests == 0, "the first labelling is history"

    night = run("nightly", "--as-of", STORM, "--json")

    assert (night.exit_code, receiver.of("US"), receiver.of("EU"), receiver.forged) == (0, CHANGES, CHANGES, [])
    assert summary(night)["alerts"] == {"sent": 2, "pending": 0, "failed": {}}
    (change, other) = summary(night)["changes"]
    assert (change["region"], change["from"], change["to"]) == ("US", "RISK_OFF", "CRISIS")
    assert (change["as_of_date"], change["previous_date"], other["region"]) == ("2008-09-18", "2008-09-17", "EU")
    alert = next(iter(receiver.taken.values()))
    assert alert.items() >= {**change, "kind": "change", "label": "CRISIS"}.items()
    assert (
        alert["link"] == f"https://desk.example/regions/US/2008-09-18?model_id={change['model_id'].replace('@', '%40')}"
    )
    before = table_digests()
    again = run("nightly", "--as-of", STORM, "--json")
    assert (summary(again)["changes"], summary(again)["alerts"]["sent"]) == ([], 0)
    assert table_digests() == before
    assert receiver.n_requests == 2


def test_people_read_the_same(run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, webhook(receiver.address) + RULE)
    lines = run("nightly", "--as-of", STORM).stdout.splitlines()
    assert lines[-4].startswith("changed: US 2008-09-18: RISK_OFF to CRISIS, ")
    assert lines[-2] == "alerts: 2 sent, 0 pending, 0 channels failed"
    listed = run("alerts", "list").stdout.splitlines()
    assert [line.split()[3:6] for line in listed[1:]] == [["desk", "sent", "1"]] * 2
    assert run("alerts", "list", "--pending").stdout == "no alerts are stored\n"


def test_a_catch_up_night_tells_every_change_in_order(
    run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(
        monkeypatch, webhook(receiver.address) + RULE.replace('"change"', '"change", "probability"') + "level = 0.5"
    )
    night = summary(run("nightly", "--as-of", LATER, "--json"))
    for region in REGIONS:
        changes = [each["as_of_date"] for each in night["changes"] if each["region"] == region]
        assert len(changes) == len(CHANGES) + LATER_CHANGES
        told = receiver.of(region)
        assert [each.split()[0] for each in told if each.endswith("change")] == changes
        assert told == sorted(told, key=lambda each: each.split()[0])
        assert any(each.endswith("probability") for each in told)


def test_changes_that_another_command_stored_are_told_by_the_next_night(
    run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, webhook(receiver.address) + RULE)
    by_hand = ["run_numeric_regime", "--region", "US", "--prototypes", "p.json"]
    assert run(*by_hand, "--date-range", "2008-09-01", STORM).exit_code == 0
    assert receiver.n_requests == 0, "only nights alert"
    assert run("nightly", "--as-of", STORM).exit_code == 0
    assert receiver.of("US") == receiver.of("EU") == CHANGES


def test_a_longer_past_and_a_corrected_price_alert_of_nothing(
    run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, db_manager: DatabaseManager
) -> None:
    assert run("nightly", "--as-of", LATER).exit_code == 0
    configure(monkeypatch, webhook(receiver.address) + RULE)
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE prices_daily SET close = close * 1.05, adjusted_close = close * 1.05, high = NULL, low = NULL"
            " WHERE instrument_id = 'GSPC.INDX' AND trade_date BETWEEN '2009-01-02' AND '2009-01-30'"
        )
    night = summary(run("nightly", "--as-of", LATER, "--since", "2001-01-02", "--json"))
    assert night["regions"][0]["sessions_added"] > 1_500
    assert night["regions"][0]["sessions_rewritten"] > 50
    assert (night["changes"], receiver.n_requests) == ([], 0)


DOWN: dict[str, Fault] = {
    "500": status(500), "429": status(429), "garbage": garbage, "silence": silence(1.0), "drip": drip,
    "redirect": status(302), "404": status(404),
}  # fmt: skip


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=[] if fault in {"500", "drip"} else [pytest.mark.deep]) for fault in DOWN]
)
def test_what_a_receiver_does_not_take_waits_and_comes_later_in_order(
    fault: str, run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, webhook(receiver.address, timeout_s=0.5) + RULE)
    receiver.always = DOWN[fault]
    night = run("nightly", "--as-of", STORM)
    assert (night.exit_code, receiver.taken) == (3, {})
    (line,) = [line for line in night.stderr.splitlines() if line.startswith("failed: ")]
    assert line.startswith("failed: alerts: channel desk: ")
    assert run("alerts", "send").exit_code == 3
    receiver.always = None
    later = run("nightly", "--as-of", LATER)
    assert later.exit_code == 0, later.stderr
    assert receiver.of("US") == receiver.of("EU") == sorted(receiver.of("US"))
    assert len(receiver.taken) == 2 * (len(CHANGES) + LATER_CHANGES)


def test_a_receiver_that_is_not_there_gets_all_when_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as gone:
        port = gone.port
    configure(monkeypatch, webhook(f"http://127.0.0.1:{port}/alerts") + RULE)
    night = run("nightly", "--as-of", STORM, "--json")
    assert night.exit_code == 3
    assert summary(night)["alerts"] == {"sent": 0, "pending": 2, "failed": {"desk": "connection refused"}}
    with receiving(port) as back:
        planned = summary(run("alerts", "send", "--dry-run", "--json"))
        assert [each["text"][:20] for each in planned["messages"]] == ["US 2008-09-18: RISK_", "EU 2008-09-18: RISK_"]
        assert back.n_requests == 0
        sent = run("alerts", "send")
        assert (sent.exit_code, sent.stdout) == (0, "2 sent, 0 pending, 0 channels failed\n")
        assert list(back.taken) == [each["id"] for each in planned["messages"]], "the key is that of the first attempt"
    (first, _) = summary(run("alerts", "list", "--json"))
    assert (first["state"], first["attempts"], first["answer"]) == ("sent", 2, "204 No Content")


def test_attempts_within_a_run_are_repeated_with_the_same_key(
    run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prometheus.alerts.channel.FIRST_PAUSE_S", 0.01)
    configure(monkeypatch, webhook(receiver.address, attempts=3) + RULE)
    receiver.faults.extend([status(503), garbage])
    assert run("nightly", "--as-of", STORM).exit_code == 0
    assert (receiver.n_requests, len(receiver.taken)) == (4, 2)


def test_a_refused_alert_holds_up_its_region_and_no_other(
    run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, webhook(receiver.address) + RULE)
    receiver.refused_region = "US"
    night = run("nightly", "--as-of", LATER, "--json")
    n_changes = len(CHANGES) + LATER_CHANGES
    assert (night.exit_code, receiver.of("US"), len(receiver.of("EU"))) == (3, [], n_changes)
    assert summary(night)["alerts"]["failed"] == {"desk": "422 Unprocessable Entity"}
    assert receiver.n_requests == n_changes + 1, "what follows in the region waits behind it"
    receiver.refused_region = ""
    assert run("alerts", "send").exit_code == 0
    assert receiver.of("US") == receiver.of("EU")


def test_a_cooldown_notes_and_does_not_send(run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, webhook(receiver.address) + RULE + "cooldown_days = 3650\nregions = ['U*']")
    night = summary(run("nightly", "--as-of", LATER, "--json"))
    assert (night["alerts"]["sent"], receiver.of("EU"), receiver.of("US")) == (1, [], CHANGES)
    states = [each["state"] for each in summary(run("alerts", "list", "--json"))]
    assert states == ["sent"] + ["quiet"] * LATER_CHANGES


def test_late_prices_a_failed_region_and_a_new_finding_are_told_once(
    run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, db_manager: DatabaseManager
) -> None:
    configure(monkeypatch, webhook(receiver.address) + RULE.replace('"change"', '"late", "failed", "finding", "held"'))
    for _ in range(2):
        assert run("nightly", "--as-of", "2024-01-03").exit_code == 5
    (late, _) = receiver.taken.values()
    assert (late["kind"], late["region"], late["as_of_date"]) == ("late", "US", "2024-01-03")
    assert late["lacking"] == ["GSPC.INDX (last bar 2023-12-28, 3 sessions missing)"]

    monkeypatch.setenv("PROMETHEUS_REGIONS", json.dumps({"US": REGIONS["US"] | {"prototypes": "no.json"}}))
    for _ in range(2):
        assert run("nightly", "--as-of", STORM).exit_code == 3
    (failed,) = [each for each in receiver.taken.values() if each["kind"] == "failed"]
    assert (failed["region"], "no.json" in failed["text"]) == ("US", True)

    monkeypatch.setenv("PROMETHEUS_REGIONS", json.dumps(REGIONS))
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE prices_daily SET close = close * 100, adjusted_close = close * 100, high = NULL, low = NULL"
            " WHERE instrument_id = 'GSPC.INDX' AND trade_date = %s", (STORM,),
        )  # fmt: skip
    assert run("nightly", "--as-of", STORM).exit_code == 3
    assert receiver.of("US")[-2:] == receiver.of("EU")[-2:] == [f"{STORM} finding", f"{STORM} held"]


def test_a_night_without_its_database_says_so_to_the_channels(
    run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, webhook(receiver.address) + RULE.replace("change", "failed"))
    for name in ("PROMETHEUS_HISTORICAL_DSN", "PROMETHEUS_RUNTIME_DSN"):
        monkeypatch.setenv(name, "host=127.0.0.1 port=1 dbname=nowhere")
    for _ in range(2):
        assert run("nightly", "--as-of", STORM).exit_code == 4
    assert (receiver.n_requests, len(receiver.taken)) == (2, 1)
    (failed,) = receiver.taken.values()
    assert (failed["kind"], failed["region"]) == ("failed", None)


def test_a_channel_that_is_taken_out_of_the_file_drops_what_waits_for_it(
    run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.always = status(500)
    configure(monkeypatch, webhook(receiver.address) + RULE)
    assert run("nightly", "--as-of", STORM).exit_code == 3
    configure(monkeypatch, webhook(receiver.address).replace("desk", "other") + RULE)
    assert run("alerts", "send").stdout == "0 sent, 0 pending, 0 channels failed\n"
    assert {each["state"] for each in summary(run("alerts", "list", "--json"))} == {"dropped"}


def test_a_dry_night_writes_and_sends_nothing(
    run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, table_digests: TableDigest
) -> None:
    configure(monkeypatch, webhook(receiver.address) + RULE)
    before = table_digests()
    assert run("nightly", "--as-of", STORM, "--dry-run").exit_code == 0
    assert (table_digests(), receiver.n_requests) == (before, 0)


def test_a_command_gets_the_alert_on_its_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path("take.sh").absolute()
    script.write_text('#!/bin/sh\ncat >> "$1"\necho >> "$1"\n')
    script.chmod(0o755)
    words = json.dumps([str(script), "$(touch evil); taken.jsonl"])
    configure(monkeypatch, f'[channels.own]\ntype = "command"\nattempts = 1\ncommand = {words}\n' + RULE)
    assert run("nightly", "--as-of", STORM).exit_code == 0
    taken = [json.loads(line) for line in Path("$(touch evil); taken.jsonl").read_text().splitlines()]
    assert [each["region"] for each in taken] == ["US", "EU"]
    assert not Path("evil").exists()

    script.write_text("#!/bin/sh\necho no room >&2\nexit 7\n")
    failed = run("alerts", "test")
    assert (failed.exit_code, failed.stdout) == (3, "own: failed, exit code 7: no room\n")


def test_without_a_file_changes_are_listed_and_nothing_is_written(run: Run) -> None:
    assert len(summary(run("nightly", "--as-of", STORM, "--json"))["changes"]) == 2
    assert run("alerts", "list").stdout == "no alerts are stored\n"
    refused = run("alerts", "send")
    assert (refused.exit_code, len(refused.errors)) == (2, 1)
    assert "PROMETHEUS_ALERTS_FILE" in refused.errors[0]
