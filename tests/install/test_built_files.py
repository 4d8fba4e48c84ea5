"""What is built: a README that needs no file beside it, and a source archive that tests itself."""

from __future__ import annotations

import doctest
import email
import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ADDRESS = "https://code.example/desk/prometheus"


@pytest.fixture(scope="module")
def hook() -> Any:
    spec = importlib.util.spec_from_file_location("packaged_metadata", ROOT / "docs/hooks/packaged_metadata.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build(ROOT, folder)
    return folder


def build(source: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_examples_of_the_hook_hold(hook: Any) -> None:
    assert doctest.testmod(hook) == (0, 2)


def test_without_an_address_no_link_is_left_that_leads_nowhere(hook: Any) -> None:
    text = hook.readme_without_paths(README, None, "v1")
    assert [target for target in LINK.findall(text) if "://" not in target] == []
    assert "<!--" not in text
    assert "The [" not in text
    assert "(docs/explanation/regimes.md)" in text
    assert [block for block in README.split("```")[1::2] if block not in text] == [], "a block of code was changed"


def test_with_an_address_every_link_leads_to_a_file_of_the_tag(hook: Any) -> None:
    address = hook.repository_address(
        {"GITHUB_SERVER_URL": "https://code.example", "GITHUB_REPOSITORY": "desk/prometheus"}
    )
    assert address == ADDRESS
    targets = LINK.findall(hook.readme_without_paths(README, address, "v1"))
    assert len(targets) == len(LINK.findall(README))
    for target in targets:
        if target.startswith(ADDRESS):
            kind, tag, path = target.removeprefix(f"{ADDRESS}/").partition("#")[0].split("/", 2)
            assert (kind, tag) == ("raw" if path.endswith(".png") else "blob", "v1")
            assert (ROOT / path).exists(), path
    assert hook.project_urls(address)["Issues"] == f"{ADDRESS}/issues"


@pytest.mark.parametrize("environment", [{}, {"GITHUB_REPOSITORY": "a/b"}, {"GITHUB_SERVER_URL": "https://x.example"}])
def test_no_address_is_made_up(hook: Any, environment: dict[str, str]) -> None:
    assert hook.repository_address(environment) is None


def test_the_wheel_says_what_it_is_and_holds_the_package_and_its_command(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = archive.namelist()
        metadata = email.message_from_bytes(archive.read(next(each for each in names if each.endswith("/METADATA"))))
        scripts = archive.read(next(each for each in names if each.endswith("/entry_points.txt"))).decode()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Which regime is each market in" in str(metadata.get_payload())
    assert "prometheus-regime = prometheus_regime:main" in scripts
    assert {each.split("/")[0].partition("-")[0] for each in names} == {
        "prometheus", "prometheus_regime.py", "prometheus_regime",
    }  # fmt: skip


def test_the_source_archive_holds_everything_that_git_keeps(built: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout")
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        held = {each.name.partition("/")[2] for each in archive}
    assert {each for each in listed.stdout.splitlines() if (ROOT / each).is_file()} - held == set()
    assert not [each for each in held if each.startswith((".venv", "demo/")) or each.endswith(".pyc")]


@pytest.mark.deep
def test_the_source_archive_tests_itself_and_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    run = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    collected = subprocess.run(
        [*run, "--collect-only", "tests"], cwd=source, capture_output=True, text=True, check=False
    )
    assert collected.returncode == 0, collected.stdout[-2000:]
    part = ["tests/unit/test_arrays.py", "tests/unit/market", "tests/golden"]
    environment_of_it = {"PYTHONPATH": str(source / "src"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([*run, *part], cwd=source, capture_output=True, text=True, check=False, env=environment_of_it)
    assert done.returncode == 0, done.stdout[-2000:]
    build(source, tmp_path / "again")
    assert files_of(next((tmp_path / "again").glob("*.whl"))) == files_of(next(built.glob("*.whl")))


def files_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {each: archive.read(each) for each in archive.namelist()}
