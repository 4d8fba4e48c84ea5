"""Joint rows of prices and macro numbers from stored regimes and series: point in time, idempotent, faults named."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest
from tests.integration.test_joint import SaveText, at, save_macro

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.joint import JointModelChoice
from prometheus.backfill.joint import JointRequest, JointRun
from prometheus.backfill.plan import DateSpan
from prometheus.data.removal import Removal
from prometheus.data.vectors.joint import JointEmbeddingStore
from prometheus.encoders.joint.examples import REGIME_MACRO, StoredJointEmbedding
from prometheus.encoders.joint.numbers import NUMBERS, SERIES, score_numbers
from prometheus.errors import InputRefusedError, ModelFingerprintError, UsageError
from prometheus.regime import RegimeLabel, RegimeState, RegimeStorage

__all__ = ["save_macro"]

FIRST = date(2024, 12, 2)
DAYS = [FIRST + timedelta(days) for days in range(30)]
SPAN = DateSpan.of_range(DAYS[0], DAYS[-1])
V3 = JointModelChoice("num-regime-core-v2", "text-macro-v1", "joint-regime-core-v3")
Row = tuple[str, date, datetime, float]


def history(names: Iterable[str] = SERIES, until: date = DAYS[-1]) -> list[Row]:
    """Return values of each day, known at 22:00 UTC of it, for more than a year up to a date."""
    return [
        (name, day, datetime.combine(day, time(22), UTC), 1.0 + 0.01 * number * (offset % 19))
        for number, name in enumerate(names, 1)
        for offset in range(-400, 30)
        for day in [until - timedelta(29 - offset)]
    ]


def store(db_manager: DatabaseManager, rows: Iterable[Row]) -> None:
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO series_values VALUES (%s, %s, %s, %s)", list(rows))


def save_regimes(db_manager: DatabaseManager, seed: int = 5, days: Iterable[date] = DAYS) -> None:
    generator = np.random.default_rng(seed)
    states = [
        RegimeState(
            day, "US", RegimeLabel.NEUTRAL, 1.0, (generator.normal(size=384) / 20).astype(np.float32),
            {"instrument_id": "X", "window_days": 513}, "regime-core-v3", V3.numeric_model_id,
        )
        for day in days
    ]  # fmt: skip
    RegimeStorage(db_manager=db_manager).save_regimes(states)


def join(
    db_manager: DatabaseManager, choice: JointModelChoice = V3, span: DateSpan = SPAN, **filters: str | None
) -> JointRun:
    request = JointRequest(REGIME_MACRO, "US", span, choice.numeric_model_id, choice.text_model_id, filters)
    (run,) = App(db_manager).joint.backfill([request], choice).report.runs
    return run


def rows_of(db_manager: DatabaseManager, model_id: str = V3.joint_model_id) -> list[StoredJointEmbedding]:
    return JointEmbeddingStore(db_manager).load(REGIME_MACRO, "US", model_id, date.min, date.max)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("prometheus").propagate = True
    caplog.set_level(logging.INFO, logger="prometheus")
    return caplog


def test_a_row_holds_prices_and_numbers_as_known_and_a_run_repeats_nothing(
    db_manager: DatabaseManager, table_digests: TableDigest, warned: pytest.LogCaptureFixture
) -> None:
    save_regimes(db_manager)
    store(db_manager, history())

    run = join(db_manager, country="US")

    assert (run.report.planned, run.report.written, run.without_text, run.without_numbers) == (30, 30, (), {})
    assert run.numbers_share is not None
    assert run.text_share is None
    assert "texts hold no share of joint-regime-core-v3: --country US chooses none" in warned.text
    rows = rows_of(db_manager)
    scope = {"region": "US", "source": "regime+macro", "macro_filters": {}, "series": list(SERIES)}
    assert {row.as_of_date: row.entity_scope for row in rows} == dict.fromkeys(DAYS, scope)
    values = [(name, day, known.date(), value) for name, day, known, value in history()]
    scores = score_numbers(NUMBERS, values, DAYS).scores
    np.testing.assert_allclose([row.vector[-13:] for row in rows], scores * np.sqrt(0.25 / 13), rtol=1e-6)
    (state,) = RegimeStorage(db_manager=db_manager).get_history("US", FIRST, FIRST)
    np.testing.assert_allclose(rows[0].vector[:-13], state.regime_embedding[:-13] * np.sqrt(0.75), rtol=1e-6)
    before = table_digests()
    assert join(db_manager).report.written == 0
    alone = join(db_manager, span=DateSpan.of_date(DAYS[20]))
    assert (alone.report.planned, alone.report.written, alone.numbers_share) == (1, 0, None)
    assert table_digests() == before
    (group,) = JointEmbeddingStore(db_manager).groups("US", V3.numeric_model_id, FIRST, FIRST)
    assert group.text_model_id is None


def test_what_becomes_known_later_touches_no_earlier_row(
    db_manager: DatabaseManager, warned: pytest.LogCaptureFixture
) -> None:
    save_regimes(db_manager)
    store(db_manager, [row for row in history() if row[2].date() <= DAYS[14]])
    assert join(db_manager, span=DateSpan.of_range(FIRST, DAYS[14])).report.written == 15
    before = {row.as_of_date: row.vector.tobytes() for row in rows_of(db_manager)}
    revised = [(name, day, at(DAYS[15], 1), 7.0) for name, day, *_ in history() if day >= FIRST - timedelta(380)]
    store(db_manager, [*(row for row in history() if row[2].date() > DAYS[14]), *revised])

    run = join(db_manager)

    assert (run.report.planned, run.report.written) == (30, 15)
    after = {row.as_of_date: row.vector.tobytes() for row in rows_of(db_manager)}
    assert {day: after[day] for day in before} == before
    assert "joint-regime-core-v3: DFF has several vintages of" in warned.text


def test_gaps_and_missing_series_are_named_and_nothing_is_filled(
    db_manager: DatabaseManager, warned: pytest.LogCaptureFixture
) -> None:
    save_regimes(db_manager)
    names = [name for name in SERIES if name != "BAMLC0A0CM"]
    hole = [FIRST + timedelta(days) for days in range(5, 15)]
    store(db_manager, [row for row in history(names) if (row[0], row[1]) not in {("VIXCLS", day) for day in hole}])

    run = join(db_manager)

    assert run.without_numbers == {"VIXCLS": (DAYS[12], DAYS[13], DAYS[14])}
    assert run.days_without_numbers == DAYS[12:15]
    assert run.report.written == 27
    assert "VIXCLS left out 3 dates from 2024-12-14 to 2024-12-16" in warned.text
    assert "is made without BAMLC0A0CM; to have them, load them with ingest series" in warned.text
    assert rows_of(db_manager)[0].entity_scope["series"] == names
    store(db_manager, history(["BAMLC0A0CM"]))
    assert join(db_manager).report.written == 0
    assert "choose a new --joint-model-id, such as joint-regime-core-v3-more" in warned.text
    more = replace(V3, joint_model_id="joint-regime-core-v3-more")
    assert join(db_manager, more).report.written == 27
    assert rows_of(db_manager, more.joint_model_id)[0].entity_scope["series"] == list(SERIES)


def test_the_command_tells_shares_and_gaps_and_takes_the_encoder_of_v3(run: Run, db_manager: DatabaseManager) -> None:
    save_regimes(db_manager)
    store(db_manager, [row for row in history() if row[0] != "DGS2" or row[1] < DAYS[10]])
    line = ["backfill_joint_regime_macro_context", "--region", "US", "--date-range", str(FIRST), str(DAYS[-1])]
    line += ["--joint-model-id", V3.joint_model_id]

    told = run(*line, "--verbose")
    facts = json.loads(run(*line, "--json").stdout)[0]

    assert told.exit_code == 0, told.stderr
    assert "17 dates joined, 17 written" in told.stdout
    assert "without regime, 13 without a macro number; macro numbers hold 0." in told.stdout
    assert f"skipped: US {DAYS[17]}: no DGS2" in told.stderr
    assert "DGS2 left out 13 dates from 2024-12-19 to 2024-12-31" in told.stderr
    assert facts["without_numbers"] == [str(day) for day in DAYS[17:]]
    assert 0 < facts["numbers_share"] < 1
    refused = run(*line, "--numbers-share", "2")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.errors == ["error: --numbers-share must be above 0 and at most 1, got 2.0"]


def test_what_cannot_be_joined_is_refused_and_nothing_is_stored(
    db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    save_regimes(db_manager, days=[date(2005, 12, 30), *DAYS])
    before = table_digests()
    with pytest.raises(InputRefusedError, match="needs macro series, and none is stored; load some of DFF, DGS2"):
        join(db_manager)
    assert table_digests() == before
    store(db_manager, history())
    join(db_manager)
    before = table_digests()
    with pytest.raises(UsageError, match="joins standard scores, which num-regime-core-v1 does not give"):
        join(db_manager, replace(V3, numeric_model_id="num-regime-core-v1"))
    with pytest.raises(ModelFingerprintError, match=r"shares: stored .*0\.25.*, now .*0\.5"):
        join(db_manager, replace(V3, numbers_share=0.5))
    with pytest.raises(UsageError, match="--centre-until is for texts"):
        join(db_manager, replace(V3, centre_until=FIRST))
    assert table_digests() == before
    old = [(n, d - timedelta(6_911), k - timedelta(6_911), v) for n, d, k, v in history()]
    store(db_manager, old)
    with pytest.raises(InputRefusedError, match="2005-12-30 is not after 2005-12-31"):
        join(db_manager, span=DateSpan.of_date(date(2005, 12, 30)))
    whole = DateSpan.of_range(date(2000, 1, 1), DAYS[-1])
    joinable = App(db_manager).joint.joinable(whole, V3.joint_model_id)
    assert joinable == App(db_manager).joint.joinable(whole, "joint-regime-core-v3-new")
    assert joinable is not None
    assert joinable.start == date(2006, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"numeric_weight": 0.5}, "joint-regime-core-v3 takes no weights"),
        ({"numbers_share": 0.0}, "--numbers-share must be above 0"),
        ({"text_share": 0.9}, "--text-share must be from 0 to what --numbers-share 0.25 leaves"),
        (
            {"joint_model_id": "joint-regime-core-v2", "numbers_share": 0.5},
            "--numbers-share belongs to joint-regime-core-v3",
        ),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(V3, **arguments)


def test_texts_take_part_where_they_are_given_a_share(db_manager: DatabaseManager, save_macro: SaveText) -> None:
    save_regimes(db_manager)
    store(db_manager, history())
    for day in DAYS[:-1]:
        save_macro(at(day), dim=384)
    later = DateSpan.of_range(DAYS[24], DAYS[-1])
    choice = replace(V3, joint_model_id="joint-regime-core-v3-texts", text_share=0.2)
    with pytest.raises(UsageError, match="joint-regime-core-v3-texts has no frozen means yet; give --centre-until"):
        join(db_manager, choice, later)

    run = join(db_manager, replace(choice, centre_until=DAYS[23]), later, country="US")

    assert (run.report.written, run.without_text) == (5, (DAYS[-1],))
    assert run.text_share is not None
    assert run.numbers_share is not None
    assert rows_of(db_manager, choice.joint_model_id)[0].entity_scope["macro_filters"] == {"country": "US"}
    assert join(db_manager, replace(choice, text_share=None), later, country="US").report.written == 0
    with pytest.raises(UsageError, match="such as joint-regime-core-v3-2024-12-10"):
        join(db_manager, replace(choice, centre_until=DAYS[8]), later)


def test_rows_go_with_their_series_and_follow_their_regimes(db_manager: DatabaseManager) -> None:
    save_regimes(db_manager)
    store(db_manager, history())
    join(db_manager)
    store_ = JointEmbeddingStore(db_manager)
    groups = store_.groups("US", V3.numeric_model_id, FIRST, DAYS[-1])
    save_regimes(db_manager, seed=6, days=DAYS[:4])
    changed = App(db_manager).joint.join_anew("US", V3.numeric_model_id, [(groups[0], DAYS[:4])])
    assert changed == {"joint-regime-core-v3": 4}
    assert join(db_manager).report.written == 0

    counts = Removal(db_manager, is_plan=False).series("DGS2", DAYS[10], DAYS[10])

    assert (counts["series_values"], counts["joint_embeddings"]) == (1, 20)
    assert [row.as_of_date for row in rows_of(db_manager)] == DAYS[:10]


def test_a_night_is_told_which_rows_of_prices_and_numbers_to_go_on_with(db_manager: DatabaseManager) -> None:
    save_regimes(db_manager)
    store(db_manager, history())
    joint = App(db_manager).joint
    assert joint.with_numbers("US", V3.numeric_model_id, DAYS[-1]) == []

    join(db_manager, replace(V3, joint_model_id="joint-regime-core-v3-half", numbers_share=0.5))
    join(db_manager)

    branches = joint.with_numbers("US", V3.numeric_model_id, DAYS[-1])
    assert [each.joint_model_id for each in branches] == ["joint-regime-core-v3", "joint-regime-core-v3-half"]
    assert joint.with_numbers("US", "num-regime-core-v1", DAYS[-1]) == []
    assert joint.with_numbers("US", V3.numeric_model_id, FIRST - timedelta(1)) == []
