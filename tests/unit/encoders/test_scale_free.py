"""``num-regime-core-v2`` and its frozen constants, apart from what they say of markets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.reference.windows import bar_walk, bars_of_histories

from prometheus.arrays import FeatureTable, Float64Matrix, Float64Vector, Int64Vector
from prometheus.encoders.identity import fingerprint
from prometheus.encoders.numeric import descriptors
from prometheus.encoders.numeric import scale_free as models_scale_free
from prometheus.encoders.numeric.features import LOG_PRICES, log_prices
from prometheus.encoders.numeric.scale_free import (
    CONSTANTS_FILE,
    ScaleFreeConstants,
    ScaleFreeNumericEmbeddingModel,
    packaged_constants,
    standard_scores,
)
from prometheus.errors import PrometheusError, UsageError

DIM = descriptors.DIM


def table_of(n: int, seed: int = 7) -> FeatureTable:
    return LOG_PRICES.tabulate(bars_of_histories({"X": bar_walk(n, seed=seed)}, fields=LOG_PRICES.bar_fields))


def constants_with(mean: float = 0.0, deviation: float = 1.0) -> ScaleFreeConstants:
    return ScaleFreeConstants(np.full(DIM, mean), np.full(DIM, deviation), {"from": "a test"})


@pytest.mark.parametrize("window_days", [1, 512])
def test_a_shorter_window_is_refused_with_both_numbers(window_days: int) -> None:
    model, table = ScaleFreeNumericEmbeddingModel(), table_of(window_days)
    says = f"reads 513 sessions; --window-days {window_days} is too few"
    with pytest.raises(UsageError, match=says):
        model.encode(table)
    with pytest.raises(UsageError, match=says):
        model.encode_batch(table[np.newaxis])
    with pytest.raises(UsageError, match=says):
        model.encode_table(table_of(600), np.array([600]), window_days)


@pytest.mark.parametrize("window_days", [514, 600, 1200])
def test_of_a_longer_window_the_last_513_sessions_count(window_days: int) -> None:
    model, table = ScaleFreeNumericEmbeddingModel(), table_of(window_days)
    expected = model.encode(table[-513:]).tobytes()
    assert model.encode(table).tobytes() == expected
    assert model.encode_table(table, np.array([window_days]), window_days).tobytes() == expected
    assert model.encode(table[:-1]).tobytes() != expected


def test_a_value_is_the_standard_score_times_the_root_of_its_weight() -> None:
    table, ends = table_of(520), np.array([513, 520])
    vectors = ScaleFreeNumericEmbeddingModel(constants_with(0.5, 2.0)).encode_table(table, ends, 513)
    expected = (descriptors.describe(table, ends) - 0.5) / 2.0 * np.sqrt(descriptors.WEIGHTS)[:, np.newaxis]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected.T, rtol=1e-6, atol=1e-7)
    names = ("volatility_32", "sortino_64")
    scores = standard_scores(vectors, names)
    rows = [descriptors.NAMES.index(name) for name in names]
    np.testing.assert_allclose(scores, (descriptors.describe(table, ends)[rows].T - 0.5) / 2.0, rtol=1e-5)


def shuffled(ends: Int64Vector) -> Int64Vector:
    return np.random.default_rng(1).permutation(np.concatenate([ends, ends[::9]]))


@pytest.mark.parametrize("chunk_windows", [1, 7, 100, 10_000])
def test_the_size_of_a_chunk_changes_no_byte(chunk_windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table, ends = table_of(780), np.arange(513, 781)
    expected = ScaleFreeNumericEmbeddingModel().encode_table(table, ends, 513)
    monkeypatch.setattr(models_scale_free, "CHUNK_WINDOWS", chunk_windows)
    monkeypatch.setattr(descriptors, "_BLOCK_WINDOWS", min(chunk_windows, 9))
    monkeypatch.setattr(descriptors, "_SERIES_AT_ONCE", 3)
    model = ScaleFreeNumericEmbeddingModel()
    assert model.encode_table(table, ends, 513).tobytes() == expected.tobytes()
    assert model.encode_table(table, ends[::-3], 513).tobytes() == expected[::-3].tobytes()
    for order in (shuffled(ends), np.repeat(ends[:3], 4)):
        assert model.encode_table(table, order, 513).tobytes() == expected[order - 513].tobytes()


def test_windows_that_share_nothing_are_not_described_together(monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[tuple[int, int]] = []

    def spied(
        features: FeatureTable, ends: Int64Vector, _factors: Float64Vector
    ) -> Iterator[tuple[slice, Float64Matrix]]:
        spans.append((int(ends.min()), int(ends.max())))
        yield slice(0, len(ends)), np.zeros((DIM, len(ends)))

    monkeypatch.setattr(descriptors, "described_blocks", spied)
    ends = np.concatenate([[600], np.arange(1200, 1203), np.arange(3000, 5200)])
    ScaleFreeNumericEmbeddingModel().encode_table(np.zeros((6000, 3)), ends, 513)
    assert spans == [(600, 600), (1200, 1202), (3000, 4095), (4096, 5199)]


def test_no_windows_are_no_vectors() -> None:
    vectors = ScaleFreeNumericEmbeddingModel().encode_table(table_of(513), np.empty(0, dtype=np.int64), 513)
    assert vectors.shape == (0, DIM)
    assert vectors.dtype == np.float32


def test_a_window_that_begins_before_the_table_is_refused() -> None:
    with pytest.raises(UsageError, match="from row -13 to 500 of a table of 600"):
        ScaleFreeNumericEmbeddingModel().encode_table(table_of(600), np.array([500]), 513)


def test_constants_survive_their_file() -> None:
    described = descriptors.describe(table_of(700), np.arange(513, 701))
    constants = ScaleFreeConstants.fit(described, {"command": "none", "start": "2020-01-01"})
    text = constants.to_json()
    again = ScaleFreeConstants.from_json(text)
    assert again.means.tolist() == constants.means.tolist()
    assert again.deviations.tolist() == constants.deviations.tolist()
    assert again.source == constants.source
    assert again.to_json() == text
    np.testing.assert_allclose(again.means, described.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(again.deviations, described.std(axis=1), rtol=1e-6)


def test_the_order_of_a_file_does_not_matter_and_a_missing_descriptor_does() -> None:
    document = json.loads(packaged_constants().to_json())
    pairs = document["mean_and_deviation"]
    backwards = json.dumps(document | {"mean_and_deviation": dict(reversed(pairs.items()))})
    assert ScaleFreeConstants.from_json(backwards).means.tolist() == packaged_constants().means.tolist()
    del pairs["sortino_64"]
    with pytest.raises(KeyError, match="sortino_64"):
        ScaleFreeConstants.from_json(json.dumps(document))


def test_the_packaged_file_is_what_the_code_writes() -> None:
    packaged = resources.files("prometheus.encoders.numeric").joinpath(CONSTANTS_FILE).read_text(encoding="utf-8")
    assert packaged_constants().to_json() == packaged
    assert packaged_constants().source["command"] == models_scale_free.RECOMPUTE_COMMAND


@pytest.mark.parametrize(
    ("means", "deviations", "says"),
    [
        (np.zeros(383), np.ones(384), "scaling means"),
        (np.full(384, np.nan), np.ones(384), "scaling means"),
        (np.zeros(384), np.ones((384, 1)), "scaling deviations"),
        (np.zeros(384), np.r_[np.ones(383), 0.0], "must be positive"),
        (np.zeros(384), np.r_[np.ones(383), np.inf], "scaling deviations"),
    ],
)
def test_impossible_constants_are_refused(means: Float64Matrix, deviations: Float64Matrix, says: str) -> None:
    with pytest.raises(PrometheusError, match=says):
        ScaleFreeConstants(means, deviations, {})


def test_the_fingerprint_follows_every_constant_its_source_and_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    base = packaged_constants()

    def nudged(values: Float64Matrix, at: int) -> Float64Matrix:
        changed = values.copy()
        changed[at] = math.nextafter(changed[at], math.inf)
        return changed

    variants = [
        base,
        *(replace(base, means=nudged(base.means, at)) for at in (0, 383)),
        *(replace(base, deviations=nudged(base.deviations, at)) for at in (0, 383)),
        replace(base, source={**base.source, "end": "1989-12-28"}),
    ]
    prints = [fingerprint(ScaleFreeNumericEmbeddingModel(each).config) for each in variants]
    monkeypatch.setattr(descriptors, "WEIGHTS", nudged(descriptors.WEIGHTS, 5))
    prints.append(fingerprint(ScaleFreeNumericEmbeddingModel().config))
    assert len(set(prints)) == len(variants) + 1


def test_the_packaged_constants_can_be_made_again(shared_data: Path) -> None:
    # the product was fed from a database; that part of it is this file, whose float32 prices are widened exactly
    columns = ["trade_date", "close", "high", "low"]
    table = pq.read_table(shared_data / "prices" / "gspc_1927_2020.parquet", columns=columns)
    dates = table["trade_date"].to_numpy().astype("M8[D]")
    close, high, low = (table[name].to_numpy().astype(np.float64) for name in columns[1:])
    first, last = np.searchsorted(dates, np.array(["1964-01-02", "1989-12-29"], dtype="M8[D]"))
    assert (dates[[first, last]] == np.array(["1964-01-02", "1989-12-29"], dtype="M8[D]")).all()
    described = descriptors.describe(log_prices(close, high / close, low / close), np.arange(first, last + 1) + 1)
    packaged = packaged_constants()
    again = ScaleFreeConstants.fit(described, packaged.source)
    # not the text: a logarithm may differ in its last bit on another processor
    np.testing.assert_allclose(again.means, packaged.means, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(again.deviations, packaged.deviations, rtol=1e-6)
