"""What each model id means, pinned: these digests were taken at commit 3412201, before any module moved."""

from __future__ import annotations

import pytest

from prometheus.core.config import RegionDefinition
from prometheus.encoders.catalogue import NUMERIC_MODELS, create_numeric_model
from prometheus.encoders.identity import fingerprint, model_config
from prometheus.encoders.joint.macro_model import MacroJointModel, Shares
from prometheus.encoders.joint.models import IdentityNumericJointModel, SimpleAverageJointModel
from prometheus.encoders.joint.numbers import SERIES
from prometheus.encoders.numeric.regions import RegionMeanModel

NUMERIC = {
    "numeric-simple-v1": "5e9d7950411d70d343fffd1a81515a858a8f5062adf43ae5434bbab767829533",
    "num-regime-core-v1": "6b9173efe9205602c666f81b8a01293bd06142332d59104c5af1e9d55ee768f0",
    "num-regime-core-v2": "1d12820186a650d277733e7e01d55d8375d8515bbbd34fabf906cc79c1fec80b",
}


@pytest.mark.parametrize("model_id", sorted(NUMERIC))
def test_a_numeric_id_means_what_it_always_meant(model_id: str) -> None:
    assert fingerprint(model_config(create_numeric_model(model_id))) == NUMERIC[model_id]


def test_every_packaged_numeric_model_is_pinned() -> None:
    assert set(NUMERIC_MODELS) == set(NUMERIC)


def test_a_region_and_the_joint_models_mean_what_they_always_meant() -> None:
    region = RegionMeanModel(RegionDefinition(members={"GSPC.INDX": 0.6, "TLT": 0.4}))
    assert [
        fingerprint(model_config(each)) for each in (region, SimpleAverageJointModel(), IdentityNumericJointModel())
    ] == [
        "ba71e653f07f2af79dce795e9c4a0a283f737fec879b7dd4370904860ac07e35",
        "c49c1b1803e4df7f3b9fb1ea6f8e22b4d9e8e4dcb1fb3e7d985926f77b9a9ad8",
        "a84942f34428ee73e3b028f83519249854bf632173c5248732f2aaeedf2cfdd3",
    ]


def test_the_third_joint_model_means_what_it_meant_when_it_was_added() -> None:
    assert fingerprint(model_config(MacroJointModel(SERIES, Shares()))) == (
        "f405e471f59227953a3605715faf2b3de53c9045cfdf1231b2b39ca16d9e2d1d"
    )
