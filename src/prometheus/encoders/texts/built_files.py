"""Files and folders built from a model's weights once and kept: found again by what they were built from."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus.encoders.texts.sources import file_sha256, readable

logger = logging.getLogger(__name__)


def load_or_build(cache_dir: Path | None, key: str, ending: str, build: Callable[[], bytes]) -> bytes:
    """Return the content kept under a key, else build it, and keep it where there is a place to."""
    kept = None if cache_dir is None else _read(cache_dir, key, ending)
    if kept is not None:
        return kept
    built = build()
    if cache_dir is not None:
        _write(cache_dir, key, ending, built)
    return built


@contextmanager
def folder_of_files(cache_dir: Path | None, key: str, build: Callable[[Path], None]) -> Iterator[Path]:
    """Yield the folder kept under a key, else let `build` fill one; where none can be kept, it is gone afterwards.

    Files of it may stay mapped: nothing ever writes to one that is in its place.
    """
    found = None if cache_dir is None else _find_folder(cache_dir, key) or _keep_folder(cache_dir, key, build)
    if found is not None:
        yield found
        return
    with tempfile.TemporaryDirectory(prefix="prometheus-") as scratch:
        build(Path(scratch))
        yield Path(scratch)


def digest_of(content: bytes) -> str:
    """Return what names a content, 32 hex digits."""
    return hashlib.sha256(content).hexdigest()[:32]


def _read(cache_dir: Path, key: str, ending: str) -> bytes | None:
    """Return a file whose content is the one its name states; a damaged one is passed over and built again."""
    for path in sorted(cache_dir.glob(f"{key}-*.{ending}")):
        with readable(path):
            content = path.read_bytes()
        if path.name == _name(key, ending, content):
            return content
        logger.warning("%s is damaged; building it again", path)
    return None


def _write(cache_dir: Path, key: str, ending: str, content: bytes) -> None:
    """Put a file in place in one step, so that no process ever sees half of it; without it all works too."""
    temporary: Path | None = None
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache_dir, prefix=f".{key}-", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(cache_dir / _name(key, ending, content))
    except OSError as error:
        logger.warning("%s: what was built of the text model cannot be cached: %s", cache_dir, error)
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _name(key: str, ending: str, content: bytes) -> str:
    return f"{key}-{digest_of(content)}.{ending}"


def _find_folder(cache_dir: Path, key: str) -> Path | None:
    for folder in sorted(cache_dir.glob(f"{key}-*/")):
        if folder.name == _folder_name(key, folder):
            return folder
        logger.warning("%s is damaged; building it again", folder)
    return None


def _keep_folder(cache_dir: Path, key: str, build: Callable[[Path], None]) -> Path | None:
    """Build a folder and put it in place in one step; None, and a warning, where that cannot be."""
    scratch: Path | None = None
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=cache_dir, prefix=f".{key}-"))
        build(scratch)
        for path in scratch.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        return _in_place(scratch, cache_dir / _folder_name(key, scratch))
    except OSError as error:
        logger.warning("%s: what was built of the text model cannot be cached: %s", cache_dir, error)
        return None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _in_place(scratch: Path, folder: Path) -> Path:
    try:
        return scratch.rename(folder)
    except OSError:  # it is there: damaged, or built by another process just now; the content is the same either way
        for path in scratch.iterdir():
            path.replace(folder / path.name)
        return folder


def _folder_name(key: str, folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return f"{key}-{digest_of(repr([(path.name, file_sha256(path)) for path in files]).encode())}"
