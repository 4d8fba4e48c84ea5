"""Completion: what may stand next, asked in this process and of real shells."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.commands import US, Run, run_process

from prometheus.cli import COMMANDS, main
from prometheus.cli.completion import SCRIPT, candidates, split_line

PROMPT = b"READY"
WAIT_S = 60.0
MODULE = "python -m prometheus "


def offered(line: str) -> list[str]:
    """Return what may stand where a line ends."""
    return [word for word, _ in candidates(*split_line(line))]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (MODULE, list(COMMANDS)),
        (f"{MODULE}calib", ["calibrate"]),
        ("cd x; PROMETHEUS_HOME=/x /opt/bin/python3 -m prometheus serv", ["serve"]),
        ("prometheus-regime compl", ["completion"]),
        (f"{MODULE}data re", ["report", "reject", "reopen", "revisions", "remove"]),
        (f"{MODULE}data nothing ", []),
        (f"{MODULE}nothing ", []),
        (f"{MODULE}show_regimes --exp", ["--explain"]),
        (f"{MODULE}show-regimes --exp", ["--explain"]),
        ("python -m prometheus.scripts.show_regimes --exp", ["--explain"]),
        (f"{MODULE}show_regimes --explain --exp", []),
        (f"{MODULE}similar --space ", ["numeric", "joint", "text"]),
        (f"{MODULE}similar --space=j", ["--space=joint"]),
        (f"{MODULE}similar --as-of ", ["today", "latest"]),
        (f"{MODULE}run_numeric_regime --date-range 2020-01-01 ", ["today", "latest"]),
        (f"{MODULE}data accept X ", ["today", "latest"]),
        (f"{MODULE}data accept --why 'a b' X lat", ["latest"]),
        (f"{MODULE}completion ", ["bash", "zsh", "fish"]),
        (f"{MODULE}similar --space 'nu", ["numeric"]),
        (f"{MODULE}quick ", []),
        (f"{MODULE}show_regimes --limit ", []),
    ],
)
def test_what_may_stand_next(line: str, words: list[str]) -> None:
    assert offered(line) == words


def test_a_command_that_takes_no_arguments_offers_its_options() -> None:
    assert {"--region", "--limit", "--json", "--help"} <= set(offered(f"{MODULE}show_regimes "))


@given(st.text(max_size=30))
def test_no_line_is_too_odd(text: str) -> None:
    assert isinstance(candidates(*split_line(f"{MODULE}data {text}")), list)


@pytest.mark.usefixtures("sample")
def test_stored_names_are_offered_and_the_only_region_is_taken(run: Run) -> None:
    assert run("show_regimes").errors == [
        "error: no regimes are stored; make them from files of prices: python -m prometheus quick FILE"
    ]
    assert run("run_numeric_regime", *US, "--start", "2025-07-01", "--end", "latest").exit_code == 0

    alone = run("show_regimes", "--start", "latest", "--end", "latest")
    assert alone.stdout.splitlines()[1:] == ["2025-07-23,US,NEUTRAL,1.000000,num-regime-core-v1"]
    assert "region US: the only one that is stored" in alone.stderr
    assert "latest is 2025-07-23, the newest date stored of US" in alone.stderr
    for command in ("show_joint_regime_context", "backfill_joint_regime_context --as-of latest"):
        taken = run(*command.split())
        assert "region US: the only one that is stored" in taken.stderr, taken
    assert offered(f"{MODULE}show_regimes --region ") == ["US"]
    assert offered(f"{MODULE}show_regimes --region=") == ["--region=US"]
    assert offered(f"{MODULE}calibrate --instrument-id ") == ["AAPL.US", "GSPC.INDX"]
    assert offered(f"{MODULE}evaluate --market-id ") == ["US_EQ"]
    assert offered(f"{MODULE}show_regimes --model-id num-") == ["num-regime-core-v1"]

    assert (
        run("run_numeric_regime", "--region", "A b", "--instrument-id", "AAPL.US", "--as-of", "latest").exit_code == 0
    )
    refused = run("show_regimes")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.errors == ["error: several regions are stored; name one (--region): A b, US"]
    assert run("completion", "bash", "--", f"{MODULE}report --region ").stdout == "'A b'\nUS\n"


def test_a_database_that_is_down_offers_nothing_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(("PROMETHEUS_", "PG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PROMETHEUS_HOME", str(tmp_path / "home"))
    assert main(["completion", "zsh", "--", f"{MODULE}report --region "]) == 0
    monkeypatch.setenv("PROMETHEUS_HISTORICAL_DSN", "host=127.0.0.1 port=1")
    assert main(["completion", "zsh", "--", f"{MODULE}report --region "]) == 0
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "home").exists()


def test_options_are_completed_without_settings_arrays_or_databases() -> None:
    line = f"{MODULE}show_regimes --exp"
    asked = f"import sys; from prometheus.cli import main; main(['completion', 'fish', '--', {line!r}]);"
    outcome = run_process(
        "-c", asked + "print([name for name in ('numpy', 'psycopg', 'pydantic_settings') if name in sys.modules])"
    )
    assert outcome.stdout.splitlines()[0].startswith("--explain\tSay why")
    assert outcome.stdout.splitlines()[1] == "[]"


@contextmanager
def terminal(*command: str, home: Path) -> Iterator[int]:
    """Yield a terminal in which a shell runs whose ``python`` is this one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": path, "HOME": str(home), "ZDOTDIR": str(home), "TERM": "xterm", "PROMETHEUS_HOME": str(home)}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    ) as shell:
        try:
            yield ours
        finally:
            shell.kill()
            os.close(ours)
            os.close(theirs)


def _await(terminal: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        assert select.select([terminal], [], [], WAIT_S)[0], seen
        seen += os.read(terminal, 4096)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_key_completes_in_a_real_shell(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(SCRIPT[shell])
    begin = "autoload -Uz compinit; compinit -u\n" if shell == "zsh" else ""
    for name in (".bashrc", ".zshrc"):
        (tmp_path / name).write_text(f"{begin}. {tmp_path}/script\nPS1='{PROMPT.decode()}> '\n")
    with terminal(shell, "-i", home=tmp_path) as opened:
        _await(opened, PROMPT)
        for typed, wanted in (
            (f"{MODULE}calib\t", "calibrate"),
            ("python -m prometheus.scripts.similar --space=j\t", "space=joint"),
            (f"python -m json.tool {tmp_path}/scr\t", "/script"),
        ):
            os.write(opened, typed.encode())
            _await(opened, wanted.encode())
            os.write(opened, b"\x15")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPT["fish"])
    asked = f'. {tmp_path}/script; complete -C "{MODULE}calib"; complete -C "{MODULE}quick {tmp_path}/scr"'
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["fish", "-c", asked], env={"PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
        timeout=WAIT_S,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"calibrate\t{COMMANDS['calibrate'][1]}", f"{tmp_path}/script"]
