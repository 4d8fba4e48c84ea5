"""Another package of the import name ``prometheus``: noticed before it is run, named, and told how to get rid of."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.install.wheel_check import build

import prometheus_regime

RUN = "raise SystemExit('the other package was run')"
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n"
REINSTALL = "pip install --force-reinstall --no-deps prometheus-regime"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def site(wheel: Path, tmp_path: Path) -> Path:
    """A folder with our package as installers leave it."""
    return unpack(wheel, tmp_path / "site")


def unpack(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def write_foreign(path: Path, name: str, files: dict[str, str]) -> Path:
    """Write the wheel of another distribution."""
    info = f"{name}-9.9.dist-info"
    record = "".join(f"{each},,\n" for each in (*files, f"{info}/METADATA", f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in {**files, f"{info}/METADATA": METADATA.format(name=name), f"{info}/RECORD": record}.items():
            archive.writestr(each, text)
    return path


Start = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start a module with some folders first on the path, in an empty folder."""
    empty = tmp_path / "empty"
    empty.mkdir()

    def started(module: str, *path: Path, folder: Path = empty) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
        command = [sys.executable, "-m", module, "config", "show", "--json"]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return started


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (1, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("module", ["prometheus_regime", "prometheus"])
def test_our_package_alone_is_run(site: Path, start: Start, module: str) -> None:
    done = start(module, site)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{")


def test_another_distribution_that_overwrote_ours_is_named(site: Path, tmp_path: Path, start: Start) -> None:
    unpack(write_foreign(tmp_path / "f.whl", "prometheus", {"prometheus/__init__.py": RUN}), site)
    line = one_line(start("prometheus_regime", site))
    assert f"'prometheus' is {site}/prometheus/__init__.py, which is not of prometheus-regime" in line
    assert line.endswith(f"run: pip uninstall prometheus && {REINSTALL}")


def test_it_is_noticed_by_the_module_too_where_it_lets_that_be_reached(
    site: Path, tmp_path: Path, start: Start
) -> None:
    unpack(write_foreign(tmp_path / "f.whl", "titan", {"prometheus/__init__.py": "VERSION = 9"}), site)
    assert one_line(start("prometheus", site)).endswith(f"run: pip uninstall titan && {REINSTALL}")


def test_another_distribution_that_hides_ours_is_named_and_not_run(site: Path, tmp_path: Path, start: Start) -> None:
    other = unpack(write_foreign(tmp_path / "f.whl", "titan", {"prometheus/__init__.py": RUN}), tmp_path / "other")
    line = one_line(start("prometheus_regime", other, site))
    assert str(other) in line
    assert "pip uninstall titan" in line


@pytest.mark.parametrize("file", ["prometheus.py", "prometheus/__init__.py"])
def test_a_file_of_the_readers_own_is_named(site: Path, tmp_path: Path, start: Start, file: str) -> None:
    path = tmp_path / "mine" / file
    path.parent.mkdir(parents=True)
    path.write_text(RUN, encoding="utf-8")
    line = one_line(start("prometheus_regime", site, folder=tmp_path / "mine"))
    assert f"'prometheus' is {path}, which is not of prometheus-regime; move it off the path" in line


def test_an_uninstalled_foreigner_took_ours_along(site: Path, start: Start) -> None:
    (site / "prometheus" / "__init__.py").unlink()
    # in a folder alone: the checkout's own package is on the path of this interpreter
    code = f"import sys; sys.path[:] = [{str(site)!r}, *(p for p in sys.path if 'src' not in p)]; "
    done = subprocess.run(
        [sys.executable, "-c", code + "from prometheus_regime import main; sys.exit(main())"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert one_line(done) == f"error: the package 'prometheus' has no __init__.py any more; run: {REINSTALL}"


def test_any_overwritten_module_is_named_where_it_breaks_the_start(site: Path, tmp_path: Path, start: Start) -> None:
    unpack(write_foreign(tmp_path / "f.whl", "titan", {"prometheus/errors.py": "class Other: ..."}), site)
    line = one_line(start("prometheus_regime", site))
    assert "files of prometheus-regime were changed or removed: prometheus/errors.py; run: pip uninstall titan" in line


def test_overwritten_files_are_counted(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    assert prometheus_regime.overwritten_files() is None
    for name in ("arrays.py", "errors.py", "plugins.py", "spelling.py", "regime/boosted_trees.json"):
        (site / "prometheus" / name).write_text("", encoding="utf-8")
    said = prometheus_regime.overwritten_files()
    assert said is not None
    assert "prometheus/arrays.py, prometheus/errors.py, prometheus/plugins.py and 2 more" in said


def test_nothing_is_wrong_with_the_checkout() -> None:
    assert prometheus_regime.foreign_package() is None
    assert prometheus_regime.other_owners() == []
