"""Runs every command: its parameters, the one error boundary, its output and its progress."""

from __future__ import annotations

import csv
import importlib
import inspect
import io
import json
import logging
import re
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from functools import wraps
from inspect import Parameter
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeAlias, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from prometheus.cli import COMMANDS
from prometheus.cli.parameters import expand, option, settle
from prometheus.cli.streams import complain, is_fault_of_output, until_shown
from prometheus.core.logs import begin_run, configure_logging, is_json
from prometheus.errors import ForeignPackageError, PrometheusError, UsageError
from prometheus.spelling import guarded, shortened, shown

if TYPE_CHECKING:
    from prometheus.app import App
    from prometheus.app.stored import Rows
    from prometheus.backfill.work import NamedProgress

logger = logging.getLogger(__name__)

EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
LOG_EVERY_S, PROGRESS_AFTER_S = 60.0, 0.5
NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


Debug = Annotated[bool, option("Show the traceback of an error.", "--debug")]
Json = Annotated[bool, option("Print JSON for machines.", "--json")]


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM; it ends as on Ctrl-C."""

    exit_code = EXIT_TERMINATED


@dataclass(frozen=True, slots=True)
class Answer:
    """The output of a command: `facts` for ``--json`` or `text` for people, and `notes` for standard error.

    What steers a terminal is escaped in the text, unless it `is_styled`: then it has been in the names it holds.
    """

    facts: Callable[[], Any]
    text: Callable[[], str]
    exit_code: int = 0
    notes: Sequence[str] = ()
    is_styled: bool = False

    def show(self, *, as_json: bool) -> int:
        """Print one form and the notes, and return the exit code."""
        print_line(json.dumps(self.facts(), default=str) if as_json else self._plain())
        sys.stdout.flush()  # what is said of an answer comes after it, wherever both go
        for note in self.notes:
            _say(shortened(shown(note)), logging.WARNING)
        return self.exit_code

    def _plain(self) -> str:
        return self.text() if self.is_styled else shown(self.text(), lines=True)


Function: TypeAlias = Callable[..., Answer] | Callable[..., int]


def command(*examples: str, latest: Rows | None = None) -> Callable[[Function], Callable[..., int]]:
    """Return a decorator that makes a function a command: it shows the answer, and returns the exit code.

    `examples` are arguments for ``--help``; `latest` says of which rows the date ``latest`` is the newest. A command
    has ``--debug``, which `run` reads, and ``--json`` if the function returns an `Answer`. A parameter that is a
    dataclass becomes one option for each of its fields.
    """

    def decorate(function: Function) -> Callable[..., int]:
        own = inspect.signature(function, eval_str=True)
        parameters = {one.name: one for each in own.parameters.values() for one in expand(each)}
        shared = [("as_json", Json)] if own.return_annotation is Answer else []
        flags = [
            Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=False, annotation=kind)
            for name, kind in (*shared, ("debug", Debug))
        ]
        signature = own.replace(parameters=[*parameters.values(), *flags], return_annotation=int)

        @wraps(function)
        def shown(*positional: Any, **named: Any) -> int:
            bound = signature.bind(*positional, **named)
            bound.apply_defaults()
            given = bound.arguments
            settle(given, parameters, latest)
            answer = function(**{name: _value_of(each, given) for name, each in own.parameters.items()})
            return answer.show(as_json=given["as_json"]) if isinstance(answer, Answer) else answer

        vars(shown).update(__signature__=signature, examples=examples)
        shown.__annotations__ = {}  # the signature holds them, evaluated
        return shown

    return decorate


def _value_of(parameter: Parameter, given: Mapping[str, Any]) -> Any:
    bundle: Callable[..., Any] = parameter.annotation
    if not is_dataclass(parameter.annotation):
        return given[parameter.name]
    return bundle(**{name: given[name] for name in inspect.signature(bundle).parameters})


class OptionsCommand(TyperCommand):
    """A command that names all options it lacks at once, and ends its help with examples."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; `UsageError` if several options are missing."""
        asks_for_help = not {"--help", *ctx.help_option_names}.isdisjoint(args)
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        options = (each for each in self.params if each.param_type_name == "option" and each.required)
        missing = [each.opts[0] for each in options if each.name not in given]
        if len(missing) > 1 and not asks_for_help:
            raise UsageError(f"missing options: {', '.join(missing)}; explained by: {ctx.command_path} --help")
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _write_examples(formatter, [f"{ctx.command_path} {each}" for each in examples_of(self)])


class CommandGroup(TyperGroup):
    """A command with sub-commands, whose help ends with an example of each."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the first example of each sub-command."""
        lines = [f"{ctx.command_path} {name} {examples_of(each)[0]}" for name, each in self.commands.items()]
        _write_examples(formatter, lines)


def examples_of(command: Any) -> Sequence[str]:
    """Return the arguments in the examples of a command."""
    return cast("Sequence[str]", command.callback.examples)


def _write_examples(formatter: Any, lines: Iterable[str]) -> None:
    with formatter.section("Examples"):
        for line in lines:
            unbroken = re.sub(r" (?!--)", NO_BREAK_SPACE, line.strip())
            parts = textwrap.wrap(unbroken, formatter.width - 8, break_long_words=False, break_on_hyphens=False)
            formatter.write("  " + " \\\n      ".join(parts).replace(NO_BREAK_SPACE, " ") + "\n")


def new_group(help_text: str | None = None) -> typer.Typer:
    """Return a Typer application; one with a help text has sub-commands, be it a single one."""
    group = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help=help_text,
        no_args_is_help=False, cls=CommandGroup,
    )  # fmt: skip
    if help_text is not None:
        group.callback()(lambda: None)
    return group


