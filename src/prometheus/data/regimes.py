"""The tables ``regimes`` and ``regime_transitions``; the second always says what the first says.

What is said for the first time goes into the forward record in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.arrays import VECTOR_DTYPE, Coded, DateVector, Int64Vector, as_float32, decode_vector, encode_vector
from prometheus.data.postgres.connections import RuntimeDatabase, Transactions
from prometheus.data.postgres.row_copy import JSONB_VERSION, Column, copy_pieces_in, write_numbers
from prometheus.data.record import History, append
from prometheus.errors import ambiguous_model
from prometheus.regime.history import StoredEmbeddings, StoredVector, join_embeddings
from prometheus.regime.states import RegimeStates, WriteNumbers
from prometheus.regime.transitions import TransitionMatrix, transition_counts, transition_matrix
from prometheus.regime.types import RegimeLabel, RegimeState, metadata_text

ROWS_AT_ONCE = 1_000

OnSaved: TypeAlias = Callable[[psycopg.Cursor[Any], str, str], None]
"""Called in the transaction that stored states of a region and model, after them."""

# Those of fixed width, which are encoded together, stand beside each other.
_COLUMNS = (
    "region", "model_id", "as_of_date", "confidence", "encoder_model_id", "dim", "regime_embedding", "input_hash",
    "regime_label", "metadata",
)  # fmt: skip
_COPY = sql.SQL("COPY regimes ({}) FROM STDIN (FORMAT BINARY)").format(
    sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
)
_ANY_STORED = """
    SELECT EXISTS (SELECT FROM regimes WHERE region = %s AND model_id = %s AND as_of_date BETWEEN %s AND %s)
"""
_STATES = """
    SELECT as_of_date, region, regime_label, confidence, regime_embedding, metadata, model_id, encoder_model_id, dim
    FROM regimes WHERE region = %s AND model_id = %s
