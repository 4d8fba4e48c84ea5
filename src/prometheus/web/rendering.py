"""How figures become pages: the templates, the words and the forms of numbers, and the colours of regimes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

import numpy as np
from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from prometheus.app.overview import WEEKDAYS_UNTIL_OLD
from prometheus.regime.colours import BAND_OPACITY, GROUNDS, LOOKS
from prometheus.regime.exposure import RULE
from prometheus.regime.history import LABELS
from prometheus.regime.types import RegimeLabel
from prometheus.spelling import spell_chance, spell_hours, spell_instant
from prometheus.web.assets import Assets

UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
LABEL_WORDS: Mapping[str, str] = {label.name: label.word for label in RegimeLabel}

DEFINITIONS: Mapping[str, tuple[str, str]] = {
    "CARRY": ("Carry", "Calm and rising: small moves, near the highs."),
    "NEUTRAL": ("Neutral", "Neither calm and rising nor under stress."),
    "RISK_OFF": ("Risk-off", "Stress is building, or the market is falling."),
    "CRISIS": ("Crisis", "Extreme volatility or fall from the highs."),
    "sure": ("Sure", "Probability of the label among the four, by the distance of the day to the prototype of each."),
    "leaving": ("Leaving", "Chance that another label is seen within the sessions named, and its 95 % interval."),
    "bear": (
        "Bear market",
        "From a peak to a trough: closes fall by that share, then rise by it. On its day it is a chance, no fact.",
    ),
    "exposure": ("Exposure", f"What one rule leaves in the market: {RULE}."),
    "wild": ("High volatility", "Above what a fifth of the calibration span exceeded, over the next 21 sessions."),
    "distance": ("Distance", "Between the vectors of two days: 0 for equal ones, small for like ones."),
    "nearer": ("Nearer pairs", "Share of all pairs of days that are as near as this one, or nearer."),
    "text_pairs": (
        "Nearer pairs of texts",
        "Share of pairs of earlier texts that are as near, or nearer. Above 30 % nothing is close.",
    ),
    "fall": ("Worst fall", "From the highest to the lowest close after it, within the sessions named."),
    "pull": ("Pull", "Part of all that moved; above zero towards the label of the day, below away from it."),
}
"""What the words of the page mean, by key."""
_STROKE = "color-mix(in srgb,var(--label-ink) 50%,var(--label))"
_LINES = "repeating-linear-gradient({}deg," + _STROKE + " 0 1px,transparent 1px 5px),"
_PATTERNS: Mapping[str, str] = {
    "": "",
    ".": f"radial-gradient(circle,{_STROKE} 1px,transparent 1.5px) 0 0/7px 7px,",
    "/": _LINES.format(135),
    "x": _LINES.format(135) + _LINES.format(45),
}


def render(request: Request, template: str, values: Mapping[str, Any], **answer: Any) -> Response:
    """Return a page made from a template; values are escaped: text, never markup."""
    assets: Assets = request.app.state.assets
    return HTMLResponse(written(template, values, assets.address), **answer)


def written(template: str, values: Mapping[str, Any], asset: Callable[[str], str]) -> str:
    """Return a template filled in; `asset` returns the address of a file that pages load."""
    page: str = _environment().get_template(template).render(asset=asset, **values)
    return page


def weekdays_since(day: date) -> int:
    """Return how many weekdays lie between a date and today."""
    today = datetime.now(UTC).date()
    return int(np.busday_count(np.datetime64(day, "D"), np.datetime64(today, "D")))


def css_name(label: str) -> str:
    """Return the name of a regime's colour in style sheets."""
    return label.lower().replace("_", "-")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("prometheus.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "age": _age,
        "chance": _chance,
        "digits": lambda value: UNKNOWN if value is None else f"{value:.4f}",
        "hours": spell_hours,
        "instant": lambda instant: spell_instant(instant, "minutes"),
        "letter": lambda name: LOOKS[RegimeLabel[str(name)]].letter,
        "percent": _percent,
        "rarity": _rarity,
        "sentence": lambda text: f"{text[:1].upper()}{text[1:]}",
        "signed": _signed,
        "label": lambda name: LABEL_WORDS.get(str(name), str(name)),
        "path": lambda text: quote(str(text), safe=""),
    }
    environment.globals |= {
        "definitions": DEFINITIONS,
        "labels": [label.name for label in LABELS],
        "weekdays_until_old": WEEKDAYS_UNTIL_OLD,
        "palette": Markup(_palette()),  # noqa: S704 -- from constants alone
    }
    return environment


def _palette() -> str:
    """Return the style rules of the regimes: colours by theme, and the letter of each mark."""
    light, dark = (_colours(theme) for theme in GROUNDS)
    letters = "".join(
        f".{label.name}{{--label:var(--{css_name(label.name)});--label-ink:var(--{css_name(label.name)}-ink)}}"
        f'.{label.name} .mark::before{{content:"{look.letter}"}}'
        f".{label.name} .hatched{{background:{_PATTERNS[look.pattern]}var(--label)}}"
        for label, look in LOOKS.items()
    )
    return (
        f':root{{{light}}}@media (prefers-color-scheme:dark){{:root:not([data-theme="light"]){{{dark}}}}}'
        f':root[data-theme="dark"]{{{dark}}}@media print{{:root:root:root{{{light}}}}}{letters}'
    )


def _colours(theme: str) -> str:
    card, ground = GROUNDS[theme]
    regimes = "".join(
        f"--{css_name(label.name)}:{getattr(look, theme)};--{css_name(label.name)}-ink:{getattr(look, f'{theme}_ink')};"
        for label, look in LOOKS.items()
    )
    return f"--band:{BAND_OPACITY};--card:{card};--ground:{ground};{regimes}"


def _age(day: date) -> str:
    """Return how long ago a date was, in years from three on, else in months, weeks or days."""
    n_days = (datetime.now(UTC).date() - day).days
    for unit, length in (("years", 365.25), ("months", 30.44), ("weeks", 7)):
        if n_days >= (3 if unit == "years" else 2) * length:
            return f"{n_days / length:.0f} {unit}"
    return f"{n_days} days"


def _chance(value: float | None, digits: int = 0) -> str:
    """Return a probability for people; an unknown one is a dash."""
    return UNKNOWN if value is None else spell_chance(value, digits, " %")


def _percent(value: float | None, digits: int = 0) -> str:
    """Return a share for people; an unknown one is a dash."""
    return UNKNOWN if value is None else f"{value * 100:.{digits}f} %"


def _signed(value: float | None, digits: int = 1) -> str:
    return UNKNOWN if value is None else f"{value * 100:+.{digits}f} %".replace("-", MINUS)


def _rarity(share: float | None) -> str:
    """Return a share of pairs; a tiny one is not shown as zero."""
    return "< 0.1 %" if share is not None and 0 < share < 0.001 else _percent(share, 1)
