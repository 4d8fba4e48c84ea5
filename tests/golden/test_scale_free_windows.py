"""The vectors of `num-regime-core-v2` stay what they are; `PROVENANCE.md` says where the answers come from."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pytest
from tests.golden.make_golden import SCALE_FREE_PATH, scale_free_bars, scale_free_text
from tests.reference.windows import MemoryBars, NoDatabase, WeekdayCalendar

from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder, NumericWindowSpec
from prometheus.encoders.catalogue import create_numeric_model
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.encoders.numeric.features import LOG_PRICES

ANSWERS = json.loads(SCALE_FREE_PATH.read_text(encoding="utf-8"))


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda it: f"{it['instrument_id']}-{it['as_of_date']}")
def test_a_real_window_has_the_golden_vector(answer: dict[str, Any]) -> None:
    name, as_of = answer["instrument_id"], date.fromisoformat(answer["as_of_date"])
    bars = MemoryBars({name: scale_free_bars(name, as_of, answer["has_highs_and_lows"])})
    encoder = NumericWindowEncoder(
        builder=NumericWindowBuilder(bars, WeekdayCalendar(), LOG_PRICES),
        model=create_numeric_model(NUM_REGIME_CORE_V2),
        store=NumericEmbeddingStore(NoDatabase()),  # type: ignore[arg-type]
        model_id=NUM_REGIME_CORE_V2,
    )
    windows = encoder.builder.build_one(NumericWindowSpec("INSTRUMENT", name, 513), as_of)
    np.testing.assert_allclose(encoder.encode(windows).vectors, [answer["values"]], rtol=0, atol=5e-7)


def test_the_answers_can_be_made_again() -> None:
    again = json.loads(scale_free_text())
    assert [each | {"values": None} for each in again] == [each | {"values": None} for each in ANSWERS]
    for one, other in zip(again, ANSWERS, strict=True):
        np.testing.assert_allclose(one["values"], other["values"], rtol=0, atol=1.1e-7)
