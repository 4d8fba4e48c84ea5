"""Which past dates looked like a date, and what followed them; also callable, as ``pm.analogs(prices, "2020-03-16")``.

Importing a module of this package binds the name `prometheus.analogs` to it, so the package itself must answer a call.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the analogs of a date among prices; see `prometheus.results.in_memory.analogs`."""
        return import_module("prometheus.results.in_memory").analogs(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
