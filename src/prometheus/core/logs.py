"""The log of a process: one line for each record, with date and zone, level and the id of the run (ADR-0042)."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

from prometheus.spelling import shown

LogFormat = Literal["text", "json"]
FORMAT_VARIABLE = "PROMETHEUS_LOG_FORMAT"
RUN_VARIABLE = "_PROMETHEUS_RUN"
"""Variable by which the processes that a command starts have its run id."""

_OTHERS = {"uvicorn": logging.WARNING, "asyncio": logging.WARNING, "psycopg": logging.ERROR, "stamina": logging.ERROR}
"""Loggers of libraries that look like ours, from which level on; `uvicorn` holds its access log, too, and what psycopg
and stamina warn of, each attempt to reconnect, is told once by `prometheus.core.runs.warn_of_outage`."""


class _RunId:
    """The id of what this process runs."""

    def __init__(self) -> None:
        self.begin(os.environ.get(RUN_VARIABLE))

    def begin(self, run_id: str | None = None) -> None:
        self.value = run_id or os.urandom(8).hex()
        self.is_taken = False


_RUN = _RunId()


def begin_run() -> None:
    """Give the log a new run id from now on, in this process and in those that it starts."""
    _RUN.begin()
    os.environ[RUN_VARIABLE] = _RUN.value


def run_id() -> str:
    """Return the id of the run that this process does, 16 hexadecimal digits; every record of its log has it."""
    return _RUN.value


def take_run_id() -> str:
    """Return the id of this run for a row that keeps it; asked a second time, another run begins."""
    if _RUN.is_taken:
        _RUN.begin()
    _RUN.is_taken = True
    return _RUN.value


class OneLineFormatter(logging.Formatter):
    """Makes a record one line of text, or one JSON object if it `is_json`; a traceback is part of the line."""

    def __init__(self, log_format: LogFormat = "text") -> None:
        super().__init__()
        self.is_json = log_format == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        instant = datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="milliseconds")
        message, trace = record.getMessage(), None
        if record.exc_info:
            trace = self.formatException(record.exc_info)
        if not self.is_json:
            told = message if trace is None else f"{message} | {trace}"
            return f"{instant} {run_id()} {record.levelname} {shown(told)}"
        facts = {
            "time": instant, "level": record.levelname, "run_id": run_id(), "logger": record.name, "message": message,
        }  # fmt: skip
        return json.dumps(facts if trace is None else {**facts, "exception": trace})


class _StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is at the time, so that redirecting it later works."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The current standard error."""
        return sys.stderr


_HANDLER = _StandardErrorHandler()


def configure_logging(*, verbose: bool = False) -> None:
    """Send the log of the package, and warnings of servers and drivers, to standard error.

    The format is that of the settings, read without them, since they may be what a record is about; one that is not
    known is text here, and refused with the settings. Calling it again changes format and level and adds nothing.
    """
    wanted = os.environ.get(FORMAT_VARIABLE, "").strip()
    _HANDLER.setFormatter(OneLineFormatter("json" if wanted == "json" else "text"))
    for name in ("prometheus", *_OTHERS):
        logger = logging.getLogger(name)
        if _HANDLER not in logger.handlers:
            logger.addHandler(_HANDLER)
            logger.propagate = False
        logger.setLevel(_OTHERS.get(name, logging.DEBUG if verbose else logging.INFO))


def is_json() -> bool:
    """Whether the log of this process is made of JSON objects."""
    formatter = _HANDLER.formatter
    return isinstance(formatter, OneLineFormatter) and formatter.is_json
