"""Files that are built from a model's weights once and kept: found again by what they were built from."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from prometheus.encoders.texts.sources import readable

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
