"""Start-up is part of the product: help and single dates import nothing slow that they do not need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.fixtures.commands import US, Run, run_process

from prometheus.cli import COMMANDS

SLOW = ["pandas", "exchange_calendars", "alembic", "sqlalchemy", "pyarrow", "matplotlib", "torch", "onnxruntime"]
FOR_OTHERS = ["numpy.ma", "prometheus.market.written", "fastapi", "multiprocessing.pool", "onnx", "tokenizers"]
"""What a single date has no use for, a part of a tenth each of what it may cost."""
REPORT = (
    "import sys; from prometheus.cli import main; code = main({arguments!r}); "
    "print('imported:', *[name for name in {slow!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
)
FORKED_HELP = """
import json, os, sys
from prometheus.cli import main
for command in {commands!r}:
    parent, child = os.pipe()
    if os.fork() == 0:
        os.dup2(child, 1)
        code = main([*command, "--help"])
        print("ended", code, *[name for name in {slow!r} if name in sys.modules], flush=True)
        os._exit(0)
    os.close(child)
    with os.fdopen(parent) as said:
        print(json.dumps(said.read()), flush=True)  # or the next fork prints it again
    os.wait()
"""


def imported_by(*arguments: str, slow: Sequence[str] = SLOW) -> tuple[int, str]:
    """Return the exit code of a command in a process of its own, and the slow modules it imported."""
    outcome = run_process("-c", REPORT.format(arguments=list(arguments), slow=slow))
    return outcome.exit_code, outcome.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """What each command prints when asked for help, and then its exit code and the slow modules it imported.

    Each in a fork of one process that has imported nothing but the way to the commands.
    """
    commands = [[], *([name] for name in COMMANDS)]
    outcome = run_process("-c", FORKED_HELP.format(commands=commands, slow=[*SLOW, "numpy", "psycopg", "pydantic"]))
    assert outcome.stderr == ""
    return dict(zip(["umbrella", *COMMANDS], map(json.loads, outcome.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("command", ["umbrella", *COMMANDS])
def test_help_answers_without_slow_imports(command: str, helps: dict[str, str]) -> None:
    assert helps[command].startswith("Usage: python -m prometheus")
    assert helps[command].splitlines()[-1] == "ended 0"


def test_the_package_is_a_command() -> None:
    outcome = run_process("-m", "prometheus", "config", "--help")

    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("Usage: python -m prometheus config")


@pytest.mark.usefixtures("sample")
def test_a_single_date_imports_nothing_slow() -> None:
    one_date = ["--instrument-id", "AAPL.US", "--as-of", "2025-01-31"]
    for command in (["run_numeric_regime", "--region", "US"], ["backfill_numeric_embeddings"]):
        assert imported_by(*command, *one_date, slow=[*SLOW, *FOR_OTHERS]) == (0, "imported:")


def test_a_command_does_not_look_for_garbage_as_it_starts_and_ends() -> None:
    code = (
        "import atexit, gc, prometheus.cli\n"
        "atexit._run_exitfuncs()\n"
        "print(gc.get_freeze_count() > 1_000, gc.get_threshold()[0] > 100_000)"
    )
    assert run_process("-c", code).stdout == "True True\n"


@pytest.mark.usefixtures("sample")
def test_a_calibrated_date_and_its_explanation_import_nothing_slow(run: Run) -> None:
    spx = ["--region", "SPX", "--instrument-id", "GSPC.INDX"]
    assert run("calibrate", *spx, "--until", "2007-12-31", "--output", "p.json").exit_code == 0
    labels = ["--model-id", "num-regime-core-v2", "--prototypes", "p.json", "--as-of", "2008-10-10"]
    assert imported_by("run_numeric_regime", *spx, *labels) == (0, "imported:")
    assert imported_by("show_regimes", "--region", "SPX", "--explain") == (0, "imported:")


@pytest.mark.usefixtures("sample")
def test_a_weekend_needs_the_calendar() -> None:
    code, modules = imported_by("run_numeric_regime", *US, "--as-of", "2025-02-02")

    assert code == 0
    assert "exchange_calendars" in modules, "otherwise the tests above prove nothing"


def test_importing_the_package_is_cheap() -> None:
    outcome = run_process("-c", "import sys, prometheus; print(len([m for m in sys.modules if 'numpy' in m]))")

    assert outcome.stdout == "0\n"


def test_the_python_interface_is_imported_when_it_is_first_asked_for() -> None:
    slow = [*SLOW, "numpy", "psycopg", "pydantic"]
    outcome = run_process(
        "-c",
        "import sys, prometheus as pm\n"
        f"imported = lambda: [name for name in {slow!r} if name in sys.modules]\n"
        "print(imported(), sorted(dir(pm)) == sorted(pm.__all__), hasattr(pm, 'opne'), imported())\n"
        "everything = [getattr(pm, name) for name in pm.__all__]\n"
        "print(sorted(imported()), pm.open is pm.open, pm.open.__module__, pm.Regimes.__name__)\n",
    )

    assert outcome.stdout.splitlines() == [
        "[] True False []",
        "['numpy', 'psycopg', 'pydantic'] True prometheus.results.opened Regimes",
    ], outcome.stderr


def test_a_foreign_package_of_the_same_import_name_is_named_when_something_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "prometheus-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: prometheus\nVersion: 1.0\n")
    (tmp_path / "broken.py").write_text(
        "import sys, prometheus.cli.databases as databases\ndel databases._stopped\n"
        "from prometheus.cli import main\nsys.exit(main(['db', 'stop']))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    outcome = run_process(str(tmp_path / "broken.py"))

    assert outcome.exit_code == 1
    assert "pip uninstall prometheus" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
