"""The table ``models``: what each model id means, for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.encoders.identity import fingerprint, require_same_meaning


class ModelRegistry:
    """The table ``models``: a model id means one thing for ever."""

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._db = db_manager

    def register(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Record what `model_id` means, or prove that it means the same as before."""
        wanted = fingerprint(config)
        with self._db.get_historical_connection() as connection:
            row = connection.execute(
                """
                WITH added AS (
                    INSERT INTO models (model_id, kind, fingerprint, config)
                    VALUES (%(id)s, %(kind)s, %(print)s, %(config)s)
                    ON CONFLICT (model_id) DO NOTHING
                    RETURNING kind, fingerprint, config
                )
                SELECT * FROM added UNION ALL SELECT kind, fingerprint, config FROM models WHERE model_id = %(id)s
                LIMIT 1
                """,
                {"id": model_id, "kind": kind, "print": wanted, "config": Jsonb(dict(config))},
            ).fetchone()
        if row is None:  # another process added it between our two looks
            self.register(model_id, kind, config)
        else:
            require_same_meaning(model_id, row, kind, config)

    def require_same(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Prove that `model_id` means this or nothing yet; nothing is recorded."""
        query = "SELECT kind, fingerprint, config FROM models WHERE model_id = %s"
        with self._db.get_historical_connection() as connection:
            row = connection.execute(query, (model_id,)).fetchone()
        if row is not None:
            require_same_meaning(model_id, row, kind, config)

    def ids_of_kind(self, kind: str) -> list[str]:
        """Return the ids of all models of a kind: ``numeric``, ``text``, ``joint`` or ``regime``."""
        with self._db.get_historical_connection() as connection:
            return [
                row[0] for row in connection.execute("SELECT model_id FROM models WHERE kind = %s ORDER BY 1", (kind,))
            ]

    def load_config(self, model_id: str) -> dict[str, Any] | None:
        """Return what is recorded under an id, None where nothing is."""
        with self._db.get_historical_connection() as connection:
            row = connection.execute("SELECT config FROM models WHERE model_id = %s", (model_id,)).fetchone()
        return None if row is None else dict(row[0])
