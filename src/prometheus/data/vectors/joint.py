"""The table ``joint_embeddings``: joint vectors in and out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from prometheus.arrays import DateVector, Float32Matrix, decode_vector
from prometheus.data.models import VectorTable
from prometheus.data.postgres.binary_copy import copy_in
from prometheus.encoders.identity import repeated_key
from prometheus.encoders.joint.examples import (
    JointExample,
    JointGroup,
    JointRows,
    JointSpace,
    StoredJointEmbedding,
    require_joint_vectors,
)


class JointEmbeddingStore(VectorTable):
    """The table ``joint_embeddings``; every write is an upsert on the natural key."""

    def save_embeddings(
        self,
        examples: Sequence[JointExample],
        model_id: str,
        vectors: Float32Matrix,
        branch_models: tuple[str, str | None] | None = None,
    ) -> int:
        """Store one vector per example in one transaction; return how many rows were new or changed.

        `branch_models` are those of the numeric and of the text branch; None where that is unknown.
        """
        if not examples:
            return 0
        values = require_joint_vectors(examples, model_id, vectors)
        try:
            return self._db.write(
                lambda cursor: _upsert(cursor, examples, model_id, values, branch_models or (None, None))
            )
        except psycopg.errors.CardinalityViolation as error:
            raise repeated_key(model_id) from error

    def groups(self, region: str, numeric_model_id: str, start: date, end: date) -> list[JointGroup]:
        """Return what is stored of a region from `start` to `end` that was joined from a numeric model."""
        query = """
            SELECT joint_type, model_id, entity_scope, text_model_id, array_agg(as_of_date), array_agg(created_at)
            FROM joint_embeddings
            WHERE entity_scope->>'region' = %s AND numeric_model_id = %s AND as_of_date BETWEEN %s AND %s
            GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, entity_scope::text COLLATE "C", 4
        """
        return [
            JointGroup(joint_type, model_id, scope, text_model_id, dict(zip(days, written, strict=True)))
            for joint_type, model_id, scope, text_model_id, days, written in self._db.rows(
                query, (region, numeric_model_id, start, end)
            )
        ]

    def load(
        self, space: JointSpace, region: str, model_id: str, start: date, end: date, limit: int | None = None
    ) -> list[StoredJointEmbedding]:
        """Return a region's rows from `start` to `end`, both included, by date and scope; the first `limit` of them."""
        query = """
            SELECT joint_type, as_of_date, model_id, entity_scope, vector, dim FROM joint_embeddings
            WHERE joint_type = %s AND model_id = %s AND as_of_date BETWEEN %s AND %s
              AND entity_scope->>'region' = %s AND entity_scope->>'source' = %s
            ORDER BY as_of_date, entity_scope::text COLLATE "C" LIMIT %s
        """
        key = (space.joint_type, model_id, start, end, region, space.source, limit)
        return [
            StoredJointEmbedding(joint_type, day, joined_by, scope, decode_vector(vector, dim, f"{model_id} {day}"))
            for joint_type, day, joined_by, scope, vector, dim in self._db.rows(query, key, binary=True)
        ]

    def stored_rows(self, region: str, until: date) -> list[JointRows]:
        """Return what is stored of a region's dates up to one, the most rows first; `dim` is that of most of them."""
        query = """
            SELECT joint_type, model_id, entity_scope, numeric_model_id, text_model_id,
                   mode() WITHIN GROUP (ORDER BY dim), count(*),
                   min(as_of_date), max(as_of_date)
            FROM joint_embeddings WHERE entity_scope->>'region' = %s AND as_of_date <= %s
            GROUP BY 1, 2, 3, 4, 5
            ORDER BY 7 DESC, 1, 2, entity_scope::text COLLATE "C", 4, 5
        """
        return [JointRows(*row) for row in self._db.rows(query, (region, until))]

    def load_vectors(self, rows: JointRows) -> tuple[DateVector, Float32Matrix]:
        """Return the dates of rows, ascending, and their vectors, shape (n, dim); one of another length is NaN."""
        query = sql.SQL("""
            SELECT as_of_date, vector FROM joint_embeddings
            WHERE joint_type = {joint_type} AND model_id = {model_id} AND entity_scope = {scope}
              AND numeric_model_id IS NOT DISTINCT FROM {numeric} AND text_model_id IS NOT DISTINCT FROM {text}
        """).format(
            joint_type=rows.joint_type, model_id=rows.model_id, scope=sql.Literal(Jsonb(dict(rows.entity_scope))),
            numeric=sql.Literal(rows.numeric_model_id), text=sql.Literal(rows.text_model_id),
        )  # fmt: skip
        return self._db.vectors(query, rows.dim)


def _upsert(
    cursor: psycopg.Cursor[Any],
    examples: Sequence[JointExample],
    model_id: str,
    vectors: Float32Matrix,
    branch_models: tuple[str | None, str | None],
) -> int:
    cursor.execute("SET LOCAL prometheus.keeps_coverage = 'on'")  # what is settled of joint rows is noted by digest
    labels = [(example.joint_type, json.dumps(example.entity_scope, sort_keys=True)) for example in examples]
    ordinals = {label: position for position, label in enumerate(sorted(set(labels)))}
    cursor.execute(
        "CREATE TEMP TABLE IF NOT EXISTS incoming_joint_embeddings"
        " (label int4, as_of_date date, vector bytea) ON COMMIT DELETE ROWS"
    )
    copy_in(
        cursor,
        "incoming_joint_embeddings",
        {
            "label": np.array([ordinals[label] for label in labels], dtype=np.int32),
            "as_of_date": np.array([example.as_of_date for example in examples], dtype="M8[D]"),
            "vector": np.ascontiguousarray(vectors),
        },
    )
    cursor.execute(
        """
        INSERT INTO joint_embeddings AS stored
            (joint_type, as_of_date, model_id, entity_scope, dim, vector, numeric_model_id, text_model_id)
        SELECT (%(types)s::text[])[label + 1], as_of_date, %(model)s, (%(scopes)s::jsonb[])[label + 1], %(dim)s, vector,
               %(numeric)s, %(text)s
        FROM incoming_joint_embeddings ORDER BY label, as_of_date
        ON CONFLICT (joint_type, as_of_date, model_id, entity_scope) DO UPDATE
        SET vector = excluded.vector, dim = excluded.dim, created_at = now(),
            numeric_model_id = excluded.numeric_model_id, text_model_id = excluded.text_model_id
        WHERE stored.vector IS DISTINCT FROM excluded.vector
           OR (stored.numeric_model_id, stored.text_model_id) IS DISTINCT FROM
              (coalesce(excluded.numeric_model_id, stored.numeric_model_id),
               coalesce(excluded.text_model_id, stored.text_model_id))
        """,
        {
            "types": [joint_type for joint_type, _ in ordinals],
            "scopes": [Jsonb(json.loads(scope)) for _, scope in ordinals],
            "model": model_id,
            "dim": vectors.shape[1],
            "numeric": branch_models[0],
            "text": branch_models[1],
        },
    )
    return cursor.rowcount
