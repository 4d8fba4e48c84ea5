"""What an ingest tells of its histories equals what a slow look at each stored one finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.integration.test_ingest_histories import PRICE_COLUMNS, Load, history, load, rows

from prometheus.app.databases import DatabaseManager
from prometheus.ingest import histories
from prometheus.ingest.report import IngestReport
from prometheus.market.bars import PriceBars
from prometheus.market.calendar import TradingCalendar, TradingCalendarConfig
from prometheus.market.findings import findings_of, known_on
from prometheus.market.quality import CONTEXT, JUDGED_FIELDS, judge, missing_sessions

__all__ = ["load"]


def faulty(seed: int) -> dict[str, Any]:
    """Return a history with a wrong bar, a hole, a frozen stretch, a split and another unit of volume somewhere."""
    drawn = np.random.default_rng(seed)
    whole = history()
    columns = {name: values.copy() for name, values in whole.items()}
    wrong, hole, still, split, unit = drawn.permutation(np.arange(100, 1_400, 130))[:5] + drawn.integers(0, 60, 5)
    factor = drawn.choice([0.01, 1.9, 100])
    for name in PRICE_COLUMNS:
        columns[name][still : still + 9] = whole["close"][still]
        columns[name][wrong] *= factor
        columns[name][:split] *= 4
    columns["volume"] = columns["volume"].astype(float)
    columns["volume"][still : still + 9] = 0
    columns["volume"][unit:] /= 1_000
    return rows(columns, np.delete(np.arange(len(whole["close"])), np.arange(hole, hole + 8)))


def together(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return one file of several histories."""
    names = np.repeat(list(parts), [len(part["close"]) for part in parts.values()])
    columns = {name: np.concatenate([part[name] for part in parts.values()]) for name in history()}
    return columns | {"instrument_id": names}


def slow_findings(db_manager: DatabaseManager, columns: dict[str, Any]) -> list[str]:
    """Return the findings of a stored file, a query for each instrument, as ingest once looked for them."""
    sessions, found = TradingCalendar(TradingCalendarConfig(market="US_EQ")), []
    for name in dict.fromkeys(columns["instrument_id"].tolist()):
        since = columns["trade_date"][columns["instrument_id"] == name].min().item()
        with db_manager.get_historical_connection() as connection:
            query = (
                f"SELECT trade_date, {', '.join(JUDGED_FIELDS)} FROM prices_daily WHERE instrument_id = %s ORDER BY 1"
            )
            records = connection.execute(query, (name,)).fetchall()
        begin = max(sum(record[0] < since for record in records) - CONTEXT - 1, 0)
        days = np.array([record[0] for record in records[begin:]], dtype="M8[D]")
        values = np.array([record[1:] for record in records[begin:]], dtype=float).T
        bars = PriceBars((name,), np.array([0, len(days)]), days, JUDGED_FIELDS, values)
        n_missing = missing_sessions(days, sessions)
        of_bars = findings_of(bars, judge(bars, n_missing), n_missing)
        found += [str(finding) for finding in of_bars if known_on(finding, bars) >= since]
    return found


def told(report: IngestReport) -> list[str]:
    return [note for note in report.notes if note.split(" ")[0] in {"A", "B", "C", "D"}]


@pytest.mark.parametrize(
    ("seed", "rows_at_once"),
    [
        (0, 1_000),
        (1, 500_000),
        *(
            pytest.param(seed, n, marks=pytest.mark.deep)
            for seed, n in [(0, 500_000), (1, 1_000), (2, 1_000), (2, 500_000)]
        ),
    ],
)
def test_findings_are_those_of_a_look_at_each_stored_history(
    load: Load, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch, seed: int, rows_at_once: int
) -> None:
    monkeypatch.setattr(histories, "MAX_FINDINGS", 1_000)
    monkeypatch.setattr(histories, "ROWS_AT_ONCE", rows_at_once)
    drawn = np.random.default_rng(seed)
    whole = {name: faulty(10 * seed + at) for at, name in enumerate("ABCD")}
    cuts = dict(zip(whole, drawn.integers(300, 1_300, 4).tolist(), strict=True))
    n_told = 0
    for first, last in ((None, 0), (0, 40), (-30, 90), (90, None)):  # whole beginnings, appended, overlapping, the rest
        chosen = {
            name: slice(None if first is None else cuts[name] + first, None if last is None else cuts[name] + last)
            for name in whole
        }
        columns = together({name: rows(whole[name], chosen[name]) for name in whole if first is None or name != "D"})
        report = load(columns)
        assert told(report) == slow_findings(db_manager, columns)
        n_told += len(told(report))
    repeated = together(whole)
    again = load({name: np.concatenate([values, values[:500]]) for name, values in repeated.items()})
    assert told(again) == slow_findings(db_manager, repeated)
    assert len(told(again)) > 10
    assert n_told >= len([each for each in told(again) if not each.startswith("D")])
    assert load(repeated).rows_written == 0


def test_bars_that_a_file_lacks_are_judged_with_it_unless_removed(load: Load, db_manager: DatabaseManager) -> None:
    whole = history() | {"instrument_id": np.repeat("A", len(history()["close"]))}
    wrong = {
        name: np.where(np.arange(1_509) == 700, values * 50, values)
        for name, values in whole.items()
        if name in PRICE_COLUMNS
    }
    load(whole | wrong)
    lacking = rows(whole, np.delete(np.arange(1_509), 700))
    assert told(load(lacking)) == slow_findings(db_manager, lacking)
    assert any("error" in note for note in told(load(lacking)))
    assert told(load(lacking, replace=True)) == slow_findings(db_manager, lacking) == []


def test_another_unit_of_volume_is_told_once_by_daily_appends(load: Load) -> None:
    whole = history() | {"instrument_id": np.repeat("A", len(history()["close"]))}
    whole["volume"] = np.where(np.arange(1_509) >= 500, whole["volume"] / 1_000, whole["volume"])
    load(rows(whole, slice(None, 515)))
    by_day = [told(load(rows(whole, slice(day, day + 1)))) for day in range(515, 525)]
    assert [len(notes) for notes in by_day] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert "volume unit, volume x 0.00" in by_day[5][0]
