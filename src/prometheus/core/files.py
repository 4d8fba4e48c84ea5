"""Files that a user names: written in one step, and only when they change."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from prometheus.errors import FileAccessError


def absolute_path(path: Path, folder: Path) -> Path:
    """Return a path that starts at `folder` unless it is absolute; `ValueError` for no such account or folder."""
    try:
        return Path(os.path.abspath(folder / path.expanduser()))  # noqa: PTH100 -- resolve() would follow links
    except (RuntimeError, OSError) as error:  # ~name of an account, or a current folder, that does not exist
        raise ValueError(str(error)) from error


def write_if_changed(path: Path, text: str) -> bool:
    """Write a file in one step; return False when it already held the same bytes.

    After `FileAccessError` (no such folder, or no right to write there) the old file is untouched.
    """
    try:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return False
        _replace_file(path, text)
    except (OSError, UnicodeDecodeError) as error:
        raise FileAccessError(str(path), f"cannot be written ({reason_of(error)}); choose another --output") from error
    return True


def require_writable(path: Path) -> None:
    """Raise `FileAccessError` unless a file can be put at `path`, before work is spent on its content."""
    if path.is_dir():
        raise FileAccessError(str(path), "is a folder; name a file with --output")
    if not path.parent.is_dir():
        raise FileAccessError(str(path), "its folder does not exist; create it or choose another --output")
    if not os.access(path.parent, os.W_OK):
        raise FileAccessError(str(path), "its folder cannot be written; choose another --output")


def _replace_file(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Let the names of a folder's files, as they are now, outlast a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason_of(error: BaseException) -> str:
    """Return why the system refused, in a few words."""
    return (getattr(error, "strerror", None) or type(error).__name__).lower()