def subcommand(
    group: typer.Typer, *examples: str, name: str | None = None, latest: Rows | None = None
) -> Callable[[Function], Callable[..., int]]:
    """Return a decorator that makes a function a command of a group, by its own name or another; see `command`."""
    make = command(*examples, latest=latest)
    return lambda function: group.command(name, cls=OptionsCommand)(make(function))


def application_of(name: str) -> typer.Typer:
    """Return the Typer application of a command in the table, importing its family alone."""
    family = importlib.import_module(f"prometheus.cli.{COMMANDS[name][0]}")
    found = getattr(family, name)
    if isinstance(found, typer.Typer):
        return found
    application = new_group()
    application.command(cls=OptionsCommand)(found)
    return application


def run(application: typer.Typer, argv: Sequence[str] | None = None, prog_name: str | None = None) -> int:
    """Run a command and return its exit code; every error becomes one line on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    begin_run()
    configure_logging()
    return until_shown(lambda: _run(application, arguments, prog_name))


def _run(application: typer.Typer, arguments: Sequence[str], prog_name: str | None) -> int:
    try:
        result = _call(application, arguments, prog_name)
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort) as interruption:
        exit_code = EXIT_TERMINATED if isinstance(interruption, Terminated) else EXIT_INTERRUPTED
        return _fail("interrupted; nothing is half-written, run it again to go on", exit_code)
    except (PrometheusError, TyperException) as error:
        if "--debug" in arguments:
            raise
        return _fail(_message(error), error.exit_code)
    except Exception as error:
        if "--debug" in arguments or (isinstance(error, OSError) and is_fault_of_output(error)):
            raise
        text = _on_one_line(str(error))
        foreign = _foreign_fault()
        if foreign is not None:
            text = f"{text} ({foreign})"
        return _fail(f"unexpected {type(error).__name__}: {text}; run again with --debug for the traceback", 1)


def run_named(name: str, argv: Sequence[str]) -> int:
    """Run a command of the table as ``python -m prometheus NAME`` and return its exit code."""
    return run(application_of(name), argv, prog_name=f"python -m prometheus {name}")


@contextmanager
def command_app(label: str = "") -> Iterator[App]:
    """Yield an app for this command, with announcements and progress on standard error."""
    from prometheus.app import open_app
    from prometheus.core.config import load_config

    with progress(label) as report, open_app(load_config(), announce=logger.info, progress=report) as app:
        yield app


def print_line(text: str) -> None:
    """Write one line of data to standard output."""
    sys.stdout.write(f"{text}\n")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV, the last line unended; no text among them is a formula, see `guarded`."""
    text = io.StringIO()
    guarded_rows = ([guarded(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(guarded_rows)
    return text.getvalue().removesuffix("\n")


def table(rows: Sequence[Sequence[str]], *, numbers_right: bool = False) -> list[str]:
    """Return equally long rows as lines of columns, aligned left, or right if the last row has a number there."""
    rows = [[shown(cell) for cell in row] for row in rows]
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    to_right = [numbers_right and column[-1].replace(",", "").isdigit() for column in columns]
    aligns = [f"{'>' if is_right else '<'}{width}" for is_right, width in zip(to_right, widths, strict=True)]
    return ["  ".join(map(format, row, aligns)).rstrip() for row in rows]


def _call(application: typer.Typer, arguments: Sequence[str], prog_name: str | None) -> Any:
    with _ends_on_sigterm() as came:
        result = typer.main.get_command(application).main(arguments, prog_name=prog_name, standalone_mode=False)
    if result == EXIT_INTERRUPTED:  # what Typer makes of a KeyboardInterrupt of any kind
        raise Terminated if came.is_set() else KeyboardInterrupt
    return result


@contextmanager
def _ends_on_sigterm() -> Iterator[threading.Event]:
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
    return _on_one_line(text)


def _on_one_line(text: str) -> str:
    return shortened(shown(" ".join(text.split())))


def _foreign_fault() -> str | None:
    from prometheus_regime import other_owners, overwritten_files

    owners = other_owners()
    return str(ForeignPackageError(" ".join(owners))) if owners else overwritten_files()


def _fail(message: str, exit_code: int) -> int:
    sys.stdout.flush()
    _say(f"error: {message}", logging.ERROR)
    return exit_code


def _say(line: str, level: int) -> None:
    """Write a line for people to standard error; where the log is made of JSON objects, as one of them."""
    if is_json():
        logger.log(level, "%s", line)
    else:
        complain(line)


@contextmanager
def progress(label: str, stream: TextIO | None = None) -> Iterator[NamedProgress]:
    """Yield a callback for (done, total, name of the one at work): a bar on a terminal, else one log line a minute."""
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
        self._label, self._begin = label, time.monotonic()
        self._next = self._begin + LOG_EVERY_S

    def __call__(self, done: int, total: int | None, name: str = "", /) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LOG_EVERY_S
        rate = done / (now - self._begin)
        left = "" if total is None or not done else f", {(total - done) / rate / 60:.0f} minutes left"
        of = ("" if total is None else f" of {total:,}") + (f", at {name}" if name else "")
        logger.info("%s: %s%s, %s a second%s", self._label, f"{done:,}", of, f"{rate:,.1f}", left)


class _LazyBar:
    def __init__(self, label: str) -> None:
        self._label, self._begin = label, time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, done: int, total: int | None, name: str = "", /) -> None:
        if self._bar is None:
            if time.monotonic() - self._begin < PROGRESS_AFTER_S:
                return
            self._open()
        rate = done / (time.monotonic() - self._begin)
        said = f"{self._label}: {shown(name)}" if name else self._label
        self._bar.update(self._task, description=said, completed=done, total=total, rate=f"{rate:,.1f}/s")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(self._label, total=None, rate="")
        self._bar.start()
