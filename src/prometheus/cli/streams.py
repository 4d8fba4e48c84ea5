"""Standard output and error of a command: what they cannot show, and what happens where they cannot be written."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

EXIT_FAILED = 1
_OF_STREAMS = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def until_shown(work: Callable[[], int]) -> int:
    """Return the exit code of some work that prints, once all is printed.

    A reader that went away, as `head` does, ends it without a word; a full disk under standard output is one line.
    """
    _prepare()
    try:
        exit_code = work()
        sys.stdout.flush()
    except OSError as error:
        if not is_fault_of_output(error):
            raise
        return _end_without_output(error)
    return exit_code


def is_fault_of_output(error: OSError) -> bool:
    """Return whether an error is one of writing to a stream: the one writer of files names its path in another."""
    return error.filename is None and error.errno in _OF_STREAMS


def complain(message: str) -> None:
    """Write one line to standard error; a command keeps its exit code where that cannot be."""
    try:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
    except OSError:
        _lead_nowhere(sys.stderr)


def _prepare() -> None:
    """Let the streams show any text, in the signs they have; one that is closed takes all and shows nothing."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 -- for as long as we run
        elif isinstance(stream, io.TextIOWrapper) and name == "stdout":
            is_utf8 = codecs.lookup(stream.encoding).name == "utf-8"
            stream.reconfigure(errors="backslashreplace" if is_utf8 else "replace")


def _end_without_output(error: OSError) -> int:
    _lead_nowhere(sys.stdout)
    if not isinstance(error, BrokenPipeError):
        reason = (error.strerror or type(error).__name__).lower()
        complain(f"error: standard output cannot be written ({reason}); what was done stands, the answer is cut")
    return EXIT_FAILED


def _lead_nowhere(stream: TextIO) -> None:
    """Let what still waits in a stream go nowhere, so that the interpreter ends with our exit code, without a word."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
