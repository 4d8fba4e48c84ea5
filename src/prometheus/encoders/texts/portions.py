"""Texts in portions of a size that is worth encoding at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

TEXTS_PER_PORTION = 256
CHARACTERS_PER_PORTION = 50_000  # two seconds on one core, so that several have an even share of the work
GPU_SCALE = 32


def portions_of(items: Iterable[T], n_characters_of: Callable[[T], int], scale: int = 1) -> Iterator[list[T]]:
    """Yield texts, or what stands for them, in lists that take some seconds to encode; a very long one stands alone.

    A GPU takes as long for lists that are `GPU_SCALE` times as long.
    """
    most_texts, most_characters = scale * TEXTS_PER_PORTION, scale * CHARACTERS_PER_PORTION
    portion: list[T] = []
    total = 0
    for item in items:
        n_characters = n_characters_of(item)
        if portion and total + n_characters > most_characters:
            yield portion
            portion, total = [], 0
        portion.append(item)
        total += n_characters
        if len(portion) == most_texts or total >= most_characters:
            yield portion
            portion, total = [], 0
    if portion:
        yield portion
