"""Labellers of a user's own: functions for the repaint check, models for the evaluation, found and called with care."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from prometheus.arrays import DateVector, Float64Vector
from prometheus.errors import InputRefusedError, PrometheusError, UsageError
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import FittedLabeller, Labeller, Predictions
from prometheus.evaluation.repaint import LabelFunction
from prometheus.plugins import PluginKind, find_plugin, made, offered_names, reason_of

OwnFunction = Callable[[DateVector, Float64Vector], Iterable[Any]]
"""Takes dates (datetime64[D]) and adjusted closes, shape (n,) each, and returns n labels."""

GROUP = "prometheus.labellers"
FUNCTION = PluginKind("labeller", "function", GROUP, ("__call__",))


def load_labeller(spec: str) -> LabelFunction:
    """Return the function that ``module:name`` or an entry point stands for, or raise `UsageError`."""
    found = find_plugin(FUNCTION, spec)
    if found is None:
        way_out = f"write MODULE:FUNCTION, such as my_module:labels{_offered(FUNCTION)}"
        raise UsageError(f"{spec!r} names no labeller; {way_out}")
    if callable(getattr(found, "fit", None)):
        way_out = f"check it with: evaluate --labeller {spec} --repaint-every 21"
        raise UsageError(f"labeller {spec}: it is fitted before it labels; {way_out}")
    if not callable(found):
        raise UsageError(f"{spec.partition(':')[0]} has no function {spec.rpartition(':')[2]!r}")
    return own_labeller(made(FUNCTION, spec, found) if isinstance(found, type) else found, spec)


def own_labeller(function: OwnFunction, name: str = "the labeller") -> LabelFunction:
    """Return a function as a labeller of histories, with `InputRefusedError` where it fails; it gets copies."""

    def labels(history: MarketHistory) -> list[Any]:
        try:
            return list(function(history.dates.copy(), history.closes.copy()))
        except Exception as error:  # whatever a user's function does
            why = f"{type(error).__name__}: {error}"
            shown = f"the {len(history)} sessions up to {history.dates[-1]}"
            raise InputRefusedError(f"{name} fails on {shown} ({why})") from error

    return labels


def open_labeller(spec: str, ours: Collection[str]) -> Labeller:
    """Return the labeller that ``module:Class`` or an entry point stands for, or raise `UsageError`."""
    kind = PluginKind("labeller", "class", GROUP, ("fit",), frozenset(ours))
    found = find_plugin(kind, spec)
    if found is None:
        raise UsageError(f"no labeller {spec!r}; there are {', '.join(map(repr, ours))}{_offered(kind)}")
    return _OwnLabeller(spec, made(kind, spec, found))


@dataclass(frozen=True, slots=True)
class _OwnLabeller:
    spec: str
    model: Any

    @property
    def name(self) -> str:
        stated = getattr(self.model, "name", None)
        return stated if isinstance(stated, str) and stated else self.spec

    def fit(self, history: MarketHistory, threshold: float) -> FittedLabeller:
        fitted = _called(self.spec, history, self.model.fit, history, threshold)
        if not callable(getattr(fitted, "predictions", None)):
            raise UsageError(f"labeller {self.spec}: what fit() returns has no method predictions()")
        fall = getattr(fitted, "bear_fall", None)
        if fall is not None and not (isinstance(fall, float) and 0.0 < fall < 1.0):
            raise UsageError(f"labeller {self.spec}: bear_fall is {fall!r}; give a share between 0 and 1, such as 0.2")
        return _OwnFitted(self.spec, fitted, fall)


@dataclass(frozen=True, slots=True)
class _OwnFitted:
    spec: str
    model: Any
    bear_fall: float | None

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        found = _called(self.spec, history, self.model.predictions, history, n_last)
        if not isinstance(found, Predictions) or len(found) != n_last:
            what = f"{len(found)} predictions" if isinstance(found, Predictions) else type(found).__name__
            raise PrometheusError(f"labeller {self.spec} returns {what} where {n_last} predictions were asked for")
        stated = [each for each in (found.probabilities, found.bear_probabilities) if each is not None]
        is_sound = all(((each >= 0) & (each <= 1)).all() for each in stated)
        if not (is_sound and np.isfinite(found.scores).all()):
            raise PrometheusError(
                f"labeller {self.spec} returns scores that are not finite, or probabilities outside 0 to 1, for the "
                f"{n_last} sessions up to {history.dates[-1]}"
            )
        return found


def _called(spec: str, history: MarketHistory, method: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return method(*arguments)
    except PrometheusError:
        raise
    except Exception as error:  # whatever a user's method does
        raise PrometheusError(
            f"labeller {spec} fails on the {len(history)} sessions up to {history.dates[-1]} ({reason_of(error)})"
        ) from error


def _offered(kind: PluginKind) -> str:
    names = offered_names(kind)
    return f"; installed packages offer {', '.join(map(repr, names))}" if names else ""
