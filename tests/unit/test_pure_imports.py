"""Each module of the pure core, imported into a fresh interpreter, brings no database, file or frame library."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import prometheus

PURE = (
    "analogs",
    "arrays",
    "backfill",
    "collaborators",
    "encoders",
    "errors",
    "evaluation",
    "market",
    "memory",
    "protocols",
    "regime",
)
HEAVY = ("psycopg", "sqlalchemy", "pyarrow", "pandas", "pydantic", "exchange_calendars", "onnxruntime")

# What brings nothing in company brings nothing alone; after a find all is taken out again, so that the next is judged.
PROBE = """
import importlib, sys
heavy = sys.argv[1].split(",")
for name in sys.argv[2:]:
    importlib.import_module(name)
    found = [library for library in heavy if library in sys.modules]
    if found:
        print(f"{name}: {', '.join(found)}")
        for added in list(sys.modules):
            if added.partition(".")[0] in {"prometheus", *heavy}:
                del sys.modules[added]
"""


def pure_modules() -> list[str]:
    """Return every module of the pure rooms but those that start Ray, which brings what it likes."""
    names = [f"prometheus.{room}" for room in PURE]
    for room in PURE:
        folder = Path(prometheus.__path__[0]) / room
        names += [module.name for module in pkgutil.walk_packages([str(folder)], f"prometheus.{room}.")]
    return [name for name in names if name != "prometheus.backfill.ray"]


def heavy_imports(names: list[str]) -> str:
    """Return a line for each module that brings something heavy."""
    probe = [sys.executable, "-c", PROBE, ",".join(HEAVY), *names]
    return subprocess.run(probe, capture_output=True, text=True, check=True, timeout=120).stdout


def test_a_pure_module_brings_nothing_heavy() -> None:
    names = pure_modules()
    assert len(names) > 60
    assert heavy_imports(names) == ""


def test_the_probe_sees_what_a_module_of_the_edge_brings() -> None:
    found = heavy_imports(["prometheus.arrays", "prometheus.data.regimes", "prometheus.market.bars"])
    assert found == "prometheus.data.regimes: psycopg\n"
