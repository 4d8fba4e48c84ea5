"""The names that a misspelt one may have meant, and instants and probabilities as people read them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

MOST_NAMED = 3
_STEERING = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f"
)
_BEGINS_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(?:[0-9][0-9,]*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?%?")
_STEERS, _STEERS_OR_ENDS = re.compile(f"[{_STEERING}]"), re.compile(f"[\t\n{_STEERING}]")


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that look like a misspelt one, the likeliest first; case does not matter.

    Examples
    --------
    >>> nearest("calibrat", ["evaluate", "calibrate", "serve"])
    ['calibrate']
    """
    from difflib import get_close_matches  # noqa: PLC0415 -- only the misspelt wait for it

    by_folded = {each.casefold(): each for each in known}
    return [by_folded[each] for each in get_close_matches(name.casefold(), by_folded, MOST_NAMED)]


def did_you_mean(name: str, known: Iterable[str], what: str) -> str:
    """Return how a message goes on after an unknown name: the nearest names, or the first few where none is near.

    Examples
    --------
    >>> did_you_mean("calibrat", ["calibrate", "serve"], "commands")
    'did you mean calibrate?'
    >>> did_you_mean("x", ["calibrate", "serve"], "commands")
    'commands: calibrate, serve'
    """
    names = list(known)
    near = nearest(name, names)
    if near:
        return f"did you mean {' or '.join(near)}?"
    more = ", …" if len(names) > MOST_NAMED else ""
    return f"{what}: {', '.join(names[:MOST_NAMED]) or 'none'}{more}"


def printable(text: str) -> str:
    r"""Return a text of others on one line, with a space for what cannot be printed or stored.

    Examples
    --------
    >>> printable("no\x00 room\n")
    'no  room '
    """
    return "".join(letter if letter.isprintable() else " " for letter in text)


def shown(text: str, *, lines: bool = False) -> str:
    r"""Return a text of others as it may be shown: what steers a terminal, a log or the way of reading is escaped.

    That is: control characters, line ends (kept in `lines`), signs that turn the way of writing, and halves of letters,
    which stand for bytes of file names that are no text.

    Examples
    --------
    >>> shown("\x1b[31mno room\n\u202e")
    '\\x1b[31mno room\\n\\u202e'
    """
    return (_STEERS if lines else _STEERS_OR_ENDS).sub(lambda found: ascii(found[0])[1:-1], text)


def guarded(cell: str) -> str:
    """Return a cell of a CSV that a spreadsheet takes for a text: an apostrophe stands before what it would compute.

    A number stays a number, whatever its sign. `is_computed` is the rule.

    Examples
    --------
    >>> [guarded(cell) for cell in ("=1+1", "-0.5", "-1e-05", "@SUM(A1)", "AAPL.US")]
    ["'=1+1", '-0.5', '-1e-05', "'@SUM(A1)", 'AAPL.US']
    """
    return f"'{cell}" if is_computed(cell) else cell


def is_computed(cell: str) -> bool:
    """Return whether a spreadsheet would run a cell of a CSV: it begins with = + - @ or a tab, and is no number."""
    return cell[:1] in _BEGINS_FORMULAS and _NUMBER.fullmatch(cell) is None


def shortened(text: str, longest: int = 256) -> str:
    """Return a message with the middle of each overlong word left out.

    Examples
    --------
    >>> shortened("no " + "x" * 12, longest=9)
    'no xxxxx…xxx'
    """
    head, tail = longest - longest // 3 - 1, longest // 3
    return re.sub(rf"\S{{{longest + 1},}}", lambda found: f"{found[0][:head]}…{found[0][-tail:]}", text)


def spell_chance(probability: float, digits: int = 0, unit: str = "%") -> str:
    """Return a probability in per cent, never as certain: what would round to 0 or 100 is told by the step beside it.

    Examples
    --------
    >>> [spell_chance(each) for each in (0.996, 0.92, 0.004)]
    ['>99%', '92%', '<1%']
    """
    text, step = f"{100.0 * probability:.{digits}f}", 10.0**-digits
    if float(text) >= 100.0:
        text = f">{100.0 - step:.{digits}f}"
    elif float(text) <= 0.0:
        text = f"<{step:.{digits}f}"
    return f"{text}{unit}"


def spell_hours(hours: float) -> str:
    """Return a length of time, in days from 200 hours on."""
    return f"{hours:,.1f} hours" if abs(hours) < 200 else f"{hours / 24:,.0f} days"


def spell_instant(instant: datetime, timespec: Literal["minutes", "seconds"] = "minutes") -> str:
    """Return an instant in UTC, with the name of the zone.

    Examples
    --------
    >>> spell_instant(datetime.fromisoformat("2024-01-31T14:00-05:00"))
    '2024-01-31 19:00 UTC'
    """
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(' ', timespec)} UTC"
