"""Every command keeps its module below ``prometheus.scripts``, though no file is behind it."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest
import typer
from tests.fixtures.commands import run_process

import prometheus.scripts
from prometheus.cli import COMMANDS

FOLDER = Path(prometheus.scripts.__file__).parent
NAMES = (
    "backfill_joint_regime_context", "backfill_joint_regime_macro_context", "backfill_macro_text_embeddings",
    "backfill_numeric_embeddings", "backfill_text_embeddings", "calibrate", "check_joint_harm", "check_repaint",
    "compute_regime_prototypes", "config", "data", "db", "demo", "evaluate", "fit_scale_free_constants", "ingest",
    "nightly", "plot_regimes", "run_numeric_regime", "serve", "show_joint_regime_context",
    "show_joint_regime_macro_context", "show_regime_transitions", "show_regimes", "similar", "similar_index",
    "similar_texts",
)  # fmt: skip
GROUPS = {"config", "data", "db", "ingest", "similar_index"}


def test_the_table_has_every_command_there_ever_was() -> None:
    assert set(NAMES) <= set(COMMANDS)
    assert [path.name for path in FOLDER.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_can_be_imported_by_its_old_path(name: str) -> None:
    module = importlib.import_module(f"prometheus.scripts.{name}")

    assert isinstance(module.app, typer.Typer)
    assert getattr(prometheus.scripts, name) is module
    command = getattr(module, name)
    if name in GROUPS:
        assert command is module.app
    else:
        assert command.__name__ == name
        assert command.__doc__


def test_a_name_that_is_no_command_is_no_module() -> None:
    assert importlib.util.find_spec("prometheus.scripts.fly") is None
    with pytest.raises(ModuleNotFoundError, match=r"prometheus\.scripts\.fly"):
        importlib.import_module("prometheus.scripts.fly")


def test_a_function_of_a_command_can_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    show = importlib.import_module("prometheus.cli.operations").show
    assert show() == 0
    assert capsys.readouterr().out.startswith("server")
    assert show(as_json=True) == 0
    assert capsys.readouterr().out.startswith("{")


def test_python_runs_it_as_a_module_and_names_it_so() -> None:
    outcome = run_process("-m", "prometheus.scripts.run_numeric_regime", "--help")

    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("Usage: python -m prometheus.scripts.run_numeric_regime [OPTIONS]")


def test_its_exit_code_and_traceback_come_through() -> None:
    command = ["-m", "prometheus.scripts.show_regimes", "--region", "US", "--start", "tomorrow"]
    quiet, loud = run_process(*command), run_process(*command, "--debug")

    assert (quiet.exit_code, len(quiet.stderr.splitlines())) == (2, 1)
    assert "Traceback" in loud.stderr
    assert loud.exit_code == 1


def test_a_child_that_is_spawned_finds_the_module_its_parent_runs() -> None:
    """What `multiprocessing` does in a fresh child: it imports the parent's main module by its name."""
    outcome = run_process(
        "-c",
        "from multiprocessing.spawn import prepare\n"
        "prepare({'init_main_from_name': 'prometheus.scripts.calibrate'})\n"
        "import sys\nprint(sys.modules['__mp_main__'].calibrate.__name__)\n",
    )
    assert (outcome.stdout, outcome.stderr) == ("calibrate\n", "")


def test_help_of_a_command_imports_only_its_own_family() -> None:
    outcome = run_process(
        "-c",
        "import sys; from prometheus.cli import main; main(['db', '--help']); "
        "print(*sorted(name for name in sys.modules if name.startswith('prometheus.cli.')))",
    )
    names = ("databases", "parameters", "runner", "streams")
    assert outcome.stdout.splitlines()[-1] == " ".join(f"prometheus.cli.{name}" for name in names)