"""


class RegimeStorage:
    """Regime states by region, model and date.

    `model_id` is the regime model to read when a call names none; without either, a region must hold rows of one model
    only. `on_saved` adds to the transactions that store states.
    """

    def __init__(
        self, db_manager: RuntimeDatabase, model_id: str | None = None, on_saved: OnSaved | None = None
    ) -> None:
        self._db = Transactions(db_manager.get_runtime_connection)
        self._model_id = model_id
        self._on_saved = on_saved

    def save_regime(self, state: RegimeState) -> None:
        """Store one state and bring the transitions around its date in step, in one transaction."""
        self.save_regimes([state])

    def save_regimes(self, states: Sequence[RegimeState], input_hashes: Int64Vector | None = None) -> int:
        """Store states of any regions, models and order in one transaction; return how many rows were new or changed.

        Of two states for one region, model and date the later one in the sequence counts. `input_hashes` tell of what
        each state was made; None where that is unknown.
        """
        histories = _histories(states, [None] * len(states) if input_hashes is None else input_hashes)
        return self._db.write(lambda cursor: _save_histories(cursor, histories, self._on_saved))

    def drop_regimes(self, region: str, model_id: str, dates: DateVector) -> int:
        """Delete the states of some dates and bring the transitions in step; return how many there were."""
        first, last = dates.min().item(), dates.max().item()
        delete = "DELETE FROM regimes WHERE region = %s AND model_id = %s AND as_of_date = ANY(%s)"

        def drop(cursor: psycopg.Cursor[Any]) -> int:
            _lock_history(cursor, region, model_id)
            n_dropped = cursor.execute(delete, (region, model_id, dates.tolist())).rowcount
            rebuild_transitions(cursor, region, model_id, first, last)
            return n_dropped

        return self._db.write(drop)

    def mend_transitions(self, region: str, model_id: str) -> int:
        """Make all transitions of a history say what its labels say; return how many were wrong or missing."""

        def mend(cursor: psycopg.Cursor[Any]) -> int:
            _lock_history(cursor, region, model_id)
            return rebuild_transitions(cursor, region, model_id, date.min, date.max)

        return self._db.write(mend)

    def load_input_hashes(self, region: str, model_id: str, dates: DateVector) -> NDArray[Any]:
        """Return ``as_of_date``, ``input_hash`` of the states of known inputs between the first and last of `dates`."""
        query = sql.SQL("""
            SELECT as_of_date, input_hash FROM regimes
            WHERE region = {region} AND model_id = {model_id} AND as_of_date BETWEEN {first} AND {last}
              AND input_hash IS NOT NULL
        """).format(region=region, model_id=model_id, first=dates.min().item(), last=dates.max().item())
        return self._db.packed(query, [("as_of_date", "M8[D]"), ("input_hash", "i8")])

    def get_latest_regime(self, region: str, model_id: str | None = None) -> RegimeState | None:
        """Return the state of the newest date, or None where the region has none."""
        chosen = self._choose_model(region, model_id)
        row = self._db.row(f"{_STATES} ORDER BY as_of_date DESC LIMIT 1", (region, chosen), binary=True)
        return None if row is None else _to_state(row)

    def get_history(self, region: str, start: date, end: date, model_id: str | None = None) -> list[RegimeState]:
        """Return the states from `start` to `end`, both included, oldest first."""
        asked = (region, self._choose_model(region, model_id), start, end)
        rows = self._db.rows(f"{_STATES} AND as_of_date BETWEEN %s AND %s ORDER BY as_of_date", asked, binary=True)
        return [_to_state(row) for row in rows]

    def get_transition_matrix(self, region: str, model_id: str | None = None) -> TransitionMatrix:
        """Return ``{from: {to: probability}}`` over all consecutive pairs of stored dates, stays included."""
        return transition_matrix(transition_counts(self.load_labels(region, model_id)))

    def load_labels(self, region: str, model_id: str | None = None) -> list[RegimeLabel]:
        """Return all labels of a region in date order."""
        query = "SELECT regime_label FROM regimes WHERE region = %s AND model_id = %s ORDER BY as_of_date"
        return [RegimeLabel(label) for label in self._db.column(query, (region, self._choose_model(region, model_id)))]

    def load_embeddings(self, region: str, encoder_model_id: str, start: date, end: date) -> StoredEmbeddings:
        """Return an encoder's embeddings, the one written last of each date; raise as `join_embeddings` does."""
        query = """
            SELECT DISTINCT ON (as_of_date) regime_embedding, dim, metadata->>'instrument_id',
                   (metadata->>'window_days')::int, as_of_date
            FROM regimes WHERE region = %s AND encoder_model_id = %s AND as_of_date BETWEEN %s AND %s
            ORDER BY as_of_date, created_at DESC, model_id
        """
        rows = self._db.rows(query, (region, encoder_model_id, start, end), binary=True)
        found = [StoredVector(row[4], decode_vector(row[0], row[1], region), row[2], row[3]) for row in rows]
        return join_embeddings(region, encoder_model_id, (start, end), found)

    def written(self, region: str, encoder_model_id: str, start: date, end: date) -> dict[date, datetime]:
        """Return when the newest state of each date from `start` to `end` by one encoder was written."""
        query = """
            SELECT as_of_date, max(created_at) FROM regimes
            WHERE region = %s AND encoder_model_id = %s AND as_of_date BETWEEN %s AND %s GROUP BY 1
        """
        return dict(self._db.rows(query, (region, encoder_model_id, start, end)))

    def regions_made_of(self, encoder_model_id: str, instrument_ids: Sequence[str]) -> list[tuple[str, str, str]]:
        """Return (region, regime model, instrument) of the states that an encoder's vectors of instruments are in."""
        query = """
            SELECT DISTINCT region, model_id, metadata->>'instrument_id' FROM regimes
            WHERE encoder_model_id = %s AND metadata->>'instrument_id' = ANY(%s) ORDER BY 1, 2, 3
        """
        rows = self._db.rows(query, (encoder_model_id, list(instrument_ids)))
        return [(row[0], row[1], row[2]) for row in rows]

    def load_sources(self, region: str, model_id: str) -> dict[tuple[str, str], int]:
        """Return how many rows each (instrument, window length) has under a region and model."""
        query = """
            SELECT metadata->>'instrument_id', metadata->>'window_days', count(*)
            FROM regimes WHERE region = %s AND model_id = %s AND metadata ? 'instrument_id' GROUP BY 1, 2
        """
        return {(name, days): n_rows for name, days, n_rows in self._db.rows(query, (region, model_id))}

    def list_models(self, region: str) -> list[str]:
        """Return the ids of the regime models that have rows of a region."""
        return self._db.column("SELECT DISTINCT model_id FROM regimes WHERE region = %s ORDER BY 1", (region,))

    def _choose_model(self, region: str, model_id: str | None) -> str | None:
        named = model_id or self._model_id
        if named is not None:
            return named
        found = self.list_models(region)
        if len(found) > 1:
            raise ambiguous_model(region, found)
        return found[0] if found else None


