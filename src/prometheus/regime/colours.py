"""How each regime looks, on the page and in every picture: a colour for either ground, a letter and a pattern.

The colours were searched for so that any two differ by CIEDE2000 >= 15, seen with normal, protan, deutan and tritan
vision, and stand out from their grounds with a contrast of 3:1 or more; `tests/unit/regime/test_colours.py`
measures it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus.regime.types import RegimeLabel

GROUNDS: Mapping[str, tuple[str, str]] = {"light": ("#ffffff", "#f5f6f8"), "dark": ("#1a212b", "#11161d")}
"""By theme: the ground of a chart, and that of the page around it."""

BAND_OPACITY = 0.28
"""Of a band behind a line; the full colour stands beside it."""


@dataclass(frozen=True, slots=True)
class Look:
    """Colours as ``#rrggbb``; `letter` and `pattern` say the same without colour.

    `light_ink` and `dark_ink` can be read on `light` and `dark`. `pattern` is one of matplotlib's hatches.
    """

    light: str
    light_ink: str
    dark: str
    dark_ink: str
    letter: str
    pattern: str


LOOKS: Mapping[RegimeLabel, Look] = {
    RegimeLabel.CARRY: Look("#277360", "#ffffff", "#55c7a0", "#000000", "C", ""),
    RegimeLabel.NEUTRAL: Look("#808e9b", "#000000", "#7d8a97", "#000000", "N", "."),
    RegimeLabel.RISK_OFF: Look("#bf7f00", "#000000", "#f4ba44", "#000000", "R", "/"),
    RegimeLabel.CRISIS: Look("#b40d18", "#ffffff", "#dc493a", "#000000", "X", "x"),
}
