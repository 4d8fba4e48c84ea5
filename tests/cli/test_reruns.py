"""Running anything twice changes nothing, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.commands import US, Run
from tests.fixtures.database import TableDigest

from prometheus.ingest.sample import PRICES

pytestmark = pytest.mark.tcp

RANGE = ["--date-range", "2017-06-01", "2020-06-30"]
WINDOWS = ["--window", "NEUTRAL=2018-01-01:2018-12-31", "--window", "CRISIS=2020-03-01:2020-04-30"]
COMMANDS = {
    "db upgrade": (["db", "upgrade"], "is up to date"),
    "ingest prices": (["ingest", "prices", str(PRICES)], "0 written"),
    "embeddings": (["backfill_numeric_embeddings", "--market-id", "US_EQ", *RANGE], "0 written"),
    "seed range": (["run_numeric_regime", *US, *RANGE], "0 embeddings and 0 regimes written"),
    "prototypes": (["compute_regime_prototypes", "--region", "US", *WINDOWS, "--output", "p.json"], "unchanged"),
    "classified": (
        ["run_numeric_regime", *US, *RANGE, "--prototypes", "p.json"], "0 embeddings and 0 regimes written",
    ),
    "calibrate": (["calibrate", *US, "--until", "2017-05-31", "--output", "c.json"], "unchanged"),
    "calibrated": (
        ["run_numeric_regime", *US, *RANGE, "--model-id", "num-regime-core-v2", "--prototypes", "c.json"],
        "0 embeddings and 0 regimes written",
    ),
    "one date": (["run_numeric_regime", *US, "--as-of", "2020-03-20"], "0 embeddings and 0 regimes written"),
    "picture": (
        ["plot_regimes", *US, "--model-id", "num-regime-core-v1", "--output", "picture.png"], "wrote",
    ),
}  # fmt: skip


def test_the_second_run_of_every_command_writes_nothing(run: Run, table_digests: TableDigest) -> None:
    for command, _ in COMMANDS.values():
        first = run(*command)
        assert first.exit_code == 0, first.stderr
    tables = table_digests()
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (Path("p.json"), Path("c.json"))}
    picture = Path("picture.png").read_bytes()

    for name, (command, sign) in COMMANDS.items():
        second = run(*command)
        assert second.exit_code == 0, name
        assert sign in second.stdout + second.stderr, name

    assert table_digests() == tables
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == files
    assert Path("picture.png").read_bytes() == picture
    assert tables["runtime.regime_transitions"][0] > 0


@pytest.mark.usefixtures("sample")
def test_a_dry_run_counts_and_writes_nothing(run: Run, table_digests: TableDigest) -> None:
    before = table_digests()

    planned = run("backfill_numeric_embeddings", "--market-id", "US_EQ", *RANGE, "--dry-run")

    assert planned.exit_code == 0
    assert "1552 windows, 1552 to write" in planned.stdout
    assert table_digests() == before
    done = run("backfill_numeric_embeddings", "--market-id", "US_EQ", *RANGE)
    assert "1552 windows, 1552 written" in done.stdout
