"""Files that a user names: every small one is read here, within a bound, and every output is written here (ADR-0037).

An output appears whole or not at all. What stands at its path is looked at first: a regular file is replaced in one
step and keeps its mode, a link is followed to what it leads to, a pipe or a character device is written through, and a
socket, a disk or a folder is refused.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prometheus.errors import FileAccessError

MAX_SMALL_BYTES = 16 << 20
"""What a file of settings, dates or prototypes may hold: hundreds of times what honest ones do."""
_NEW_MODE = 0o666
_CHUNK_BYTES = 1 << 16
_SPOOLED_BYTES = 1 << 20
_READING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_THROUGH = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BESIDE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a disk"), (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file that Prometheus writes, and how its first `_SPOOLED_BYTES` bytes tell that it is one."""

    name: str
    is_ours: Callable[[bytes], bool]


def absolute_path(path: Path, folder: Path) -> Path:
    """Return a path that starts at `folder` unless it is absolute; `ValueError` for no such account or folder."""
    try:
        return Path(os.path.abspath(folder / path.expanduser()))  # noqa: PTH100 -- resolve() would follow links
    except (RuntimeError, OSError) as error:  # ~name of an account, or a current folder, that does not exist
        raise ValueError(str(error)) from error


def kind_of_special(mode: int) -> str | None:
    """Return what a mode of `stat` says a path is, in words; None for a regular file."""
    return next((what for is_kind, what in _KINDS if is_kind(mode)), None)


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file to be read, at once whatever stands there; `FileAccessError` says why it cannot be."""
    try:
        _require_regular(path, path.stat().st_mode)  # before it is opened: opening some devices changes them
        with os.fdopen(os.open(path, _READING), "rb") as file:
            _require_regular(path, os.fstat(file.fileno()).st_mode)
            yield file
    except FileAccessError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise FileAccessError(str(path), f"cannot be read ({reason_of(error)})") from error


def read_small(path: Path, limit: int = MAX_SMALL_BYTES) -> bytes:
    """Return the bytes of a regular file; `FileAccessError` for any other, or one of more than `limit` bytes."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise FileAccessError(str(path), f"is larger than such a file may be, {limit:,} bytes; name the right one")
    return content


def read_small_text(path: Path, limit: int = MAX_SMALL_BYTES) -> str:
    """Return the text of a regular file in UTF-8; `FileAccessError` as `read_small`, and for what is no such text."""
    content = read_small(path, limit)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileAccessError(str(path), f"is no text in UTF-8 (line {line}); save it as UTF-8") from error


def require_writable(
    path: Path, kind: FileKind | None = None, *, force: bool | None = None, option: str = "--output"
) -> None:
    """Raise `FileAccessError` unless a file can be put at `path`, before work is spent on its content.

    With a `kind`, a file that stands there is replaced only if it is of that kind, or by `force`; None of a command
    that has no such option.
    """
    target = _target_of(path, option)
    if target.is_through:
        return
    folder = target.path.parent
    if not folder.is_dir():
        raise FileAccessError(str(path), f"its folder does not exist; create it or choose another {option}")
    if not os.access(folder, os.W_OK, effective_ids=True):
        raise FileAccessError(str(path), f"its folder cannot be written; choose another {option}")
    if target.status is None:
        return
    if not os.access(target.path, os.W_OK, effective_ids=True):
        raise FileAccessError(str(path), f"is read-only; choose another {option}, or let it be written")
    if kind is not None and not force and not _is_of(target.path, kind):
        way = "" if force is None else ", or add --force"
        raise FileAccessError(str(path), f"is there and is not {kind.name}; choose another {option}{way}")


