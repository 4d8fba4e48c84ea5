"""The shape of a database manager, for those who need one half of it or both."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import psycopg


class HistoricalDatabase(Protocol):
    """Leads to prices, embeddings and models."""

    def get_historical_connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Yield a connection; committed at the end, rolled back on an error."""


class RuntimeDatabase(Protocol):
    """Leads to instruments and regimes."""

    def get_runtime_connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Yield a connection; committed at the end, rolled back on an error."""


class Databases(HistoricalDatabase, RuntimeDatabase, Protocol):
    """Leads to both."""
