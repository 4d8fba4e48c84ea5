"""The README's commands and snippet, run one after another as a reader would."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.fixtures.commands import Run, run_process

from prometheus.cli import demo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("sample")
def test_the_way_from_prices_to_regimes_works_as_the_readme_shows_it(run: Run) -> None:
    section = README.split("\n## From prices to regimes")[1].split("\n## ")[0]
    blocks = "".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))
    commands = [line for line in blocks.replace("\\\n", " ").splitlines() if line.startswith("python")]
    assert len(commands) == 9

    for command in commands:
        outcome = run(*shlex.split(command)[3:])
        assert outcome.exit_code == 0, (command, outcome.stderr)

    snippet = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert snippet is not None
    shown = run_process("-c", snippet.group(1))
    assert shown.stdout.splitlines()[-1] == "(4026, 384) float32", shown.stderr


@pytest.mark.parametrize("texts_from", ["2023-11-01", pytest.param("2019-01-01", marks=pytest.mark.deep)])
def test_the_demo_runs_and_a_second_time_writes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts_from: str
) -> None:
    whole = demo.EMBED_EARLIER_TEXTS
    assert "2019-01-01" in whole
    monkeypatch.setattr(demo, "EMBED_EARLIER_TEXTS", whole.replace("2019-01-01", texts_from))
    monkeypatch.chdir(tmp_path)
    first = run("demo", "--allow-own-server", "--folder", "demo")
    assert first.exit_code == 0, first.stderr
    assert "Regime as of 2025-01-31 for region US: label=NEUTRAL, confidence=1.000" in first.stdout
    assert "2008-10-10 US_INDEX: CRISIS" in first.stdout
    assert "2017-07-03 US_INDEX: CARRY" in first.stdout
    for picture in ("regimes_US.png", "regimes_US_INDEX.png"):
        assert (tmp_path / "demo" / picture).stat().st_size > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["demo"], "make demo would leave files in the checkout"

    second = run("demo", "--allow-own-server", "--folder", "demo")

    assert second.exit_code == 0
    assert "0 written" in second.stdout
    written = re.findall(r"(\d+) embeddings and (\d+) regimes written", second.stderr)
    assert len(written) == 4
    assert set(written) == {("0", "0")}


def test_git_looks_past_what_make_demo_leaves() -> None:
    assert "-m prometheus demo --folder demo\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "/demo/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
