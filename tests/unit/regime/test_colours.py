"""The colours of regimes can be told apart by everyone, on either ground."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from prometheus.arrays import Float64Vector
from prometheus.regime.colours import GROUNDS, LOOKS
from prometheus.regime.types import RegimeLabel

# Machado, Oliveira and Fernandes (2009), severity 1, applied to linear RGB
VISIONS = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])
# Sharma, Wu and Dalal (2005), table 1: two colours in L*a*b* and their difference
SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, 3.1571, -77.2803), (50, 0, -82.7485), 2.8615),
    ((50, 2.8361, -74.0200), (50, 0, -82.7485), 3.4412),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0009), 7.1792),
    ((50, 2.4900, -0.0010), (50, -2.4900, 0.0011), 7.2195),
    ((50, -0.0010, 2.4900), (50, 0.0009, -2.4900), 4.8045),
    ((50, -0.0010, 2.4900), (50, 0.0011, -2.4900), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
    ((35.0831, -44.1164, 3.7933), (35.0232, -40.0716, 1.5901), 1.8645),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


def ciede2000(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the difference of two colours in L*a*b*."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean_chroma = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * math.sqrt(mean_chroma**7 / (mean_chroma**7 + 25**7))
    c1, c2 = math.hypot(stretch * a1, b1), math.hypot(stretch * a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    chroma, lightness = (c1 + c2) / 2, (l1 + l2) / 2
    waves = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.2, 4, -63))
    shape = 1 + sum(size * math.cos(math.radians(times * hue + shift)) for size, times, shift in waves)
    light = (l2 - l1) / (1 + 0.015 * (lightness - 50) ** 2 / math.sqrt(20 + (lightness - 50) ** 2))
    strong = (c2 - c1) / (1 + 0.045 * chroma)
    turned = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / (1 + 0.015 * chroma * shape)
    blue = math.radians(60 * math.exp(-(((hue - 275) / 25) ** 2)))
    tilt = -2 * math.sqrt(chroma**7 / (chroma**7 + 25**7)) * math.sin(blue)
    return math.sqrt(light**2 + strong**2 + turned**2 + tilt * strong * turned)


def linear(colour: str) -> Float64Vector:
    """Return linear RGB of ``#rrggbb``, shape (3,)."""
    values = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def as_lab(rgb: Float64Vector) -> tuple[float, ...]:
    """Return L*a*b* under daylight (D65) of linear RGB."""
    x, y, z = (
        math.cbrt(share) if share > 216 / 24389 else (24389 / 27 * share + 16) / 116
        for share in (TO_XYZ @ np.clip(rgb, 0, 1) / WHITE).tolist()
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def contrast(one: str, other: str) -> float:
    """Return the contrast of WCAG 2."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("one", "other", "difference"), SHARMA)
def test_the_difference_is_that_of_the_reference_pairs(
    one: tuple[float, ...], other: tuple[float, ...], difference: float
) -> None:
    assert ciede2000(one, other) == pytest.approx(difference, abs=5e-5)
    assert ciede2000(other, one) == pytest.approx(difference, abs=5e-5)


@pytest.mark.parametrize("theme", GROUNDS)
@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_regimes_differ_for_every_vision(theme: str, vision: str) -> None:
    seen = {label: as_lab(VISIONS[vision] @ linear(getattr(look, theme))) for label, look in LOOKS.items()}
    for one, other in itertools.combinations(seen, 2):
        assert ciede2000(seen[one], seen[other]) >= 15, (one, other)


@pytest.mark.parametrize("theme", GROUNDS)
def test_regimes_stand_out_from_their_grounds_and_letters_can_be_read(theme: str) -> None:
    for look in LOOKS.values():
        assert min(contrast(getattr(look, theme), ground) for ground in GROUNDS[theme]) >= 3
        assert contrast(getattr(look, theme), getattr(look, f"{theme}_ink")) >= 4.5


def test_letter_and_pattern_tell_every_regime_without_colour() -> None:
    assert set(LOOKS) == set(RegimeLabel)
    for part in ("letter", "pattern"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(RegimeLabel)
