"""Prototype files: written in one step, read with suspicion."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.regime.sample_sessions import sample_set

from prometheus.core.files import require_writable
from prometheus.errors import FileAccessError, PrototypeError
from prometheus.files.prototypes import read_prototypes, write_prototypes
from prometheus.regime import PrototypeSet, RegimeLabel, RegimePrototype
from prometheus.regime.prototypes import CalibrationWindow, default_regime_model_id

WINDOW = CalibrationWindow(RegimeLabel.CRISIS, date(2020, 3, 1), date(2020, 4, 30))


def set_of(seed: int = 1, dim: int = 5, **space: Any) -> PrototypeSet:
    generator = np.random.default_rng(seed)
    prototypes = tuple(
        RegimePrototype(label, (generator.normal(size=dim) * 1e7).astype(np.float32))
        for label in (RegimeLabel.NEUTRAL, RegimeLabel.CRISIS)
    )
    return PrototypeSet("US", prototypes, {RegimeLabel.CRISIS: WINDOW}, **space)


def document(**changes: Any) -> dict[str, Any]:
    """Return a file's document with some keys changed, or left out where the change is an ellipsis."""
    whole = {
        "embedding_dim": 2,
        "prototypes": {"NEUTRAL": {"center": [0.5, 1]}, "CRISIS": {"center": [3, -4.25]}},
        "region": "US",
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not ...}


def refusal(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PrototypeError) as caught:
        read_prototypes(path)
    message = str(caught.value)
    assert caught.value.exit_code == 5
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "regime_prototypes_US.json"


@pytest.mark.parametrize("space", [{}, {"encoder_model_id": "num-regime-core-v1", "window_days": 63}])
def test_a_set_comes_back_from_its_file(path: Path, space: dict[str, Any]) -> None:
    saved = set_of(**space)
    assert write_prototypes(saved, path)
    read = read_prototypes(path)
    assert (read.region, read.encoder_model_id, read.window_days) == (
        "US", space.get("encoder_model_id"), space.get("window_days"),
    )  # fmt: skip
    assert read.windows == saved.windows
    centers = {prototype.label: prototype.center.tobytes() for prototype in read.prototypes}
    assert centers == {prototype.label: prototype.center.tobytes() for prototype in saved.prototypes}
    assert read.to_json() == path.read_text(encoding="utf-8")


