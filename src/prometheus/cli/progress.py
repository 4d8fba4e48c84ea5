"""Progress of long work on standard error: a bar on a terminal, else a line a minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

logger = logging.getLogger(__name__)

LOG_EVERY_S = 60.0
PROGRESS_AFTER_S = 0.5


@contextmanager
def progress(label: str, stream: TextIO | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a callback for (done, total): a bar on a terminal, else one log line a minute."""
    if not (stream or sys.stderr).isatty():
        yield _MinuteLog(label)
        return
    bar = _LazyBar(label)
    try:
        yield bar
    finally:
        bar.close()


class _MinuteLog:
    def __init__(self, label: str) -> None:
        self._label = label
        self._begin = time.monotonic()
        self._next = self._begin + LOG_EVERY_S

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LOG_EVERY_S
        rate = done / (now - self._begin)
        left = "" if total is None or not done else f", {(total - done) / rate / 60:.0f} minutes left"
        of = "" if total is None else f" of {total:,}"
        logger.info("%s: %s%s, %s a second%s", self._label, f"{done:,}", of, f"{rate:,.1f}", left)


class _LazyBar:
    """A rich progress bar that appears only for work longer than `PROGRESS_AFTER_S`."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._begin = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, done: int, total: int | None) -> None:
        if self._bar is None:
            if time.monotonic() - self._begin < PROGRESS_AFTER_S:
                return
            self._open()
        rate = done / (time.monotonic() - self._begin)
        self._bar.update(self._task, completed=done, total=total, rate=f"{rate:,.1f}/s")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(), console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(self._label, total=None, rate="")
        self._bar.start()