def _group(state: RegimeState) -> tuple[str, str]:
    return state.region, state.model_id


def _to_state(row: tuple[Any, ...]) -> RegimeState:
    as_of_date, region, label, confidence, embedding, metadata, model_id, encoder_model_id, dim = row
    vector = decode_vector(embedding, dim, f"regime of {region} on {as_of_date}")
    label = RegimeLabel(label)
    return RegimeState(as_of_date, region, label, confidence, vector, metadata, model_id, encoder_model_id)


def _histories(states: Sequence[RegimeState], input_hashes: Sequence[int | None] | Int64Vector) -> list[History]:
    """Return the states by region and model, ascending in time."""
    if isinstance(states, RegimeStates) and len(states) and (np.diff(states.dates).astype(np.int64) > 0).all():
        return [History(states, input_hashes)]
    hashes = input_hashes.tolist() if isinstance(input_hashes, np.ndarray) else input_hashes
    by_key = {
        (*_group(state), state.as_of_date): (state, made_of) for state, made_of in zip(states, hashes, strict=True)
    }
    ordered = [by_key[key] for key in sorted(by_key)]
    groups = (list(members) for _, members in groupby(ordered, key=lambda each: _group(each[0])))
    return [History(*zip(*members, strict=True)) for members in groups]


def _save_histories(cursor: psycopg.Cursor[Any], histories: Sequence[History], on_saved: OnSaved | None) -> int:
    n_written = 0
    for history in histories:
        region, model_id = history.region, history.model_id
        first, last = history.states[0].as_of_date, history.states[-1].as_of_date
        _lock_history(cursor, region, model_id)
        is_new = not cursor.execute(_ANY_STORED, (region, model_id, first, last)).fetchall()[0][0]
        begins = range(0, len(history.states), ROWS_AT_ONCE)
        pieces = [history.take(slice(begin, begin + ROWS_AT_ONCE)) for begin in begins]
        n_written += _copy_states(cursor, pieces) if is_new else sum(_upsert_states(cursor, each) for each in pieces)
        rebuild_transitions(cursor, region, model_id, first, last)
        if on_saved is not None:
            on_saved(cursor, region, model_id)
    append(cursor, histories)
    return n_written


def state_columns(history: History, write: WriteNumbers) -> dict[str, Column]:
    """Return the values of `_COLUMNS`, as text in metadata; `write` as in `json_texts`."""
    states, n = history.states, len(history.states)
    if isinstance(states, RegimeStates):
        vectors = as_float32(states.vectors).astype(VECTOR_DTYPE, order="C", copy=False)
        dim = vectors.shape[1]
        values: tuple[Column, ...] = (
            states.dates, states.confidences, Coded.of_one(states.encoder_model_id, n), np.full(n, dim, np.int32),
            vectors.view(f"V{vectors.itemsize * dim}").ravel(), history.input_hashes,
            Coded([label.value for label in states.names], states.labels), states.metadata_texts(write),
        )  # fmt: skip
    else:
        values = (
            np.array([date.fromordinal(state.as_of_date.toordinal()) for state in states], dtype="M8[D]"),
            np.array([state.confidence for state in states], dtype=np.float64),
            [str(state.encoder_model_id) for state in states],
            np.array([state.regime_embedding.size for state in states], np.int32),
            [encode_vector(state.regime_embedding) for state in states],
            history.input_hashes,
            [state.regime_label.value for state in states],
            [metadata_text(state) for state in states],
        )
    owner = (Coded.of_one(str(each), n) for each in (history.region, history.model_id))
    return dict(zip(_COLUMNS, (*owner, *values), strict=True))


def _lock_history(cursor: psycopg.Cursor[Any], region: str, model_id: str) -> None:
    """Let one transaction at a time change a history: two that interleave would each miss the other's rows."""
    cursor.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('regimes', 0) # hashtextextended(%s, 0))",
        (f"{region}\x1f{model_id}",),
    )


def _copy_states(cursor: psycopg.Cursor[Any], pieces: Sequence[History]) -> int:
    """Append states of which none is stored; the lock of their history keeps it so."""
    copy_pieces_in(cursor, _COPY, _stored_columns, pieces)
    return sum(len(piece.states) for piece in pieces)