def test_writing_the_same_again_leaves_the_file_alone(path: Path) -> None:
    write_prototypes(set_of(), path)
    before = path.stat()
    assert not write_prototypes(set_of(), path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert write_prototypes(set_of(seed=2), path)


def test_a_written_file_is_readable_by_others_and_leaves_nothing_beside_it(path: Path) -> None:
    write_prototypes(set_of(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 -- names, hidden ones too


def test_the_minimal_file_of_another_tool_is_read(path: Path) -> None:
    minimal = {"embedding_dim": 2, "region": "US", "prototypes": {"NEUTRAL": {"center": [1, 2.5]}}, "note": "by hand"}
    path.write_text(json.dumps(minimal), encoding="utf-8")
    read = read_prototypes(path)
    assert read.prototypes[0].center.tolist() == [1, 2.5]
    assert (read.region, read.windows, read.encoder_model_id, read.calibration) == ("US", {}, None, None)
    assert read.regime_model_id("x") == default_regime_model_id("x", read.prototypes)


def test_a_calibrated_set_comes_back_from_its_file(path: Path) -> None:
    saved = sample_set()
    assert saved.calibration is not None
    assert write_prototypes(saved, path)
    read = read_prototypes(path)
    assert read.calibration is not None
    assert read.calibration.to_dict() == saved.calibration.to_dict()
    assert read.to_json() == path.read_text(encoding="utf-8") == saved.to_json()
    assert read.regime_model_id("num-regime-core-v2") == saved.regime_model_id("num-regime-core-v2")
    assert not write_prototypes(read, path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a JSON file"),
        ("{", "is not a JSON file"),
        ("prototypes:\n  - NEUTRAL\n", "is not a JSON file"),
        ("[" * 100_000, "is not a JSON file"),
        ("null", "has no object 'prototypes'"),
        ("[]", "has no object 'prototypes'"),
        ("{}", "has no object 'prototypes'"),
        ('{"prototypes": []}', "has no object 'prototypes'"),
        ('{"prototypes": {}}', "there is no prototype"),
        ('{"prototypes": {"NEUTRAL": null}}', "NEUTRAL has no list 'center'"),
        ('{"prototypes": {"NEUTRAL": [1, 2]}}', "NEUTRAL has no list 'center'"),
        ('{"prototypes": {"NEUTRAL": {"center": 1}}}', "NEUTRAL has no list 'center'"),
        ('{"prototypes": {"NEUTRAL": {"center": []}}}', "not that of a vector"),
        ('{"prototypes": {"NEUTRAL": {"center": ["1", 2]}}}', "holds something that is no number"),
        ('{"prototypes": {"NEUTRAL": {"center": [true, 2]}}}', "holds something that is no number"),
        ('{"prototypes": {"NEUTRAL": {"center": [null]}}}', "holds something that is no number"),
        ('{"prototypes": {"NEUTRAL": {"center": [[1, 2]]}}}', "holds something that is no number"),
        ('{"prototypes": {"NEUTRAL": {"center": [NaN, 2]}}}', "1 of 2 values are NaN or infinite"),
        ('{"prototypes": {"NEUTRAL": {"center": [-Infinity, 2]}}}', "1 of 2 values are NaN or infinite"),
        ('{"prototypes": {"NEUTRAL": {"center": [1e39, 2]}}}', "1 of 2 values are NaN or infinite"),
        ('{"prototypes": {"NEUTRAL": {"center": [1' + "0" * 400 + "]}}}", "too large"),
        ('{"prototypes": {"PANIC": {"center": [1, 2]}}}', "unknown regime label 'PANIC'; known: NEUTRAL, CRISIS"),
        ('{"prototypes": {"neutral": {"center": [1, 2]}}}', "unknown regime label 'neutral'"),
        ('{"prototypes": {"NEUTRAL": {"center": [1]}, "NEUTRAL": {"center": [2]}}}', "'NEUTRAL' stands there twice"),
    ],
)
def test_a_file_that_cannot_classify_is_refused_with_the_reason(path: Path, text: str, reason: str) -> None:
    assert reason in refusal(path, text)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"embedding_dim": 384}, "embedding_dim is 384, the centres have 2 values"),
        ({"embedding_dim": "2"}, "embedding_dim is"),
        ({"embedding_dim": None}, "embedding_dim is null, which is no int"),
        ({"embedding_dim": ...}, "has no 'embedding_dim'"),
        ({"region": None}, "region is null, which is no str"),
        ({"region": 5}, "region is 5, which is no str"),
        ({"region": ...}, "has no 'region'"),
        ({"calibration": None}, "calibration is null, which is no dict"),
        ({"model_id": "num-regime-core-v2"}, "has neither a 'calibration' nor windows of its prototypes"),
        ({"prototypes": {"NEUTRAL": {"center": [1]}, "CRISIS": {"center": [1, 2]}}}, "different dimension"),
        ({"schema_version": 2}, "schema_version 2 is not known, this version reads 1"),
        ({"window_days": "many"}, "window_days"),
        ({"window_days": [63]}, "window_days"),
        ({"model_id": 5}, "model_id"),
        ({"calibration": {}}, "'calibration' cannot be read"),
        ({"calibration": []}, "calibration is [], which is no dict"),
        ({"calibration": "good"}, "calibration is 'good', which is no dict"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_with_the_reason(
    path: Path, changes: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(path, json.dumps(document(**changes)))


@pytest.mark.parametrize(
    "window",
    [
        {"start_date": "2020-03-01"},
        {"start_date": "2020-03-01", "end_date": "April"},
        {"start_date": 20200301, "end_date": 20200430},
        {"start_date": "2020-04-30", "end_date": "2020-03-01"},
        ["2020-03-01", "2020-04-30"],
        "2020",
    ],
)
def test_a_calibration_window_that_is_none_is_refused(path: Path, window: object) -> None:
    entries = {"NEUTRAL": {"center": [1, 2], "window": window}}
    assert "NEUTRAL: 'window' is not a pair of ISO dates" in refusal(path, json.dumps(document(prototypes=entries)))


def test_bytes_that_are_no_text_are_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(FileAccessError, match=r"is no text in UTF-8 \(line 1\)"):
        read_prototypes(path)


def test_a_missing_file_and_a_folder_are_told_apart(path: Path) -> None:
    with pytest.raises(FileAccessError, match=r"regime_prototypes_US.json: cannot be read \(no such file"):
        read_prototypes(path)
    with pytest.raises(FileAccessError, match="is a folder, not a regular file"):
        read_prototypes(path.parent)


def test_a_folder_that_is_missing_or_is_the_target_is_refused_before_any_work(path: Path) -> None:
    require_writable(path)
    with pytest.raises(FileAccessError, match="is a folder; name a file with --output"):
        require_writable(path.parent)
    with pytest.raises(FileAccessError, match="its folder does not exist"):
        require_writable(path.parent / "missing" / "p.json")
    for refused in (path.parent, path.parent / "missing" / "p.json"):
        with pytest.raises(FileAccessError, match=r"choose another --output|name a file with --output"):
            write_prototypes(set_of(), refused)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_midway_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    write_prototypes(set_of(), path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full) if step == "fsync" else monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FileAccessError, match=r"cannot be written \(no space left on device\)"):
        write_prototypes(set_of(seed=2), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208


@pytest.fixture
def unwritable_folder() -> Iterator[Path]:
    """A folder this process may enter and not write; root gives up its rights for as long."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "p.json").write_text("old", encoding="utf-8")
        folder.chmod(0o555)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        yield folder
        if was_root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_an_unwritable_folder_is_refused_and_its_old_file_kept(unwritable_folder: Path) -> None:
    target = unwritable_folder / "p.json"
    with pytest.raises(FileAccessError, match="its folder cannot be written; choose another --output"):
        write_prototypes(set_of(), target)
    assert target.read_text(encoding="utf-8") == "old"


def test_a_file_that_is_no_text_is_not_overwritten(path: Path) -> None:
    path.write_bytes(b"\xff\xfe a picture")
    with pytest.raises(FileAccessError, match="is there and is not a prototype file; choose another --output"):
        write_prototypes(set_of(), path)
    assert path.read_bytes() == b"\xff\xfe a picture"


def test_every_refusal_is_one_of_ours(path: Path) -> None:
    generator = np.random.default_rng(12)
    calibrated = set_of(dim=3, encoder_model_id="m", window_days=63, calibration=sample_set().calibration)
    text = calibrated.to_json()
    for _ in range(600):  # one byte of a good file replaced by another
        at, byte = int(generator.integers(len(text))), chr(int(generator.integers(32, 127)))
        path.write_text(text[:at] + byte + text[at + 1 :], encoding="utf-8")
        with suppress(PrototypeError):  # and nothing else
            read_prototypes(path).regime_model_id("m")
