"""Real windows keep their bytes for ever; `PROVENANCE.md` says where the answers come from."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.fixtures.market import LoadPrices
from tests.golden.make_golden import PATH, golden_text

from prometheus.app.databases import DatabaseManager
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder, NumericWindowSpec
from prometheus.encoders.catalogue import create_numeric_model
from prometheus.ingest.sample import PRICES
from prometheus.market.calendar import TradingCalendar

ANSWERS = json.loads(PATH.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "answer", ANSWERS, ids=lambda it: f"{it['instrument_id']}-{it['window_days']}-{it['model_id']}"
)
def test_a_stored_embedding_is_the_golden_one(
    answer: dict[str, Any], db_manager: DatabaseManager, load_prices: LoadPrices
) -> None:
    table = pq.read_table(PRICES, filters=[("instrument_id", "==", answer["instrument_id"])]).to_pandas()
    dates = table["trade_date"].to_numpy().astype("M8[D]")
    load_prices(answer["instrument_id"], dates, table["close"].to_numpy(), table["volume"].to_numpy())
    store = NumericEmbeddingStore(db_manager=db_manager)
    encoder = NumericWindowEncoder(
        builder=NumericWindowBuilder(DataReader(db_manager=db_manager), TradingCalendar()),
        model=create_numeric_model(answer["model_id"]),
        store=store,
        model_id=answer["model_id"],
    )
    spec = NumericWindowSpec("INSTRUMENT", answer["instrument_id"], answer["window_days"])
    as_of_date = date.fromisoformat(answer["as_of_date"])
    vector = encoder.embed_and_store(spec, as_of_date)
    stored = store.load_embedding(spec, as_of_date, answer["model_id"])
    assert stored is not None
    for each in (vector, stored):
        assert [float(value).hex() for value in each[:6]] == answer["first_values"]
        assert each.shape == (answer["dim"],)
        assert hashlib.sha256(np.asarray(each, dtype="<f4").tobytes()).hexdigest() == answer["sha256"]


def test_the_answers_can_be_made_again() -> None:
    assert golden_text() == PATH.read_text(encoding="utf-8")
