"""The tables that the arguments of a command mean: files, folders, patterns, archives and standard input."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus.errors import FileAccessError
from prometheus.files.containers import STANDARD_INPUT, list_tables
from prometheus.files.kinds import is_table_name
from prometheus.files.tables import access_error

MAX_FILES = 100_000
_PATTERN_SIGNS = "*?["


@dataclass(frozen=True, slots=True)
class Sources:
    """The tables to read, in order, and the files of folders left out for their names."""

    paths: tuple[Path, ...]
    left_out: tuple[Path, ...] = ()

    def __add__(self, other: Sources) -> Sources:
        return Sources(self.paths + other.paths, self.left_out + other.left_out)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to tell the user."""
        if not self.left_out:
            return ()
        shown = ", ".join(map(str, self.left_out[:10])) + (", …" if self.left_out[10:] else "")
        return (f"left out, hidden or no file of rows by their names: {shown}",)


def find_sources(arguments: Sequence[Path]) -> Sources:
    """Return the tables that some arguments mean.

    ``-`` is standard input. A folder means all files of rows below it, sorted; a pattern such as ``prices/*.csv`` what
    it matches; an archive or a workbook each table in it, named ``archive.zip:member``.

    Raises
    ------
    FileAccessError
        A pattern that matches nothing, a folder without a file of rows, or with a symbolic link, a pipe or a device.
    """
    found = Sources(())
    for argument in arguments:
        try:
            found += _find(argument)
        except FileAccessError:
            raise
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise access_error(Path(getattr(error, "filename", None) or argument), error) from error
    if len(found.paths) > MAX_FILES:
        raise FileAccessError(str(arguments[0]), f"stands for more than {MAX_FILES} files; load them in parts")
    return found


def _find(argument: Path) -> Sources:
    found = Sources(())
    for path in _expand(argument):
        found += _walk(path) if path.is_dir() else Sources((path,))
    return Sources(tuple(each for path in found.paths for each in _tables(path)), found.left_out)


def _expand(argument: Path) -> list[Path]:
    """Return what a pattern matches, and any other argument as it is."""
    text = str(argument)
    if text == "-":
        return [STANDARD_INPUT]
    if not any(sign in text for sign in _PATTERN_SIGNS) or "\0" in text or argument.exists():
        return [argument]
    relative = argument.relative_to(argument.anchor) if argument.anchor else argument
    matches = sorted(Path(argument.anchor).glob(str(relative)))
    shown = [match for match in matches if not _is_hidden(match.name)]
    if not shown:
        raise FileAccessError(text, "matches no file")
    return shown


def _walk(folder: Path) -> Sources:
    """Return the files of rows below a folder, sorted; what is no file is refused by name."""
    below = tuple(_below(folder))
    tables = tuple(path for path in below if is_table_name(path.name) and not _is_hidden(path.name))
    if not tables:
        raise FileAccessError(
            str(folder), "holds no file of rows, such as .csv, .parquet or .zip; name the files in it"
        )
    known = set(tables)
    return Sources(tables, tuple(path for path in below if path not in known))


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, and the hidden folders, which are not entered."""
    for entry in sorted(folder.iterdir()):
        mode = entry.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise FileAccessError(
                str(entry), "is a symbolic link, which no folder is read through; name what it leads to"
            )
        if entry.name == "_delta_log":
            raise FileAccessError(str(folder), "is a Delta table, some of whose files no longer count; export it first")
        if stat.S_ISDIR(mode) and not _is_hidden(entry.name):
            yield from _below(entry)
        elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            yield entry
        else:
            raise FileAccessError(str(entry), "is a pipe, a device or a socket; take it out of the folder")


def _is_hidden(name: str) -> bool:
    """Return whether a file is one that tools keep for themselves, such as .DS_Store, _SUCCESS or _metadata."""
    return name.startswith((".", "_", "~"))


def _tables(path: Path) -> list[Path]:
    names = list_tables(path)
    return [Path(f"{path}:{name}") for name in names] if len(names) > 1 else [path]
