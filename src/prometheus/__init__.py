"""Market regimes as versioned, point-in-time embeddings and states in PostgreSQL."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
