"""The table ``regimes`` column-wise: histories, timelines and vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from itertools import groupby, pairwise
from typing import Any, TypeAlias

import numpy as np
from psycopg import sql

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector
from prometheus.data.postgres.binary_copy import unpack_vectors
from prometheus.data.postgres.connections import RuntimeDatabase, Transactions
from prometheus.regime.explanation import EVIDENCE_LABELS
from prometheus.regime.history import (
    LABELS,
    DatedVectors,
    LabelChange,
    NewestState,
    RegimeHistory,
    RegimeTimeline,
    VectorSource,
    preferred_history,
)
from prometheus.regime.types import RegimeLabel

# From one region and model to the next by the primary key: grouping would read every row.
_HISTORIES = """
    WITH RECURSIVE named AS (
        (SELECT region, model_id FROM regimes ORDER BY region, model_id LIMIT 1)
        UNION ALL
        SELECT following.region, following.model_id FROM named CROSS JOIN LATERAL (
            SELECT region, model_id FROM regimes
            WHERE (region, model_id) > (named.region, named.model_id) ORDER BY region, model_id LIMIT 1
        ) AS following
    )
    SELECT region, model_id, newest.encoder_model_id, counted.n_dates, counted.first, newest.as_of_date
    FROM named CROSS JOIN LATERAL (
        SELECT encoder_model_id, as_of_date FROM regimes
        WHERE region = named.region AND model_id = named.model_id AND as_of_date <= %(until)s
        ORDER BY as_of_date DESC LIMIT 1
    ) AS newest CROSS JOIN LATERAL (
        SELECT count(*) AS n_dates, min(as_of_date) AS first FROM regimes
        WHERE %(is_counted)s AND region = named.region AND model_id = named.model_id AND as_of_date <= %(until)s
    ) AS counted
    ORDER BY 1, 2
"""


# As above: no index begins with the encoder.
_MODELS = """
    WITH RECURSIVE named AS (
        (SELECT model_id FROM regimes WHERE region = %(region)s ORDER BY model_id LIMIT 1)
        UNION ALL
        SELECT following.model_id FROM named CROSS JOIN LATERAL (
            SELECT model_id FROM regimes WHERE region = %(region)s AND model_id > named.model_id
            ORDER BY model_id LIMIT 1
        ) AS following
    )
"""
_NEWEST_VECTOR = """
    SELECT metadata->>'instrument_id', (metadata->>'window_days')::int, (
        SELECT mode() WITHIN GROUP (ORDER BY dim) FROM (
            SELECT dim FROM regimes AS r
            WHERE region = %(region)s AND r.model_id = newest.model_id AND encoder_model_id = %(encoder)s
              AND r.as_of_date <= %(until)s
            ORDER BY r.as_of_date DESC LIMIT 9
        ) AS few
    )
    FROM named CROSS JOIN LATERAL (
        SELECT model_id, metadata, as_of_date, created_at FROM regimes
        WHERE region = %(region)s AND model_id = named.model_id AND encoder_model_id = %(encoder)s
          AND as_of_date <= %(until)s
        ORDER BY as_of_date DESC LIMIT 1
    ) AS newest
    ORDER BY as_of_date DESC, created_at DESC, newest.model_id LIMIT 1
"""

_NEWEST_STATES = """
    SELECT newest.as_of_date, newest.regime_label, newest.confidence, newest.metadata, turn.as_of_date, turn.from_label
    FROM unnest(%(regions)s::text[], %(models)s::text[]) WITH ORDINALITY AS asked(region, model_id, place)
    CROSS JOIN LATERAL (
        SELECT as_of_date, regime_label, confidence, metadata FROM regimes AS r
        WHERE r.region = asked.region AND r.model_id = asked.model_id AND as_of_date <= %(until)s
        ORDER BY as_of_date DESC LIMIT 1
    ) AS newest
    LEFT JOIN LATERAL (
        SELECT as_of_date, from_label FROM regime_transitions AS t
        WHERE t.region = asked.region AND t.model_id = asked.model_id AND as_of_date <= %(until)s
        ORDER BY as_of_date DESC LIMIT 1
    ) AS turn ON true
    ORDER BY place
