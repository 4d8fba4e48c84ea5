import gzip
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prometheus.errors import FileAccessError
from prometheus.ingest.sample import MACRO_LEVELS
from prometheus.ingest.sample.macro_events import (
    FACTS,
    load_macro_levels,
    sample_macro_events,
    write_sample_macro_events,
)

POINTS = "percentage points"


def test_the_levels_are_those_of_the_shared_data(shared_data: Path) -> None:
    assert (
        gzip.decompress(MACRO_LEVELS.read_bytes()) == (shared_data / "sample" / "macro_levels_daily.csv").read_bytes()
    )


def test_one_week_tells_one_fact_a_sentence() -> None:
    events = [event for event in sample_macro_events() if event.timestamp == datetime(2025, 1, 31, 22, tzinfo=UTC)]
    ends = " from a month ago."
    assert [f"{event.event_type}: {event.description.removesuffix(ends)}" for event in events] == [
        "POLICY_RATE: The federal funds rate is high at 4.33 percent, little changed",
        "TREASURY_2Y: The two-year Treasury yield is high at 4.22 percent, down slightly",
        "TREASURY_10Y: The ten-year Treasury yield is moderate at 4.58 percent, little changed",
        "YIELD_CURVE: The yield curve from two to ten years is flat at 0.36 percentage points, up slightly",
        f"CREDIT_HY: The credit spread of high-yield bonds is very narrow at 2.67 {POINTS}, down a quarter point",
        f"CREDIT_IG: The credit spread of investment-grade bonds is very narrow at 0.81 {POINTS}, little changed",
        "VIX: The VIX volatility index is low at 16.43, little changed",
    ]
    assert {(event.country, event.known_at) for event in events} == {("US", events[0].timestamp)}


def test_what_is_published_next_morning_is_told_as_of_the_day_before() -> None:
    levels = {item.day: item.values for item in load_macro_levels()}
    events = {(event.event_type, event.timestamp.date()): event.description for event in sample_macro_events()}
    crash = datetime(2020, 3, 13, tzinfo=UTC).date()
    before = levels[crash.replace(day=12)]
    assert f"at {before['us_hy_oas_pct'] / 100:.2f} percentage" in events["CREDIT_HY", crash]
    assert f"at {levels[crash]['vix'] / 100:.2f}, up very sharply" in events["VIX", crash]


def test_an_inverted_curve_is_told_in_words() -> None:
    (event,) = [
        event for event in sample_macro_events()
        if event.event_type == "YIELD_CURVE" and event.timestamp.date().isoformat() == "2023-07-07"
    ]  # fmt: skip
    assert event.description.startswith("The yield curve from two to ten years is deeply inverted at minus 0.8")


def test_every_level_word_occurs_as_often_as_when_the_bounds_were_frozen() -> None:
    events = list(sample_macro_events())
    assert Counter(event.event_type for event in events) == {
        "POLICY_RATE": 1377, "TREASURY_2Y": 1372, "TREASURY_10Y": 1372, "YIELD_CURVE": 1372, "CREDIT_HY": 1377,
        "CREDIT_IG": 1377, "VIX": 1369,
    }  # fmt: skip
    counts = {
        fact.event_type: [
            sum(f" is {word} at " in event.description for event in events if event.event_type == fact.event_type)
            for word in fact.words
        ]
        for fact in FACTS
    }
    assert counts == {
        "POLICY_RATE": [534, 300, 174, 328, 41], "TREASURY_2Y": [269, 449, 303, 310, 41],
        "TREASURY_10Y": [80, 521, 605, 157, 9], "YIELD_CURVE": [45, 163, 379, 383, 402],
        "CREDIT_HY": [59, 500, 408, 320, 90], "CREDIT_IG": [89, 499, 475, 247, 67], "VIX": [130, 472, 403, 274, 90],
    }  # fmt: skip


def test_events_are_weekly_on_weekdays_and_in_order() -> None:
    instants = sorted({event.timestamp for event in sample_macro_events()})
    assert [instants[0].date().isoformat(), instants[-1].date().isoformat()] == ["1999-02-05", "2025-06-20"]
    assert {instant.weekday() for instant in instants} <= {2, 3, 4}
    assert len({instant.isocalendar()[:2] for instant in instants}) == len(instants)
    assert {instant.hour for instant in instants} == {22}


def test_the_file_for_the_ingest_holds_every_event(tmp_path: Path) -> None:
    n_written = write_sample_macro_events(tmp_path / "events.jsonl")
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert len(lines) == n_written == len(list(sample_macro_events()))
    assert json.loads(lines[0])["timestamp"] == "1999-02-05T22:00:00+00:00"
    with pytest.raises(FileAccessError, match="cannot be written"):
        write_sample_macro_events(tmp_path / "no" / "events.jsonl")
