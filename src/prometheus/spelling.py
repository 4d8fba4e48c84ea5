"""The names that a misspelt one may have meant, and instants and probabilities as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

MOST_NAMED = 3


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
