"""Model ids and what they mean, apart from the database."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from prometheus.encoders.catalogue import NUMERIC_MODELS, create_numeric_model
from prometheus.encoders.identity import fingerprint, model_config
from prometheus.encoders.models_simple_numeric import PadToDimNumericEmbeddingModel
from prometheus.errors import UnknownNameError

# Canonical JSON of each configuration, written down by hand; the fingerprint is its SHA-256. These are stored in
# users' databases: a line here may be added, and never changed. One that holds 384 means has only a fingerprint.
CANONICAL_CONFIGS = {
    "num-regime-core-v1": '{"code_version":1,"family":"flatten-pad","target_dim":384}',
    "numeric-simple-v1": '{"code_version":1,"family":"flatten"}',
}
FINGERPRINTS = {
    "num-regime-core-v1": "6b9173efe9205602c666f81b8a01293bd06142332d59104c5af1e9d55ee768f0",
    "num-regime-core-v2": "1d12820186a650d277733e7e01d55d8375d8515bbbd34fabf906cc79c1fec80b",
    "numeric-simple-v1": "5e9d7950411d70d343fffd1a81515a858a8f5062adf43ae5434bbab767829533",
}


def test_every_registered_model_has_its_fingerprint_written_down() -> None:
    assert NUMERIC_MODELS.keys() == FINGERPRINTS.keys() >= CANONICAL_CONFIGS.keys()


@pytest.mark.parametrize("model_id", sorted(FINGERPRINTS))
def test_a_model_id_means_what_it_always_meant(model_id: str) -> None:
    found = fingerprint(model_config(create_numeric_model(model_id)))
    assert found == FINGERPRINTS[model_id]
    if model_id in CANONICAL_CONFIGS:
        assert found == hashlib.sha256(CANONICAL_CONFIGS[model_id].encode()).hexdigest()


def test_every_call_makes_a_new_model() -> None:
    assert create_numeric_model("num-regime-core-v1") is not create_numeric_model("num-regime-core-v1")


def test_a_misspelt_model_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError) as caught:
        create_numeric_model("numeric-simple-v0")
    assert str(caught.value) == "unknown model id 'numeric-simple-v0'; did you mean numeric-simple-v1?"


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError) as caught:
        create_numeric_model("lstm")
    known = "num-regime-core-v1, num-regime-core-v2, numeric-simple-v1"
    assert str(caught.value) == f"unknown model id 'lstm'; known: {known}"


def test_a_fingerprint_follows_the_values_and_not_their_order() -> None:
    config: dict[str, Any] = {"a": 1, "b": [1, 2], "c": None}
    assert fingerprint(config) == fingerprint(dict(reversed(config.items())))
    others = [config | {"a": 2}, config | {"b": [2, 1]}, config | {"d": 0}, {"a": 1}]
    assert len({fingerprint(each) for each in [config, *others]}) == 5


def test_a_configuration_with_nan_has_no_fingerprint() -> None:
    with pytest.raises(ValueError, match="JSON"):
        fingerprint({"temperature": float("nan")})


def test_models_of_different_target_differ() -> None:
    first, second = (model_config(PadToDimNumericEmbeddingModel(target_dim=dim)) for dim in (384, 385))
    assert fingerprint(first) != fingerprint(second)


class Plain:
    """A model that states no configuration."""


def test_a_model_without_a_configuration_is_known_by_its_class() -> None:
    assert model_config(Plain()) == {"class": f"{__name__}.Plain"}
