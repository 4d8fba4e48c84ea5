"""What every command shares: its options' types, its one error boundary, and its progress."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer.exceptions import TyperException

from prometheus.core.config import load_config
from prometheus.core.log import configure_logging
from prometheus.errors import ForeignPackageError, PrometheusError

if TYPE_CHECKING:
    from prometheus.app import App

logger = logging.getLogger(__name__)

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
FOREIGN_DISTRIBUTION = "prometheus"
LOG_EVERY_S = 60.0
PROGRESS_AFTER_S = 0.5

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM; whatever ends cleanly on Ctrl-C does so then, too."""


def parse_date(text: str) -> date:
    """Return an ISO date (YYYY-MM-DD).

    Raises
    ------
    typer.BadParameter
        It is none.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 -- a calendar date has no zone
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date; write YYYY-MM-DD") from None


def new_command(function: Callable[..., int]) -> typer.Typer:
    """Return a Typer application of one command."""
    application = new_group()
    application.command()(function)
    return application


def new_group(help_text: str | None = None) -> typer.Typer:
    """Return a Typer application for several sub-commands."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help=help_text,
        no_args_is_help=False,
    )


def run(application: typer.Typer, argv: Sequence[str] | None = None, prog_name: str | None = None) -> int:
    """Run a command and return its exit code; every error becomes one line on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    configure_logging()
    try:
        result = _call(application, arguments, prog_name)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:  # the reader of our output went away, as `head` does; Typer, too, exits with 1 then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort) as interruption:
        exit_code = EXIT_TERMINATED if isinstance(interruption, Terminated) else EXIT_INTERRUPTED
        return _fail("interrupted; nothing is half-written, run it again to go on", exit_code)
    except (PrometheusError, TyperException) as error:
        if "--debug" in arguments:
            raise
        return _fail(_message(error), error.exit_code)
    except Exception as error:
        if "--debug" in arguments:
            raise
        text = " ".join(str(error).split())
        if _has_foreign_package():
            text = f"{text} ({ForeignPackageError(FOREIGN_DISTRIBUTION)})"
        return _fail(f"unexpected {type(error).__name__}: {text}; run again with --debug for the traceback", 1)


def run_named(name: str, argv: Sequence[str]) -> int:
    """Run the command of that module name as ``python -m prometheus NAME`` and return its exit code."""
    module = importlib.import_module(f"prometheus.scripts.{name}")
    return run(module.app, argv, prog_name=f"python -m prometheus {name}")


@contextmanager
def command_app(label: str = "") -> Iterator[App]:
    """Yield an app for this command, with announcements and progress on standard error."""
    from prometheus.app import open_app

    with progress(label) as report, open_app(load_config(), announce=logger.info, progress=report) as app:
        yield app


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
    """A rich progress bar that appears only when the work takes long enough to be watched."""

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


def print_line(text: str) -> None:
    """Write one line of data to standard output."""
    sys.stdout.write(f"{text}\n")


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return equally long rows as lines of aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _call(application: typer.Typer, arguments: Sequence[str], prog_name: str | None) -> Any:
    with _ends_on_sigterm() as came:
        result = typer.main.get_command(application).main(arguments, prog_name=prog_name, standalone_mode=False)
    if result == EXIT_INTERRUPTED:  # what Typer makes of a KeyboardInterrupt of any kind
        raise Terminated if came.is_set() else KeyboardInterrupt
    return result


@contextmanager
def _ends_on_sigterm() -> Iterator[threading.Event]:
    """Make SIGTERM raise `Terminated` meanwhile, and yield whether it came."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # the only one that may set handlers, or needs them
        yield came
        return

    def stop(_signal_number: int, _frame: FrameType | None) -> None:
        came.set()
        raise Terminated

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, previous)


def _message(error: PrometheusError | TyperException) -> str:
    text = error.format_message() if isinstance(error, TyperException) else str(error)
    return " ".join(text.split())


def _has_foreign_package() -> bool:
    """Return whether another project that uses our import name is installed and may have replaced our files."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution(FOREIGN_DISTRIBUTION)
    except PackageNotFoundError:
        return False
    return True


def _fail(message: str, exit_code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"error: {message}\n")
    return exit_code
