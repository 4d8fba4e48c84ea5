"""Regimes of a region of several instruments on real rows: any way through the dates leaves the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.fixtures.backfills import run_regimes
from tests.fixtures.database import TableDigest
from tests.fixtures.market import LoadPrices, random_walk, weekdays

from prometheus.app.databases import DatabaseManager
from prometheus.backfill import plan
from prometheus.backfill.plan import DateSpan
from prometheus.backfill.regime import RegimeBackfill, RegimeReport
from prometheus.core.config import RegionDefinition
from prometheus.data.models import ModelRegistry
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowEncoder, NumericWindowSpec
from prometheus.encoders.numeric.regions import REGION, RegionMeanModel, RegionWindowBuilder, region_model_id
from prometheus.errors import ModelFingerprintError, RegionMembersError
from prometheus.market.calendar import TradingCalendar
from prometheus.regime import NumericRegimeModel, RegimeLabel, RegimePrototype, RegimeStorage

N_BARS = 540
DAYS = weekdays(N_BARS)
MEMBERS = {"SPX": 0.5, "TLT": 0.3, "GLD": 0.2}
US = RegionDefinition(members=MEMBERS)
EVERYTHING = DateSpan.of_range(DAYS[0].item(), DAYS[-1].item())
N_SESSIONS = N_BARS - 512


@pytest.fixture
def prices(load_prices: LoadPrices) -> None:
    """Three members; gold stops for eight sessions, on the last three of which it is too old."""
    for seed, name in enumerate(MEMBERS):
        closes, volumes = random_walk(N_BARS, seed)
        kept = np.ones(N_BARS, dtype=np.bool_)
        if name == "GLD":
            kept[-18:-10] = False
        load_prices(name, DAYS[kept], closes[kept], volumes[kept])


def builder_of(db_manager: DatabaseManager, region: RegionDefinition = US) -> RegionWindowBuilder:
    return RegionWindowBuilder(DataReader(db_manager=db_manager), TradingCalendar(), {"US": region})


def encoder_of(
    db_manager: DatabaseManager, region: RegionDefinition = US, model_id: str | None = None
) -> NumericWindowEncoder:
    return NumericWindowEncoder(
        builder=builder_of(db_manager, region),
        model=RegionMeanModel(region),
        store=NumericEmbeddingStore(db_manager=db_manager),
        model_id=model_id or region_model_id(region),
        entity_type=REGION,
    )


def run(db_manager: DatabaseManager, span: DateSpan = EVERYTHING, region: RegionDefinition = US) -> RegimeReport:
    windows = builder_of(db_manager).build_range(["US"], EVERYTHING.start, EVERYTHING.end, 513).windows
    vectors = windows.vectors(RegionMeanModel(US))
    model = NumericRegimeModel(
        encoder=encoder_of(db_manager, region),
        region_instruments={"US": "US"},
        window_days=513,
        prototypes=[RegimePrototype(RegimeLabel.NEUTRAL, vectors[0]), RegimePrototype(RegimeLabel.CRISIS, vectors[-1])],
        model_id=None if region is US else "other",
    )
    backfill = RegimeBackfill(
        builder_of(db_manager, region), model, RegimeStorage(db_manager=db_manager), ModelRegistry(db_manager),
        DataReader(db_manager=db_manager),
    )  # fmt: skip
    return run_regimes(backfill, "US", span)


def everything_stored(db_manager: DatabaseManager) -> tuple[Any, ...]:
    """All rows but for when they were written."""
    with db_manager.get_runtime_connection() as connection:
        regimes = connection.execute(
            "SELECT as_of_date, model_id, regime_label, confidence::text, encoder_model_id, regime_embedding,"
            " metadata::text FROM regimes ORDER BY 1"
        ).fetchall()
        transitions = connection.execute("SELECT as_of_date, from_label FROM regime_transitions ORDER BY 1").fetchall()
    with db_manager.get_historical_connection() as connection:
        embeddings = connection.execute(
            "SELECT as_of_date, entity_type, entity_id, model_id, vector, input_hash FROM numeric_window_embeddings"
            " ORDER BY 1"
        ).fetchall()
    return regimes, transitions, embeddings


def forget_results(db_manager: DatabaseManager) -> None:
    with db_manager.get_runtime_connection() as connection:
        connection.execute("DELETE FROM regimes")
        connection.execute("DELETE FROM regime_transitions")
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings")


@pytest.mark.usefixtures("prices")
def test_any_way_through_the_dates_leaves_the_same_bytes(
    db_manager: DatabaseManager, table_digests: TableDigest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(db_manager).regimes.written == N_SESSIONS
    stored, digests = everything_stored(db_manager), table_digests()
    again = run(db_manager)
    assert (again.regimes.written, again.embeddings.written) == (0, 0)
    assert table_digests() == digests
    forget_results(db_manager)
    for at in np.random.default_rng(4).permutation(np.arange(512, N_BARS)):
        run(db_manager, DateSpan.of_date(DAYS[at].item()))
    assert everything_stored(db_manager) == stored
    forget_results(db_manager)
    monkeypatch.setattr(plan, "CHUNK_DAYS", 5)
    run(db_manager)
    assert everything_stored(db_manager) == stored


@pytest.mark.usefixtures("prices")
def test_rows_say_whose_they_are_and_who_took_part(db_manager: DatabaseManager) -> None:
    run(db_manager)
    regimes, _, embeddings = everything_stored(db_manager)
    assert {row[1:4] for row in embeddings} == {(REGION, "US", region_model_id(US))}
    assert [row[5] for row in regimes] == [row[4] for row in embeddings]
    states = RegimeStorage(db_manager=db_manager).get_history("US", EVERYTHING.start, EVERYTHING.end)
    assert [state.as_of_date for state in states if state.metadata["absent"] == ["GLD"]] == DAYS[-13:-9].tolist()
    assert states[0].metadata["members"] == MEMBERS
    assert sum(states[-13].metadata["members"].values()) == pytest.approx(1)
    assert {state.encoder_model_id for state in states} == {region_model_id(US)}
    loaded = RegimeStorage(db_manager=db_manager).load_embeddings(
        "US", region_model_id(US), EVERYTHING.start, EVERYTHING.end
    )
    assert (loaded.instrument_id, loaded.window_days, len(loaded.dates)) == (None, 513, N_SESSIONS)


@pytest.mark.usefixtures("prices")
def test_a_corrected_bar_of_one_member_rewrites_the_dates_that_see_it(db_manager: DatabaseManager) -> None:
    run(db_manager)
    before = {row[0]: row[4:] for row in everything_stored(db_manager)[2]}
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE prices_daily SET adjusted_close = adjusted_close * 1.01 WHERE instrument_id = 'TLT'"
            " AND trade_date = %s",
            (DAYS[-10].item(),),
        )
    assert run(db_manager).embeddings.written == 10
    after = {row[0]: row[4:] for row in everything_stored(db_manager)[2]}
    assert [day for day in after if after[day] != before[day]] == DAYS[-10:].tolist()


@pytest.mark.usefixtures("prices")
def test_sessions_left_out_are_named_and_the_rest_is_stored(db_manager: DatabaseManager) -> None:
    heavy = RegionDefinition(members={"SPX": 1, "GLD": 2}, anchor="SPX")
    done = run(db_manager, region=heavy)
    left_out = DAYS[-13:-9].tolist()  # the bar after the hole tells of no day
    assert [
        failure.as_of for failure in done.embeddings.failures if isinstance(failure, RegionMembersError)
    ] == left_out
    assert done.regimes.written == N_SESSIONS - 4
    with pytest.raises(RegionMembersError, match=r"GLD's last bar, of .*, is more than 5 sessions old"):
        run(db_manager, DateSpan.of_date(left_out[0]), heavy)


@pytest.mark.usefixtures("prices")
def test_an_id_means_one_set_of_members_for_ever(db_manager: DatabaseManager) -> None:
    spec, day = NumericWindowSpec(REGION, "US", 513), EVERYTHING.end
    encoder_of(db_manager).embed_and_store(spec, day)
    other = RegionDefinition(members={**MEMBERS, "GLD": 0.3})
    with pytest.raises(ModelFingerprintError, match="members: stored"):
        encoder_of(db_manager, other, region_model_id(US)).embed_and_store(spec, day)
