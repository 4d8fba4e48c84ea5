"""A file of dates that something happened on: a date a line, and behind a comma what."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

from prometheus.core.files import read_small_text
from prometheus.errors import InputRefusedError
from prometheus.evaluation.events import Event


def read_event_dates(path: Path) -> tuple[Event, ...]:
    """Return the events of a file, each once: ISO dates in the first column, names in the second if there is one.

    Empty lines, and a first line of titles, are passed over. FileAccessError for a file that cannot be read;
    InputRefusedError, which names the line, for what is no date, or without any.
    """
    try:
        text = io.StringIO(read_small_text(path).removeprefix("\ufeff"), newline="")
        lines = [(number, row) for number, row in enumerate(csv.reader(text), 1) if any(row)]
    except csv.Error as error:
        raise InputRefusedError(f"{path} is no text of dates ({error}); save it as UTF-8") from error
    events = dict.fromkeys(
        event for place, (number, row) in enumerate(lines) if (event := _event(path, number, row, is_first=not place))
    )
    if not events:
        raise InputRefusedError(f"{path} holds no date; write one ISO date a line, such as 2020-03-16,crash")
    return tuple(events)


def _event(path: Path, number: int, row: list[str], *, is_first: bool) -> Event | None:
    try:
        return Event(date.fromisoformat(row[0].strip()), row[1].strip() if len(row) > 1 else "")
    except ValueError:
        if is_first and not any(letter.isdigit() for letter in row[0]):
            return None
        raise InputRefusedError(f"{path} line {number}: {row[0]!r} is no date; write YYYY-MM-DD first") from None
