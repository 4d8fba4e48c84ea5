"""Plug-ins found by entry point or by ``module:name``, and what is wrong with those that cannot be used."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
from tests.fixtures.commands import run_process
from tests.fixtures.plugin_package import MODULE, SOURCE, WritePackage

from prometheus.encoders.catalogue import create_numeric_model, default_window_days, stored_model_id
from prometheus.encoders.identity import NUMERIC_IDS, PLUGIN, fingerprint, model_config
from prometheus.encoders.own import ENCODER, OwnEncoder, is_own_text_model, open_own_text_model
from prometheus.encoders.texts.documents import TextDoc
from prometheus.errors import PrometheusError, UnknownNameError, UsageError
from prometheus.evaluation.own_labeller import load_labeller, open_labeller
from prometheus.plugins import find_plugin, offered_names

WINDOW = np.array([[100, 1, 0], [110, 2, 0.1], [105, 3, -0.05]], dtype=np.float32)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (f"{MODULE}:Range", "range-v1"), (f"{MODULE}:make_range", "range-v1"), (f"{MODULE}:READY", "range-v1"),
        ("range-by-name", "range-by-name"),
    ],
)  # fmt: skip
def test_an_encoder_is_found_by_every_door(write_package: WritePackage, name: str, stored: str) -> None:
    write_package()
    model = create_numeric_model(name)

    np.testing.assert_allclose(model.encode(WINDOW), [0.1, 0.05], rtol=1e-6)
    assert stored_model_id(name) == stored == getattr(model, "model_id", None)
    assert default_window_days(name) == 21


def test_an_encoder_means_the_same_by_every_door_and_in_python(write_package: WritePackage) -> None:
    write_package()
    configs = [model_config(create_numeric_model(name)) for name in (f"{MODULE}:Range", "range-by-name")]

    assert [config.pop(PLUGIN) for config in configs] == [f"{MODULE}:Range", "range-by-name"]
    assert configs == [{"family": "range", "code_version": 1}] * 2
    assert fingerprint({**configs[0], PLUGIN: "anything"}) == fingerprint(configs[0])
    assert model_config(create_numeric_model(f"{MODULE}:Plain"))["class"] == f"{MODULE}.Plain"
    assert stored_model_id(f"{MODULE}:Plain") == f"{MODULE}:Plain"


def test_ours_win_and_the_hidden_one_is_named(write_package: WritePackage, caplog: pytest.LogCaptureFixture) -> None:
    write_package()
    assert not isinstance(create_numeric_model("num-regime-core-v2"), OwnEncoder)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        create_numeric_model("range-by-name")
        create_numeric_model("range-by-name")
    (said,) = caplog.messages
    assert said.startswith(f"num-regime-core-v2 = {MODULE}:Plain ({MODULE}): the encoder of that name in Prometheus")
    assert offered_names(ENCODER) == ["mute", "range-by-name"]
    with pytest.raises(UnknownNameError, match=r"did you mean range-by-name\?"):
        create_numeric_model("range-by-nane")


def test_two_packages_of_one_name_are_both_named(write_package: WritePackage) -> None:
    write_package()
    write_package(f"{MODULE}_2", SOURCE, {"prometheus.encoders": {"range-by-name": "Plain"}})
    with pytest.raises(UsageError, match="2 packages offer the encoder 'range-by-name'") as caught:
        create_numeric_model("range-by-name")
    assert f"range-by-name = {MODULE}:Range ({MODULE})" in str(caught.value)
    assert f"range-by-name = {MODULE}_2:Plain ({MODULE}_2)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mute", f"encoder mute: {MODULE}.Mute has no method encode()"),
        (f"{MODULE}:Mute", f"encoder {MODULE}:Mute: {MODULE}.Mute has no method encode()"),
        (f"{MODULE}:trailing", "it cannot be made without arguments (TypeError: trailing() missing 2 required"),
        (f"{MODULE}:NeedsArguments", "it cannot be made without arguments (TypeError"),
        (f"{MODULE}:Nothing", f"{MODULE} has no class 'Nothing'"),
        (f"{MODULE}:Ours", "its model_id 'num-regime-core-v1' belongs to Prometheus"),
        (f"{MODULE}:Unwritable", "config cannot be written as JSON"),
        ("no_such_package.mod:Model", "module no_such_package cannot be imported (ModuleNotFoundError: No module"),
        (f"{MODULE}_torn:Model", f"module no_such_thing, which {MODULE}_torn needs, cannot be imported"),
        (f"{MODULE}_loud:Model", f"module {MODULE}_loud cannot be imported (ZeroDivisionError: division by zero)"),
        (f"{MODULE}_gone:Model", f"module {MODULE}_gone cannot be imported (SystemExit: 3)"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(write_package: WritePackage, name: str, message: str) -> None:
    write_package()
    for part, source in {"torn": "import no_such_thing", "loud": "1 / 0", "gone": "raise SystemExit(3)"}.items():
        write_package(f"{MODULE}_{part}", source, {})
    with pytest.raises(UsageError) as caught:
        create_numeric_model(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Broken", "fails (RuntimeError: no idea); nothing of this step was stored"),
        ("Flat", "returns shape (3, 3), expected (dim,)"),
        ("Words", "returns values of type <U1, expected float32"),
        ("Uneven", "returns rows of different lengths"),
    ],
)
def test_what_an_encoder_does_wrong_is_named(write_package: WritePackage, name: str, message: str) -> None:
    write_package()
    model = create_numeric_model(f"{MODULE}:{name}")
    assert isinstance(model, OwnEncoder)
    with pytest.raises(PrometheusError) as caught:
        model.encode_batch(np.stack([WINDOW, WINDOW + 1]))
    assert str(caught.value).startswith(f"encoder {MODULE}:{name} ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_model_is_checked_too(write_package: WritePackage) -> None:
    write_package()
    docs = [TextDoc("TEST", "1", "abba"), TextDoc("TEST", "2", "c")]

    assert is_own_text_model("letters")
    assert not is_own_text_model("some/model")
    assert open_own_text_model("letters").embed_batch(docs)[:, :3].tolist() == [[2, 2, 0], [0, 0, 1]]
    assert open_own_text_model("letters").embed_batch([]).shape == (0, 0)
    with pytest.raises(PrometheusError, match=r"returns shape \(1, 26\), expected \(2, dim\)"):
        open_own_text_model(f"{MODULE}:ShortLetters").embed_batch(docs)
    with pytest.raises(UsageError, match=r"has no method embed_batch\(\)"):
        is_own_text_model(f"{MODULE}:Mute")


def test_labellers_are_told_from_functions(write_package: WritePackage) -> None:
    write_package()

    assert open_labeller("always-on", ["holding"]).name == "always"
    assert open_labeller(f"{MODULE}:Nameless", []).name == f"{MODULE}:Nameless"
    assert callable(load_labeller("trailing-200"))
    with pytest.raises(UsageError, match="check it with: evaluate --labeller always-on --repaint-every 21"):
        load_labeller("always-on")
    with pytest.raises(UsageError, match=r"has no method fit\(\)"):
        open_labeller(f"{MODULE}:Mute", [])
    with pytest.raises(UsageError, match="there are 'holding'; installed packages offer 'always-on', 'trailing-200'"):
        open_labeller("oracle", ["holding"])


@pytest.mark.parametrize("model_id", sorted(NUMERIC_IDS))
def test_our_own_ids_look_at_no_entry_point(model_id: str) -> None:
    code = (
        "import importlib.metadata as m, sys; m.entry_points = None; "
        "from prometheus.encoders.catalogue import create_numeric_model, stored_model_id; "
        f"create_numeric_model({model_id!r}); stored_model_id({model_id!r}); "
        "assert 'prometheus.encoders.own' not in sys.modules"
    )
    assert run_process("-c", code).exit_code == 0


def test_a_module_is_imported_once(write_package: WritePackage) -> None:
    write_package()
    assert find_plugin(ENCODER, f"{MODULE}:Range") is sys.modules[MODULE].Range
