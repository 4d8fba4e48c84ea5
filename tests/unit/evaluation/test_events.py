"""Paths around events: aligned by session, counted where known, held against random dates of the same span."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from prometheus.errors import FileAccessError, InputRefusedError, UsageError
from prometheus.evaluation import events
from prometheus.evaluation.event_report import draw_events, events_text
from prometheus.evaluation.events import Event, EventWindow, StatedSessions, study_events
from prometheus.files.event_dates import read_event_dates
from prometheus.market.bars import Closes
from prometheus.regime.history import LABELS, RegimeTimeline
from prometheus.regime.types import RegimeLabel

N = 400
DATES = np.busday_offset(np.datetime64("2019-01-01"), np.arange(N))
WINDOW = EventWindow(2, 3)
COLUMNS = ("dates", "labels", "high_volatility", "bear", "closes", "realised_volatility")
JUMP = 200
"""Position of the session on which everything moves."""


def stated(name: str = "ONE", n_learned: int = 0) -> StatedSessions:
    """What a model said that was calm up to a session, then sure of a crisis for five."""
    is_crisis = (np.arange(N) >= JUMP) & (np.arange(N) < JUMP + 5)
    labels = np.where(is_crisis, LABELS.index(RegimeLabel.CRISIS), LABELS.index(RegimeLabel.CARRY))
    noise = np.random.default_rng(5).uniform(0.0, 0.2, N)
    timeline = RegimeTimeline(name, "m", DATES, labels, np.ones(N), np.where(is_crisis, 0.9, noise), is_crisis)
    closes = np.exp(np.cumsum(np.where(np.arange(N) == JUMP, -0.1, 0.001)))
    learned = DATES[n_learned - 1].item() if n_learned else None
    return StatedSessions.of(timeline, np.full(N, np.nan), Closes(name, DATES, closes), learned)


def at(position: int) -> Event:
    return Event(DATES[position].item())


def test_paths_are_by_session_from_the_one_before_the_event() -> None:
    study = study_events([stated()], [at(JUMP)], WINDOW)

    assert study.paths[events.RETURN].mean == pytest.approx([-0.001, 0.0, -0.1, -0.099, -0.098, -0.097])
    assert study.paths[events.HIGH].mean[2:] == pytest.approx([0.9] * 4)
    assert study.paths["CRISIS"].mean.tolist() == [0, 0, 1, 1, 1, 1]
    assert np.isnan(study.paths[events.BEAR].mean).all()
    squares = np.log(stated().closes[JUMP - 21 : JUMP + 1])
    assert study.paths[events.VOLATILITY].mean[2] == pytest.approx(np.sqrt((np.diff(squares) ** 2).mean() * 252))
    assert [study.paths[events.HIGH].is_unusual(row) for row in range(6)] == [False, False, True, True, True, True]


def test_random_dates_are_seldom_unusual() -> None:
    days = [at(int(row)) for row in np.random.default_rng(1).integers(30, 370, 40)]
    path = study_events([stated()], days, WINDOW).paths[events.HIGH]
    assert not any(path.is_unusual(row) for row in range(6))
    assert (path.low < path.mean).all()


def test_regions_and_edges_count_where_they_are_known() -> None:
    study = study_events([stated(), stated("TWO", n_learned=150)], [at(1), at(151), at(JUMP)], WINDOW)

    for measure in (events.HIGH, "CARRY", events.RETURN):
        assert study.paths[measure].n.tolist() == [3, 5, 5, 5, 5, 5]
    assert study.spans["TWO"] == (DATES[150].item(), DATES[-1].item())


def test_a_weekend_is_answered_by_monday_and_dates_outside_are_named() -> None:
    saturday = Event(date(2019, 10, 5), "a Saturday")
    past, future = Event(date(1987, 10, 19)), Event(date(2030, 1, 2))
    study = study_events([stated()], [past, saturday, future], WINDOW)

    monday = study_events([stated()], [Event(date(2019, 10, 7))], WINDOW)
    assert study.paths[events.HIGH].mean.tolist() == monday.paths[events.HIGH].mean.tolist()
    assert (study.used, study.outside) == ((saturday,), (past, future))
    assert events_text(study).endswith("outside of what is stored: 2 (1987-10-19; 2030-01-02)")
    with pytest.raises(InputRefusedError, match="none of 1 dates lies in what is stored, 2019-01-01 to"):
        study_events([stated()], [past], WINDOW)


def test_what_comes_after_a_session_moves_nothing_before() -> None:
    whole = stated()
    cut = replace(whole, **{name: getattr(whole, name)[: JUMP + 1] for name in COLUMNS})
    both = [study_events([each], [at(JUMP)], EventWindow(20, 0)) for each in (whole, cut)]
    for measure in events.MEASURES:
        assert np.array_equal(both[0].paths[measure].mean, both[1].paths[measure].mean, equal_nan=True)


def test_a_picture_and_json() -> None:
    pytest.importorskip("matplotlib")
    study = study_events([stated()], [at(JUMP)], WINDOW)
    assert len(draw_events(study).axes) == 5
    facts = study.to_dict()
    assert [each["session"] for each in facts["sessions"]] == [-2, -1, 0, 1, 2, 3]
    assert facts["sessions"][0]["bear"] == {"n": 0, "mean": None, "median": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("date,what\n2020-03-16,crash\n\n2018-02-05,\n2020-03-16,crash\n", ["2020-03-16 crash", "2018-02-05"]),
        ("\ufeff2020-03-16\n", ["2020-03-16"]),
    ],
)
def test_a_file_of_dates(tmp_path: Path, text: str, found: list[str]) -> None:
    path = tmp_path / "dates.csv"
    path.write_text(text, encoding="utf-8")
    assert [str(each) for each in read_event_dates(path)] == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"date\n16.03.2020\n", "line 2: '16.03.2020' is no date; write YYYY-MM-DD first"),
        (b"20-03-16\n", "line 1: '20-03-16' is no date"),
        (b"what\n", "holds no date"),
        (b"", "holds no date"),
        (b"\xff\xfe\x00", "is no text in UTF-8"),
    ],
)
def test_a_bad_file_is_told_by_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "dates.csv"
    path.write_bytes(content)
    with pytest.raises(InputRefusedError, match=said):
        read_event_dates(path)


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="is a folder, not a regular file"):
        read_event_dates(tmp_path)
    with pytest.raises(UsageError, match="--before 300 --after 1: name numbers from 0 to 252"):
        EventWindow(300, 1)
