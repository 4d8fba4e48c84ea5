"""The databases under the name callers have used from the start; see `prometheus.app.databases`."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus.app.databases import DatabaseManager, get_db_manager

__all__ = ["DatabaseManager", "get_db_manager"]


def __getattr__(name: str) -> object:
    """Import the databases when they are first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("prometheus.app.databases"), name)
