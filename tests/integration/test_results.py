"""Results for Python and notebooks: every form of them says the same, and what the app says."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.fixtures.commands import run_process
from tests.fixtures.text_models import needs_minilm

import prometheus as pm
from prometheus.analogs.search import AnalogRequest
from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_search import TextHit, TextSearchReport
from prometheus.arrays import as_float32
from prometheus.cli.runner import run_named
from prometheus.data.text_reader import DatedText
from prometheus.errors import DatabaseError, NoRegimesError, NotFoundError, UsageError
from prometheus.regime import RegimeLabel, RegimeState, RegimeStorage

pytest_plugins = ["tests.fixtures.index_demo"]
pytestmark = pytest.mark.usefixtures("index_demo")

REGION = "US_INDEX"
AS_OF = date(2022, 6, 16)
SCRIPT = "<script>alert('$1 and $2')</script>"
PNG = b"\x89PNG"


@pytest.fixture
def p(index_demo: dict[str, str]) -> Iterator[pm.Prometheus]:
    with pm.open() as opened:
        yield opened


@pytest.fixture
def app(index_demo: dict[str, str], migrated: DatabaseManager) -> App:
    return App(migrated)


@pytest.fixture
def odd_region(migrated: DatabaseManager, index_demo: dict[str, str]) -> Iterator[str]:
    """A region of two states whose name is a script, and no prices."""
    states = [
        RegimeState(date(2020, 1, day), SCRIPT, label, 0.5, as_float32([day, 1.0, 2.0]), model_id="m@1")
        for day, label in ((2, RegimeLabel.CARRY), (3, RegimeLabel.CRISIS))
    ]
    RegimeStorage(db_manager=migrated).save_regimes(states)
    yield SCRIPT
    with migrated.get_runtime_connection() as connection:
        connection.execute("DELETE FROM regimes WHERE region = %s", (SCRIPT,))
        connection.execute("DELETE FROM regime_transitions WHERE region = %s", (SCRIPT,))


def texts_of(*bodies: str) -> pm.Texts:
    hits = [
        TextHit(0.5, DatedText("NEWS", at, datetime(2025, 1, at, 22, tzinfo=UTC), None, "", "en", "Agency", body))
        for at, body in enumerate(bodies, start=1)
    ]
    return pm.Texts("rates", TextSearchReport(date(2025, 1, 31), "t", len(hits), tuple(hits)))


def test_regimes_say_the_same_in_every_form(p: pm.Prometheus, app: App) -> None:
    regimes = p.regimes(REGION, "2020-01-01", date(2020, 12, 31))
    said = app.regimes.timeline(REGION, date(2020, 1, 1), date(2020, 12, 31))
    frame, table, rows = regimes.to_pandas(), regimes.to_arrow(), list(regimes)

    assert len(regimes) == len(frame) == table.num_rows == len(rows) == len(said.dates) == 253
    np.testing.assert_array_equal(regimes.dates, said.dates)
    assert regimes.to_numpy().tolist() == frame["regime_label"].tolist() == [row.regime_label for row in rows]
    assert regimes.to_numpy().tolist() == table["regime_label"].to_pylist() == said.label_names()
    assert frame["confidence"].tolist() == table["confidence"].to_pylist() == said.confidences.tolist()
    assert (
        pd.DatetimeIndex(frame.index).date.tolist()
        == table["as_of_date"].to_pylist()
        == [row.as_of_date for row in rows]
    )
    assert pd.api.types.is_datetime64_any_dtype(frame.index)
    assert list(frame["regime_label"].cat.categories) == [label.name for label in RegimeLabel]
    assert frame.attrs == {"region": REGION, "model_id": said.model_id}
    assert table.schema.metadata == {b"region": REGION.encode(), b"model_id": said.model_id.encode()}


def test_an_unknown_number_is_missing_in_every_form(p: pm.Prometheus, odd_region: str) -> None:
    regimes = p.regimes(odd_region)

    assert [row.high_volatility for row in regimes] == [None, None]
    assert regimes.to_arrow()["high_volatility"].null_count == 2
    frame = regimes.to_pandas()
    assert frame["high_volatility"].isna().all()
    np.testing.assert_array_equal(frame["exposure"], regimes.exposure)
    assert repr(regimes).splitlines()[-1].split() == ["2020-01-03", "CRISIS", "0.500", "-"]


def test_embeddings_say_the_same_in_every_form(p: pm.Prometheus, app: App) -> None:
    embeddings = p.embeddings(REGION, end=AS_OF)
    vectors, table, frame = embeddings.to_numpy(), embeddings.to_arrow(), embeddings.to_pandas()

    assert vectors.dtype == np.float32
    assert vectors.shape == (len(embeddings), 384)
    assert vectors.flags.c_contiguous
    assert not vectors.flags.writeable
    assert vectors.copy().flags.writeable
    states = app.regimes.states(REGION, date.min, AS_OF, None)
    np.testing.assert_array_equal(vectors, np.stack([state.regime_embedding for state in states]))
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 384)
    np.testing.assert_array_equal(table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 384), vectors)
    np.testing.assert_array_equal(frame.to_numpy(), vectors)
    assert frame.index.equals(p.regimes(REGION, end=AS_OF).to_pandas().index)
    day, vector = list(embeddings)[-1]
    assert day == AS_OF
    np.testing.assert_array_equal(vector, vectors[-1])


def test_embeddings_are_named_by_encoder_or_by_regime_model(p: pm.Prometheus) -> None:
    by_default = p.embeddings(REGION, AS_OF, AS_OF)
    regime_model = p.regimes(REGION).model_id

    for model_id in (by_default.encoder_model_id, regime_model):
        named = p.embeddings(REGION, AS_OF, AS_OF, model_id=model_id)
        np.testing.assert_array_equal(named.to_numpy(), by_default.to_numpy())
    with pytest.raises(NoRegimesError, match="nothing-v1"):
        p.embeddings(REGION, model_id="nothing-v1")


def test_transitions_say_what_the_app_says(p: pm.Prometheus, app: App) -> None:
    transitions = p.transitions(REGION, until=AS_OF)
    (report,) = app.regimes.transitions(REGION, None, AS_OF)
    matrix, frame = transitions.to_numpy(), transitions.to_pandas()

    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    np.testing.assert_array_equal(frame[[label.name for label in transitions.labels]].to_numpy(), matrix)
    assert frame.index.tolist() == list(report.counts)
    assert frame["mean_duration"].to_dict() == report.mean_durations
    assert [row.probabilities for row in transitions] == list(report.matrix.values())
    assert transitions.report.n_dates == len(p.regimes(REGION, end=AS_OF)) < p.transitions(REGION).report.n_dates


def test_a_label_never_followed_has_an_empty_row(p: pm.Prometheus, odd_region: str) -> None:
    transitions = p.transitions(odd_region)

    assert transitions.labels == [RegimeLabel.CRISIS, RegimeLabel.CARRY]
    np.testing.assert_array_equal(transitions.to_numpy(), [[np.nan, np.nan], [1.0, 0.0]])
    assert transitions.to_pandas().loc["CRISIS", ["CRISIS", "CARRY"]].isna().all()
    picture: Any = transitions.plot()
    assert picture._repr_png_().startswith(PNG)


def test_analogs_say_what_the_app_says(p: pm.Prometheus, app: App) -> None:
    analogs = p.analogs(REGION, AS_OF, k=5)
    report = app.analogs.find(AnalogRequest(REGION, AS_OF, k=5))
    frame = analogs.to_pandas()

    assert analogs.report.to_dict() == report.to_dict()
    assert (
        pd.DatetimeIndex(frame.index).date.tolist()
        == [analog.as_of_date for analog in report.analogs]
        == analogs.dates.tolist()
    )
    assert frame["distance"].tolist() == [analog.distance for analog in analogs]
    assert frame["return_63"].tolist() == [analog.outcomes[1].total_return for analog in report.analogs]
    assert analogs.to_arrow()["drawdown_21"].to_pylist() == [each.outcomes[0].drawdown for each in report.analogs]


def test_paths_are_aligned_at_their_dates_and_end_on_the_date_asked_about(p: pm.Prometheus) -> None:
    analogs = p.analogs(REGION, AS_OF, k=5, exclude_sessions=20)
    paths = analogs.to_numpy()

    assert paths.shape == (5, 127)
    np.testing.assert_array_equal(paths[:, 63], 1.0)
    for path, analog in zip(paths, analogs, strict=True):
        np.testing.assert_array_equal(path[np.isfinite(path)], analog.path)
        total_return = analog.outcomes[1].total_return
        assert path[126] - 1 == pytest.approx(np.nan if total_return is None else total_return, nan_ok=True)


def test_the_dates_least_alike_lie_farther_than_any_analog(p: pm.Prometheus) -> None:
    least = p.analogs(REGION, AS_OF, k=3, least=True)
    assert str(least).startswith(f"Dates least like {AS_OF}")
    assert min(each.distance for each in least) > max(each.distance for each in p.analogs(REGION, AS_OF, k=3))


@pytest.mark.parametrize("as_of", [AS_OF, date(2010, 5, 6), date(2020, 3, 16)])
def test_the_nearest_vector_by_hand_is_the_first_analog(p: pm.Prometheus, as_of: date) -> None:
    embeddings = p.embeddings(REGION, end=as_of)
    vectors = embeddings.to_numpy()
    distances = np.linalg.norm(vectors[:-64] - vectors[-1], axis=1)
    (nearest,) = p.analogs(REGION, as_of, k=1)

    assert embeddings.dates[distances.argmin()] == np.datetime64(nearest.as_of_date)
    assert distances.min() == pytest.approx(nearest.distance, rel=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        "2022-06-16",
        AS_OF,
        datetime(2022, 6, 16, 23, tzinfo=UTC),
        pd.Timestamp(AS_OF),
        np.datetime64("2022-06-16T10:00"),
    ],
    ids=lambda given: type(given).__name__,
)
def test_a_date_may_be_given_in_any_form(p: pm.Prometheus, given: Any) -> None:
    assert p.regimes(REGION, given, given).dates.tolist() == [AS_OF]


def test_a_weekend_is_answered_by_the_session_before_it(p: pm.Prometheus) -> None:
    assert p.analogs(REGION, "2022-06-18", k=2).dates.tolist() == p.analogs(REGION, "2022-06-17", k=2).dates.tolist()


@pytest.mark.parametrize("given", ["16.6.2022", "2022-02-30", None, 7])
def test_what_is_no_date_is_refused_by_name(p: pm.Prometheus, given: Any) -> None:
    with pytest.raises(UsageError, match=r"as_of: .* is no date; write YYYY-MM-DD"):
        p.analogs(REGION, given)


def test_what_cannot_be_answered_is_an_error_of_the_project(p: pm.Prometheus) -> None:
    with pytest.raises(pm.PrometheusError, match="regions that have: US_INDEX"):
        p.regimes("MARS")
    with pytest.raises(UsageError, match="before it starts"):
        p.regimes(REGION, "2020-01-02", "2020-01-01")
    with pytest.raises(NotFoundError):
        p.texts("rates", AS_OF)


def test_every_result_is_read_through_arrows_stream(p: pm.Prometheus) -> None:
    results: list[Any] = [
        p.regions(), p.regimes(REGION), p.transitions(REGION), p.embeddings(REGION), p.analogs(REGION, AS_OF),
        texts_of("one", "two"), p.regimes(REGION, end="1990-01-01"), p.embeddings(REGION, end="1990-01-01"),
    ]  # fmt: skip
    for result in results:
        streamed = pa.table(result)
        assert streamed.equals(result.to_arrow(), check_metadata=True)
        assert streamed.num_rows == len(result) == len(list(result)) == len(result.to_pandas())
        assert pa.RecordBatchReader.from_stream(result, schema=streamed.schema).read_all().equals(streamed)
        assert repr(pickle.loads(pickle.dumps(result))) == repr(result)
        with pytest.raises(FrozenInstanceError):
            setattr(result, fields(result)[0].name, None)


def test_a_span_without_sessions_is_empty_and_cannot_be_drawn(p: pm.Prometheus) -> None:
    for empty in (p.regimes(REGION, end="1990-01-01"), p.embeddings(REGION, end="1990-01-01")):
        assert len(empty) == 0
        assert repr(empty).endswith("no sessions")
        assert "<table>" not in empty._repr_html_()
        with pytest.raises(UsageError, match="to draw"):
            empty.plot()
    assert p.embeddings(REGION, end="1990-01-01").to_numpy().shape == (0, 384)


def test_regions_say_which_model_answers(p: pm.Prometheus, odd_region: str) -> None:
    regions = p.regions()
    frame = regions.to_pandas().set_index("region")

    assert sorted(regions.names) == sorted([odd_region, REGION])
    assert frame.loc[REGION, "model_id"] == p.regimes(REGION).model_id
    assert frame["is_default"].all()
    assert frame.loc[REGION, "n_dates"] == len(p.regimes(REGION))


def test_names_and_texts_are_shown_and_never_run(p: pm.Prometheus, odd_region: str) -> None:
    shown: list[Any] = [
        p.regions(), p.regimes(odd_region), p.transitions(odd_region), p.embeddings(odd_region), texts_of(SCRIPT)
    ]  # fmt: skip
    for result in shown:
        page = result._repr_html_()
        assert "<script" not in page
        assert "&lt;script&gt;alert(&#x27;$1" in page
        assert "mathjax_ignore" in page, "dollars are no formulas"
        assert "http" not in page
        assert "color" not in page


def test_a_text_is_one_short_line_that_steers_no_terminal() -> None:
    shown = repr(texts_of("first\nsecond\x1b[2J" + "x" * 500)).splitlines()

    assert len(shown) == 3
    assert "first second [2Jxx" in shown[-1]
    assert shown[-1].endswith("…")
    assert texts_of("long " * 200).to_pandas()["text"][0] == "long " * 200


def test_long_results_show_their_ends_and_how_long_they_are(p: pm.Prometheus) -> None:
    regimes = p.regimes(REGION)

    lines = repr(regimes).splitlines()
    assert lines[0] == f"Regimes of US_INDEX by {regimes.model_id}: 4,026 sessions from 2008-01-02 to 2023-12-28"
    assert len(lines) == 1 + 1 + 5 + 1 + 5
    assert regimes._repr_html_().count("<tr>") == 1 + 5 + 1 + 5
    assert len(p.embeddings(REGION)._repr_html_()) < 5_000


def test_every_picture_is_a_png_of_its_own(p: pm.Prometheus) -> None:
    transitions = p.transitions(REGION)
    pictures: list[Any] = [
        p.regimes(REGION, "2022-01-01").plot(), transitions.plot(), p.analogs(REGION, AS_OF, k=3).plot(),
        p.embeddings(REGION, "2022-01-01").plot(),
    ]  # fmt: skip
    assert len({picture._repr_png_() for picture in pictures}) == 4
    assert all(picture._repr_png_().startswith(PNG) for picture in pictures)
    written = [text.get_text() for text in pictures[1].axes[0].texts]
    assert written == [f"{share:.1%}" for share in transitions.to_numpy().ravel()]


def test_regimes_without_prices_are_no_picture(p: pm.Prometheus, odd_region: str) -> None:
    with pytest.raises(UsageError, match="says whose closes it follows"):
        p.regimes(odd_region).plot()


def test_results_outlive_what_they_came_through(index_demo: dict[str, str]) -> None:
    with pm.open() as opened:
        regimes = opened.regimes(REGION, "2022-01-01")

    assert repr(opened).endswith(", closed>")
    assert len(regimes.to_pandas()) == len(regimes)
    assert regimes.plot() is not None
    with pytest.raises(UsageError, match=r"closed; open another one with prometheus\.open"):
        opened.regimes(REGION)
    opened.close()


def test_nothing_can_be_written(p: pm.Prometheus) -> None:
    with pytest.raises(DatabaseError), p._app.db_manager.get_runtime_connection() as connection:
        connection.execute("DELETE FROM regimes")


@pytest.mark.deep
def test_a_forgotten_one_ends_with_python_and_without_a_word() -> None:
    forgotten = (
        "import sys, prometheus as pm; p = pm.open(); print(len(p.regimes('US_INDEX')));"
        "p.transitions('US_INDEX').to_numpy(); p.analogs('US_INDEX', '2022-06-16').to_numpy();"
        "print(*[name for name in ('pandas', 'pyarrow', 'matplotlib') if name in sys.modules]);"
        "p.transitions('US_INDEX').plot(); print('matplotlib.pyplot' in sys.modules)"
    )
    outcome = run_process("-W", "error", "-c", forgotten)

    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert outcome.stdout == "4026\n\nFalse\n"


def test_without_matplotlib_a_picture_names_the_extra() -> None:
    absent = (
        "import sys; sys.modules['matplotlib'] = None\nimport prometheus as pm\n"
        "with pm.open() as p:\n  for each in (p.regimes('US_INDEX'), p.transitions('US_INDEX')):\n"
        "    try: each.plot()\n    except pm.PrometheusError as error: print(error)"
    )
    outcome = run_process("-c", absent)

    assert outcome.stdout.count("pip install 'prometheus-regime[plots]'") == 2, outcome.stderr


@needs_minilm
def test_texts_are_found_by_their_meaning(p: pm.Prometheus, tmp_path: Any, migrated: DatabaseManager) -> None:
    events = [("2021-11-02", "A bank failed and its depositors fled."), ("2021-11-03", "The harvest was plentiful.")]
    lines = [
        json.dumps({"event_type": "NOTE", "timestamp": f"{day}T12:00:00Z", "country": "US", "description": text})
        for day, text in events
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    assert run_named("ingest", ["macro", str(tmp_path / "events.jsonl")]) == 0
    span = ["--date-range", "2021-11-01", "2021-11-30", "--model-id", "texts-v1"]
    assert run_named("backfill_macro_text_embeddings", span) == 0

    found = p.texts("a run on a lender", "2021-12-01", k=2)
    frame = found.to_pandas()

    assert frame["text"].tolist() == [text for _, text in events]
    assert [hit.text.text for hit in found] == frame["text"].tolist() == found.to_arrow()["text"].to_pylist()
    assert str(frame["timestamp"].dtype).endswith("UTC]")
    assert len(p.texts("a run on a lender", "2021-11-02")) == 1, "the other text was not known yet"
    with migrated.get_historical_connection() as connection:
        connection.execute("DELETE FROM text_embeddings")
        connection.execute("DELETE FROM macro_events")