def write_if_changed(path: Path, content: str | bytes, *, option: str = "--output") -> bool:
    """Write a file in one step; return False when it already held the same bytes.

    After `FileAccessError` (no such folder, or no right to write there) the old file is untouched.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    target = _target_of(path, option)
    if not target.is_through and target.status is not None and _holds(target.path, data):
        return False
    with OutputFile(path, option) as output:
        output.write(data)
        output.publish()
    return True


class OutputFile:
    """A file that appears whole, by `publish`, or not at all; what a pipe or a device gets, it gets then.

    Leaving the context without `publish` leaves what was there. `FileAccessError` names the
    path and the `option` it came from.
    """

    def __init__(self, path: Path, option: str = "--output") -> None:
        self.path, self._option = path, option
        self._target = _target_of(path, option)
        self._beside: Path | None = None
        with self._named():
            self._stream = self._opened()

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        with suppress(OSError):
            self._stream.close()
        if self._beside is not None:
            with suppress(OSError):
                self._beside.unlink(missing_ok=True)

    def write(self, content: bytes) -> None:
        """Append bytes."""
        with self._named():
            self._stream.write(content)

    def publish(self) -> None:
        """Put what was written in its place."""
        with self._named():
            self._stream.flush()
            if self._beside is None:
                self._send()
                return
            os.fsync(self._stream.fileno())
            if self._target.status is not None:
                _keep_owner_and_mode(self._stream.fileno(), self._target.status)
            self._stream.close()
            self._beside.replace(self._target.path)
            self._beside = None

    def _opened(self) -> IO[bytes]:
        if self._target.is_through:
            return tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES)
        # a short name of its own: the file's own may be as long as names may be
        beside = self._target.path.with_name(f".prometheus-{secrets.token_hex(8)}.tmp")
        descriptor = os.open(beside, _BESIDE, _NEW_MODE)  # less the umask, which the system takes away
        self._beside = beside
        return os.fdopen(descriptor, "w+b")

    def _send(self) -> None:
        self._stream.seek(0)
        descriptor = _open_through(self.path)
        try:
            while chunk := self._stream.read(_CHUNK_BYTES):
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            said = "nothing reads this pipe" if error.errno == errno.ENXIO else reason_of(error)
            raise FileAccessError(
                str(self.path), f"cannot be written ({said}); choose another {self._option}"
            ) from error


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


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a path leads: the file to put there or to replace, or what is written through."""

    path: Path
    status: os.stat_result | None
    is_through: bool = False


def _target_of(path: Path, option: str) -> _Target:
    try:
        linked = stat.S_ISLNK(path.lstat().st_mode)
    except FileNotFoundError:
        return _Target(path, None)
    except (OSError, ValueError) as error:
        raise FileAccessError(str(path), f"cannot be written ({reason_of(error)}); choose another {option}") from error
    try:
        status = path.stat()
        if _standard_stream(status) is not None:
            return _Target(path, status, is_through=True)
        real = path.resolve() if linked else path
    except FileNotFoundError:  # a link to a file that is not there yet
        return _Target(path.resolve(), None)
    except (OSError, RuntimeError) as error:  # links in a circle
        raise FileAccessError(str(path), f"cannot be written ({reason_of(error)}); choose another {option}") from error
    what = kind_of_special(status.st_mode)
    if what is None:
        return _Target(real, status)
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
        return _Target(path, status, is_through=True)
    raise FileAccessError(str(path), f"is {what}; name a file with {option}")


def _standard_stream(status: os.stat_result) -> int | None:
    """Return the descriptor, standard output or error, that leads to the same file, as /dev/stdout does."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), status):
                return descriptor
    return None


def _open_through(path: Path) -> int:
    standard = _standard_stream(path.stat())
    if standard is not None:
        return os.dup(standard)
    descriptor = os.open(path, _THROUGH)  # at once: a pipe that nothing reads is refused
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        os.close(descriptor)
        raise FileAccessError(str(path), "was replaced while it was written; run it again")
    os.set_blocking(descriptor, True)
    return descriptor


def _keep_owner_and_mode(descriptor: int, status: os.stat_result) -> None:
    with suppress(PermissionError):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _require_regular(path: Path, mode: int) -> None:
    what = kind_of_special(mode)
    if what is not None:
        raise FileAccessError(str(path), f"is {what}, not a regular file; name a file")


def _is_of(path: Path, kind: FileKind) -> bool:
    with open_regular(path) as file:
        return kind.is_ours(file.read(_SPOOLED_BYTES))


def _holds(path: Path, data: bytes) -> bool:
    with suppress(FileAccessError), open_regular(path) as file:
        return file.read(len(data) + 1) == data
    return False
