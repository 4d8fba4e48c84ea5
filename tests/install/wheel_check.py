"""The wheel in empty environments, outside the checkout: installed, and its demo run to the end, by each Python given.

Run ``python -m tests.install.wheel_check [PYTHON ...]`` from the checkout, or this file alone with ``--wheel``: it
needs the standard library only. Each Python gets a virtual environment with what the wheel requires, and one with the
extras ``texts`` and ``plots`` and the files of the text model. It ends with 1 unless every demo ended with 0.
"""

from __future__ import annotations

import argparse
import os
import pwd
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2] if len(Path(__file__).parents) > 2 else Path()
FACTS = (
    "import importlib.metadata as m, importlib.util as u, platform; "
    "print(platform.python_version(), len(list(m.distributions())), u.find_spec('torch') is not None)"
)
COLUMNS = ("python", "account", "extras", "packages", "torch", "install s", "demo s", "exit", "left out")
INSTALL_WITHIN_S, DEMO_WITHIN_S = 1200, 900
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""What is taken over from the environment; the account's own settings of pip and the index are read by pip itself."""


@dataclass(frozen=True)
class Place:
    """A scratch folder of one demo, and the account that owns it and runs everything in it."""

    folder: Path
    account: str

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    def run(self, *arguments: str | Path, within_s: float) -> subprocess.CompletedProcess[str]:
        """Run a program in the folder, with a home and an environment that know nothing of the checkout."""
        environment = {name: os.environ[name] for name in os.environ if name in KEPT or name.startswith("PIP_")}
        environment |= {"HOME": str(self.folder), "PROMETHEUS_HOME": str(self.folder / "home")}
        account = self.account if os.geteuid() == 0 else None
        return subprocess.run(
            arguments, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=within_s, check=False,
            user=account, group=pwd.getpwnam(self.account).pw_gid if account else None,
            extra_groups=[] if account else None,
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", default=[sys.executable], help="interpreters; default: this one")
    parser.add_argument("--wheel", type=Path, help="default: one is built")
    parser.add_argument("--account", action="append", help="who runs all; root alone may choose; repeatable")
    given = parser.parse_args()
    accounts = given.account or [pwd.getpwuid(os.geteuid()).pw_name]
    rows = []
    with tempfile.TemporaryDirectory(prefix="wheel-check-") as scratch:
        Path(scratch).chmod(0o755)
        wheel = given.wheel or build(Path(scratch))
        for python in given.pythons:
            for account in accounts:
                for extras in ("", "texts,plots"):
                    rows.append(check(python, account, extras, wheel.absolute(), Path(scratch)))
                    print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in (COLUMNS, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0 if all(row[7] == "0" for row in rows) else 1


def build(folder: Path) -> Path:
    """Return a wheel of the checkout."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"the wheel cannot be built: {done.stderr}")
    return next(folder.glob("*.whl"))


def check(python: str, account: str, extras: str, wheel: Path, scratch: Path) -> tuple[str, ...]:
    """Return one row of the table."""
    place = Place(Path(tempfile.mkdtemp(dir=scratch)), account)
    place.folder.chmod(0o755)  # the embedded server has an account of its own when root starts it
    if os.geteuid() == 0:
        owner = pwd.getpwnam(account)
        os.chown(place.folder, owner.pw_uid, owner.pw_gid)
    begin = time.monotonic()
    must(place.run(python, "-m", "venv", "venv", within_s=INSTALL_WITHIN_S))
    wanted = f"{wheel}[{extras}]" if extras else str(wheel)
    must(place.run(place.python, "-m", "pip", "install", "--quiet", wanted, within_s=INSTALL_WITHIN_S))
    if extras:
        must(place.run(place.python, "-m", "prometheus", "models", "install", within_s=INSTALL_WITHIN_S))
    installed = time.monotonic()
    demo = place.run(place.python, "-m", "prometheus", "demo", "--folder", ".", within_s=DEMO_WITHIN_S)
    ended = time.monotonic()
    place.run(place.python, "-m", "prometheus", "db", "stop", within_s=120)
    version, n_packages, has_torch = must(place.run(place.python, "-c", FACTS, within_s=60)).split()
    left_out = [
        line.split(":")[0].removeprefix("Left out, ") for line in demo.stdout.splitlines() if "Left out" in line
    ]
    if demo.returncode:
        print(demo.stdout[-2000:], demo.stderr[-2000:], file=sys.stderr)
    return (
        version, account, extras or "-", n_packages, "yes" if has_torch == "True" else "no", f"{installed - begin:.0f}",
        f"{ended - installed:.0f}", str(demo.returncode), ", ".join(left_out) or "-",
    )  # fmt: skip


def must(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a program printed; end with what it said where it failed."""
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, done.args))} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
