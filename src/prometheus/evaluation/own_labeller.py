"""A user's own labelling function, found by name and called with care."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from prometheus.arrays import DateVector, Float64Vector
from prometheus.errors import InputRefusedError, UsageError
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.repaint import LabelFunction

OwnFunction = Callable[[DateVector, Float64Vector], Iterable[Any]]
"""Takes dates (datetime64[D]) and adjusted closes, shape (n,) each, and returns n labels."""


def load_labeller(spec: str) -> LabelFunction:
    """Return the function that ``module:name`` stands for, as a labeller of histories.

    Raises
    ------
    UsageError
        The text is not of that form, the module cannot be imported, or holds no such function.
    """
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise UsageError(f"{spec!r} names no labeller; write MODULE:FUNCTION, such as my_module:labels")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a module does when it is imported
        raise UsageError(
            f"{module_name} cannot be imported ({type(error).__name__}: {error}); run python -m prometheus in its "
            "folder, or put that on PYTHONPATH"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"{module_name} has no function {name!r}")
    return own_labeller(function, spec)


def own_labeller(function: OwnFunction, name: str = "the labeller") -> LabelFunction:
    """Return a function of dates and closes as a labeller of histories; it gets copies, which it may change.

    The labeller raises `InputRefusedError` where the function fails or returns no sequence of labels.
    """

    def labels(history: MarketHistory) -> list[Any]:
        try:
            return list(function(history.dates.copy(), history.closes.copy()))
        except Exception as error:  # whatever a user's function does
            raise InputRefusedError(
                f"{name} fails on the {len(history)} sessions up to {history.dates[-1]} "
                f"({type(error).__name__}: {error})"
            ) from error

    return labels
