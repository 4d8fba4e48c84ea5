"""What Python and notebooks are given: small frozen results, and the estimator that needs no database."""

from typing import Any

import prometheus


def __getattr__(name: str) -> Any:
    """Return a public name of `prometheus`, imported when it is first asked for."""
    return getattr(prometheus, {"open_databases": "open"}.get(name, name))
