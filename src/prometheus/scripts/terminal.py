"""What every command shares: its options' types, its one error boundary, and its progress."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
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
FOREIGN_DISTRIBUTION = "prometheus"
LOG_EVERY_S = 60.0
PROGRESS_AFTER_S = 0.5

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


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
        result = typer.main.get_command(application).main(arguments, prog_name=prog_name, standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:  # the reader of our output went away, as `head` does; Typer, too, exits with 1 then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; nothing is half-written, run it again to go on", EXIT_INTERRUPTED)
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
        self._next = time.monotonic() + LOG_EVERY_S

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() >= self._next:
            self._next += LOG_EVERY_S
            logger.info("%s: %d of %s", self._label, done, "unknown" if total is None else total)


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
        self._bar.update(self._task, completed=done, total=total)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(self._label, total=None)
        self._bar.start()


def print_line(text: str) -> None:
    """Write one line of data to standard output."""
    sys.stdout.write(f"{text}\n")


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
