"""An installation of a text model that is killed at any moment leaves the whole model or none."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.fixtures.text_models import MINILM, needs_minilm

from prometheus.app.model_files import ModelFiles
from prometheus.encoders.texts.pinned import PINNED
from prometheus.encoders.texts.sources import file_faults, find_text_folder

INSTALL = (
    "import sys; from pathlib import Path; from prometheus.app.model_files import ModelFiles; "
    "print('began', flush=True); ModelFiles(Path(sys.argv[1])).install(sys.argv[2])"
)
LATEST_S = 0.6
"""After so long, an installation that is not slowed down has ended."""


@needs_minilm
@pytest.mark.parametrize("n_kills", [2, pytest.param(40, marks=pytest.mark.deep)])
def test_a_killed_installation_leaves_the_whole_model_or_none(n_kills: int, tmp_path: Path) -> None:
    models, source = tmp_path / "models", find_text_folder(MINILM)
    n_whole = 0
    for kill in range(n_kills):
        command = [sys.executable, "-c", INSTALL, str(models), str(source)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "began\n"
            time.sleep(LATEST_S * kill / n_kills)
            process.send_signal(signal.SIGKILL)
        if (models / MINILM).exists():
            n_whole += 1
            assert file_faults(models / MINILM, PINNED[MINILM]) == []
    state = ModelFiles(models).install(str(source))
    assert state.is_new == (n_whole == 0)
    assert file_faults(models / MINILM, PINNED[MINILM]) == []
