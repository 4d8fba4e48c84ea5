"""`prometheus.open` of a folder: the same results as of PostgreSQL, where the rows are the same."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.fixtures.commands import Prepare, Run, run_all

import prometheus
from prometheus.app import open_app
from prometheus.core.config import load_config
from prometheus.errors import FileAccessError, NoRegimesError, UsageError
from prometheus.files.folder_stores import PRICE_FIELDS, FolderStores

SPAN = ["--date-range", "2007-06-01", "2009-06-30"]


@pytest.fixture
def folder(run: Run, prepare: Prepare, tmp_path: Path) -> Path:
    """What two regime models left in PostgreSQL, copied."""
    gspc = ["--region", "US", "--instrument-id", "GSPC.INDX"]
    calibrate = ["calibrate", *gspc, "--until", "2006-12-29", "--output", "prototypes.json"]
    label = ["run_numeric_regime", *gspc, *SPAN, "--prototypes", "prototypes.json"]
    seed = ["run_numeric_regime", *gspc, "--date-range", "2008-01-02", "2008-03-31"]
    prepare("folder", lambda: run_all(run, calibrate, label, seed), after="sample")
    path = tmp_path / "folder"
    path.mkdir()
    stores = FolderStores(path)
    with open_app(load_config()) as app:
        wired = app.wired
        stores.bars.save_bars(wired.reader.load_bars(["GSPC.INDX"], date.min, date.max, 1, PRICE_FIELDS))
        for model_id in wired.storage.list_models("US"):
            stores.states.save_regimes(wired.storage.get_history("US", date.min, date.max, model_id))
            config = wired.registry.load_config(model_id)
            stores.registry.register(model_id, "regime" if "@" in model_id else "numeric", config or {})
    return path


def test_a_folder_answers_as_postgresql_does(folder: Path) -> None:
    with prometheus.open() as there, prometheus.open(folder) as here:
        pd.testing.assert_frame_equal(here.regions().to_pandas(), there.regions().to_pandas())
        for arguments in ({}, {"start": "2008-09-01", "end": "2008-12-31"}, {"model_id": "num-regime-core-v1"}):
            ours, theirs = here.regimes("US", **arguments), there.regimes("US", **arguments)
            pd.testing.assert_frame_equal(ours.to_pandas(), theirs.to_pandas())
            np.testing.assert_array_equal(ours.closes.values, theirs.closes.values)
            assert ours.closes.instrument_id == "GSPC.INDX"
        until = "2008-12-31"
        pd.testing.assert_frame_equal(
            here.transitions("US", until=until).to_pandas(), there.transitions("US", until=until).to_pandas()
        )
        assert here.embeddings("US").to_numpy().tobytes() == there.embeddings("US").to_numpy().tobytes()
        pd.testing.assert_frame_equal(
            here.analogs("US", "2009-06-30", k=3).to_pandas(), there.analogs("US", "2009-06-30", k=3).to_pandas()
        )
        assert repr(here) == f"<Prometheus: folder {folder}>"


def test_what_a_folder_does_not_keep_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    with prometheus.open(str(folder)) as here:
        with pytest.raises(UsageError, match="a folder keeps prices, numeric vectors and regimes; text search need"):
            here.texts("rates", "2009-01-02")
        with pytest.raises(UsageError, match="no joint_vectors; these need PostgreSQL"):
            here.analogs("US", "2009-01-02", space="joint")
        with pytest.raises(NoRegimesError, match="regions that have: US"):
            here.regimes("EU")
    with pytest.raises(UsageError, match="is closed"):
        here.regions()
    with pytest.raises(FileAccessError, match="no such folder"):
        prometheus.open(tmp_path / "none")
