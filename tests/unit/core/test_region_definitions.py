"""Regions as they are written down: one instrument or members, and what is no part of their identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from prometheus.core.config import RegionDefinition, parse_regions, read_regions
from prometheus.encoders.numeric.regions import RegionMeanModel, region_model_id

MEMBERS = {"GSPC.INDX": 0.6, "TLT": 0.4}


def test_what_a_night_does_with_a_region_is_no_part_of_its_identity() -> None:
    plain = RegionDefinition(members=MEMBERS)
    dressed = RegionDefinition(members=MEMBERS, prototypes=Path("p.json"), country="US", language="en")
    assert region_model_id(plain) == region_model_id(dressed) == "num-regime-region-v1:52b5fc8f"
    assert RegionMeanModel(plain).config == RegionMeanModel(dressed).config


def test_one_instrument_is_its_own_only_member_and_anchor() -> None:
    region = parse_regions('{"US": {"instrument_id": "GSPC.INDX", "country": "US"}}')["US"]
    assert (region.instrument_id, region.members, region.anchor) == ("GSPC.INDX", {"GSPC.INDX": 1.0}, "GSPC.INDX")
    assert RegionDefinition.model_validate(region.model_dump()) == region
    assert RegionDefinition(members=MEMBERS).instrument_id is None


@pytest.mark.parametrize(
    ("region", "wrong"),
    [
        ({"instrument_id": "X", "members": {"X": 2.0}}, "US: has members and an instrument_id; keep one of them"),
        ({"instrument_id": "X", "anchor": "Y"}, "US.anchor: 'Y' is no member; choose one of X"),
        ({"instrument_id": ""}, "US.instrument_id: "),
        ({"instrument_id": 7}, "US.instrument_id: "),
        ({"members": {"X": 1}, "country": ""}, "US.country: "),
        ({"members": {"X": 1}, "prototypes": 7}, "US.prototypes: "),
        ({"members": {"X": 1}, "prototypes": "~nobody-of-this-name/p.json"}, "US.prototypes: "),
    ],
)
def test_a_mistake_is_named(region: dict[str, object], wrong: str) -> None:
    with pytest.raises(ValueError, match="US") as refusal:
        parse_regions(json.dumps({"US": region}))
    assert wrong in str(refusal.value)


def test_a_relative_prototype_file_starts_at_the_folder_of_the_regions_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)
    document = {"A": {"instrument_id": "X", "prototypes": "p.json"}, "B": {"instrument_id": "X", "prototypes": "/p"}}
    for path, text in (
        ("conf/r.json", json.dumps(document)),
        ("conf/r.toml", '[A]\ninstrument_id = "X"\nprototypes = "p.json"\n[B]\ninstrument_id = "X"\nprototypes = "/p"'),
    ):
        Path(path).write_text(text)
        regions = read_regions(tmp_path / path)
        assert regions["A"].prototypes == tmp_path / "conf" / "p.json"
        assert regions["B"].prototypes == Path("/p")
    assert parse_regions(json.dumps(document))["A"].prototypes == tmp_path / "p.json"


def test_a_definition_does_not_change() -> None:
    region = RegionDefinition(members=MEMBERS)
    with pytest.raises(ValidationError):
        region.country = "US"
