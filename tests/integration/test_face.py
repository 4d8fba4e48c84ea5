"""The same code answers with and without a database, byte for byte; what a classifier gave can be stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest

import prometheus as pm
from prometheus.app.databases import DatabaseManager
from prometheus.errors import InputRefusedError, NoRegimesError
from prometheus.ingest.sample import PRICES

SPX = ["--region", "SPX", "--instrument-id", "GSPC.INDX"]
LABEL = ["run_numeric_regime", *SPX, "--model-id", "num-regime-core-v2", "--prototypes", "p.json"]
SPAN = ["--date-range", "2008-01-01", "2023-12-28"]


@pytest.fixture
def prices() -> pd.DataFrame:
    frame = pd.read_parquet(PRICES)
    frame = frame[frame["instrument_id"] == "GSPC.INDX"]
    return frame.set_index(pd.DatetimeIndex(frame["trade_date"], name="date")).drop(columns=["trade_date", "currency"])


@pytest.fixture
def own(prices: pd.DataFrame) -> pm.RegimeClassifier:
    return pm.RegimeClassifier().fit(prices[:"2007"])


@pytest.fixture
def p(sample: None) -> Iterator[pm.Prometheus]:
    with pm.open() as opened:
        yield opened


def bytes_of(regimes: pm.Regimes) -> tuple[Any, ...]:
    found, evidence = regimes.timeline, regimes.evidence
    arrays = (found.dates, found.labels, found.confidences, found.high_volatilities)
    return (found.model_id, *(each.tobytes() for each in (*arrays, evidence.probabilities, evidence.vectors)))


def test_labels_equal_those_of_the_commands_and_either_may_follow_the_other(
    run: Run, p: pm.Prometheus, prices: pd.DataFrame, own: pm.RegimeClassifier, table_digests: TableDigest
) -> None:
    assert run("calibrate", *SPX, "--until", "2007-12-31", "--output", "p.json").exit_code == 0
    document, text = own.prototypes_["GSPC.INDX"].to_json(), Path("p.json").read_text(encoding="utf-8")
    assert document.replace('"region": "GSPC.INDX"', '"region": "SPX"') == text
    assert run(*LABEL, *SPAN).exit_code == 0
    stored, labelled = p.regimes("SPX"), own.label(prices["2008":])
    assert len(stored) == 4026
    assert bytes_of(stored) == bytes_of(labelled)
    assert stored["2020-03-16"] == labelled["2020-03-16"]
    assert list(stored.explain("2020-03-16"))[2:] == list(labelled.explain("2020-03-16"))[2:]
    assert repr(p.explain("SPX", "2020-03-16")) == repr(labelled.explain("2020-03-16"))
    assert stored.spells().rows == labelled.spells().rows
    assert bytes_of(pm.RegimeClassifier().fit(p.prices("GSPC.INDX", end="2007-12-31")).label(prices["2008":])) == (
        bytes_of(labelled)
    )

    before = table_digests()
    saved = p.save(labelled, region="SPX")
    assert next(iter(saved))[3:] == (0, 0, True)
    assert table_digests() == before
    (elsewhere,) = p.save(labelled["2020-01-01":"2020-06-30"], region="US")
    assert elsewhere == ("US", "GSPC.INDX", labelled.model_id, 125, 0, True)
    assert bytes_of(p.regimes("US")) == bytes_of(labelled["2020-01-01":"2020-06-30"])
    before = table_digests()
    again = run(*[each.replace("SPX", "US") for each in LABEL], "--date-range", "2020-01-01", "2020-06-30")
    assert again.exit_code == 0, again.stderr
    assert table_digests() == before


def test_closes_alone_are_bars_without_highs_and_lows(
    run: Run, p: pm.Prometheus, prices: pd.DataFrame, db_manager: DatabaseManager
) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE prices_daily SET open = NULL, high = NULL, low = NULL")
    assert run("calibrate", *SPX, "--until", "2007-12-31", "--output", "p.json").exit_code == 0
    assert run(*LABEL, "--date-range", "2008-01-01", "2009-12-31").exit_code == 0
    close = prices["close"]
    labelled = pm.RegimeClassifier().fit(close[:"2007"]).label(close["2008":"2009"])
    assert bytes_of(p.regimes("SPX")) == bytes_of(labelled)
    (saved,) = p.save(labelled, region="SPX", instrument_id="GSPC.INDX")
    assert (saved.n_states, saved.n_embeddings) == (0, 0)


@pytest.mark.parametrize("form", ["closes alone", "FRED", "wide"])
def test_a_file_of_closes_gives_the_labels_of_its_closes(
    run: Run, p: pm.Prometheus, prices: pd.DataFrame, form: str
) -> None:
    close = prices["close"]["1998":"2009"]
    columns = {"closes alone": ["Close"], "FRED": ["CLOSES"], "wide": ["CLOSES", "HALF"]}[form]
    frame = pd.DataFrame(dict(zip(columns, (close, close / 2), strict=False)))
    if form == "FRED":
        frame = frame.asfreq("B").rename_axis("observation_date")
    frame.to_csv("prices.csv", na_rep=".")
    named = ["--instrument-id", "CLOSES"] if form == "closes alone" else []
    assert run("ingest", "prices", "prices.csv", *named).exit_code == 0
    about = ["--region", "MINE", "--instrument-id", "CLOSES"]
    assert run("calibrate", *about, "--until", "2007-12-31", "--output", "p.json").exit_code == 0
    label = ["run_numeric_regime", *about, "--model-id", "num-regime-core-v2", "--prototypes", "p.json"]
    assert run(*label, "--date-range", "2008-01-01", "2009-12-31").exit_code == 0
    labelled = pm.RegimeClassifier().fit(close[:"2007"]).label(close["2008":])
    assert len(labelled) == 505
    assert bytes_of(p.regimes("MINE")) == bytes_of(labelled)


def test_what_has_no_name_is_stored_under_that_of_its_region(
    p: pm.Prometheus, prices: pd.DataFrame, own: pm.RegimeClassifier
) -> None:
    close = prices["close"]
    labelled = pm.RegimeClassifier().fit(close[:"2007"]).label(close["2008":"2008-03"])
    saved = p.save(labelled, region="MY")
    assert list(saved) == [("MY", "MY", labelled.model_id, 61, 61, False)]
    assert "no prices of MY are stored" in repr(saved)
    assert p.regions().names == ["MY"]
    with pytest.raises(InputRefusedError, match="regimes of MY come from a database"):
        p.save(p.regimes("MY"), region="OTHER")


def test_vectors_and_analogs_are_those_of_the_database(run: Run, p: pm.Prometheus, prices: pd.DataFrame) -> None:
    seed = ["run_numeric_regime", *SPX, "--model-id", "num-regime-core-v2", "--date-range", "1990-01-01", "2023-12-28"]
    assert run(*seed).exit_code == 0
    stored, own = p.embeddings("SPX"), pm.embed(prices)
    np.testing.assert_array_equal(own.dates, stored.dates)
    assert own.to_numpy().tobytes() == stored.to_numpy().tobytes()
    for as_of in ("2020-03-16", "2011-08-07"):
        known, found = p.analogs("SPX", as_of, k=5).report.to_dict(), pm.analogs(prices, as_of, k=5).report.to_dict()
        assert {**found, "region": "SPX"} == known


def test_what_is_stored_is_listed_and_a_misspelt_name_is_answered_with_the_nearest(p: pm.Prometheus) -> None:
    assert [row.instrument_id for row in p.instruments()] == ["AAPL.US", "GSPC.INDX"]
    assert p.instruments().to_pandas()["market_id"].tolist() == ["US_EQ", "US_EQ"]
    report = p.report().to_pandas().set_index("instrument_id")
    assert report.loc["GSPC.INDX", "n_rows"] == 8564
    bars = p.prices("GSPC.INDX", "2020-03-14", "2020-03-20")
    assert bars.dates.astype(str).tolist() == ["2020-03-16", "2020-03-17", "2020-03-18", "2020-03-19", "2020-03-20"]
    assert next(iter(bars)).close == bars.to_pandas()["close"].iloc[0]
    assert "Prices of GSPC.INDX: 5 sessions" in repr(bars)
    with pytest.raises(InputRefusedError, match=r"unknown instrument 'GSPC\.IDX'; did you mean GSPC\.INDX\?"):
        p.prices("GSPC.IDX")
    with pytest.raises(NoRegimesError, match="at all"):
        p.regimes("US")