def _stored_columns(history: History) -> list[Column]:
    """Return the values of `_COLUMNS` as COPY reads them."""
    columns = state_columns(history, write_numbers)
    texts = [JSONB_VERSION + text.encode() for text in columns["metadata"]]
    return [*({**columns, "metadata": texts}).values()]


def _upsert_states(cursor: psycopg.Cursor[Any], history: History) -> int:
    columns = state_columns(history, write_numbers)
    cursor.execute(
        """
        INSERT INTO regimes AS stored (region, model_id, as_of_date, regime_label, confidence, encoder_model_id, dim,
                                       regime_embedding, metadata, input_hash)
        SELECT * FROM unnest(
            %(region)s::text[], %(model_id)s::text[], %(as_of_date)b::date[], %(regime_label)s::text[],
            %(confidence)b::float8[], %(encoder_model_id)s::text[], %(dim)s::int[], %(regime_embedding)b::bytea[],
            %(metadata)b::text[]::jsonb[], %(input_hash)s::int8[]
        )
        ON CONFLICT (region, model_id, as_of_date) DO UPDATE
        SET regime_label = excluded.regime_label, confidence = excluded.confidence, dim = excluded.dim,
            encoder_model_id = excluded.encoder_model_id, regime_embedding = excluded.regime_embedding,
            metadata = excluded.metadata, input_hash = excluded.input_hash, created_at = now()
        WHERE (stored.regime_label, stored.confidence, stored.encoder_model_id, stored.regime_embedding,
               stored.metadata, stored.input_hash)
              IS DISTINCT FROM (excluded.regime_label, excluded.confidence, excluded.encoder_model_id,
                                excluded.regime_embedding, excluded.metadata,
                                coalesce(excluded.input_hash, stored.input_hash))
        """,
        {name: values.tolist() if isinstance(values, np.ndarray) else list(values) for name, values in columns.items()},
    )
    return cursor.rowcount


def rebuild_transitions(cursor: psycopg.Cursor[Any], region: str, model_id: str, first: date, last: date) -> int:
    """Make the transitions from `first` to the first row after `last` say what the regime rows say.

    Return how many were added, changed or removed.
    """
    parameters = {"region": region, "model_id": model_id, "first": first, "last": last}
    cursor.execute(
        """
        WITH bounds AS (
            SELECT (SELECT max(as_of_date) FROM regimes
                    WHERE region = %(region)s AND model_id = %(model_id)s AND as_of_date < %(first)s) AS before,
                   (SELECT min(as_of_date) FROM regimes
                    WHERE region = %(region)s AND model_id = %(model_id)s AND as_of_date > %(last)s) AS after
        ), pairs AS (
            SELECT as_of_date, lag(as_of_date) OVER by_date AS previous_date,
                   lag(regime_label) OVER by_date AS from_label, regime_label AS to_label
            FROM regimes, bounds
            WHERE region = %(region)s AND model_id = %(model_id)s
              AND as_of_date BETWEEN coalesce(before, %(first)s) AND coalesce(after, %(last)s)
            WINDOW by_date AS (ORDER BY as_of_date)
        ), wanted AS (
            SELECT * FROM pairs WHERE from_label <> to_label
        ), removed AS (
            DELETE FROM regime_transitions AS stored USING bounds
            WHERE region = %(region)s AND model_id = %(model_id)s
              AND as_of_date BETWEEN %(first)s AND coalesce(after, %(last)s)
              AND NOT EXISTS (SELECT FROM wanted WHERE wanted.as_of_date = stored.as_of_date)
            RETURNING stored.as_of_date
        ), written AS (
        INSERT INTO regime_transitions AS stored (region, model_id, as_of_date, previous_date, from_label, to_label)
        SELECT %(region)s, %(model_id)s, as_of_date, previous_date, from_label, to_label
        FROM wanted ORDER BY as_of_date
        ON CONFLICT (region, model_id, as_of_date) DO UPDATE
        SET previous_date = excluded.previous_date, from_label = excluded.from_label, to_label = excluded.to_label,
            created_at = now()
        WHERE (stored.previous_date, stored.from_label, stored.to_label)
              IS DISTINCT FROM (excluded.previous_date, excluded.from_label, excluded.to_label)
        RETURNING stored.as_of_date
        )
        SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM written)
        """,
        parameters,
    )
    return int(cursor.fetchall()[0][0])
