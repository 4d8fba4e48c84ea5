"""The names that callers already use, DESIGN §3, from the paths they use them by."""

from __future__ import annotations

import importlib

import pytest

FROZEN = {
    "prometheus.core.config": ["get_config"],
    "prometheus.core.database": [
        "DatabaseManager.get_historical_connection", "DatabaseManager.get_runtime_connection",
        "DatabaseManager.close_all", "get_db_manager",
    ],
    "prometheus.core.time": [
        "TradingCalendar.is_trading_day", "TradingCalendar.trading_days_between",
        "TradingCalendar.get_prev_trading_day", "TradingCalendar.get_next_trading_day", "TradingCalendarConfig",
        "US_EQ", "is_trading_day",
        "trading_days_between", "get_prev_trading_day", "get_next_trading_day",
    ],
    "prometheus.data.reader": ["DataReader.read_prices"],
    "prometheus.encoders": [
        "NumericWindowSpec", "NumericWindowBuilder.build_window", "NumericEmbeddingModel.encode",
        "NumericEmbeddingStore.save_embedding", "NumericWindowEncoder.embed_and_store", "TextDoc",
        "TextEmbeddingModel.embed_batch", "TextEmbeddingStore.save_embeddings", "TextEmbeddingService.embed_and_store",
        "JointExample", "JointEmbeddingModel.embed_batch", "JointEmbeddingStore.save_embeddings",
        "JointEmbeddingService.embed_and_store",
    ],
    "prometheus.encoders.models_joint_simple": ["SimpleAverageJointModel", "IdentityNumericJointModel"],
    "prometheus.encoders.models_simple_numeric": ["FlattenNumericEmbeddingModel", "PadToDimNumericEmbeddingModel"],
    "prometheus.regime": [
        "RegimeLabel.NEUTRAL", "RegimeLabel.CRISIS", "RegimeLabel.RISK_OFF", "RegimeLabel.CARRY", "RegimeState",
        "RegimePrototype", "NumericRegimeModel.classify", "RegimeModel.classify", "RegimeEngine.get_regime",
        "RegimeEngine.get_history", "RegimeEngine.get_transition_matrix", "RegimeStorage.save_regime",
        "RegimeStorage.get_latest_regime", "RegimeStorage.get_history", "RegimeStorage.get_transition_matrix",
    ],
    "prometheus.regime.model_numeric": ["NumericRegimeModel"],
    "prometheus.regime.types": ["RegimeLabel", "RegimeState", "RegimePrototype", "RegimeModel"],
}  # fmt: skip


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in FROZEN.items() for name in names])
def test_every_promised_name_can_be_imported(module: str, name: str) -> None:
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert found is not None