"""
_CHANGES = """
    SELECT t.region, t.model_id, t.as_of_date, t.from_label, t.to_label
    FROM unnest(%(regions)s::text[], %(models)s::text[]) AS asked(region, model_id)
    JOIN regime_transitions AS t USING (region, model_id)
    WHERE t.as_of_date BETWEEN %(since)s AND %(until)s ORDER BY t.as_of_date DESC, t.region, t.model_id
"""

# The newest state of a model says whether all of its states have members.
_NEWEST_MEMBERS = """
    SELECT metadata->'members'
    FROM named CROSS JOIN LATERAL (
        SELECT metadata, as_of_date, created_at FROM regimes
        WHERE region = %(region)s AND model_id = named.model_id AND as_of_date <= %(until)s
        ORDER BY as_of_date DESC LIMIT 1
    ) AS newest
    WHERE metadata ? 'members'
    ORDER BY as_of_date DESC, created_at DESC, model_id LIMIT 1
"""

_Column: TypeAlias = tuple[str, str, sql.Composable]
"""Name and numpy type of a column, and what it holds."""
_PROBABILITY = sql.SQL("coalesce((metadata->{}->>{})::float8, 'NaN')")
_TIMELINE: Sequence[_Column] = (
    ("as_of_date", "M8[D]", sql.SQL("as_of_date")),
    ("label", "i4", sql.SQL("array_position({}::text[], regime_label)").format([label.value for label in LABELS])),
    ("confidence", "f8", sql.SQL("confidence")),
    ("high_volatility", "f8", _PROBABILITY.format("high_volatility", "probability")),
    ("is_held", "b1", sql.SQL("metadata ? 'held'")),
)
_BEAR: _Column = ("bear", "f8", _PROBABILITY.format("bear", "probability"))
_EVIDENCE: Sequence[_Column] = [(name, "f8", _PROBABILITY.format("probabilities", name)) for name in EVIDENCE_LABELS]


class RegimeTimelines:
    """Reads the table ``regimes`` column-wise."""

    def __init__(self, db_manager: RuntimeDatabase) -> None:
        self._db = Transactions(db_manager.get_runtime_connection)

    def histories(self, until: date = date.max) -> list[RegimeHistory]:
        """Return what is stored of dates up to one, by region and regime model."""
        return self._histories(until, is_counted=True)

    def newest(self) -> list[NewestState]:
        """Return the newest state of each region, of the model that answers for it, as `preferred_history` says."""
        found = self._histories(date.max, is_counted=False)
        equals = Counter((each.region, each.has_prototypes, each.last) for each in found)
        if max(equals.values(), default=0) > 1:  # the longer history answers
            found = self.histories()
        by_region = groupby(found, key=lambda each: each.region)
        return self.newest_states([preferred_history(list(histories)) for _, histories in by_region], date.max)

    def _histories(self, until: date, *, is_counted: bool) -> list[RegimeHistory]:
        rows = self._db.rows(_HISTORIES, {"until": until, "is_counted": is_counted})
        return [RegimeHistory(*row) for row in rows]

    def timeline(self, region: str, model_id: str, start: date, end: date, limit: int | None = None) -> RegimeTimeline:
        """Return labels and confidences from `start` to `end`, both included; the first `limit` of them."""
        return _to_timeline(region, model_id, self._rows(region, model_id, (start, end), _TIMELINE, limit))

    def probabilities(
        self, region: str, model_id: str, start: date, end: date, limit: int | None = None
    ) -> tuple[RegimeTimeline, Float64Matrix]:
        """Return a timeline with the probabilities of `EVIDENCE_LABELS`, shape (n, 4), NaN where not said."""
        rows = self._rows(region, model_id, (start, end), [*_TIMELINE, *_EVIDENCE], limit)
        return _to_timeline(region, model_id, rows), _probabilities_of(rows)

    def bear_chances(self, region: str, model_id: str) -> tuple[RegimeTimeline, Float64Vector]:
        """Return a timeline with the probabilities of a bear market, shape (n,), NaN where not said."""
        rows = self._rows(region, model_id, (date.min, date.max), [*_TIMELINE, _BEAR])
        return _to_timeline(region, model_id, rows), np.ascontiguousarray(rows["bear"])

    def newest_states(self, histories: Sequence[RegimeHistory], until: date) -> list[NewestState]:
        """Return the newest state up to a date of each history, in order; each has one by then."""
        rows = self._db.rows(_NEWEST_STATES, {**_asked(histories), "until": until})
        return [
            NewestState(each.region, each.model_id, day, RegimeLabel(label), sure, said, since, _label(before))
            for each, (day, label, sure, said, since, before) in zip(histories, rows, strict=True)
        ]

    def changes(self, histories: Sequence[RegimeHistory], since: date, until: date) -> list[LabelChange]:
        """Return the changes of label of some histories between two dates, newest first."""
        rows = self._db.rows(_CHANGES, {**_asked(histories), "since": since, "until": until})
        return [LabelChange(row[0], row[1], row[2], RegimeLabel(row[3]), RegimeLabel(row[4])) for row in rows]

    def recent(self, histories: Sequence[RegimeHistory], until: date, n_dates: int) -> list[RegimeTimeline]:
        """Return the last `n_dates` up to a date of each history, in order."""
        query = sql.SQL("""
            SELECT {columns}, place::int4
            FROM unnest({regions}::text[], {models}::text[]) WITH ORDINALITY AS asked(of_region, of_model, place)
            CROSS JOIN LATERAL (
                SELECT * FROM regimes WHERE region = of_region AND model_id = of_model AND as_of_date <= {until}
                ORDER BY as_of_date DESC LIMIT {n_dates}
            ) AS newest
            ORDER BY place, as_of_date
        """).format(
            columns=sql.SQL(", ").join(holds for _, _, holds in _TIMELINE), until=until, n_dates=n_dates,
            **_asked(histories),
        )  # fmt: skip
        rows = self._db.packed(query, [*((name, dtype) for name, dtype, _ in _TIMELINE), ("place", "i4")])
        ends = np.searchsorted(rows["place"], np.arange(len(histories) + 1), side="right")
        return [
            _to_timeline(each.region, each.model_id, rows[begin:end])
            for each, (begin, end) in zip(histories, pairwise(ends.tolist()), strict=True)
        ]

    def evidence(
        self, region: str, model_id: str, start: date, end: date
    ) -> tuple[RegimeTimeline, Float64Matrix, Float32Matrix]:
        """Return a timeline with the probabilities of `EVIDENCE_LABELS` and the vectors behind it, one of each a date.

        Shapes (n, 4), NaN where the model gives none, and (n, dim).
        """
        query = "SELECT dim FROM regimes WHERE region = %s AND model_id = %s LIMIT 1"
        dim = self._db.value(query, (region, model_id)) or 0
        columns = [*_TIMELINE, *_EVIDENCE, ("vector", f"V{4 * dim}", sql.SQL("regime_embedding"))]
        rows = self._rows(region, model_id, (start, end), columns)
        return _to_timeline(region, model_id, rows), _probabilities_of(rows), unpack_vectors(rows["vector"], dim)

    def _rows(
        self, region: str, model_id: str, span: tuple[date, date], columns: Sequence[_Column], limit: int | None = None
    ) -> np.ndarray[Any, np.dtype[Any]]:
        query = sql.SQL("""
            SELECT {columns} FROM regimes
            WHERE region = {region} AND model_id = {model_id} AND as_of_date BETWEEN {start} AND {end}
            ORDER BY as_of_date LIMIT {limit}
        """).format(
            columns=sql.SQL(", ").join(holds for _, _, holds in columns), region=region, model_id=model_id,
            start=span[0], end=span[1], limit=limit,
        )  # fmt: skip
        return self._db.packed(query, [(name, dtype) for name, dtype, _ in columns])

    def labels_on(self, region: str, model_id: str, dates: Sequence[date]) -> dict[date, tuple[RegimeLabel, float]]:
        """Return label and confidence of those of the dates that have a state."""
        query = """
            SELECT as_of_date, regime_label, confidence FROM regimes
            WHERE region = %s AND model_id = %s AND as_of_date = ANY(%s::date[])
        """
        rows = self._db.rows(query, (region, model_id, list(dates)))
        return {day: (RegimeLabel(label), confidence) for day, label, confidence in rows}

    def vector_source(self, region: str, encoder_model_id: str, until: date) -> VectorSource | None:
        """Return what the newest vector of a date up to `until` was made of; None if not found."""
        row = self._db.row(_MODELS + _NEWEST_VECTOR, {"region": region, "encoder": encoder_model_id, "until": until})
        return None if row is None else VectorSource(*row)

    def written(self, region: str, encoder_model_id: str) -> tuple[int, int]:
        """Return how many states an encoder's vectors are in, and a digest of their versions: equal pairs, equal rows.

        The server gives every version of a row the number of the transaction that wrote it.
        """
        query = """
            SELECT count(*), coalesce(bit_xor(hashtextextended(
                concat_ws(' ', as_of_date, xmin, model_id), 0)), 0)
            FROM regimes WHERE region = %s AND encoder_model_id = %s
        """
        n_states, digest = self._db.rows(query, (region, encoder_model_id))[0]
        return n_states, digest

    def load_vectors(self, region: str, encoder_model_id: str, source: VectorSource) -> DatedVectors:
        """Return the vectors of one source; of several regime models' for a date the one written last.

        A vector of another length is NaN.
        """
        query = sql.SQL("""
            SELECT DISTINCT ON (as_of_date) as_of_date, regime_embedding AS vector FROM regimes
            WHERE region = {region} AND encoder_model_id = {encoder}
              AND metadata->>'instrument_id' IS NOT DISTINCT FROM {instrument}
              AND (metadata->>'window_days')::int IS NOT DISTINCT FROM {window_days}
            ORDER BY as_of_date, created_at DESC, model_id
        """).format(
            region=region, encoder=encoder_model_id, instrument=sql.Literal(source.instrument_id),
            window_days=sql.Literal(source.window_days),
        )  # fmt: skip
        return DatedVectors(*self._db.vectors(query, source.dim))

    def members_of(self, region: str, until: date) -> dict[str, float]:
        """Return the weights of a region's members as its newest state up to a date says them; empty without any."""
        return dict(self._db.value(_MODELS + _NEWEST_MEMBERS, {"region": region, "until": until}) or {})


def _asked(histories: Sequence[RegimeHistory]) -> dict[str, list[str]]:
    return {"regions": [each.region for each in histories], "models": [each.model_id for each in histories]}


def _label(text: str | None) -> RegimeLabel | None:
    return None if text is None else RegimeLabel(text)


def _probabilities_of(rows: np.ndarray[Any, np.dtype[Any]]) -> Float64Matrix:
    return np.stack([rows[name] for name in EVIDENCE_LABELS], axis=1)


def _to_timeline(region: str, model_id: str, rows: np.ndarray[Any, np.dtype[Any]]) -> RegimeTimeline:
    dates, labels, confidences, risks, is_held = (np.ascontiguousarray(rows[name]) for name, _, _ in _TIMELINE)
    return RegimeTimeline(region, model_id, dates, labels.astype(np.int64) - 1, confidences, risks, is_held)
